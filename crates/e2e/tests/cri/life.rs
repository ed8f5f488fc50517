//! The life of pods and containers.

use std::time::{Duration, Instant};

use hull_e2e::cri::{ContainerConfig, Line, on_each};
use hull_e2e::{eventually, procfs};

use crate::SERVER;

#[test]
fn streams_are_in_the_log_line_by_line() {
    on_each(|case| {
        let pod = case.pod();
        let text = "echo out; echo err >&2; printf part; exit 3";
        let c = pod.start(&ContainerConfig::shell(text));
        assert_eq!(c.wait(), (3, "Error".to_owned()));
        let mut lines = c.log();
        lines.sort_by(|one, other| one.stream.cmp(&other.stream));
        let line = |stream: &str, is_full, text: &str| Line {
            stream: stream.to_owned(),
            is_full,
            text: text.to_owned(),
        };
        assert_eq!(
            lines,
            [
                line("stderr", true, "err"),
                line("stdout", true, "out"),
                line("stdout", false, "part"),
            ]
        );
        let shown = case.crictl(&["logs", c.id()]).expect(0);
        assert!(shown.text().starts_with("out\n"), "{shown:?}");
    });
}

#[test]
fn two_megabytes_are_in_the_log_whole() {
    on_each(|case| {
        let pod = case.pod();
        let c = pod.start(&ContainerConfig::shell("seq 1 300000"));
        let out = c.output();

        assert_eq!(out.lines().count(), 300_000);
        assert!(out.ends_with("\n300000\n"));
    });
}

#[test]
fn exec_gives_output_and_code_and_is_killed_when_its_time_is_over() {
    on_each(|case| {
        let pod = case.pod();
        let c = pod.start(&ContainerConfig::shell(SERVER));
        let out = c.exec(&["sh", "-c", "echo out; echo err >&2"]).ok();
        assert_eq!(out, "out\n\nerr\n\n");
        let failed = c.exec(&["sh", "-c", "echo err >&2; exit 7"]).expect(7);
        assert!(failed.stderr.contains("err"), "{failed:?}");
        let missing = c.exec(&["/no/such/program"]);
        assert!(missing.stderr.contains("/no/such/program"), "{missing:?}");
        let late = case.crictl(&["exec", "--sync", "--timeout", "1", c.id(), "sleep", "654"]);
        assert!(
            late.code != 0 && late.stderr.contains("timeout"),
            "{late:?}"
        );
        eventually("the exec that was too late is gone", || {
            let list = c.shell("ps -o args");
            (!list.contains("sleep 654")).then_some(())
        });
    });
}

#[test]
fn two_containers_of_a_pod_come_and_go_by_themselves() {
    on_each(|case| {
        let pod = case.pod();
        let one = pod.start(&ContainerConfig::shell(SERVER).called("one", 0));
        let other = pod.start(&ContainerConfig::shell(SERVER).called("other", 0));
        // One daemon for the whole pod.
        let daemon = procfs::parent(pod.pid()).unwrap();
        for c in [&one, &other] {
            assert_eq!(procfs::parent(c.pid()), Some(daemon));
        }
        one.stop(30);
        assert_eq!(one.wait(), (0, "Completed".to_owned()));
        one.remove();
        assert_eq!(other.shell("echo still"), "still\n");
        pod.stop();
        // A pod is stopped without grace: a kubelet has stopped its containers before.
        assert_eq!(other.wait().0, 137);
        other.remove();
        pod.remove();
    });
}

#[test]
fn stop_asks_first_and_kills_after_the_grace() {
    on_each(|case| {
        let pod = case.pod();
        let polite = "trap 'echo asked; exit 5' TERM; echo ready; while :; do sleep 0.1; done";
        let polite = pod.start(&ContainerConfig::shell(polite).called("polite", 0));
        let deaf = "trap '' TERM; echo ready; while :; do sleep 0.1; done";
        let deaf = pod.start(&ContainerConfig::shell(deaf).called("deaf", 0));
        for c in [&polite, &deaf] {
            c.wait_for("ready");
        }
        polite.stop(30);
        assert_eq!(polite.wait(), (5, "Error".to_owned()));
        assert_eq!(polite.written("stdout"), "ready\nasked\n");
        let began = Instant::now();
        deaf.stop(1);
        assert!(began.elapsed() >= Duration::from_secs(1));
        assert_eq!(deaf.wait(), (137, "Error".to_owned()));
    });
}

#[test]
fn container_that_failed_is_made_again_in_its_pod() {
    on_each(|case| {
        let pod = case.pod();
        let config = ContainerConfig::shell("echo try; exit 1");
        let first = pod.start(&config);
        assert_eq!(first.wait().0, 1);
        // A kubelet keeps the old one for its log.
        let second = pod.start(&config.clone().called("c", 1));
        assert_eq!(second.wait().0, 1);
        assert_eq!(second.written("stdout"), "try\n");
        first.remove();
        let third = pod.start(&ContainerConfig::shell("hostname").called("c", 2));
        assert_eq!(third.output(), "pod\n");
    });
}

#[test]
fn program_that_is_missing_is_one_clear_reason_and_the_pod_goes_on() {
    on_each(|case| {
        let pod = case.pod();
        let c = pod.create(&ContainerConfig::shell("true").set("/command", vec!["/no/such"]));
        let out = case.crictl(&["start", c.id()]);
        assert!(out.code != 0 && out.stderr.contains("/no/such"), "{out:?}");
        let status = c.inspect()["status"].clone();
        assert_eq!(status["state"], "CONTAINER_EXITED");
        assert!(
            status["message"].as_str().unwrap().contains("/no/such"),
            "{status}"
        );
        c.remove();
        let next = pod.start(&ContainerConfig::shell("echo fine").called("c", 1));
        assert_eq!(next.output(), "fine\n");
    });
}

#[test]
fn running_pod_is_removed_by_force() {
    on_each(|case| {
        let pod = case.pod();
        let deaf = ContainerConfig::shell("trap '' TERM; while :; do sleep 1; done");
        let c = pod.start(&deaf);
        let (init, pause) = (c.pid(), pod.pid());
        pod.remove();
        assert!(procfs::has_ended(init) && procfs::has_ended(pause));
        let gone = case.crictl(&["inspect", c.id()]);
        assert!(gone.stderr.contains("not found"), "{gone:?}");
    });
}

#[test]
fn death_of_the_pause_process_makes_the_pod_not_ready() {
    on_each(|case| {
        let pod = case.pod();
        let c = pod.start(&ContainerConfig::shell(SERVER));
        hull_e2e::leaks::kill(pod.pid());
        eventually("the pod is not ready", || {
            (pod.inspect()["status"]["state"] == "SANDBOX_NOTREADY").then_some(())
        });
        // The network namespace is a file's, the container does not need the process.
        assert_eq!(c.shell("echo still"), "still\n");
    });
}
