//! Which mount events reach a container, and which leave it. Every test has a copy of the host's mounts of
//! its own, all shared: what gets out is seen there and nowhere else.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::path::{Path, PathBuf};

use hull_client::Any;
use hull_e2e::apart::{mount_points_below, mountinfo};
use hull_e2e::{Container, Lab, Spec, block, in_own_mounts};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

const NONE: Option<&str> = None;

fn mount_tmpfs(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    let tmpfs = Some("tmpfs");
    mount(tmpfs, dir, tmpfs, MsFlags::empty(), NONE).unwrap();
}

/// A shared tmpfs with another below it, for the time of a test.
struct Volume(PathBuf);

impl Volume {
    fn new(dir: PathBuf) -> Self {
        mount_tmpfs(&dir);
        mount_tmpfs(&dir.join("below"));
        Self(dir)
    }

    fn has_mount(&self, name: &str) -> bool {
        mount_points_below(&self.0).contains(&self.0.join(name))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        for point in mount_points_below(&self.0) {
            umount2(&point, MntFlags::MNT_DETACH).unwrap();
        }
    }
}

fn with_sys_admin(spec: Spec) -> Spec {
    ["bounding", "effective", "permitted"]
        .into_iter()
        .fold(spec, |spec, kind| {
            spec.set(&format!("/process/capabilities/{kind}/-"), "CAP_SYS_ADMIN")
        })
}

fn sleeper() -> Spec {
    with_sys_admin(Spec::new(["sleep", "600"]))
}

/// Runs a shell in the container; whether it succeeded, and what it printed.
fn shell(c: &Container<'_>, exec: &str, text: &str) -> (bool, String) {
    let ran = c.exec(exec, ["sh", "-c", text]);
    (ran.status == 0, ran.stdout + &ran.stderr)
}

/// What happens at a mount of a container.
#[derive(Debug, PartialEq, Eq)]
struct Travel {
    /// A mount that the host makes there comes in.
    inwards: bool,
    /// A mount that the container makes there gets out.
    outwards: bool,
    /// It can be bound elsewhere in the container.
    bindable: bool,
    /// It passes events on inside the container.
    shared: bool,
}

const SLAVE: Travel = Travel {
    inwards: true,
    outwards: false,
    bindable: true,
    shared: false,
};
const PRIVATE: Travel = Travel {
    inwards: false,
    ..SLAVE
};
const UNBINDABLE: Travel = Travel {
    bindable: false,
    ..PRIVATE
};
/// Of a mount whose origin stays its master.
const SHARED_SLAVE: Travel = Travel {
    shared: true,
    ..SLAVE
};
const SHARED: Travel = Travel {
    outwards: true,
    ..SHARED_SLAVE
};

/// Tries it at `/data/WHERE` in a container, which is `WHERE` of the volume.
fn travel(c: &Container<'_>, volume: &Volume, place: &str) -> Travel {
    let name = place.replace('/', "-");
    let id = |what: &str| format!("{what}{name}");
    let late = format!("{place}late");
    mount_tmpfs(&volume.0.join(&late));
    let look = format!("grep -q ' /data/{late} ' /proc/self/mountinfo");
    let (inwards, _) = shell(c, &id("in"), &look);
    let own = format!("{place}own");
    let make = format!("mkdir /data/{own} && mount -t tmpfs tmpfs /data/{own}");
    let (made, why) = shell(c, &id("out"), &make);
    assert!(made, "{why}");
    let outwards = volume.has_mount(&own);
    let bind = format!("mkdir -p /copy{name} && mount --bind /data/{place} /copy{name}");
    let (bindable, _) = shell(c, &id("bind"), &bind);
    let point = format!("/data/{place}");
    let point = point.trim_end_matches('/');
    let fields = format!("grep ' {point} ' /proc/self/mountinfo | grep -q ' shared:'");
    let (shared, _) = shell(c, &id("shared"), &fields);
    Travel {
        inwards,
        outwards,
        bindable,
        shared,
    }
}

/// A container with a volume under this word; what travels at its top and at the mount below.
fn with_word(word: &str, rootfs: Option<&str>) -> (Travel, Travel) {
    in_own_mounts(|| {
        let lab = Lab::new();
        let volume = Volume::new(lab.dir().join("volume"));
        let options: Vec<&str> = ["rbind", word]
            .into_iter()
            .filter(|w| !w.is_empty())
            .collect();
        let spec = sleeper().mount("bind", &volume.0, "/data", &options);
        let spec = match rootfs {
            Some(kind) => spec.set("/linux/rootfsPropagation", kind),
            None => spec,
        };
        let c = lab.container(&spec);
        c.run();
        let seen = (travel(&c, &volume, ""), travel(&c, &volume, "below/"));
        c.kill_and_wait();
        c.delete().unwrap();
        seen
    })
}

#[test]
fn every_word_is_for_its_mount_and_with_an_r_for_the_tree() {
    for (word, top, below) in [
        ("", SLAVE, SLAVE),
        ("private", PRIVATE, SLAVE),
        ("rprivate", PRIVATE, PRIVATE),
        ("slave", SLAVE, SLAVE),
        ("rslave", SLAVE, SLAVE),
        ("shared", SHARED_SLAVE, SLAVE),
        ("rshared", SHARED_SLAVE, SHARED_SLAVE),
        ("unbindable", UNBINDABLE, SLAVE),
        ("runbindable", UNBINDABLE, UNBINDABLE),
    ] {
        assert_eq!(with_word(word, None), (top, below), "{word:?}");
    }
}

