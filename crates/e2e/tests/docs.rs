//! What the documentation claims of the tests.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Whether there is a test that is called `file::test` or `file::module::test`, or `crate/tests/file::test` for one of
/// another crate.
fn holds(reference: &str) -> bool {
    let (path, test) = reference.rsplit_once("::").unwrap();
    let tests = if path.contains('/') {
        "crates"
    } else {
        "crates/e2e/tests"
    };
    let path = root().join(tests).join(path.replace("::", "/"));
    let files = [path.with_extension("rs"), path.join("main.rs")];
    let has = |file: &PathBuf| {
        fs::read_to_string(file).is_ok_and(|text| text.contains(&format!("fn {test}(")))
    };
    files.iter().any(has)
}

/// The references in a cell: what stands between backquotes, has `::` and is no address.
fn references(cell: &str) -> Vec<&str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_-/:".contains(c);
    let quoted = cell.split('`').skip(1).step_by(2);
    quoted
        .filter(|text| text.contains("::") && text.chars().all(is_name))
        .collect()
}

/// Whether a cell says yes in words of its own, not as a value between backquotes.
fn says_yes(cell: &str) -> bool {
    cell.split('`').step_by(2).any(|text| text.contains("yes"))
}

#[test]
fn every_yes_has_a_test() {
    for (file, least) in [("features.md", 20), ("kubernetes.md", 20), ("wasm.md", 40)] {
        check_claims(file, least);
    }
}

#[test]
fn every_promise_has_a_test() {
    let text = fs::read_to_string(root().join("docs/reliability.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| "));
    let promises: Vec<_> = rows.filter(|row| !row.starts_with("| fault ")).collect();
    assert!(promises.len() > 20);
    for row in promises {
        let named = references(row);
        assert!(!named.is_empty(), "no test is named: {row}");
        for name in named {
            assert!(holds(name), "{name} is no test: {row}");
        }
    }
}

fn check_claims(file: &str, least: usize) {
    let text = fs::read_to_string(root().join("docs").join(file)).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| "));
    let mut claims = 0;
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [_, answer, ..] = cells.as_slice() else {
            continue;
        };
        let named = references(row);
        for name in &named {
            assert!(holds(name), "{name} is no test: {row}");
        }
        if says_yes(answer) || row.contains("| yes |") {
            assert!(!named.is_empty(), "no test is named: {row}");
            claims += 1;
        }
    }
    assert!(claims > least, "{claims} claims were found in {file}");
}
