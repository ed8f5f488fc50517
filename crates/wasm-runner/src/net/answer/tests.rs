//! Good answers, bad answers, and noise.

use super::*;
use crate::net::query::question;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// A response to `question`: flags, and records behind it.
fn response(question: &[u8], flags: u16, records: &[Vec<u8>]) -> Vec<u8> {
    let mut message = question.to_vec();
    message[2..4].copy_from_slice(&(0x8180 | flags).to_be_bytes());
    message[6..8].copy_from_slice(&u16::try_from(records.len()).unwrap().to_be_bytes());
    records.iter().for_each(|record| message.extend(record));
    message
}

/// A record whose owner is a pointer or a name in wire format.
fn record(owner: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
    let mut record = owner.to_vec();
    record.extend(kind.to_be_bytes());
    record.extend([0, 1, 0, 0, 0, 60]);
    record.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    record.extend(data);
    record
}

/// Where the name in the question is.
const ASKED: [u8; 2] = [0xc0, 12];

fn asked(kind: Kind) -> Vec<u8> {
    question(7, &name("a.test"), kind)
}

fn read_a(message: &[u8]) -> Answer {
    read(message, 7, &name("A.test."), Kind::A)
}

#[test]
fn a_question_is_what_the_standard_says() {
    let want = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x01a\x04test\0\0\x01\0\x01";
    assert_eq!(asked(Kind::A), want);
}

#[test]
fn names_have_their_limits() {
    for text in [
        "",
        ".",
        "a..b",
        ".a",
        &"a".repeat(64),
        &"a.".repeat(128),
        "ü",
    ] {
        assert_eq!(Name::parse(text), None, "{text:?}");
    }
    for text in ["a", "a.", &"a".repeat(63), &"a.".repeat(127)] {
        assert!(Name::parse(text).is_some(), "{text:?}");
    }
}

#[test]
fn addresses_of_both_kinds() {
    let addresses = [[1, 2, 3, 4], [5, 6, 7, 8]].map(|data| record(&ASKED, 1, &data));
    let want = [[1, 2, 3, 4], [5, 6, 7, 8]].map(IpAddr::from);
    let message = response(&asked(Kind::A), 0, &addresses);
    assert_eq!(read_a(&message), Answer::Addresses(want.to_vec()));

    let data = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let message = response(&asked(Kind::Aaaa), 0, &[record(&ASKED, 28, &data)]);
    let answer = read(&message, 7, &name("a.test"), Kind::Aaaa);
    assert_eq!(answer, Answer::Addresses(vec![IpAddr::from(data)]));
}

#[test]
fn aliases_are_followed_in_any_order() {
    let target = b"\x01b\x04test\0";
    let alias = record(&ASKED, 5, target);
    let address = record(target, 1, &[1, 2, 3, 4]);
    let other = record(b"\x01x\0", 1, &[6, 6, 6, 6]);
    let want = Answer::Addresses(vec![IpAddr::from([1, 2, 3, 4])]);
    for records in [
        [alias.clone(), address.clone(), other.clone()],
        [other, address, alias.clone()],
    ] {
        assert_eq!(read_a(&response(&asked(Kind::A), 0, &records)), want);
    }
    let cut = response(&asked(Kind::A), 0, &[alias]);
    assert_eq!(read_a(&cut), Answer::Alias(name("b.test")));
}

#[test]
fn aliases_in_a_circle_end() {
    let there = record(&ASKED, 5, b"\x01b\0");
    let back = record(b"\x01b\0", 5, &ASKED);
    let message = response(&asked(Kind::A), 0, &[there, back]);
    assert_eq!(read_a(&message), Answer::Failed);
}

#[test]
fn what_is_no_answer_to_the_question_is_foreign() {
    let good = response(&asked(Kind::A), 0, &[record(&ASKED, 1, &[1, 2, 3, 4])]);
    assert_ne!(read_a(&good), Answer::Foreign);
    assert_eq!(read(&good, 8, &name("a.test"), Kind::A), Answer::Foreign);
    assert_eq!(read(&good, 7, &name("b.test"), Kind::A), Answer::Foreign);
    assert_eq!(read(&good, 7, &name("a.test"), Kind::Aaaa), Answer::Foreign);
    // A query; another operation; two questions.
    for (at, value) in [(2, 0x01), (2, 0x91), (5, 2)] {
        let mut bad = good.clone();
        bad[at] = value;
        assert_eq!(read_a(&bad), Answer::Foreign, "{at}");
    }
    for end in 0..good.len() {
        assert_eq!(read_a(&good[..end]), Answer::Foreign, "{end}");
    }
}

#[test]
fn codes() {
    for (flags, want) in [
        (0x0200, Answer::Truncated),
        (3, Answer::Nonexistent),
        (2, Answer::Failed),
        (5, Answer::Failed),
        (0, Answer::Addresses(Vec::new())),
    ] {
        assert_eq!(read_a(&response(&asked(Kind::A), flags, &[])), want);
    }
}

#[test]
fn pointers_that_go_round_and_lengths_that_lie_are_foreign() {
    for owner in [
        &[0xc0, 23][..],
        &[0xc0, 24],
        &[0xff, 0xff],
        &[0x40, 1],
        &[63, 1],
    ] {
        let message = response(&asked(Kind::A), 0, &[record(owner, 1, &[1, 2, 3, 4])]);
        assert_eq!(read_a(&message), Answer::Foreign, "{owner:?}");
    }
    let wrong_size = response(&asked(Kind::A), 0, &[record(&ASKED, 1, &[1, 2, 3])]);
    assert_eq!(read_a(&wrong_size), Answer::Foreign);
}

#[test]
fn a_flood_of_records_is_cut_off() {
    let many: Vec<Vec<u8>> = (0..3000)
        .map(|_| record(&ASKED, 1, &[1, 2, 3, 4]))
        .collect();
    let first = vec![IpAddr::from([1, 2, 3, 4]); MAX_ADDRESSES];
    let answer = read_a(&response(&asked(Kind::A), 0, &many));
    assert_eq!(answer, Answer::Addresses(first));
}

/// Numbers without a pattern, the same ones each time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }
}

#[test]
fn noise_is_read_without_panic_and_in_no_time() {
    let target = b"\x01b\x04test\0";
    let records = [
        record(&ASKED, 5, target),
        record(target, 5, &[1, b'c', 0xc0, 14]),
        record(&[1, b'c', 0xc0, 14], 1, &[1, 2, 3, 4]),
    ];
    let good = response(&asked(Kind::A), 0, &records);
    let mut noise = Noise(88172645463325252);
    let begun = std::time::Instant::now();
    for _ in 0..200_000 {
        let mut message = good.clone();
        for _ in 0..=noise.below(4) {
            let at = noise.below(message.len());
            message[at] = noise.next().to_le_bytes()[0];
        }
        message.truncate(message.len() - noise.below(3) * noise.below(20));
        if let Answer::Addresses(addresses) = read_a(&message) {
            assert!(addresses.len() <= MAX_ADDRESSES);
        }
    }
    assert!(begun.elapsed() < std::time::Duration::from_secs(60));
}
