//! Lexical work on paths. No file system is looked at: symbolic links are resolved later, below the
//! container's root, by the process that uses the path.

use std::path::Path;

/// The text of a path that came out of JSON, which is always UTF-8.
pub(crate) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A path inside the container: absolute, without `.`, `..` or empty components. `..` at the top
/// stays at the top, so that the result never leaves `/`. A relative path is taken from `/`.
pub(crate) fn clean(path: &str) -> String {
    let mut components: Vec<&str> = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => {
                components.pop();
            }
            name => components.push(name),
        }
    }
    format!("/{}", components.join("/"))
}

/// A path on the host, taken from `base` when relative. `..` stays, because on the host it may
/// follow a symbolic link.
pub(crate) fn on_host(base: &str, path: &str) -> String {
    let joined = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{base}/{path}")
    };
    let components: Vec<&str> = joined
        .split('/')
        .filter(|component| !component.is_empty() && *component != ".")
        .collect();
    format!("/{}", components.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_paths_stay_below_the_root() {
        for (path, want) in [
            ("/proc", "/proc"),
            ("proc", "/proc"),
            ("/", "/"),
            ("", "/"),
            ("/../../etc", "/etc"),
            ("/a/./b//c/", "/a/b/c"),
            ("/a/../../b", "/b"),
            ("..", "/"),
            ("/...", "/..."),
        ] {
            assert_eq!(clean(path), want, "{path:?}");
        }
    }

    #[test]
    fn host_paths_keep_their_parents() {
        assert_eq!(on_host("/b", "rootfs"), "/b/rootfs");
        assert_eq!(on_host("/b", "."), "/b");
        assert_eq!(on_host("/b", "../x"), "/b/../x");
        assert_eq!(on_host("/b", "//x/./y/"), "/x/y");
        assert_eq!(on_host("/", "x"), "/x");
    }
}
