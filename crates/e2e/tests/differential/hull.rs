//! A config under hull: the real shim, called as containerd calls it.

use std::fs;

use hull_e2e::{Spec, block, cgroup, read_output};

use crate::case::Draft;
use crate::seen::{self, Names, Refusal, Seen};
use crate::world::{World, listing};

/// Runs it to its end.
pub(crate) fn run(world: &World, draft: &Draft<'_>) -> Seen {
    let id = world.lab.id("box");
    let tree = world.tree(&id, &draft.ask());
    let before = listing(&tree);
    // The shim starts in the bundle whatever its config says; Create is what reads it.
    let mut container = world.lab.container_named(&id, &Spec::new(["/probe"]));
    let group = container.cgroup();
    let config = draft.config(&tree, &group);
    fs::write(container.bundle.path().join("config.json"), &config).unwrap();
    let mut request = container.create_request();
    // The root file system is a directory, as runc has it.
    request.rootfs.clear();
    let bundle = container.bundle.path().to_owned();
    let names = Names {
        world,
        id: &id,
        tree: &tree,
        bundle: &bundle,
        cgroup: &group,
    };
    let refused = |text: String| {
        let mut left: Vec<String> = cgroup::directories_naming(&group)
            .iter()
            .map(|dir| format!("cgroup {}", dir.display()))
            .collect();
        let after = listing(&tree);
        left.extend(
            after
                .iter()
                .filter(|entry| !before.contains(entry))
                .map(|(path, text)| format!("{path} {text}")),
        );
        Seen::Refused(Refusal { text, left })
    };
    if let Err(error) = block(container.task.create(&request)) {
        return refused(error.message().to_owned());
    }
    let limits = seen::limits(&names);
    if let Err(error) = container.try_start("") {
        // What was created stays until then.
        container.delete().unwrap();
        return refused(error.message().to_owned());
    }
    let (stdout, stderr) = read_output(&mut container.stdio);
    container.wait();
    container.delete().unwrap();
    let mut facts = seen::facts(&stdout, &names);
    facts.insert("stderr".to_owned(), stderr);
    facts.extend(limits);
    facts.extend(seen::tree_facts(&tree));
    facts.extend(seen::hooks(&names));
    Seen::Ran(facts)
}
