//! What the documentation claims of the tests.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Whether there is a test that is called `file::test` or `file::module::test`.
fn holds(reference: &str) -> bool {
    let (path, test) = reference.rsplit_once("::").unwrap();
    let path = root()
        .join("crates/e2e/tests")
        .join(path.replace("::", "/"));
    let files = [path.with_extension("rs"), path.join("main.rs")];
    let has = |file: &PathBuf| {
        fs::read_to_string(file).is_ok_and(|text| text.contains(&format!("fn {test}(")))
    };
    files.iter().any(has)
}

/// The references in a cell: what stands between backquotes and has `::`.
fn references(cell: &str) -> Vec<&str> {
    let quoted = cell.split('`').skip(1).step_by(2);
    quoted.filter(|text| text.contains("::")).collect()
}

#[test]
fn every_yes_has_a_test() {
    let text = fs::read_to_string(root().join("docs/features.md")).unwrap();
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
        if answer.contains("yes") {
            assert!(!named.is_empty(), "no test is named: {row}");
            claims += 1;
        }
    }
    assert!(claims > 20, "{claims} claims were found");
}
