//! The binaries of hull: found as the shim finds them, and of one version.

use super::item::Item;
use crate::tool;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The shim, the runner, the compiler.
pub(super) fn items() -> Vec<Item> {
    vec![shim(), runner(), compiler()]
}

fn shim() -> Item {
    const NAME: &str = "containerd-shim-hull-v1";
    let Some(path) = tool::sibling(NAME) else {
        return Item::fail(NAME, "it is neither beside hull nor in $PATH")
            .advise("install it into a directory of containerd's $PATH: make install");
    };
    let answer = tool::ask(&path, &["-v"], b"").and_then(tool::Answer::line);
    match answer {
        Err(why) => {
            Item::fail(NAME, format!("{}: {why}", path.display())).advise("install it anew")
        }
        Ok(line) => agree(NAME, &path, line.strip_prefix(NAME).unwrap_or(&line).trim()),
    }
}

/// Whether the version that another binary says is ours; a revision may follow it.
fn agree(name: &'static str, path: &Path, version: &str) -> Item {
    let text = format!("{version} at {}", path.display());
    if version.split(' ').next() == Some(VERSION) {
        return Item::ok(name, text);
    }
    Item::warn(name, format!("{text}, but hull is {VERSION}"))
        .advise("install all binaries from one build")
}

fn runner() -> Item {
    const NAME: &str = "hull-wasm";
    match tool::sibling(NAME) {
        // It has no word but that of its config.
        Some(path) => program(NAME, &path),
        None => native_only(NAME),
    }
}

/// Whether a file begins as a program does: hull's are ELF files.
fn program(name: &'static str, path: &Path) -> Item {
    let mut magic = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    let place = path.display();
    match read {
        Ok(()) if magic == *b"\x7fELF" => Item::ok(name, place.to_string()),
        Ok(()) | Err(_) => {
            Item::fail(name, format!("{place}: it is no program")).advise("install it anew")
        }
    }
}

fn compiler() -> Item {
    const NAME: &str = "hull-wasmc";
    let Some(path) = tool::sibling(NAME) else {
        return native_only(NAME);
    };
    match tool::ask(&path, &["--id"], b"").and_then(tool::Answer::line) {
        Ok(id) => {
            let (engine, settings) = id.split_once(' ').unwrap_or((&id, ""));
            let settings = settings.get(..12).unwrap_or(settings);
            let text = format!("{}, engine {engine} {settings}", path.display());
            Item::ok(NAME, text)
        }
        Err(why) => {
            Item::warn(NAME, format!("{}: {why}", path.display())).advise("install it anew")
        }
    }
}

fn native_only(name: &'static str) -> Item {
    Item::warn(
        name,
        "it is neither beside hull nor in $PATH: only native programs run",
    )
    .advise("install it beside the shim: make install")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::item::Status;

    #[test]
    fn versions_agree_up_to_the_revision() {
        let path = Path::new("/bin/shim");
        for (version, status) in [
            (VERSION.to_owned(), Status::Ok),
            (format!("{VERSION} 0123abc"), Status::Ok),
            (format!("{VERSION}1"), Status::Warn),
            ("0.0.0".to_owned(), Status::Warn),
            (String::new(), Status::Warn),
        ] {
            assert_eq!(agree("shim", path, &version).status, status, "{version:?}");
        }
    }

    #[test]
    fn runner_that_is_no_elf_file_fails() {
        let own = std::env::current_exe().unwrap();
        assert_eq!(program("runner", &own).status, Status::Ok);
        for other in ["/dev/null", "/etc/passwd"] {
            let item = program("runner", Path::new(other));
            assert_eq!(item.status, Status::Fail, "{other}");
        }
    }
}
