//! Which artifacts the present compiler would make again.
//!
//! A key tells nothing of the engine that it was made with. But each artifact holds the engine's
//! version and settings, so one compilation of a module that does nothing shows what those of the
//! present compiler look like.

use crate::tool;
use hull_abi::Proposal;
use hull_artifact::{Description, Found, Key, Store, describe};
use serde::Serialize;

/// A module with an empty function `_start` and nothing else.
const SAMPLE: &[u8] = b"\0asm\x01\0\0\0\
    \x01\x04\x01\x60\0\0\
    \x03\x02\x01\0\
    \x07\x0a\x01\x06_start\0\0\
    \x0a\x04\x01\x02\0\x0b";

/// Whether an artifact is one of the present compiler's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Made {
    /// By it.
    Current,
    /// By another version or with other settings, or nobody can say by what.
    Stale,
    /// There is no compiler to compare with.
    Unknown,
}

/// The present compiler's marks, one for each choice of proposals.
#[derive(Debug)]
pub(super) struct Present(Vec<Description>);

impl Present {
    /// Asks `hull-wasmc`.
    ///
    /// # Errors
    /// Why it cannot be asked.
    pub(super) fn ask() -> Result<Self, String> {
        let compiler =
            tool::sibling("hull-wasmc").ok_or("hull-wasmc is neither beside hull nor in $PATH")?;
        let failed = |why: String| format!("{}: {why}", compiler.display());
        let mark = |proposals: &[Proposal]| {
            let names = Proposal::list(proposals);
            let args: Vec<&str> = ["compile", &names]
                .into_iter()
                .filter(|arg| !arg.is_empty())
                .collect();
            let answer = tool::ask(&compiler, &args, SAMPLE).map_err(failed)?;
            if !answer.status.success() {
                return Err(failed(format!("it ended with {}", answer.status)));
            }
            describe(&answer.output)
                .ok_or_else(|| failed("what it makes is no artifact".to_owned()))
        };
        let mut marks = vec![mark(&[])?];
        // Of another version, it may not know them.
        let others = Proposal::choices();
        marks.extend(others.iter().skip(1).filter_map(|some| mark(some).ok()));
        Ok(Self(marks))
    }

    fn made(&self, artifact: Option<&Description>) -> Made {
        match artifact {
            Some(artifact) if self.0.iter().any(|mark| mark.engine == artifact.engine) => {
                Made::Current
            }
            Some(_) | None => Made::Stale,
        }
    }
}

/// What an artifact says of itself, if it can be read, and by what it was made.
pub(super) fn look(
    store: &Store,
    key: &Key,
    present: Option<&Present>,
) -> (Option<Description>, Made) {
    let description = match store.open(key) {
        Ok(Found::Good(file)) => describe(&file),
        Ok(Found::Bad(_) | Found::Absent) | Err(_) => None,
    };
    let made = present.map_or(Made::Unknown, |present| present.made(description.as_ref()));
    (description, made)
}
