//! What guests ask of the machine that few others do, and how containers of both kinds in a pod leave each
//! other alone.

use std::fs;

use hull_e2e::{Container, Lab, POD, Spec, Topic};

/// Preview 1 has no call that makes a socket, and a container gives its guest none that is open: what is there
/// is refused for every descriptor, and nothing of it goes elsewhere.
#[test]
fn sockets_of_preview_1_are_refused() {
    let lab = Lab::wasm();
    let ran = lab
        .container(&Spec::new(["/wasm/sockets.wasm"]))
        .run_to_end();
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:?}");
    let mut seen = 0;
    for line in ran.stdout.lines() {
        let refusal = if line.contains(" of nothing: ") {
            "Bad file descriptor"
        } else {
            "Not a socket"
        };
        assert!(line.ends_with(refusal), "{line}");
        seen += 1;
    }
    assert_eq!(seen, 20, "{}", ran.stdout);
}

/// Calls that do not wait for their outcome have none of the threads that do the work elsewhere.
#[test]
fn component_writes_and_reads_a_file_by_streams() {
    let lab = Lab::wasm();
    let mut c = lab.container(&Spec::new(["/wasm/file-streams.wasm"]));
    let ran = c.run_to_end();
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:?}");
    let text = "one\ntwo\nthree\n";
    assert_eq!(ran.stdout, text);
    let written = fs::read_to_string(c.upper().join("etc/streams")).unwrap();
    assert_eq!(written, text);
}

/// A pod of two Wasm containers and a native one, all running.
struct Pod<'lab> {
    native: Container<'lab>,
    sleeper: Container<'lab>,
    other: Container<'lab>,
}

impl<'lab> Pod<'lab> {
    fn new(lab: &'lab Lab, other: &Spec) -> Self {
        let add = |spec: Spec| lab.container(&spec.annotation(POD, "pod"));
        let pod = Self {
            native: add(Spec::new(["sleep", "600"])),
            sleeper: add(Spec::new(["/wasm/sleep.wasm"])),
            other: add(other.clone()),
        };
        pod.native.run();
        pod.sleeper.run();
        pod
    }

    /// The others run on and take execs of either kind.
    #[track_caller]
    fn is_well(&self) {
        for c in [&self.native, &self.sleeper] {
            assert_eq!(c.exec("n", ["echo", "fine"]).stdout, "fine\n");
            let ran = c.exec("w", ["/wasm/hello.wasm"]);
            assert_eq!((ran.status, ran.stdout.as_str()), (0, "hello from Wasm\n"));
        }
    }
}

#[test]
fn trap_end_by_the_kernel_and_refusal_leave_the_pod_alone() {
    let lab = Lab::wasm();
    let fill = Spec::new(["/wasm/hostile.wasm", "fill"])
        .resource("memory/limit", 16 << 20)
        .set(
            "/mounts/-",
            serde_json::json!({
                "destination": "/scratch", "type": "tmpfs", "source": "tmpfs", "options": ["size=32m"],
            }),
        );
    let ends = [
        (Spec::new(["/wasm/trap-stack.wasm"]), 134, false),
        (fill, 137, true),
        (Spec::new(["/wasm/exit.wasm", "255"]), 255, false),
    ];
    for (spec, status, oom) in ends {
        let mut pod = Pod::new(&lab, &spec);
        let ran = pod.other.run_to_end();
        assert_eq!(ran.status, status, "{ran:?}");
        // Who waits hears of the end before the event is there.
        lab.events().wait_for(Topic::Exit, &pod.other.id, "");
        let topics = lab.events().topics(&pod.other.id);
        assert_eq!(topics.contains(&Topic::Oom), oom, "{topics:?}");
        pod.is_well();
    }
    let pod = Pod::new(&lab, &Spec::new(["/wasm/no-start.wasm"]));
    pod.other.try_create().unwrap_err();
    pod.is_well();
}
