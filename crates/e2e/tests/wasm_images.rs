//! Images whose layers are Wasm: artifacts and images without a root file system, through real containerds.
//! containerd 1.6 refuses to import them; `make test CLIENTS=no` leaves these out.

#![expect(clippy::print_stderr, reason = "says what was left out")]
#![expect(clippy::panic, reason = "test code")]

use std::collections::HashSet;
use std::env;
use std::fs::{File, FileTimes};
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use hull_e2e::containerd::Release;
use hull_e2e::cri::{self, ContainerConfig};
use hull_e2e::{
    Case, Containerd, Image, Lab, Output, Spec, artifacts, ctr, is_one_clear_line, target,
};

use serde_json::{Value, json};

const HELLO: &str = "hello from Wasm\n";

/// A case with the containerd 2.x of this process, or nothing where its tests are left out on purpose.
fn case_of(image: Image) -> Option<Case> {
    is_wanted().then(|| Case::with_image(Containerd::shared_newest(), image))
}

/// A case with a containerd 2.x and a store that have seen nothing yet.
fn fresh(image: Image) -> Option<Case> {
    is_wanted().then(|| {
        let own = Arc::new(Containerd::start(Release::Newest));
        Case::with_image(own, image)
    })
}

fn is_wanted() -> bool {
    let wanted = env::var_os("HULL_CLIENTS").is_none_or(|dir| !dir.is_empty());
    if !wanted {
        eprintln!("CLIENTS=no: nothing is proved about images with Wasm layers");
    }
    wanted
}

/// The line that says why a container was not made.
#[track_caller]
fn refusal(out: &Output) -> &str {
    assert_ne!(out.code, 0, "{out:?}");
    let said = out.stderr.split_once("failed to create shim task: ");
    let line = said.unwrap_or_else(|| panic!("{out:?}")).1.trim();
    assert_eq!(line.lines().count(), 1, "{line}");
    line
}

#[track_caller]
fn has(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "{part:?} is not in {line}");
    }
}

#[track_caller]
fn refuses(image: Image, parts: &[&str]) {
    let Some(case) = case_of(image) else { return };
    has(refusal(&case.run(&[], &["/hello.wasm"])), parts);
}

/// Runs a container of another image than the case's.
fn run(case: &Case, image: Image, args: &[&str]) -> Output {
    let id = case.id("other");
    let mut command = case.containerd().ctr_command();
    command
        .args(["run", "--rm", "--runtime", &target::runtime(), "--fifo-dir"])
        .arg(case.containerd().fifo_dir())
        .args([image.name(), &id])
        .args(args);
    ctr::run(command, &[])
}

/// `hull` with the case's containerd and store.
fn hull(case: &Case, args: &[&str]) -> Output {
    let containerd = case.containerd();
    let mut command = Command::new(target::bin_dir().join("hull"));
    command
        .env("CONTAINERD_ADDRESS", containerd.socket())
        .env("CONTAINERD_NAMESPACE", containerd.namespace())
        .env(artifacts::VARIABLE, containerd.artifacts())
        .env("HULL_STATE_DIR", containerd.dir().join("hull"))
        .args(args);
    ctr::run(command, &[])
}

/// What the shims logged of images that are modules.
fn asked(case: &Case) -> Vec<String> {
    let log = case.containerd().log();
    let lines = log
        .lines()
        .filter(|line| line.contains(" is module sha256:"));
    lines.map(str::to_owned).collect()
}

fn compiled(case: &Case) -> usize {
    let log = case.containerd().log();
    log.lines()
        .filter(|line| line.contains(": compiled "))
        .count()
}

/// Everything that an image leads to, as containerd has it.
fn content(case: &Case) -> HashSet<String> {
    let list = case.ctr(&["content", "ls", "--quiet"]).ok();
    list.lines().map(str::to_owned).collect()
}

