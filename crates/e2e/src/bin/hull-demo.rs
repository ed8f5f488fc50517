//! `make demo`: containers without containerd, then through a private one, step by step, on the
//! terminal.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed step ends the demo with what went wrong; the terminal is what it is for"
)]

use std::fs;
use std::time::Instant;

use hull_e2e::containerd::Release;
use hull_e2e::{Case, Cli, Containerd, Image, Topic, artifacts, block, procfs, target};

fn main() {
    println!("hull demo, first part: native and Wasm containers without containerd\n");
    without_containerd();
    println!(
        "hull demo, second part: the same through containerd, runtime {}\n",
        target::runtime()
    );
    println!("Starting a containerd of its own, with a test image of busybox and Wasm modules ...");
    let containerd = std::sync::Arc::new(Containerd::start(Release::Distribution));
    println!(
        "  it lives in {} until the end of this demo\n",
        containerd.dir().display()
    );
    let case = Case::with_image(containerd, Image::Wasm);
    output(&case);
    exit_codes(&case);
    let id = exec(&case);
    memory(&case, &id);
    wasm(&case);
    same_flags(&case);
    wasm_ends(&case);
    wasm_exec(&case, &id);
    events(&case, &id);
    // Dropping them stops everything, and fails if anything is left.
    drop(case);
    println!("Stopped and removed: no process, mount, cgroup or socket is left.");
}

/// `hull run` and `hull trace`: no daemon is running before or after.
fn without_containerd() {
    let cli = Cli::new();
    let script = "echo Hello from $(uname -s) pid $$, host name $(hostname); exit 7";
    show(&format!(
        "hull run --hostname box --rootfs ./busybox -- sh -c '{script}'; echo $?"
    ));
    let out = cli
        .native(&["--hostname", "box"], &["sh", "-c", script])
        .expect(7);
    println!("  {}\n  {}", out.text().trim(), out.code);
    for what in ["compiles it and keeps the result", "takes what is there"] {
        show("hull run ./hello.wasm");
        let began = Instant::now();
        let text = cli.wasm(&[], "hello.wasm", &[]).ok();
        let milliseconds = began.elapsed().as_millis();
        println!(
            "  {}\n  (in {milliseconds} ms: this start {what})",
            text.trim()
        );
    }
    show("hull run --memory 16m --rootfs ./busybox -- dd if=/dev/zero of=/big bs=1M; echo $?");
    let out = cli.native(
        &["--memory", "16m"],
        &["dd", "if=/dev/zero", "of=/big", "bs=1M"],
    );
    let out = out.expect(137);
    println!("  {}\n  {}", out.stderr.trim(), out.code);
    show("hull trace --rootfs ./busybox -- true");
    let rootfs = cli.rootfs().display().to_string();
    let table = cli.hull(["trace", "--rootfs", &rootfs, "--", "true"]).ok();
    for line in table.lines() {
        println!("  {line}");
    }
    // Fails if anything is left.
    drop(cli);
    println!("\nNo process, mount, cgroup, socket or file is left of them.\n");
}

/// Shows a command as the reader would type it.
fn show(command: &str) {
    println!("$ {command}");
}

fn output(case: &Case) {
    println!("1. Output of a native program");
    let script = "echo Hello from $(uname -s) pid $$, host name $(hostname)";
    show(&format!(
        "ctr run --rm --runtime {} IMAGE ID sh -c '{script}'",
        target::runtime()
    ));
    println!("  {}\n", case.run(&[], &["sh", "-c", script]).ok().trim());
}

fn exit_codes(case: &Case) {
    println!("2. Exit codes");
    for code in [0, 7] {
        let script = format!("exit {code}");
        show(&format!("ctr run ... sh -c '{script}'; echo $?"));
        println!(
            "  {}",
            case.run(&[], &["sh", "-c", &script]).expect(code).code
        );
    }
    println!();
}

fn exec(case: &Case) -> String {
    println!("3. A second process in a running container");
    show("ctr run --detach ... sleep 600");
    let id = case.run_detached(&["--null-io"], &["sleep", "600"]);
    show("ctr task exec ... ps");
    for line in case.exec(&id, &["ps", "-o", "pid,comm,args"]).ok().lines() {
        println!("  {line}");
    }
    println!();
    id
}

