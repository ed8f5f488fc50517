//! Memory limits: growing fails before the kernel kills.

use crate::guest::{Guest, command, module, stderr};

const MIB: u64 = 1 << 20;

/// Grows by single MiB until that fails, touches everything, exits with the number of MiB.
const GROW: &str = "(local $mib i32)
    (loop $more
      (if (i32.ne (memory.grow (i32.const 16)) (i32.const -1))
        (then
          (local.set $mib (i32.add (local.get $mib) (i32.const 1)))
          (memory.fill
            (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 1048576))
            (i32.const 1) (i32.const 1048576))
          (br_if $more (i32.lt_u (local.get $mib) (i32.const 200))))))
    (call $proc_exit (local.get $mib))";

fn mib_under(limit: Option<u64>) -> i32 {
    let mut guest = command(GROW);
    guest.config.memory_limit = limit;
    guest.run().status.code().unwrap()
}

#[test]
fn growing_fails_at_the_limit() {
    assert_eq!(mib_under(None), 200);
    let granted = mib_under(Some(64 * MIB));
    assert!((56..64).contains(&granted), "{granted}");
    assert_eq!(mib_under(Some(32 * MIB)), granted - 32);
}

#[test]
fn a_module_that_cannot_fit_is_not_started() {
    let rest = "(memory 800) (func (export \"_start\"))";
    let mut guest = Guest::new(&module("", rest));
    guest.config.memory_limit = Some(40 * MIB);
    let output = guest.run();
    assert_eq!(output.status.code(), Some(126), "{output:?}");
    let text = stderr(&output);
    assert!(
        text.starts_with("hull-wasm: /guest.wasm: cannot make its memory: "),
        "{text}"
    );
    assert!(text.contains(&(801 * 65536).to_string()), "{text}");
    guest.config.memory_limit = Some(64 * MIB);
    assert_eq!(guest.run().status.code(), Some(0));
}

#[test]
fn tables_count_too() {
    // Elements take 8 bytes each.
    let rest = "(table $t 0 funcref) (func (export \"_start\")
        (call $proc_exit (i32.ne (i32.const -1)
          (table.grow $t (ref.null func) (i32.const 4000000)))))";
    let mut guest = Guest::new(&module("", rest));
    guest.config.memory_limit = Some(20 * MIB);
    assert_eq!(guest.run().status.code(), Some(0));
    guest.config.memory_limit = Some(60 * MIB);
    assert_eq!(guest.run().status.code(), Some(1));
}
