//! Cleans up after a test process that cannot: one that was killed, or aborted.

use std::io::PipeWriter;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::target;

/// A shell that waits for the end of this process: then its standard input ends.
#[derive(Debug)]
struct Janitor {
    child: Child,
    _alive: PipeWriter,
}

/// Starts the janitor of this process, once. Gives its pid, which the leak check must spare.
pub fn employ() -> u32 {
    static JANITOR: OnceLock<Janitor> = OnceLock::new();
    JANITOR
        .get_or_init(|| {
            let (reader, writer) = std::io::pipe().unwrap();
            let child = Command::new("/bin/sh")
                .args([
                    "-c",
                    include_str!("janitor.sh"),
                    "janitor",
                    &target::process_tag(),
                ])
                .stdin(reader)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                // An interrupt from the keyboard is for the tests only.
                .process_group(0)
                .spawn()
                .unwrap();
            Janitor {
                child,
                _alive: writer,
            }
        })
        .child
        .id()
}
