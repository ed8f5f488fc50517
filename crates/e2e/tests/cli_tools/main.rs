//! `hull plan`, `hull check`, `hull features` and `hull cache`: what they tell of a config, of this machine and of a
//! store of compiled Wasm, what pruning does to containers that run, and `hull run` among odd mounts.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod cache;
mod check;
mod features;
mod mounts;
mod plan;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use hull_e2e::{Lab, artifacts, target};
use serde_json::Value;

/// What `hull` said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(
            (self.code, self.err.as_str()),
            (Some(0), ""),
            "{}",
            self.out
        );
        self.out
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

fn binary() -> PathBuf {
    target::bin_dir().join("hull")
}

/// `hull` with the store of a world, ready for arguments.
fn hull(lab: &Lab) -> Command {
    let mut command = Command::new(binary());
    command
        .env("PATH", target::search_path())
        .env(artifacts::VARIABLE, lab.artifacts());
    command
}

fn said(command: &mut Command) -> Said {
    let output = command.stdin(Stdio::null()).output().unwrap();
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A command that runs another one as a user who may do nothing.
fn as_nobody() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command
}

/// A directory in the world that everybody may enter, with a copy of `hull` and of nothing else.
fn lonely_hull(lab: &Lab) -> PathBuf {
    let dir = lab.dir().join("bin");
    fs::create_dir(&dir).unwrap();
    target::copy_program(&binary(), &dir.join("hull"));
    fs::set_permissions(lab.dir(), Permissions::from_mode(0o755)).unwrap();
    dir.join("hull")
}
