//! Loading a compiled artifact: the one place where bytes of a file become code of this process.

use crate::failure::Failure;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

/// A compiled guest.
#[derive(Debug)]
pub(crate) enum Guest {
    /// A core module (WASI preview 1).
    Module(Module),
    /// A component (WASI 0.2).
    Component(Component),
}

/// The flag in an artifact's ELF header (`e_flags`) that tells a component from a core module:
/// `EF_WASMTIME_COMPONENT` of wasmtime's `obj.rs`.
const COMPONENT_FLAG: u32 = 1 << 1;
/// Where `e_flags` is in the header of a 64-bit ELF file.
const E_FLAGS: u64 = 48;

/// Loads the artifact and makes its code executable.
pub(crate) fn load(engine: &Engine, file: File) -> Result<Guest, Failure> {
    let unreadable = |error: std::io::Error| Failure::not_found("cannot read the artifact", error);
    let mut flags = [0; 4];
    file.read_exact_at(&mut flags, E_FLAGS)
        .map_err(unreadable)?;
    let guest = if u32::from_le_bytes(flags) & COMPONENT_FLAG == 0 {
        deserialize(engine, Bytes::Mapped(file))
    } else {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut &file, &mut bytes).map_err(unreadable)?;
        deserialize(engine, Bytes::Copied(bytes))
    };
    let guest = guest.map_err(|error| Failure::not_found("cannot load the artifact", error))?;
    // Memory images are otherwise made when they are first needed, with system calls that the
    // guest's filter need not know.
    let images = match &guest {
        Guest::Module(module) => module.initialize_copy_on_write_image(),
        Guest::Component(component) => component.initialize_copy_on_write_image(),
    };
    images.map_err(|error| Failure::internal("cannot prepare the memory images", error))?;
    Ok(guest)
}

/// How the bytes of an artifact come into memory.
enum Bytes {
    /// Mapped from the file, so that all containers of a module share its pages.
    Mapped(File),
    /// Read into memory: components cannot be loaded from a descriptor, and there may be no /proc to
    /// make a path of it.
    Copied(Vec<u8>),
}

#[expect(
    unsafe_code,
    clippy::multiple_unsafe_ops_per_block,
    reason = "the one block that makes native code of an artifact; one proof for both kinds"
)]
fn deserialize(engine: &Engine, bytes: Bytes) -> wasmtime::Result<Guest> {
    // SAFETY: both functions need bytes that wasmtime's own compiler made, unchanged, and a file
    // that does not change while it is mapped. The artifact is made by hull-wasmc and nothing else:
    // trusted code took it from the jailed compiler's sealed output, recorded its digest and put it
    // into a store that only root can write to, as a file that is never modified in place. The daemon or
    // a job of it has checked owner, mode and links of this very open file, and the init process its
    // length and digest before it executed us. The descriptor reaches us from it alone: our environment holds
    // nothing but its number, the file is open for reading only and on no mount of the container.
    unsafe {
        match bytes {
            Bytes::Mapped(file) => Module::deserialize_open_file(engine, file).map(Guest::Module),
            Bytes::Copied(bytes) => Component::deserialize(engine, bytes).map(Guest::Component),
        }
    }
}
