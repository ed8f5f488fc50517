//! Connections to processes: exec and attach, with a terminal and without.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use hull_e2e::cri::{Case, ContainerConfig, on_each};
use hull_e2e::{Output, ctr, slowed};

use crate::SERVER;

/// crictl on a terminal, which script(1) makes.
fn on_terminal(case: &Case, args: &[&str], input: &str) -> Output {
    let crictl = case.node().crictl_command();
    let words = std::iter::once(crictl.get_program()).chain(crictl.get_args());
    let words = words
        .map(|word| word.to_str().unwrap())
        .chain(args.iter().copied());
    let line: Vec<String> = words.map(|word| format!("'{word}'")).collect();
    let mut script = Command::new("script");
    script.args(["-qefc", &line.join(" "), "/dev/null"]);
    let containerd = case.node().containerd();
    containerd.inside(|| ctr::run(script, input.as_bytes()))
}

#[test]
fn exec_has_a_terminal_of_its_own() {
    on_each(|case| {
        let pod = case.pod();
        let c = pod.start(&ContainerConfig::shell(SERVER));
        let text = "tty; test -t 0 && echo terminal; read line; echo got $line; exit 5";
        let out = on_terminal(case, &["exec", "-it", c.id(), "sh", "-c", text], "word\n");
        let shown = out.text();
        for part in ["/dev/pts/0\r\n", "terminal\r\n", "got word\r\n"] {
            assert!(shown.contains(part), "{part:?}: {out:?}");
        }
        assert!(
            shown.contains("exit code 5") || out.stderr.contains("exit code 5"),
            "{out:?}"
        );
        // The terminal went with it.
        assert_eq!(c.shell("ls /dev/pts"), "ptmx\n");
    });
}

#[test]
fn exec_reads_its_input_to_the_end() {
    on_each(|case| {
        let pod = case.pod();
        let c = pod.start(&ContainerConfig::shell(SERVER));
        let input = "line\n".repeat(20_000);
        let args = ["exec", "-i", c.id(), "sh", "-c", "wc -l; echo err >&2"];
        let out = case
            .node()
            .crictl_with_input(&args, input.as_bytes())
            .expect(0);
        assert_eq!(
            (out.text().as_str(), out.stderr.as_str()),
            ("20000\n", "err\n")
        );
    });
}

#[test]
fn attach_writes_to_the_programs_input() {
    on_each(|case| {
        let pod = case.pod();
        let text = "echo ready; read line; echo got $line; read line || echo end";
        let config = ContainerConfig::shell(text);
        let c = pod.start(&config.set("/stdin", true).set("/stdin_once", true));
        c.wait_for("ready");
        let args = ["attach", "-i", c.id()];
        let out = case.node().crictl_with_input(&args, b"word\n");
        assert!(out.text().contains("got word\n"), "{out:?}");
        assert_eq!(c.output(), "ready\ngot word\nend\n");
    });
}

#[test]
fn attach_to_a_terminal() {
    on_each(|case| {
        let pod = case.pod();
        let text = "test -t 1 && echo terminal; read line; echo got $line; sleep 0.2";
        let config = ContainerConfig::shell(text).set("/tty", true);
        let c = pod.start(&config.set("/stdin", true));
        c.wait_for("terminal");
        let out = on_terminal(case, &["attach", "-it", c.id()], "word\n");
        assert!(out.text().contains("got word\r\n"), "{out:?}");
        assert_eq!(c.wait().0, 0);
    });
}

/// Asks a web server for its page; gives the answer if it has the page.
fn ask(address: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    let limit = slowed(Duration::from_secs(3));
    stream.set_read_timeout(Some(limit)).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let (mut answer, mut chunk) = (Vec::new(), [0; 1024]);
    while !answer.ends_with(b"\r\n\r\npage\n") {
        match stream.read(&mut chunk).ok()? {
            0 => return None,
            read => answer.extend_from_slice(&chunk[..read]),
        }
    }
    String::from_utf8(answer).ok()
}

#[test]
fn port_is_forwarded_into_the_pod() {
    on_each(|case| {
        let pod = case.pod();
        let web =
            "mkdir /web; echo page > /web/index.html; echo ready; exec httpd -f -p 8080 -h /web";
        let c = pod.start(&ContainerConfig::shell(web));
        c.wait_for("ready");
        let containerd = case.node().containerd();
        let mut crictl = case.node().crictl_command();
        crictl.args(["port-forward", pod.id(), "18080:8080"]);
        crictl.stdout(std::process::Stdio::null());
        let mut forward = containerd.inside(|| crictl.spawn()).unwrap();
        // crictl listens a little later, and does not always hand on the end of a connection.
        let page = hull_e2e::eventually("the port is forwarded", || {
            containerd.inside(|| ask("127.0.0.1:18080"))
        });
        forward.kill().unwrap();
        forward.wait().unwrap();
        assert!(page.starts_with("HTTP/1."), "{page}");
    });
}
