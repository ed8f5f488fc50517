//! `hull run` on a host with odd mount points.

use crate::{binary, said};
use hull_e2e::Cli;
use std::process::Command;

#[test]
fn containers_run_beside_a_mount_point_that_is_not_utf_8() {
    let cli = Cli::new();
    // In a mount namespace of its own: no other test sees the mount.
    let script = "dir=$(printf 'r\\377') && mkdir \"$dir\" && mount -t tmpfs tmpfs \"$dir\" && \
        grep -q \"$(printf '/r\\377 ')\" /proc/self/mountinfo && exec \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", script])
        .arg(binary())
        .args(["run", "--name", &cli.name(), "--rootfs"])
        .arg(cli.rootfs())
        .args(["echo", "there"])
        .current_dir(cli.work())
        .env_clear();
    for (name, value) in cli.command().get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command.env("LC_ALL", "C");
    assert_eq!(said(&mut command).ok(), "there\n");
}
