//! Every word that a mount may have, by what the kernel does then: what can be written, executed,
//! opened, followed, and whose access times move.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use hull_e2e::{Lab, Spec, in_own_mounts};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, makedev, mknod, utimensat};
use nix::sys::time::TimeSpec;

const NONE: Option<&str> = None;
/// A user without rights.
const USER: u32 = 1000;
/// Long ago: 2001-01-01.
const OLD: i64 = 978_307_200;

/// What a mount allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Allowed {
    write: bool,
    suid: bool,
    devices: bool,
    execute: bool,
    links: bool,
    atime: Atime,
    diratime: bool,
}

/// When reading a file changes its access time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Atime {
    Never,
    /// Once after each change.
    Relative,
    Always,
}

/// What a mount without any words is.
const OPEN: Allowed = Allowed {
    write: true,
    suid: true,
    devices: true,
    execute: true,
    links: true,
    atime: Atime::Relative,
    diratime: true,
};

/// A word, the mount that it is used on, and what becomes of that.
type Row = (&'static str, Allowed, Allowed);

const READ_ONLY: Allowed = Allowed {
    write: false,
    ..OPEN
};
const NO_SUID: Allowed = Allowed {
    suid: false,
    ..OPEN
};
const NO_DEVICES: Allowed = Allowed {
    devices: false,
    ..OPEN
};
const NO_EXECUTION: Allowed = Allowed {
    execute: false,
    ..OPEN
};
const NO_LINKS: Allowed = Allowed {
    links: false,
    ..OPEN
};
const NO_ATIME: Allowed = Allowed {
    atime: Atime::Never,
    ..OPEN
};
const STRICT_ATIME: Allowed = Allowed {
    atime: Atime::Always,
    ..OPEN
};
const NO_DIRATIME: Allowed = Allowed {
    diratime: false,
    ..OPEN
};

const WORDS: [Row; 18] = [
    ("ro", OPEN, READ_ONLY),
    ("rw", READ_ONLY, OPEN),
    ("nosuid", OPEN, NO_SUID),
    ("suid", NO_SUID, OPEN),
    ("nodev", OPEN, NO_DEVICES),
    ("dev", NO_DEVICES, OPEN),
    ("noexec", OPEN, NO_EXECUTION),
    ("exec", NO_EXECUTION, OPEN),
    ("nosymfollow", OPEN, NO_LINKS),
    ("symfollow", NO_LINKS, OPEN),
    ("nodiratime", OPEN, NO_DIRATIME),
    ("diratime", NO_DIRATIME, OPEN),
    ("noatime", OPEN, NO_ATIME),
    ("strictatime", OPEN, STRICT_ATIME),
    ("atime", NO_ATIME, OPEN),
    ("relatime", STRICT_ATIME, OPEN),
    // Both only say what is not wanted; what is left is the kernel's default.
    ("norelatime", STRICT_ATIME, OPEN),
    ("nostrictatime", STRICT_ATIME, OPEN),
];

impl Allowed {
    /// Flags of mount(2) that make a mount so.
    fn flags(self) -> MsFlags {
        // linux/mount.h, which the crate does not have.
        let no_links = MsFlags::from_bits_retain(256);
        let atime = match self.atime {
            Atime::Never => MsFlags::MS_NOATIME,
            Atime::Relative => MsFlags::MS_RELATIME,
            Atime::Always => MsFlags::MS_STRICTATIME,
        };
        [
            (self.write, MsFlags::MS_RDONLY),
            (self.suid, MsFlags::MS_NOSUID),
            (self.devices, MsFlags::MS_NODEV),
            (self.execute, MsFlags::MS_NOEXEC),
            (self.links, no_links),
            (self.diratime, MsFlags::MS_NODIRATIME),
        ]
        .into_iter()
        .filter(|(allowed, _)| !allowed)
        .fold(atime, |flags, (_, flag)| flags | flag)
    }
}

/// In the words of [`LOOK`].
impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |allowed, yes, no| if allowed { yes } else { no };
        let program = match (self.execute, self.suid) {
            (false, _) => "noexec",
            (true, false) => "nosuid",
            (true, true) => "suid",
        };
        let atime = match self.atime {
            _ if !self.write => "never",
            Atime::Never => "never",
            Atime::Relative => "once",
            Atime::Always => "always",
        };
        let diratime = if self.diratime { atime } else { "never" };
        write!(
            f,
            "{} {program} {} {} {atime} {diratime}",
            word(self.write, "rw", "ro"),
            word(self.devices, "dev", "nodev"),
            word(self.links, "symfollow", "nosymfollow"),
        )
    }
}

