//! Wasm in pods.

use hull_e2e::Image;
use hull_e2e::cri::{ContainerConfig, PodConfig, on_each};
use hull_e2e::{eventually, procfs};

use crate::SERVER;

#[test]
fn wasm_runs_beside_a_native_container() {
    on_each(|case| {
        let pod = case.pod();
        let native = pod.start(&ContainerConfig::shell(SERVER).called("native", 0));
        // The image's own command is a module.
        let hello = pod.start(&ContainerConfig::new(Image::Wasm, []).called("hello", 0));
        assert_eq!(hello.output(), "hello from Wasm\n");
        let exit = ContainerConfig::new(Image::Wasm, ["/wasm/exit.wasm", "7"]);
        assert_eq!(
            pod.start(&exit.called("exit", 0)).wait(),
            (7, "Error".to_owned())
        );
        // Its only line has no end; its input has one.
        let partial = ContainerConfig::new(Image::Wasm, ["/wasm/partial.wasm"]);
        let partial = pod.start(&partial.called("partial", 0));
        assert_eq!(partial.wait().0, 0);
        assert_eq!(partial.output().trim_end(), "partial");
        let sleep = ContainerConfig::new(Image::Wasm, ["/wasm/sleep.wasm"]);
        let sleep = pod.start(&sleep.called("sleep", 0));
        let daemon = procfs::parent(native.pid());
        assert_eq!(procfs::parent(sleep.pid()), daemon);
        assert_eq!(native.shell("echo still"), "still\n");
        let stats = case.crictl(&["stats", "--output", "json", "--id", sleep.id()]);
        assert!(stats.ok().contains("workingSetBytes"));
        sleep.stop(1);
        assert_ne!(sleep.wait().0, 0);
    });
}

/// A server is reached like any other, and what an annotation of the pod says of it is heard.
#[test]
fn wasm_serves_the_pod_and_the_others() {
    on_each(|case| {
        let annotation = "/annotations/io.containerd.hull.wasm.http.addr";
        let config = PodConfig::new().set(annotation, "0.0.0.0:8081");
        let pod = case.pod_with(&config);
        let server = ContainerConfig::new(Image::Wasm, ["/wasm/http.wasm"]);
        let server = pod.start(&server.called("server", 0));
        eventually("it listens where the pod says", || {
            let ready = "listening on http://0.0.0.0:8081\n";
            server.written("stderr").contains(ready).then_some(())
        });
        let ask = |host: &str| format!("wget -qO- http://{host}:8081/");
        let beside = pod.start(&ContainerConfig::shell(&ask("127.0.0.1")).called("beside", 0));
        assert_eq!(beside.output(), "hello from wasi:http 0.2\n");
        let other = case.pod();
        let client = other.start(&ContainerConfig::shell(&ask(&pod.address())));
        assert_eq!(client.output(), "hello from wasi:http 0.2\n");
        server.stop(10);
        assert_eq!(server.wait().0, 143);
    });
}
