//! Which security modules the kernel has enabled
//! ([apparmor(7)](https://man7.org/linux/man-pages/man7/apparmor.7.html),
//! [selinux(8)](https://man7.org/linux/man-pages/man8/selinux.8.html)).

use std::path::Path;

/// Whether AppArmor is enabled, so that a process can change to a profile.
#[must_use]
pub fn apparmor() -> bool {
    Path::new("/sys/kernel/security/apparmor").exists()
}

/// Whether SELinux is enabled, so that a process can take a label.
#[must_use]
pub fn selinux() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}
