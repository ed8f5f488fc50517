//! `hull cache prune`.

use super::engine::{self, Made, Present};
use super::{PruneArgs, Which, counted, failed, short};
use crate::error::Error;
use crate::image::{self, Unused};
use crate::layout::{Row, Screen};
use crate::output;
use hull_artifact::{Entry, Removed, Store};
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

/// What was done, or would be.
#[derive(Debug, Serialize)]
struct Pruned<'a> {
    store: &'a Path,
    exists: bool,
    dry_run: bool,
    removed: Vec<String>,
    removed_bytes: u64,
    /// Kept because somebody is about to store or use them.
    busy: Vec<String>,
    /// Kept because they could not be removed.
    failed: Vec<Unremoved>,
    kept: usize,
    kept_bytes: u64,
    /// What killed compilations left behind.
    swept: usize,
}

/// An artifact that could not be removed.
#[derive(Debug, Serialize)]
struct Unremoved {
    key: String,
    why: String,
}

/// Something that was to go is still there.
const KEPT: u8 = 1;

/// Removes what is to go and prints what that was.
///
/// # Errors
/// When the store cannot be read or changed, or nobody can say what is stale.
pub(super) fn run(store: &Store, path: &Path, args: &PruneArgs) -> Result<ExitCode, Error> {
    let refused = |error: hull_artifact::Error| failed("prune", &error);
    let entries = store.entries().map_err(refused)?;
    let unused = args.which.unused.then(|| unused(store)).transpose()?;
    let chosen = match &unused {
        Some(unused) => {
            let keys = unused.keys(store);
            entries
                .iter()
                .map(|entry| keys.contains(&entry.key))
                .collect()
        }
        None => choose(store, &entries, &args.which)?,
    };
    let mut pruned = Pruned {
        store: path,
        exists: true,
        dry_run: args.dry_run,
        removed: Vec::new(),
        removed_bytes: 0,
        busy: Vec::new(),
        failed: Vec::new(),
        kept: 0,
        kept_bytes: 0,
        swept: 0,
    };
    for (entry, goes) in entries.iter().zip(chosen) {
        let removed = match (goes, args.dry_run) {
            (false, _) => None,
            (true, true) => Some(Removed::Yes),
            // One that stays must not keep the others.
            (true, false) => store
                .remove(&entry.key)
                .map_err(|error| {
                    let (key, why) = (entry.key.to_string(), error.to_string());
                    pruned.failed.push(Unremoved { key, why });
                })
                .ok(),
        };
        match removed {
            Some(Removed::Yes) => {
                pruned.removed.push(entry.key.to_string());
                pruned.removed_bytes += entry.size;
                continue;
            }
            Some(Removed::Absent) => continue,
            Some(Removed::Busy) => pruned.busy.push(entry.key.to_string()),
            Some(Removed::Good) | None => {}
        }
        pruned.kept += 1;
        pruned.kept_bytes += entry.size;
    }
    if !args.dry_run {
        if let Some(unused) = unused {
            unused.forget(store);
        }
        pruned.swept = store.sweep();
    }
    if args.json {
        output::print_json(&pruned)?;
    } else {
        output::print(&text(&pruned, &Screen::of_stdout()))?;
    }
    if pruned.failed.is_empty() {
        Ok(ExitCode::SUCCESS)
    } else {
        Ok(ExitCode::from(KEPT))
    }
}

/// What only images need that are gone. A containerd that does not answer may still have its own.
fn unused(store: &Store) -> Result<Unused, Error> {
    let (unused, silent) = image::unused_of_all(store)?;
    for error in silent {
        output::warn(&format!("kept what its images need: {error}"));
    }
    Ok(unused)
}

/// For each of the entries, which come with the least recently used first, whether it is to go.
fn choose(store: &Store, entries: &[Entry], which: &Which) -> Result<Vec<bool>, Error> {
    if which.all {
        return Ok(vec![true; entries.len()]);
    }
    if let Some(age) = which.older_than {
        let limit = SystemTime::now().checked_sub(age);
        let old = |entry: &Entry| limit.is_some_and(|limit| entry.used < limit);
        return Ok(entries.iter().map(old).collect());
    }
    if let Some(limit) = which.keep_bytes {
        return Ok(beyond(entries, limit));
    }
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    let present = Present::ask().map_err(|why| {
        Error::new(
            "cache prune",
            format!("which artifacts are stale is not known: {why}"),
        )
        .advise("choose by --all, --unused, --older-than or --keep-bytes")
    })?;
    let stale = |entry: &Entry| {
        let (_, made) = engine::look(store, &entry.key, Some(&present));
        made == Made::Stale
    };
    Ok(entries.iter().map(stale).collect())
}

/// The first ones, until no more than `limit` bytes are left.
fn beyond(entries: &[Entry], limit: u64) -> Vec<bool> {
    let mut total: u64 = entries.iter().map(|entry| entry.size).sum();
    let goes = entries.iter().map(|entry| {
        let goes = total > limit;
        if goes {
            total -= entry.size;
        }
        goes
    });
    goes.collect()
}

fn text(pruned: &Pruned<'_>, screen: &Screen) -> String {
    let verb = if pruned.dry_run {
        "would remove"
    } else {
        "removed"
    };
    let mut rows: Vec<Row> = Vec::new();
    for key in &pruned.removed {
        rows.push(vec![verb.into(), short(key).into()]);
    }
    for key in &pruned.busy {
        let text = format!("{}, which is in use", short(key));
        rows.push(vec!["kept".into(), text.into()]);
    }
    for unremoved in &pruned.failed {
        let text = format!("{}: {}", short(&unremoved.key), unremoved.why);
        rows.push(vec!["kept".into(), text.into()]);
    }
    let mut total = format!(
        "{verb} {}; {} left in {}",
        counted(pruned.removed.len(), pruned.removed_bytes),
        counted(pruned.kept, pruned.kept_bytes),
        pruned.store.display()
    );
    if pruned.swept != 0 {
        total.push_str(&format!("; {} files of killed compilations", pruned.swept));
    }
    format!(
        "{}{}",
        screen.rows(&rows),
        screen.rows(&[vec![total.into()]])
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use hull_artifact::Key;

    #[test]
    fn the_oldest_go_until_the_rest_fits() {
        let entry = |number: u8| Entry {
            key: Key::from_bytes([number; 32]),
            size: 100,
            stored: SystemTime::UNIX_EPOCH,
            used: SystemTime::UNIX_EPOCH,
        };
        let entries = [entry(1), entry(2), entry(3)];
        assert_eq!(beyond(&entries, 300), [false, false, false]);
        assert_eq!(beyond(&entries, 299), [true, false, false]);
        assert_eq!(beyond(&entries, 100), [true, true, false]);
        assert_eq!(beyond(&entries, 0), [true, true, true]);
        assert_eq!(beyond(&[], 0), Vec::<bool>::new());
    }
}
