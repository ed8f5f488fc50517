//! What large files are known by.

use super::{Place, artifact, file, key, place};
use crate::notes::{Boot, limit};
use crate::{Error, Key, NOTED_SIZE, Sight};
use std::cell::Cell;
use std::fs::{File, FileTimes};
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, SystemTime};

fn large() -> Vec<u8> {
    artifact(usize::try_from(NOTED_SIZE).unwrap())
}

fn sight(file: &File) -> Option<Sight> {
    Sight::of(file, "here", &Boot::current().unwrap())
}

/// Notes a file as having the value 7; gives how often it was read.
fn note(place: &Place, file: &File) -> u32 {
    let reads = Cell::new(0);
    let read = || {
        reads.set(reads.get() + 1);
        Ok([7; 32])
    };
    place.store.note(|| sight(file), read).unwrap();
    reads.get()
}

/// Waits until a file does not count as changing any more.
fn settle(file: &File) {
    let changed = || {
        use std::os::unix::fs::MetadataExt as _;
        u64::try_from(file.metadata().unwrap().ctime()).unwrap()
    };
    while SystemTime::UNIX_EPOCH + Duration::from_secs(changed() + 2) > SystemTime::now() {
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_millis(10));
}

#[test]
fn small_files_are_never_noted() {
    let small = file(&vec![0; usize::try_from(NOTED_SIZE).unwrap() - 1]);
    assert_eq!(sight(&small), None);
    assert!(sight(&file(&large())).is_some());
}

#[test]
fn a_file_is_read_once_until_it_changes_in_any_way() {
    let place = place();
    let module = file(&large());
    // It may change again without its times telling.
    assert_eq!(note(&place, &module), 0);
    settle(&module);
    let first = sight(&module).unwrap();
    assert_eq!(place.store.recall(&first), None);
    assert_eq!((note(&place, &module), note(&place, &module)), (1, 0));
    assert_eq!(place.store.recall(&first), Some([7; 32]));
    // Another file system, another run of the machine.
    let boot = Boot::current().unwrap();
    let elsewhere = Sight::of(&module, "elsewhere", &boot).unwrap();
    assert_eq!(place.store.recall(&elsewhere), None);
    // A byte is changed and every time that can be set is set back.
    let before = module.metadata().unwrap();
    module.write_all_at(b"x", 1000).unwrap();
    let times = FileTimes::new()
        .set_modified(before.modified().unwrap())
        .set_accessed(before.accessed().unwrap());
    module.set_times(times).unwrap();
    assert_eq!(
        module.metadata().unwrap().modified().unwrap(),
        before.modified().unwrap()
    );
    assert_eq!(place.store.recall(&sight(&module).unwrap()), None);
    assert_eq!(place.names().len(), 1);
}

#[test]
fn a_file_that_changes_while_it_is_read_is_not_noted() {
    let place = place();
    let module = file(&large());
    settle(&module);
    let read = || {
        module.write_all_at(b"x", 1000).unwrap();
        Ok([7; 32])
    };
    place.store.note(|| sight(&module), read).unwrap();
    assert_eq!(place.names(), Vec::<String>::new());
    settle(&module);
    let failed = place.store.note(|| sight(&module), || Err(Error::Changed));
    assert_eq!(failed, Err(Error::Changed));
    assert_eq!(place.names(), Vec::<String>::new());
}

/// Noting that it is used changes the ctime of an artifact.
#[test]
fn an_artifact_is_still_known_after_it_was_used() {
    let place = place();
    let key = key(1);
    place.insert(&key, &large());
    let boot = Boot::current().unwrap();
    let look = |key: &Key| Sight::of_artifact(&place.good(key), key, &boot).unwrap();
    let before = look(&key);
    place.store.touch(&key).unwrap();
    assert_eq!(look(&key), before);
    let of_another = Sight::of_artifact(&place.good(&key), &super::key(2), &boot);
    assert_ne!(of_another.unwrap(), before);
}

#[test]
fn beyond_the_limit_the_older_half_goes() {
    let place = place();
    let mut names: Vec<String> = (0..6).map(|n| format!("note.{n:064x}")).collect();
    for (age, name) in names.iter().enumerate() {
        let file = File::create(place.path.join(name)).unwrap();
        let seconds = 1000 - u64::try_from(age).unwrap();
        let written = SystemTime::now() - Duration::from_secs(seconds);
        file.set_times(FileTimes::new().set_modified(written))
            .unwrap();
    }
    limit(place.store.directory(), 6);
    assert_eq!(place.names(), names);
    limit(place.store.directory(), 5);
    assert_eq!(place.names(), names.split_off(3));
}
