//! A seccomp filter, one instruction a line
//! (<https://docs.kernel.org/networking/filter.html>, what seccomp(2) allows of it).

use hull_abi::{Seccomp, SockFilter};

/// `SECCOMP_RET_*` of `linux/seccomp.h` without their data.
const ACTIONS: [(u32, &str); 8] = [
    (0x0000_0000, "KILL_THREAD"),
    (0x8000_0000, "KILL_PROCESS"),
    (0x0003_0000, "TRAP"),
    (0x0005_0000, "ERRNO"),
    (0x7fc0_0000, "USER_NOTIF"),
    (0x7ff0_0000, "TRACE"),
    (0x7ffc_0000, "LOG"),
    (0x7fff_0000, "ALLOW"),
];

/// The part of an action's value that is its data.
const DATA: u32 = 0xffff;

/// The program with the number of each instruction; jumps name the instruction that they lead to.
pub(super) fn listing(filter: &Seccomp) -> String {
    let lines = filter.program.iter().enumerate();
    let lines = lines.map(|(at, instruction)| format!("{at:5}  {}\n", line(at, *instruction)));
    format!("\nseccomp filter:\n{}", lines.collect::<String>())
}

fn line(at: usize, instruction: SockFilter) -> String {
    let SockFilter { code, jt, jf, k } = instruction;
    let target = |distance: u8| at + 1 + usize::from(distance);
    let jump = |test: &str| format!("if {test} {k:#x} then {} else {}", target(jt), target(jf));
    match code {
        0x20 => format!("load {}", field(k)),
        0x54 => format!("and {k:#x}"),
        0x05 => {
            let distance = usize::try_from(k).unwrap_or(usize::MAX);
            format!("go to {}", distance.saturating_add(at + 1))
        }
        0x15 => jump("=="),
        0x25 => jump(">"),
        0x35 => jump(">="),
        0x45 => jump("has bits of"),
        0x06 => format!("return {}", action(k)),
        _ => format!("code {code:#06x} {jt} {jf} {k:#x}"),
    }
}

/// A word of `struct seccomp_data`.
fn field(offset: u32) -> String {
    match offset {
        0 => "call number".to_owned(),
        4 => "architecture".to_owned(),
        8 => "instruction pointer, low half".to_owned(),
        12 => "instruction pointer, high half".to_owned(),
        16..64 => {
            let half = if offset.is_multiple_of(8) {
                "low"
            } else {
                "high"
            };
            format!("argument {}, {half} half", (offset - 16) / 8)
        }
        _ => format!("word at {offset}"),
    }
}

fn action(value: u32) -> String {
    let name = ACTIONS.iter().find(|(action, _)| *action == value & !DATA);
    match (name, value & DATA) {
        (Some((_, "ERRNO")), errno) => {
            let errno = i32::try_from(errno).map(hull_sys::Errno::from_raw);
            match errno {
                Ok(errno) if errno != hull_sys::Errno::UnknownErrno => format!("ERRNO {errno:?}"),
                Ok(_) | Err(_) => format!("ERRNO {}", value & DATA),
            }
        }
        (Some((_, name)), 0) => (*name).to_owned(),
        (Some((_, name)), data) => format!("{name} {data}"),
        (None, _) => format!("{value:#x}"),
    }
}
