//! The program of a process that does nothing but hold namespaces: 500 bytes of machine code, so
//! that a pod costs a few pages of memory. It is written in assembly because anything that a compiler
//! and a C library make has a start of its own, writable data and pages that get touched.
//!
//! In this order it closes every descriptor, becomes
//! [non-dumpable](https://man7.org/linux/man-pages/man2/PR_SET_DUMPABLE.2const.html), loads a
//! [filter](https://man7.org/linux/man-pages/man2/seccomp.2.html) that leaves three system calls and
//! kills at any other, and waits for signals with
//! [sigtimedwait(2)](https://man7.org/linux/man-pages/man2/sigwaitinfo.2.html): at SIGCHLD it reaps
//! whatever has been left to it (it may be process 1 of a PID namespace), at SIGTERM and SIGINT it
//! ends with status 0. It reads nothing and takes no arguments.
//!
//! The signals stay blocked, which is why even process 1 gets them without having handlers. As process 1 it
//! ends at SIGKILL alone, which nobody in its namespace can send it: no signal of a container ends the pod.

use crate::{Result, fd};
use nix::sys::stat::{Mode, fchmod};
use std::os::fd::OwnedFd;

// Numbers are those of x86-64 (arch/x86/entry/syscalls/syscall_64.tbl). The file is a position
// independent ELF executable with one segment, which is read and executed and never written.
core::arch::global_asm!(
    ".pushsection .rodata.hull_holder,\"a\"",
    ".balign 16",
    ".globl hull_holder_begin",
    "hull_holder_begin:",
    // Elf64_Ehdr: 64 bits, little endian, ET_DYN, x86-64.
    ".byte 0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0",
    ".quad 0",
    ".short 3, 62",
    ".long 1",
    ".quad 10f - hull_holder_begin",
    ".quad 0x40, 0",
    ".long 0",
    ".short 64, 56, 2, 0, 0, 0",
    // PT_LOAD of the whole file, readable and executable.
    ".long 1, 5",
    ".quad 0, 0, 0, hull_holder_end - hull_holder_begin, hull_holder_end - hull_holder_begin, 0x1000",
    // PT_GNU_STACK: the stack is no code.
    ".long 0x6474e551, 6",
    ".quad 0, 0, 0, 0, 0, 16",
    // The filter: of this architecture rt_sigtimedwait (128), wait4 (61) and exit_group (231).
    ".balign 8",
    "20:",
    ".short 0x20; .byte 0, 0; .long 4",
    ".short 0x15; .byte 0, 4; .long 0xc000003e",
    ".short 0x20; .byte 0, 0; .long 0",
    ".short 0x15; .byte 3, 0; .long 128",
    ".short 0x15; .byte 2, 0; .long 61",
    ".short 0x15; .byte 1, 0; .long 231",
    ".short 0x06; .byte 0, 0; .long 0x80000000", // SECCOMP_RET_KILL_PROCESS
    ".short 0x06; .byte 0, 0; .long 0x7fff0000", // SECCOMP_RET_ALLOW
    "25:",
    ".asciz \"hull-sandbox\"",
    "10:",
    // close_range(0, ~0, 0)
    "xor edi, edi",
    "mov esi, -1",
    "xor edx, edx",
    "mov eax, 436",
    "syscall",
    "test eax, eax",
    "jnz 60f",
    // prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    "mov edi, 4",
    "xor esi, esi",
    "xor edx, edx",
    "xor r10d, r10d",
    "xor r8d, r8d",
    "mov eax, 157",
    "syscall",
    "test eax, eax",
    "jnz 60f",
    // prctl(PR_SET_NAME, "hull-sandbox"): older kernels name what has no path by its descriptor.
    "mov edi, 15",
    "lea rsi, [rip + 25b]",
    "mov eax, 157",
    "syscall",
    // rt_sigprocmask(SIG_BLOCK, {SIGINT, SIGTERM, SIGCHLD}, NULL, 8); the set stays on the stack.
    "push 0x14002",
    "xor edi, edi",
    "mov rsi, rsp",
    "xor edx, edx",
    "mov r10d, 8",
    "mov eax, 14",
    "syscall",
    "mov rbx, rsp",
    // getpid()
    "mov eax, 39",
    "syscall",
    "mov r12d, eax",
    // seccomp(SECCOMP_SET_MODE_FILTER, 0, &{8, filter}): without it nothing is held.
    "lea rax, [rip + 20b]",
    "push rax",
    "push 8",
    "mov edi, 1",
    "xor esi, esi",
    "mov rdx, rsp",
    "mov eax, 317",
    "syscall",
    "test eax, eax",
    "jnz 60f",
    // rt_sigtimedwait(set, &siginfo, NULL, 8)
    "sub rsp, 128",
    "30:",
    "mov rdi, rbx",
    "mov rsi, rsp",
    "xor edx, edx",
    "mov r10d, 8",
    "mov eax, 128",
    "syscall",
    "cmp eax, 17",
    "je 40f",
    "cmp eax, 15",
    "je 50f",
    "cmp eax, 2",
    "jne 30b",
    // Process 1 obeys nobody: who sent the signal cannot be told for certain. Where there is no room for the
    // sender's number, which a container can bring about, the kernel says 0, as of somebody outside.
    "50:",
    "cmp r12d, 1",
    "je 30b",
    "xor edi, edi",
    "mov eax, 231",
    "syscall",
    // wait4(-1, NULL, WNOHANG | __WALL, NULL), as often as there is somebody.
    "40:",
    "mov edi, -1",
    "xor esi, esi",
    "mov edx, 0x40000001",
    "xor r10d, r10d",
    "mov eax, 61",
    "syscall",
    "test eax, eax",
    "jg 40b",
    "jmp 30b",
    // exit_group(1)
    "60:",
    "mov edi, 1",
    "mov eax, 231",
    "syscall",
    "ud2",
    ".globl hull_holder_end",
    "hull_holder_end:",
    ".popsection",
);

