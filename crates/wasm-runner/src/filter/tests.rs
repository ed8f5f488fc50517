//! What the program decides, by a small interpreter of the kernel's machine.

use super::bpf::{JMP_JA, JMP_JEQ_K, JMP_JGE_K, JMP_JSET_K, LD_W_ABS, RET_K};
use super::*;
use syscalls::x86_64::Sysno;

const MARK: u64 = 0xfedc_ba98_7654_3210;

/// What the kernel would do with the program of a guest without a network.
fn decide(architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
    run(
        &program(MARK, Calls::Command, Sockets::None),
        architecture,
        number,
        arguments,
    )
}

fn run(program: &[Instruction], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend(number.to_le_bytes());
    data.extend(architecture.to_le_bytes());
    data.extend(0u64.to_le_bytes());
    arguments.iter().for_each(|a| data.extend(a.to_le_bytes()));

    let (mut at, mut accumulator) = (0, 0);
    loop {
        let (code, on_true, on_false, operand) = program[at];
        at += 1;
        let jump = |taken: bool| usize::from(if taken { on_true } else { on_false });
        match code {
            LD_W_ABS => {
                let offset = usize::try_from(operand).unwrap();
                let word = data[offset..offset + 4].try_into().unwrap();
                accumulator = u32::from_le_bytes(word);
            }
            JMP_JA => at += usize::try_from(operand).unwrap(),
            JMP_JEQ_K => at += jump(accumulator == operand),
            JMP_JGE_K => at += jump(accumulator >= operand),
            JMP_JSET_K => at += jump(accumulator & operand != 0),
            RET_K => return operand,
            other => panic!("unknown code {other:#x}"),
        }
    }
}

fn call(number: Sysno, arguments: [u64; 6]) -> u32 {
    decide(ARCH, u32::try_from(number.id()).unwrap(), arguments)
}

#[test]
fn the_names_are_those_of_the_numbers() {
    let (plain, conditional) = allowed(Calls::Server, Sockets::Internet);
    let conditional = conditional.map(|(name, number, ..)| (name, number));
    for (name, number) in plain.chain(conditional) {
        let sysno = Sysno::new(usize::try_from(number).unwrap()).unwrap();
        assert_eq!(sysno.name(), name);
    }
}

#[test]
fn exactly_the_lists_are_allowed() {
    for number in 0..1000 {
        let plain = PLAIN.iter().any(|&(_, n)| n == number);
        let conditional = CONDITIONAL.iter().any(|&(_, n, ..)| n == number);
        let decision = decide(ARCH, number, [u64::MAX; 6]);
        if plain {
            assert_eq!(decision, ALLOW, "{number}");
        } else if OPENS.contains(&number) {
            assert_eq!(decision, TRAP, "{number}");
        } else if number < NEW || conditional {
            assert_eq!(decision, ERRNO | EPERM, "{number}");
        } else {
            assert_eq!(decision, ERRNO | ENOSYS, "{number}");
        }
    }
}

const OPENS: [u32; 2] = [257, 437];

