//! The container in which a Wasm file is compiled, or the compiler is asked for its id.
//!
//! Whoever brings the Wasm file may know of a bug in the compiler, so the compiler is taken to be
//! as hostile as any guest. All it has are its standard streams: no file, no device, no network, no
//! process but its own threads, no capability. It cannot make memory executable, and it is bound in
//! memory, time, threads and output.

mod filter;

use crate::device_rules::DENY_ALL;
use hull_abi::{
    Attributes, CapabilitySets, Cpu, HookState, Hooks, IdMaps, Memory, NamespaceKind,
    NamespacePlan, Payload, Plan, Process, Proposal, Resources, Rlimit, Root, User,
};

/// User and group of every compiler. They own no file and no other process: above all ranges that
/// are in use for people, services, containers and their subordinate ids
/// (<https://systemd.io/UIDS-GIDS/> ends at 1879048191), and below the negative numbers that some
/// programs take ids from 2³¹ on for.
const NOBODY_ELSE: u32 = 1_987_654_321;

/// The largest artifact, in bytes.
const MAX_ARTIFACT: u64 = 1 << 30;
/// Of the first thread, in bytes: the others have theirs from the compiler.
const STACK: u64 = 8 << 20;
/// Three streams, and the few that the way into the container takes.
const DESCRIPTORS: u64 = 32;
/// Tasks beside one for each processor: the first thread, and one to spare.
const MORE_TASKS: u32 = 2;
/// The compiler is the first to go when the host runs out of memory: it can be run again.
const OOM_SCORE: i32 = 500;
/// Period of the CPU quota, in µs, the kernel's default.
const PERIOD_US: u32 = 100_000;

/// What a compiler is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompilerTask<'a> {
    /// Its engine id.
    Id,
    /// An artifact, with these proposals.
    Compile(&'a [Proposal]),
}

/// What a compilation depends on.
#[derive(Debug, Clone, Copy)]
pub struct CompileInputs<'a> {
    /// Absolute path of its cgroup, of the same form as `linux.cgroupsPath`.
    pub cgroups_path: &'a str,
    /// Absolute path of an empty directory on the host, the root of its file system.
    pub root: &'a str,
    /// What the compiler is asked for.
    pub task: CompilerTask<'a>,
    /// How many processors it may keep busy; 0 counts as 1.
    pub cpus: u32,
    /// Memory that it may use, its output included, in bytes.
    pub memory_bytes: u64,
    /// How long it may compute on all of its processors, in seconds. Somebody else must see to it
    /// that it does not sleep for longer.
    pub seconds: u64,
}

/// Decides everything about a compilation. The compiler itself and its streams come with the
/// request that carries the plan.
#[must_use]
pub fn compile_plan(inputs: &CompileInputs<'_>) -> Plan {
    Plan {
        trace: false,
        namespaces: namespaces(),
        root: Root {
            path: inputs.root.to_owned(),
            readonly: true,
            propagation: None,
            pivot: true,
        },
        // Not the host's, which is what a new namespace begins with.
        id_maps: IdMaps::default(),
        time_offsets: Vec::new(),
        hostname: Some("hull-wasmc".to_owned()),
        domainname: Some("(none)".to_owned()),
        mounts: Vec::new(),
        devices: Vec::new(),
        device_links: false,
        masked_paths: Vec::new(),
        readonly_paths: Vec::new(),
        sysctls: Vec::new(),
        net_devices: Vec::new(),
        process: process(inputs),
        hooks: Hooks::default(),
        cgroups_path: inputs.cgroups_path.to_owned(),
        scope: None,
        resources: resources(inputs),
        bundle: String::new(),
        state: HookState::default(),
        warnings: Vec::new(),
        wasm: hull_abi::WasmSettings::default(),
    }
}

fn namespaces() -> Vec<NamespacePlan> {
    [
        NamespaceKind::Mount,
        NamespaceKind::Pid,
        NamespaceKind::Network,
        NamespaceKind::Ipc,
        NamespaceKind::Uts,
        NamespaceKind::Cgroup,
    ]
    .map(|kind| NamespacePlan { kind, path: None })
    .into()
}

fn process(inputs: &CompileInputs<'_>) -> Process {
    let mut args = vec!["hull-wasmc".to_owned()];
    match inputs.task {
        CompilerTask::Id => args.push("--id".to_owned()),
        CompilerTask::Compile(proposals) => {
            args.push("compile".to_owned());
            if !proposals.is_empty() {
                args.push(Proposal::list(proposals));
            }
        }
    }
    Process {
        payload: Payload::Compile,
        args,
        env: vec![format!("RAYON_NUM_THREADS={}", inputs.cpus.max(1))],
        cwd: "/".to_owned(),
        terminal: false,
        console_size: None,
        user: User {
            uid: NOBODY_ELSE,
            gid: NOBODY_ELSE,
            additional_gids: Vec::new(),
            umask: 0o077,
        },
        capabilities: CapabilitySets::default(),
        no_new_privileges: true,
        rlimits: rlimits(inputs),
        oom_score_adj: Some(OOM_SCORE),
        attributes: Attributes::default(),
        apparmor_profile: None,
        selinux_label: None,
        seccomp: Some(filter::filter()),
    }
}

/// Numbers of `asm-generic/resource.h`. Neither `RLIMIT_AS`, because the compiler's engine reserves
/// address space without using it, nor `RLIMIT_NPROC`, because that counts the threads of all
/// compilers, which have one user: the cgroup limits memory and threads of each.
fn rlimits(inputs: &CompileInputs<'_>) -> Vec<Rlimit> {
    const CPU: u32 = 0;
    const FSIZE: u32 = 1;
    const STACK_SIZE: u32 = 3;
    const CORE: u32 = 4;
    const NOFILE: u32 = 7;
    const MEMLOCK: u32 = 8;
    const MSGQUEUE: u32 = 12;
    let seconds = inputs.seconds.saturating_mul(u64::from(inputs.cpus.max(1)));
    [
        (CPU, seconds),
        (FSIZE, MAX_ARTIFACT),
        (STACK_SIZE, STACK),
        (CORE, 0),
        (NOFILE, DESCRIPTORS),
        (MEMLOCK, 0),
        (MSGQUEUE, 0),
    ]
    .map(|(resource, limit)| Rlimit {
        resource,
        soft: limit,
        // At the soft limit of time comes SIGXCPU, which says what it is about.
        hard: if resource == CPU {
            limit.saturating_add(1)
        } else {
            limit
        },
    })
    .into()
}

fn resources(inputs: &CompileInputs<'_>) -> Resources {
    let cpus = inputs.cpus.max(1);
    let memory = i64::try_from(inputs.memory_bytes).unwrap_or(i64::MAX);
    Resources {
        cpu: Cpu {
            quota_us: Some(i64::from(cpus).saturating_mul(i64::from(PERIOD_US))),
            period_us: Some(u64::from(PERIOD_US)),
            ..Cpu::default()
        },
        memory: Memory {
            limit_bytes: Some(memory),
            // Of memory and swap together: no swap.
            swap_bytes: Some(memory),
            ..Memory::default()
        },
        pids: Some(i64::from(cpus.saturating_add(MORE_TASKS))),
        devices: Some(vec![DENY_ALL]),
        ..Resources::default()
    }
}
