//! Files that look like Wasm in some way and must not run.

use crate::error::Result;
use crate::guests;

/// Magic bytes and version 1 of a core module.
const HEADER: &[u8; 8] = b"\0asm\x01\0\0\0";

/// Size of an ELF header of 64 bits.
const ELF_HEADER_SIZE: usize = 64;

/// Functions of the module that takes a compiler long, and the operations in each of them.
const SLOW_FUNCTIONS: usize = 2250;
const SLOW_OPERATIONS: usize = 150;

/// Memories of the module that becomes very large, and the offset of their last byte as a positive
/// number in signed LEB128.
const MEMORIES: usize = 64;
const LAST_BYTE: usize = 0xe_ffff;

/// The files by name.
///
/// # Errors
///
/// None of these can fail to compile but by a mistake here.
pub(crate) fn files() -> Result<Vec<(&'static str, Vec<u8>)>> {
    let hello = guests::Guest::hello().compile()?;
    let half = hello.get(..hello.len() / 2).unwrap_or_default().to_vec();
    Ok(vec![
        (
            "corrupt.wasm",
            [&HEADER[..], b"\x2a and nothing that follows"].concat(),
        ),
        ("truncated.wasm", half),
        ("empty.wasm", Vec::new()),
        ("header.wasm", HEADER[..6].to_vec()),
        ("text.wasm", b"this is not even a program\n".to_vec()),
        (
            "wat-text.wasm",
            b"(module (func (export \"_start\")))\n".to_vec(),
        ),
        ("wrong-version.wasm", b"\0asm\x02\0\0\0".to_vec()),
        ("precompiled.cwasm", precompiled()),
        ("slow.wasm", slow()),
        ("bloated.wasm", bloated()),
    ])
}

/// The head of what wasmtime makes of a module: ELF with its own OS ABI, 200. Native code that an
/// image brought must never run as if hull had compiled it.
fn precompiled() -> Vec<u8> {
    let mut elf = vec![0; ELF_HEADER_SIZE];
    // 64 bits, little endian, version 1, OS ABI 200; a relocatable file for x86-64, version 1.
    let start = b"\x7fELF\x02\x01\x01\xc8\0\0\0\0\0\0\0\0\x01\0\x3e\0\x01\0\0\0";
    elf.splice(..start.len(), start.iter().copied());
    elf
}

/// A valid module of two kilobytes whose memories have images of almost a mebibyte each: a byte at both
/// ends.
fn bloated() -> Vec<u8> {
    let memories: Vec<u8> = (0..MEMORIES).flat_map(|_| *b"\x00\x10").collect();
    // Active segment in memory n (flag 2) at a constant offset, one byte.
    let segment = |memory: usize, offset: usize| {
        let (memory, offset) = (leb128(memory), leb128(offset));
        [b"\x02", &memory[..], b"\x41", &offset, b"\x0b\x01x"].concat()
    };
    let segments: Vec<u8> = (0..MEMORIES)
        .flat_map(|memory| [segment(memory, 0), segment(memory, LAST_BYTE)].concat())
        .collect();
    [
        HEADER.to_vec(),
        section(1, b"\x01\x60\x00\x00"),
        section(3, b"\x01\x00"),
        section(5, &[leb128(MEMORIES), memories].concat()),
        section(7, b"\x02\x06memory\x02\x00\x06_start\x00\x00"),
        section(10, b"\x01\x02\x00\x0b"),
        section(11, &[leb128(2 * MEMORIES), segments].concat()),
    ]
    .concat()
}

/// A valid module that takes a compiler long and much memory, and that does nothing when it runs:
/// many functions of the same operations. In
/// [binary](https://webassembly.github.io/spec/core/binary/modules.html), since text of this length
/// takes an assembler long as well.
fn slow() -> Vec<u8> {
    // x = rotl(x, y) + memory[x], with x and y as parameters 0 and 1.
    let operation = b"\x20\x00\x20\x01\x89\x20\x00\xa7\x29\x00\x00\x7c\x21\x00";
    let function = [
        b"\x00",
        operation.repeat(SLOW_OPERATIONS).as_slice(),
        b"\x0b",
    ]
    .concat();
    let function = [leb128(function.len()), function].concat();
    let count = leb128(SLOW_FUNCTIONS + 1);
    [
        HEADER.to_vec(),
        // Type 0: nothing to nothing; type 1: two i64 to nothing.
        section(1, b"\x02\x60\x00\x00\x60\x02\x7e\x7e\x00"),
        section(
            3,
            &[count.as_slice(), b"\x00", &[1].repeat(SLOW_FUNCTIONS)].concat(),
        ),
        section(5, b"\x01\x00\x01"),
        section(7, b"\x02\x06memory\x02\x00\x06_start\x00\x00"),
        section(
            10,
            &[
                count.as_slice(),
                b"\x02\x00\x0b",
                &function.repeat(SLOW_FUNCTIONS),
            ]
            .concat(),
        ),
    ]
    .concat()
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [vec![id], leb128(content.len()), content.to_vec()].concat()
}

/// An unsigned number as Wasm writes it: seven bits a byte, the lowest first.
fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number % 128).unwrap_or_default();
        number /= 128;
        bytes.push(if number == 0 { low } else { low | 0x80 });
        if number == 0 {
            return bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> Vec<u8> {
        let found = files().unwrap().into_iter().find(|file| file.0 == name);
        found.unwrap_or_else(|| panic!("no {name}")).1
    }

    #[test]
    fn what_begins_as_a_module_and_what_does_not() {
        for name in ["corrupt.wasm", "truncated.wasm", "slow.wasm"] {
            assert!(file(name).starts_with(HEADER), "{name}");
        }
        for name in [
            "empty.wasm",
            "text.wasm",
            "wat-text.wasm",
            "precompiled.cwasm",
        ] {
            assert!(!file(name).starts_with(b"\0asm"), "{name}");
        }
        let version = file("wrong-version.wasm");
        assert!(version.starts_with(b"\0asm") && !version.starts_with(HEADER));
    }

    #[test]
    fn numbers_are_written_seven_bits_a_byte() {
        assert_eq!(leb128(0), [0]);
        assert_eq!(leb128(127), [0x7f]);
        // The example of the DWARF specification, figure 22.
        assert_eq!(leb128(12857), [0x80 + 57, 100]);
    }

    #[test]
    fn precompiled_is_an_elf_header_of_another_abi() {
        let elf = file("precompiled.cwasm");
        assert_eq!((elf.len(), &elf[..4], elf[7]), (64, &b"\x7fELF"[..], 200));
        // Fields after the first 24 bytes are zero: no program, no section.
        assert!(elf[24..].iter().all(|byte| *byte == 0));
    }
}