unsafe extern "C" {
    static hull_holder_begin: u8;
    static hull_holder_end: u8;
}

/// The program as an ELF file.
#[must_use]
pub fn image() -> &'static [u8] {
    let (begin, end) = (&raw const hull_holder_begin, &raw const hull_holder_end);
    let len = end.addr().saturating_sub(begin.addr());
    // SAFETY: both labels stand in one section of the code above, the first before the second, and
    // everything between them is constant data of this binary.
    unsafe { std::slice::from_raw_parts(begin, len) }
}

/// A sealed memory file with the program, to be executed and not to be read: who executes what it may not
/// read is non-dumpable from its first instruction on
/// ([PR_SET_DUMPABLE(2const)](https://man7.org/linux/man-pages/man2/PR_SET_DUMPABLE.2const.html)).
///
/// # Errors
/// `ENOMEM`, `EMFILE`, `ENFILE`.
pub fn sealed() -> Result<OwnedFd> {
    let file = fd::sealed_memory(c"hull-holder", image())?;
    fchmod(&file, Mode::from_bits_truncate(0o111))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    /// Starts it as a child, with no_new_privs as in a container.
    fn start() -> Child {
        let file = sealed().unwrap();
        let mut command = Command::new(format!("/proc/self/fd/{}", file.as_raw_fd()));
        command.arg0("holder").stdin(Stdio::piped());
        // SAFETY: prctl(2) with integers, between fork and exec.
        unsafe {
            command.pre_exec(|| {
                crate::cred::no_new_privileges().map_err(std::io::Error::from)?;
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !status(&child).contains("Seccomp:\t2") {
            assert!(Instant::now() < deadline, "{}", status(&child));
            std::thread::sleep(Duration::from_millis(5));
        }
        child
    }

    fn status(child: &Child) -> String {
        fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap()
    }

    fn signal(child: &Child, number: libc::c_int) {
        // SAFETY: integers only; the child is ours and not reaped.
        let ret = unsafe { libc::kill(child.id().cast_signed(), number) };
        assert_eq!(ret, 0);
    }

    /// Behind the headers, as the kernel takes it.
    fn filter() -> Vec<crate::seccomp::Instruction> {
        let bytes = image().get(176..240).unwrap();
        let parse = |i: &[u8]| {
            let (code, k) = (u16::from_le_bytes([i[0], i[1]]), [i[4], i[5], i[6], i[7]]);
            (code, i[2], i[3], u32::from_le_bytes(k))
        };
        bytes.chunks(8).map(parse).collect()
    }

    #[test]
    fn its_filter_kills_at_any_other_call() {
        let mut filter = crate::seccomp::Filter::new(&filter());
        let mut command = Command::new("true");
        // SAFETY: prctl(2) and seccomp(2), between fork and exec, which the filter does not allow.
        unsafe {
            command.pre_exec(move || {
                crate::cred::no_new_privileges().map_err(std::io::Error::from)?;
                filter.load(0).map_err(std::io::Error::from)
            });
        }
        // Whoever starts it hears of its death as of an end of file, as if execve had worked.
        let status = command.spawn().unwrap().wait().unwrap();
        assert_eq!(status.signal(), Some(libc::SIGSYS));
    }

    #[test]
    fn it_is_small_and_whole() {
        assert!(image().starts_with(b"\x7fELF"));
        assert!(image().len() < 600, "{}", image().len());
    }

    #[test]
    fn it_holds_nothing_and_ends_at_sigterm() {
        for number in [libc::SIGTERM, libc::SIGINT] {
            let mut child = start();
            let open = fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap();
            assert_eq!(open.count(), 0);
            assert!(status(&child).contains("NoNewPrivs:\t1"));
            signal(&child, number);
            assert_eq!(child.wait().unwrap().code(), Some(0));
        }
    }

    #[test]
    fn other_signals_do_not_wake_it_for_good() {
        let mut child = start();
        for _ in 0..3 {
            signal(&child, libc::SIGCHLD);
            signal(&child, libc::SIGSTOP);
            signal(&child, libc::SIGCONT);
        }
        std::thread::sleep(Duration::from_millis(50));
        assert!(child.try_wait().unwrap().is_none());
        signal(&child, libc::SIGKILL);
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    }
}
