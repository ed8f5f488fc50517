//! What a module can be run as: kept, bounded, and found out where it is damaged.

use super::{Place, artifact, key, place};
use crate::{Exports, Flaw, Function, Kind, Type, Wasi};
use std::fs;

fn function(name: &str) -> Function {
    let text = |text: &str, has_text| Type {
        text: text.to_owned(),
        has_text,
    };
    Function {
        name: name.to_owned(),
        params: vec![text("i32", true), text("v128", false)],
        results: vec![text("list<u8>", true)],
    }
}

fn exports() -> Exports {
    let mut exports = Exports::new(Kind::Component);
    exports.commands.extend([Wasi::Preview1, Wasi::V0_2]);
    exports.servers.push(Wasi::V0_3);
    exports.push(|| function("add"));
    exports.push(|| function("own:lib/\u{e4}@1.0.0#f"));
    exports
}

/// Stores code with this behind it; what is read of it then.
fn stored(place: &Place, behind: &[u8]) -> Result<Exports, Flaw> {
    let key = key(1);
    place.insert(&key, &[artifact(1000).as_slice(), behind].concat());
    Exports::of_stored(&place.good(&key))
}

#[test]
fn what_was_put_behind_the_code_is_read() {
    let place = place();
    for exports in [exports(), Exports::new(Kind::Module)] {
        let read = stored(&place, &exports.encode()).unwrap();
        assert_eq!(read, exports);
        // It can go on to grow.
        let mut grown = read;
        grown.push(|| function("more"));
        assert_eq!(grown.functions().len(), exports.functions().len() + 1);
    }
}

#[test]
fn an_artifact_without_it_is_flawed() {
    let place = place();
    assert_eq!(stored(&place, b""), Err(Flaw::Exports));
    let key = key(2);
    place.insert(&key, &artifact(9));
    assert_eq!(Exports::of_stored(&place.good(&key)), Err(Flaw::Exports));
}

#[test]
fn every_changed_or_missing_byte_is_found() {
    let place = place();
    let good = exports().encode();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert_eq!(stored(&place, &bad), Err(Flaw::Exports), "byte {at}");
    }
    assert_eq!(stored(&place, &good[..good.len() - 1]), Err(Flaw::Exports));
    // Of another file.
    fs::write(place.file_of(&key(1)), b"short").unwrap();
    let file = fs::File::open(place.file_of(&key(1))).unwrap();
    assert_eq!(Exports::of_stored(&file), Err(Flaw::Length));
}

#[test]
fn more_functions_than_fit_are_counted() {
    let mut exports = Exports::new(Kind::Module);
    for n in 0..100_000 {
        exports.push(|| function(&format!("function{n}")));
    }
    let kept = exports.functions().len();
    assert!(kept > 1000);
    assert_eq!(kept + usize::try_from(exports.more()).unwrap(), 100_000);
    let encoded = exports.encode();
    assert!(encoded.len() < 129 << 10, "{}", encoded.len());
    assert_eq!(stored(&place(), &encoded).unwrap(), exports);
    // One that is too long by itself leaves no room for others: their order would not be kept.
    let mut exports = Exports::new(Kind::Module);
    exports.push(|| function(&"x".repeat(200_000)));
    exports.push(|| function("short"));
    assert_eq!((exports.functions().len(), exports.more()), (0, 2));
}
