//! The busybox image: Debian's static busybox, its applets, and users that tests can become.

use std::path::Path;
use std::process::Command;

use crate::Image;
use crate::error::{Error, Result, at};
use crate::rootfs::Rootfs;

/// Where Debian's package `busybox-static` puts the binary.
pub(crate) const BINARY: &str = "/usr/bin/busybox";

/// `hull` has a primary group and three supplementary ones, one of them without a name elsewhere.
const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
hull:x:1000:1000:hull:/home/hull:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
";

const GROUP: &str = "\
root:x:0:
daemon:x:1:
tty:x:5:
audio:x:29:hull
www-data:x:33:hull
users:x:100:
hull:x:1000:
crew:x:2000:daemon,hull
nogroup:x:65534:
";

/// Reads the busybox binary, asks it for its applets and lays out the root file system.
pub(crate) fn rootfs(binary: &Path) -> Result<Rootfs> {
    let bytes = std::fs::read(binary).map_err(at("read (package busybox-static)", binary))?;
    Ok(lay_out(bytes, &applets(binary)?))
}

/// The image made of the layer: a shell by default, found through the usual `PATH`.
pub(crate) fn image(layer: Vec<u8>) -> Image {
    Image {
        name: "docker.io/hull/busybox:latest",
        env: &["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        entrypoint: &[],
        cmd: &["sh"],
        layer,
    }
}

fn lay_out(binary: Vec<u8>, applets: &[String]) -> Rootfs {
    let mut rootfs = Rootfs::default();
    for dir in ["bin", "dev", "etc", "home", "proc", "sys", "var"] {
        rootfs.directory(dir, 0o755);
    }
    rootfs.directory("root", 0o700);
    rootfs.directory("tmp", 0o1777);
    rootfs.owned_directory("home/hull", 0o755, 1000, 1000);
    rootfs.owned_directory("var/www", 0o755, 33, 33);
    rootfs.file("etc/passwd", 0o644, PASSWD.into());
    rootfs.file("etc/group", 0o644, GROUP.into());
    for applet in applets {
        rootfs.symlink(&format!("bin/{applet}"), "busybox");
    }
    // Last: some builds list `busybox` itself among the applets.
    rootfs.file("bin/busybox", 0o755, binary);
    rootfs
}

fn applets(binary: &Path) -> Result<Vec<String>> {
    let output = Command::new(binary)
        .arg("--list")
        .output()
        .map_err(at("run", binary))?;
    let refuse = |problem: String| Error::Busybox {
        path: binary.to_path_buf(),
        problem,
    };
    if !output.status.success() {
        return Err(refuse(output.status.to_string()));
    }
    parse_applets(&String::from_utf8_lossy(&output.stdout)).map_err(refuse)
}

/// One applet per line; a name that is not a plain file name would escape `/bin`.
fn parse_applets(list: &str) -> std::result::Result<Vec<String>, String> {
    let names: Vec<String> = list.lines().map(str::to_owned).collect();
    for name in &names {
        if name.is_empty() || name.contains('/') || name == "." || name == ".." {
            return Err(format!("{name:?} is not an applet name"));
        }
    }
    if !names.iter().any(|name| name == "sh") {
        return Err("there is no sh among the applets".to_owned());
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rootfs::{Entry, Kind};

    fn entry<'a>(rootfs: &'a Rootfs, path: &str) -> &'a Entry {
        let found = rootfs.entries().find(|(candidate, _)| *candidate == path);
        found.unwrap_or_else(|| panic!("no {path}")).1
    }

    #[test]
    fn applets_are_links_and_the_binary_stays_a_file() {
        let rootfs = lay_out(b"ELF".to_vec(), &["busybox".to_owned(), "sh".to_owned()]);
        assert_eq!(
            entry(&rootfs, "bin/sh").kind,
            Kind::Symlink("busybox".to_owned())
        );
        assert_eq!(
            entry(&rootfs, "bin/busybox").kind,
            Kind::File(b"ELF".to_vec())
        );
        assert_eq!(entry(&rootfs, "tmp").mode, 0o1777);
        assert_eq!(entry(&rootfs, "var/www").uid, 33);
    }

    #[test]
    fn every_file_has_its_parent_directory() {
        let rootfs = lay_out(Vec::new(), &["sh".to_owned()]);
        for (path, _) in rootfs.entries() {
            if let Some((parent, _)) = path.rsplit_once('/') {
                assert_eq!(
                    entry(&rootfs, parent).kind,
                    Kind::Directory,
                    "parent of {path}"
                );
            }
        }
    }

    #[test]
    fn every_user_has_a_group_and_every_member_is_a_user() {
        let users: Vec<Vec<&str>> = PASSWD
            .lines()
            .map(|line| line.split(':').collect())
            .collect();
        let groups: Vec<Vec<&str>> = GROUP
            .lines()
            .map(|line| line.split(':').collect())
            .collect();
        for user in &users {
            assert_eq!(user.len(), 7, "{user:?}");
            assert!(groups.iter().any(|group| group[2] == user[3]), "{user:?}");
        }
        for group in &groups {
            assert_eq!(group.len(), 4, "{group:?}");
            for member in group[3].split(',').filter(|member| !member.is_empty()) {
                assert!(users.iter().any(|user| user[0] == member), "{group:?}");
            }
        }
    }

    #[test]
    fn an_applet_name_cannot_leave_bin() {
        assert_eq!(parse_applets("[\nls\nsh\n").unwrap(), ["[", "ls", "sh"]);
        for bad in ["sh\n../etc\n", "sh\n\nls\n", "sh\n..\n", "ls\n"] {
            assert!(parse_applets(bad).is_err(), "{bad:?}");
        }
    }
}
