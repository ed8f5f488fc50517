//! Device rules for the v1 controller. Pure.
//!
//! The controller has a default (allow or deny everything) and exceptions from it; an access must be
//! covered by one exception as a whole
//! (<https://docs.kernel.org/admin-guide/cgroup-v1/devices.html>). Ordered rules are reduced to that
//! form, and a change is written as the difference, so that no running program sees a device vanish
//! that it keeps.

use super::LIMIT;
use crate::Error;
use hull_abi::{DeviceKind, DeviceRule};
use std::collections::BTreeMap;
use std::fmt::Write as _;

const READ: u8 = 1;
const WRITE: u8 = 2;
const MKNOD: u8 = 4;
const ALL: u8 = READ | WRITE | MKNOD;

/// Which nodes an exception covers: `c` or `b`, major and minor (`None` is any).
type Nodes = (char, Option<u32>, Option<u32>);

/// The state of the controller in one cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filter {
    allow_by_default: bool,
    exceptions: BTreeMap<Nodes, u8>,
}

impl Filter {
    /// Reduces rules of which the last match wins; what no rule matches is denied.
    ///
    /// # Errors
    /// For a rule that takes away a part of what an earlier one gives with a wildcard: the
    /// controller cannot express that, and ignoring it would allow what is to be denied.
    pub(super) fn of_rules(rules: &[DeviceRule]) -> Result<Self, Error> {
        let mut filter = Self {
            allow_by_default: false,
            exceptions: BTreeMap::new(),
        };
        for rule in rules {
            let access = access_of(rule);
            let everything = rule.kind == DeviceKind::All
                && (rule.major, rule.minor, access) == (None, None, ALL);
            if everything {
                filter = Self {
                    allow_by_default: rule.allow,
                    exceptions: BTreeMap::new(),
                };
                continue;
            }
            let types: &[char] = match rule.kind {
                DeviceKind::All => &['b', 'c'],
                DeviceKind::Char => &['c'],
                DeviceKind::Block => &['b'],
            };
            for kind in types {
                filter.add((*kind, rule.major, rule.minor), access, rule.allow)?;
            }
        }
        filter.exceptions.retain(|_, access| *access != 0);
        Ok(filter)
    }

    fn add(&mut self, nodes: Nodes, access: u8, allow: bool) -> Result<(), Error> {
        if allow != self.allow_by_default {
            *self.exceptions.entry(nodes).or_default() |= access;
            return Ok(());
        }
        for (exception, excepted) in &mut self.exceptions {
            if *excepted & access == 0 || !overlaps(nodes, *exception) {
                continue;
            }
            if !covers(nodes, *exception) {
                let (inner, outer) = (show(nodes, access), show(*exception, *excepted));
                let reason = format!(
                    "cgroup v1 cannot take {inner:?} out of {outer:?}, which an earlier rule sets"
                );
                return Err(Error::Value {
                    limit: LIMIT,
                    reason,
                });
            }
            *excepted &= !access;
        }
        Ok(())
    }

    /// Reads `devices.list`.
    ///
    /// # Errors
    /// The line that is not understood.
    pub(super) fn of_list(list: &str) -> Result<Self, String> {
        let mut filter = Self {
            allow_by_default: false,
            exceptions: BTreeMap::new(),
        };
        for line in list.lines() {
            // The kernel shows no exceptions from "allow everything".
            if line == "a *:* rwm" {
                return Ok(Self {
                    allow_by_default: true,
                    exceptions: BTreeMap::new(),
                });
            }
            let (nodes, access) = parse(line).ok_or_else(|| line.to_owned())?;
            *filter.exceptions.entry(nodes).or_default() |= access;
        }
        Ok(filter)
    }
}

/// How to get from one state to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Transition {
    /// What to write into which file, in order.
    pub(super) writes: Vec<(&'static str, String)>,
    /// Whether there is a moment in which something is allowed or denied that is so neither before
    /// nor after. A change of the default empties the list of exceptions, and the new ones follow.
    pub(super) has_gap: bool,
}

/// What leads from one state to another.
pub(super) fn transition(present: &Filter, wanted: &Filter) -> Transition {
    let mut writes = Vec::new();
    let all = || "a".to_owned();
    if wanted.allow_by_default {
        // Also where it is the default already: exceptions that the kernel does not show would stay.
        writes.push(("devices.allow", all()));
        let denied = wanted.exceptions.iter();
        writes.extend(denied.map(|(nodes, access)| ("devices.deny", show(*nodes, *access))));
        let has_gap = !wanted.exceptions.is_empty();
        return Transition { writes, has_gap };
    }
    let mut now = present.exceptions.clone();
    if present.allow_by_default {
        writes.push(("devices.deny", all()));
        now.clear();
    }
    // First what is new, then what goes: nothing that stays is ever missing.
    for (nodes, access) in &wanted.exceptions {
        let missing = access & !now.get(nodes).copied().unwrap_or_default();
        if missing != 0 {
            writes.push(("devices.allow", show(*nodes, missing)));
        }
    }
    for (nodes, access) in &now {
        let surplus = access & !wanted.exceptions.get(nodes).copied().unwrap_or_default();
        if surplus != 0 {
            writes.push(("devices.deny", show(*nodes, surplus)));
        }
    }
    Transition {
        writes,
        has_gap: present.allow_by_default && !wanted.exceptions.is_empty(),
    }
}

fn access_of(rule: &DeviceRule) -> u8 {
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    flag(rule.read, READ) | flag(rule.write, WRITE) | flag(rule.mknod, MKNOD)
}

