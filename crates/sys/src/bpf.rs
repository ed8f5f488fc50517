//! Device filter programs on cgroups: `bpf(2)`.
//!
//! Only what `BPF_PROG_TYPE_CGROUP_DEVICE` needs: load, attach, detach and query.
//! Layouts follow `union bpf_attr` in `include/uapi/linux/bpf.h`; the kernel takes a shorter
//! attribute as one whose rest is zero.

use crate::{Errno, Result, check, check_fd};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_ATTACH: libc::c_long = 8;
const BPF_PROG_DETACH: libc::c_long = 9;
const BPF_PROG_GET_FD_BY_ID: libc::c_long = 13;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_PROG_QUERY: libc::c_long = 16;

const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 1 << 1;
const BPF_F_REPLACE: u32 = 1 << 2;

/// Most programs that one cgroup can hold (`BPF_CGROUP_MAX_PROGS`).
const MAX_ATTACHED: usize = 64;

/// Bytes of a program's name, terminator included (`BPF_OBJ_NAME_LEN`).
const NAME_LEN: usize = 16;

/// One eBPF instruction as the kernel reads it (`struct bpf_insn`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation code.
    pub code: u8,
    /// Destination register in the low, source register in the high four bits.
    pub registers: u8,
    /// Signed offset of a memory access or a jump.
    pub offset: i16,
    /// Immediate operand.
    pub immediate: i32,
}

/// `bpf_attr` of `BPF_PROG_LOAD`, up to the program's name.
#[repr(C)]
#[derive(Default)]
struct LoadAttr {
    prog_type: u32,
    insn_count: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; NAME_LEN],
}

/// `bpf_attr` of `BPF_PROG_ATTACH` and `BPF_PROG_DETACH`.
#[repr(C)]
#[derive(Default)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
    /// The kernel's struct ends at its own alignment; no padding of ours.
    unused: u32,
}

/// `bpf_attr` of `BPF_PROG_QUERY`.
#[repr(C)]
#[derive(Default)]
struct QueryAttr {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_count: u32,
    unused: u32,
    /// Newer kernels write a revision behind what older ones know, without looking at the size
    /// that was passed: the room must be there.
    rest: [u64; 16],
}

/// `bpf_attr` of `BPF_PROG_GET_FD_BY_ID`.
#[repr(C)]
#[derive(Default)]
struct IdAttr {
    prog_id: u32,
    next_id: u32,
    open_flags: u32,
}

/// `bpf_attr` of `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
#[derive(Default)]
struct InfoAttr {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The beginning of `struct bpf_prog_info`, up to the program's name.
#[repr(C)]
#[derive(Default)]
struct ProgInfo {
    prog_type: u32,
    id: u32,
    tag: [u8; 8],
    jited_prog_len: u32,
    xlated_prog_len: u32,
    jited_prog_insns: u64,
    xlated_prog_insns: u64,
    load_time: u64,
    created_by_uid: u32,
    nr_map_ids: u32,
    map_ids: u64,
    name: [u8; NAME_LEN],
}

/// A loaded device filter.
#[derive(Debug)]
pub struct DeviceProgram(OwnedFd);

impl DeviceProgram {
    /// Loads and verifies a device filter. `name` has at most 15 characters of `[A-Za-z0-9_.]`.
    ///
    /// # Errors
    /// `EACCES` or `EINVAL` when the verifier refuses the program, `EPERM` without `CAP_BPF` or
    /// (before Linux 5.11) when `RLIMIT_MEMLOCK` is too small, `ENAMETOOLONG`, `E2BIG`.
    pub fn load(instructions: &[Instruction], name: &str) -> Result<Self> {
        // The filter calls no helper that would ask for a GPL-compatible licence.
        let license = c"Apache-2.0";
        let mut attr = LoadAttr {
            prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
            insn_count: u32::try_from(instructions.len()).map_err(|_| Errno::E2BIG)?,
            insns: address(instructions.as_ptr()),
            license: address(license.as_ptr()),
            ..LoadAttr::default()
        };
        if name.len() >= NAME_LEN {
            return Err(Errno::ENAMETOOLONG);
        }
        for (slot, byte) in attr.prog_name.iter_mut().zip(name.bytes()) {
            *slot = byte;
        }
        // SAFETY: the attribute's pointers lead to `instructions` and `license`, which outlive the
        // call, and `insn_count` is the number of instructions there; both are only read.
        let ret = unsafe { bpf(BPF_PROG_LOAD, &mut attr) };
        check_fd(ret).map(Self)
    }

