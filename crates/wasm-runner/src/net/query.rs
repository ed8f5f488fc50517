//! Names and questions as the DNS has them
//! ([RFC 1035](https://www.rfc-editor.org/rfc/rfc1035#section-4)).

/// Longest name in bytes, with the length of each label and the root's.
const MAX_NAME: usize = 255;
/// Longest label.
pub(super) const MAX_LABEL: usize = 63;

/// A name: labels, each after its length, in lower case, and the empty label of the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name(Vec<u8>);

impl Name {
    /// Of a host name in ASCII, with or without a final dot.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut name = Self(Vec::new());
        for label in text.strip_suffix('.').unwrap_or(text).split('.') {
            if !label.is_ascii() {
                return None;
            }
            name.push(label.as_bytes())?;
        }
        name.end()
    }

    /// The root, to which labels are added.
    pub(super) fn start() -> Self {
        Self(Vec::new())
    }

    /// Adds a label, unless it is empty or one of them gets too long.
    pub(super) fn push(&mut self, label: &[u8]) -> Option<()> {
        let length = u8::try_from(label.len()).ok()?;
        if !(1..=MAX_LABEL).contains(&label.len()) || self.0.len() + label.len() + 2 > MAX_NAME {
            return None;
        }
        self.0.push(length);
        self.0.extend(label.iter().map(u8::to_ascii_lowercase));
        Some(())
    }

    /// Adds the root; a name has one label at least.
    pub(super) fn end(mut self) -> Option<Self> {
        if self.0.is_empty() {
            return None;
        }
        self.0.push(0);
        Some(self)
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses ([RFC 3596](https://www.rfc-editor.org/rfc/rfc3596)).
    Aaaa,
}

impl Kind {
    pub(super) fn code(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
        }
    }
}

/// Class of the Internet.
pub(super) const CLASS: u16 = 1;

/// A message with one question, for a server that finds the answer itself.
pub(super) fn question(id: u16, name: &Name, kind: Kind) -> Vec<u8> {
    let mut message = Vec::with_capacity(12 + name.0.len() + 4);
    message.extend(id.to_be_bytes());
    // Recursion desired; one question, nothing else.
    message.extend([0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    message.extend(&name.0);
    message.extend(kind.code().to_be_bytes());
    message.extend(CLASS.to_be_bytes());
    message
}
