//! `hull compile` and `hull trace`.

use std::fs;
use std::path::Path;

use hull_e2e::{Cli, is_one_clear_line};
use serde_json::Value;

#[test]
fn compile_warms_the_store_that_run_takes_from() {
    let cli = Cli::new();
    let file = cli.guest("hello.wasm");
    let file = file.to_str().unwrap();
    let report = |text: String| -> Value { serde_json::from_str(&text).unwrap() };
    let first = report(cli.hull(["compile", "--json", file]).ok());
    assert_eq!(first["cached"], false);
    let stored = hull_e2e::artifacts::single(&cli.artifacts());
    assert_eq!(
        first["artifact"].as_str().unwrap(),
        stored.path.to_str().unwrap()
    );
    assert_eq!(
        first["artifact_bytes"],
        fs::metadata(&stored.path).unwrap().len()
    );
    assert_eq!(first["module_bytes"], fs::metadata(file).unwrap().len());
    let again = report(cli.hull(["compile", "--json", file]).ok());
    assert_eq!(
        (&again["cached"], &again["key"]),
        (&Value::Bool(true), &first["key"])
    );
    let text = cli.hull(["compile", file]).ok();
    assert!(text.contains(first["key"].as_str().unwrap()), "{text}");
    assert_eq!(cli.wasm(&[], "hello.wasm", &[]).ok(), "hello from Wasm\n");
    // Nothing was compiled again.
    assert_eq!(
        hull_e2e::artifacts::single(&cli.artifacts()).inode,
        stored.inode
    );
}

#[test]
fn compile_makes_the_functions_of_a_library_ready() {
    let cli = Cli::new();
    let file = cli.guest("no-start.wasm");
    let compile = || -> Value {
        let text = cli
            .hull([Path::new("compile"), Path::new("--json"), &file])
            .ok();
        serde_json::from_str(&text).unwrap()
    };
    assert_eq!(compile()["cached"], false);
    let stored = hull_e2e::artifacts::single(&cli.artifacts());
    assert_eq!(compile()["cached"], true);
    let function = format!("{}#add", file.display());
    let name = cli.name();
    let run = ["run", "--name", &name, &function, "40", "2"];
    assert_eq!(cli.hull(run).ok(), "42\n");
    // Nothing was compiled again.
    let again = hull_e2e::artifacts::single(&cli.artifacts());
    assert_eq!(again.inode, stored.inode);
}

#[test]
fn compile_makes_a_module_ready_for_who_asks_for_its_features() {
    let cli = Cli::new();
    let text = r#"(module
        (func (export "high") (param i64 i64) (result i64)
            (i64.mul_wide_u (local.get 0) (local.get 1)) (local.set 0) (drop) (local.get 0))
        (memory (export "memory") 1)
        (func (export "_start")))"#;
    let file = cli.work().join("wide.wasm");
    fs::write(&file, wat::parse_str(text).unwrap()).unwrap();
    let file = file.to_str().unwrap();
    let features = ["--features", "gc,wide-arithmetic"];
    let with = [&["compile", "--json"], &features[..], &[file]].concat();
    for cached in [false, true] {
        let report: Value = serde_json::from_str(&cli.hull(&with).ok()).unwrap();
        assert_eq!(report["cached"], cached);
    }
    let stored = hull_e2e::artifacts::single(&cli.artifacts());
    let listed: Value = serde_json::from_str(&cli.hull(["cache", "list", "--json"]).ok()).unwrap();
    assert_eq!(listed["artifacts"][0]["engine"], "current", "{listed:#}");
    let annotation = "io.containerd.hull.wasm.features=wide-arithmetic";
    let function = format!("{file}#high");
    let name = cli.name();
    let run = [
        "run",
        "--name",
        &name,
        "--annotation",
        annotation,
        &function,
    ];
    let args = ["9223372036854775807", "4"];
    assert_eq!(cli.hull([&run[..], &args].concat()).ok(), "1\n");
    // Nothing was compiled again.
    let again = hull_e2e::artifacts::single(&cli.artifacts());
    assert_eq!(again.inode, stored.inode);
    let out = cli.hull(["compile", file]).expect(126);
    is_one_clear_line(out.stderr.trim(), &["wide.wasm", "wide arithmetic"]);
    let out = cli
        .hull(["compile", "--features", "threads", file])
        .expect(2);
    assert!(out.stderr.contains("wide-arithmetic"), "{}", out.stderr);
}

#[test]
fn compile_refuses_in_the_compilers_words() {
    let cli = Cli::new();
    for (guest, part) in [
        ("corrupt.wasm", "cannot be compiled"),
        ("threads.wasm", "threads.wasm"),
    ] {
        let out = cli
            .hull([Path::new("compile"), &cli.guest(guest)])
            .expect(126);
        is_one_clear_line(out.stderr.trim(), &["hull: compile: ", guest, part]);
    }
}

#[test]
fn trace_splits_create() {
    let cli = Cli::new();
    let rootfs = cli.rootfs().to_str().unwrap();
    let args = [
        "trace", "--json", "--runs", "3", "--rootfs", rootfs, "--", "echo", "text",
    ];
    let out = cli.hull(args).expect(0);
    assert_eq!(out.stderr, "text\n".repeat(3));
    let split: Value = serde_json::from_str(&out.text()).unwrap();
    assert_eq!(split["runs"], 3);
    let took = |step: &Value| step["took_ms"].as_f64().unwrap();
    let client = split["client"].as_array().unwrap();
    let create = client.iter().find(|step| step["what"] == "create").unwrap();
    assert_eq!(create["at_ms"], 0.0);
    let steps = split["create"].as_array().unwrap();
    for who in ["daemon", "job", "init"] {
        assert!(
            steps.iter().any(|step| step["who"] == who),
            "{who}: {steps:?}"
        );
    }
    // Medians need not add up, but nothing within Create takes longer than Create.
    assert!(
        steps.iter().all(|step| took(step) <= took(create)),
        "{split}"
    );
    let table = cli
        .hull(["trace", "--rootfs", rootfs, "--", "sh", "-c", "exit 4"])
        .expect(4);
    for part in ["within create", "start the shim", "init", "#"] {
        assert!(table.text().contains(part), "{}", table.text());
    }
}

#[test]
fn run_can_tell_its_split_as_well() {
    let cli = Cli::new();
    let out = cli.native(&["--trace"], &["echo", "text"]).expect(0);
    assert_eq!(out.text(), "text\n");
    assert!(out.stderr.contains("within create"), "{}", out.stderr);
}