    /// The names of the device filters that hang on the cgroup itself, with the programs; those of
    /// its ancestors are not among them.
    ///
    /// # Errors
    /// `EINVAL` where the kernel has no device filters, `EPERM` without the privilege to ask.
    pub fn attached(cgroup: BorrowedFd<'_>) -> Result<Vec<(String, Self)>> {
        let mut ids = [0u32; MAX_ATTACHED];
        let mut attr = QueryAttr {
            target_fd: number(cgroup)?,
            attach_type: BPF_CGROUP_DEVICE,
            prog_ids: address(ids.as_mut_ptr()),
            prog_count: u32::try_from(MAX_ATTACHED).map_err(|_| Errno::E2BIG)?,
            ..QueryAttr::default()
        };
        // SAFETY: `prog_ids` leads to `prog_count` numbers of `ids`, which outlives the call and is
        // not looked at until it returns.
        check(unsafe { bpf(BPF_PROG_QUERY, &mut attr) })?;
        let count = usize::try_from(attr.prog_count).map_err(|_| Errno::E2BIG)?;
        let mut programs = Vec::new();
        for id in ids.into_iter().take(count) {
            match Self::by_id(id) {
                Ok(program) => programs.push((program.name()?, program)),
                // It was detached since the query.
                Err(Errno::ENOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(programs)
    }

    /// Attaches the filter beside those that are there already; all of them must then allow an
    /// access.
    ///
    /// # Errors
    /// `EPERM` without the privilege or when another program there forbids company, `E2BIG` when
    /// the cgroup holds 64 programs.
    pub fn attach(&self, cgroup: BorrowedFd<'_>) -> Result<()> {
        self.attach_with(cgroup, BPF_F_ALLOW_MULTI, None)
    }

    /// Attaches the filter in the place of `old` in one step (Linux 5.6).
    ///
    /// # Errors
    /// `ENOENT` when `old` is not attached there, `EINVAL` before Linux 5.6.
    pub fn replace(&self, cgroup: BorrowedFd<'_>, old: &Self) -> Result<()> {
        self.attach_with(cgroup, BPF_F_ALLOW_MULTI | BPF_F_REPLACE, Some(old))
    }

    /// Takes the filter off the cgroup.
    ///
    /// # Errors
    /// `ENOENT` when it is not attached there.
    pub fn detach(&self, cgroup: BorrowedFd<'_>) -> Result<()> {
        let mut attr = AttachAttr {
            target_fd: number(cgroup)?,
            attach_bpf_fd: number_of(&self.0)?,
            attach_type: BPF_CGROUP_DEVICE,
            ..AttachAttr::default()
        };
        // SAFETY: the attribute holds numbers only.
        check(unsafe { bpf(BPF_PROG_DETACH, &mut attr) }).map(|_| ())
    }

    fn attach_with(&self, cgroup: BorrowedFd<'_>, flags: u32, old: Option<&Self>) -> Result<()> {
        let mut attr = AttachAttr {
            target_fd: number(cgroup)?,
            attach_bpf_fd: number_of(&self.0)?,
            attach_type: BPF_CGROUP_DEVICE,
            attach_flags: flags,
            replace_bpf_fd: old.map_or(Ok(0), |old| number_of(&old.0))?,
            unused: 0,
        };
        // SAFETY: the attribute holds numbers only.
        check(unsafe { bpf(BPF_PROG_ATTACH, &mut attr) }).map(|_| ())
    }

    fn by_id(id: u32) -> Result<Self> {
        let mut attr = IdAttr {
            prog_id: id,
            ..IdAttr::default()
        };
        // SAFETY: the attribute holds numbers only.
        check_fd(unsafe { bpf(BPF_PROG_GET_FD_BY_ID, &mut attr) }).map(Self)
    }

    fn name(&self) -> Result<String> {
        let mut info = ProgInfo::default();
        let mut attr = InfoAttr {
            bpf_fd: number_of(&self.0)?,
            info_len: size_of_u32::<ProgInfo>()?,
            info: address(&raw mut info),
        };
        // SAFETY: `info` leads to `info_len` bytes, which outlive the call; any bytes are valid in
        // the struct, and its pointers are zero so that the kernel follows none.
        check(unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr) })?;
        let name = info
            .name
            .into_iter()
            .take_while(|byte| *byte != 0)
            .collect();
        String::from_utf8(name).map_err(|_| Errno::EILSEQ)
    }
}

/// `bpf(2)`.
///
/// # Safety
/// `attr` must be the attribute that `command` reads, and what its pointers lead to must be valid
/// for what the command does with it.
unsafe fn bpf<A>(command: libc::c_long, attr: &mut A) -> libc::c_long {
    // SAFETY: size and address are those of one exclusively borrowed attribute; the rest is the
    // caller's promise.
    unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<A>(),
        )
    }
}

/// A pointer as the attributes hold it.
fn address<T>(pointer: *const T) -> u64 {
    pointer.expose_provenance() as u64
}

/// A descriptor as the attributes hold it.
fn number(fd: BorrowedFd<'_>) -> Result<u32> {
    u32::try_from(fd.as_raw_fd()).map_err(|_| Errno::EBADF)
}

fn number_of(fd: &OwnedFd) -> Result<u32> {
    u32::try_from(fd.as_raw_fd()).map_err(|_| Errno::EBADF)
}

fn size_of_u32<T>() -> Result<u32> {
    u32::try_from(size_of::<T>()).map_err(|_| Errno::E2BIG)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `r0 = value; exit`.
    fn constant(value: i32) -> [Instruction; 2] {
        [
            Instruction {
                code: 0xb7,
                registers: 0,
                offset: 0,
                immediate: value,
            },
            Instruction {
                code: 0x95,
                registers: 0,
                offset: 0,
                immediate: 0,
            },
        ]
    }

    #[test]
    fn attribute_layouts_are_the_kernels() {
        assert_eq!(size_of::<Instruction>(), 8);
        assert_eq!(std::mem::offset_of!(LoadAttr, prog_name), 48);
        assert_eq!(std::mem::offset_of!(QueryAttr, prog_ids), 16);
        assert_eq!(std::mem::offset_of!(ProgInfo, name), 64);
    }

    #[test]
    fn loaded_program_keeps_its_name() {
        let program = DeviceProgram::load(&constant(1), "hull_test").expect("needs root");
        assert_eq!(program.name().unwrap(), "hull_test");
    }

    #[test]
    fn program_without_an_exit_is_refused() {
        let instructions = &constant(1)[..1];
        assert!(DeviceProgram::load(instructions, "hull_test").is_err());
    }

    #[test]
    fn name_of_sixteen_characters_is_too_long() {
        let refused = DeviceProgram::load(&constant(1), "sixteen_letters_");
        assert_eq!(refused.err(), Some(Errno::ENAMETOOLONG));
    }
}
