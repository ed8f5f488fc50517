//! `hull cache list`.

use super::engine::{self, Made, Present};
use super::{ListArgs, counted, failed, short};
use crate::error::Error;
use crate::layout::{Cell, Paint, Row, Screen};
use crate::{output, units};
use hull_artifact::{Kind, Store};
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What is in a store.
#[derive(Debug, Serialize)]
struct Listing<'a> {
    store: &'a Path,
    exists: bool,
    artifacts: Vec<Artifact>,
    bytes: u64,
    /// Files of compilations that run, or that were killed.
    unfinished: usize,
    /// Why nobody can say which artifacts are stale.
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown_because: Option<String>,
}

#[derive(Debug, Serialize)]
struct Artifact {
    key: String,
    bytes: u64,
    /// Seconds since 1970.
    stored: u64,
    age_seconds: u64,
    /// Seconds since it was last used, to the hour.
    idle_seconds: u64,
    kind: Option<&'static str>,
    /// Of wasmtime.
    version: Option<String>,
    engine: Made,
}

/// Prints the artifacts, the least recently used first.
///
/// # Errors
/// When the store cannot be read.
pub(super) fn run(store: &Store, path: &Path, args: &ListArgs) -> Result<ExitCode, Error> {
    let listing = look(store, path).map_err(|e| failed("list", &e))?;
    if args.json {
        output::print_json(&listing)?;
    } else {
        output::print(&text(&listing, &Screen::of_stdout()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn look<'a>(store: &Store, path: &'a Path) -> Result<Listing<'a>, hull_artifact::Error> {
    let entries = store.entries()?;
    // Nothing is started for an empty store.
    let present = (!entries.is_empty()).then(Present::ask);
    let (present, unknown_because) = match present {
        Some(Ok(present)) => (Some(present), None),
        Some(Err(why)) => (None, Some(why)),
        None => (None, None),
    };
    let now = SystemTime::now();
    let artifacts = entries.iter().map(|entry| {
        let (description, engine) = engine::look(store, &entry.key, present.as_ref());
        let since = |from| entry.stored.duration_since(from).unwrap_or_default();
        Artifact {
            key: entry.key.to_string(),
            bytes: entry.size,
            stored: since(UNIX_EPOCH).as_secs(),
            age_seconds: now
                .duration_since(entry.stored)
                .unwrap_or_default()
                .as_secs(),
            idle_seconds: now.duration_since(entry.used).unwrap_or_default().as_secs(),
            kind: description
                .as_ref()
                .map(|description| kind(description.kind)),
            version: description.map(|description| description.version),
            engine,
        }
    });
    Ok(Listing {
        store: path,
        exists: true,
        artifacts: artifacts.collect(),
        bytes: entries.iter().map(|entry| entry.size).sum(),
        unfinished: store.unfinished()?,
        unknown_because,
    })
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Module => "module",
        Kind::Component => "component",
    }
}

fn text(listing: &Listing<'_>, screen: &Screen) -> String {
    let mut rows: Vec<Row> = Vec::new();
    if !listing.artifacts.is_empty() {
        let heads = ["KEY", "SIZE", "AGE", "USED", "KIND", "ENGINE"];
        rows.push(heads.map(|head| Cell::new(head, Paint::Heading)).into());
    }
    rows.extend(listing.artifacts.iter().map(row));
    let stale: Vec<u64> = listing
        .artifacts
        .iter()
        .filter(|artifact| artifact.engine == Made::Stale)
        .map(|artifact| artifact.bytes)
        .collect();
    let total = counted(listing.artifacts.len(), listing.bytes);
    let mut lines = vec![format!("{total} in {}", listing.store.display())];
    if !stale.is_empty() {
        let stale = counted(stale.len(), stale.iter().sum());
        lines.push(format!(
            "{stale} stale: hull cache prune --stale removes them"
        ));
    }
    if listing.unfinished != 0 {
        let files = listing.unfinished;
        lines.push(format!(
            "{files} files of compilations that run or were killed"
        ));
    }
    if let Some(why) = &listing.unknown_because {
        lines.push(format!("which ones are stale is not known: {why}"));
    }
    let notes: Vec<Row> = lines.iter().map(|line| vec![line.into()]).collect();
    format!("{}{}", screen.rows(&rows), screen.rows(&notes))
}

fn row(artifact: &Artifact) -> Row {
    let (word, paint) = match artifact.engine {
        Made::Current => ("current", Paint::Good),
        Made::Stale => ("stale", Paint::Doubtful),
        Made::Unknown => ("?", Paint::Faint),
    };
    let engine = match &artifact.version {
        Some(version) => format!("{word} (wasmtime {version})"),
        None => word.to_owned(),
    };
    let age = Duration::from_secs(artifact.age_seconds);
    let idle = Duration::from_secs(artifact.idle_seconds);
    vec![
        short(&artifact.key).into(),
        units::bytes(artifact.bytes).into(),
        units::age(age).into(),
        units::age(idle).into(),
        artifact.kind.unwrap_or("?").into(),
        Cell::new(engine, paint),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(key: char, engine: Made) -> Artifact {
        Artifact {
            key: key.to_string().repeat(64),
            bytes: 2 << 20,
            stored: 0,
            age_seconds: 7200,
            idle_seconds: 7200,
            kind: (engine != Made::Unknown).then_some("module"),
            version: (engine != Made::Unknown).then(|| "48".to_owned()),
            engine,
        }
    }

    #[test]
    fn the_list_is_a_table_with_totals() {
        let mut listing = Listing {
            store: Path::new("/store"),
            exists: true,
            artifacts: vec![
                artifact('a', Made::Stale),
                artifact('b', Made::Current),
                artifact('c', Made::Unknown),
            ],
            bytes: 6 << 20,
            unfinished: 0,
            unknown_because: None,
        };
        let want = "\
KEY           SIZE     AGE  USED  KIND    ENGINE
aaaaaaaaaaaa  2.0 MiB  2h   2h    module  stale (wasmtime 48)
bbbbbbbbbbbb  2.0 MiB  2h   2h    module  current (wasmtime 48)
cccccccccccc  2.0 MiB  2h   2h    ?       ?
3 artifacts, 6.0 MiB in /store
1 artifact, 2.0 MiB stale: hull cache prune --stale removes them
";
        assert_eq!(text(&listing, &Screen::plain(Some(80))), want);
        listing.artifacts.clear();
        listing.bytes = 0;
        listing.unknown_because = Some("no compiler".to_owned());
        let empty = text(&listing, &Screen::plain(None));
        assert_eq!(
            empty,
            "0 artifacts, 0 B in /store\nwhich ones are stale is not known: no compiler\n"
        );
    }
}
