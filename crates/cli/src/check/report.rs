//! What was found, for people.

use super::item::{Item, Status};
use super::{Findings, Group};
use crate::layout::{Cell, Paint, Row, Screen};

/// All groups, then the totals.
pub(super) fn text(findings: &Findings, screen: &Screen) -> String {
    let names = findings.groups.iter().flat_map(|group| &group.items);
    let width = names.map(|item| item.name.len()).max().unwrap_or(0);
    let groups: String = findings
        .groups
        .iter()
        .map(|group| format!("{}\n", part(group, width, screen)))
        .collect();
    let totals = screen.rows(&[vec![total(findings)]]);
    format!("{groups}{totals}")
}

fn part(group: &Group, width: usize, screen: &Screen) -> String {
    let heading = screen.rows(&[vec![Cell::new(group.name, Paint::Heading)]]);
    let rows: Vec<Row> = group
        .items
        .iter()
        .flat_map(|item| rows(item, width))
        .collect();
    format!("{heading}{}", screen.rows(&rows))
}

fn rows(item: &Item, width: usize) -> Vec<Row> {
    let (word, paint) = match item.status {
        Status::Ok => ("ok", Paint::Good),
        Status::Warn => ("warn", Paint::Doubtful),
        Status::Fail => ("FAIL", Paint::Bad),
        Status::Unknown => ("?", Paint::Faint),
    };
    let name = format!("{:width$}", item.name);
    let mut rows = vec![vec![
        Cell::new(format!("  {word:<4}"), paint),
        name.into(),
        (&item.text).into(),
    ]];
    if let Some(advice) = &item.advice {
        rows.push(vec![
            "".into(),
            "".into(),
            Cell::new(format!("-> {advice}"), Paint::Plain),
        ]);
    }
    rows
}

fn total(findings: &Findings) -> Cell {
    let Findings {
        ok,
        warn,
        fail,
        unknown,
        ..
    } = findings;
    let mut counts = vec![format!("{ok} ok")];
    if *warn != 0 {
        let noun = if *warn == 1 { "warning" } else { "warnings" };
        counts.push(format!("{warn} {noun}"));
    }
    if *fail != 0 {
        counts.push(format!("{fail} failed"));
    }
    if *unknown != 0 {
        let hint = if super::item::is_root() {
            ""
        } else {
            " (root sees more)"
        };
        counts.push(format!("{unknown} not known{hint}"));
    }
    let paint = match (fail, warn) {
        (0, 0) => Paint::Good,
        (0, _) => Paint::Doubtful,
        _ => Paint::Bad,
    };
    Cell::new(counts.join(", "), paint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_line_up_over_all_groups() {
        let findings = Findings::of(vec![
            Group {
                name: "first",
                items: vec![
                    Item::ok("a", "good"),
                    Item::fail("longer", "bad").advise("mend it"),
                ],
            },
            Group {
                name: "second",
                items: vec![Item::warn("b", "so so"), Item::unknown("c", "no idea")],
            },
        ]);
        let want = "\
first
  ok    a       good
  FAIL  longer  bad
                -> mend it

second
  warn  b       so so
  ?     c       no idea

1 ok, 1 warning, 1 failed, 1 not known";
        let text = text(&findings, &Screen::plain(Some(80)));
        assert!(text.starts_with(want), "{text}");
    }
}
