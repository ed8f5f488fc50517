//! containerd is killed and comes back; the pods live on.

use hull_e2e::containerd::Release;
use hull_e2e::cri::{ContainerConfig, on_own_each};
use hull_e2e::{eventually, leaks, procfs};

use crate::SERVER;

#[test]
fn pods_live_on_without_containerd_and_are_known_again() {
    on_own_each(|case| {
        let pod = case.pod();
        let counts = "i=0; while :; do i=$((i + 1)); echo $i; sleep 0.05; done";
        let counts = pod.start(&ContainerConfig::shell(counts).called("counts", 0));
        let served = pod.start(&ContainerConfig::shell(SERVER).called("served", 0));
        let ends = pod.start(&ContainerConfig::shell(SERVER).called("ends", 0));
        counts.wait_for("1\n");
        let (pid, ending) = (served.pid(), ends.pid());
        case.node().restart(|| {
            leaks::kill(ending);
            eventually("it has ended", || procfs::has_ended(ending).then_some(()));
        });
        assert_eq!(pod.inspect()["status"]["state"], "SANDBOX_READY");
        assert_eq!(served.pid(), pid);
        assert_eq!(served.shell("echo again"), "again\n");
        // Nobody heard of that exit, and it is known all the same, but containerd 2.x forgets its code: it takes
        // a task without processes for one that was left behind.
        let code = match case.node().release() {
            Release::Distribution => 137,
            Release::Newest => 255,
        };
        assert_eq!(ends.wait().0, code);
        // The log goes on where it was.
        let last = counts.written("stdout").lines().count();
        eventually("the log grows", || {
            (counts.written("stdout").lines().count() > last + 5).then_some(())
        });
        let written = counts.written("stdout");
        let numbers: Vec<usize> = written.lines().map(|line| line.parse().unwrap()).collect();
        assert!(
            numbers.windows(2).all(|pair| pair[1] == pair[0] + 1),
            "{numbers:?}"
        );
        // What was there before and what comes now are one pod.
        let new = pod.start(&ContainerConfig::shell("hostname").called("new", 0));
        assert_eq!(new.output(), "pod\n");
        served.stop(30);
        assert_eq!(served.wait().0, 0);
        pod.remove();
    });
}
