//! Which end-to-end tests run in the machine. There they take about ten times as long as on the host,
//! so that `make test` runs those to which the machine's cgroups, kernel or rights matter, and a few
//! of each other kind.

use std::time::Duration;

/// A file of tests below `crates/e2e/tests`.
#[derive(Debug)]
pub(super) struct File {
    /// Its name, without `.rs`.
    pub(super) name: &'static str,
    usual: Usual,
    /// Where it runs unless another is named.
    pub(super) image: Image,
    /// What it is about there, or why it is not run.
    pub(super) why: &'static str,
}

/// A root file system for the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Image {
    /// Busybox, and a script as PID 1.
    Busybox,
    /// Debian's systemd as PID 1.
    Systemd,
}

impl Image {
    /// All of them, in the order in which they boot.
    pub(super) const ALL: [Self; 2] = [Self::Busybox, Self::Systemd];

    /// Its name on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Busybox => "busybox",
            Self::Systemd => "systemd",
        }
    }

    /// The image of that name.
    pub(super) fn find(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|image| image.name() == name)
            .ok_or_else(|| format!("no image is called {name}: there are busybox and systemd"))
    }
}

/// What of a file runs when nothing is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Usual {
    /// Every test.
    Whole,
    /// The tests with these names.
    Few(&'static [&'static str]),
    /// None: only with `--all`, or by its name.
    Nothing,
    /// None, and not with `--all` either: only by its name.
    Host,
}

use Usual::{Few, Host, Nothing, Whole};

/// Every file, in the order in which they run.
pub(super) const FILES: &[File] = &[
    file("unified", Whole, "what only unified cgroups can show"),
    File {
        image: Image::Systemd,
        ..file("systemd", Whole, "cgroups made by systemd")
    },
    file("cgroup", Whole, "limits, freezing, OOM, counters"),
    file("updates", Whole, "device rules that change under way"),
    file(
        "isolation",
        Whole,
        "namespaces and rights on Debian's kernel",
    ),
    file(
        "attributes",
        Nothing,
        "scheduling and NUMA policy on Debian's kernel",
    ),
    file("filesystem", Whole, "mounts on Debian's kernel"),
    file("user_namespace", Whole, "mapped ids on Debian's kernel"),
    file(
        "user_namespace_refused",
        Nothing,
        "users that make no sense",
    ),
    file("pods_of_users", Nothing, "user namespaces that are joined"),
    file("pods", Nothing, "containers that share a daemon"),
    file("time_namespace", Whole, "shifted clocks on Debian's kernel"),
    file("idmap", Nothing, "owners of mounts on Debian's kernel"),
    file("lifecycle", Whole, "every verb"),
    file("hooks", Nothing, "all six kinds"),
    file("net_devices", Nothing, "network devices on Debian's kernel"),
    file(
        "run",
        Few(RUN),
        "containerd and ctr: Go programs start slowly",
    ),
    file("io", Few(IO), "streams; large ones are slow"),
    file("io_load", Nothing, "large streams"),
    file(
        "loggers",
        Host,
        "its logger is a script for the host's shell",
    ),
    file("wasm_memory", Nothing, "memory limits of guests"),
    file(
        "wasm_isolation",
        Few(WASM_ISOLATION),
        "rights of a Wasm process",
    ),
    file(
        "create_errors",
        Nothing,
        "nothing is left of a failed create",
    ),
    file("crash", Few(CRASH), "clean-up after killed processes"),
    file("escapes", Few(ESCAPES), "hostile images and processes"),
    file("faults", Nothing, "a failure at every step"),
    file("kills", Nothing, "killed daemons, launchers and starts"),
    file("odd_specs", Nothing, "specs that nobody writes"),
    file(
        "hook_failures",
        Nothing,
        "what each kind of hook does when it fails",
    ),
    file("mount_options", Nothing, "every word of a mount"),
    file(
        "mount_places",
        Nothing,
        "destinations and sources of mounts",
    ),
    file("propagation", Nothing, "mount events in and out"),
    file("events", Nothing, "order and form of events"),
    file(
        "lost_exits",
        Host,
        "a matter of the host's speed, and of strace",
    ),
    file("sandbox", Nothing, "pods without a pause image"),
    file("table", Nothing, "every operation in every state"),
    file("options", Nothing, "options of every type"),
    file(
        "containerd_rows",
        Nothing,
        "what containerd's own tests ask",
    ),
    file(
        "transport",
        Nothing,
        "ttrpc: broken, large and many requests",
    ),
    file("io_edges", Nothing, "late, slow and vanished readers"),
    file("wasm_run", Nothing, "Wasm through containerd"),
    file("wasm_exec", Nothing, "exec of and into Wasm"),
    file("wasm_files", Nothing, "what a guest sees of files"),
    file("wasm_network", Nothing, "sockets and names of guests"),
    file("wasm_settings", Nothing, "what annotations ask for"),
    file("wasm_features", Nothing, "proposals that guests ask for"),
    file("wasm_http", Nothing, "HTTP servers"),
    file("wasm_mapping", Nothing, "where the code of components is"),
    file("wasm_refused", Nothing, "modules that are refused"),
    file("wasm_worlds", Nothing, "versions of WASI, single functions"),
    file("wasm_stop", Nothing, "signals for guests"),
    file("wasm_traps", Nothing, "guests that trap"),
    file("wasm_artifacts", Nothing, "the store of compiled Wasm"),
    file("wasm_compile", Nothing, "the compiler's jail"),
    file(
        "wasm_hostile",
        Nothing,
        "guests that take what they can get",
    ),
    file("wasm_bombs", Nothing, "modules that hurt the compiler"),
    file(
        "wasm_guests",
        Nothing,
        "guests of other languages and their ends",
    ),
    file(
        "wasm_full",
        Host,
        "needs the large images, which are not on the disk",
    ),
    file(
        "wasm_faults",
        Nothing,
        "a failure at every step of a compilation",
    ),
    file("cli", Nothing, "the command hull, without containerd"),
    file("cli_tools", Nothing, "what hull says of configs and stores"),
    file("trace", Nothing, "the trace of a create"),
    // The last one: the kernel keeps the hierarchies that it mounts, and their controllers.
    file("legacy", Whole, "controllers in v1 hierarchies"),
    file(
        "containerd2",
        Host,
        "needs containerd 2.x, which is not on the disk",
    ),
    file(
        "wasm_images",
        Host,
        "needs containerd 2.x, which is not on the disk",
    ),
    file(
        "wasm_notes",
        Host,
        "looks with strace, which is not on the disk",
    ),
    file("cri", Host, "needs crictl, which is not on the disk"),
    file("seccomp_agent", Host, "builds its agent, a program in C"),
    file(
        "differential",
        Host,
        "compares with runc, which is not on the disk",
    ),
    file("ablation", Host, "builds the tests that it runs"),
    file("docs", Host, "reads the sources"),
    file("order", Host, "looks with strace, which is not on the disk"),
    file("harness", Host, "tests the harness, on the host"),
    file("hybrid", Host, "needs a host with v1 controllers"),
    file("restarts", Host, "needs containerd 2.x, and is long"),
    file("load", Host, "a matter of the host's speed"),
    file("races", Host, "a matter of the host's speed"),
    file(
        "slow",
        Host,
        "slows down with strace, which is not on the disk",
    ),
    file("soak", Host, "long"),
    file("wasm_soak", Host, "long"),
];

