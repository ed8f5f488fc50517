//! Syscall numbers by ABI.

use oci_spec::runtime::Arch;
use syscalls::{aarch64, arm, x86, x86_64};

/// `AUDIT_ARCH_*` of `linux/audit.h`: what the filter sees in `seccomp_data.arch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AuditArch(u32);

impl AuditArch {
    const X86_64: Self = Self(0xc000_003e);
    const I386: Self = Self(0x4000_0003);
    const AARCH64: Self = Self(0xc000_00b7);
    const ARM: Self = Self(0x4000_0028);

    /// The value that the kernel passes.
    pub(super) fn token(self) -> u32 {
        self.0
    }

    /// The ABIs of the architecture with the number that each begins at.
    pub(super) fn abis(self) -> &'static [(Abi, u32)] {
        match self {
            Self::X86_64 => &[(Abi::X86_64, 0), (Abi::X32, super::X32_BIT)],
            Self::I386 => &[(Abi::X86, 0)],
            Self::AARCH64 => &[(Abi::Aarch64, 0)],
            Self::ARM => &[(Abi::Arm, 0)],
            Self(_) => &[],
        }
    }
}

/// A numbering of the syscalls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Abi {
    /// 64-bit x86.
    X86_64,
    /// 32-bit x86.
    X86,
    /// 32-bit pointers on `x86_64`; numbers are kept without the x32 bit.
    X32,
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM, EABI.
    Arm,
}

impl Abi {
    /// The ABI of this machine, or `None` where this crate has no table for it.
    pub(super) const NATIVE: Option<Self> = if cfg!(target_arch = "x86_64") {
        Some(Self::X86_64)
    } else if cfg!(target_arch = "aarch64") {
        Some(Self::Aarch64)
    } else if cfg!(target_arch = "x86") {
        Some(Self::X86)
    } else if cfg!(target_arch = "arm") {
        Some(Self::Arm)
    } else {
        None
    };

    /// All of them.
    pub(super) const ALL: [Self; 5] =
        [Self::X86_64, Self::X86, Self::X32, Self::Aarch64, Self::Arm];

    /// The ABI of a profile's architecture, or `None` if there is no table for it.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the other 18 have no table")]
    pub(super) fn from_oci(arch: Arch) -> Option<Self> {
        match arch {
            Arch::ScmpArchNative => Self::NATIVE,
            Arch::ScmpArchX86_64 => Some(Self::X86_64),
            Arch::ScmpArchX86 => Some(Self::X86),
            Arch::ScmpArchX32 => Some(Self::X32),
            Arch::ScmpArchAarch64 => Some(Self::Aarch64),
            Arch::ScmpArchArm => Some(Self::Arm),
            _ => None,
        }
    }

    /// The architecture that the ABI runs on.
    pub(super) fn audit_arch(self) -> AuditArch {
        match self {
            Self::X86_64 | Self::X32 => AuditArch::X86_64,
            Self::X86 => AuditArch::I386,
            Self::Aarch64 => AuditArch::AARCH64,
            Self::Arm => AuditArch::ARM,
        }
    }

    /// Whether arguments are compared with all 64 bits.
    pub(super) fn is_64_bit(self) -> bool {
        matches!(self, Self::X86_64 | Self::Aarch64)
    }

    /// Whether a number lies in ARM's private range, far above the numbers that new calls get.
    pub(super) fn is_private(self, number: u32) -> bool {
        self == Self::Arm && number >= 0x0f_0000
    }

    /// Every call's name and number, each name once.
    pub(super) fn calls(self) -> impl Iterator<Item = (&'static str, u32)> {
        let last = match self {
            Self::X86_64 | Self::X32 => x86_64::Sysno::last().id(),
            Self::X86 => x86::Sysno::last().id(),
            Self::Aarch64 => aarch64::Sysno::last().id(),
            Self::Arm => arm::Sysno::last().id(),
        };
        let extra = match self {
            Self::X86_64 | Self::X86 | Self::Aarch64 => &[][..],
            Self::X32 => &X32_CALLS,
            Self::Arm => &ARM_PRIVATE_CALLS,
        };
        (0..=u32::try_from(last).unwrap_or(0))
            .filter_map(move |number| Some((self.name(number)?, number)))
            .chain(extra.iter().copied())
    }

