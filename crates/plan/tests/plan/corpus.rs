//! The fuzzer's corpus, as it is and with small changes: nothing makes the crate panic, and every
//! refusal names a field.

#[path = "../../fuzz/src/check.rs"]
mod check;

use crate::{lower_value, set};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

/// One input a line, as `fuzz/src/check.rs` takes it.
const CORPUS: &str = include_str!("../data/corpus.txt");
/// Mistakes, and where they are; the test that compares hull with runc reads it too.
const MISTAKES: &str = include_str!("../data/invalid.json");

fn inputs() -> Vec<&'static str> {
    CORPUS.lines().collect()
}

#[test]
fn every_input_is_lowered_or_refused() {
    assert!(inputs().len() > 100, "the corpus is gone");
    for line in inputs() {
        check::input(line.as_bytes());
    }
}

#[test]
fn corpus_reaches_plans_and_refusals_of_every_kind() {
    let (mut plans, mut refusals) = (0, 0);
    for line in inputs() {
        let Some(json) = line.strip_prefix('c') else {
            continue;
        };
        let Ok(config) = serde_json::from_str(json) else {
            continue;
        };
        match lower_value(&config) {
            Ok(_) => plans += 1,
            Err(_) => refusals += 1,
        }
    }
    assert!(
        plans > 30 && refusals > 60,
        "{plans} plans, {refusals} refusals"
    );
}

/// Each mistake on a config of every tool that we have one of.
#[test]
fn every_mistake_is_refused_with_its_field() {
    let bases = [
        include_str!("../golden/ctr-default.json"),
        include_str!("../golden/nerdctl.json"),
        include_str!("../golden/cri-container.json"),
    ];
    let mistakes: Vec<Value> = serde_json::from_str(MISTAKES).unwrap();
    let mut refused = 0;
    for mistake in &mistakes {
        // Only the kernel finds the others.
        let Some(field) = mistake.get("field").and_then(Value::as_str) else {
            continue;
        };
        for base in bases {
            let mut config: Value = serde_json::from_str(base).unwrap();
            // This host has no AppArmor.
            set(&mut config, "/process/apparmorProfile", Value::Null);
            for at in mistake["unset"].as_array().into_iter().flatten() {
                set(&mut config, at.as_str().unwrap(), Value::Null);
            }
            for (at, value) in mistake["set"].as_object().into_iter().flatten() {
                make_list(&mut config, at);
                set(&mut config, at, value.clone());
            }
            let host = hull_plan::Host {
                default_apparmor: false,
                ..crate::host()
            };
            let text = match crate::lower_on(&host, &config) {
                Ok(_) => "it is accepted".to_owned(),
                Err(invalid) => invalid.to_string(),
            };
            let wanted = format!("invalid config: {field}");
            assert!(
                text.starts_with(&wanted),
                "{}: {text:?}, not {wanted:?}",
                mistake["name"]
            );
            refused += 1;
        }
    }
    assert!(refused > 200, "only {refused}");
}

/// Makes the list to which a path that ends in `-` appends.
fn make_list(config: &mut Value, at: &str) {
    if let Some(list) = at.strip_suffix("/-")
        && config.pointer(list).is_none()
    {
        set(config, list, Value::Array(Vec::new()));
    }
}

/// A change of one byte, or of a few.
#[derive(Debug, Clone)]
enum Change {
    Replace(Index, u8),
    Insert(Index, u8),
    Remove(Index, usize),
    /// A piece of another input.
    Splice(Index, Index, Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Replace(at, byte)),
        (
            at(),
            prop::sample::select(b"{}[]\",:0-19.e\\/u\0 tfn".to_vec())
        )
            .prop_map(|(at, byte)| Change::Insert(at, byte)),
        (at(), 1_usize..20).prop_map(|(at, count)| Change::Remove(at, count)),
        (at(), at(), at(), 1_usize..60)
            .prop_map(|(at, other, from, count)| Change::Splice(at, other, from, count)),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    if bytes.is_empty() {
        return;
    }
    match change {
        Change::Replace(at, byte) => {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        Change::Insert(at, byte) => bytes.insert(at.index(bytes.len()), *byte),
        Change::Remove(at, count) => {
            let at = at.index(bytes.len());
            let end = bytes.len().min(at + count);
            bytes.drain(at..end);
        }
        Change::Splice(at, other, from, count) => {
            let inputs = inputs();
            let other = other.get(&inputs).as_bytes();
            let from = from.index(other.len());
            let piece = &other[from..other.len().min(from + count)];
            let at = at.index(bytes.len());
            bytes.splice(at..at, piece.iter().copied());
        }
    }
}

/// All values of a document that lie at a pointer, and their pointers.
fn values(value: &Value, at: &str, found: &mut Vec<(String, Value)>) {
    found.push((at.to_owned(), value.clone()));
    let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(members) => members
            .iter()
            .for_each(|(key, child)| values(child, &format!("{at}/{}", escaped(key)), found)),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(i, child)| values(child, &format!("{at}/{i}"), found)),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn inputs_with_other_bytes_are_lowered_or_refused(
        line in any::<Index>(),
        changes in prop::collection::vec(change(), 1..6),
    ) {
        let mut bytes = line.get(&inputs()).as_bytes().to_vec();
        for change in &changes {
            apply(&mut bytes, change);
        }
        check::input(&bytes);
    }

    /// A value of one document where another had its own.
    #[test]
    fn inputs_with_values_of_each_other_are_lowered_or_refused(
        lines in any::<[Index; 2]>(),
        places in any::<[Index; 2]>(),
    ) {
        let [mut into, from] = lines.map(|line| {
            let inputs = inputs();
            let line = line.get(&inputs);
            serde_json::from_str::<Value>(&line[1..]).unwrap_or_default()
        });
        let (mut targets, mut sources) = (Vec::new(), Vec::new());
        values(&into, "", &mut targets);
        values(&from, "", &mut sources);
        let (target, _) = places[0].get(&targets);
        let (_, value) = places[1].get(&sources);
        *into.pointer_mut(target).unwrap() = value.clone();
        check::input(into.to_string().as_bytes());
        check::input(format!("c{into}").as_bytes());
    }
}
