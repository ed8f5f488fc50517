//! Device rules in the v1 controller.

use hull_e2e::{Lab, block};
use serde_json::{Value, json};

use crate::group::Group;
use crate::{disk, sleeper};

fn list(group: &Group) -> Vec<String> {
    let list = group.read("devices", "devices.list");
    let mut lines: Vec<String> = list.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// What every container has.
const DEFAULTS: [&str; 11] = [
    "b *:* m",
    "c *:* m",
    "c 10:200 rwm",
    "c 136:* rwm",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:2 rwm",
];

#[test]
fn update_replaces_the_rules_or_keeps_them() {
    let (major, minor) = disk();
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    let group = Group::of(&c);
    let update = |resources: Value| block(c.task.update(&c.id, &resources)).unwrap();
    let rule = json!({
        "allow": true, "type": "b", "major": major, "minor": minor, "access": "r",
    });
    let with_disk = || {
        let mut lines: Vec<String> = DEFAULTS.map(str::to_owned).into();
        lines.push(format!("b {major}:{minor} r"));
        lines.sort();
        lines
    };
    update(json!({ "devices": [rule] }));
    assert_eq!(list(&group), with_disk());
    update(json!({ "memory": { "limit": 1 << 27 } }));
    assert_eq!(list(&group), with_disk());
    update(json!({ "devices": [{ "allow": true, "access": "rwm" }] }));
    assert_eq!(list(&group), ["a *:* rwm"]);
    // From no filter to one.
    update(json!({ "devices": [{ "allow": false, "access": "rwm" }] }));
    assert_eq!(list(&group), DEFAULTS);
}
