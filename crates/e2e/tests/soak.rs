//! Many containers: one after the other, at once, and in one daemon.

use std::thread;

use hull_e2e::{Case, Lab, POD, Spec, Streams, Topic, ctr, eventually, procfs};

/// Shims that bear the containerd's namespace.
fn daemons(case: &Case) -> Vec<String> {
    let processes = procfs::processes_naming(case.containerd().tag());
    let shims = processes
        .into_iter()
        .filter(|process| process.trace.contains("containerd-shim"));
    shims.map(|process| process.trace).collect()
}

#[test]
fn two_hundred_runs_one_after_the_other_leave_nothing() {
    let case = Case::with(hull_e2e::Containerd::start_own());
    for number in 0..200 {
        let code = number % 256;
        let text = format!("echo {number}; exit {code}");
        let out = case.run(&[], &["sh", "-c", &text]).expect(code);
        assert_eq!(out.text(), format!("{number}\n"));
    }
    eventually("no daemon is left", || {
        daemons(&case).is_empty().then_some(())
    });
}

#[test]
fn fifty_runs_at_once_leave_nothing() {
    let case = Case::with(hull_e2e::Containerd::start_own());
    thread::scope(|scope| {
        let runs: Vec<_> = (0..50)
            .map(|number| {
                let id = case.id("at-once");
                let text = format!("echo {number}; exit {number}");
                let command = case.run_command(&id, &["--rm"], &["sh", "-c", &text]);
                (number, scope.spawn(move || ctr::run(command, &[])))
            })
            .collect();
        for (number, run) in runs {
            let out = run.join().unwrap().expect(number);
            assert_eq!(out.text(), format!("{number}\n"));
        }
    });
    eventually("no daemon is left", || {
        daemons(&case).is_empty().then_some(())
    });
}

#[test]
fn hundred_lives_in_one_daemon_keep_its_descriptors() {
    let lab = Lab::new();
    let keeper = lab.container(&Spec::new(["sleep", "600"]).annotation(POD, "pod"));
    keeper.run();
    let life = || {
        let spec = Spec::new(["sh", "-c", "exit 3"]).annotation(POD, "pod");
        let c = lab.container_with(&spec, Streams::OUTPUT);
        assert_eq!(c.shim_pid(), keeper.shim_pid());
        c.run();
        assert_eq!(c.wait(), 3);
        c.delete().unwrap();
    };
    life();
    let before = procfs::descriptors(keeper.shim_pid());
    (0..100).for_each(|_| life());
    eventually("as many descriptors as before", || {
        (procfs::descriptors(keeper.shim_pid()).len() <= before.len()).then_some(())
    });
    assert_eq!(keeper.exec("e", ["echo", "fine"]).stdout, "fine\n");
}

#[test]
fn fifty_execs_at_once_all_end_with_their_codes() {
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["sleep", "600"]));
    c.run();
    thread::scope(|scope| {
        let execs: Vec<_> = (0..50_u32)
            .map(|number| {
                let c = &c;
                let text = format!("echo {number}; exit {number}");
                scope.spawn(move || {
                    let ran = c.exec(&format!("e{number}"), ["sh", "-c", &text]);
                    assert_eq!((ran.status, ran.stdout), (number, format!("{number}\n")));
                })
            })
            .collect();
        execs.into_iter().for_each(|exec| exec.join().unwrap());
    });
    for number in 0..50 {
        let exit = lab
            .events()
            .wait_for(Topic::Exit, &c.id, &format!("e{number}"));
        assert_eq!(exit.status, number);
    }
}

#[test]
fn init_killed_while_execs_start_is_told_once_and_last() {
    let lab = Lab::new();
    for _ in 0..10 {
        let c = lab.container(&Spec::new(["sleep", "600"]));
        c.run();
        let execs: Vec<String> = (0..8).map(|number| format!("e{number}")).collect();
        let _stdio: Vec<_> = execs
            .iter()
            .map(|exec| c.add_exec(exec, ["sleep", "600"]))
            .collect();
        thread::scope(|scope| {
            for exec in &execs {
                let c = &c;
                // It may start or find the init gone; it must not hang.
                scope.spawn(move || c.try_start(exec).ok());
            }
            let c = &c;
            scope.spawn(move || c.kill(9).ok());
        });
        assert_eq!(c.wait(), 137);
        c.delete().unwrap();
    }
}
