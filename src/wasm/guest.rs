//! What the runner is told of its guest. Pure.

use super::cpus::cpus;
use hull_abi::{
    Entry, Mount, MountFlags, MountSource, NameFiles, Plan, Preopen, Process, Resources,
    RunnerConfig,
};

/// Mounts below these are the kernel's or devices. A guest that wants them finds them below "/".
const NOT_DATA: [&str; 3] = ["/proc", "/sys", "/dev"];

/// The config of a process of the container: init's or an exec's.
pub(super) fn config(
    plan: &Plan,
    process: &Process,
    program: &str,
    home: Option<&str>,
) -> RunnerConfig {
    RunnerConfig {
        program: program.to_owned(),
        args: process.args.clone(),
        env: environment(&process.env, home),
        cwd: process.cwd.clone(),
        preopens: chosen(
            plan.wasm.preopens.as_deref(),
            offered(plan.root.readonly, &plan.mounts),
        ),
        memory_limit: memory_limit(&plan.resources),
        cpus: cpus(&plan.resources),
        entry: Entry::default(),
        name_files: NameFiles {
            hosts: is_callers_file("/etc/hosts", &plan.mounts),
            resolv_conf: is_callers_file("/etc/resolv.conf", &plan.mounts),
        },
        settings: plan.wasm.clone(),
    }
}

/// Whether what is seen at a path is a file of the host that is mounted there, and not something of the image's.
fn is_callers_file(path: &str, mounts: &[Mount]) -> bool {
    // The last mount over it hides the others.
    let mut over = mounts.iter().rev();
    let over = over.find(|mount| is_below(path, &mount.destination));
    over.is_some_and(|mount| {
        mount.destination == path && matches!(mount.source, MountSource::Bind { .. })
    })
}

/// In bytes. A file of the unified hierarchy that is given by its name wins.
fn memory_limit(resources: &Resources) -> Option<u64> {
    let file = resources
        .unified
        .iter()
        .find(|(file, _)| file == "memory.max");
    match file {
        Some((_, value)) => bytes(value),
        None => resources
            .memory
            .limit_bytes
            .and_then(|limit| u64::try_from(limit).ok())
            .filter(|limit| *limit > 0),
    }
}

/// What the kernel makes of a value of `memory.max`, of which the last line counts: a number in C's notation
/// with a suffix of binary thousands (memparse in the kernel's lib/cmdline.c). `None` is "max".
fn bytes(value: &str) -> Option<u64> {
    let value = value.lines().last()?.trim();
    let (digits, radix) = match value.strip_prefix("0x").or(value.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None if value.starts_with('0') => (value, 8),
        None => (value, 10),
    };
    let end = digits
        .find(|c: char| !c.is_digit(radix))
        .unwrap_or(digits.len());
    let (digits, suffix) = digits.split_at(end);
    let power = match suffix.to_ascii_lowercase().as_str() {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        "e" => 6,
        _ => return None,
    };
    u64::from_str_radix(digits, radix)
        .ok()?
        .checked_mul(1024_u64.pow(power))
}

fn environment(env: &[String], home: Option<&str>) -> Vec<String> {
    let own = home.map(|home| format!("HOME={home}"));
    env.iter()
        .filter(|entry| own.is_none() || !entry.starts_with("HOME="))
        .chain(&own)
        .cloned()
        .collect()
}

/// What an annotation asks for, read-only where the mount is; else everything that is offered.
fn chosen(asked: Option<&[Preopen]>, offered: Vec<Preopen>) -> Vec<Preopen> {
    let Some(asked) = asked else {
        return offered;
    };
    let is_readonly = |path: &str| {
        let mounts = offered.iter();
        let mounts = mounts.filter(|mount| mount.path == "/" || is_below(path, &mount.path));
        let innermost = mounts.max_by_key(|mount| mount.path.len());
        innermost.is_some_and(|mount| mount.readonly)
    };
    let asked = asked.iter().map(|preopen| Preopen {
        readonly: preopen.readonly || is_readonly(&preopen.path),
        ..preopen.clone()
    });
    asked.collect()
}

/// The root and every mount that holds data, each with its own right to write: a guest's C library
/// takes the longest preopen that fits, so a writable volume in a read-only root needs its own.
fn offered(readonly: bool, mounts: &[Mount]) -> Vec<Preopen> {
    let mut all = vec![Preopen {
        path: "/".to_owned(),
        guest: "/".to_owned(),
        readonly,
    }];
    for mount in mounts {
        let path = mount.destination.as_str();
        let is_data = match &mount.source {
            MountSource::Bind { .. } => true,
            MountSource::Filesystem { fstype, .. } => fstype == "tmpfs",
            MountSource::Cgroup => false,
        };
        if !is_data || NOT_DATA.iter().any(|special| is_below(path, special)) {
            continue;
        }
        // A later mount covers an earlier one and what was mounted below that.
        all.retain(|preopen| !is_below(&preopen.path, path));
        all.push(Preopen {
            path: path.to_owned(),
            guest: path.to_owned(),
            readonly: mount
                .set
                .with(mount.set_recursive)
                .contains(MountFlags::RDONLY),
        });
    }
    all
}