    fn name(self, number: u32) -> Option<&'static str> {
        let id = usize::try_from(number).ok()?;
        let name = match self {
            Self::X86_64 => x86_64::Sysno::new(id)?.name(),
            Self::X32 => x86_64::Sysno::new(id)?.name(),
            Self::X86 => x86::Sysno::new(id)?.name(),
            Self::Aarch64 => aarch64::Sysno::new(id)?.name(),
            Self::Arm => arm::Sysno::new(id)?.name(),
        };
        match (self, name) {
            (Self::X32, _) if X86_64_ONLY.binary_search(&number).is_ok() => None,
            // 64-bit ABIs leave out the calls that 32-bit ones got for 64-bit times.
            (Self::Aarch64, _) if (403..424).contains(&number) => None,
            (Self::Aarch64, "fstatat") => Some("newfstatat"),
            // `break` is a Rust keyword, so the table spells it as a raw identifier.
            (_, name) => Some(name.strip_prefix("r#").unwrap_or(name)),
        }
    }

    /// The calls that can be made through this one as well, with the first argument that selects
    /// each. Empty for an ordinary call.
    pub(super) fn gateway(self, name: &str) -> &'static [(&'static str, u32)] {
        match (self, name) {
            (Self::X86, "socketcall") => &SOCKETCALL,
            (Self::X86, "ipc") => &IPC,
            _ => &[],
        }
    }
}

/// Numbers that are not for x32 (ABI "64" in the kernel's `syscall_64.tbl`), sorted: calls that x32
/// has a number of its own for, and calls that it does not have.
const X86_64_ONLY: [u32; 50] = [
    13, 15, 16, 19, 20, 45, 46, 47, 54, 55, 59, 101, 127, 128, 129, 131, 134, 156, 174, 177, 178,
    180, 205, 206, 209, 211, 214, 215, 222, 236, 244, 246, 247, 273, 274, 278, 279, 295, 296, 297,
    299, 307, 310, 311, 322, 327, 328, 335, 336, 453,
];

/// Calls with a number of their own on x32 (ABI "x32" in the kernel's `syscall_64.tbl`).
const X32_CALLS: [(&str, u32); 36] = [
    ("rt_sigaction", 512),
    ("rt_sigreturn", 513),
    ("ioctl", 514),
    ("readv", 515),
    ("writev", 516),
    ("recvfrom", 517),
    ("sendmsg", 518),
    ("recvmsg", 519),
    ("execve", 520),
    ("ptrace", 521),
    ("rt_sigpending", 522),
    ("rt_sigtimedwait", 523),
    ("rt_sigqueueinfo", 524),
    ("sigaltstack", 525),
    ("timer_create", 526),
    ("mq_notify", 527),
    ("kexec_load", 528),
    ("waitid", 529),
    ("set_robust_list", 530),
    ("get_robust_list", 531),
    ("vmsplice", 532),
    ("move_pages", 533),
    ("preadv", 534),
    ("pwritev", 535),
    ("rt_tgsigqueueinfo", 536),
    ("recvmmsg", 537),
    ("sendmmsg", 538),
    ("process_vm_readv", 539),
    ("process_vm_writev", 540),
    ("setsockopt", 541),
    ("getsockopt", 542),
    ("io_setup", 543),
    ("io_submit", 544),
    ("execveat", 545),
    ("preadv2", 546),
    ("pwritev2", 547),
];

/// `__ARM_NR_*` of `asm/unistd.h` for ARM.
const ARM_PRIVATE_CALLS: [(&str, u32); 6] = [
    ("breakpoint", 0x0f_0001),
    ("cacheflush", 0x0f_0002),
    ("usr26", 0x0f_0003),
    ("usr32", 0x0f_0004),
    ("set_tls", 0x0f_0005),
    ("get_tls", 0x0f_0006),
];

/// `SYS_*` of `linux/net.h`.
const SOCKETCALL: [(&str, u32); 20] = [
    ("socket", 1),
    ("bind", 2),
    ("connect", 3),
    ("listen", 4),
    ("accept", 5),
    ("getsockname", 6),
    ("getpeername", 7),
    ("socketpair", 8),
    ("send", 9),
    ("recv", 10),
    ("sendto", 11),
    ("recvfrom", 12),
    ("shutdown", 13),
    ("setsockopt", 14),
    ("getsockopt", 15),
    ("sendmsg", 16),
    ("recvmsg", 17),
    ("accept4", 18),
    ("recvmmsg", 19),
    ("sendmmsg", 20),
];

/// Operations of `linux/ipc.h`.
const IPC: [(&str, u32); 12] = [
    ("semop", 1),
    ("semget", 2),
    ("semctl", 3),
    ("semtimedop", 4),
    ("msgsnd", 11),
    ("msgrcv", 12),
    ("msgget", 13),
    ("msgctl", 14),
    ("shmat", 21),
    ("shmdt", 22),
    ("shmget", 23),
    ("shmctl", 24),
];
