//! `hull cache verify`.

use super::{VerifyArgs, counted, failed, short};
use crate::error::Error;
use crate::layout::{Cell, Paint, Row, Screen};
use crate::output;
use hull_artifact::{Flaw, Found, Removed, Store};
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;

/// Something bad was found and is still there.
const BAD: u8 = 1;

/// What was found.
#[derive(Debug, Serialize)]
struct Verdict<'a> {
    store: &'a Path,
    exists: bool,
    checked: usize,
    bytes: u64,
    bad: Vec<Bad>,
}

#[derive(Debug, Serialize)]
struct Bad {
    key: String,
    flaw: String,
    removed: bool,
    /// Why it was not removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_because: Option<String>,
}

/// Reads all artifacts and prints the bad ones.
///
/// # Errors
/// When the store cannot be read.
pub(super) fn run(store: &Store, path: &Path, args: &VerifyArgs) -> Result<ExitCode, Error> {
    let verdict = verify(store, path, args.remove).map_err(|e| failed("verify", &e))?;
    if args.json {
        output::print_json(&verdict)?;
    } else {
        output::print(&text(&verdict, &Screen::of_stdout()))?;
    }
    if verdict.bad.iter().all(|bad| bad.removed) {
        Ok(ExitCode::SUCCESS)
    } else {
        Ok(ExitCode::from(BAD))
    }
}

fn verify<'a>(
    store: &Store,
    path: &'a Path,
    remove: bool,
) -> Result<Verdict<'a>, hull_artifact::Error> {
    let mut verdict = Verdict {
        store: path,
        exists: true,
        checked: 0,
        bytes: 0,
        bad: Vec::new(),
    };
    for entry in store.entries()? {
        let flaw = match store.examine(&entry.key) {
            Ok(Found::Good(_)) => None,
            Ok(Found::Bad(flaw)) => Some(flaw),
            // Removed meanwhile.
            Ok(Found::Absent) => continue,
            Err(hull_artifact::Error::File { errno, .. }) => Some(Flaw::Unreadable(errno)),
            Err(error) => return Err(error),
        };
        verdict.checked += 1;
        verdict.bytes += entry.size;
        let Some(flaw) = flaw else { continue };
        let (removed, kept_because) = match remove.then(|| store.remove_bad(&entry.key)) {
            None => (false, None),
            Some(Ok(Removed::Yes | Removed::Absent)) => (true, None),
            Some(Ok(Removed::Busy)) => (false, Some("it is being made anew".to_owned())),
            Some(Ok(Removed::Good)) => (true, Some("it was made anew meanwhile".to_owned())),
            Some(Err(error)) => (false, Some(error.to_string())),
        };
        verdict.bad.push(Bad {
            key: entry.key.to_string(),
            flaw: flaw.to_string(),
            removed,
            kept_because,
        });
    }
    Ok(verdict)
}

fn text(verdict: &Verdict<'_>, screen: &Screen) -> String {
    let rows: Vec<Row> = verdict.bad.iter().map(row).collect();
    let checked = counted(verdict.checked, verdict.bytes);
    let store = verdict.store.display();
    let (bad, removed) = (
        verdict.bad.len(),
        verdict.bad.iter().filter(|bad| bad.removed).count(),
    );
    let end = match (bad, removed) {
        (0, _) => "all good".to_owned(),
        (bad, 0) => {
            format!("{bad} bad: each is made anew when it is needed; --remove deletes them")
        }
        (bad, removed) => format!("{bad} bad, {removed} removed"),
    };
    let total = vec![format!("read {checked} in {store}: {end}").into()];
    format!("{}{}", screen.rows(&rows), screen.rows(&[total]))
}

fn row(bad: &Bad) -> Row {
    let end = match (&bad.kept_because, bad.removed) {
        (Some(why), _) => format!("{}; {why}", bad.flaw),
        (None, true) => format!("{}; removed", bad.flaw),
        (None, false) => bad.flaw.clone(),
    };
    vec![
        Cell::new("bad", Paint::Bad),
        short(&bad.key).into(),
        end.into(),
    ]
}
