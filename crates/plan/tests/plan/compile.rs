//! The plan of a compilation.

use crate::golden;
use hull_abi::{DeviceKind, Plan, Proposal};
use hull_plan::{CompileInputs, CompilerTask, compile_plan};

const INPUTS: CompileInputs<'_> = CompileInputs {
    cgroups_path: "/default@c1@wasm",
    root: "/run/hull/empty",
    task: CompilerTask::Compile(&[]),
    cpus: 2,
    memory_bytes: 2 << 30,
    seconds: 60,
};

fn soft_limit(plan: &Plan, resource: u32) -> Option<u64> {
    let mut limits = plan.process.rlimits.iter();
    limits
        .find(|limit| limit.resource == resource)
        .map(|limit| limit.soft)
}

#[test]
fn a_compilation_has_its_plan() {
    let path = golden::directory().join("compile.plan");
    golden::compare(&path, &golden::render(compile_plan(&INPUTS)));
}

#[test]
fn only_the_arguments_tell_one_task_from_another() {
    for (task, args) in [
        (CompilerTask::Id, &["hull-wasmc", "--id"][..]),
        (
            CompilerTask::Compile(&Proposal::ALL),
            &["hull-wasmc", "compile", "custom-page-sizes,wide-arithmetic"],
        ),
    ] {
        let mut plan = compile_plan(&CompileInputs { task, ..INPUTS });
        assert_eq!(plan.process.args, args);
        plan.process.args = vec!["hull-wasmc".to_owned(), "compile".to_owned()];
        assert_eq!(plan, compile_plan(&INPUTS));
    }
}

#[test]
fn extreme_inputs_are_taken_as_far_as_they_mean_something() {
    let none = compile_plan(&CompileInputs { cpus: 0, ..INPUTS });
    let one = compile_plan(&CompileInputs { cpus: 1, ..INPUTS });
    assert_eq!(none, one);
    assert_eq!(one.process.env, ["RAYON_NUM_THREADS=1"]);
    assert_eq!(soft_limit(&one, 0), Some(60));

    let all = compile_plan(&CompileInputs {
        cpus: u32::MAX,
        memory_bytes: u64::MAX,
        seconds: u64::MAX,
        ..INPUTS
    });
    assert_eq!(all.resources.memory.limit_bytes, Some(i64::MAX));
    assert_eq!(all.resources.memory.swap_bytes, Some(i64::MAX));
    assert_eq!(soft_limit(&all, 0), Some(u64::MAX));
    assert_eq!(all.resources.pids, Some(i64::from(u32::MAX)));
}

#[test]
fn no_device_may_be_used() {
    let rules = compile_plan(&INPUTS).resources.devices.unwrap();
    assert_eq!(rules.len(), 1);
    assert!(!rules[0].allow && rules[0].kind == DeviceKind::All);
    assert!(rules[0].read && rules[0].write && rules[0].mknod);
}
