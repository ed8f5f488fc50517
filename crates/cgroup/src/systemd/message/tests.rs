use super::*;
use proptest::prelude::*;

/// A message of a manager, with texts in its body.
fn from_manager(
    kind: u8,
    fields: &[(u8, &str, &str)],
    answers: Option<u32>,
    body: &[&str],
) -> Vec<u8> {
    let mut content = Writer::default();
    body.iter().for_each(|text| content.text(text));
    let mut head = Writer::default();
    head.bytes.extend([LITTLE_ENDIAN, kind, 1, PROTOCOL]);
    head.number(length(content.bytes.len()));
    head.number(1);
    head.array(8, |head| {
        for (code, signature, text) in fields {
            head.field(*code, signature, text);
        }
        if let Some(serial) = answers {
            head.align(8);
            head.bytes.push(REPLY_SERIAL);
            head.signature("u");
            head.number(serial);
        }
        if !body.is_empty() {
            head.field(SIGNATURE, "g", &"s".repeat(body.len()));
        }
    });
    head.align(8);
    head.bytes.extend(content.bytes);
    head.bytes
}

/// A reply.
pub(crate) fn reply(answers: u32, body: &[&str]) -> Vec<u8> {
    from_manager(2, &[], Some(answers), body)
}

/// A reply that says what is wrong.
pub(crate) fn error(answers: u32, name: &str) -> Vec<u8> {
    from_manager(3, &[(ERROR_NAME, "s", name)], Some(answers), &["It is so."])
}

/// A signal.
pub(crate) fn signal(name: &str, body: &[&str]) -> Vec<u8> {
    from_manager(4, &[(MEMBER, "s", name)], None, body)
}

/// Serial number and texts of a call's first arguments.
pub(crate) fn call(bytes: &[u8]) -> (u32, String, Vec<String>) {
    let serial = u32::from_le_bytes(bytes[8..12].try_into().unwrap());
    let message = Message::decode(bytes).unwrap();
    let texts = message.texts().unwrap();
    (serial, message.member, texts)
}

#[test]
fn call_has_the_bytes_that_the_specification_says() {
    let call = Call {
        interface: "a.B",
        method: "C",
        arguments: &[
            Argument::Text("u"),
            Argument::Bool(true),
            Argument::Properties(&[("P", Value::Number(7)), ("Q", Value::Pids(vec![9]))]),
            Argument::NoUnits,
        ],
    };
    let bytes = call.encode(5);
    assert_eq!(length_of(&bytes), Ok(Some(bytes.len())));
    let message = Message::decode(&bytes).unwrap();
    assert_eq!(message.member, "C");
    assert_eq!(message.signature, "sba(sv)a(sa(sv))");
    #[rustfmt::skip]
    let body = [
        1, 0, 0, 0, b'u', 0, 0, 0,
        1, 0, 0, 0,
        // The array counts neither this length nor the space before its first element.
        44, 0, 0, 0,
        1, 0, 0, 0, b'P', 0, 1, b't', 0, 0, 0, 0, 0, 0, 0, 0,
        7, 0, 0, 0, 0, 0, 0, 0,
        1, 0, 0, 0, b'Q', 0, 2, b'a', b'u', 0, 0, 0,
        4, 0, 0, 0, 9, 0, 0, 0,
        0, 0, 0, 0,
    ];
    assert_eq!(message.body, body);
}

#[test]
fn reply_error_and_signal_are_told_apart() {
    let reply = Message::decode(&from_manager(2, &[], Some(3), &["/job/1"])).unwrap();
    assert_eq!((reply.kind, reply.answers), (Kind::Return, Some(3)));
    assert_eq!(reply.texts().unwrap(), ["/job/1"]);
    let fields = [(ERROR_NAME, "s", "x.Y")];
    let error = Message::decode(&from_manager(3, &fields, Some(4), &["why"])).unwrap();
    assert_eq!((error.kind, error.error.as_str()), (Kind::Error, "x.Y"));
    let fields = [(PATH, "o", "/a"), (MEMBER, "s", "JobRemoved")];
    let signal = Message::decode(&from_manager(4, &fields, None, &[])).unwrap();
    assert_eq!(
        (signal.kind, signal.member.as_str()),
        (Kind::Signal, "JobRemoved")
    );
    assert!(signal.texts().unwrap().is_empty());
}

#[test]
fn other_byte_orders_and_boundless_lengths_are_refused() {
    let good = from_manager(2, &[], Some(3), &["x"]);
    for (at, byte) in [(0, b'B'), (3, 2), (7, 0x7f), (15, 0xff)] {
        let mut bad = good.clone();
        bad[at] = byte;
        assert_eq!(length_of(&bad), Err(Malformed), "{at}");
    }
    assert_eq!(length_of(&good[..15]), Ok(None));
    assert_eq!(Message::decode(&good[..good.len() - 1]), Err(Malformed));
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        any::<u64>().prop_map(Value::Number),
        ".{0,20}".prop_map(Value::Text),
        any::<Vec<u8>>().prop_map(Value::Bytes),
        any::<Vec<u32>>().prop_map(Value::Pids),
    ]
}

/// Reads a body back as its signature says, and gives how many properties it has.
fn read_back(body: &[u8]) -> Result<usize, Malformed> {
    let mut reader = Reader { bytes: body, at: 0 };
    reader.text()?;
    reader.number()?;
    let size = reader.length()?;
    reader.align(8);
    let (end, mut count) = (reader.at + size, 0);
    while reader.at < end {
        reader.align(8);
        reader.text()?;
        match reader.signature()?.as_str() {
            "b" => assert!(reader.number()? < 2),
            "t" => {
                reader.align(8);
                reader.take(8)?;
            }
            "s" => drop(reader.text()?),
            "ay" => {
                let size = reader.length()?;
                reader.take(size)?;
            }
            "au" => {
                let size = reader.length()?;
                reader.take(size)?;
            }
            other => panic!("{other}"),
        }
        count += 1;
    }
    assert_eq!((reader.at, end), (end, body.len()));
    Ok(count)
}

proptest! {
    #[test]
    fn properties_can_be_read_back(unit in ".{0,40}", values in prop::collection::vec(value(), 0..9)) {
        let properties: Vec<Property> = values.into_iter().map(|value| ("Name", value)).collect();
        let call = Call {
            interface: "a.B",
            method: "Set",
            arguments: &[Argument::Text(&unit), Argument::Bool(true), Argument::Properties(&properties)],
        };
        let message = Message::decode(&call.encode(1)).unwrap();
        prop_assert_eq!(message.signature.as_str(), "sba(sv)");
        prop_assert_eq!(read_back(&message.body), Ok(properties.len()));
    }

    #[test]
    fn hostile_bytes_are_refused_or_read_and_never_panic(bytes: Vec<u8>) {
        let _unread = length_of(&bytes);
        if let Ok(message) = Message::decode(&bytes) {
            let _unread = message.texts();
        }
    }

    #[test]
    fn damaged_messages_never_panic(at in 0usize..200, byte: u8) {
        let fields = [(MEMBER, "s", "JobRemoved"), (PATH, "o", "/a")];
        let mut bytes = from_manager(4, &fields, Some(1), &["one", "two"]);
        let length = bytes.len();
        bytes[at % length] = byte;
        if let Ok(message) = Message::decode(&bytes) {
            let _unread = message.texts();
        }
    }
}