#[test]
fn a_network_is_tcp_and_udp_and_nothing_else() {
    let program = program(MARK, Calls::Command, Sockets::Internet);
    let call = |number: Sysno, arguments| {
        run(
            &program,
            ARCH,
            u32::try_from(number.id()).unwrap(),
            arguments,
        )
    };
    let socket = |family, kind, protocol| call(Sysno::socket, [family, kind, protocol, 0, 0, 0]);
    for family in [2, 10] {
        for kind in [0x8_0001, 0x8_0801, 0x8_0002, 0x8_0802] {
            for protocol in [0, 6, 17] {
                assert_eq!(socket(family, kind, protocol), ALLOW);
            }
        }
    }
    // Unix, netlink, packet, vsock; raw, sequenced, without close-on-exec; ICMP, SCTP, MPTCP.
    for (family, kind, protocol) in [
        (1, 0x8_0001, 0),
        (16, 0x8_0002, 0),
        (17, 0x8_0002, 0),
        (40, 0x8_0001, 0),
        (2, 0x8_0003, 0),
        (2, 0x8_0005, 0),
        (2, 1, 0),
        (2, 0x8_0002, 1),
        (2, 0x8_0001, 132),
        (2, 0x8_0001, 262),
    ] {
        let decision = socket(family, kind, protocol);
        assert_eq!(decision, ERRNO | EPERM, "{family} {kind:#x} {protocol}");
    }
    for (_, number) in SOCKETS {
        assert_eq!(run(&program, ARCH, number, [u64::MAX; 6]), ALLOW);
    }
    for number in [Sysno::setsockopt, Sysno::getsockopt] {
        assert_eq!(call(number, [3, 1, 9, 0, 0, 0]), ALLOW);
        assert_eq!(call(number, [3, 41, 26, 0, 0, 0]), ALLOW);
        // SO_ATTACH_FILTER, SO_BINDTODEVICE, TCP_ULP, TCP_REPAIR, a level of nobody.
        for (level, name) in [(1, 26), (1, 25), (6, 31), (6, 19), (255, 2)] {
            let decision = call(number, [3, level, name, 0, 0, 0]);
            assert_eq!(decision, ERRNO | EPERM, "{level} {name}");
        }
    }
    for number in [
        Sysno::sendmsg,
        Sysno::recvmsg,
        Sysno::sendmmsg,
        Sysno::socketpair,
        Sysno::clone,
        Sysno::execve,
    ] {
        assert_eq!(call(number, [0; 6]), ERRNO | EPERM, "{number}");
    }
}

#[test]
fn files_are_only_opened_by_those_who_know_the_mark() {
    for number in OPENS {
        let open = |mark| decide(ARCH, number, [0, 0, 0, 0, 0, mark]);
        assert_eq!(open(MARK), ALLOW);
        for other in [
            0,
            MARK ^ 1,
            MARK ^ 1 << 63,
            MARK << 32,
            MARK >> 32,
            u64::MAX,
        ] {
            assert_eq!(open(other), TRAP, "{other:#x}");
        }
    }
}

#[test]
fn what_makes_processes_or_reaches_out_is_refused() {
    for number in [
        Sysno::execve,
        Sysno::execveat,
        Sysno::clone,
        Sysno::clone3,
        Sysno::fork,
        Sysno::vfork,
        Sysno::socket,
        Sysno::connect,
        Sysno::ptrace,
        Sysno::process_vm_writev,
        Sysno::kill,
        Sysno::tgkill,
        Sysno::mount,
        Sysno::open_by_handle_at,
        Sysno::pkey_mprotect,
        Sysno::memfd_create,
        Sysno::prctl,
        Sysno::seccomp,
        Sysno::bpf,
        Sysno::io_uring_setup,
        Sysno::userfaultfd,
        Sysno::unshare,
        Sysno::setns,
        Sysno::pidfd_getfd,
        Sysno::shmat,
    ] {
        assert_ne!(call(number, [0; 6]), ALLOW, "{number}");
    }
}

#[test]
fn memory_is_never_executable() {
    for number in [Sysno::mmap, Sysno::mprotect] {
        assert_eq!(call(number, [0, 4096, 3, 0, 0, 0]), ALLOW);
        for protection in [4, 5, 7, 1 << 40 | 4] {
            let decision = call(number, [0, 4096, protection, 0, 0, 0]);
            assert_eq!(decision, ERRNO | EPERM, "{number} {protection:#x}");
        }
    }
}

