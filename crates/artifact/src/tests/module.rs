//! Digests, snapshots, keys and ids.

use super::{artifact, file, key};
use crate::{EngineId, Error, Key, ModuleDigest, digest, is_artifact, snapshot};
use nix::errno::Errno;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

/// SHA-256 of "abc" (FIPS 180-2, B.1).
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

#[test]
fn a_digest_covers_the_whole_file_and_leaves_its_position() {
    let mut module = file(b"abc");
    assert_eq!(digest(&module, 3).unwrap().to_string(), ABC);
    module.seek(std::io::SeekFrom::Start(2)).unwrap();
    let found = digest(&module, 100).unwrap();
    assert_eq!(found.to_string(), ABC);
    assert_eq!(module.stream_position().unwrap(), 2);
    assert_eq!(ModuleDigest::from_bytes(*found.as_bytes()), found);

    // More than one piece, and a length that is no multiple of one.
    let long = vec![7; 300_001];
    let mut other = long.clone();
    other[300_000] = 8;
    let of = |content: &[u8]| digest(&file(content), u64::MAX).unwrap();
    assert_eq!(of(&long), of(&long));
    assert_ne!(of(&long), of(&other));
    assert_ne!(of(&long), of(&long[1..]));
}

#[test]
fn only_regular_files_within_the_limit_are_digested() {
    let errno = |file: &File, limit| digest(file, limit).unwrap_err().raw_os_error();
    assert_eq!(errno(&file(b"abc"), 2), Some(Errno::EFBIG as i32));
    assert_eq!(
        errno(&File::open("/").unwrap(), 9),
        Some(Errno::EINVAL as i32)
    );
    let null = File::open("/dev/null").unwrap();
    assert_eq!(errno(&null, 9), Some(Errno::EINVAL as i32));
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
    let fifo = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(fifo)
        .unwrap();
    assert_eq!(errno(&fifo, 9), Some(Errno::EINVAL as i32));
}

#[test]
fn a_snapshot_is_sealed_and_at_its_beginning() {
    let content = vec![3; 200_000];
    let module = file(&content);
    let expected = digest(&module, u64::MAX).unwrap();
    let mut copy = File::from(snapshot(&module, 200_000, &expected).unwrap());
    let mut read = Vec::new();
    copy.read_to_end(&mut read).unwrap();
    assert!(read == content);
    let refused = copy.write_all(b"x").unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(Errno::EPERM as i32));
    assert_eq!(
        copy.set_len(1).unwrap_err().raw_os_error(),
        Some(Errno::EPERM as i32)
    );
}

#[test]
fn a_snapshot_of_another_content_is_refused() {
    let mut module = file(b"abc");
    let expected = digest(&module, 9).unwrap();
    module.write_all(b"d").unwrap();
    assert_eq!(snapshot(&module, 9, &expected).unwrap_err(), Error::Changed);
    let large = Error::TooLarge { limit: 3 };
    assert_eq!(snapshot(&module, 3, &expected).unwrap_err(), large);
    let directory = File::open("/").unwrap();
    let no_file = Error::Module(Errno::EINVAL);
    assert_eq!(snapshot(&directory, 3, &expected).unwrap_err(), no_file);
}

#[test]
fn keys_differ_by_module_and_engine() {
    let engine = |text: &str| EngineId::parse(text).unwrap();
    let module = |n| ModuleDigest::from_bytes([n; 32]);
    let keys = [
        Key::new(&module(1), &engine("a b")),
        Key::new(&module(2), &engine("a b")),
        Key::new(&module(1), &engine("a bc")),
        Key::new(&module(1), &engine("a")),
    ];
    for (i, one) in keys.iter().enumerate() {
        for other in &keys[i + 1..] {
            assert_ne!(one, other);
        }
    }
    assert_eq!(Key::new(&module(1), &engine("a b\n")), keys[0]);
    assert_eq!(Key::from_bytes(*key(1).as_bytes()), key(1));
    let name = key(1).to_string();
    assert!(name.len() == 64 && name.bytes().all(|b| b"0123456789abcdef".contains(&b)));
}

#[test]
fn an_engine_id_is_one_printable_line() {
    for good in ["x", "wasmtime-48.0.8 0af3", "x\n", &"x".repeat(200)] {
        assert_eq!(EngineId::parse(good).unwrap().as_str(), good.trim_end());
    }
    for bad in [
        "",
        "\n",
        "a\nb",
        "a\n\n",
        "a\tb",
        "a\0",
        "ä",
        "a\r\n",
        &"x".repeat(201),
    ] {
        assert!(EngineId::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn artifacts_are_told_by_their_first_bytes() {
    assert!(is_artifact(&artifact(8)));
    assert!(is_artifact(&artifact(100)));
    assert!(!is_artifact(&artifact(8)[..7]));
    assert!(!is_artifact(b""));
    let program = std::fs::read("/proc/self/exe").unwrap();
    assert!(program.starts_with(b"\x7fELF") && !is_artifact(&program));
}
