//! What arrives, how often and in which order, when containerd is slow, breaks off, or is away. The clock
//! stands still but for what everybody waits for.

use super::scripted::{Act, serve};
use super::{Ordering, Publisher, QUEUE, RESERVED, forward, oom, socket};
use std::time::Duration;
use tokio::time::Instant;

/// Long enough for everything.
const FOREVER: Duration = Duration::from_secs(1 << 20);

/// Publishes that many events to a containerd with this script; gives what it took.
async fn delivered(count: usize, script: Vec<Act>) -> Vec<usize> {
    let (_dir, path, publisher) = socket();
    let mut taken = serve(&path, script);
    (0..count).for_each(|id| publisher.publish(oom(id)));
    assert!(publisher.flush(FOREVER).await);
    let mut ids = Vec::new();
    while let Ok(id) = taken.try_recv() {
        ids.push(id);
    }
    ids
}

/// As seen once, when containerd was too busy to answer within five seconds.
#[tokio::test(start_paused = true)]
async fn an_event_that_is_answered_late_is_not_sent_again() {
    let late = Act::TakeAfter(forward::ANSWER - Duration::from_secs(1));
    assert_eq!(delivered(3, vec![late, late]).await, [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_never_answered_is_given_up_and_not_sent_again() {
    let began = Instant::now();
    assert_eq!(delivered(3, vec![Act::Silence]).await, [0, 1, 2]);
    assert!(began.elapsed() < forward::ANSWER + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_connection_broke_is_sent_again_in_its_place() {
    assert_eq!(
        delivered(3, vec![Act::Take, Act::Break, Act::Break]).await,
        [0, 1, 2]
    );
    // Whether it had been taken nobody can know.
    assert_eq!(
        delivered(3, vec![Act::Take, Act::TakeAndBreak]).await,
        [0, 1, 1, 2]
    );
}

#[tokio::test(start_paused = true)]
async fn an_event_after_the_end_of_the_connection_goes_out_at_once() {
    let (_dir, path, publisher) = socket();
    let mut taken = serve(&path, vec![Act::TakeAndLeave]);
    let began = Instant::now();
    publisher.publish(oom(0));
    assert_eq!(taken.recv().await, Some(0));
    // The client notices the end by itself.
    tokio::time::sleep(Duration::from_millis(1)).await;
    publisher.publish(oom(1));
    assert_eq!(taken.recv().await, Some(1));
    assert!(
        began.elapsed() < Duration::from_millis(10),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn events_wait_for_a_containerd_that_is_away_for_a_day() {
    let day = Duration::from_secs(86_400);
    let began = Instant::now();
    assert_eq!(
        delivered(3, vec![Act::Take, Act::Away(day)]).await,
        [0, 1, 2]
    );
    assert!(began.elapsed() >= day);
    assert!(began.elapsed() < day + Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn whoever_connects_ends_the_pause() {
    let (_dir, path, publisher) = socket();
    publisher.publish(oom(0));
    assert!(!publisher.flush(Duration::from_secs(60)).await);
    let mut taken = serve(&path, Vec::new());
    let began = Instant::now();
    publisher.hurry();
    assert!(publisher.flush(FOREVER).await);
    assert_eq!(taken.recv().await, Some(0));
    assert!(
        began.elapsed() < Duration::from_millis(10),
        "{:?}",
        began.elapsed()
    );
}

/// An event that is always refused, or that ends containerd each time, does not hold up the others.
#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_delivered_is_given_up() {
    let attempts = usize::try_from(forward::ATTEMPTS).unwrap();
    for (act, tries) in [
        (Act::Refuse(ttrpc::Code::UNAVAILABLE), attempts),
        (Act::Refuse(ttrpc::Code::INVALID_ARGUMENT), 1),
        (Act::Refuse(ttrpc::Code::UNIMPLEMENTED), 1),
        (Act::Break, attempts),
    ] {
        assert_eq!(delivered(3, vec![act; tries]).await, [1, 2], "{act:?}");
        let once_less = vec![act; tries - 1];
        assert_eq!(delivered(3, once_less).await, [0, 1, 2], "{act:?}");
    }
}

/// Whatever containerd does: what arrives is what was published, in its order, and nothing comes twice
/// but for a connection that broke after the event.
#[tokio::test(start_paused = true)]
async fn order_holds_whatever_containerd_does() {
    const EVENTS: usize = 60;
    for seed in 1..50 {
        let mut random = Random(seed);
        let mut script = Vec::new();
        let mut failures = 0;
        for _ in 0..2 * EVENTS {
            let act = random.act();
            let failed = matches!(
                act,
                Act::Break | Act::TakeAndBreak | Act::Refuse(_) | Act::Away(_)
            );
            failures = if failed { failures + 1 } else { 0 };
            // One more would be the end of an event.
            script.push(if failures == forward::ATTEMPTS {
                failures = 0;
                Act::Take
            } else {
                act
            });
        }
        let ids = delivered(EVENTS, script.clone()).await;
        let mut once = ids.clone();
        once.dedup();
        assert!(once.iter().copied().eq(0..EVENTS), "{seed}: {ids:?}");
        let doubled = ids.len() - once.len();
        let broke = script.iter().filter(|act| **act == Act::TakeAndBreak);
        assert!(doubled <= broke.count(), "{seed}: {ids:?}");
    }
}

/// With nobody there, publishing returns at once and memory is bounded; what was kept arrives.
#[tokio::test(start_paused = true)]
async fn what_fitted_into_the_queue_arrives_after_a_long_absence() {
    let (_dir, path, publisher) = socket();
    let began = Instant::now();
    (0..3 * QUEUE).for_each(|id| publisher.publish(oom(id)));
    assert_eq!(began.elapsed(), Duration::ZERO);
    let kept = QUEUE - RESERVED;
    let dropped = u64::try_from(3 * QUEUE - kept).unwrap();
    assert_eq!(publisher.dropped.load(Ordering::Relaxed), dropped);
    assert!(!publisher.flush(Duration::from_secs(3600)).await);
    let mut taken = serve(&path, Vec::new());
    assert!(publisher.flush(FOREVER).await);
    for id in 0..kept {
        assert_eq!(taken.try_recv(), Ok(id));
    }
}

#[tokio::test(start_paused = true)]
async fn leaving_waits_for_no_containerd_longer_than_it_is_told() {
    let publisher = Publisher::spawn("ns", "/nobody/there".to_owned());
    publisher.publish(oom(0));
    let began = Instant::now();
    assert!(!publisher.flush(Duration::from_secs(5)).await);
    assert_eq!(began.elapsed().as_secs(), 5);
}

/// Numbers that look random and are the same each time (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn act(&mut self) -> Act {
        match self.below(8) {
            0 => Act::TakeAndBreak,
            1 => Act::Break,
            2 => Act::Refuse(ttrpc::Code::UNKNOWN),
            3 => Act::Away(Duration::from_secs(self.below(100))),
            4 => Act::TakeAfter(Duration::from_secs(self.below(100))),
            5 => Act::Silence,
            _ => Act::Take,
        }
    }
}
