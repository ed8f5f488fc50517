//! Random bytes for core modules.

use hull_sys::random;
use wasmtime::{Caller, Extern};

/// Errno of preview 1 for addresses that are not the guest's.
const FAULT: i32 = 21;
/// Errno of preview 1 for an input or output error.
const IO: i32 = 29;

/// `random_get` of preview 1, straight into the guest's memory: wasmtime-wasi's makes them in memory of ours
/// first, as many as the guest wants, and that memory nobody has reckoned with.
pub(crate) fn get<T>(mut guest: Caller<'_, T>, address: i32, length: i32) -> i32 {
    let Some(Extern::Memory(memory)) = guest.get_export("memory") else {
        return FAULT;
    };
    // Both are unsigned for the guest.
    let [start, length] = [address, length].map(|number| number.cast_unsigned() as usize);
    let Some(bytes) = memory
        .data_mut(&mut guest)
        .get_mut(start..)
        .and_then(|rest| rest.get_mut(..length))
    else {
        return FAULT;
    };
    random::fill(bytes).map_or(IO, |()| 0)
}
