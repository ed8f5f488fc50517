//! Which module an image is.

use super::place;
use crate::{ImageId, ModuleDigest};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

fn image(target: &str) -> ImageId {
    ImageId {
        address: "/run/c.sock".to_owned(),
        namespace: "n".to_owned(),
        target: target.to_owned(),
    }
}

#[test]
fn an_image_is_remembered_until_it_is_forgotten() {
    let place = place();
    let module = |number| ModuleDigest::from_bytes([number; 32]);
    let (one, two) = (image("sha256:1"), image("sha256:2"));
    assert_eq!(place.store.image_module(&one), None);
    place.store.remember_image(&one, &module(1)).unwrap();
    place.store.remember_image(&two, &module(2)).unwrap();
    place.store.remember_image(&two, &module(3)).unwrap();
    assert_eq!(place.store.image_module(&one), Some(module(1)));
    assert_eq!(place.store.image_module(&two), Some(module(3)));
    let elsewhere = ImageId {
        namespace: "m".to_owned(),
        ..image("sha256:1")
    };
    assert_eq!(place.store.image_module(&elsewhere), None);
    let mut all = place.store.images().unwrap();
    all.sort_by(|a, b| a.0.target.cmp(&b.0.target));
    assert_eq!(all, [(one.clone(), module(1)), (two, module(3))]);
    place.store.forget_image(&one).unwrap();
    place.store.forget_image(&one).unwrap();
    assert_eq!(place.store.image_module(&one), None);
    assert_eq!(place.store.images().unwrap().len(), 1);
    assert_eq!((place.store.sweep(), place.names().len()), (0, 1));
}

#[test]
fn only_what_we_wrote_is_believed() {
    let place = place();
    let one = image("sha256:1");
    let remembered = || place.store.image_module(&one);
    place
        .store
        .remember_image(&one, &ModuleDigest::from_bytes([1; 32]))
        .unwrap();
    let path = place.path.join(&place.names()[0]);
    let good = fs::read(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    assert_eq!(remembered(), None);
    let text = String::from_utf8(good.clone()).unwrap();
    for bad in [
        "",
        "nothing\n",
        &text.replace("sha256:1", "sha256:2"),
        &text.replacen('0', "g", 1),
    ] {
        fs::remove_file(&path).unwrap();
        fs::write(&path, bad).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
        assert_eq!(remembered(), None, "{bad:?}");
        assert_eq!(place.store.images().unwrap(), []);
    }
    fs::remove_file(&path).unwrap();
    fs::write(&path, good).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
    assert!(remembered().is_some());
}

#[test]
fn a_name_with_a_line_break_is_not_written_down() {
    let place = place();
    let odd = image("sha256:1\nsha256:2");
    let module = ModuleDigest::from_bytes([1; 32]);
    place.store.remember_image(&odd, &module).unwrap();
    assert_eq!(place.store.image_module(&odd), None);
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn digests_are_read_as_they_are_written() {
    let digest = ModuleDigest::of_bytes(b"module");
    assert_eq!(ModuleDigest::parse(&digest.to_string()), Some(digest));
    assert_eq!(
        ModuleDigest::parse(&format!("sha256:{digest}")),
        Some(digest)
    );
    for wrong in [
        "",
        "sha256:",
        "sha512:00",
        &digest.to_string().to_uppercase(),
    ] {
        assert_eq!(ModuleDigest::parse(wrong), None, "{wrong:?}");
    }
}
