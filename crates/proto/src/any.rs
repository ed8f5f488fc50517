//! `google.protobuf.Any` as containerd uses it.

use protobuf::well_known_types::any::Any;
use protobuf::{Message, Result};

/// The full message name in a type URL: what follows the last `/`.
///
/// containerd itself writes the bare name, other clients put `type.googleapis.com/` or
/// `types.containerd.io/` before it
/// (<https://github.com/containerd/typeurl/blob/main/types.go>).
#[must_use]
pub fn message_name(type_url: &str) -> &str {
    type_url.rsplit('/').next().unwrap_or_default()
}

/// Packs a message under its full name, without a prefix, as containerd writes it.
///
/// The name is given and not looked up, because the look-up would build the descriptors of the
/// whole file in memory at run time.
///
/// # Errors
/// When the message cannot be encoded, which for proto3 happens only above 2 GiB.
pub fn pack(name: &str, message: &impl Message) -> Result<Any> {
    Ok(Any {
        type_url: name.to_owned(),
        value: message.write_to_bytes()?,
        ..Any::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_what_follows_the_last_slash() {
        assert_eq!(
            message_name("containerd.runc.v1.Options"),
            "containerd.runc.v1.Options"
        );
        assert_eq!(message_name("type.googleapis.com/a.B"), "a.B");
        assert_eq!(
            message_name("types.containerd.io/opencontainers/x/1/Y"),
            "Y"
        );
        assert_eq!(message_name(""), "");
    }
}