fn is_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(destination: &str, source: MountSource, set: MountFlags) -> Mount {
        Mount {
            destination: destination.to_owned(),
            source,
            set,
            clear: MountFlags::default(),
            set_recursive: MountFlags::default(),
            clear_recursive: MountFlags::default(),
            propagation: None,
            tmpcopyup: false,
        }
    }

    fn bind(destination: &str, set: MountFlags) -> Mount {
        let source = "/host".to_owned();
        let recursive = true;
        let source = MountSource::Bind {
            source,
            recursive,
            id_map: None,
        };
        mount(destination, source, set)
    }

    fn new(destination: &str, fstype: &str) -> Mount {
        let source = MountSource::Filesystem {
            fstype: fstype.to_owned(),
            source: fstype.to_owned(),
            data: Vec::new(),
        };
        mount(destination, source, MountFlags::default())
    }

    fn paths(readonly: bool, mounts: &[Mount]) -> Vec<(String, bool)> {
        let all = offered(readonly, mounts).into_iter();
        all.map(|p| (p.path, p.readonly)).collect()
    }

    #[test]
    fn limit_in_the_file_wins() {
        let mut resources = Resources::default();
        assert_eq!(memory_limit(&resources), None);
        resources.memory.limit_bytes = Some(-1);
        assert_eq!(memory_limit(&resources), None);
        resources.memory.limit_bytes = Some(64);
        assert_eq!(memory_limit(&resources), Some(64));
        let mut with_file = |value: &str| {
            resources.unified = vec![("memory.max".to_owned(), value.to_owned())];
            memory_limit(&resources)
        };
        assert_eq!(with_file("32\n"), Some(32));
        assert_eq!(with_file("max"), None);
    }

    #[test]
    fn limit_in_the_file_is_what_the_kernel_makes_of_it() {
        for (value, limit) in [
            ("max", None),
            ("1048576\n", Some(1 << 20)),
            (" 64M ", Some(64 << 20)),
            ("2g", Some(2 << 30)),
            ("0x100k", Some(256 << 10)),
            ("010", Some(8)),
            ("max\n4096", Some(4096)),
            ("0", Some(0)),
            ("5 apples", None),
            ("99999999E", None),
        ] {
            assert_eq!(bytes(value), limit, "{value:?}");
        }
    }

    #[test]
    fn files_are_the_callers_where_they_are_mounted() {
        let none = MountFlags::default();
        let hosts = || bind("/etc/hosts", none);
        for (mounts, callers) in [
            (vec![], false),
            (vec![hosts()], true),
            (vec![bind("/etc", none)], false),
            (vec![bind("/etc", none), hosts()], true),
            (vec![hosts(), new("/etc", "tmpfs")], false),
            (vec![new("/etc/hosts", "tmpfs")], false),
            (vec![hosts(), bind("/etc/resolv.conf", none)], true),
        ] {
            assert_eq!(
                is_callers_file("/etc/hosts", &mounts),
                callers,
                "{mounts:?}"
            );
        }
    }

    #[test]
    fn volumes_keep_their_own_right_to_write() {
        let none = MountFlags::default();
        let mounts = [bind("/data", none), bind("/config", MountFlags::RDONLY)];
        let expected = [("/", true), ("/data", false), ("/config", true)];
        let expected = expected.map(|(path, readonly)| (path.to_owned(), readonly));
        assert_eq!(paths(true, &mounts), expected);
    }

    #[test]
    fn kernel_interfaces_and_devices_are_no_data() {
        let mounts = [
            new("/proc", "proc"),
            new("/dev", "tmpfs"),
            new("/dev/shm", "tmpfs"),
            new("/sys", "sysfs"),
            mount("/sys/fs/cgroup", MountSource::Cgroup, MountFlags::default()),
            new("/run", "tmpfs"),
            new("/develop", "tmpfs"),
        ];
        let all: Vec<String> = paths(false, &mounts).into_iter().map(|p| p.0).collect();
        assert_eq!(all, ["/", "/run", "/develop"]);
    }

    #[test]
    fn a_later_mount_covers_earlier_ones() {
        let none = MountFlags::default();
        let mounts = [
            bind("/a/b", none),
            bind("/ab", none),
            bind("/a", MountFlags::RDONLY),
        ];
        let expected = [("/", false), ("/ab", false), ("/a", true)];
        let expected = expected.map(|(path, readonly)| (path.to_owned(), readonly));
        assert_eq!(paths(false, &mounts), expected);
    }

    #[test]
    fn what_is_asked_for_is_read_only_where_its_mount_is() {
        let none = MountFlags::default();
        let mounts = [bind("/data", none), bind("/data/fixed", MountFlags::RDONLY)];
        let asked = [
            ("/data/x", false),
            ("/data/fixed/y", false),
            ("/database", false),
            ("/data", true),
            ("/", false),
        ];
        let asked = asked.map(|(path, readonly)| Preopen {
            path: path.to_owned(),
            guest: "/guest".to_owned(),
            readonly,
        });
        let got = chosen(Some(&asked), offered(true, &mounts));
        let readonly: Vec<bool> = got.iter().map(|preopen| preopen.readonly).collect();
        assert_eq!(readonly, [false, true, true, true, true]);
        assert!(got.iter().all(|preopen| preopen.guest == "/guest"));
        assert_eq!(chosen(Some(&[]), offered(false, &mounts)), []);
        assert_eq!(chosen(None, offered(false, &mounts)).len(), 3);
    }

    #[test]
    fn the_users_home_replaces_an_empty_one() {
        let env = ["A=1".to_owned(), "HOME=".to_owned()];
        assert_eq!(environment(&env, Some("/home/u")), ["A=1", "HOME=/home/u"]);
        assert_eq!(environment(&env, None), env);
    }
}
