//! Protobuf messages of containerd that `containerd-shim-protos` lacks, and the rules by which
//! containerd names a message inside an `Any`.
//!
//! `containerd.task.v2` is not here: its messages are field for field those of
//! `containerd.task.v3`, which `containerd-shim-protos` has.
#![forbid(unsafe_code)]

mod any;

pub use any::{message_name, pack};

/// Options for runtimes that bring their own configuration, and what CRI says of a pod.
#[allow(missing_docs, missing_debug_implementations, reason = "generated code")]
#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated code"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/protos/mod.rs"));
}

pub use generated::{cri, runctypes, runtimeoptions};

#[cfg(test)]
mod tests {
    use super::runtimeoptions::Options;
    use protobuf::Message;

    /// The bytes are those of `protoc --encode=runtimeoptions.v1.Options`, which agrees with
    /// containerd's own definition of the message.
    #[test]
    fn runtime_options_decode_from_the_bytes_of_protoc() {
        let bytes = b"\x0a\x01t\x12\x02/p\x1a\x03a=1";
        let options = Options::parse_from_bytes(bytes).unwrap();
        assert_eq!(options.type_url, "t");
        assert_eq!(options.config_path, "/p");
        assert_eq!(options.config_body, b"a=1");
    }
}
