//! Reading what a name server says. It may be anybody, so nothing that it says is believed further than
//! that it is an answer: every length is checked, every chain has an end.

use super::query::{CLASS, Kind, MAX_LABEL, Name};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses that are taken from one answer.
const MAX_ADDRESSES: usize = 32;
/// Aliases that are followed in one answer.
const MAX_ALIASES: usize = 16;
/// Pointers that are followed in one name.
const MAX_POINTERS: usize = 32;

const HEADER: usize = 12;
const CNAME: u16 = 5;

/// What a message means for a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// It does not belong to the question, or cannot be read.
    Foreign,
    /// It did not fit and is to be had by TCP.
    Truncated,
    /// The server cannot or will not tell.
    Failed,
    /// There is no such name.
    Nonexistent,
    /// These are the addresses, perhaps none.
    Addresses(Vec<IpAddr>),
    /// The name is an alias of another, of which the server says nothing more.
    Alias(Name),
}

/// Reads a message. It answers the question if it has its id and repeats it.
pub(super) fn read(message: &[u8], id: u16, name: &Name, kind: Kind) -> Answer {
    checked(message, id, name, kind).unwrap_or(Answer::Foreign)
}

fn checked(message: &[u8], id: u16, name: &Name, kind: Kind) -> Option<Answer> {
    let mut reader = Reader { message, at: 0 };
    let header: [u16; HEADER / 2] = [
        reader.number()?,
        reader.number()?,
        reader.number()?,
        reader.number()?,
        reader.number()?,
        reader.number()?,
    ];
    let [own, flags, questions, answers, _, _] = header;
    // A response to a standard query.
    if own != id || flags & 0xf800 != 0x8000 || questions != 1 {
        return None;
    }
    let repeated =
        reader.name()? == *name && reader.number()? == kind.code() && reader.number()? == CLASS;
    if !repeated {
        return None;
    }
    if flags & 0x0200 != 0 {
        return Some(Answer::Truncated);
    }
    match flags & 0x000f {
        0 => Records::read(&mut reader, answers, kind).map(|records| records.follow(name)),
        3 => Some(Answer::Nonexistent),
        _ => Some(Answer::Failed),
    }
}

/// What matters of an answer section, in its order.
#[derive(Debug, Default)]
struct Records {
    aliases: Vec<(Name, Name)>,
    addresses: Vec<(Name, IpAddr)>,
}

impl Records {
    fn read(reader: &mut Reader<'_>, count: u16, kind: Kind) -> Option<Self> {
        let mut records = Self::default();
        for _ in 0..count {
            let owner = reader.name()?;
            let (found, class) = (reader.number()?, reader.number()?);
            let _lifetime = (reader.number()?, reader.number()?);
            let length = usize::from(reader.number()?);
            let mut data = Reader { ..*reader };
            let bytes = reader.bytes(length)?;
            if class != CLASS {
                continue;
            }
            if found == CNAME && records.aliases.len() < MAX_ALIASES {
                records.aliases.push((owner, data.name()?));
            } else if found == kind.code() && records.addresses.len() < MAX_ADDRESSES {
                records.addresses.push((owner, address(bytes, kind)?));
            }
        }
        Some(records)
    }

    /// The addresses of a name, or of what it is an alias of.
    fn follow(self, name: &Name) -> Answer {
        let mut name = name;
        for _ in 0..=MAX_ALIASES {
            let addresses: Vec<IpAddr> = self
                .addresses
                .iter()
                .filter(|(owner, _)| owner == name)
                .map(|(_, address)| *address)
                .collect();
            if !addresses.is_empty() {
                return Answer::Addresses(addresses);
            }
            match self.aliases.iter().find(|(owner, _)| owner == name) {
                Some((_, target)) => name = target,
                None if self.aliases.is_empty() => return Answer::Addresses(Vec::new()),
                None => return Answer::Alias(name.clone()),
            }
        }
        // They go round in a circle.
        Answer::Failed
    }
}

fn address(bytes: &[u8], kind: Kind) -> Option<IpAddr> {
    Some(match kind {
        Kind::A => Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into(),
        Kind::Aaaa => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical(),
    })
}

/// A place in a message.
struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let bytes = self.message.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.bytes(1)?.first().copied()
    }

    fn number(&mut self) -> Option<u16> {
        let bytes = <[u8; 2]>::try_from(self.bytes(2)?).ok()?;
        Some(u16::from_be_bytes(bytes))
    }

    /// A name, whose end may be that of an earlier one
    /// ([RFC 1035, 4.1.4](https://www.rfc-editor.org/rfc/rfc1035#section-4.1.4)).
    fn name(&mut self) -> Option<Name> {
        let mut name = Name::start();
        let mut behind = None;
        let mut pointers = 0;
        loop {
            let length = self.byte()?;
            match length >> 6 {
                0 if length == 0 => break,
                0 => name.push(self.bytes(usize::from(length).min(MAX_LABEL))?)?,
                3 => {
                    let low = self.byte()?;
                    behind = behind.or(Some(self.at));
                    pointers += 1;
                    if pointers > MAX_POINTERS {
                        return None;
                    }
                    self.at = usize::from(length & 0x3f) << 8 | usize::from(low);
                }
                _ => return None,
            }
        }
        self.at = behind.unwrap_or(self.at);
        name.end()
    }
}

#[cfg(test)]
mod tests;