/// Tells of each directory in its arguments what can be done there.
const LOOK: &str = r#"
use() { for d; do cat $d/file; ls $d/dir; done >/dev/null; }
tell() { for d; do echo $d $(stat -c %X $d/file) $(stat -c %X $d/dir); done; }
when() {
    if [ $2 = $3 ] && [ $3 = $4 ]; then echo never; elif [ $3 = $4 ]; then echo once; else echo always; fi
}
first=$(tell "$@"); use "$@"; second=$(tell "$@"); sleep 2; use "$@"; third=$(tell "$@")
of() { echo "$1" | grep "^$2 " | cut -d ' ' -f $3; }
for d; do
    if (echo x >$d/new) 2>/dev/null; then write=rw; else write=ro; fi
    $d/euid 2>/dev/null
    case $? in 0) program=suid;; 232) program=nosuid;; *) program=noexec;; esac
    if (echo x >$d/null) 2>/dev/null; then dev=dev; else dev=nodev; fi
    if cat $d/link >/dev/null 2>&1; then links=symfollow; else links=nosymfollow; fi
    atime=$(when x "$(of "$first" $d 2)" "$(of "$second" $d 2)" "$(of "$third" $d 2)")
    diratime=$(when x "$(of "$first" $d 3)" "$(of "$second" $d 3)" "$(of "$third" $d 3)")
    echo "$d $write $program $dev $links $atime $diratime"
done
"#;

