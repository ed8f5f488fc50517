//! What a Wasm file is run as: commands of every version of WASI, single functions, and the refusals at
//! Create of what it is not, whether it had to be compiled or not.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use hull_e2e::{Case, Lab, Ran, Spec, artifacts, is_one_clear_line};

/// The annotation that says what a guest is run as.
const WORLD: &str = "io.containerd.hull.wasm.world";

const FUNCTIONS: &str = "/wasm/functions.wasm";
const LIBRARY: &str = "/wasm/library.wasm";

/// Runs it to its end in a store of its own.
fn run(lab: &Lab, args: &[&str]) -> Ran {
    lab.container(&Spec::new(args.iter().copied())).run_to_end()
}

#[track_caller]
fn gives(ran: &Ran, text: &str) {
    assert_eq!(
        (ran.status, ran.stdout.as_str(), ran.stderr.as_str()),
        (0, text, ""),
        "{ran:?}"
    );
}

/// Create fails with one line that has all of `parts`, when the module has to be compiled and when it has
/// not. Then hello runs under the same id.
#[track_caller]
fn refuses(spec: &Spec, parts: &[&str]) {
    let lab = Lab::wasm();
    let mut c = lab.container(spec);
    let mut stored = None;
    for _ in 0..2 {
        is_one_clear_line(c.try_create().unwrap_err().message(), parts);
        assert_eq!(lab.events().of(&c.id), []);
        let now = artifacts::list(&lab.artifacts());
        assert!(stored.is_none_or(|before| before == now), "compiled again");
        stored = Some(now);
    }
    c.reconfigure(&Spec::new(["/wasm/hello.wasm"]));
    gives(&c.run_to_end(), "hello from Wasm\n");
}

#[test]
fn command_of_wasi_0_3_runs_and_is_compiled_once() {
    let lab = Lab::wasm();
    for compiled in [1, 0] {
        let mut c = lab.container(&Spec::new(["/wasm/command-0.3.wasm"]));
        gives(&c.run_to_end(), "hello from WASI 0.3\n");
        assert_eq!(c.bundle.log().matches(": compiled ").count(), compiled);
    }
}

#[test]
fn function_of_a_module_is_called_with_its_arguments() {
    let lab = Lab::wasm();
    let add = "/wasm/functions.wasm#add";
    gives(&run(&lab, &[add, "40", "2"]), "42\n");
    gives(&run(&lab, &[add, "0x10", "-17"]), "-1\n");
    let half = Spec::new(["./functions.wasm#half", "5"]).cwd("/wasm");
    gives(&lab.container(&half).run_to_end(), "2.5\n");
    assert_eq!(artifacts::list(&lab.artifacts()).len(), 1);
}

#[test]
fn function_of_a_component_is_called_with_wave() {
    let lab = Lab::wasm();
    for name in [
        "echo",
        "texts#echo",
        "hull:library/texts#echo",
        "hull:library/texts@1.2.0#echo",
    ] {
        let program = format!("{LIBRARY}#{name}");
        gives(&run(&lab, &[&program, "\"two words\""]), "\"two words\"\n");
    }
    let check = "/wasm/library.wasm#check";
    gives(&run(&lab, &[check, "true"]), "ok\n");
    let failed = run(&lab, &[check, "false"]);
    assert_eq!((failed.status, failed.stdout.as_str()), (1, "err\n"));
}

#[test]
fn ctr_and_exec_call_functions_too() {
    let case = Case::wasm();
    let add = "/wasm/functions.wasm#add";
    assert_eq!(case.run(&[], &[add, "1", "2"]).ok(), "3\n");
    // Found in $PATH, although the function's name has a slash.
    let echo = "library.wasm#hull:library/texts#echo";
    assert_eq!(case.run(&[], &[echo, "\"x\""]).ok(), "\"x\"\n");
    let id = case.run_detached(&["--null-io"], &["/wasm/functions.wasm#forever"]);
    assert_eq!(case.exec(&id, &[add, "3", "4"]).ok(), "7\n");
    let out = case.exec(&id, &["/wasm/functions.wasm#sub", "3", "4"]);
    assert_ne!(out.code, 0);
    assert!(
        out.stderr.contains("exports no function \"sub\""),
        "{}",
        out.stderr
    );
    assert_eq!(out.stderr.trim().lines().count(), 1, "{}", out.stderr);
    case.remove(&id);
}

/// What is in the root comes first, whatever its name.
#[test]
fn file_with_a_hash_in_its_name_runs() {
    let lab = Lab::wasm();
    let mut c = lab.container(&Spec::new(["/functions.wasm#add"]));
    let wasm = lab.image().rootfs().join("wasm");
    fs::copy(
        wasm.join("hello.wasm"),
        c.upper().join("functions.wasm#add"),
    )
    .unwrap();
    fs::copy(
        wasm.join("functions.wasm"),
        c.upper().join("functions.wasm"),
    )
    .unwrap();
    gives(&c.run_to_end(), "hello from Wasm\n");

    let mut c = lab.container(&Spec::new(["/odd#name.wasm#add", "5", "6"]));
    symlink("wasm/functions.wasm", c.upper().join("odd#name.wasm")).unwrap();
    gives(&c.run_to_end(), "11\n");
}

#[test]
fn hash_behind_what_is_no_wasm_is_part_of_a_name() {
    let absent = "no such file or directory";
    for (program, cause) in [
        ("/bin/busybox#true", absent),
        ("/wasm/text.wasm#f", absent),
        ("busybox#true", "not found in $PATH"),
    ] {
        refuses(&Spec::new([program]), &[program, cause]);
    }
}

