//! Messages of D-Bus: the few types that systemd's manager takes and gives. Pure.
//!
//! [Format](https://dbus.freedesktop.org/doc/dbus-specification.html#message-protocol). Only little
//! endian, which is what a manager on this machine speaks.

/// Largest message that is taken. Signals about units have a few KiB.
const MAX_MESSAGE: usize = 4 << 20;

/// Bytes of a message before its fields: a fixed part and their length.
const FIXED: usize = 16;

const LITTLE_ENDIAN: u8 = b'l';
const PROTOCOL: u8 = 1;
const METHOD_CALL: u8 = 1;

/// Codes of header fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// The value of a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Bool(bool),
    Number(u64),
    Text(String),
    Bytes(Vec<u8>),
    Pids(Vec<u32>),
}

/// A property of a unit.
pub(super) type Property = (&'static str, Value);

/// An argument of a method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Argument<'a> {
    Text(&'a str),
    Bool(bool),
    Properties(&'a [Property]),
    /// `a(sa(sv))` without elements: further units to make.
    NoUnits,
}

/// A call of a method of the manager.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) interface: &'a str,
    pub(super) method: &'a str,
    pub(super) arguments: &'a [Argument<'a>],
}

/// The object of the manager, and whose it is.
const MANAGER: &str = "/org/freedesktop/systemd1";
const SERVICE: &str = "org.freedesktop.systemd1";

/// The kinds of messages that come to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Return,
    Error,
    Signal,
    /// Something that no client has to heed.
    Other,
}

/// A message, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: Kind,
    /// Which call it answers.
    pub(super) answers: Option<u32>,
    /// Name of the signal.
    pub(super) member: String,
    /// Name of the error.
    pub(super) error: String,
    signature: String,
    body: Vec<u8>,
}

/// Bytes that are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

impl Call<'_> {
    /// The bytes of the call; `serial` is not 0.
    pub(super) fn encode(&self, serial: u32) -> Vec<u8> {
        let mut body = Writer::default();
        let mut signature = String::new();
        for argument in self.arguments {
            signature.push_str(argument.signature());
            body.argument(argument);
        }
        let mut head = Writer::default();
        head.bytes.extend([LITTLE_ENDIAN, METHOD_CALL, 0, PROTOCOL]);
        head.number(length(body.bytes.len()));
        head.number(serial);
        head.array(8, |head| {
            head.field(PATH, "o", MANAGER);
            head.field(INTERFACE, "s", self.interface);
            head.field(MEMBER, "s", self.method);
            head.field(DESTINATION, "s", SERVICE);
            if !signature.is_empty() {
                head.field(SIGNATURE, "g", &signature);
            }
        });
        head.align(8);
        head.bytes.extend(body.bytes);
        head.bytes
    }
}

impl Argument<'_> {
    fn signature(&self) -> &'static str {
        match self {
            Self::Text(_) => "s",
            Self::Bool(_) => "b",
            Self::Properties(_) => "a(sv)",
            Self::NoUnits => "a(sa(sv))",
        }
    }
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Self::Bool(_) => "b",
            Self::Number(_) => "t",
            Self::Text(_) => "s",
            Self::Bytes(_) => "ay",
            Self::Pids(_) => "au",
        }
    }
}

/// How long the message is that begins with these bytes; `None` while there are too few to know.
pub(super) fn length_of(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let mut reader = Reader { bytes, at: 0 };
    let Some(fixed) = bytes.get(..FIXED) else {
        return Ok(None);
    };
    if fixed.first() != Some(&LITTLE_ENDIAN) || fixed.get(3) != Some(&PROTOCOL) {
        return Err(Malformed);
    }
    reader.at = 4;
    let body = reader.length()?;
    reader.at = 12;
    let fields = reader.length()?;
    let length = FIXED
        .checked_add(fields)
        .map(|end| end.next_multiple_of(8))
        .and_then(|head| head.checked_add(body))
        .filter(|length| *length <= MAX_MESSAGE);
    length.map(Some).ok_or(Malformed)
}

