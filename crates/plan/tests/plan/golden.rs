//! `tests/golden/NAME.json` lowers to `tests/golden/NAME.plan`. `UPDATE=1` writes the plans anew;
//! then read the difference.
//!
//! The `ctr-*` configs are what `ctr` 1.6 writes, `nerdctl` and `cri-container` are shaped like
//! what nerdctl and containerd's CRI plugin write.

use crate::lower_value;
use hull_abi::Plan;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn configs() -> Vec<PathBuf> {
    let files = fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut configs: Vec<PathBuf> = files
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    configs.sort();
    configs
}

/// The plan as text. Of the filter only its presence is shown: its instructions have their own
/// tests.
pub(crate) fn render(mut plan: Plan) -> String {
    if let Some(filter) = &mut plan.process.seccomp {
        assert!(!filter.program.is_empty());
        filter.program.clear();
    }
    let mut text = String::new();
    writeln!(text, "{plan:#?}").unwrap();
    text
}

/// Compares a text with a file, or writes the file anew.
pub(crate) fn compare(path: &Path, text: &str) {
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, text).unwrap();
    }
    let want = fs::read_to_string(path).unwrap_or_default();
    assert!(
        text == want,
        "{} differs; UPDATE=1 rewrites it:\n{text}",
        path.display()
    );
}

#[test]
fn configs_lower_to_their_plans() {
    let configs = configs();
    assert!(configs.len() >= 6, "{configs:?}");
    for config in configs {
        let json = fs::read(&config).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let plan = lower_value(&value).unwrap();
        let asked = value.pointer("/linux/seccomp").is_some();
        assert_eq!(plan.process.seccomp.is_some(), asked);
        compare(&config.with_extension("plan"), &render(plan));
    }
}
