//! A process of hull dies, or a step fails, on the way of a Wasm guest. The shim here is built with
//! fault points; runner and compiler are the released ones.

#![expect(clippy::unwrap_used, reason = "test code")]

use hull_e2e::{Image, Lab, Spec, artifacts, block, cgroup, procfs, target};

/// The step that digests the module, asks for its compiled form and reads it.
const ARTIFACT: &str = "artifact";

fn lab(fault: &str) -> Lab {
    // The shim with fault points has no siblings.
    Lab::with_fault(fault)
        .with_image(Image::Wasm)
        .with_env("PATH", target::search_path().to_str().unwrap())
}

/// Creates twice; both must fail with one line that has one of `parts`.
#[track_caller]
fn create_fails(fault: &str, parts: &[&str]) {
    let lab = lab(fault);
    let c = lab.container(&Spec::new(["/wasm/hello.wasm"]));
    for _ in 0..2 {
        let error = c.try_create().unwrap_err();
        let text = error.message();
        assert!(!text.trim().contains('\n'), "more than one line: {text:?}");
        let named = parts.iter().any(|part| text.contains(part));
        assert!(named, "{fault}: {text:?}");
        assert_eq!(lab.events().of(&c.id), [], "{fault}");
        let rootfs = c.bundle.rootfs().display().to_string();
        assert!(procfs::mounts_naming(&rootfs).is_empty(), "{fault}");
        let groups = cgroup::directories_naming(&c.cgroup());
        assert!(groups.is_empty(), "{fault}: {groups:?}");
        let left = artifacts::leftovers(&lab.artifacts());
        assert!(left.is_empty(), "{fault}: {left:?}");
    }
}

#[test]
fn step_that_gets_the_artifact_can_fail_or_be_killed() {
    create_fails(&format!("{ARTIFACT}:fail"), &[ARTIFACT]);
    create_fails(&format!("{ARTIFACT}:kill"), &["killed", "died"]);
}

/// The compiler's own way into its jail: its last step is the first that only it comes to.
#[test]
fn compiler_that_does_not_start_fails_the_create() {
    create_fails("exec:fail", &["exec: "]);
    create_fails("exec:kill", &["killed", "died"]);
}

#[test]
fn exec_of_a_guest_that_fails_on_its_way_leaves_the_container_alone() {
    for what in ["fail", "kill"] {
        let lab = lab(&format!("exec exec:{what}"));
        let c = lab.container(&Spec::new(["sleep", "600"]));
        let pid = c.run();
        let stdio = c.add_exec("e", ["/wasm/hello.wasm"]);
        let error = c.try_start("e").unwrap_err();
        assert!(!error.message().contains('\n'), "{error:?}");
        drop(stdio);
        block(c.task.delete(&c.id, "e")).unwrap();
        let pids = block(c.task.pids(&c.id)).unwrap().processes;
        let pids: Vec<u32> = pids.iter().map(|process| process.pid).collect();
        assert_eq!(pids, [pid], "{what}");
    }
}
