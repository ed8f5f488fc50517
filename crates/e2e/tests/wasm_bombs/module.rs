//! Modules in [binary](https://webassembly.github.io/spec/core/binary/modules.html), as large as they have to
//! be: text of this length would take longer to assemble than what is tested.

/// Magic bytes and version 1 of a core module.
pub(super) const HEADER: &[u8] = b"\0asm\x01\0\0\0";
/// The same of a component.
pub(super) const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
/// The type of `_start`.
pub(super) const TYPE: &[u8] = b"\x01\x60\x00\x00";
/// One function of that type.
const FUNCTION: &[u8] = b"\x01\x00";
/// Function 0 is exported as `_start`.
pub(super) const EXPORT: &[u8] = b"\x01\x06_start\x00\x00";

/// An unsigned number, seven bits a byte, the lowest first.
pub(super) fn number(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number % 128).unwrap();
        number /= 128;
        bytes.push(if number == 0 { low } else { low | 0x80 });
        if number == 0 {
            return bytes;
        }
    }
}

/// Bytes with their number in front.
pub(super) fn sized(bytes: &[u8]) -> Vec<u8> {
    [&number(bytes.len()), bytes].concat()
}

/// A section.
pub(super) fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [vec![id], sized(content)].concat()
}

/// So many of the same, with their number in front.
pub(super) fn many(count: usize, each: &[u8]) -> Vec<u8> {
    [number(count), each.repeat(count)].concat()
}

/// A module of sections in their order.
pub(super) fn module(sections: &[(u8, &[u8])]) -> Vec<u8> {
    let sections = sections
        .iter()
        .flat_map(|(id, content)| section(*id, content));
    HEADER.iter().copied().chain(sections).collect()
}

/// A command of one function with these locals and instructions.
pub(super) fn command(locals: &[u8], instructions: &[u8]) -> Vec<u8> {
    let body = [locals, instructions, b"\x0b"].concat();
    let code = [b"\x01", sized(&body).as_slice()].concat();
    module(&[(1, TYPE), (3, FUNCTION), (7, EXPORT), (10, &code)])
}
