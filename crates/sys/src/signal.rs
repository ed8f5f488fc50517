//! Signal dispositions and masks
//! ([sigaction(2)](https://man7.org/linux/man-pages/man2/sigaction.2.html)).

use crate::{Result, check};

/// Makes every signal that ends a process by default, and that can be caught, end this one with
/// exit code 128 + its number; unblocks all signals.
///
/// For a process that has nothing to clean up and may be PID 1 of a PID namespace, where the kernel
/// discards signals that have no handler. Left alone: SIGPIPE, which Rust ignores so that writes
/// fail instead, and the hardware faults SIGSEGV, SIGBUS, SIGILL and SIGFPE, which kill PID 1 as
/// well.
///
/// # Errors
/// None in practice.
pub fn exit_on_signals() -> Result<()> {
    // SAFETY: all-zero bytes are a valid sigaction: no handler, no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = exit_by_signal as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // The stack that was interrupted may be all but full.
    action.sa_flags = libc::SA_ONSTACK | libc::SA_RESTART;
    let real_time = libc::SIGRTMIN()..=libc::SIGRTMAX();
    for signal in FATAL.into_iter().chain(real_time) {
        // SAFETY: `action` outlives the call, the old one is not asked for; the handler is
        // async-signal-safe, see there.
        let ret = unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
        check(libc::c_long::from(ret))?;
    }
    unblock_all()
}

/// Lets the kernel reap children. PID 1 of a PID namespace inherits every orphan of it, and whoever
/// waits for no child of its own would collect zombies
/// ([wait(2)](https://man7.org/linux/man-pages/man2/wait.2.html), notes).
pub fn ignore_children() {
    // SAFETY: SIG_IGN installs no code of ours.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

/// Signals with a number below 32 that end a process by default, without SIGKILL and those that
/// [`exit_on_signals`] leaves alone.
const FATAL: [libc::c_int; 17] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGTERM,
    libc::SIGSTKFLT,
    libc::SIGXCPU,
    libc::SIGXFSZ,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGIO,
    libc::SIGPWR,
    libc::SIGSYS,
];

/// Async-signal-safe: a single system call, no memory of this process is read or written.
extern "C" fn exit_by_signal(signal: libc::c_int) {
    // SAFETY: ends the process; nothing of it can be observed afterwards.
    unsafe { libc::_exit(128 + signal) }
}

/// Gives every signal its default disposition and unblocks all of them. An ignored signal and the
/// mask survive execve: Rust ignores SIGPIPE, and whoever started us may ignore others.
///
/// # Errors
/// None in practice.
pub fn reset_all() -> Result<()> {
    for signal in 1..=64 {
        match signal {
            libc::SIGKILL | libc::SIGSTOP => {} // cannot be changed
            32 | 33 => reset_internal(signal)?,
            _ => {
                // SAFETY: SIG_DFL installs no code of ours.
                unsafe { libc::signal(signal, libc::SIG_DFL) };
            }
        }
    }
    unblock_all()
}

/// The same for a signal that glibc keeps to itself, and that its posix_spawn(3) leaves ignored in
/// the new program.
fn reset_internal(signal: libc::c_int) -> Result<()> {
    // The kernel's struct sigaction: handler, flags, restorer, mask. All zero is SIG_DFL.
    let default = [0_u64; 4];
    let none = std::ptr::null_mut::<u64>();
    // SAFETY: `default` outlives the call, has the size and alignment of the kernel's structure and
    // installs no code; the old action is not asked for; the last argument is the size of the mask.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            default.as_ptr(),
            none,
            8_usize,
        )
    };
    check(ret).map(drop)
}

/// Blocks every signal but those that the process itself brings about. What is sent waits until the mask is
/// lifted, which survives execve; process 1 of a PID namespace would never hear of it otherwise
/// ([pid_namespaces(7)](https://man7.org/linux/man-pages/man7/pid_namespaces.7.html)).
///
/// # Errors
/// None in practice.
pub fn hold() -> Result<()> {
    const OWN: [libc::c_int; 6] = [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGILL,
        libc::SIGFPE,
        libc::SIGTRAP,
        libc::SIGSYS,
    ];
    // SAFETY: all-zero bytes are a valid signal set, and sigfillset overwrites them.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a signal set of ours.
    unsafe { libc::sigfillset(&raw mut set) };
    for signal in OWN {
        // SAFETY: as above; the number is one of a signal.
        unsafe { libc::sigdelset(&raw mut set, signal) };
    }
    // SAFETY: `set` outlives the call; the old mask is not asked for.
    let ret = unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) };
    check(libc::c_long::from(ret)).map(drop)
}

fn unblock_all() -> Result<()> {
    // SAFETY: all-zero bytes are a valid, empty signal set.
    let empty: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `empty` outlives the call; the old mask is not asked for.
    let ret =
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const empty, std::ptr::null_mut()) };
    check(libc::c_long::from(ret)).map(drop)
}
