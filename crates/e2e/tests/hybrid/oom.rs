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

#[test]
fn exec_that_is_killed_is_told_before_its_exit() {
    let lab = Lab::new();
    let spec = crate::sleeper()
        .resource("memory/limit", 16 * crate::MIB)
        .resource("memory/swap", 16 * crate::MIB);
    let c = lab.container(&spec);
    c.run();
    let ran = c.exec(
        "e",
        ["sh", "-c", "x=0123456789abcdef; while :; do x=$x$x; done"],
    );
    assert_eq!(ran.status, 137, "{ran:?}");
    lab.events().wait_for(Topic::Exit, &c.id, "e");
    let topics = lab.events().topics(&c.id);
    let oom = topics.iter().position(|topic| *topic == Topic::Oom);
    let exit = topics.iter().position(|topic| *topic == Topic::Exit);
    assert!(oom.is_some() && oom < exit, "{topics:?}");
}