#[test]
fn module_that_is_a_layer_runs_whatever_it_is_called() {
    let Some(case) = case_of(Image::WasmLayer) else {
        return;
    };
    // The image's own command.
    assert_eq!(case.run(&[], &[]).ok(), HELLO);
    assert_eq!(case.run(&[], &["hello", "argument"]).ok(), HELLO);
    // What follows "#" is a function of it, as with a file.
    let out = case.run(&[], &["hello#nothing"]);
    has(refusal(&out), &["\"hello\"", "\"nothing\""]);
    // Nothing but mount points is in the root, and they are made in a read-only one too.
    assert_eq!(case.run(&["--read-only"], &["/hello.wasm"]).ok(), HELLO);
    let yes = ["--annotation", "io.containerd.hull.wasm=yes"];
    assert_eq!(case.run(&yes, &["/hello.wasm"]).ok(), HELLO);
}

#[test]
fn component_that_is_a_layer_runs() {
    let Some(case) = case_of(Image::ComponentLayer) else {
        return;
    };
    assert_eq!(
        case.run(&[], &["/component.wasm"]).ok(),
        "hello from a component\n"
    );
}

#[test]
fn index_with_an_entry_for_wasm_runs_that() {
    let Some(case) = case_of(Image::WasmIndex) else {
        return;
    };
    // The root is that of the entry for this host.
    assert_eq!(case.run(&[], &["/hello.wasm"]).ok(), HELLO);
    assert_eq!(case.run(&[], &["echo", "native"]).ok(), "native\n");
}

#[test]
fn entry_for_wasm_that_was_not_pulled_is_named() {
    let Some(case) = fresh(Image::Busybox) else {
        return;
    };
    let archive = Image::WasmIndex.archive();
    case.ctr(&["image", "import", archive.to_str().unwrap()])
        .ok();
    let hello = Image::Wasm.rootfs().join("wasm/hello.wasm");
    let sum = Command::new("sha256sum").arg(hello).output().unwrap();
    let layer = format!("sha256:{}", &String::from_utf8(sum.stdout).unwrap()[..64]);
    // containerd collects it by itself, sooner or later.
    case.ctr(&["content", "delete", &layer]);
    let out = run(&case, Image::WasmIndex, &["/hello.wasm"]);
    let parts = [
        "\"/hello.wasm\": no such file",
        &layer,
        "is not here",
        "all platforms",
    ];
    has(refusal(&out), &parts);
}

#[test]
fn artifact_runs_in_a_pod() {
    cri::on_newest(|case| {
        case.node().containerd().import(Image::Artifact);
        let pod = case.pod();
        let hello = ContainerConfig::new(Image::Artifact, ["hello.wasm"]).called("hello", 0);
        assert_eq!(pod.start(&hello).output(), HELLO);
        let locked = hello
            .called("locked", 0)
            .security("readonly_rootfs", true)
            .security("run_as_user", json!({ "value": 1000 }))
            .set("/linux/security_context/no_new_privs", true);
        assert_eq!(pod.start(&locked).output(), HELLO);
    });
}

#[test]
fn who_refuses_what_is_as_the_documentation_says() {
    let case = Case::new();
    let archive = Image::WasmLayer.archive();
    let out = case.ctr(&["image", "import", archive.to_str().unwrap()]);
    assert_ne!(
        out.code, 0,
        "containerd 1.6 imports images with a Wasm layer"
    );
    let mismatch = "mismatched image rootfs and manifest layers";
    has(&out.stderr, &[mismatch]);
    let Some(case) = case_of(Image::Artifact) else {
        return;
    };
    let out = case.run(&[], &["/hello.wasm"]);
    has(&out.stderr, &["unknown image config media type"]);
}

#[test]
fn image_of_two_modules_is_refused_with_both_names() {
    refuses(
        Image::TwoLayers,
        &[
            "two-layers",
            "2 Wasm layers",
            "(application/wasm)",
            "layer.v1+wasm)",
        ],
    );
}

#[test]
fn native_code_in_a_layer_is_never_taken() {
    refuses(Image::CompiledLayer, &["layer sha256:", "compiled Wasm"]);
}

#[test]
fn layer_that_is_no_wasm_is_refused() {
    refuses(
        Image::TextLayer,
        &["layer sha256:", "does not begin with \\0asm"],
    );
}

#[test]
fn image_without_wasm_says_so_after_what_is_missing() {
    let Some(case) = case_of(Image::Busybox) else {
        return;
    };
    let out = case.run(&[], &["/no/such/program"]);
    let parts = [
        "exec: \"/no/such/program\": no such file or directory",
        "image \"docker.io/hull/busybox:latest\" has no Wasm layer either",
    ];
    has(refusal(&out), &parts);
    let out = case.run(&[], &["no-such-program"]);
    has(
        refusal(&out),
        &["executable file not found in $PATH", "no Wasm layer either"],
    );
}

