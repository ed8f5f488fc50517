//! Modules that are made to hurt who compiles them: the jail ends them in time and memory, in one line, and
//! neither the daemon nor a container beside it in the same pod feels it.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "test code: a panic is how a test fails, and the figures help when it does"
)]

mod module;

use std::fs;
use std::time::{Duration, Instant};

use hull_e2e::pulse::Pulse;
use hull_e2e::{Image, Lab, POD, Spec, artifacts, cgroup, eventually, is_one_clear_line, slowed};

use module::{COMPONENT, EXPORT, TYPE, command, many, module, number, section, sized};

/// Where the module is.
const FILE: &str = "/bomb.wasm";
/// What a compilation may take, in seconds and in MiB.
const SECONDS: u64 = 2;
const MEMORY: u64 = 512;
/// What comes on top of that: the making of the jail, the hash of the module, other tests.
const AROUND: Duration = Duration::from_secs(6);
/// How long the daemon may take to answer and the neighbour to start a program.
const PATIENCE: Duration = Duration::from_secs(2);

/// Creates a container of this module while neighbour and daemon are asked; gives what Create said.
fn create(module: &[u8]) -> Result<(), String> {
    let lab = Lab::wasm()
        .with_env("HULL_COMPILE_SECONDS", &SECONDS.to_string())
        .with_env("HULL_COMPILE_MEMORY", &(MEMORY << 20).to_string());
    let pod = |args: &[&str]| Spec::new(args.iter().copied()).annotation(POD, "pod");
    let neighbour = lab.container(&pod(&["sleep", "600"]));
    neighbour.run();
    let c = lab.container(&pod(&[FILE]));
    fs::write(c.upper().join("bomb.wasm"), module).unwrap();
    let pulse = Pulse::of(&neighbour.address, lab.tag(), neighbour.shim_pid());
    let began = Instant::now();
    let (created, slowest) = std::thread::scope(|scope| {
        let creating = scope.spawn(|| c.try_create());
        let mut slowest = Duration::ZERO;
        while !creating.is_finished() {
            let asked = Instant::now();
            assert_eq!(neighbour.exec("e", ["echo", "fine"]).stdout, "fine\n");
            slowest = slowest.max(asked.elapsed());
        }
        (creating.join().unwrap(), slowest)
    });
    let took = began.elapsed();
    let stalls = pulse.stop();
    println!("{took:?}, neighbour {slowest:?}, daemon {stalls:?}: {created:?}");
    assert!(
        took < slowed(Duration::from_secs(SECONDS) + AROUND),
        "{took:?}"
    );
    assert!(slowest < slowed(PATIENCE), "the neighbour took {slowest:?}");
    assert!(stalls.slowest < slowed(PATIENCE), "{stalls:?}");
    let jails = cgroup::jails(&c.cgroup());
    assert!(jails.is_empty(), "{jails:?}");
    // What large files are is noted beside a start.
    eventually("nothing but artifacts and notes is in the store", || {
        artifacts::leftovers(&lab.artifacts())
            .is_empty()
            .then_some(())
    });
    created.map(drop).map_err(|error| {
        is_one_clear_line(error.message(), &[FILE]);
        assert!(!error.message().contains(char::is_control), "{error:?}");
        error.message().to_owned()
    })
}

/// It meets the limit of time or memory, or the compiler is quick enough.
#[track_caller]
fn is_bounded(module: &[u8]) {
    if let Err(text) = create(module) {
        let limit = ["HULL_COMPILE_SECONDS", "HULL_COMPILE_MEMORY"];
        assert!(limit.iter().any(|name| text.contains(name)), "{text}");
    }
}

/// Create fails and says this.
#[track_caller]
fn is_refused(module: &[u8], part: &str) {
    let text = create(module).unwrap_err();
    assert!(text.contains(part), "{text}");
}

#[test]
fn blocks_in_blocks() {
    let count = 1_000_000;
    is_bounded(&command(
        b"\x00",
        &[b"\x02\x40".repeat(count), b"\x0b".repeat(count)].concat(),
    ));
}

