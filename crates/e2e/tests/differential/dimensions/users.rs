//! Users and clocks of the container's own, and mounts whose owners are shifted.

use serde_json::{Value, json};

use super::{Dimension, many, one};
use crate::case::Draft;
use crate::random::Random;
use crate::world::SOURCES;

pub(super) const DIMENSIONS: &[Dimension] = &[
    many(2, "id-mapped mount", 12, mapped_mount),
    one("time namespace", 20, clocks),
    one("user namespace", 40, users),
];

/// A directory bound with other owners than it has on the host.
fn mapped_mount(draft: &mut Draft<'_>, random: &mut Random) {
    let map = |first: u64| json!([{ "containerID": 0, "hostID": first, "size": 65_536 }]);
    let destination = *random.pick(&["/mapped", "/mnt", "/data/private"]);
    let option = *random.pick(&["idmap", "ridmap"]);
    let mut mount = json!({
        "destination": destination, "type": "bind", "source": format!("{SOURCES}/directory"),
        "options": [*random.pick(&["bind", "rbind"]), option],
        "uidMappings": map(random.below(2) * 100_000), "gidMappings": map(random.below(3) * 7),
    });
    if random.percent(30) {
        mount["options"].as_array_mut().unwrap().push("ro".into());
    }
    draft.set("/mounts/-", mount);
    draft.look(destination);
    draft.look(&format!("{destination}/note"));
}

fn clocks(draft: &mut Draft<'_>, random: &mut Random) {
    draft.set("/linux/namespaces/-", json!({ "type": "time" }));
    let mut offsets = serde_json::Map::new();
    for clock in random.some(&["monotonic", "boottime"], 50) {
        let offset = json!({ "secs": random.within(0, 86_400), "nanosecs": random.within(0, 999) });
        offsets.insert(clock.to_owned(), offset);
    }
    if !offsets.is_empty() {
        draft.set("/linux/timeOffsets", Value::Object(offsets));
    }
}

/// Everybody keeps the id that they have, so that the same files serve; in one map or in pieces. What changes is
/// what the container's root may do.
fn users(draft: &mut Draft<'_>, random: &mut Random) {
    const ALL: u64 = 4_294_967_295;
    // Its root may mount nothing that belongs to a namespace of somebody else's, and bind no device that the
    // host has not.
    let own = ["pid", "network", "ipc"];
    if !own.iter().all(|kind| draft.has_new_namespace(kind)) {
        return;
    }
    draft.unset("/linux/devices");
    draft.set("/linux/namespaces/-", json!({ "type": "user" }));
    for ids in ["uidMappings", "gidMappings"] {
        let cut = 1 + random.below(2000);
        let map = match random.below(3) {
            0 => json!([
                { "containerID": cut, "hostID": cut, "size": ALL - cut },
                { "containerID": 0, "hostID": 0, "size": cut },
            ]),
            _ => json!([{ "containerID": 0, "hostID": 0, "size": ALL }]),
        };
        draft.set(&format!("/linux/{ids}"), map);
    }
}
