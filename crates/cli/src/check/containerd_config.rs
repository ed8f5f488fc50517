//! containerd's configuration, as far as it says whether CRI knows hull
//! (<https://github.com/containerd/containerd/blob/main/docs/cri/config.md>).
//!
//! The table of runtimes has a path for each version of the configuration, keys may be quoted in two
//! ways, dotted or nested, and files import others. So a real parser reads it.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// What makes a runtime hull's.
const RUNTIME_TYPE: &str = "io.containerd.hull.v1";
/// The prefix of annotations that hull heeds.
const ANNOTATIONS: &str = "io.containerd.hull.";

/// The plugin that holds the runtimes, in versions 1, 2 and 3 of the configuration.
const PLUGINS: [&str; 3] = [
    "cri",
    "io.containerd.grpc.v1.cri",
    "io.containerd.cri.v1.runtime",
];

/// Larger files are no configuration.
const MAX_SIZE: u64 = 1 << 20;
/// More files than any configuration has.
const MAX_FILES: usize = 64;

/// What the configuration says of hull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// There is no file: containerd runs with its defaults.
    Absent,
    /// CRI is off.
    Disabled,
    /// No runtime of CRI is hull.
    Unconfigured,
    /// One is.
    Runtime {
        /// Its name, which a RuntimeClass gives as its handler.
        name: String,
        /// The file that says so.
        file: PathBuf,
        /// Whether annotations of pods get to hull.
        annotations: bool,
    },
}

/// Reads a configuration and what it imports.
///
/// # Errors
/// What is wrong with a file, to follow the name of the first one.
pub(super) fn read(path: &Path) -> Result<Found, String> {
    let mut waiting = vec![path.to_owned()];
    let mut seen: Vec<PathBuf> = Vec::new();
    let mut disabled = false;
    while let Some(file) = waiting.pop() {
        if seen.contains(&file) || seen.len() == MAX_FILES {
            continue;
        }
        let table = match table(&file) {
            Err(Unreadable::Absent) if seen.is_empty() => return Ok(Found::Absent),
            Err(Unreadable::Absent) => {
                return Err(format!("it imports {file:?}, which is missing"));
            }
            Err(Unreadable::Because(why)) if file == path => return Err(why),
            Err(Unreadable::Because(why)) => return Err(format!("it imports {file:?}: {why}")),
            Ok(table) => table,
        };
        if let Some((name, annotations)) = runtime(&table) {
            return Ok(Found::Runtime {
                name,
                file,
                annotations,
            });
        }
        disabled |= is_disabled(&table);
        waiting.extend(imports(&table, &file));
        seen.push(file);
    }
    Ok(if disabled {
        Found::Disabled
    } else {
        Found::Unconfigured
    })
}

/// The socket that a configuration names.
pub(super) fn address(path: &Path) -> Option<PathBuf> {
    let table = table(path).ok()?;
    let address = table.get("grpc")?.get("address")?.as_str()?;
    (!address.is_empty()).then(|| PathBuf::from(address))
}

/// Why there is no table.
enum Unreadable {
    Absent,
    Because(String),
}

fn table(path: &Path) -> Result<Table, Unreadable> {
    let because = |e: io::Error| {
        if e.kind() == io::ErrorKind::NotFound {
            Unreadable::Absent
        } else {
            Unreadable::Because(hull_sys::fd::errno(&e).desc().to_owned())
        }
    };
    let mut text = String::new();
    // Whatever is there instead of a file, nobody waits for it.
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)
        .map_err(because)?;
    file.take(MAX_SIZE)
        .read_to_string(&mut text)
        .map_err(because)?;
    text.parse().map_err(|e: toml::de::Error| {
        let line = e.span().map_or(0, |span| {
            text.get(..span.start)
                .map_or(0, |before| before.matches('\n').count() + 1)
        });
        Unreadable::Because(format!("line {line} is no TOML: {}", e.message()))
    })
}

/// The first runtime that is hull's, and whether it passes annotations.
fn runtime(table: &Table) -> Option<(String, bool)> {
    let plugins = table.get("plugins")?;
    let runtimes = PLUGINS
        .iter()
        .filter_map(|plugin| plugins.get(plugin)?.get("containerd")?.get("runtimes"))
        .filter_map(Value::as_table)
        .flatten();
    let kind = |runtime: &Value| runtime.get("runtime_type")?.as_str().map(str::to_owned);
    runtimes
        .filter(|(_, runtime)| kind(runtime).as_deref() == Some(RUNTIME_TYPE))
        .map(|(name, runtime)| (name.clone(), passes_annotations(runtime)))
        .next()
}

fn passes_annotations(runtime: &Value) -> bool {
    let patterns = runtime.get("pod_annotations").and_then(Value::as_array);
    patterns.into_iter().flatten().any(|pattern| {
        // A star may stand for the rest of our names.
        pattern.as_str().is_some_and(|pattern| {
            let prefix = pattern.split('*').next().unwrap_or_default();
            ANNOTATIONS.starts_with(prefix) && pattern.contains('*')
                || prefix.starts_with(ANNOTATIONS)
        })
    })
}