#[test]
fn native_container_asks_for_no_module() {
    let Some(case) = fresh(Image::WasmLayer) else {
        return;
    };
    let no = ["--annotation", "io.containerd.hull.wasm=no"];
    let out = case.run(&no, &["/hello.wasm"]);
    has(refusal(&out), &["\"/hello.wasm\": no such file"]);
    assert!(!out.stderr.contains("either"), "{out:?}");
    assert_eq!(asked(&case), Vec::<String>::new());
    assert!(!case.containerd().artifacts().exists());
}

#[test]
fn later_starts_read_no_content() {
    let Some(case) = fresh(Image::WasmLayer) else {
        return;
    };
    assert_eq!(case.run(&[], &[]).ok(), HELLO);
    assert_eq!(case.run(&[], &[]).ok(), HELLO);
    let calls: Vec<bool> = asked(&case)
        .iter()
        .map(|line| line.contains("(2 calls of containerd)"))
        .collect();
    // Which image the container has, and what that is now; at first also its manifest.
    assert_eq!(calls, [false, true], "{:?}", asked(&case));
    // So it does not matter when containerd has lost it.
    let (id, runtime) = (case.id("late"), target::runtime());
    let create = ["container", "create", "--runtime", &runtime];
    case.ctr(&[&create[..], &[Image::WasmLayer.name(), &id]].concat())
        .ok();
    for digest in content(&case) {
        case.ctr(&["content", "delete", &digest]).ok();
    }
    let fifos = case.containerd().fifo_dir().display().to_string();
    let started = case.ctr(&["task", "start", "--fifo-dir", &fifos, &id]);
    assert_eq!(started.ok(), HELLO);
    case.ctr(&["container", "delete", &id]).ok();
}

#[test]
fn first_starts_at_once_compile_once() {
    let Some(case) = fresh(Image::WasmLayer) else {
        return;
    };
    thread::scope(|scope| {
        let runs: Vec<_> = (0..10)
            .map(|_| scope.spawn(|| case.run(&[], &[]).ok()))
            .collect();
        for run in runs {
            assert_eq!(run.join().unwrap(), HELLO);
        }
    });
    assert_eq!(compiled(&case), 1, "{}", case.containerd().log());
    artifacts::single(&case.containerd().artifacts());
    assert_eq!(
        artifacts::leftovers(&case.containerd().artifacts()),
        Vec::<String>::new()
    );
}

#[test]
fn damaged_artifact_of_an_image_is_made_anew() {
    let Some(case) = fresh(Image::WasmLayer) else {
        return;
    };
    assert_eq!(case.run(&[], &[]).ok(), HELLO);
    let stored = artifacts::single(&case.containerd().artifacts());
    let mut bytes = std::fs::read(&stored.path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] = !bytes[middle];
    std::fs::write(&stored.path, bytes).unwrap();
    assert_eq!(case.run(&[], &[]).ok(), HELLO);
    assert_eq!(compiled(&case), 2);
}

