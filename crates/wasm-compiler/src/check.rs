//! What a Wasm file is, and whether it is something that we can run. The compiler would take much
//! more than that, and the runner would be the first to fail: here the user gets one clear line
//! when the container is created.
//!
//! These checks read declarations only. Whether the file is valid is the compiler's business: what
//! cannot be read here is passed on to it.

use crate::fault::Fault;
use crate::{component, module};
use hull_artifact::{Exports, Kind, is_artifact};

/// The first bytes of every Wasm file.
const MAGIC: &[u8] = b"\0asm";
/// Version and layer of a core module.
const MODULE: &[u8] = &[1, 0, 0, 0];
/// Version and layer of a component.
const COMPONENT: &[u8] = &[0x0d, 0, 1, 0];

/// What a reader of declarations answers.
pub(crate) type Checked = Result<(), Refused>;

/// Why a reader of declarations stopped.
#[derive(Debug)]
pub(crate) enum Refused {
    /// What was read is clear, and not for us.
    Because(String),
    /// The file is not valid; the compiler's message is the better one.
    Invalid,
}

impl From<wasmparser::BinaryReaderError> for Refused {
    fn from(_: wasmparser::BinaryReaderError) -> Self {
        Self::Invalid
    }
}

/// Finds out what the bytes are and what they can be run as.
pub(crate) fn check(wasm: &[u8]) -> Result<Exports, Fault> {
    let kind = kind(wasm).map_err(Fault::Module)?;
    let checked = match kind {
        Kind::Module => module::check(wasm),
        Kind::Component => component::check(wasm),
    };
    match checked {
        Ok(exports) => Ok(exports),
        // The compiler will say what is wrong.
        Err(Refused::Invalid) => Ok(Exports::new(kind)),
        Err(Refused::Because(why)) => Err(Fault::Module(why)),
    }
}

fn kind(wasm: &[u8]) -> Result<Kind, String> {
    if wasm.is_empty() {
        return Err("it is empty".to_owned());
    }
    if is_artifact(wasm) {
        let why = "it is native code that wasmtime compiled, which is never taken from an image: \
                   give the Wasm file that it was made of";
        return Err(why.to_owned());
    }
    let Some(version) = wasm.strip_prefix(MAGIC) else {
        return Err(if is_text(wasm) {
            "it is Wasm text: compile it to a Wasm file first".to_owned()
        } else {
            "it is not a Wasm file".to_owned()
        });
    };
    match version.get(..4) {
        Some(MODULE) => Ok(Kind::Module),
        Some(COMPONENT) => Ok(Kind::Component),
        Some(other) => Err(format!("its Wasm version is unknown ({other:02x?})")),
        None => Err("it ends within the first 8 bytes".to_owned()),
    }
}

/// Whether these are the first bytes of a file in the text format.
fn is_text(bytes: &[u8]) -> bool {
    let start = bytes.trim_ascii_start();
    [b"(module".as_slice(), b"(component", b";;", b"(;"]
        .iter()
        .any(|opening| start.starts_with(opening))
}
