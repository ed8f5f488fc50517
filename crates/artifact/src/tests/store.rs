//! The directory: preparing it, inserting, locking, remembering.

use super::{artifact, file, key, place};
use crate::{CompilerIdentity, EngineId, Error, Found, Store, verify};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::sync::Barrier;

#[test]
fn what_is_inserted_is_found_as_it_was() {
    let place = place();
    assert!(matches!(place.store.open(&key(1)).unwrap(), Found::Absent));
    for length in [8, 4096, 128 << 10, (128 << 10) + 1, 1_000_000] {
        let content = artifact(length);
        place.insert(&key(1), &content);
        let found = place.good(&key(1));
        verify(&found, &key(1)).unwrap();
        let mut bytes = vec![0; length];
        found.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes == content);
        assert_eq!(found.metadata().unwrap().len(), length as u64 + 48);
    }
    // Neither temporary files nor locks stay.
    assert_eq!(place.names(), [key(1).to_string()]);
    assert!(matches!(place.store.open(&key(2)).unwrap(), Found::Absent));
}

#[test]
fn only_artifacts_are_inserted() {
    let place = place();
    for content in [
        &b""[..],
        b"\x7fELF",
        b"\x7fELF\x02\x01\x01\x03....",
        b"\0asm\x01\0\0\0",
    ] {
        let refused = place.store.insert(&key(1), &file(content)).unwrap_err();
        assert_eq!(refused, Error::NotAnArtifact);
    }
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn inserts_at_the_same_time_leave_one_whole_file() {
    let place = place();
    let (small, large) = (artifact(100), artifact(500_000));
    let barrier = Barrier::new(4);
    std::thread::scope(|scope| {
        for content in [&small, &large, &small, &large] {
            scope.spawn(|| {
                let file = file(content);
                barrier.wait();
                for _ in 0..20 {
                    place.store.insert(&key(1), &file).unwrap();
                    verify(&place.good(&key(1)), &key(1)).unwrap();
                }
            });
        }
    });
    assert_eq!(place.names(), [key(1).to_string()]);
}

#[test]
fn a_lock_excludes_and_leaves_nothing() {
    let place = place();
    let lock = place.store.try_lock(&key(1)).unwrap().unwrap();
    assert!(place.store.try_lock(&key(1)).unwrap().is_none());
    let other = place.store.try_lock(&key(2)).unwrap().unwrap();
    // An insert, which sweeps, does not take a lock away.
    place.insert(&key(3), &artifact(8));
    assert!(place.store.try_lock(&key(1)).unwrap().is_none());
    drop(lock);
    drop(place.store.try_lock(&key(1)).unwrap().unwrap());
    drop(other);
    assert_eq!(place.names(), [key(3).to_string()]);
}

#[test]
fn one_of_many_has_the_lock_at_any_time() {
    let place = place();
    let inside = std::sync::atomic::AtomicU32::new(0);
    let order = std::sync::atomic::Ordering::SeqCst;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let lock = loop {
                        if let Some(lock) = place.store.try_lock(&key(1)).unwrap() {
                            break lock;
                        }
                        std::thread::yield_now();
                    };
                    assert_eq!(inside.fetch_add(1, order), 0);
                    std::thread::yield_now();
                    inside.fetch_sub(1, order);
                    drop(lock);
                }
            });
        }
    });
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn leftovers_of_the_dead_are_swept_and_those_of_the_living_are_not() {
    let place = place();
    let lock = format!("{}.lock", key(2));
    for name in ["tmp.1.0", "tmp.4194304.7", "slot0.lock", &lock] {
        fs::write(place.path.join(name), b"half").unwrap();
    }
    fs::write(place.path.join("tmp.2.0"), b"half").unwrap();
    let alive = File::open(place.path.join("tmp.2.0")).unwrap();
    alive.try_lock().unwrap();
    place.insert(&key(1), &artifact(8));
    let mut left = vec![key(1).to_string(), "tmp.2.0".to_owned()];
    left.sort();
    assert_eq!(place.names(), left);
    drop(alive);
    place.insert(&key(1), &artifact(8));
    assert_eq!(place.names(), [key(1).to_string()]);
}