/// A static program whose exit status is its effective user id, modulo 256: `geteuid`, `exit`.
fn program() -> Vec<u8> {
    const CODE: [u8; 16] = [
        0xb8, 107, 0, 0, 0, 0x0f, 0x05, // mov eax, 107; syscall
        0x89, 0xc7, // mov edi, eax
        0xb8, 60, 0, 0, 0, 0x0f, 0x05, // mov eax, 60; syscall
    ];
    const HEADERS: u64 = 64 + 56;
    const BASE: u64 = 0x40_0000;
    let end = HEADERS + CODE.len() as u64;
    [
        &b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0"[..],
        &(BASE + HEADERS).to_le_bytes(),
        &64u64.to_le_bytes(),
        &[0; 12],
        &[64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        // Loaded as a whole, readable and executable.
        &[1, 0, 0, 0, 5, 0, 0, 0],
        &0u64.to_le_bytes(),
        &BASE.to_le_bytes(),
        &BASE.to_le_bytes(),
        &end.to_le_bytes(),
        &end.to_le_bytes(),
        &0x1000u64.to_le_bytes(),
        &CODE,
    ]
    .concat()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Puts into a directory what [`LOOK`] tries.
fn furnish(dir: &Path) {
    fs::create_dir_all(dir.join("dir")).unwrap();
    set_mode(dir, 0o777);
    fs::write(dir.join("file"), "text").unwrap();
    fs::write(dir.join("other"), "text").unwrap();
    symlink("other", dir.join("link")).unwrap();
    fs::write(dir.join("euid"), program()).unwrap();
    set_mode(&dir.join("euid"), 0o4755);
}

/// What only a mount can have: a device, and files that nobody has read for long.
fn age(dir: &Path) {
    let null = dir.join("null");
    mknod(&null, SFlag::S_IFCHR, Mode::empty(), makedev(1, 3)).unwrap();
    set_mode(&null, 0o666);
    for name in ["file", "dir"] {
        let old = TimeSpec::new(OLD, 0);
        let flags = UtimensatFlags::FollowSymlink;
        utimensat(nix::fcntl::AT_FDCWD, &dir.join(name), &old, &old, flags).unwrap();
    }
}

/// Two mounts of the host, one below the other, that allow the same.
fn tree(top: PathBuf, allowed: Allowed) -> PathBuf {
    let below = top.join("below");
    for dir in [&top, &below] {
        fs::create_dir_all(dir).unwrap();
        let tmpfs = Some("tmpfs");
        mount(tmpfs, dir, tmpfs, MsFlags::empty(), NONE).unwrap();
        furnish(dir);
        age(dir);
    }
    for dir in [&below, &top] {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | allowed.flags();
        mount(NONE, dir, NONE, flags, NONE).unwrap();
    }
    top
}

/// Runs [`LOOK`] in a container of this spec as a user without rights, after `first` as root; gives
/// its lines by their directories.
fn look(lab: &Lab, spec: &Spec, first: &str, dirs: &[String]) -> BTreeMap<String, String> {
    let spec = spec.clone().set("/process/noNewPrivileges", false);
    let c = lab.container(&spec);
    for dir in dirs {
        let inside = dir.strip_prefix('/').unwrap();
        if inside.starts_with("tmpfs") {
            furnish(&c.upper().join(inside));
        }
    }
    c.run();
    let process = |text: &str, user: u32| {
        let args = ["sh", "-c", text, "sh"];
        let args = args.into_iter().chain(dirs.iter().map(String::as_str));
        spec.clone().user(user, user).process(args)
    };
    let ran = c.exec_process("first", &process(first, 0));
    assert_eq!(ran.status, 0, "{ran:?}");
    let ran = c.exec_process("look", &process(LOOK, USER));
    assert_eq!(ran.status, 0, "{ran:?}");
    let lines = ran.stdout.lines().filter_map(|line| line.split_once(' '));
    lines
        .map(|(dir, seen)| (dir.to_owned(), seen.to_owned()))
        .collect()
}

fn sleeper() -> Spec {
    Spec::new(["sleep", "600"])
}

#[test]
fn program_of_this_test_tells_its_user() {
    let lab = Lab::new();
    let file = lab.dir().join("euid");
    fs::write(&file, program()).unwrap();
    set_mode(&file, 0o755);
    let status = std::process::Command::new(&file).status().unwrap();
    assert_eq!(status.code(), Some(0), "the tests run as root");
}

#[test]
fn every_word_changes_its_bind_and_with_an_r_the_whole_tree() {
    in_own_mounts(|| {
        let lab = Lab::new();
        let mut spec = sleeper();
        let mut dirs = Vec::new();
        let mut wanted = BTreeMap::new();
        for (word, before, after) in WORDS {
            for (word, below) in [(word.to_owned(), before), (format!("r{word}"), after)] {
                let source = tree(lab.dir().join("trees").join(&word), before);
                let inside = format!("/mnt/{word}");
                spec = spec.mount("bind", &source, &inside, &["rbind", &word]);
                for (dir, allowed) in [(inside.clone(), after), (inside + "/below", below)] {
                    wanted.insert(dir.clone(), allowed.to_string());
                    dirs.push(dir);
                }
            }
        }
        assert_eq!(look(&lab, &spec, "", &dirs), wanted);
        for point in hull_e2e::apart::mount_points_below(&lab.dir().join("trees")) {
            nix::mount::umount(&point).unwrap();
        }
    });
}

/// A new mount is open but for what its words take away; the words that take nothing away are taken.
#[test]
fn every_word_with_and_without_an_r_is_that_of_a_new_tmpfs() {
    let lab = Lab::new();
    let mut spec = sleeper();
    let mut dirs = Vec::new();
    let mut wanted = BTreeMap::new();
    for (word, before, after) in WORDS {
        // What a word undoes, another one has to do first; this one undoes no other word.
        let undone = WORDS
            .iter()
            .find(|row| word != "norelatime" && row.1 == OPEN && row.2 == before);
        for word in [word.to_owned(), format!("r{word}")] {
            let dir = format!("/tmpfs/{word}");
            let mut options = vec!["tmpcopyup"];
            options.extend(undone.map(|row| row.0));
            options.push(&word);
            spec = spec.mount("tmpfs", Path::new("tmpfs"), &dir, &options);
            // Nobody can put a device where nobody can write.
            let devices = after.devices && after.write;
            let allowed = Allowed { devices, ..after };
            wanted.insert(dir.clone(), allowed.to_string());
            dirs.push(dir);
        }
    }
    let age = "for d; do touch $d/new 2>/dev/null || continue; \
        rm $d/new; mknod -m 666 $d/null c 1 3; \
        touch -d '2001-01-01 00:00:00' $d/file $d/dir; done; sleep 1";
    assert_eq!(look(&lab, &spec, age, &dirs), wanted);
}

#[test]
fn of_two_words_for_the_same_the_last_one_counts() {
    let lab = Lab::new();
    let rows = [
        ("/tmpfs/a", ["ro", "rw"], OPEN),
        ("/tmpfs/b", ["suid", "nosuid"], NO_SUID),
        ("/tmpfs/c", ["noatime", "strictatime"], STRICT_ATIME),
        ("/tmpfs/d", ["strictatime", "noatime"], NO_ATIME),
        ("/tmpfs/e", ["noexec", "rexec"], OPEN),
        // It refuses the default alone.
        ("/tmpfs/f", ["strictatime", "norelatime"], STRICT_ATIME),
    ];
    let mut spec = sleeper();
    for (dir, [first, last], _) in rows {
        let options = ["tmpcopyup", first, last];
        spec = spec.mount("tmpfs", Path::new("tmpfs"), dir, &options);
    }
    let dirs: Vec<String> = rows.iter().map(|row| row.0.to_owned()).collect();
    let wanted = rows.map(|(dir, _, allowed)| (dir.to_owned(), allowed.to_string()));
    let age = "for d; do mknod -m 666 $d/null c 1 3; \
        touch -d '2001-01-01 00:00:00' $d/file $d/dir; done; sleep 1";
    assert_eq!(look(&lab, &spec, age, &dirs), BTreeMap::from(wanted));
}

/// The superblock of a new file system.
#[test]
fn words_for_the_superblock_reach_it() {
    let words = ["sync", "dirsync", "lazytime"];
    let tmpfs = Path::new("tmpfs");
    let spec = words.iter().fold(sleeper(), |spec, word| {
        spec.mount("tmpfs", tmpfs, &format!("/mnt/{word}"), &["nosuid", word])
    });
    let spec = spec.mount(
        "tmpfs",
        tmpfs,
        "/mnt/none",
        &["async", "nolazytime", "loud"],
    );
    let lab = Lab::new();
    let c = lab.container(&spec);
    c.run();
    let seen = c.exec("e", ["cat", "/proc/self/mountinfo"]).stdout;
    let superblock = |point: &str| {
        let point = format!(" /mnt/{point} ");
        let line = seen.lines().find(|line| line.contains(&point)).unwrap();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    for word in words {
        let options = superblock(word);
        assert!(options.split(',').any(|o| o == word), "{word}: {options}");
    }
    let options = superblock("none");
    assert!(options.split(',').all(|o| !words.contains(&o)), "{options}");
}

/// A superblock that others use too is not changed; the log says so.
#[test]
fn words_for_the_superblock_of_a_bind_are_warned_of() {
    let lab = Lab::new();
    let source = lab.dir().join("source");
    fs::create_dir_all(&source).unwrap();
    let options = ["rbind", "sync", "lazytime"];
    let c = lab.container(&sleeper().mount("bind", &source, "/mnt/b", &options));
    c.run();
    let log = c.bundle.log();
    for word in ["sync", "lazytime"] {
        let line = format!("mount \\\"/mnt/b\\\": ignoring \\\"{word}\\\"");
        assert!(
            log.contains(&line) || log.contains(&line.replace('\\', "")),
            "{word}: {log}"
        );
    }
}
