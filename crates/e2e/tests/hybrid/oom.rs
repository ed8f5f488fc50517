//! Want of memory is heard of while it happens, by the event that a job has registered and left to the daemon.

use crate::script;
use hull_e2e::{Lab, Topic};

#[test]
fn child_that_is_killed_is_told_while_init_lives() {
    let lab = Lab::new();
    let greedy = "head -c 100000000 /dev/zero | tail";
    let spec = script(&format!("({greedy}) >/dev/null; echo child; sleep 600"))
        .resource("memory/limit", 16 * crate::MIB)
        .resource("memory/swap", 16 * crate::MIB);
    let mut c = lab.container(&spec);
    c.run();
    lab.events().wait_for(Topic::Oom, &c.id, "");
    c.read_until("child");
    assert!(!lab.events().topics(&c.id).contains(&Topic::Exit));
}
