//! A config under runc, called directly as its shim calls it: `create`, `start`, `delete`.

use std::fs;
use std::io::{PipeReader, PipeWriter, Read, pipe};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;

use hull_e2e::{cgroup, limit, target};

use crate::case::Draft;
use crate::seen::{self, Names, Refusal, Seen};
use crate::world::World;

/// For the words of a runc that had to be killed while it created a container.
pub(crate) const ENDLESS: &str = "runc create did not end";

/// The runc that `make clients` built.
pub(crate) fn program() -> PathBuf {
    let runc = target::clients().join("runc");
    assert!(
        runc.exists(),
        "{} is missing: run make clients",
        runc.display()
    );
    runc
}

/// Runs it to its end.
pub(crate) fn run(world: &World, draft: &Draft<'_>) -> Seen {
    let id = world.lab.id("peer");
    let tree = world.tree(&id, &draft.ask());
    let group = format!("{}/{id}", world.peer_group());
    let bundle = world.lab.dir().join("peer").join(&id);
    fs::create_dir(&bundle).unwrap();
    fs::write(bundle.join("config.json"), draft.config(&tree, &group)).unwrap();
    let call = Call {
        state: world.lab.dir().join("peer-state"),
        bundle,
        id: id.clone(),
    };
    let names = Names {
        world,
        id: &id,
        tree: &tree,
        bundle: &call.bundle,
        cgroup: &group,
    };
    let seen = call.create_and_run(&names);
    call.delete();
    for dir in cgroup::directories_naming(&group).iter().rev() {
        drop(fs::remove_dir(dir));
    }
    seen
}

struct Call {
    state: PathBuf,
    bundle: PathBuf,
    id: String,
}

impl Call {
    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(program());
        command
            .arg("--root")
            .arg(&self.state)
            // Not into the container's stderr.
            .arg("--log")
            .arg(self.bundle.join("log"))
            .arg(verb)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    fn create_and_run(&self, names: &Names<'_>) -> Seen {
        let (out_reader, out_writer) = pipe().unwrap();
        let (err_reader, err_writer) = pipe().unwrap();
        let refused = |text: String| {
            Seen::Refused(Refusal {
                text,
                left: Vec::new(),
            })
        };
        let mut create = self.command("create");
        create.arg("--bundle").arg(&self.bundle).arg(&self.id);
        create.stdout(out_writer).stderr(err_writer);
        let status = finish(create.spawn().unwrap());
        // Holds the writing ends.
        drop(create);
        match status {
            Some(status) if status.success() => {}
            Some(_) => return refused(text_of(err_reader)),
            None => return refused(ENDLESS.to_owned()),
        }
        let limits = seen::limits(names);
        let mut start = self.command("start");
        let (start_reader, start_writer): (PipeReader, PipeWriter) = pipe().unwrap();
        start.arg(&self.id).stderr(start_writer);
        let status = finish(start.spawn().unwrap());
        drop(start);
        if !status.expect("an end of runc start").success() {
            return refused(text_of(start_reader));
        }
        let stdout = text_of(out_reader);
        let mut facts = seen::facts(&stdout, names);
        facts.insert("stderr".to_owned(), text_of(err_reader));
        facts.extend(limits);
        self.delete();
        facts.extend(seen::tree_facts(names.tree));
        facts.extend(seen::hooks(names));
        Seen::Ran(facts)
    }

    fn delete(&self) {
        let mut delete = self.command("delete");
        delete.arg("--force").arg(&self.id).stderr(Stdio::null());
        finish(delete.spawn().unwrap()).expect("an end of runc delete");
    }
}

/// Waits for the end of a process, and kills one that has none.
fn finish(mut child: Child) -> Option<ExitStatus> {
    let ended = hull_e2e::time::look_until(limit(), || child.try_wait().unwrap());
    if ended.is_none() {
        drop(child.kill());
        drop(child.wait());
    }
    ended
}

/// All that comes out of a pipe.
fn text_of(mut pipe: PipeReader) -> String {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = pipe.read_to_end(&mut bytes);
        // Nobody listens any more after the limit.
        drop(sender.send(read.map(|_| bytes)));
    });
    let bytes = receiver.recv_timeout(limit());
    let bytes = bytes.unwrap_or_else(|_| panic!("a container did not end within {:?}", limit()));
    String::from_utf8_lossy(&bytes.unwrap()).into_owned()
}

/// What `runc --version` says.
pub(crate) fn version() -> String {
    let output = Command::new(program()).arg("--version").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().unwrap_or_default().to_owned()
}

/// Whether the comparison is left out on purpose.
pub(crate) fn is_left_out() -> bool {
    std::env::var_os("HULL_CLIENTS").is_some_and(|dir| dir.is_empty())
}

/// Where what a failed case needs to be repeated is kept.
pub(crate) fn keep(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).unwrap();
    path
}
