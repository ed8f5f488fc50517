//! Looking at a store and making room in it.

use super::{artifact, key, place};
use crate::{Found, Key, Removed, Store, is_touch_due};
use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::{Duration, SystemTime};

/// Makes the artifact of a key this old, and never used since.
fn age(place: &super::Place, key: &Key, seconds: u64) {
    let time = SystemTime::now() - Duration::from_secs(seconds);
    let file = File::open(place.file_of(key)).unwrap();
    let times = FileTimes::new().set_modified(time).set_accessed(time);
    file.set_times(times).unwrap();
}

#[test]
fn entries_are_the_artifacts_from_old_to_new() {
    let place = place();
    assert_eq!(place.store.entries().unwrap(), []);
    for (number, length, seconds) in [(1, 100, 50), (2, 200, 90), (3, 300, 10)] {
        place.insert(&key(number), &artifact(length));
        age(&place, &key(number), seconds);
    }
    for other in [
        "engine",
        "tmp.1.0",
        &"F".repeat(64),
        &"0".repeat(63),
        &format!("{}.lock", key(1)),
    ] {
        fs::write(place.path.join(other), b"").unwrap();
    }
    let entries = place.store.entries().unwrap();
    let found: Vec<_> = entries
        .iter()
        .map(|entry| (entry.key, entry.size))
        .collect();
    assert_eq!(found, [(key(2), 248), (key(1), 148), (key(3), 348)]);
    let oldest = entries[0].stored.elapsed().unwrap().as_secs();
    assert!((90..100).contains(&oldest), "{oldest}");
    assert_eq!(place.store.unfinished().unwrap(), 2);
    assert_eq!(place.store.sweep(), 2);
    assert_eq!(place.store.unfinished().unwrap(), 0);
}

#[test]
fn a_store_that_is_looked_at_is_not_made() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    assert!(Store::existing(&path).unwrap().is_none());
    assert!(Store::existing(&path.join("below")).unwrap().is_none());
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    let store = Store::existing(&path).unwrap().unwrap();
    let why = store.unfit().unwrap().unwrap();
    assert!(why.contains("755") && why.contains("chmod 700"), "{why}");
    fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    assert_eq!(store.unfit().unwrap(), None);
    symlink("store", directory.path().join("link")).unwrap();
    let refused = Store::existing(&directory.path().join("link")).unwrap_err();
    assert!(refused.to_string().ends_with("it is not a directory"));
}