fn is_disabled(table: &Table) -> bool {
    let names = table.get("disabled_plugins").and_then(Value::as_array);
    names
        .into_iter()
        .flatten()
        .any(|name| name.as_str().is_some_and(|name| PLUGINS.contains(&name)))
}

/// The files that a configuration imports: paths that count from its directory, with stars in the
/// last component.
fn imports(table: &Table, file: &Path) -> Vec<PathBuf> {
    let directory = file.parent().unwrap_or(Path::new("/"));
    let patterns = table.get("imports").and_then(Value::as_array);
    let patterns = patterns.into_iter().flatten().filter_map(Value::as_str);
    patterns
        .flat_map(|pattern| expand(&directory.join(pattern)))
        .collect()
}

fn expand(pattern: &Path) -> Vec<PathBuf> {
    let name = pattern.file_name().and_then(|name| name.to_str());
    let (Some(name), Some(directory)) = (name, pattern.parent()) else {
        return Vec::new();
    };
    if !name.contains('*') {
        return vec![pattern.to_owned()];
    }
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| {
            entry
                .file_name()
                .to_str()
                .is_some_and(|text| matches(name, text))
        })
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

/// Whether a name is like a pattern, whose stars stand for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(config: &str) -> Found {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        fs::write(&path, config).unwrap();
        read(&path).unwrap()
    }

    fn is_runtime(config: &str, wanted: &str, passes: bool) {
        match found(config) {
            Found::Runtime {
                name, annotations, ..
            } => {
                assert_eq!((name.as_str(), annotations), (wanted, passes), "{config}");
            }
            other @ (Found::Absent | Found::Disabled | Found::Unconfigured) => {
                panic!("{other:?}: {config}");
            }
        }
    }

    #[test]
    fn our_own_drop_ins_are_understood() {
        for file in ["hull-v2.toml", "hull-v3.toml"] {
            let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/containerd");
            is_runtime(
                &fs::read_to_string(deploy.join(file)).unwrap(),
                "hull",
                true,
            );
        }
    }

    #[test]
    fn every_version_and_spelling_is_understood() {
        is_runtime(
            "[plugins.cri.containerd.runtimes.hull]\nruntime_type = \"io.containerd.hull.v1\"\n",
            "hull",
            false,
        );
        is_runtime(
            "version = 2\n[plugins]\n  [plugins.'io.containerd.grpc.v1.cri'.containerd]\n    \
             [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes]\n      \
             runc = { runtime_type = 'io.containerd.runc.v2' }\n      \
             fast = { runtime_type = 'io.containerd.hull.v1', pod_annotations = ['io.containerd.*'] }\n",
            "fast",
            true,
        );
        is_runtime(
            "version = 3\n[plugins.\"io.containerd.cri.v1.runtime\".containerd]\n\
             runtimes.wasm.runtime_type = \"io.containerd.hull.v1\"\n\
             runtimes.wasm.pod_annotations = [\"example.com/*\"]\n",
            "wasm",
            false,
        );
    }

    #[test]
    fn what_is_not_hull_is_not_taken_for_it() {
        let runc = "version = 2\n\
            [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.hull]\n\
            runtime_type = \"io.containerd.runc.v2\"\n\
            # runtime_type = \"io.containerd.hull.v1\"\n";
        assert_eq!(found(runc), Found::Unconfigured);
        assert_eq!(found(""), Found::Unconfigured);
        assert_eq!(found("plugins = 1\nimports = 2\n"), Found::Unconfigured);
        assert_eq!(found("disabled_plugins = [\"cri\"]\n"), Found::Disabled);
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(&dir.path().join("none")), Ok(Found::Absent));
    }

    #[test]
    fn imports_are_followed_and_may_turn_in_a_circle() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        let main = dir.path().join("config.toml");
        fs::create_dir(dir.path().join("conf.d")).unwrap();
        write(
            "config.toml",
            "version = 3\nimports = [\"conf.d/*.toml\"]\n",
        );
        write(
            "conf.d/a.toml",
            "imports = [\"../config.toml\", \"*.toml\"]\n",
        );
        assert_eq!(read(&main), Ok(Found::Unconfigured));
        write(
            "conf.d/b.toml",
            "[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.hull]\n\
             runtime_type = \"io.containerd.hull.v1\"\n",
        );
        let Ok(Found::Runtime { file, .. }) = read(&main) else {
            panic!("{:?}", read(&main));
        };
        assert!(file.ends_with("conf.d/b.toml"), "{file:?}");
        fs::remove_file(dir.path().join("conf.d/b.toml")).unwrap();
        write("conf.d/a.toml", "imports = [\"none.toml\"]\n");
        let missing = read(&main).unwrap_err();
        assert!(
            missing.contains("none.toml") && missing.ends_with("missing"),
            "{missing}"
        );
    }

    #[test]
    fn a_mistake_is_told_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        fs::write(&path, "version = 2\n\n[plugins\n").unwrap();
        let why = read(&path).unwrap_err();
        assert!(
            why.starts_with("line 3 is no TOML: ") && !why.contains('\n'),
            "{why}"
        );
    }

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, name, fits) in [
            ("*.toml", "a.toml", true),
            ("*.toml", "a.toml.bak", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "ac", false),
            ("*", "", true),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}
