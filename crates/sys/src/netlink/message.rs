//! The form of messages
//! ([netlink(7)](https://man7.org/linux/man-pages/man7/netlink.7.html),
//! [rtnetlink(7)](https://man7.org/linux/man-pages/man7/rtnetlink.7.html)): a header and a body, whose
//! end is a list of attributes; everything begins at a multiple of four bytes.

use crate::{Errno, Result};

/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Bytes of `struct rtattr`.
const ATTRIBUTE_HEADER: usize = 4;

/// A request under construction.
#[derive(Debug)]
pub(super) struct Request {
    kind: u16,
    flags: u16,
    body: Vec<u8>,
}

impl Request {
    /// Begins one with the fixed part of its body.
    pub(super) fn new(kind: u16, flags: u16, fixed: &[&[u8]]) -> Self {
        let mut body = fixed.concat();
        pad(&mut body);
        Self { kind, flags, body }
    }

    /// Adds an attribute.
    ///
    /// # Errors
    /// `EMSGSIZE` beyond 64 KiB.
    pub(super) fn attribute(&mut self, kind: u16, value: &[u8]) -> Result<()> {
        let len = ATTRIBUTE_HEADER.saturating_add(value.len());
        let len = u16::try_from(len).map_err(|_| Errno::EMSGSIZE)?;
        self.body.extend(len.to_ne_bytes());
        self.body.extend(kind.to_ne_bytes());
        self.body.extend(value);
        pad(&mut self.body);
        Ok(())
    }

    /// Adds an attribute that is text, with its final NUL.
    ///
    /// # Errors
    /// `EINVAL` for text with a NUL in it.
    pub(super) fn text(&mut self, kind: u16, text: &str) -> Result<()> {
        let text = std::ffi::CString::new(text).map_err(|_| Errno::EINVAL)?;
        self.attribute(kind, text.as_bytes_with_nul())
    }

    /// The whole message, under a number by which its answers are known.
    ///
    /// # Errors
    /// `EMSGSIZE` beyond 4 GiB.
    pub(super) fn finish(self, sequence: u32) -> Result<Vec<u8>> {
        let len = u32::try_from(HEADER + self.body.len()).map_err(|_| Errno::EMSGSIZE)?;
        // The last field is the sender's port, which the kernel knows.
        Ok([
            &len.to_ne_bytes()[..],
            &self.kind.to_ne_bytes(),
            &self.flags.to_ne_bytes(),
            &sequence.to_ne_bytes(),
            &0u32.to_ne_bytes(),
            &self.body,
        ]
        .concat())
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// A received message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) body: &'a [u8],
}

/// The messages of one datagram.
///
/// # Errors
/// `EBADMSG` when one says that it is longer than what is there, or shorter than its header.
pub(super) fn messages(mut bytes: &[u8]) -> Result<Vec<Message<'_>>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let len = u32_at(bytes, 0).ok_or(Errno::EBADMSG)?;
        let len = usize::try_from(len).map_err(|_| Errno::EBADMSG)?;
        let (message, _) = bytes.split_at_checked(len).ok_or(Errno::EBADMSG)?;
        let parts = || {
            Some(Message {
                kind: u16_at(message, 4)?,
                flags: u16_at(message, 6)?,
                sequence: u32_at(message, 8)?,
                body: message.get(HEADER..)?,
            })
        };
        found.push(parts().ok_or(Errno::EBADMSG)?);
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(found)
}

/// The attributes at the end of a body; a damaged one ends the list.
pub(super) fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while let (Some(len), Some(kind)) = (u16_at(bytes, 0), u16_at(bytes, 2)) {
        let len = usize::from(len);
        let Some(value) = bytes.get(ATTRIBUTE_HEADER..len) else {
            break;
        };
        found.push((kind, value));
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*bytes))
}

/// A number in a body.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_is_read_as_it_was_written() {
        let mut request = Request::new(16, 5, &[&[1, 2, 3]]);
        request.text(3, "eth0").unwrap();
        request.attribute(28, &7i32.to_ne_bytes()).unwrap();
        let bytes = request.finish(9).unwrap();
        assert_eq!(bytes.len(), 16 + 4 + 12 + 8);
        let found = messages(&bytes).unwrap();
        let [message] = found[..] else {
            panic!("{found:?}")
        };
        assert_eq!((message.kind, message.flags, message.sequence), (16, 5, 9));
        assert_eq!(message.body[..4], [1, 2, 3, 0]);
        assert_eq!(
            attributes(&message.body[4..]),
            [(3, &b"eth0\0"[..]), (28, &7i32.to_ne_bytes()[..])]
        );
    }

    #[test]
    fn several_messages_in_one_datagram() {
        let one = Request::new(1, 0, &[&[1]]).finish(1).unwrap();
        let two = Request::new(2, 0, &[]).finish(2).unwrap();
        let both = [one, two].concat();
        let kinds: Vec<u16> = messages(&both).unwrap().iter().map(|m| m.kind).collect();
        assert_eq!(kinds, [1, 2]);
    }

    #[test]
    fn limits_of_what_can_be_sent() {
        let mut request = Request::new(1, 0, &[]);
        assert_eq!(request.text(3, "a\0b"), Err(Errno::EINVAL));
        assert_eq!(request.attribute(3, &[0; 65_532]), Err(Errno::EMSGSIZE));
        assert_eq!(request.attribute(3, &[0; 65_531]), Ok(()));
    }

    #[test]
    fn damaged_messages_are_errors_and_never_panics() {
        let mut request = Request::new(16, 5, &[&[1; 16]]);
        request.text(3, "eth0").unwrap();
        let good = request.finish(9).unwrap();
        for end in 1..good.len() {
            assert_eq!(messages(&good[..end]), Err(Errno::EBADMSG), "{end}");
        }
        for byte in 0..good.len() {
            for value in [0, 1, 3, 15, 17, 127, 255] {
                let mut bad = good.clone();
                bad[byte] = value;
                for message in messages(&bad).unwrap_or_default() {
                    attributes(message.body);
                    attributes(&message.body[1..]);
                }
            }
        }
        // A length that would never let the reader get on.
        assert_eq!(messages(&[0; 16]), Err(Errno::EBADMSG));
        assert_eq!(attributes(&[0; 8]), []);
        assert_eq!(attributes(&[3, 0, 1, 0]), []);
    }
}
