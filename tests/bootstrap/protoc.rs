//! protoc as the independent encoder and decoder.

use crate::scene::run;
use std::process::{Command, Output};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");

pub(crate) fn encode(message: &str, text: &str) -> Vec<u8> {
    protoc(&format!("--encode=fixture.{message}"), text.as_bytes()).stdout
}

pub(crate) fn decode(message: &str, bytes: &[u8]) -> String {
    let output = protoc(&format!("--decode=fixture.{message}"), bytes);
    String::from_utf8(output.stdout).unwrap()
}

/// Bytes as the inside of a string in protobuf text.
pub(crate) fn escape(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:03o}")).collect()
}

fn protoc(mode: &str, stdin: &[u8]) -> Output {
    let mut command = Command::new("protoc");
    command.args(["-I", FIXTURES, mode, "containerd.proto"]);
    let output = run(command, stdin);
    assert!(
        output.status.success(),
        "protoc {mode}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