const CRASH: &[&str] = &[
    "delete_cleans_up_after_a_killed_daemon",
    "delete_cleans_up_a_container_in_the_hosts_pid_namespace",
    "delete_cleans_up_a_paused_container",
];
const ESCAPES: &[&str] = &[
    "cgroup_of_no_valid_name_is_removed",
    "dev_that_is_a_link_leads_to_nothing_of_the_host",
    "null_that_is_a_file_hides_no_less",
    "only_a_procfs_can_be_mounted_on_proc",
];
const IO: &[&str] = &[
    "close_io_ends_the_input",
    "reader_that_comes_late_gets_all_output",
    "terminal_is_the_controlling_one_and_has_its_size",
    "vanished_reader_blocks_the_process_and_does_not_kill_it",
];
const RUN: &[&str] = &[
    "detached_container_runs_on_without_its_client",
    "exec_has_its_own_output_code_and_directory",
    "output_and_exit_code_zero",
];
const WASM_ISOLATION: &[&str] = &[
    "namespaces_and_cgroup_are_the_containers",
    "runner_has_no_capability_and_a_filter_whatever_the_spec_grants",
];

const fn file(name: &'static str, usual: Usual, why: &'static str) -> File {
    File {
        name,
        usual,
        image: Image::Busybox,
        why,
    }
}

/// A file, and what of it is to run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) file: &'static File,
    /// The names of its tests; empty for all.
    pub(super) tests: &'static [&'static str],
}

/// What runs when nothing is named.
pub(super) fn usual() -> Vec<Part> {
    FILES.iter().filter_map(File::usual).collect()
}

/// What runs with `--all`.
pub(super) fn all() -> Vec<Part> {
    let there = |file: &&File| file.usual != Host;
    FILES.iter().filter(there).map(File::whole).collect()
}

/// The file of that name.
pub(super) fn find(name: &str) -> Result<Part, String> {
    FILES
        .iter()
        .find(|file| file.name == name)
        .map(File::whole)
        .ok_or_else(|| format!("no file of tests is called {name}; hull-vm --help lists them"))
}

impl File {
    fn whole(&'static self) -> Part {
        Part {
            file: self,
            tests: &[],
        }
    }

    fn usual(&'static self) -> Option<Part> {
        match self.usual {
            Whole => Some(self.whole()),
            Few(tests) => Some(Part { file: self, tests }),
            Nothing | Host => None,
        }
    }

    /// What the usage says of when it runs.
    pub(super) fn mark(&self) -> char {
        match self.usual {
            Whole => '*',
            Few(_) => '+',
            Nothing => ' ',
            Host => '-',
        }
    }
}

/// How long one file may take. Ten times what the slowest needs on a quiet machine.
pub(super) const LIMIT: Duration = Duration::from_secs(1200);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    fn directory() -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests"))
    }

    #[test]
    fn table_has_every_file_of_tests() {
        let there: BTreeSet<String> = fs::read_dir(directory())
            .unwrap()
            .map(|entry| {
                entry
                    .unwrap()
                    .path()
                    .file_stem()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned()
            })
            .collect();
        let listed: BTreeSet<String> = FILES.iter().map(|file| file.name.to_owned()).collect();
        assert_eq!(there, listed);
    }

    #[test]
    fn tests_named_exist() {
        for part in usual().iter().filter(|part| !part.tests.is_empty()) {
            let name = part.file.name;
            let path = directory().join(name);
            let source = fs::read_to_string(path.with_extension("rs"))
                .or_else(|_| fs::read_to_string(path.join("main.rs")))
                .unwrap();
            for test in part.tests {
                let wanted = format!("#[test]\nfn {test}()");
                assert!(source.contains(&wanted), "{name}: {test}");
            }
        }
    }
}
