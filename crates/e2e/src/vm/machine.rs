//! The virtual machine: QEMU without any device that the tests do not need.

use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::Result;

/// What boots.
#[derive(Debug)]
pub(super) struct Parts<'run> {
    pub(super) kernel: &'run Path,
    pub(super) initrd: &'run Path,
    pub(super) disk: &'run Path,
    /// Where the kernel's messages go.
    pub(super) console: &'run Path,
}

/// The kernel's command line. A panic ends QEMU, as `-no-reboot` is given. The second line leaves out
/// what only costs time under software emulation: guards against a processor that is not there.
const COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 random.trust_cpu=on \
    mitigations=off no5lvl nosmap nosmep";

/// How long QEMU may take to end when the guest has switched itself off.
const OFF_LIMIT: Duration = Duration::from_secs(30);

/// A running machine. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Machine {
    qemu: Child,
}

/// Starts the machine. What its tests write comes from [`Machine::take_output`].
pub(super) fn boot(parts: &Parts<'_>) -> Result<Machine> {
    // setpriv: the machine ends with this process, however that ends.
    let qemu = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
        .args([
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
        ])
        // Not KVM: the machine is the same everywhere, and some hosts' /dev/kvm does not work.
        .args([
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            "2G",
        ])
        .args(["-append", COMMAND_LINE, "-kernel"])
        .arg(parts.kernel)
        .arg("-initrd")
        .arg(parts.initrd)
        .arg("-drive")
        .arg(format!(
            "if=virtio,format=raw,cache=unsafe,file={}",
            parts.disk.display()
        ))
        .args(["-device", "virtio-rng-pci"])
        .arg("-chardev")
        .arg(format!("file,id=console,path={}", parts.console.display()))
        .args(["-serial", "chardev:console"])
        .args([
            "-chardev",
            "stdio,id=tests,signal=off",
            "-serial",
            "chardev:tests",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("setpriv: {error}; make deps installs what is needed"))?;
    Ok(Machine { qemu })
}

impl Machine {
    /// The second serial line.
    pub(super) fn take_output(&mut self) -> Option<ChildStdout> {
        self.qemu.stdout.take()
    }

    /// Waits for its end, which must come soon and be a good one.
    pub(super) fn finish(mut self) -> Result<()> {
        let deadline = Instant::now() + OFF_LIMIT;
        loop {
            match self.qemu.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("QEMU: {status}").into()),
                None if Instant::now() > deadline => {
                    return Err("the guest did not switch itself off".into());
                }
                None => thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.qemu.kill());
        drop(self.qemu.wait());
    }
}