#[test]
fn library_is_refused_with_the_names_that_it_has() {
    refuses(
        &Spec::new([FUNCTIONS]),
        &[
            FUNCTIONS,
            "not a command",
            "\"add\" (i32, i32) -> (i32)",
            "\"half\" (f64) -> (f64)",
            "/wasm/functions.wasm#add",
        ],
    );
    refuses(
        &Spec::new([LIBRARY]),
        &[
            LIBRARY,
            "neither a command",
            "nor a server",
            "\"check\" (bool) -> (result)",
            "\"hull:library/texts@1.2.0#echo\" (string) -> (string)",
        ],
    );
}

#[test]
fn function_that_is_not_there_is_named_with_those_that_are() {
    for program in [
        "/wasm/functions.wasm#sub",
        "/wasm/functions.wasm#",
        "/wasm/library.wasm#other#echo",
    ] {
        let function = program.split_once('#').unwrap().1;
        let named = format!("exports no function {function:?}, but ");
        refuses(&Spec::new([program]), &[&named]);
    }
}

#[test]
fn wrong_arguments_are_named() {
    for (args, parts) in [
        (
            &["/wasm/functions.wasm#add", "1"][..],
            &["takes 2 arguments, but 1 are given"][..],
        ),
        (
            &["/wasm/functions.wasm#add", "1", "2", "3"],
            &["takes 2 arguments, but 3 are given"],
        ),
        (
            &["/wasm/functions.wasm#add", "1", "two"],
            &["argument 2", "must be i32, but is \"two\""],
        ),
        (
            &["/wasm/functions.wasm#vector", "1"],
            &["cannot be written as text (v128)"],
        ),
        (
            &["/wasm/library.wasm#check", "yes"],
            &["argument 1", "must be bool"],
        ),
        (
            &["/wasm/library.wasm#echo", "unquoted"],
            &["argument 1", "must be string"],
        ),
    ] {
        refuses(&Spec::new(args.iter().copied()), parts);
    }
}

/// What takes more than a glance at the text is found out by the runner, before the guest runs.
#[test]
fn text_that_is_no_wave_is_told_by_the_runner() {
    let lab = Lab::wasm();
    let ran = run(&lab, &["/wasm/library.wasm#echo", "\"open"]);
    assert_eq!((ran.status, ran.stdout.as_str()), (126, ""), "{ran:?}");
    is_one_clear_line(
        ran.stderr.trim_end(),
        &["library.wasm", "argument 1 (text)"],
    );
}

#[test]
fn annotation_must_fit_what_it_is() {
    let with = |program: &str, world: &str| Spec::new([program]).annotation(WORLD, world);
    let hello = "/wasm/hello.wasm";
    let server = "/wasm/server.wasm";
    refuses(
        &with(hello, "http"),
        &[hello, WORLD, "no server", "a command of WASI preview 1"],
    );
    refuses(
        &with(server, "command"),
        &[server, WORLD, "command", "a server of WASI 0.2"],
    );
    refuses(&with(FUNCTIONS, "command"), &[WORLD, "\"add\""]);
    let both = Spec::new(["/wasm/functions.wasm#add", "1", "2"]);
    refuses(&both.annotation(WORLD, "http"), &["\"add\"", WORLD]);

    let lab = Lab::wasm();
    for program in [hello, "/wasm/component.wasm", "/wasm/command-0.3.wasm"] {
        let ran = lab.container(&with(program, "command")).run_to_end();
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:?}");
    }
}

/// Takes off an artifact what it says of its exports, and makes the rest good again: code, then mark, length
/// and digest.
fn forget_exports(path: &Path) {
    const TRAILER: usize = 48;
    const FOOTER: usize = 44;
    let stored = fs::read(path).unwrap();
    let code = &stored[..stored.len() - TRAILER - FOOTER];
    let footer = &stored[code.len()..];
    let exports = u32::from_le_bytes(footer[..4].try_into().unwrap());
    let code = &code[..code.len() - usize::try_from(exports).unwrap()];
    let name = path.file_name().unwrap().to_str().unwrap();
    let key = from_hex(name);
    let digest = sha256(&[b"hull artifact 1\0", key.as_slice(), code].concat());
    let length = u64::try_from(code.len()).unwrap().to_le_bytes();
    let whole = [code, b"hullart1", &length, &digest].concat();
    fs::write(path, whole).unwrap();
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks_exact(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    from_hex(std::str::from_utf8(&output.stdout[..64]).unwrap())
}

/// An artifact that does not say what it can be run as, but is whole otherwise: as if a version of
/// hull before this one had made it.
#[test]
fn artifact_without_its_exports_is_made_anew() {
    let lab = Lab::wasm();
    let hello = || {
        let mut c = lab.container(&Spec::new(["/wasm/hello.wasm"]));
        gives(&c.run_to_end(), "hello from Wasm\n");
        c.bundle.log().matches(": compiled ").count()
    };
    assert_eq!(hello(), 1);
    let stored = artifacts::single(&lab.artifacts());
    let good = fs::read(&stored.path).unwrap();
    forget_exports(&stored.path);
    assert_ne!(fs::read(&stored.path).unwrap(), good);
    assert_eq!(hello(), 1);
    assert_eq!(fs::read(&stored.path).unwrap(), good);
    assert_eq!(hello(), 0);
}
