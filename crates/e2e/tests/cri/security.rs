//! The security context of pods and containers.

use hull_e2e::cri::{Case, ContainerConfig, PodConfig, on_each, on_newest};
use hull_e2e::procfs::status_field;
use serde_json::json;

/// `ProfileType` of CRI.
const RUNTIME_DEFAULT: u32 = 0;

fn seen(case: &Case, config: &ContainerConfig) -> String {
    case.pod().start(config).output()
}

fn status(case: &Case, config: &ContainerConfig, key: &str) -> String {
    let text = seen(case, config);
    let field = status_field(&text, key).unwrap();
    field.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn status_of_itself() -> ContainerConfig {
    ContainerConfig::shell("cat /proc/self/status")
}

/// Bits of capabilities, by their numbers in capabilities(7).
fn bits(capabilities: &str) -> u64 {
    u64::from_str_radix(capabilities, 16).unwrap()
}

#[test]
fn seccomp_filter_is_the_runtimes_default() {
    on_each(|case| {
        let config = ContainerConfig::shell("cat /proc/self/status; unshare -U true; echo $?")
            .security("seccomp/profile_type", RUNTIME_DEFAULT);
        let text = seen(case, &config);
        assert_eq!(status_field(&text, "Seccomp"), Some("2"));
        assert_ne!(text.lines().last(), Some("0"), "{text}");
        assert_eq!(status(case, &status_of_itself(), "Seccomp"), "0");
    });
}

#[test]
fn capabilities_are_added_and_dropped() {
    const CHOWN: u64 = 1;
    const NET_BIND_SERVICE: u64 = 1 << 10;
    const NET_ADMIN: u64 = 1 << 12;
    on_each(|case| {
        let config = status_of_itself()
            .security("capabilities/add_capabilities", vec!["NET_ADMIN"])
            .security("capabilities/drop_capabilities", vec!["CHOWN"]);
        let effective = bits(&status(case, &config, "CapEff"));
        assert_eq!(effective & (CHOWN | NET_ADMIN), NET_ADMIN);
        let config = status_of_itself()
            .security("capabilities/add_capabilities", vec!["NET_BIND_SERVICE"])
            .security("capabilities/drop_capabilities", vec!["ALL"]);
        for set in ["CapEff", "CapBnd", "CapPrm"] {
            assert_eq!(bits(&status(case, &config, set)), NET_BIND_SERVICE, "{set}");
        }
    });
}

#[test]
fn privileged_container_has_the_hosts_devices_and_writable_settings() {
    on_each(|case| {
        let config = PodConfig::new().set("/linux/security_context/privileged", true);
        let pod = case.pod_with(&config);
        let text = "ls /dev | wc -l; grep CapEff /proc/self/status; \
                    touch /proc/sys/vm/swappiness && echo writable; \
                    mkdir /m && mount -t tmpfs none /m && echo mounted";
        let config = ContainerConfig::shell(text).security("privileged", true);
        let seen = pod.start(&config).output();
        let lines: Vec<&str> = seen.lines().collect();
        let plain = pod.start(&ContainerConfig::shell("ls /dev | wc -l").called("plain", 0));
        let count = |text: &str| text.trim().parse::<u32>().unwrap();
        assert!(count(lines[0]) > count(&plain.output()), "{seen}");
        let effective = bits(lines[1].split_whitespace().last().unwrap());
        assert_ne!(effective & (1 << 21), 0, "CAP_SYS_ADMIN: {seen}");
        assert_eq!(lines[2..], ["writable", "mounted"]);
    });
}

#[test]
fn root_file_system_may_be_read_only() {
    on_each(|case| {
        let config = ContainerConfig::shell("touch /made 2>&1; touch /dev/shm/made && echo shm")
            .security("readonly_rootfs", true);
        let text = seen(case, &config);
        assert!(text.contains("Read-only file system"), "{text}");
        assert!(text.ends_with("shm\n"), "{text}");
    });
}

#[test]
fn user_group_and_further_groups() {
    on_each(|case| {
        let config = ContainerConfig::shell("id -u; id -g; id -G; echo out > /dev/stdout")
            .security("run_as_user", json!({ "value": 1000 }))
            .security("run_as_group", json!({ "value": 2000 }))
            .security("supplemental_groups", vec![3000, 4000]);
        let text = seen(case, &config);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            (lines[0], lines[1], lines[3]),
            ("1000", "2000", "out"),
            "{text}"
        );
        for group in ["3000", "4000"] {
            assert!(lines[2].split(' ').any(|seen| seen == group), "{text}");
        }
        let config = ContainerConfig::shell("id -u; id -g").security("run_as_username", "www-data");
        assert_eq!(seen(case, &config), "33\n33\n");
    });
}

