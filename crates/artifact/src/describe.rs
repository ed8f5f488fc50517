//! What an artifact says of itself, for people: nothing here decides whether it is run.
//!
//! An artifact is an ELF file of wasmtime's own kind. Its flags say whether it was a module or a
//! component, and its section `.wasmtime.engine` holds a version byte, the engine's version as a
//! string with its length in front, and the settings of the compiler
//! (`wasmtime/src/engine/serialization.rs` and `wasmtime_environ::obj`).

use crate::trailer::is_artifact;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// The section with the engine's version and settings.
const ENGINE_SECTION: &[u8] = b".wasmtime.engine\0";
/// The layout of that section that we know.
const ENGINE_VERSION: u8 = 0;
/// Settings take a few hundred bytes.
const MAX_ENGINE: u64 = 64 << 10;

/// Flags of the file's header.
const MODULE: u32 = 1;
const COMPONENT: u32 = 2;

/// Sizes of the ELF header and of a section's header in 64-bit files (elf(5)).
const HEADER: usize = 64;
const SECTION: usize = 64;

/// What an artifact was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A core module.
    Module,
    /// A component.
    Component,
}

/// What an artifact says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// What it was made of.
    pub kind: Kind,
    /// Version of the wasmtime that compiled it.
    pub version: String,
    /// Equal for two artifacts exactly if version and settings of the engine were.
    pub engine: [u8; 32],
}

/// Reads what an artifact says of itself; `None` where it is not laid out as we know it.
#[must_use]
pub fn describe(artifact: &File) -> Option<Description> {
    let header: [u8; HEADER] = read(artifact, 0)?;
    if !is_artifact(&header) {
        return None;
    }
    let kind = match u32_at(&header, 0x30)? {
        flags if flags & MODULE != 0 => Kind::Module,
        flags if flags & COMPONENT != 0 => Kind::Component,
        _ => return None,
    };
    let engine = engine_section(artifact, &header)?;
    let (&layout, rest) = engine.split_first()?;
    let (&length, rest) = rest.split_first()?;
    if layout != ENGINE_VERSION {
        return None;
    }
    let version = std::str::from_utf8(rest.get(..usize::from(length))?).ok()?;
    if !version.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    Some(Description {
        kind,
        version: version.to_owned(),
        engine: Sha256::digest(&engine).into(),
    })
}

fn engine_section(file: &File, header: &[u8]) -> Option<Vec<u8>> {
    let (table, count) = (u64_at(header, 0x28)?, u16_at(header, 0x3c)?);
    let section = |index: u16| -> Option<[u8; SECTION]> {
        let offset = u64::from(index).checked_mul(SECTION as u64)?;
        read(file, table.checked_add(offset)?)
    };
    let names = u64_at(&section(u16_at(header, 0x3e)?)?, 0x18)?;
    for index in 0..count {
        let section = section(index)?;
        let name = names.checked_add(u32_at(&section, 0)?.into())?;
        // The name may be the last thing in the file.
        let is_engine = read::<{ ENGINE_SECTION.len() }>(file, name)
            .is_some_and(|name| name == *ENGINE_SECTION);
        if is_engine {
            let (offset, size) = (u64_at(&section, 0x18)?, u64_at(&section, 0x20)?);
            let mut bytes = vec![0; usize::try_from(size.min(MAX_ENGINE)).ok()?];
            file.read_exact_at(&mut bytes, offset).ok()?;
            return (size <= MAX_ENGINE).then_some(bytes);
        }
    }
    None
}

fn read<const N: usize>(file: &File, offset: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}
