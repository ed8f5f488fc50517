//! Many pods at once.

use std::thread;

use hull_e2e::cri::{ContainerConfig, Pod, on_each};

use crate::SERVER;

#[test]
fn twenty_pods_at_once_and_nothing_is_left() {
    on_each(|case| {
        let make = |number: usize| {
            let pod = case.pod();
            let text = format!("echo {number}; {SERVER}");
            let c = pod.start(&ContainerConfig::shell(&text));
            c.wait_for("ready");
            assert!(c.written("stdout").starts_with(&format!("{number}\n")));
            pod
        };
        let pods: Vec<Pod<'_>> = thread::scope(|scope| {
            let made: Vec<_> = (0..20)
                .map(|number| scope.spawn(move || make(number)))
                .collect();
            made.into_iter().map(|pod| pod.join().unwrap()).collect()
        });
        let addresses: std::collections::BTreeSet<String> = pods.iter().map(Pod::address).collect();
        assert_eq!(addresses.len(), 20);
        thread::scope(|scope| {
            for pod in pods {
                scope.spawn(|| pod.remove());
            }
        });
    });
}