#[test]
fn a_directory_is_made_for_us_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/b/store");
    Store::prepare(&path).unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o700);
    assert_eq!(metadata.uid(), nix::unistd::geteuid().as_raw());
    Store::prepare(&path).unwrap();
}

fn refusal(path: &std::path::Path) -> String {
    let message = Store::prepare(path).unwrap_err().to_string();
    let rest = message.strip_prefix(&format!("artifact store {}: ", path.display()));
    rest.unwrap().to_owned()
}

#[test]
fn a_directory_that_is_not_safe_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("file"), b"").unwrap();
    assert_eq!(refusal(&path("file")), "it is not a directory");
    fs::create_dir(path("real")).unwrap();
    fs::set_permissions(path("real"), Permissions::from_mode(0o700)).unwrap();
    symlink("real", path("link")).unwrap();
    assert_eq!(refusal(&path("link")), "it is not a directory");
    assert_eq!(refusal(&path("file/below")), "making it: File exists");
    for mode in [0o755, 0o710, 0o701, 0o1777] {
        fs::set_permissions(path("real"), Permissions::from_mode(mode)).unwrap();
        assert_eq!(
            refusal(&path("real")),
            format!(
                "its mode is {mode:03o}, but no other user may have access: run chmod 700 on it"
            )
        );
    }
    fs::set_permissions(path("real"), Permissions::from_mode(0o700)).unwrap();
    Store::prepare(&path("real")).unwrap();
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(path("real"), Some(1000), None).unwrap();
        assert_eq!(
            refusal(&path("real")),
            "it belongs to uid 1000, but must belong to uid 0: run chown 0 on it"
        );
    }
}

#[test]
fn the_engine_id_is_remembered_for_one_binary() {
    let place = place();
    let binary = place.path.with_file_name("compiler");
    fs::write(&binary, b"one").unwrap();
    let first = CompilerIdentity::of(&fs::metadata(&binary).unwrap());
    let id = EngineId::parse("wasmtime-48.0.8 0123").unwrap();
    assert_eq!(place.store.engine_id(&first), None);
    place.store.remember_engine_id(&first, &id).unwrap();
    assert_eq!(place.store.engine_id(&first), Some(id.clone()));

    // Another binary, even of the same size and name, is asked again.
    fs::write(place.path.with_file_name("new"), b"two").unwrap();
    fs::rename(place.path.with_file_name("new"), &binary).unwrap();
    let second = CompilerIdentity::of(&fs::metadata(&binary).unwrap());
    assert_eq!(place.store.engine_id(&second), None);
    let other = EngineId::parse("wasmtime-48.0.9 0123").unwrap();
    place.store.remember_engine_id(&second, &other).unwrap();
    assert_eq!(place.store.engine_id(&second), Some(other));
    assert_eq!(place.store.engine_id(&first), None);

    // What others may have written, or what is no id, is not believed.
    let path = place.path.join("engine");
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    assert_eq!(place.store.engine_id(&second), None);
    let text = fs::read_to_string(&path).unwrap();
    let (asked, _) = text.split_once('\n').unwrap();
    for bad in [
        "",
        "no line end",
        &format!("{asked}\n"),
        &format!("{asked}\na\nb\n"),
    ] {
        fs::remove_file(&path).unwrap();
        fs::write(&path, bad).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
        assert_eq!(place.store.engine_id(&second), None, "{bad:?}");
    }
    assert_eq!(place.names(), ["engine"]);
}

#[test]
fn files_of_others_are_never_swept() {
    let place = place();
    let mut foreign = ["tmp.x", "tmp.1", ".pwd.lock", "0123.lock", "slot.lock"];
    for name in foreign {
        fs::write(place.path.join(name), b"").unwrap();
    }
    assert_eq!(place.store.sweep(), 0);
    foreign.sort_unstable();
    assert_eq!(place.names(), foreign);
    assert_eq!(place.store.unfinished().unwrap(), 0);
}