#[test]
fn branches_in_branches() {
    let count = 300_000;
    let open = b"\x41\x01\x04\x40".repeat(count);
    is_bounded(&command(b"\x00", &[open, b"\x0b".repeat(count)].concat()));
}

/// x = (x + 1) * x, again and again.
const OPERATIONS: &[u8] = b"\x20\x00\x42\x01\x7c\x20\x00\x7e\x21\x00";

#[test]
fn function_as_large_as_one_may_be() {
    is_bounded(&command(b"\x01\x01\x7e", &OPERATIONS.repeat(700_000)));
}

#[test]
fn function_larger_than_one_may_be() {
    let module = command(b"\x01\x01\x7e", &OPERATIONS.repeat(800_000));
    is_refused(&module, "exceeds limit of 7654321");
}

/// A small module: sixteen kilobytes of functions with fifty thousand local variables each.
#[test]
fn variables_by_the_hundred_million() {
    let count = 2000;
    let body = [b"\x01".as_slice(), &number(50_000), b"\x7e\x0b"].concat();
    let (types, code) = (many(count, b"\x00"), many(count, &sized(&body)));
    is_bounded(&module(&[(1, TYPE), (3, &types), (7, EXPORT), (10, &code)]));
}

/// So many functions of nothing.
fn functions(count: usize) -> Vec<u8> {
    let (types, code) = (many(count, b"\x00"), many(count, b"\x02\x00\x0b"));
    module(&[(1, TYPE), (3, &types), (7, EXPORT), (10, &code)])
}

#[test]
fn functions_by_the_million() {
    is_bounded(&functions(1_000_000));
    is_refused(&functions(1_000_001), "exceeds limit of 1000000");
}

#[test]
fn types_by_the_million() {
    let with = |count| {
        let types = many(count, b"\x60\x00\x00");
        module(&[
            (1, &types),
            (3, b"\x01\x00"),
            (7, EXPORT),
            (10, b"\x01\x02\x00\x0b"),
        ])
    };
    is_bounded(&with(1_000_000));
    is_refused(&with(1_000_001), "exceeds limit of 1000000");
}

#[test]
fn branch_with_a_million_targets() {
    let targets = many(1_000_000, b"\x00");
    let branch = [b"\x02\x40\x41\x00\x0e", targets.as_slice(), b"\x00\x0b"].concat();
    is_refused(&command(b"\x00", &branch), "1000000 targets");
}

/// A good component with others inside, each in the one before.
#[test]
fn components_in_components() {
    let good = fs::read(Image::Wasm.rootfs().join("wasm/component.wasm")).unwrap();
    let nested = |count| {
        let inner = (0..count).fold(COMPONENT.to_vec(), |inner, _| {
            [COMPONENT, &section(4, &inner)].concat()
        });
        [good.clone(), section(4, &inner)].concat()
    };
    is_bounded(&nested(100));
    is_bounded(&nested(3000));
}

/// Nobody wants to read, nor a terminal to show, what a module calls its functions.
#[test]
fn names_by_the_hundred_thousand() {
    let count = 100_000;
    let name = |at: usize| sized(format!("\x1b[2J\r\n{at}\u{202e}\0").as_bytes());
    let list = |each: &dyn Fn(usize) -> Vec<u8>| {
        [number(count), (0..count).flat_map(each).collect()].concat()
    };
    let exports = list(&|at| [name(at), b"\x00\x00".to_vec()].concat());
    let code = b"\x01\x02\x00\x0b";
    let library = module(&[(1, TYPE), (3, b"\x01\x00"), (7, &exports), (10, code)]);
    is_refused(&library, "_start");
    let imports = list(&|at| [name(at), name(at), b"\x00\x00".to_vec()].concat());
    let export = [b"\x01\x06_start\x00", number(count).as_slice()].concat();
    let needy = module(&[
        (1, TYPE),
        (2, &imports),
        (3, b"\x01\x00"),
        (7, &export),
        (10, code),
    ]);
    is_refused(&needy, "import");
}
