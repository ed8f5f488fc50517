//! Whatever is wrong with a stored file is found.

use super::{Place, artifact, key, place};
use crate::{Flaw, Found, Key, verify};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

/// Stores an artifact, does something to its file, and says what is found.
fn flaw_after(spoil: impl FnOnce(&Place, &Path)) -> Option<Flaw> {
    let place = place();
    place.insert(&key(1), &artifact(1000));
    spoil(&place, &place.file_of(&key(1)));
    flaw(&place, &key(1))
}

fn flaw(place: &Place, key: &Key) -> Option<Flaw> {
    match place.store.open(key).unwrap() {
        Found::Good(file) => verify(&file, key).err(),
        Found::Bad(flaw) => Some(flaw),
        Found::Absent => panic!("absent"),
    }
}

/// Puts these bytes in place of a file that is as it must be otherwise.
fn replace(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o444)).unwrap();
}

#[test]
fn an_untouched_file_has_none() {
    assert_eq!(flaw_after(|_, _| {}), None);
    // Writing it anew is no flaw either: what counts is what it is.
    let rewrite = |_: &Place, path: &Path| replace(path, &fs::read(path).unwrap());
    assert_eq!(flaw_after(rewrite), None);
}

#[test]
fn mode_and_links() {
    for mode in [0o400, 0o600, 0o644, 0o440, 0o555, 0o000, 0o4444] {
        let spoil = |_: &Place, path: &Path| {
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        };
        assert_eq!(flaw_after(spoil), Some(Flaw::Mode(mode)));
    }
    let link = |place: &Place, path: &Path| {
        fs::hard_link(path, place.path.join("other")).unwrap();
    };
    assert_eq!(flaw_after(link), Some(Flaw::Links(2)));
    assert_eq!(Flaw::Mode(0o644).to_string(), "mode 644");
    assert_eq!(Flaw::Links(2).to_string(), "2 links");
}

/// Needs root, as all of hull does; anybody else cannot give files away.
#[test]
fn owner() {
    if !nix::unistd::geteuid().is_root() {
        let denied = std::os::unix::fs::chown("/", Some(1000), None).unwrap_err();
        assert_eq!(denied.kind(), std::io::ErrorKind::PermissionDenied);
        return;
    }
    let give_away = |_: &Place, path: &Path| {
        std::os::unix::fs::chown(path, Some(1000), None).unwrap();
    };
    assert_eq!(flaw_after(give_away), Some(Flaw::Owner(1000)));
    assert_eq!(Flaw::Owner(1000).to_string(), "owned by uid 1000");
}

#[test]
fn type_of_file() {
    let kinds: [fn(&Path); 4] = [
        |path| symlink("/etc/passwd", path).unwrap(),
        |path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRUSR).unwrap(),
        |path| fs::create_dir(path).unwrap(),
        |path| drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
    ];
    for make in kinds {
        let spoil = |_: &Place, path: &Path| {
            fs::remove_file(path).unwrap();
            make(path);
        };
        assert_eq!(flaw_after(spoil), Some(Flaw::Type));
    }
    // A link to a good file is no good file.
    let moved = |place: &Place, path: &Path| {
        fs::rename(path, place.path.join("elsewhere")).unwrap();
        symlink("elsewhere", path).unwrap();
    };
    assert_eq!(flaw_after(moved), Some(Flaw::Type));
}

#[test]
fn any_other_length() {
    let place = place();
    place.insert(&key(1), &artifact(300));
    let path = place.file_of(&key(1));
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        replace(&path, &whole[..length]);
        let found = flaw(&place, &key(1));
        assert!(
            matches!(found, Some(Flaw::Length | Flaw::Trailer)),
            "{length} bytes: {found:?}"
        );
    }
    for more in [&b"x"[..], &[0; 48], &whole] {
        replace(&path, &[&whole, more].concat());
        assert!(flaw(&place, &key(1)).is_some());
    }
    // Cut while it is open: what is there is no longer what was checked.
    replace(&path, &whole);
    let open = place.good(&key(1));
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(100)
        .unwrap();
    assert_eq!(verify(&open, &key(1)), Err(Flaw::Trailer));
}

#[test]
fn any_other_bit() {
    let place = place();
    place.insert(&key(1), &artifact(100));
    let path = place.file_of(&key(1));
    let whole = fs::read(&path).unwrap();
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        replace(&path, &bytes);
        let want = match bit / 8 {
            100..108 => Flaw::Trailer,
            108..116 => Flaw::Length,
            _ => Flaw::Digest,
        };
        assert_eq!(flaw(&place, &key(1)), Some(want), "bit {bit}");
    }
}

#[test]
fn another_key() {
    let place = place();
    place.insert(&key(1), &artifact(100));
    fs::rename(place.file_of(&key(1)), place.file_of(&key(2))).unwrap();
    assert_eq!(flaw(&place, &key(2)), Some(Flaw::Digest));
    assert_eq!(verify(&place.good(&key(2)), &key(1)), Ok(()));
}

#[test]
fn a_flawed_file_is_replaced() {
    let place = place();
    place.insert(&key(1), &artifact(100));
    replace(&place.file_of(&key(1)), b"");
    assert_eq!(flaw(&place, &key(1)), Some(Flaw::Length));
    place.insert(&key(1), &artifact(100));
    assert_eq!(flaw(&place, &key(1)), None);
}
