//! `hull run -t` on a terminal of its own, driven like a person does it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use hull_e2e::cli::exit_code;
use hull_e2e::{Cli, eventually, leaks, limit, slowed};
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::stat::Mode;
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};

/// A terminal with a `hull` on it.
struct Terminal {
    /// The side of the person.
    master: File,
    /// Kept open, so that its settings can be looked at after the end.
    slave: OwnedFd,
    name: PathBuf,
    before: Termios,
    hull: Child,
    /// What was shown and not yet read.
    shown: String,
}

impl Terminal {
    /// `hull run FLAGS --rootfs DIR -- ARGS`, in a session of its own on a terminal of 30 rows and 100
    /// columns.
    fn run(cli: &Cli, flags: &[&str], args: &[&str]) -> Self {
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = PathBuf::from(ptsname_r(&master).unwrap());
        let flags_of_open = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let slave = open(&name, flags_of_open, Mode::empty()).unwrap();
        resize(&name, 30, 100);
        let stream = || slave.try_clone().unwrap();
        // It has no process group of its own here, so this execs hull in its own place.
        let mut command = cli.command_of(Path::new("setsid"));
        command
            .arg("-c")
            .arg(hull_e2e::target::bin_dir().join("hull"))
            .args(["run", "--name", &cli.name()])
            .args(flags)
            .arg("--rootfs")
            .arg(cli.rootfs())
            .arg("--")
            .args(args)
            .stdin(stream())
            .stdout(stream())
            .stderr(stream());
        Self {
            master: OwnedFd::from(master).into(),
            before: tcgetattr(&slave).unwrap(),
            slave,
            name,
            hull: command.spawn().unwrap(),
            shown: String::new(),
        }
    }

    fn keys(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Reads until this is shown; gives what came before.
    #[track_caller]
    fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + limit();
        loop {
            if let Some((before, after)) = self.shown.split_once(text) {
                let before = before.to_owned();
                self.shown = after.to_owned();
                return before;
            }
            let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut fds, PollTimeout::from(100_u16)).unwrap();
            if ready > 0 {
                let mut chunk = [0; 4096];
                let count = self.master.read(&mut chunk).unwrap();
                self.shown += &String::from_utf8_lossy(&chunk[..count]);
            }
            assert!(
                Instant::now() < deadline,
                "{text:?} is not in {:?}",
                self.shown
            );
        }
    }

    fn is_raw(&self) -> bool {
        let now = tcgetattr(&self.slave).unwrap();
        !now.local_flags.contains(LocalFlags::ICANON)
    }

    fn is_as_before(&self) -> bool {
        tcgetattr(&self.slave).unwrap() == self.before
    }
}

/// Sets the size of a terminal, which sends SIGWINCH to what runs on it.
fn resize(name: &Path, rows: u16, columns: u16) {
    let stty = Command::new("stty")
        .arg("-F")
        .arg(name)
        .args(["rows", &rows.to_string(), "cols", &columns.to_string()])
        .status();
    assert!(stty.unwrap().success());
}

#[test]
fn shell_has_a_terminal_of_the_size_of_ours() {
    let cli = Cli::new();
    let mut terminal = Terminal::run(&cli, &["-it"], &["sh"]);
    terminal.wait_for("# ");
    assert!(terminal.is_raw());
    terminal.keys("tty; stty size\r");
    terminal.wait_for("/dev/pts/0\r\n30 100\r\n");
    resize(&terminal.name, 50, 132);
    // The size travels on its own.
    terminal.keys("while [ \"$(stty size)\" != '50 132' ]; do :; done; echo resi'zed'\r");
    terminal.wait_for("resized\r\n");
    terminal.keys("exit 9\r");
    assert_eq!(exit_code(&mut terminal.hull), 9);
    assert!(terminal.is_as_before());
}

#[test]
fn control_c_is_for_the_program_inside() {
    let cli = Cli::new();
    let mut terminal = Terminal::run(&cli, &["-it"], &["sh"]);
    terminal.wait_for("# ");
    let script = "trap 'exit 130' INT; echo sta''rted; while :; do sleep 0.05; done";
    terminal.keys(&format!("sh -c \"{script}\"\r"));
    // Shown by the program alone: the keys have quotes in it.
    terminal.wait_for("started\r\n");
    terminal.keys("\u{3}");
    terminal.wait_for("^C");
    // The shell throws away what is typed before its prompt.
    terminal.wait_for("# ");
    terminal.keys("echo code $?\r");
    terminal.wait_for("code 130\r\n");
    terminal.wait_for("# ");
    terminal.keys("\u{4}");
    // The shell ends with the code of its last command, which was echo.
    assert_eq!(exit_code(&mut terminal.hull), 0);
    assert!(terminal.is_as_before());
}

#[test]
fn terminal_is_set_back_however_hull_ends() {
    let cli = Cli::new();
    let mut terminal = Terminal::run(&cli, &["-it"], &["sh"]);
    terminal.wait_for("# ");
    assert!(terminal.is_raw());
    leaks::kill(terminal.hull.id());
    exit_code(&mut terminal.hull);
    eventually("the guard sets it back", || {
        terminal.is_as_before().then_some(())
    });
    // A program that cannot be started.
    let mut terminal = Terminal::run(&cli, &["-it"], &["nosuch"]);
    assert_eq!(exit_code(&mut terminal.hull), 127);
    assert!(terminal.is_as_before());
}

/// Without -i keys stay with our terminal, so they end hull as any program.
#[test]
fn terminal_without_input_shows_lines_as_they_are() {
    let cli = Cli::new();
    let mut terminal = Terminal::run(
        &cli,
        &["-t"],
        &["sh", "-c", "trap '' INT; echo a; echo b; exec cat"],
    );
    terminal.wait_for("a\r\nb\r\n");
    assert!(!terminal.is_raw());
    // Three; but two that come before the first is seen are one signal.
    for _ in 0..30 {
        if terminal.hull.try_wait().unwrap().is_some() {
            break;
        }
        terminal.keys("\u{3}");
        std::thread::sleep(slowed(Duration::from_millis(100)));
    }
    assert_eq!(exit_code(&mut terminal.hull), 137);
    assert!(terminal.is_as_before());
}

#[test]
fn closed_window_ends_the_container() {
    let cli = Cli::new();
    let terminal = Terminal::run(
        &cli,
        &["-it"],
        &["sh", "-c", "trap '' HUP TERM INT; echo up; exec sleep 600"],
    );
    let Terminal {
        master,
        slave,
        mut hull,
        ..
    } = read_up(terminal);
    let began = Instant::now();
    drop(slave);
    drop(master);
    assert_eq!(exit_code(&mut hull), 137);
    assert!(
        began.elapsed() >= Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
}

fn read_up(mut terminal: Terminal) -> Terminal {
    terminal.wait_for("up\r\n");
    terminal
}
