//! The engine id.

use sha2::{Digest as _, Sha256};
use std::hash::{Hash as _, Hasher};
use wasmtime::Engine;

/// `wasmtime-<full version> <hash>`. The hash covers the target, the settings of the compiler, the
/// processor's features that it uses, and what the engine expects of an artifact.
pub(crate) fn id(engine: &Engine) -> String {
    let mut hasher = Stable::default();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    let digest: [u8; 32] = hasher.0.finalize().into();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("wasmtime-{} {hex}", hull_wasm_engine::VERSION)
}

/// SHA-256 over what is hashed. The hasher of the standard library is short and differs between
/// versions of Rust.
#[derive(Default)]
struct Stable(Sha256);

impl Hasher for Stable {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Nobody asks for it: the whole digest is taken instead.
    fn finish(&self) -> u64 {
        let digest: [u8; 32] = self.0.clone().finalize().into();
        digest
            .iter()
            .take(8)
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }
}
