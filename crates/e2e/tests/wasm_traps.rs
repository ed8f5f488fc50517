//! Guests that fail while they run: the cause and the place on the container's stderr, exit code
//! 134, and never the look of a kill by the kernel.

use hull_e2e::{Lab, Ran, Spec, Topic};

/// Exit code of a process that was ended by SIGABRT, as the wasmtime command has it.
const TRAPPED: u32 = 134;

/// Runs a guest that must trap for this cause in this function.
#[track_caller]
fn traps(guest: &str, cause: &str, function: &str) {
    let lab = Lab::wasm();
    let mut c = lab.container(&Spec::new([guest]));
    let ran = c.run_to_end();
    assert_eq!((ran.status, ran.stdout.as_str()), (TRAPPED, ""), "{ran:?}");
    let text = &ran.stderr;
    assert!(text.contains("trap"), "{text}");
    assert!(text.contains(cause), "{text}");
    assert!(text.contains("backtrace"), "{text}");
    assert!(text.contains(function), "{text}");
    lab.events().wait_for(Topic::Exit, &c.id, "");
    let oom = lab.events().topics(&c.id).contains(&Topic::Oom);
    assert!(!oom, "a trap is no OOM");
}

#[test]
fn unreachable_names_the_call_chain() {
    traps("/wasm/trap-unreachable.wasm", "unreachable", "inner");
    traps("/wasm/trap-unreachable.wasm", "unreachable", "outer");
}

#[test]
fn access_behind_the_memory() {
    traps(
        "/wasm/trap-memory.wasm",
        "out of bounds memory access",
        "far",
    );
}

#[test]
fn division_by_zero() {
    traps("/wasm/trap-divide.wasm", "integer divide by zero", "divide");
}

#[test]
fn endless_recursion_is_a_trap_and_not_a_crash() {
    traps("/wasm/trap-stack.wasm", "call stack exhausted", "deeper");
}

#[test]
fn indirect_call_of_another_type() {
    traps(
        "/wasm/trap-call.wasm",
        "indirect call type mismatch",
        "call",
    );
}

#[test]
fn trap_in_an_exec_leaves_the_container_alone() {
    let lab = Lab::wasm();
    let mut c = lab.container(&Spec::new(["/wasm/sleep.wasm"]));
    c.run();
    c.read_until("ready\n");
    let Ran { status, stderr, .. } = c.exec("e", ["/wasm/trap-divide.wasm"]);
    assert_eq!(status, TRAPPED);
    assert!(stderr.contains("integer divide by zero"), "{stderr}");
    assert_eq!(
        c.exec("f", ["/wasm/hello.wasm"]).stdout,
        "hello from Wasm\n"
    );
}

#[test]
fn trap_with_small_memory_limit_is_no_oom() {
    let lab = Lab::wasm();
    let spec = Spec::new(["/wasm/trap-stack.wasm"]).resource("memory/limit", 32 << 20);
    let mut c = lab.container(&spec);
    let ran = c.run_to_end();
    assert_eq!(ran.status, TRAPPED, "{ran:?}");
    assert!(ran.stderr.contains("call stack exhausted"), "{ran:?}");
    assert!(!lab.events().topics(&c.id).contains(&Topic::Oom));
}
