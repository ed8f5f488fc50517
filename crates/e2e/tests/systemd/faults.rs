//! Processes of ours that are killed.

use std::thread::sleep;
use std::time::Duration;

use hull_e2e::time::handle;
use hull_e2e::{Lab, eventually, procfs};

use crate::sleeper;
use crate::unit::Unit;

#[test]
fn delete_ends_the_unit_after_a_killed_daemon() {
    let lab = Lab::new();
    let unit = Unit::of(&lab);
    let c = lab.container(&unit.around(sleeper()));
    let pid = c.run();
    lab.kill_daemon(c.shim_pid());
    c.wait_for_daemon();
    unit.expect(&[("ActiveState", "active")]);
    for _ in 0..2 {
        lab.binary().delete(&c.id, c.bundle.path()).unwrap();
        eventually("the init is dead", || procfs::has_ended(pid).then_some(()));
        assert!(!unit.dir().exists());
        unit.expect_gone();
    }
}

/// Whenever it dies on the way: before the unit is there, while a job of ours holds it, with init in it.
#[test]
fn nothing_is_left_of_a_daemon_that_dies_while_it_creates() {
    for millis in [0, 20, 60, 150, 400, 1000] {
        let lab = Lab::new();
        let unit = Unit::of(&lab);
        let c = lab.container(&unit.around(sleeper()));
        let (task, request) = (c.task.clone(), c.create_request());
        let create = handle().spawn(async move { task.create(&request).await });
        sleep(Duration::from_millis(millis));
        lab.kill_daemon(c.shim_pid());
        c.wait_for_daemon();
        lab.binary().delete(&c.id, c.bundle.path()).unwrap();
        create.abort();
        // A job that was on its way to systemd finds that nobody waits for it.
        sleep(Duration::from_millis(500));
        unit.expect_gone();
    }
}
