//! The encoding of [`Exports`]: numbers as 4 bytes, little endian; texts and lists with their length in
//! front. Decoding is total: these bytes come from a compiler that has read hostile ones.

use super::{Exports, Function, Type, Wasi};
use crate::Kind;

/// Bytes that a function takes.
pub(super) fn size(function: &Function) -> usize {
    let mut writer = Writer::default();
    writer.function(function);
    writer.0.len()
}

pub(super) fn encode(exports: &Exports) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.number(match exports.kind {
        Kind::Module => 0,
        Kind::Component => 1,
    });
    for versions in [&exports.commands, &exports.servers] {
        writer.list(versions, |writer, version| {
            writer.number(match version {
                Wasi::Preview1 => 1,
                Wasi::V0_2 => 2,
                Wasi::V0_3 => 3,
            });
        });
    }
    writer.list(&exports.functions, Writer::function);
    writer.number(exports.more);
    writer.0
}

/// `None` for what [`encode`] has not made.
pub(super) fn decode(bytes: &[u8]) -> Option<Exports> {
    let mut reader = Reader(bytes);
    let kind = match reader.number()? {
        0 => Kind::Module,
        1 => Kind::Component,
        _ => return None,
    };
    let commands = reader.list(Reader::version)?;
    let servers = reader.list(Reader::version)?;
    let before = reader.0.len();
    let functions = reader.list(Reader::function)?;
    let exports = Exports {
        kind,
        commands,
        servers,
        functions,
        // The number of functions is none of theirs.
        size: before.saturating_sub(reader.0.len() + 4),
        more: reader.number()?,
    };
    reader.0.is_empty().then_some(exports)
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, number: u32) {
        self.0.extend(number.to_le_bytes());
    }

    /// No text or list of ours has more than 4 GiB; a reader would find it broken.
    fn length(&mut self, length: usize) {
        self.number(u32::try_from(length).unwrap_or(u32::MAX));
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.0.extend(text.as_bytes());
    }

    fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.length(items.len());
        for item in items {
            write(self, item);
        }
    }

    fn function(&mut self, function: &Function) {
        self.text(&function.name);
        for types in [&function.params, &function.results] {
            self.list(types, |writer, item| {
                writer.text(&item.text);
                writer.number(item.has_text.into());
            });
        }
    }
}

/// What is left to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(*self.take(4)?.first_chunk()?))
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.number()?).ok()?;
        let text = std::str::from_utf8(self.take(length)?).ok()?;
        Some(text.to_owned())
    }

    fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        // Each item takes bytes, so that a lie about their number ends early.
        (0..self.number()?).map(|_| read(self)).collect()
    }

    fn version(&mut self) -> Option<Wasi> {
        match self.number()? {
            1 => Some(Wasi::Preview1),
            2 => Some(Wasi::V0_2),
            3 => Some(Wasi::V0_3),
            _ => None,
        }
    }

    fn function(&mut self) -> Option<Function> {
        Some(Function {
            name: self.text()?,
            params: self.list(Self::value_type)?,
            results: self.list(Self::value_type)?,
        })
    }

    fn value_type(&mut self) -> Option<Type> {
        let text = self.text()?;
        let has_text = match self.number()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        Some(Type { text, has_text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A footer of its own keeps such bytes away; this must not be what we rely on.
    #[test]
    fn decoding_is_total() {
        let text = |text: &str| Type {
            text: text.to_owned(),
            has_text: true,
        };
        let mut exports = Exports::new(Kind::Component);
        exports.servers.push(Wasi::V0_2);
        exports.push(|| Function {
            name: "f\u{e4}".to_owned(),
            params: vec![text("list<u8>")],
            results: vec![text("u8")],
        });
        let good = encode(&exports);
        assert_eq!(decode(&good), Some(exports));
        for end in 0..good.len() {
            assert_eq!(decode(good.get(..end).unwrap()), None, "{end} bytes");
        }
        assert_eq!(decode(&[good.as_slice(), &[0]].concat()), None);
        for at in 0..good.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bad = good.clone();
                *bad.get_mut(at).unwrap() = value;
                // Whatever it is, it can be written again.
                if let Some(other) = decode(&bad) {
                    assert_eq!(encode(&other), bad);
                }
            }
        }
    }
}
