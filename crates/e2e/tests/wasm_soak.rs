//! Many Wasm and native containers, one after the other and at once.

use std::thread;

use hull_e2e::{Case, Containerd, Image, Lab, POD, Spec, artifacts, ctr, eventually, procfs};

/// How many run at once.
const LANES: usize = 4;

/// Shims and runners that bear the containerd's namespace.
fn ours(case: &Case) -> Vec<String> {
    let processes = procfs::processes_naming(case.containerd().tag());
    let ours = processes
        .into_iter()
        .filter(|process| process.trace.contains("shim-hull") || process.trace.contains("wasm"));
    ours.map(|process| process.trace).collect()
}

#[test]
fn two_hundred_wasm_and_native_containers_leave_nothing() {
    let case = Case::with_image(Containerd::start_own(), Image::Wasm);
    thread::scope(|scope| {
        for lane in 0..LANES {
            let case = &case;
            scope.spawn(move || {
                for number in (lane..200).step_by(LANES) {
                    let id = case.id("soak");
                    let code = number.to_string();
                    let native = format!("exit {code}");
                    let args: &[&str] = if number % 8 < LANES {
                        &["/wasm/exit.wasm", &code]
                    } else {
                        &["sh", "-c", &native]
                    };
                    let command = case.run_command(&id, &["--rm"], args);
                    ctr::run(command, &[]).expect(number.try_into().unwrap());
                }
            });
        }
    });
    eventually("no process of ours is left", || {
        ours(&case).is_empty().then_some(())
    });
    artifacts::single(&case.containerd().artifacts());
}

#[test]
fn hundred_guests_in_one_daemon_keep_its_descriptors() {
    let lab = Lab::wasm();
    let keeper = lab.container(&Spec::new(["sleep", "600"]).annotation(POD, "pod"));
    keeper.run();
    let life = |number: u32| {
        let code = number.to_string();
        let spec = Spec::new(["/wasm/exit.wasm", &code]).annotation(POD, "pod");
        let c = lab.container(&spec);
        assert_eq!(c.shim_pid(), keeper.shim_pid());
        c.run();
        assert_eq!(c.wait(), number);
        c.delete().unwrap();
    };
    life(0);
    let before = procfs::descriptors(keeper.shim_pid());
    (1..100).for_each(life);
    eventually("as many descriptors as before", || {
        (procfs::descriptors(keeper.shim_pid()).len() <= before.len()).then_some(())
    });
}

#[test]
fn fifty_wasm_execs_at_once_all_end_with_their_codes() {
    let lab = Lab::wasm();
    let c = lab.container(&Spec::new(["sleep", "600"]));
    c.run();
    thread::scope(|scope| {
        for number in 0..50_u32 {
            let c = &c;
            scope.spawn(move || {
                let code = number.to_string();
                let ran = c.exec(&format!("e{number}"), ["/wasm/exit.wasm", &code]);
                assert_eq!((ran.status, ran.stderr.as_str()), (number, ""));
            });
        }
    });
}

#[test]
fn guests_that_are_killed_while_they_start_leave_nothing() {
    let lab = Lab::wasm();
    for _ in 0..20 {
        let c = lab.container(&Spec::new(["/wasm/hello.wasm"]));
        c.create();
        thread::scope(|scope| {
            let c = &c;
            scope.spawn(move || c.try_start("").ok());
            scope.spawn(move || c.kill(9).ok());
        });
        let status = c.wait();
        assert!(status == 0 || status == 137, "{status}");
    }
}
