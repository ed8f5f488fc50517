//! `make demo`: containers through a private containerd, step by step, on the terminal.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed step ends the demo with what went wrong; the terminal is what it is for"
)]

use std::fs;

use hull_e2e::containerd::Release;
use hull_e2e::{Case, Containerd, Topic, block, procfs, target};

fn main() {
    println!(
        "hull demo: native containers through containerd, runtime {}\n",
        target::runtime()
    );
    println!("Starting a containerd of its own, with the busybox test image ...");
    let containerd = std::sync::Arc::new(Containerd::start(Release::Distribution));
    println!(
        "  it lives in {} until the end of this demo\n",
        containerd.dir().display()
    );
    let case = Case::with(containerd);
    output(&case);
    exit_codes(&case);
    let id = exec(&case);
    memory(&case, &id);
    events(&case, &id);
    // Dropping them stops everything, and fails if anything is left.
    drop(case);
    println!("Stopped and removed: no process, mount, cgroup or socket is left.");
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

fn events(case: &Case, id: &str) {
    println!("5. The events of this container's life, in order");
    case.remove(id);
    let events = case.containerd().events();
    events.wait_for(Topic::Delete, id, "");
    for event in events.of(id) {
        println!("  {event}");
    }
    println!();
}
