//! Output without end, read by nobody and read as fast as it comes; arguments without end.

use std::fs::File;
use std::io::Read;
use std::thread;

use hull_e2e::{Lab, slowed};

use crate::pod::{self, Pod};
use crate::{Ended, WORST, ends, hostile, is_stopped, stop};

/// It waits where it writes, and nobody keeps what is not read.
#[test]
fn output_that_nobody_reads_holds_up_its_writer_only() {
    let peak = is_stopped(&hostile(&["flood"]));
    assert!(peak < 16, "{peak} MiB");
}

#[test]
fn output_that_is_read_leaves_the_neighbour_its_share() {
    let lab = Lab::wasm();
    let mut pod = Pod::new(&lab);
    let mut c = pod.container(&hostile(&["flood"]));
    let path = c.stdio.stdout_path().to_owned();
    let read = pod.watch(|| {
        c.create();
        let mut fifo = File::open(&path).unwrap();
        // The harness's own reader would only be in the way.
        c.stdio.out = None;
        c.start();
        thread::scope(|scope| {
            let reading = scope.spawn(move || {
                let (mut buffer, mut sum) = (vec![0; 1 << 20], 0);
                while let Ok(count @ 1..) = fifo.read(&mut buffer) {
                    sum += count;
                }
                sum
            });
            thread::sleep(slowed(WORST));
            stop(&c);
            reading.join().unwrap()
        })
    });
    assert!(read > 1 << 20, "only {read} bytes in {WORST:?}");
    let peak = pod::peak(&c);
    assert!(peak < 16, "{peak} MiB");
}

#[test]
fn arguments_by_the_thousand_arrive() {
    let many = vec!["x"; 10_000];
    let Ended { ran, .. } = ends(&hostile(&[&["arguments"], many.as_slice()].concat()));
    assert_eq!(ran.stdout, "10002 arguments\n", "{}", ran.stderr);
}
