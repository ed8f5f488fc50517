//! Wasm in pods.

use hull_e2e::Image;
use hull_e2e::cri::{ContainerConfig, on_each};
use hull_e2e::procfs;

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
