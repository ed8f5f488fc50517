//! `start` as recorded for each range of containerd's versions.

use crate::protoc;
use crate::scene::{Call, DEFAULT_SOCKET_DIR, Scene};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/start");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixture {
    containerd: String,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    options: Option<Message>,
    stdin: Option<Message>,
    socket_dir: Option<String>,
    reply: Reply,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    message: String,
    text: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Reply {
    Plain,
    Protobuf,
}

#[test]
fn every_containerd_gets_the_reply_that_it_reads() {
    let mut replayed = 0;
    for entry in fs::read_dir(FIXTURES).unwrap() {
        let path = entry.unwrap().path();
        let fixture: Fixture = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        replay(&fixture);
        replayed += 1;
    }
    assert_eq!(replayed, 5, "fixtures are missing");
}

fn replay(fixture: &Fixture) {
    let mut scene = Scene::new();
    let (address, dir) = (scene.address(), scene.dir().display().to_string());
    let options = fixture.options.as_ref();
    let options = options.map(|o| protoc::escape(&protoc::encode(&o.message, &o.text)));
    let fill = |text: &str| {
        text.replace("{ADDRESS}", &address)
            .replace("{ID}", "c1")
            .replace("{DIR}", &dir)
            .replace("{OPTIONS}", options.as_deref().unwrap_or_default())
    };
    let args: Vec<String> = fixture.args.iter().map(|arg| fill(arg)).collect();
    let env: Vec<(&str, String)> = fixture
        .env
        .iter()
        .map(|(name, value)| (name.as_str(), fill(value)))
        .collect();
    let stdin = match &fixture.stdin {
        Some(stdin) => protoc::encode(&stdin.message, &fill(&stdin.text)),
        None => Vec::new(),
    };
    let socket_dir = fill(fixture.socket_dir.as_deref().unwrap_or(DEFAULT_SOCKET_DIR));
    let socket = scene.socket(Path::new(&socket_dir), "c1");
    let output = scene.call(
        "c1",
        &Call {
            args: &args.iter().map(String::as_str).collect::<Vec<_>>(),
            env: &env
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect::<Vec<_>>(),
            stdin: &stdin,
        },
    );

    let version = &fixture.containerd;
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{version}: {output:?}"
    );
    let expected = format!("unix://{}", socket.display());
    match fixture.reply {
        Reply::Plain => assert_eq!(output.stdout, expected.as_bytes(), "{version}"),
        Reply::Protobuf => {
            let text = protoc::decode("BootstrapResult", &output.stdout);
            let expected = format!("version: 2\naddress: \"{expected}\"\nprotocol: \"ttrpc\"\n");
            assert_eq!(text, expected, "{version}");
            // 2.3.0 trims white space off both ends before it decodes.
            assert_eq!(output.stdout.trim_ascii(), output.stdout, "{version}");
        }
    }
    assert_eq!(scene.daemons().len(), 1, "{version}");
}
