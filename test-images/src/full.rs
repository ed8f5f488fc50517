//! The large guests: a command in Python, a server in JavaScript, and commands in C as components. Their tools
//! are no packages of Debian and take a while, so they have an image of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Image;
use crate::error::{Error, Result, at};
use crate::guests;
use crate::rootfs::Rootfs;

const WORLDS: &str = include_str!("../full/world.wit");
const PYTHON: &str = include_str!("../full/command.py");
const JAVASCRIPT: &str = include_str!("../full/server.js");

/// The guests in C that become components by way of the adapter of preview 1.
const ADAPTED: [&str; 4] = ["env.c", "files.c", "stdin.c", "clock.c"];

/// WASI's interfaces as jco brings them, and the version that the JavaScript engine was built for. They do not
/// differ in what the engine uses.
const INTERFACES: &str = "node_modules/@bytecodealliance/jco/lib/wit/builtin/0.2.12";
const BROUGHT: &str = "0.2.12";
const WANTED: &str = "0.2.10";

/// Adds the large guests to busybox's root file system.
///
/// # Errors
///
/// Names the source file and holds what its tool said.
pub(crate) fn rootfs(mut rootfs: Rootfs, tools: &Path) -> Result<Rootfs> {
    let dir = tempfile::tempdir().map_err(at("create", Path::new("a temporary directory")))?;
    let tools = fs::canonicalize(tools).map_err(at("find", tools))?;
    let bench = Workbench {
        dir: dir.path().to_owned(),
        tools,
    };
    rootfs.directory("wasm", 0o755);
    for (name, bytes) in bench.guests()? {
        rootfs.file(&format!("wasm/{name}"), 0o644, bytes);
    }
    Ok(rootfs)
}

/// The image made of that layer.
pub(crate) fn image(layer: Vec<u8>) -> Image {
    Image {
        name: "docker.io/hull/wasm-full:latest",
        env: &["PATH=/bin:/wasm"],
        entrypoint: &[],
        cmd: &["/wasm/python.wasm"],
        layer,
    }
}

/// Where the tools are, and a directory for what they read and write.
struct Workbench {
    dir: PathBuf,
    tools: PathBuf,
}

impl Workbench {
    fn guests(&self) -> Result<Vec<(String, Vec<u8>)>> {
        self.lay_out_interfaces()?;
        let mut guests = vec![
            ("python.wasm".to_owned(), self.python()?),
            ("javascript.wasm".to_owned(), self.javascript()?),
        ];
        for guest in guests::all().filter(|guest| ADAPTED.contains(&guest.file)) {
            let component = self.adapted(guest.file, &guest.compile()?)?;
            guests.push((guest.module_name(), component));
        }
        Ok(guests)
    }

    /// `wit/`, with the worlds of the guests and the interfaces that these name.
    fn lay_out_interfaces(&self) -> Result<()> {
        self.write("wit/world.wit", WORLDS)?;
        let interfaces = self.tools.join(INTERFACES);
        for entry in fs::read_dir(&interfaces).map_err(at("read", &interfaces))? {
            let package = entry.map_err(at("read", &interfaces))?.path();
            let file = package.join("package.wit");
            let text = fs::read_to_string(&file).map_err(at("read", &file))?;
            let name = package.file_name().unwrap_or_default().to_string_lossy();
            let path = format!("wit/deps/{name}/package.wit");
            self.write(&path, text.replace(BROUGHT, WANTED))?;
        }
        Ok(())
    }

    fn python(&self) -> Result<Vec<u8>> {
        self.write("command.py", PYTHON)?;
        let args = ["-d", "wit", "-w", "command", "componentize", "command"];
        let program = "python/bin/componentize-py";
        self.make("command.py", program, &[&args[..], &["-o", "out"]].concat())
    }

    fn javascript(&self) -> Result<Vec<u8>> {
        self.write("server.js", JAVASCRIPT)?;
        let args = ["server.js", "--wit", "wit", "-n", "server", "-o", "out"];
        self.make("server.js", "node_modules/.bin/componentize-js", &args)
    }

    fn adapted(&self, source: &'static str, module: &[u8]) -> Result<Vec<u8>> {
        self.write("module.wasm", module)?;
        let args = ["new", "module.wasm", "--wasi-command", "-o", "out"];
        self.make(source, "node_modules/.bin/jco", &args)
    }

    /// Runs a tool that writes the file `out`.
    fn make(&self, source_file: &'static str, tool: &str, args: &[&str]) -> Result<Vec<u8>> {
        let refuse = |problem: String| Error::Guest {
            source_file,
            problem,
        };
        let program = self.tools.join(tool);
        let output = Command::new(&program)
            .args(args)
            .current_dir(&self.dir)
            .output()
            .map_err(|error| {
                let path = program.display();
                refuse(format!("cannot run {path} (make images-full): {error}"))
            })?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(refuse(format!("{tool}: {}: {said}", output.status)));
        }
        let out = self.dir.join("out");
        let bytes = fs::read(&out).map_err(at("read", &out))?;
        fs::remove_file(&out).map_err(at("remove", &out))?;
        Ok(bytes)
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) -> Result<()> {
        let path = self.dir.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(at("create", parent))?;
        }
        fs::write(&path, content).map_err(at("write", &path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_that_are_missing_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = rootfs(Rootfs::default(), dir.path()).err().unwrap();
        assert!(error.to_string().contains("jco/lib/wit"), "{error}");
        fs::create_dir_all(dir.path().join(INTERFACES)).unwrap();
        let error = rootfs(Rootfs::default(), dir.path()).err().unwrap();
        for part in ["command.py", "componentize-py", "make images-full"] {
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn what_is_adapted_is_a_guest_in_c() {
        for file in ADAPTED {
            assert!(guests::all().any(|guest| guest.file == file), "{file}");
        }
    }
}
