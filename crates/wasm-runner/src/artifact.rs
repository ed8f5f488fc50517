//! Loading a compiled artifact: the one place where bytes of a file become code of this process.

use crate::failure::Failure;
use hull_sys::procfs;
use std::fmt::Display;
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
    Component(Loaded),
}

/// A component in memory.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) component: Component,
    /// Bytes of its code that are in memory of our own. A core module's are in pages of its file, which the
    /// kernel can take back, and so are those of a component that is mapped.
    pub(crate) own_code: u64,
}

/// The flag in an artifact's ELF header (`e_flags`) that tells a component from a core module:
/// `EF_WASMTIME_COMPONENT` of wasmtime's `obj.rs`.
const COMPONENT_FLAG: u32 = 1 << 1;
/// Where `e_flags` is in the header of a 64-bit ELF file.
const E_FLAGS: u64 = 48;

/// A compiled guest in its file, which can be loaded into any number of engines.
#[derive(Debug)]
pub(crate) enum Artifact {
    /// A core module.
    Module(File),
    /// A component.
    Component(File),
}

impl Artifact {
    /// Looks at what the artifact is.
    pub(crate) fn of(file: File) -> Result<Self, Failure> {
        let mut flags = [0; 4];
        file.read_exact_at(&mut flags, E_FLAGS)
            .map_err(unreadable)?;
        Ok(if u32::from_le_bytes(flags) & COMPONENT_FLAG == 0 {
            Self::Module(file)
        } else {
            Self::Component(file)
        })
    }

    /// Loads it and makes its code executable. For a process with one thread, whose working directory changes
    /// meanwhile.
    pub(crate) fn load(&self, engine: &Engine) -> Result<Guest, Failure> {
        let guest = match self {
            Self::Module(file) => deserialize(engine, Source::File(file)).map_err(unloadable)?,
            Self::Component(file) => match mapped(engine, file)? {
                Some(guest) => guest,
                None => copied(engine, file)?,
            },
        };
        // Memory images are otherwise made when they are first needed, with system calls that the
        // guest's filter need not know.
        let images = match &guest {
            Guest::Module(module) => module.initialize_copy_on_write_image(),
            Guest::Component(loaded) => loaded.component.initialize_copy_on_write_image(),
        };
        images.map_err(|error| Failure::internal("cannot prepare the memory images", error))?;
        Ok(guest)
    }

    /// Loads it where it is known to be a component.
    pub(crate) fn component(&self, engine: &Engine) -> Result<Loaded, Failure> {
        match self.load(engine)? {
            Guest::Component(loaded) => Ok(loaded),
            Guest::Module(_) => Err(Failure::internal(
                "cannot load the artifact",
                "it has changed",
            )),
        }
    }
}

fn unreadable(error: impl Display) -> Failure {
    Failure::not_found("cannot read the artifact", error)
}

fn unloadable(error: impl Display) -> Failure {
    Failure::not_found("cannot load the artifact", error)
}

/// A component whose pages all containers of it share. wasmtime maps components by name only, and the one
/// that our descriptor has is in /proc: `None` where there is none, or where something there, a profile of the
/// container's or the file's mode forbids to open it.
fn mapped(engine: &Engine, file: &File) -> Result<Option<Guest>, Failure> {
    match procfs::open_by_name(file, |name| deserialize(engine, Source::Name(name))) {
        // Whatever is wrong: if it is the artifact, copying it will tell.
        Ok(guest) => Ok(guest.ok()),
        Err(procfs::Error::Nameless(_) | procfs::Error::Unopened) => Ok(None),
        Err(error @ procfs::Error::Astray(_)) => {
            Err(Failure::internal("cannot load the artifact", error))
        }
    }
}

/// A component in memory of our own.
fn copied(engine: &Engine, file: &File) -> Result<Guest, Failure> {
    let size = file.metadata().map_err(unreadable)?.len();
    let mut bytes = vec![0; usize::try_from(size).map_err(unreadable)?];
    file.read_exact_at(&mut bytes, 0).map_err(unreadable)?;
    deserialize(engine, Source::Bytes(&bytes)).map_err(unloadable)
}

/// What an artifact is loaded from.
#[derive(Debug)]
enum Source<'a> {
    /// Maps a core module.
    File(&'a File),
    /// Maps a component: the name that the file has where we are.
    Name(&'a str),
    /// Copies a component.
    Bytes(&'a [u8]),
}

#[expect(
    unsafe_code,
    clippy::multiple_unsafe_ops_per_block,
    reason = "the one block that makes native code of an artifact; one proof for all kinds"
)]
fn deserialize(engine: &Engine, source: Source<'_>) -> wasmtime::Result<Guest> {
    // SAFETY: all three functions need bytes that wasmtime's own compiler made, unchanged, and a file
    // that does not change while it is mapped. The artifact is made by hull-wasmc and nothing else:
    // trusted code took it from the jailed compiler's sealed output, recorded its digest and put it
    // into a store that only root can write to, as a file that is never modified in place. The daemon or
    // a job of it has checked owner, mode and links of this very open file, and the init process its
    // length and digest before it executed us. The descriptor reaches us from it alone: our environment holds
    // nothing but its number, the file is open for reading only and on no mount of the container.
    // A name stands for the same open file: `procfs::open_by_name` gives it out, the only one who calls us with
    // one, and it drops what we made of any other file, of which nothing has been called by then.
    unsafe {
        match source {
            Source::File(file) => {
                Module::deserialize_open_file(engine, file.try_clone()?).map(Guest::Module)
            }
            Source::Name(name) => Component::deserialize_file(engine, name).map(Loaded::mapped),
            Source::Bytes(bytes) => Component::deserialize(engine, bytes).map(Loaded::copied),
        }
    }
}

impl Loaded {
    fn mapped(component: Component) -> Guest {
        Guest::Component(Self {
            component,
            own_code: 0,
        })
    }

    fn copied(component: Component) -> Guest {
        let code = component.image_range();
        let own_code = code.end.addr().saturating_sub(code.start.addr());
        Guest::Component(Self {
            component,
            own_code: u64::try_from(own_code).unwrap_or(u64::MAX),
        })
    }
}
