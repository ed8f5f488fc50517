//! What processes ask of the kernel, told by [strace(1)](https://man7.org/linux/man-pages/man1/strace.1.html).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::{procfs, time};

/// An strace of running processes and all that they make from now on.
#[derive(Debug)]
pub struct Strace {
    strace: Child,
    output: PathBuf,
}

impl Strace {
    /// Attaches to these processes. `calls` is a list of system calls or classes of them.
    pub fn attach(pids: &[u32], calls: &str, output: &Path) -> Self {
        Self::with(pids, &format!("trace={calls}"), output)
    }

    /// Attaches and changes what becomes of some calls: `write:signal=KILL:when=2` ends each process
    /// at its second write, `umount2:delay_enter=12s` lets an unmount take long.
    pub fn inject(pids: &[u32], fault: &str, output: &Path) -> Self {
        Self::with(pids, &format!("inject={fault}"), output)
    }

    fn with(pids: &[u32], expression: &str, output: &Path) -> Self {
        let mut command = Command::new("strace");
        command
            .args(["-f", "-q", "-s", "4096", "-e", "signal=none", "-e"])
            .arg(expression)
            .arg("-o")
            .arg(output);
        for pid in pids {
            command.args(["-p", &pid.to_string()]);
        }
        let mut strace = command.stdin(Stdio::null()).spawn().unwrap();
        time::eventually("strace is attached", || {
            let ended = strace.try_wait().unwrap();
            assert!(ended.is_none(), "strace (package strace) ended: {ended:?}");
            pids.iter()
                .all(|pid| procfs::field(*pid, "TracerPid").is_some_and(|tracer| tracer != "0"))
                .then_some(())
        });
        Self {
            strace,
            output: output.to_owned(),
        }
    }

    /// Stops it: a traced process that dies stays a zombie that its parent cannot reap, like one that hangs in
    /// the kernel on its way out.
    pub fn stop(&self) {
        self.signal(nix::sys::signal::Signal::SIGSTOP);
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        let own = i32::try_from(self.strace.id()).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(own), signal).unwrap();
    }

    /// Detaches; gives the finished calls of one process, in their order.
    pub fn calls_of(self, pid: u32) -> Vec<String> {
        let own = |(caller, call)| (caller == pid).then_some(call);
        self.calls().into_iter().filter_map(own).collect()
    }

    /// Detaches; gives all finished calls with the process that made them, in their order.
    pub fn calls(mut self) -> Vec<(u32, String)> {
        self.signal(nix::sys::signal::Signal::SIGINT);
        self.strace.wait().unwrap();
        let text = fs::read_to_string(&self.output).unwrap();
        text.lines()
            .filter_map(|line| {
                let (number, call) = line.split_once(' ')?;
                Some((number.parse().ok()?, call.trim_start().to_owned()))
            })
            .collect()
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        // It has ended if the test has come to its end.
        drop(self.strace.kill());
        drop(self.strace.wait());
    }
}

/// The first string among a call's arguments: the path, of those that have one.
pub fn path(call: &str) -> Option<&str> {
    call.split('"').nth(1)
}
