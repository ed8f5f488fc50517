//! Calling one function of a guest: arguments come as text, results go to standard output, one in a
//! line.

use crate::failure::{Failure, say};
use hull_abi::RunnerConfig;
use std::fmt::Display;
use wasmtime::component::wasm_wave;
use wasmtime::{Val, ValType, component};

/// Exit code of a function whose result is an error, and when its results cannot be written.
const FAILED: i32 = 1;

/// The arguments of a core module's function.
pub(crate) fn core_arguments(
    config: &RunnerConfig,
    types: impl ExactSizeIterator<Item = ValType>,
) -> Result<Vec<Val>, Failure> {
    let texts = texts(config, types.len())?;
    let parsed = types.zip(texts).enumerate().map(|(index, (item, text))| {
        core_value(&item, text).ok_or_else(|| wrong(index, &item, text, "it is no such value"))
    });
    parsed.collect()
}

/// The arguments of a component's function, each a text in WAVE.
pub(crate) fn arguments(
    config: &RunnerConfig,
    function: &component::types::ComponentFunc,
) -> Result<Vec<component::Val>, Failure> {
    let types = function.params();
    let texts = texts(config, types.len())?;
    let parsed = types
        .zip(texts)
        .enumerate()
        .map(|(index, ((name, item), text))| {
            wasm_wave::from_str(&item, text).map_err(|error| wrong(index, name, text, error))
        });
    parsed.collect()
}

fn texts(config: &RunnerConfig, count: usize) -> Result<&[String], Failure> {
    let given = config.args.get(1..).unwrap_or_default();
    if given.len() == count {
        return Ok(given);
    }
    let given = given.len();
    let cause = format!("the function takes {count}, but {given} are given");
    Err(Failure::not_runnable("wrong number of arguments", cause))
}

fn wrong(index: usize, what: impl Display, text: &str, cause: impl Display) -> Failure {
    let number = index + 1;
    Failure::not_runnable(&format!("argument {number} ({what}) is {text:?}"), cause)
}

/// A decimal or hexadecimal (`0x`) integer, signed or not; a decimal number with fraction and exponent.
fn core_value(item: &ValType, text: &str) -> Option<Val> {
    let integer = || match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(digits) => i128::from(u64::from_str_radix(digits, 16).ok()?).into(),
        None => text.parse::<i128>().ok(),
    };
    match item {
        ValType::I32 => {
            let number = integer()?;
            let signed = i32::try_from(number).ok();
            let value = signed.or_else(|| Some(u32::try_from(number).ok()?.cast_signed()));
            value.map(Val::I32)
        }
        ValType::I64 => {
            let number = integer()?;
            let signed = i64::try_from(number).ok();
            let value = signed.or_else(|| Some(u64::try_from(number).ok()?.cast_signed()));
            value.map(Val::I64)
        }
        ValType::F32 => text.parse().ok().map(|number: f32| number.into()),
        ValType::F64 => text.parse().ok().map(|number: f64| number.into()),
        ValType::V128 | ValType::Ref(_) => None,
    }
}

/// Prints what a core module's function gave; the exit code.
pub(crate) fn print_core(results: &[Val]) -> i32 {
    print(results.iter().map(|value| match value {
        Val::I32(number) => Ok(number.to_string()),
        Val::I64(number) => Ok(number.to_string()),
        Val::F32(bits) => Ok(f32::from_bits(*bits).to_string()),
        Val::F64(bits) => Ok(f64::from_bits(*bits).to_string()),
        Val::V128(_)
        | Val::FuncRef(_)
        | Val::ExternRef(_)
        | Val::AnyRef(_)
        | Val::ExnRef(_)
        | Val::ContRef(_) => Err("it has no text form".to_owned()),
    }))
}

/// Prints what a component's function gave; the exit code, which says whether it is an error.
pub(crate) fn print_results(results: &[component::Val]) -> i32 {
    let code = print(
        results
            .iter()
            .map(|value| wasm_wave::to_string(value).map_err(|error| error.to_string())),
    );
    match results {
        [component::Val::Result(Err(_))] => FAILED,
        _ => code,
    }
}

fn print(texts: impl Iterator<Item = Result<String, String>>) -> i32 {
    let mut lines = String::new();
    for text in texts {
        match text {
            Ok(text) => {
                lines.push_str(&text);
                lines.push('\n');
            }
            Err(cause) => {
                say(&format!("hull-wasm: cannot print the result: {cause}"));
                return FAILED;
            }
        }
    }
    match hull_sys::stream::write_all(std::io::stdout(), lines.as_bytes()) {
        Ok(()) => 0,
        Err(errno) => {
            let cause = errno.desc();
            say(&format!("hull-wasm: cannot print the result: {cause}"));
            FAILED
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_decimal_or_hexadecimal_and_signed_or_not() {
        let i32 = |text| match core_value(&ValType::I32, text) {
            Some(Val::I32(number)) => Some(number),
            _ => None,
        };
        assert_eq!(i32("-5"), Some(-5));
        assert_eq!(i32("0xff"), Some(255));
        assert_eq!(i32("4294967295"), Some(-1));
        for wrong in [
            "",
            "4294967296",
            "-2147483649",
            "1.5",
            "0x",
            "0x-1",
            "x",
            " 1",
        ] {
            assert_eq!(i32(wrong), None, "{wrong:?}");
        }
        let i64 = |text| match core_value(&ValType::I64, text) {
            Some(Val::I64(number)) => Some(number),
            _ => None,
        };
        assert_eq!(i64("0xffffffffffffffff"), Some(-1));
        assert_eq!(i64("18446744073709551616"), None);
    }

    #[test]
    fn floats_are_decimal() {
        let f64 = |text| match core_value(&ValType::F64, text) {
            Some(Val::F64(bits)) => Some(f64::from_bits(bits)),
            _ => None,
        };
        assert_eq!(f64("-1.5e3"), Some(-1500.0));
        assert_eq!(f64("inf"), Some(f64::INFINITY));
        assert_eq!(f64("one"), None);
    }
}