#[test]
fn exec_runs_the_module_again_and_nothing_else() {
    let Some(case) = case_of(Image::SleepLayer) else {
        return;
    };
    let id = case.run_detached(&["--null-io"], &["sleep.wasm"]);
    let missing = case.exec(&id, &["ls"]);
    has(&missing.stderr, &["\"ls\": executable file not found"]);
    assert!(!missing.stderr.contains("either"), "{missing:?}");
    let mut second = case.containerd().ctr_command();
    second
        .args(["task", "exec", "--exec-id", "second", "--fifo-dir"])
        .arg(case.containerd().fifo_dir())
        .args([&id, "sleep.wasm"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut second = second.spawn().unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(second.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let processes = case.ctr(&["task", "ps", &id]).ok();
    assert_eq!(processes.lines().count(), 3, "{processes}");
    case.remove(&id);
    assert_eq!(second.wait().unwrap().code(), Some(137));
}

#[test]
fn removed_image_takes_its_artifact_along() {
    let Some(case) = fresh(Image::SleepLayer) else {
        return;
    };
    let store = case.containerd().artifacts();
    let is_there = |path: &Path| artifacts::list(&store).iter().any(|one| one.path == path);
    case.containerd().import(Image::WasmLayer);
    assert_eq!(run(&case, Image::WasmLayer, &[]).ok(), HELLO);
    let first = artifacts::single(&store).path;
    case.ctr(&["image", "delete", "--sync", Image::WasmLayer.name()])
        .ok();
    // The next image that nobody has seen yet is the occasion. But the artifact was used today: containers may
    // have the same module as a file.
    case.containerd().import(Image::ComponentLayer);
    run(&case, Image::ComponentLayer, &[]).ok();
    assert!(is_there(&first));
    assert_eq!(artifacts::images(&store), 2);
    let before = SystemTime::now() - Duration::from_secs(2 * 24 * 3600);
    let times = FileTimes::new().set_modified(before).set_accessed(before);
    File::open(&first).unwrap().set_times(times).unwrap();
    case.run_detached(&["--null-io"], &["sleep.wasm"]);
    assert!(!is_there(&first));
    assert_eq!(
        (artifacts::list(&store).len(), artifacts::images(&store)),
        (2, 2)
    );
}

#[test]
fn image_is_compiled_by_its_name() {
    let Some(case) = fresh(Image::WasmLayer) else {
        return;
    };
    let report = hull(&case, &["compile", "--json", Image::WasmLayer.name()]).ok();
    let report: Value = serde_json::from_str(&report).unwrap();
    let stored = artifacts::single(&case.containerd().artifacts());
    assert_eq!(report["image"], Image::WasmLayer.name());
    assert_eq!(report["cached"], false);
    assert!(stored.path.ends_with(report["key"].as_str().unwrap()));
    // Then the first start has nothing to do.
    assert_eq!(case.run(&[], &[]).ok(), HELLO);
    assert_eq!(compiled(&case), 0);
    assert_eq!(artifacts::single(&case.containerd().artifacts()), stored);
    has(&asked(&case)[0], &["(2 calls of containerd)"]);
    let again = hull(&case, &["compile", Image::WasmLayer.name()]).ok();
    has(&again, &["wasm-layer", "was compiled before"]);
    let unknown = hull(&case, &["compile", "docker.io/hull/nothing:latest"]).expect(125);
    let parts = [
        "neither a file of this name nor such an image",
        "ctr image ls",
    ];
    is_one_clear_line(&unknown.stderr, &parts);
    let native = hull(&case, &["compile", Image::Busybox.name()]).expect(125);
    is_one_clear_line(&native.stderr, &["hull/busybox", "no Wasm layer"]);
}

#[test]
fn what_no_image_needs_is_pruned() {
    let Some(case) = fresh(Image::WasmLayer) else {
        return;
    };
    let store = case.containerd().artifacts();
    let prune = || -> Value {
        let said = hull(&case, &["cache", "prune", "--unused", "--json"]).ok();
        serde_json::from_str(&said).unwrap()
    };
    assert_eq!(case.run(&[], &[]).ok(), HELLO);
    // The same module by another name.
    case.ctr(&[
        "image",
        "tag",
        Image::WasmLayer.name(),
        "docker.io/hull/also:1",
    ])
    .ok();
    case.ctr(&["image", "delete", "--sync", Image::WasmLayer.name()])
        .ok();
    assert_eq!(prune()["removed"], json!([]));
    let stored = artifacts::single(&store);
    case.ctr(&["image", "delete", "--sync", "docker.io/hull/also:1"])
        .ok();
    let removed = prune()["removed"].clone();
    assert!(
        stored.path.ends_with(removed[0].as_str().unwrap()),
        "{removed}"
    );
    assert_eq!(
        (artifacts::list(&store).len(), artifacts::images(&store)),
        (0, 0)
    );
}

#[test]
fn containerd_that_does_not_answer_is_named() {
    let lab = Lab::new();
    // A socket without a listener.
    drop(UnixListener::bind(lab.dir().join("c.sock")).unwrap());
    let c = lab.container(&Spec::new(["/no/such/program"]));
    let error = c.try_create().unwrap_err();
    is_one_clear_line(
        error.message(),
        &[
            "\"/no/such/program\": no such file",
            "its image was not looked at",
            "c.sock",
        ],
    );
}