fn memory(case: &Case, id: &str) {
    println!("4. What this container costs beside its own process");
    let task = case.connect(id);
    let daemon = block(task.connect_task(id)).unwrap().shim_pid;
    let init = case.pid(id);
    let mut ours = procfs::children(daemon);
    ours.retain(|pid| *pid != init);
    ours.insert(0, daemon);
    // Pages of a binary that was just built count as private until they are on the disk.
    nix::unistd::sync();
    println!(
        "  {:>8} {:>9} {:>9} {:>8}  process",
        "pid", "PSS kB", "RSS kB", "threads"
    );
    let mut sum = 0;
    for pid in ours {
        let (pss, rss) = (smaps(pid, "Pss:"), smaps(pid, "Rss:"));
        let threads = procfs::field(pid, "Threads").unwrap();
        let name: String = procfs::command_line(pid).chars().take(40).collect();
        println!("  {pid:>8} {pss:>9} {rss:>9} {threads:>8}  {name}");
        sum += pss;
    }
    println!("  {:>8} {sum:>9}\n", "together");
}

/// A value of smaps_rollup, in kB.
fn smaps(pid: u32, key: &str) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn wasm(case: &Case) {
    println!("5. A Wasm module: the same command, another kind of file");
    for what in ["compiles it and keeps the result", "takes what is there"] {
        show("ctr run --rm ... /wasm/hello.wasm");
        let began = Instant::now();
        let out = case.run(&[], &["/wasm/hello.wasm"]).ok();
        let milliseconds = began.elapsed().as_millis();
        println!("  {}", out.trim());
        println!("  (in {milliseconds} ms with containerd and ctr: this start {what})");
    }
    let store = case.containerd().artifacts();
    let stored = artifacts::single(&store).path;
    let size = fs::metadata(&stored).unwrap().len();
    let name = stored.file_name().unwrap().to_string_lossy();
    let short: String = name.chars().take(16).collect();
    println!("  in the store, for root alone: {short}..., {size} bytes\n");
}

fn same_flags(case: &Case) {
    println!("6. The same flags for a native program and for C programs made Wasm");
    let flags = "--read-only --env COLOUR=red --memory-limit 33554432";
    let commands: [&[&str]; 4] = [
        &["sh", "-c", "echo COLOUR=$COLOUR; touch /new"],
        &["/wasm/env.wasm", "one", "two"],
        &["/wasm/files.wasm", "write", "/new", "text"],
        &["/wasm/grow.wasm"],
    ];
    for args in commands {
        show(&format!("ctr run --rm {flags} ... {}", args.join(" ")));
        let flags: Vec<&str> = flags.split(' ').collect();
        let out = case.run(&flags, args);
        for line in (out.text() + &out.stderr).lines() {
            if !line.starts_with("env=") || line.contains("COLOUR") {
                println!("  {line}");
            }
        }
    }
    println!("  pages of 64 KiB; then memory.grow failed, and the guest went on\n");
}

fn wasm_ends(case: &Case) {
    println!("7. How a Wasm guest ends");
    show("ctr run --rm ... /wasm/exit.wasm 7; echo $?");
    println!(
        "  {}",
        case.run(&[], &["/wasm/exit.wasm", "7"]).expect(7).code
    );
    show("ctr run --rm ... /wasm/trap-divide.wasm; echo $?");
    let out = case.run(&[], &["/wasm/trap-divide.wasm"]).expect(134);
    for line in out.stderr.lines() {
        println!("  {line}");
    }
    println!("  {}\n", out.code);
}

fn wasm_exec(case: &Case, id: &str) {
    println!("8. Native and Wasm processes in one container");
    show("ctr task exec ... hello.wasm    (in the native container of step 3)");
    println!("  {}", case.exec(id, &["hello.wasm"]).ok().trim());
    show("ctr run --detach ... /wasm/loop.wasm");
    let wasm = case.run_detached(&["--null-io"], &["/wasm/loop.wasm"]);
    show("ctr task exec ... ps             (in the Wasm container)");
    for line in case
        .exec(&wasm, &["ps", "-o", "pid,comm,args"])
        .ok()
        .lines()
    {
        println!("  {line}");
    }
    let pid = case.pid(&wasm);
    let field = |key| procfs::field(pid, key).unwrap();
    println!("  its runner, pid {pid} on the host:");
    for key in ["CapEff", "NoNewPrivs", "Seccomp", "Threads"] {
        println!("    {key} {}", field(key));
    }
    case.remove(&wasm);
    println!();
}

fn events(case: &Case, id: &str) {
    println!("9. The events of this container's life, in order");
    case.remove(id);
    let events = case.containerd().events();
    events.wait_for(Topic::Delete, id, "");
    for event in events.of(id) {
        println!("  {event}");
    }
    println!();
}
