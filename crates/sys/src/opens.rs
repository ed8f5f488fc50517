//! Looking at every file that is opened by somebody else's code in this process, after it is open and
//! before that code sees it.
//!
//! Whoever can open a path below `/proc/self` can read and, by `/proc/self/mem`, rewrite the process
//! that opens it, whatever the pages' protection and though it is not dumpable
//! ([proc_pid_mem(5)](https://man7.org/linux/man-pages/man5/proc_pid_mem.5.html)). A library that
//! opens files on behalf of a sandboxed guest gives that away without knowing. So the caller's seccomp
//! filter traps openat(2) and openat2(2) (`SECCOMP_RET_TRAP`,
//! [seccomp(2)](https://man7.org/linux/man-pages/man2/seccomp.2.html)) unless their sixth argument,
//! which the kernel ignores, is a secret number; the handler of SIGSYS makes the call itself with that
//! number and closes what must not be seen. Checking the descriptor leaves no race, and no name or
//! mount can hide the file system.

use crate::{Errno, Result, check, random};
use std::sync::atomic::{AtomicU64, Ordering};

/// The secret of this process; 0 while there is none.
static MARK: AtomicU64 = AtomicU64::new(0);

/// Installs the handler and gives the number that the filter must let through: the sixth argument of
/// openat(2) and openat2(2). The handler also calls fstat, fstatfs, fcntl(F_GETFL) and close.
///
/// # Errors
/// When there is no randomness; `EALREADY` the second time.
pub fn guard() -> Result<u64> {
    let mut bytes = [0u8; 8];
    random::fill(&mut bytes)?;
    // Never 0, which a register may hold by chance, and never small.
    let mark = u64::from_ne_bytes(bytes) | 1 << 63;
    MARK.compare_exchange(0, mark, Ordering::Relaxed, Ordering::Relaxed)
        .map_err(|_| Errno::EALREADY)?;
    // SAFETY: all-zero bytes are a valid sigaction: no handler, no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_trap;
    action.sa_sigaction = handler as libc::sighandler_t;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: `action` outlives the call, the old one is not asked for; the handler is
    // async-signal-safe, see there.
    let ret = unsafe { libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut()) };
    check(libc::c_long::from(ret))?;
    Ok(mark)
}

/// Makes the trapped call and puts its result where the caller looks for it. Async-signal-safe: system
/// calls only, and errno is restored.
extern "C" fn on_trap(
    _signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    let errno = Errno::last_raw();
    // SAFETY: SA_SIGINFO: the kernel passes a siginfo_t that lives until we return.
    let code = unsafe { (*info).si_code };
    // SAFETY: SA_SIGINFO: on Linux the third argument is the ucontext_t that sigreturn restores, and
    // nobody else has it.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    // SYS_SECCOMP of asm-generic/siginfo.h. Any other is a signal that somebody sent.
    if code != 1 {
        // SAFETY: ends the process; nothing of it can be observed afterwards.
        unsafe { libc::_exit(128 + libc::SIGSYS) }
    }
    let result = carry_out(registers);
    if let Some(rax) = register(registers, libc::REG_RAX) {
        *rax = result;
    }
    Errno::set_raw(errno);
}

type Registers = [libc::greg_t; 23];

fn register(registers: &mut Registers, number: libc::c_int) -> Option<&mut libc::greg_t> {
    registers.get_mut(usize::try_from(number).ok()?)
}

/// The result as the kernel would return it: a descriptor or a negative errno.
fn carry_out(registers: &mut Registers) -> libc::c_long {
    let [number, a, b, c, d] = [
        libc::REG_RAX,
        libc::REG_RDI,
        libc::REG_RSI,
        libc::REG_RDX,
        libc::REG_R10,
    ]
    .map(|name| register(registers, name).map_or(0, |value| *value));
    if number != libc::SYS_openat && number != libc::SYS_openat2 {
        return -libc::c_long::from(libc::ENOSYS);
    }
    let mark = MARK.load(Ordering::Relaxed);
    // SAFETY: the very call, with the very arguments, that the interrupted code was about to make, and
    // whose pointers it vouches for; the kernel ignores the two that were added.
    let opened = unsafe { libc::syscall(number, a, b, c, d, 0, mark) };
    let Ok(fd) = libc::c_int::try_from(opened) else {
        return -libc::c_long::from(libc::EBADF);
    };
    if fd < 0 {
        return -libc::c_long::from(Errno::last_raw());
    }
    if may_be_seen(fd) {
        return opened;
    }
    // SAFETY: the descriptor is new and was seen by nobody else.
    unsafe { libc::close(fd) };
    -libc::c_long::from(libc::EACCES)
}

/// Of procfs, only what everybody may read, and only for reading: not `mem`, `environ`, `pagemap`,
/// `auxv` and their like, and nothing that changes the kernel or a process. Directories and
/// descriptors without access (`O_PATH`) are for finding the way.
fn may_be_seen(fd: libc::c_int) -> bool {
    // SAFETY: all-zero bytes are a valid statfs.
    let mut filesystem: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `filesystem` outlives the call.
    if unsafe { libc::fstatfs(fd, &raw mut filesystem) } != 0 {
        return false;
    }
    if filesystem.f_type != libc::PROC_SUPER_MAGIC {
        return true;
    }
    // SAFETY: integers only.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    if flags < 0 {
        return false;
    }
    if flags & libc::O_PATH != 0 {
        return true;
    }
    // SAFETY: all-zero bytes are a valid stat.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `stat` outlives the call.
    if unsafe { libc::fstat(fd, &raw mut stat) } != 0 {
        return false;
    }
    if stat.st_mode & libc::S_IFMT == libc::S_IFDIR {
        return true;
    }
    flags & libc::O_ACCMODE == libc::O_RDONLY && stat.st_mode & 0o004 != 0
}
