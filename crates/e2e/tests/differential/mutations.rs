//! Mistakes in configs. The list is `crates/plan/tests/data/invalid.json`, which the tests of the
//! crate that lowers configs read too.

use hull_e2e::Spec;
use serde_json::Value;

const LIST: &str = include_str!("../../../plan/tests/data/invalid.json");

/// One mistake.
#[derive(Debug, Clone)]
pub(crate) struct Mutation {
    /// What is wrong.
    pub(crate) name: String,
    /// What a refusal begins with after "invalid config: ". Absent where the config alone does not
    /// show the mistake: only the kernel finds it.
    pub(crate) field: Option<String>,
    set: Vec<(String, Value)>,
    unset: Vec<String>,
}

/// All that both runtimes may be shown.
pub(crate) fn all() -> Vec<Mutation> {
    let list: Vec<Value> = serde_json::from_str(LIST).unwrap();
    let shown = list
        .iter()
        // runc would make it a container that changes the host.
        .filter(|entry| entry.get("only-lowered").is_none());
    shown.map(Mutation::read).collect()
}

impl Mutation {
    fn read(entry: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let set = entry["set"].as_object().into_iter().flatten();
        let unset = entry["unset"].as_array().into_iter().flatten();
        Self {
            name: text(&entry["name"]),
            field: entry.get("field").map(text),
            set: set.map(|(at, value)| (at.clone(), value.clone())).collect(),
            unset: unset.map(text).collect(),
        }
    }

    /// Whether it is in the list of namespaces: without them, users and clocks are mistakes as well.
    pub(crate) fn is_of_namespaces(&self) -> bool {
        let changed = self.set.iter().map(|(at, _)| at).chain(&self.unset);
        changed
            .into_iter()
            .any(|at| at.starts_with("/linux/namespaces"))
    }

    /// The spec with the mistake.
    pub(crate) fn apply(&self, spec: Spec) -> Spec {
        let spec = self.unset.iter().fold(spec, |spec, at| spec.unset(at));
        let set = self.set.iter();
        set.fold(spec, |spec, (at, value)| spec.set(at, value.clone()))
    }
}
