//! In which of a runner's mappings its memory lies, by `/proc/PID/smaps`
//! ([proc(5)](https://man7.org/linux/man-pages/man5/proc_pid_smaps.5.html)).

use crate::bench::memory::number;
use crate::bench::report::{Figure, Line};

/// What a mapping is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Constant,
    Data,
    Heap,
    Stack,
    Artifact,
    Anonymous,
}

/// The lines of the table, in the order of [`Kind`].
const KINDS: [&str; 6] = [
    "runner: code and constants",
    "runner: .data and .bss",
    "heap",
    "stack",
    "artifact, with the guest's memory at first",
    "other: the guest's memory and stack, tables",
];

/// The figures of [`split`], in KiB.
pub(super) const COLUMNS: [&str; 3] = ["private dirty", "PSS", "RSS"];
/// Their keys in smaps.
const KEYS: [&str; COLUMNS.len()] = ["Private_Dirty", "Pss", "Rss"];

/// A line for each kind of mapping, from the text of smaps.
pub(super) fn split(smaps: &str) -> Vec<Line> {
    let mut sums = [[0.0; KEYS.len()]; KINDS.len()];
    let (mut kind, mut end) = (Kind::Anonymous, "");
    for line in smaps.lines() {
        if let Some(mapping) = Mapping::parse(line) {
            kind = mapping.kind(kind, end);
            end = mapping.end;
        } else if let Some((key, value)) = line.split_once(':')
            && let Some(column) = KEYS.iter().position(|known| *known == key)
        {
            sums[kind as usize][column] += number(value);
        }
    }
    let lines = KINDS.iter().zip(sums);
    lines
        .map(|(name, sum)| ((*name).to_owned(), sum.map(Figure::from).to_vec()))
        .collect()
}

/// The first line of a mapping: `00400000-00401000 r--p 00000000 fe:00 1234   /path`.
#[derive(Debug)]
struct Mapping<'text> {
    start: &'text str,
    end: &'text str,
    writable: bool,
    name: &'text str,
}

impl<'text> Mapping<'text> {
    fn parse(line: &'text str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let writable = words.next()?.contains('w');
        let name = words.nth(3).unwrap_or_default();
        Some(Self {
            start,
            end,
            writable,
            name,
        })
    }

    /// What it is for; `before` is what the mapping below it is for, and `end` where that ends.
    fn kind(&self, before: Kind, end: &str) -> Kind {
        match self.name {
            "[heap]" => Kind::Heap,
            "[stack]" => Kind::Stack,
            // .bss has no file and follows .data.
            "" if before == Kind::Data && self.start == end => Kind::Data,
            name if is_artifact(name) => Kind::Artifact,
            name if name.starts_with('/') && self.writable => Kind::Data,
            name if name.starts_with('/') => Kind::Constant,
            _ => Kind::Anonymous,
        }
    }
}

/// A file of the store is called by its key: 64 hexadecimal digits.
pub(super) fn is_artifact(path: &str) -> bool {
    path.rsplit_once('/').is_some_and(|(_, name)| {
        name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
00400000-00500000 r-xp 00000000 00:2e 17                 /hull-wasm
Rss:                 900 kB
Pss:                 450 kB
Private_Dirty:         0 kB
00500000-00520000 rw-p 00100000 00:2e 17                 /hull-wasm
Pss:                  64 kB
Private_Dirty:        32 kB
00520000-00530000 rw-p 00000000 00:00 0
Private_Dirty:         8 kB
01000000-01100000 rw-p 00000000 00:00 0                  [heap]
Private_Dirty:       100 kB
7f0000000000-7f0000010000 rw-p 00000000 00:00 0
Private_Dirty:        16 kB
7f0000010000-7f0000020000 r-xp 00002000 fe:00 99         /var/lib/store/KEY
Pss:                   4 kB
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0          [stack]
Private_Dirty:        12 kB
VmFlags: rd wr mr mw me gd ac
";

    #[test]
    fn mappings_are_told_apart() {
        let lines = split(&SMAPS.replace("KEY", &"0a".repeat(32)));
        let sums: Vec<[f64; 2]> = lines
            .iter()
            .map(|(_, figures)| [figures[0].median(), figures[1].median()])
            .collect();
        assert_eq!(
            sums,
            [
                [0.0, 450.0],
                [40.0, 64.0],
                [100.0, 0.0],
                [12.0, 0.0],
                [0.0, 4.0],
                [16.0, 0.0],
            ]
        );
    }
}
