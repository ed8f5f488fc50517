//! AppArmor, which Debian's kernel has enabled: profiles bind init and execs, whatever the image does.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use hull_e2e::{Lab, Spec, Streams, cgroup, is_one_clear_line, procfs};

use crate::{script, sleeper};

/// Tries what the profiles of the tests forget, and what they allow, and tells its own profile.
const TRY: &str = "echo x >/tmp/denied; echo $?; echo x >/tmp/allowed; echo $?; \
    cat /proc/self/attr/current";

/// A profile that is loaded until this is dropped. It allows everything but writing /tmp/denied.
struct Profile {
    name: String,
}

impl Profile {
    fn load(lab: &Lab, name: &str) -> Self {
        let profile = Self {
            name: format!("{}-{name}", lab.tag()),
        };
        profile.tell_the_kernel("--replace");
        profile
    }

    fn tell_the_kernel(&self, what: &str) {
        let text = format!(
            "profile {} flags=(attach_disconnected,mediate_deleted) {{
              file, network, capability, mount, umount, signal, ptrace, unix,
              deny /tmp/denied w,
            }}\n",
            self.name
        );
        let mut parser = Command::new("apparmor_parser")
            .args([what, "--skip-cache", "--quiet"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = parser.stdin.take().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        drop(stdin);
        assert!(parser.wait().unwrap().success(), "{what}");
    }

    /// As the kernel shows it.
    fn enforced(&self) -> String {
        format!("{} (enforce)\n", self.name)
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        self.tell_the_kernel("--remove");
    }
}

fn with_profile(spec: Spec, name: &str) -> Spec {
    spec.set("/process/apparmorProfile", name)
}

#[test]
fn without_a_profile_nothing_is_denied() {
    let lab = Lab::new();
    let mut c = lab.container(&script(TRY));
    let ran = c.run_to_end();
    assert_eq!(ran.stdout, "0\n0\nunconfined\n", "{ran:?}");
}

#[test]
fn profile_binds_init_and_exec() {
    for no_new_privileges in [true, false] {
        let lab = Lab::new();
        let profile = Profile::load(&lab, "own");
        let denied = format!("1\n0\n{}", profile.enforced());
        let spec = with_profile(
            script(&format!("{TRY}; echo end; exec sleep 600")),
            &profile.name,
        )
        .set("/process/noNewPrivileges", no_new_privileges);
        let mut c = lab.container(&spec);
        c.run();
        assert_eq!(c.read_until("end\n"), format!("{denied}end\n"));

        let ran = c.exec("same", ["sh", "-c", TRY]);
        assert_eq!(ran.stdout, denied, "{ran:?}");
        let mut process = c.spec.process(["sh", "-c", TRY]);
        process["apparmorProfile"] = "".into();
        let ran = c.exec_process("unsaid", &process);
        assert_eq!(ran.stdout, denied, "{ran:?}");
        let other = Profile::load(&lab, "other");
        process["apparmorProfile"] = other.name.clone().into();
        let ran = c.exec_process("other", &process);
        assert_eq!(ran.stdout, format!("1\n0\n{}", other.enforced()), "{ran:?}");
        c.kill_and_wait();
        c.delete().unwrap();
    }
}

#[test]
fn profile_that_is_not_loaded() {
    let lab = Lab::new();
    let c = lab.container(&with_profile(sleeper(), "no-such-profile"));
    for _ in 0..2 {
        let error = c.try_create().unwrap_err();
        let parts = [
            "apparmor",
            "\"no-such-profile\"",
            "no such profile is loaded",
        ];
        is_one_clear_line(error.message(), &parts);
        assert_eq!(lab.events().of(&c.id), []);
        assert!(procfs::mounts_naming(&c.bundle.rootfs().display().to_string()).is_empty());
        assert!(cgroup::directories_naming(&c.cgroup()).is_empty());
    }
    let c = lab.container(&sleeper());
    c.run();
    let mut process = c.spec.process(["true"]);
    process["apparmorProfile"] = "no-such-profile".into();
    let _stdio = c.add_exec_with("e", &process, Streams::OUTPUT);
    let error = c.try_start("e").unwrap_err();
    is_one_clear_line(error.message(), &["\"no-such-profile\"", "is loaded"]);
    assert_eq!(c.exec("f", ["true"]).status, 0);
}

/// The profile is not written to a file that the container can put in the place of the kernel's
/// (CVE-2019-16884, CVE-2025-52881): here its whole /proc is made of files.
#[test]
fn profile_binds_in_an_image_with_a_proc_of_its_own() {
    let lab = Lab::new();
    let profile = Profile::load(&lab, "own");
    let mut spec = with_profile(script("echo ready; exec sleep 600"), &profile.name)
        .set("/linux/maskedPaths", Vec::<String>::new())
        .set("/linux/readonlyPaths", Vec::<String>::new());
    let mut mounts = spec.json()["mounts"].as_array().unwrap().clone();
    mounts.retain(|mount| mount["destination"] != "/proc");
    spec = spec.set("/mounts", mounts);
    let mut c = lab.container(&spec);
    let proc = c.upper().join("proc");
    let mut fakes = Vec::new();
    for name in ["self", "thread-self", "1"] {
        fs::create_dir_all(proc.join(name).join("attr/apparmor")).unwrap();
        for file in ["attr/exec", "attr/current", "attr/apparmor/exec"] {
            let fake = proc.join(name).join(file);
            fs::write(&fake, "").unwrap();
            fakes.push(fake);
        }
    }
    let pid = c.run();
    c.read_until("ready\n");
    let current = fs::read_to_string(format!("/proc/{pid}/attr/current")).unwrap();
    assert_eq!(current, profile.enforced());
    let ran = c.exec("e", ["sh", "-c", "echo x >/tmp/denied; echo $?"]);
    assert_eq!(ran.stdout, "1\n", "{ran:?}");
    for fake in fakes {
        assert_eq!(fs::read_to_string(&fake).unwrap(), "", "{}", fake.display());
    }
}

/// A volume of the image, or a mount of the spec, over what the kernel has in /proc.
#[test]
fn volume_over_the_attributes_of_processes_is_refused() {
    let lab = Lab::new();
    let profile = Profile::load(&lab, "own");
    let volume = lab.dir().join("volume");
    fs::create_dir_all(volume.join("apparmor")).unwrap();
    for at in [
        "/proc",
        "/proc/self/attr",
        "/proc/thread-self/attr/apparmor",
    ] {
        let spec = with_profile(sleeper(), &profile.name).mount("bind", &volume, at, &["rbind"]);
        let c = lab.container(&spec);
        let error = c.try_create().unwrap_err();
        is_one_clear_line(error.message(), &[at]);
    }
}

#[test]
fn wasm_runs_under_a_profile() {
    let lab = Lab::wasm();
    let profile = Profile::load(&lab, "own");
    let spec = with_profile(Spec::new(["/wasm/sleep.wasm"]), &profile.name);
    let mut c = lab.container(&spec);
    let pid = c.run();
    c.read_until("ready\n");
    let current = fs::read_to_string(format!("/proc/{pid}/attr/current")).unwrap();
    assert_eq!(current, profile.enforced());
}