/// Whether every node of `inner` is one of `outer`.
fn covers(outer: Nodes, inner: Nodes) -> bool {
    let within = |outer: Option<u32>, inner: Option<u32>| outer.is_none() || outer == inner;
    outer.0 == inner.0 && within(outer.1, inner.1) && within(outer.2, inner.2)
}

/// Whether some node belongs to both.
fn overlaps(a: Nodes, b: Nodes) -> bool {
    let meet = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
    a.0 == b.0 && meet(a.1, b.1) && meet(a.2, b.2)
}

fn show((kind, major, minor): Nodes, access: u8) -> String {
    let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |n| n.to_string());
    let mut text = String::new();
    // Writing to a String cannot fail.
    write!(text, "{kind} {}:{} ", number(major), number(minor)).ok();
    text.extend(
        [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')]
            .iter()
            .filter_map(|(bit, letter)| (access & bit != 0).then_some(letter)),
    );
    text
}

/// A line of `devices.list`.
fn parse(line: &str) -> Option<(Nodes, u8)> {
    let mut fields = line.split(' ');
    let kind = fields
        .next()
        .filter(|kind| ["b", "c"].contains(kind))?
        .chars()
        .next()?;
    let (major, minor) = fields.next()?.split_once(':')?;
    let number = |text: &str| match text {
        "*" => Some(None),
        text => text.parse().ok().map(Some),
    };
    let access = fields
        .next()?
        .chars()
        .try_fold(0, |access, letter| match letter {
            'r' => Some(access | READ),
            'w' => Some(access | WRITE),
            'm' => Some(access | MKNOD),
            _ => None,
        })?;
    Some(((kind, number(major)?, number(minor)?), access))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> DeviceRule {
        let (allow, rest) = (text.starts_with('+'), &text[1..]);
        let kind = match &rest[..1] {
            "c" => DeviceKind::Char,
            "b" => DeviceKind::Block,
            _ => DeviceKind::All,
        };
        let as_char = format!("c{}", &rest[1..]);
        let ((_, major, minor), access) = parse(&as_char).unwrap();
        let has = |bit| access & bit != 0;
        let (read, write, mknod) = (has(READ), has(WRITE), has(MKNOD));
        DeviceRule {
            allow,
            kind,
            major,
            minor,
            read,
            write,
            mknod,
        }
    }

    fn filter(rules: &[&str]) -> Result<Filter, Error> {
        Filter::of_rules(&rules.iter().map(|text| rule(text)).collect::<Vec<_>>())
    }

    fn writes(list: &str, rules: &[&str]) -> String {
        let present = Filter::of_list(list).unwrap();
        let Transition { writes, has_gap } = transition(&present, &filter(rules).unwrap());
        let writes = writes
            .iter()
            .map(|(file, value)| format!("{} {value}", &file["devices.".len()..]))
            .collect::<Vec<_>>()
            .join("; ");
        if has_gap {
            format!("gap: {writes}")
        } else {
            writes
        }
    }

    #[test]
    fn fresh_cgroup_denies_everything_first() {
        assert_eq!(
            writes(
                "a *:* rwm\n",
                &["-a *:* rwm", "+c 1:3 rwm", "+b *:* m", "+c 1:3 r"]
            ),
            "gap: deny a; allow b *:* m; allow c 1:3 rwm"
        );
        assert_eq!(writes("a *:* rwm\n", &[]), "deny a");
    }

    #[test]
    fn change_is_the_difference_and_adds_before_it_takes() {
        let list = "c 1:3 rwm\nc 1:5 rw\nb 8:0 r\n";
        let rules = [
            "-a *:* rwm",
            "+c 1:3 rwm",
            "+c 1:5 r",
            "+c 1:7 r",
            "+b 8:0 r",
        ];
        assert_eq!(writes(list, &rules), "allow c 1:7 r; deny c 1:5 w");
        assert_eq!(writes(list, &["+c 1:3 rwm", "+c 1:5 rw", "+b 8:0 r"]), "");
    }

    #[test]
    fn everything_allowed_starts_anew() {
        assert_eq!(
            writes("c 1:3 rwm\n", &["+a *:* rwm", "-c 5:1 w"]),
            "gap: allow a; deny c 5:1 w"
        );
        assert_eq!(writes("c 1:3 rwm\n", &["+a *:* rwm"]), "allow a");
    }

    #[test]
    fn last_rule_wins_where_it_covers_the_earlier_one() {
        let reduced = filter(&["+c 1:3 rwm", "+c 1:5 r", "-c 1:* w", "-a 1:5 rwm"]).unwrap();
        assert_eq!(reduced, filter(&["+c 1:3 rm"]).unwrap());
        let reset = filter(&["+c 1:3 rwm", "-a *:* rwm"]).unwrap();
        assert_eq!(reset, filter(&[]).unwrap());
    }

    #[test]
    fn hole_in_a_wildcard_is_refused() {
        let error = filter(&["+c *:* rwm", "-c 1:3 w"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "devices: cgroup v1 cannot take \"c 1:3 w\" out of \"c *:* rwm\", which an earlier \
             rule sets"
        );
        assert!(filter(&["+c 1:* r", "-c *:3 r"]).is_err());
        // Nothing of what is taken had been given.
        assert!(filter(&["+c *:* m", "-c 1:3 rw", "-b 1:3 m"]).is_ok());
    }

    #[test]
    fn unknown_line_is_reported() {
        assert_eq!(
            Filter::of_list("c 1:3 rwm\nz 1:1 r\n"),
            Err("z 1:1 r".to_owned())
        );
    }
}
