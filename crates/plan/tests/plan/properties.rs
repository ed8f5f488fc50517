//! What holds for every config.

use crate::{lower_value, set, with};
use hull_abi::Plan;
use proptest::prelude::*;
use serde_json::{Value, json};

/// A config that uses every section.
fn full() -> Value {
    let text = include_str!("../golden/nerdctl.json");
    serde_json::from_str(text).unwrap()
}

/// All places in a value, as paths for [`set`].
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    let mut visit = |key: &str, child: &Value| {
        let path = format!("{at}/{key}");
        found.push(path.clone());
        places(child, &path, found);
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(key, child)| visit(key, child)),
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(i, child)| visit(&i.to_string(), child));
        }
        _ => {}
    }
}

fn odd_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-2_i64..3).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a-z/.:=,\\x00-]{0,12}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!([null])),
        prop::collection::vec(any::<u8>(), 0..3).prop_map(Value::from),
    ]
}

/// Whether a path is absolute and has no component that leads up.
fn stays_inside(path: &str) -> bool {
    path.starts_with('/') && !path.split('/').any(|component| component == "..")
}

fn check_paths(plan: &Plan) {
    for mount in &plan.mounts {
        assert!(stays_inside(&mount.destination), "{mount:?}");
        assert_ne!(mount.destination, "/");
    }
    for device in &plan.devices {
        assert!(stays_inside(&device.path), "{device:?}");
    }
    for path in plan.masked_paths.iter().chain(&plan.readonly_paths) {
        assert!(stays_inside(path), "{path:?}");
    }
    for sysctl in &plan.sysctls {
        assert!(stays_inside(&format!("/{}", sysctl.path)), "{sysctl:?}");
    }
    assert!(
        !plan
            .cgroups_path
            .split('/')
            .any(|component| component == "..")
    );
}

fn check_round_trip(plan: &Plan) {
    let bytes = hull_abi::encode(plan).unwrap();
    assert_eq!(&hull_abi::decode::<Plan>(&bytes).unwrap(), plan);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// A config with values of the wrong kind is lowered or refused, and never panics; a refusal is
    /// one line.
    #[test]
    fn odd_configs_are_lowered_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), odd_value()), 1..4)
    ) {
        let mut config = full();
        for (index, value) in changes {
            let mut found = Vec::new();
            places(&config, "", &mut found);
            if found.is_empty() {
                break;
            }
            // "-" appends, which is not meant here.
            let path = index.get(&found);
            if !path.ends_with("/-") {
                set(&mut config, path, value);
            }
        }
        match lower_value(&config) {
            Ok(plan) => {
                check_paths(&plan);
                check_round_trip(&plan);
            }
            Err(invalid) => {
                prop_assert!(!invalid.field.is_empty() && !invalid.why.is_empty());
                prop_assert_eq!(invalid.to_string().lines().count(), 1);
            }
        }
    }

    #[test]
    fn bytes_are_lowered_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let is_object = serde_json::from_slice::<Value>(&bytes).is_ok_and(|v| v.is_object());
        prop_assert!(is_object || hull_plan::lower_resources(&bytes).is_err());
        let plan = lower_value(&crate::smallest()).unwrap();
        prop_assert!(hull_plan::lower_exec(&bytes, false, &plan, &crate::host()).is_err());
    }

    #[test]
    fn no_destination_leaves_the_container(
        path in "(/|\\.|\\.\\.|a|b){0,12}",
    ) {
        let mounts = json!([{ "destination": path, "type": "tmpfs" }]);
        let devices = json!([{ "path": path, "type": "p" }]);
        let covered = json!([path]);
        for config in [
            with(&[("/mounts", mounts)]),
            with(&[("/linux/devices", devices)]),
            with(&[("/linux/maskedPaths", covered.clone()), ("/linux/readonlyPaths", covered)]),
        ] {
            if let Ok(plan) = lower_value(&config) {
                check_paths(&plan);
            }
        }
    }
}

#[test]
fn the_full_config_survives_the_way_to_init() {
    check_round_trip(&lower_value(&full()).unwrap());
}
