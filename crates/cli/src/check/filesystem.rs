//! Whether overlays can be mounted: snapshots of images are overlays, and so are the sealed binaries.

use super::item::{Item, is_root};
use hull_sys::Errno;
use hull_sys::mount::FsContext;
use std::fs::read_to_string;
use std::path::Path;

/// Two directories that every system has; nothing is changed in them.
const LOWER: &str = "/usr:/etc";

const NAME: &str = "overlay";

/// One item.
pub(super) fn items() -> Vec<Item> {
    vec![if is_root() { try_it() } else { look() }]
}

/// Makes an overlay that is attached nowhere; it is gone when its descriptor is closed.
fn try_it() -> Item {
    let attributes = hull_abi::MountFlags::RDONLY.with(hull_abi::MountFlags::NODEV);
    let context = match FsContext::open("overlay") {
        Ok(context) => context,
        Err(errno) => return refused(errno, None),
    };
    let made = context
        .set("lowerdir", Some(LOWER))
        .and_then(|()| context.mount(attributes.0));
    match made {
        Ok(_mount) => Item::ok(NAME, "can be mounted"),
        Err(errno) => refused(errno, context.message()),
    }
}

fn refused(errno: Errno, message: Option<String>) -> Item {
    let without = "containerd needs another snapshotter, and binaries are copied to memory";
    let cause = match message {
        Some(message) if !message.is_empty() => message,
        _ if errno == Errno::ENODEV => "the kernel has no overlay file system".to_owned(),
        _ => errno.desc().to_owned(),
    };
    let item = Item::warn(NAME, format!("cannot be mounted: {cause}; {without}"));
    // Other errors are not about a missing module.
    if errno == Errno::ENODEV {
        item.advise("modprobe overlay")
    } else {
        item
    }
}

fn look() -> Item {
    let types = read_to_string("/proc/filesystems").unwrap_or_default();
    if types
        .lines()
        .any(|line| line.trim_start_matches("nodev").trim() == "overlay")
    {
        return Item::ok(NAME, "the kernel has it; only root can try it");
    }
    let release = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let modules = Path::new("/lib/modules").join(release.trim());
    let is_listed = ["modules.dep", "modules.builtin"].iter().any(|list| {
        let text = read_to_string(modules.join(list)).unwrap_or_default();
        text.contains("/overlay.ko")
    });
    if is_listed {
        Item::ok(NAME, "there is a module; only root can try it")
    } else {
        Item::unknown(NAME, "it is not loaded, and only root can try to load it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_missing_file_system_is_a_missing_module() {
        let missing = refused(Errno::ENODEV, None);
        assert_eq!(missing.advice.as_deref(), Some("modprobe overlay"));
        let unresolved = refused(Errno::ENOENT, Some("failed to resolve '/usr'".to_owned()));
        assert_eq!(unresolved.advice, None);
        assert!(unresolved.text.contains("/usr"), "{unresolved:?}");
    }
}