#[test]
fn groups_of_the_image_are_left_out_on_request() {
    on_newest(|case| {
        let config = ContainerConfig::shell("id -G")
            .security("run_as_user", json!({ "value": 1000 }))
            .security("run_as_group", json!({ "value": 1000 }));
        // The image's /etc/group has user 1000 in three more.
        assert_eq!(seen(case, &config).split_whitespace().count(), 4);
        let strict = config.security("supplemental_groups_policy", 1);
        assert_eq!(seen(case, &strict), "1000\n");
    });
}

#[test]
fn sysctls_are_the_pods() {
    on_each(|case| {
        let sysctls =
            json!({ "net.ipv4.ip_unprivileged_port_start": "80", "kernel.msgmax": "4321" });
        let pod = case.pod_with(&PodConfig::new().set("/linux/sysctls", sysctls));
        let text = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/msgmax";
        assert_eq!(
            pod.start(&ContainerConfig::shell(text)).output(),
            "80\n4321\n"
        );
        let wrong = PodConfig::new().set("/linux/sysctls", json!({ "vm.swappiness": "1" }));
        let out = case.try_pod(&wrong);
        assert!(
            out.code != 0 && out.stderr.contains("vm.swappiness"),
            "{out:?}"
        );
    });
}

#[test]
fn no_new_privileges() {
    on_each(|case| {
        let config = status_of_itself().security("no_new_privs", true);
        assert_eq!(status(case, &config, "NoNewPrivs"), "1");
        assert_eq!(status(case, &status_of_itself(), "NoNewPrivs"), "0");
    });
}

/// `procMount: Default` names the paths, `procMount: Unmasked` names none.
#[test]
fn proc_is_masked_or_not() {
    on_each(|case| {
        let text =
            "wc -c < /proc/timer_list; touch /proc/sys/kernel/hostname && echo writable; true";
        let config = ContainerConfig::shell(text);
        let masked = config
            .clone()
            .security("masked_paths", vec!["/proc/timer_list"])
            .security("readonly_paths", vec!["/proc/sys"]);
        assert_eq!(seen(case, &masked), "0\n");
        let open = seen(case, &config);
        assert!(
            !open.starts_with("0\n") && open.ends_with("writable\n"),
            "{open}"
        );
    });
}

#[test]
fn volumes_are_read_only_with_all_below_them() {
    on_newest(|case| {
        let dir = case.node().containerd().dir().join("volume");
        let below = dir.join("below");
        std::fs::create_dir_all(&below).unwrap();
        let config = |recursive: bool| {
            let mount = json!({
                "container_path": "/volume",
                "host_path": dir.display().to_string(),
                "readonly": true,
                "recursive_read_only": recursive,
            });
            let text = "touch /volume/a 2>/dev/null || echo top; \
                        touch /volume/below/b 2>/dev/null || echo below";
            ContainerConfig::shell(text).set("/mounts", vec![mount])
        };
        let containerd = case.node().containerd();
        containerd.inside(|| {
            let (none, flags) = (None::<&str>, nix::mount::MsFlags::empty());
            nix::mount::mount(Some("none"), &below, Some("tmpfs"), flags, none).unwrap();
        });
        let outcomes = [false, true].map(|recursive| seen(case, &config(recursive)));
        containerd.inside(|| nix::mount::umount(&below)).unwrap();
        assert_eq!(outcomes, ["top\n", "top\nbelow\n"]);
    });
}

#[test]
fn mounts_come_in_and_go_out_as_their_propagation_says() {
    on_each(|case| {
        let dir = case.node().containerd().dir().join("propagated");
        std::fs::create_dir_all(dir.join("in")).unwrap();
        std::fs::create_dir_all(dir.join("out")).unwrap();
        let config = |propagation: u32| {
            let mount = json!({
                "container_path": "/volume",
                "host_path": dir.display().to_string(),
                "propagation": propagation,
            });
            ContainerConfig::shell(crate::SERVER).set("/mounts", vec![mount])
        };
        let pod = case.pod_with(&PodConfig::new().set("/linux/security_context/privileged", true));
        // PROPAGATION_HOST_TO_CONTAINER is 1, PROPAGATION_BIDIRECTIONAL 2.
        let reads = pod.start(&config(1).called("reads", 0));
        let writes = pod.start(&config(2).called("writes", 0).security("privileged", true));
        let containerd = case.node().containerd();
        containerd.inside(|| {
            let (none, flags) = (None::<&str>, nix::mount::MsFlags::empty());
            nix::mount::mount(Some("none"), &dir.join("in"), Some("tmpfs"), flags, none).unwrap();
            std::fs::write(dir.join("in/file"), "new").unwrap();
        });
        assert_eq!(reads.shell("cat /volume/in/file"), "new");
        writes.shell("mount -t tmpfs none /volume/out && echo made > /volume/out/file");
        let out = containerd.inside(|| std::fs::read_to_string(dir.join("out/file")));
        assert_eq!(out.unwrap(), "made\n");
        assert_eq!(reads.shell("cat /volume/out/file"), "made\n");
        containerd.inside(|| {
            for point in ["in", "out"] {
                nix::mount::umount(&dir.join(point)).unwrap();
            }
        });
    });
}
