//! The engine id, asked of the compiler once and remembered in the store.

use crate::digest::Hex;
use crate::leftovers::Temporary;
use crate::store::check;
use crate::{EngineId, Error, Store};
use sha2::{Digest as _, Sha256};
use std::fs::Metadata;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;

/// Name of the file in the store.
const NAME: &str = "engine";
/// Longer than any line that we write.
const MAX_SIZE: u64 = 1024;
/// Separates this use of SHA-256 from every other.
const DOMAIN: &[u8] = b"hull compiler 1\0";

/// Features that Cranelift asks of the processor to choose instructions by, and some that it may
/// ask for one day. One that is missing here does no harm: wasmtime refuses to load an artifact that
/// needs what the processor lacks.
#[cfg(target_arch = "x86_64")]
macro_rules! processor_features {
    ($($name:tt),* $(,)?) => {
        [$(std::is_x86_feature_detected!($name)),*]
    };
}

impl Store {
    /// The id that was remembered for this compiler's binary on this processor. `None` when it must
    /// be asked.
    #[must_use]
    pub fn engine_id(&self, compiler: &CompilerIdentity) -> Option<EngineId> {
        let file = self.open_name(NAME).ok()?;
        check(&file).ok()?;
        let mut text = String::new();
        file.take(MAX_SIZE).read_to_string(&mut text).ok()?;
        let (asked, id) = text.split_once('\n')?;
        if asked != compiler.0 {
            return None;
        }
        EngineId::parse(id).ok()
    }

    /// Remembers what this compiler's binary answered on this processor.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be written; then it is asked again next time.
    pub fn remember_engine_id(
        &self,
        compiler: &CompilerIdentity,
        id: &EngineId,
    ) -> Result<(), Error> {
        let failed = |e: std::io::Error| Error::file("writing", NAME, e);
        let mut file = Temporary::create(self.directory()).map_err(|e| failed(e.into()))?;
        writeln!(file, "{}\n{id}", compiler.0).map_err(failed)?;
        file.keep_as(NAME).map_err(failed)
    }
}

/// Stands for a compiler's binary, as it was at one moment, on this processor. A new version of the binary
/// has another inode or at least another change time, which nobody can set back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompilerIdentity(String);

impl CompilerIdentity {
    /// The identity of a binary by what stat(2) says of it, taken before the binary is opened.
    #[must_use]
    pub fn of(compiler: &Metadata) -> Self {
        let numbers = [
            compiler.dev(),
            compiler.ino(),
            compiler.size(),
            compiler.mtime().cast_unsigned(),
            compiler.mtime_nsec().cast_unsigned(),
            compiler.ctime().cast_unsigned(),
            compiler.ctime_nsec().cast_unsigned(),
        ];
        let mut hasher = Sha256::new().chain_update(DOMAIN);
        for number in numbers {
            hasher.update(number.to_le_bytes());
        }
        for present in processor() {
            hasher.update([u8::from(present)]);
        }
        let digest: [u8; 32] = hasher.finalize().into();
        Self(Hex(&digest).to_string())
    }

    /// As text, for another process.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What [`CompilerIdentity::as_str`] gave. A text with a line break stands for no binary.
    #[must_use]
    pub fn from_text(text: String) -> Self {
        Self(text.replace('\n', ""))
    }
}

/// What the processor can do, asked of it directly: no file that may be missing or slow to read.
#[cfg(target_arch = "x86_64")]
fn processor() -> impl Iterator<Item = bool> {
    processor_features![
        "sse3",
        "ssse3",
        "sse4.1",
        "sse4.2",
        "cmpxchg16b",
        "popcnt",
        "lzcnt",
        "bmi1",
        "bmi2",
        "avx",
        "avx2",
        "fma",
        "f16c",
        "aes",
        "pclmulqdq",
        "sha",
        "gfni",
        "vaes",
        "vpclmulqdq",
        "adx",
        "movbe",
        "avx512f",
        "avx512cd",
        "avx512dq",
        "avx512bw",
        "avx512vl",
        "avx512ifma",
        "avx512vbmi",
        "avx512vbmi2",
        "avx512vnni",
        "avx512bitalg",
        "avx512vpopcntdq",
    ]
    .into_iter()
}
