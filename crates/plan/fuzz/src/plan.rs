//! libFuzzer's entry to `hull-plan`: `make fuzz`.
#![no_main]

mod check;

libfuzzer_sys::fuzz_target!(|input: &[u8]| check::input(input));