#[test]
fn only_harmless_controls_of_descriptors() {
    assert_eq!(call(Sysno::fcntl, [0, 1030, 3, 0, 0, 0]), ALLOW);
    for command in [0, 8, 10, 1024, 1026, 1033] {
        assert_eq!(call(Sysno::fcntl, [0, command, 0, 0, 0, 0]), ERRNO | EPERM);
    }
    assert_eq!(call(Sysno::ioctl, [0, 0x5401, 0, 0, 0, 0]), ALLOW);
    assert_eq!(call(Sysno::ioctl, [0, 0x5412, 0, 0, 0, 0]), ERRNO | EPERM);
}

#[test]
fn signals_that_end_us_keep_their_handlers() {
    assert_eq!(call(Sysno::rt_sigaction, [11, 0, 0, 8, 0, 0]), ALLOW);
    assert_eq!(
        call(Sysno::rt_sigaction, [15, 0, 0, 8, 0, 0]),
        ERRNO | EPERM
    );
}

#[test]
fn a_decision_is_near() {
    for (calls, sockets, longest) in [
        (Calls::Command, Sockets::None, 200),
        (Calls::Command, Sockets::Internet, 350),
        (Calls::Server, Sockets::None, 350),
        (Calls::Server, Sockets::Internet, 360),
    ] {
        let length = program(MARK, calls, sockets).len();
        assert!(length < longest, "{calls:?} {sockets:?}: {length}");
    }
}

#[test]
fn a_server_has_its_connections_whether_its_guest_has_a_network_or_not() {
    let with = |sockets| {
        let program = program(MARK, Calls::Server, sockets);
        move |number, arguments| run(&program, ARCH, number, arguments)
    };
    let (alone, connected) = (with(Sockets::None), with(Sockets::Internet));
    for number in 0..1000 {
        let command = decide(ARCH, number, [u64::MAX; 6]);
        let own = SERVER.iter().any(|&(_, n)| n == number);
        let want = if own { ALLOW } else { command };
        assert_eq!(alone(number, [u64::MAX; 6]), want, "{number}");
        let guests = own || SOCKETS.iter().any(|&(_, n)| n == number);
        let want = if guests { ALLOW } else { command };
        assert_eq!(connected(number, [u64::MAX; 6]), want, "{number}");
    }
    // MSG_FASTOPEN with an address is a connect.
    let send = |address| [3, 1, 1, 0x2000_0000, address, 16];
    for address in [1, 1 << 32, 0x7fff_1234_5678, u64::MAX] {
        assert_eq!(alone(44, send(address)), ERRNO | EPERM, "{address:#x}");
        assert_eq!(connected(44, send(address)), ALLOW, "{address:#x}");
    }
    for decide in [&alone as &dyn Fn(u32, [u64; 6]) -> u32, &connected] {
        assert_eq!(decide(44, send(0)), ALLOW);
        // TCP_FASTOPEN_CONNECT, TCP_ULP, TCP_REPAIR, TCP_FASTOPEN.
        for name in [30, 31, 19, 23] {
            assert_eq!(decide(54, [3, 6, name, 0, 0, 0]), ERRNO | EPERM, "{name}");
        }
    }
    // connect, bind, listen, sendmsg, sendmmsg.
    for number in [42, 49, 50, 46, 307] {
        assert_eq!(alone(number, [0; 6]), ERRNO | EPERM, "{number}");
    }
    let socket = [2, 0x8_0801, 0, 0, 0, 0];
    assert_eq!(alone(41, socket), ERRNO | EPERM);
    assert_eq!(connected(41, socket), ALLOW);
    for decide in [&alone as &dyn Fn(u32, [u64; 6]) -> u32, &connected] {
        // TCP_NODELAY.
        assert_eq!(decide(54, [3, 6, 1, 0, 0, 0]), ALLOW);
    }
}

#[test]
fn other_architectures_are_killed() {
    assert_eq!(decide(0x4000_0003, 1, [0; 6]), KILL_PROCESS);
    assert_eq!(decide(ARCH, X32 | 1, [0; 6]), KILL_PROCESS);
    assert_eq!(decide(ARCH, u32::MAX, [0; 6]), KILL_PROCESS);
}
