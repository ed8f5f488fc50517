use super::*;

#[test]
fn a_variable_has_its_value_or_takes_the_one_from_here() {
    let entry = |text: &str| {
        let here = |name: &str| (name == "HOME").then(|| "/root".to_owned());
        text.parse::<EnvVar>().unwrap().entry(here)
    };
    assert_eq!(entry("A=b=c"), Some("A=b=c".to_owned()));
    assert_eq!(entry("A="), Some("A=".to_owned()));
    assert_eq!(entry("HOME"), Some("HOME=/root".to_owned()));
    assert_eq!(entry("ABSENT"), None);
    for text in ["", "=x"] {
        assert!(text.parse::<EnvVar>().is_err(), "{text:?}");
    }
}

#[test]
fn sizes_have_units_of_1024() {
    let bytes = |text: &str| text.parse::<Bytes>().map(|bytes| bytes.0);
    assert_eq!(bytes("4096"), Ok(4096));
    assert_eq!(bytes("64m"), Ok(64 << 20));
    assert_eq!(bytes("1GiB"), Ok(1 << 30));
    for text in ["", "0", "m", "-1", "12x", "9999999t", "64 m"] {
        assert!(bytes(text).is_err(), "{text:?}");
    }
}

#[test]
fn processors_are_a_quota_of_100_ms() {
    let quota = |text: &str| text.parse::<Cpus>().map(Cpus::quota_us);
    assert_eq!(quota("0.5"), Ok(50_000));
    assert_eq!(quota("2"), Ok(200_000));
    assert_eq!(quota("1.25"), Ok(125_000));
    assert_eq!(quota(".01"), Ok(1_000));
    for text in [
        "",
        "0",
        "0.001",
        "-1",
        "1e3",
        "1.123456",
        "99999999999",
        "half",
    ] {
        assert!(quota(text).is_err(), "{text:?}");
    }
}

#[test]
fn users_are_numbers() {
    let user = |text: &str| text.parse::<User>();
    assert_eq!(user("1000"), Ok(User { uid: 1000, gid: 0 }));
    assert_eq!(user("1:2"), Ok(User { uid: 1, gid: 2 }));
    for text in ["", "root", "1:", "1:users", "-1", "4294967295", "1:2:3"] {
        assert!(user(text).is_err(), "{text:?}");
    }
}

#[test]
fn volumes_are_binds_of_paths() {
    let mount = volume("./data:/srv:ro").unwrap();
    assert_eq!(mount.source, Source::Bind(PathBuf::from("./data")));
    assert_eq!(mount.destination, "/srv");
    assert!(mount.read_only);
    assert!(!volume("/a:/b").unwrap().read_only);
    for text in [
        "",
        "/a",
        "data:/srv",
        "/a:b",
        "/a:/",
        "/a:/b:rx",
        "/a:/b:ro:z",
    ] {
        assert!(volume(text).is_err(), "{text:?}");
    }
}

#[test]
fn mounts_are_binds_or_tmpfs() {
    let bind = mount("type=bind,src=/a,dst=/b,ro").unwrap();
    assert_eq!(bind, volume("/a:/b:ro").unwrap());
    assert_eq!(
        mount("source=/a,target=/b").unwrap(),
        volume("/a:/b").unwrap()
    );
    let tmpfs = mount("type=tmpfs,dst=/t,size=1m").unwrap();
    assert_eq!(tmpfs.source, Source::Tmpfs(Some(1 << 20)));
    for text in [
        "type=bind,dst=/b",
        "type=bind,src=/a",
        "type=tmpfs,src=/a,dst=/b",
        "type=volume,src=/a,dst=/b",
        "src=/a,dst=/b,size=1m",
        "src=/a,dst=/b,colour=red",
        "src=/a,dst=/b,ro=perhaps",
    ] {
        assert!(mount(text).is_err(), "{text:?}");
    }
}