#[test]
fn an_artifact_is_removed_unless_somebody_has_its_lock() {
    let place = place();
    place.insert(&key(1), &artifact(100));
    let lock = place.store.try_lock(&key(1)).unwrap();
    assert_eq!(place.store.remove(&key(1)).unwrap(), Removed::Busy);
    place.good(&key(1));
    drop(lock);
    let opened = place.good(&key(1));
    assert_eq!(place.store.remove(&key(1)).unwrap(), Removed::Yes);
    assert_eq!(place.store.remove(&key(1)).unwrap(), Removed::Absent);
    crate::verify(&opened, &key(1)).unwrap();
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn only_what_is_bad_is_removed_as_bad() {
    let place = place();
    place.insert(&key(1), &artifact(1000));
    assert!(matches!(
        place.store.examine(&key(1)).unwrap(),
        Found::Good(_)
    ));
    assert_eq!(place.store.remove_bad(&key(1)).unwrap(), Removed::Good);
    // One byte in the middle: nothing but reading it all finds that.
    let path = place.file_of(&key(1));
    let mut bytes = fs::read(&path).unwrap();
    bytes[500] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
    place.good(&key(1));
    assert!(matches!(
        place.store.examine(&key(1)).unwrap(),
        Found::Bad(crate::Flaw::Digest)
    ));
    let lock = place.store.try_lock(&key(1)).unwrap();
    assert_eq!(place.store.remove_bad(&key(1)).unwrap(), Removed::Busy);
    drop(lock);
    assert_eq!(place.store.remove_bad(&key(1)).unwrap(), Removed::Yes);
    assert_eq!(place.store.remove_bad(&key(1)).unwrap(), Removed::Absent);
    // A link is removed, not what it leads to.
    fs::write(place.path.with_file_name("target"), b"").unwrap();
    symlink("../target", place.file_of(&key(2))).unwrap();
    assert_eq!(place.store.remove_bad(&key(2)).unwrap(), Removed::Yes);
    assert!(place.path.with_file_name("target").exists());
}

#[test]
fn the_oldest_artifacts_are_evicted_first_and_nothing_else() {
    let place = place();
    for (number, seconds) in [(1, 9), (2, 7), (3, 8), (4, 1)] {
        place.insert(&key(number), &artifact(52));
        age(&place, &key(number), seconds);
    }
    fs::write(place.path.join("engine"), "x".repeat(1000)).unwrap();
    let left = |numbers: &[u8]| {
        let mut names: Vec<_> = numbers.iter().map(|n| key(*n).to_string()).collect();
        names.push("engine".to_owned());
        names.sort();
        names
    };
    place.store.evict(&key(1), 400);
    assert_eq!(place.names(), left(&[1, 2, 3, 4]));
    // The oldest of all is the one that was just stored, the next is in use.
    let lock = place.store.try_lock(&key(3)).unwrap();
    place.store.evict(&key(1), 300);
    drop(lock);
    assert_eq!(place.names(), left(&[1, 3, 4]));
    place.store.evict(&key(1), 250);
    assert_eq!(place.names(), left(&[1, 4]));
}

#[test]
fn what_is_used_again_is_not_driven_out_by_what_never_is() {
    let place = place();
    let size = fs::metadata({
        place.insert(&key(1), &artifact(52));
        place.file_of(&key(1))
    });
    let size = size.unwrap().len();
    // The first three were used again, the last of them not for longest; all others only came.
    for number in 1..=8 {
        place.insert(&key(number), &artifact(52));
        age(&place, &key(number), 1000 - u64::from(number));
    }
    let used = |number: u8, seconds: u64| {
        let file = fs::File::options()
            .read(true)
            .open(place.file_of(&key(number)))
            .unwrap();
        let stored = SystemTime::now() - Duration::from_secs(90_000);
        let used = SystemTime::now() - Duration::from_secs(seconds);
        let times = FileTimes::new().set_modified(stored).set_accessed(used);
        file.set_times(times).unwrap();
    };
    for (number, seconds) in [(1, 5000), (2, 6000), (3, 7000)] {
        used(number, seconds);
    }
    // Half of the room is for two of the three.
    place.store.evict(&key(8), 4 * size);
    let mut left: Vec<_> = [1, 2, 7, 8].iter().map(|n| key(*n).to_string()).collect();
    left.sort();
    assert_eq!(place.names(), left);
    place.store.evict(&key(8), 2 * size);
    let mut left: Vec<_> = [1, 8].iter().map(|n| key(*n).to_string()).collect();
    left.sort();
    assert_eq!(place.names(), left);
}

#[test]
fn an_artifact_that_is_used_outlives_younger_ones() {
    const DAY: u64 = 86_400;
    let place = place();
    for (number, days) in [(1, 9), (2, 2), (3, 1)] {
        place.insert(&key(number), &artifact(52));
        age(&place, &key(number), days * DAY);
    }
    let stored = |number| {
        place
            .store
            .entries()
            .unwrap()
            .iter()
            .find(|e| e.key == key(number))
            .unwrap()
            .stored
    };
    let before = stored(1);
    assert!(is_touch_due(&place.good(&key(1))));
    // Looking through everything is no use.
    place.store.examine(&key(2)).unwrap();
    assert!(is_touch_due(&place.good(&key(2))));
    place.store.touch(&key(1)).unwrap();
    assert!(!is_touch_due(&place.good(&key(1))));
    assert_eq!(stored(1), before);
    place.store.touch(&key(7)).unwrap();
    let order: Vec<_> = place
        .store
        .entries()
        .unwrap()
        .iter()
        .map(|e| e.key)
        .collect();
    assert_eq!(order, [key(2), key(3), key(1)]);
    place.store.evict(&key(7), 100);
    assert_eq!(place.names(), [key(1).to_string()]);
}

#[test]
fn a_fresh_artifact_is_not_touched_again() {
    let place = place();
    place.insert(&key(1), &artifact(52));
    assert!(!is_touch_due(&place.good(&key(1))));
    age(&place, &key(1), 1800);
    assert!(!is_touch_due(&place.good(&key(1))));
}

#[test]
fn keys_are_read_from_names_as_they_are_written() {
    assert_eq!(Key::from_name(&key(7).to_string()), Some(key(7)));
    for other in [
        "",
        &"0".repeat(63),
        &"0".repeat(65),
        &"F".repeat(64),
        &"g".repeat(64),
        &format!("+{}", "0".repeat(63)),
    ] {
        assert_eq!(Key::from_name(other), None, "{other:?}");
    }
}