/// Only where the root is shared is a volume the host's equal.
#[test]
fn words_under_a_shared_root() {
    for (word, top, below) in [
        ("", SHARED, SHARED),
        ("rshared", SHARED, SHARED),
        ("slave", SLAVE, SHARED),
        ("rslave", SLAVE, SLAVE),
        ("private", PRIVATE, SHARED),
        ("rprivate", PRIVATE, PRIVATE),
    ] {
        assert_eq!(with_word(word, Some("shared")), (top, below), "{word:?}");
    }
}

/// Then every mount is shared inside, but with nobody outside with whom it was not.
#[test]
fn words_under_a_root_whose_whole_tree_is_shared() {
    let shared_inside = Travel {
        shared: true,
        ..PRIVATE
    };
    for (word, wanted) in [
        ("rshared", SHARED),
        ("rslave", SHARED_SLAVE),
        ("rprivate", shared_inside),
    ] {
        let (top, below) = with_word(word, Some("rshared"));
        assert_eq!(top, wanted, "{word:?}");
        assert_eq!(below, wanted, "{word:?}");
    }
}

/// A volume that asks to be shared is, whatever the mounts around it are.
#[test]
fn shared_volume_under_a_root_that_is_not() {
    for kind in ["slave", "rslave"] {
        let (top, below) = with_word("rshared", Some(kind));
        assert_eq!((top, below), (SHARED_SLAVE, SHARED_SLAVE), "{kind:?}");
    }
}

/// What the root itself does with events.
#[derive(Debug, PartialEq, Eq)]
struct RootTravel {
    /// From the host's mount of it.
    inwards: bool,
    /// To the host's mount of it.
    outwards: bool,
    /// To a mount namespace that a process of the container has made.
    onwards: bool,
    bindable: bool,
}

fn root_travel(kind: &str) -> RootTravel {
    in_own_mounts(|| {
        let lab = Lab::new();
        let c = lab.container(&sleeper().set("/linux/rootfsPropagation", kind));
        for dir in ["late", "own", "third", "copy"] {
            fs::create_dir(c.upper().join(dir)).unwrap();
        }
        c.run();
        let rootfs = c.bundle.rootfs();
        mount_tmpfs(&rootfs.join("late"));
        let (inwards, _) = shell(&c, "in", "grep -q ' /late ' /proc/self/mountinfo");
        let (made, why) = shell(&c, "own", "mount -t tmpfs tmpfs /own");
        assert!(made, "{why}");
        let outwards = mountinfo().contains(&format!(" {}/own ", rootfs.display()));
        // A process in a mount namespace of its own, which gets what comes to it.
        let nest = "unshare -m --propagation shared sh -c 'touch /dev/shm/there; \
            until [ -e /dev/shm/made ]; do sleep 0.1; done; \
            grep -q \" /third \" /proc/self/mountinfo' & \
            until [ -e /dev/shm/there ]; do sleep 0.1; done; \
            mount -t tmpfs tmpfs /third && touch /dev/shm/made; wait $!";
        let (onwards, _) = shell(&c, "nest", nest);
        let (bindable, _) = shell(&c, "bind", "mount --bind / /copy");
        c.kill_and_wait();
        c.delete().unwrap();
        RootTravel {
            inwards,
            outwards,
            onwards,
            bindable,
        }
    })
}

#[test]
fn root_passes_events_as_its_propagation_says() {
    let none = || RootTravel {
        inwards: false,
        outwards: false,
        onwards: false,
        bindable: true,
    };
    for (kind, wanted) in [
        ("private", none()),
        (
            "slave",
            RootTravel {
                inwards: true,
                ..none()
            },
        ),
        (
            "shared",
            RootTravel {
                onwards: true,
                ..none()
            },
        ),
        (
            "unbindable",
            RootTravel {
                bindable: false,
                ..none()
            },
        ),
    ] {
        assert_eq!(root_travel(kind), wanted, "{kind}");
    }
}

/// The option as clients send it: `containerd.runc.v1.Options` with `no_pivot_root` set.
fn without_pivot() -> Any {
    let mut options = Any::new();
    options.type_url = "containerd.runc.v1.Options".to_owned();
    options.value = vec![1 << 3, 1];
    options
}

#[test]
fn container_without_pivot_root_has_its_root_and_no_proc_of_the_hosts() {
    in_own_mounts(|| {
        let text = "grep -c ' / / ' /proc/self/mountinfo; ls /; \
            grep -e ' - proc ' -e ' - sysfs ' /proc/self/mountinfo | cut -d ' ' -f 5 | sort -u; \
            readlink /proc/1/root; touch /mine";
        let run = |options: Option<Any>| {
            let lab = Lab::new();
            let mut c = lab.container(&Spec::new(["sh", "-c", text]));
            let mut request = c.create_request();
            request.options = options.into();
            block(c.task.create(&request)).unwrap();
            c.start();
            let (stdout, stderr) = hull_e2e::read_output(&mut c.stdio);
            assert_eq!((c.wait(), stderr.as_str()), (0, ""), "{stdout}");
            assert!(c.upper().join("mine").exists());
            stdout
        };
        let moved = run(Some(without_pivot()));
        assert!(
            moved.contains("/proc\n") && moved.contains("/sys\n"),
            "{moved}"
        );
        assert_eq!(moved, run(None));
    });
}