impl Message {
    /// Reads one whole message.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        if length_of(bytes)? != Some(bytes.len()) {
            return Err(Malformed);
        }
        let kind = match bytes.get(1) {
            Some(2) => Kind::Return,
            Some(3) => Kind::Error,
            Some(4) => Kind::Signal,
            _ => Kind::Other,
        };
        let mut message = Self {
            kind,
            answers: None,
            member: String::new(),
            error: String::new(),
            signature: String::new(),
            body: Vec::new(),
        };
        let mut reader = Reader { bytes, at: 12 };
        let end = reader.length()?.checked_add(FIXED).ok_or(Malformed)?;
        while reader.at < end {
            reader.align(8);
            let code = reader.byte()?;
            match (code, reader.signature()?.as_str()) {
                (MEMBER, "s") => message.member = reader.text()?,
                (ERROR_NAME, "s") => message.error = reader.text()?,
                (REPLY_SERIAL, "u") => message.answers = Some(reader.number()?),
                (SIGNATURE, "g") => message.signature = reader.signature()?,
                (_, "s" | "o") => drop(reader.text()?),
                (_, "g") => drop(reader.signature()?),
                (_, "u") => drop(reader.number()?),
                _ => return Err(Malformed),
            }
        }
        message.body = bytes
            .get(end.next_multiple_of(8)..)
            .ok_or(Malformed)?
            .to_vec();
        Ok(message)
    }

    /// The texts of the body's first elements, numbers left out, as far as the signature says that they
    /// are texts or object paths.
    pub(super) fn texts(&self) -> Result<Vec<String>, Malformed> {
        let mut reader = Reader {
            bytes: &self.body,
            at: 0,
        };
        let mut texts = Vec::new();
        for kind in self.signature.chars() {
            match kind {
                's' | 'o' => texts.push(reader.text()?),
                'u' => drop(reader.number()?),
                _ => break,
            }
        }
        Ok(texts)
    }
}

/// Writes values with the alignment that their types have.
#[derive(Debug, Default)]
struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn align(&mut self, to: usize) {
        let aligned = self.bytes.len().next_multiple_of(to);
        self.bytes.resize(aligned, 0);
    }

    fn number(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend(value.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(length(text.len()));
        self.bytes.extend(text.bytes());
        self.bytes.push(0);
    }

    /// Ours are a few characters long.
    fn signature(&mut self, text: &str) {
        self.bytes.push(u8::try_from(text.len()).unwrap_or(0));
        self.bytes.extend(text.bytes());
        self.bytes.push(0);
    }

    /// An array of elements that begin at a multiple of `alignment`. Its length does not count the
    /// space before the first.
    fn array(&mut self, alignment: usize, elements: impl FnOnce(&mut Self)) {
        self.number(0);
        let count = self.bytes.len() - 4;
        self.align(alignment);
        let begin = self.bytes.len();
        elements(self);
        let size = length(self.bytes.len() - begin);
        if let Some(place) = self.bytes.get_mut(count..count + 4) {
            place.copy_from_slice(&size.to_le_bytes());
        }
    }

    fn field(&mut self, code: u8, signature: &str, text: &str) {
        self.align(8);
        self.bytes.push(code);
        self.signature(signature);
        if signature == "g" {
            self.signature(text);
        } else {
            self.text(text);
        }
    }

    fn argument(&mut self, argument: &Argument<'_>) {
        match argument {
            Argument::Text(text) => self.text(text),
            Argument::Bool(value) => self.number((*value).into()),
            Argument::Properties(properties) => self.array(8, |body| {
                for (name, value) in *properties {
                    body.align(8);
                    body.text(name);
                    body.signature(value.signature());
                    body.value(value);
                }
            }),
            Argument::NoUnits => self.array(8, |_| {}),
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Bool(value) => self.number((*value).into()),
            Value::Number(value) => {
                self.align(8);
                self.bytes.extend(value.to_le_bytes());
            }
            Value::Text(text) => self.text(text),
            Value::Bytes(bytes) => self.array(1, |body| body.bytes.extend(bytes)),
            Value::Pids(pids) => {
                self.array(4, |body| pids.iter().for_each(|pid| body.number(*pid)));
            }
        }
    }
}

/// Nothing of ours comes near the limit of a length.
fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Reads values of whoever is at the other end.
#[derive(Debug)]
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> Result<&[u8], Malformed> {
        let end = self.at.checked_add(count).ok_or(Malformed)?;
        let taken = self.bytes.get(self.at..end).ok_or(Malformed)?;
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.take(1)?.first().copied().ok_or(Malformed)
    }

    fn number(&mut self) -> Result<u32, Malformed> {
        self.align(4);
        let bytes = self.take(4)?.try_into().map_err(|_| Malformed)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn length(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.number()?).map_err(|_| Malformed)
    }

    fn text(&mut self) -> Result<String, Malformed> {
        let length = self.length()?;
        self.terminated(length)
    }

    fn signature(&mut self) -> Result<String, Malformed> {
        let length = self.byte()?.into();
        self.terminated(length)
    }

    fn terminated(&mut self, length: usize) -> Result<String, Malformed> {
        let text = self.take(length)?.to_vec();
        match self.byte()? {
            0 => String::from_utf8(text).map_err(|_| Malformed),
            _ => Err(Malformed),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
