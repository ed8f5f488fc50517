//! Puts the figures of a run into `docs/performance.md`, and its charts beside it.

use std::fs;

use super::report::Report;
use super::summary::{self, Budgets};
use super::{Result, chart};

/// Replaces every block between `<!-- figures:ID -->` and `<!-- figures:end -->` whose table was
/// measured, the table of budgets, and the charts that are shown there. What the run was made on
/// (`machine`) is only said of a run of all rows.
pub(super) fn update(report: &Report, budgets: &Budgets, whole: bool) -> Result<()> {
    let path = summary::docs();
    let mut text = fs::read_to_string(&path)?;
    if whole {
        let machine = report.machine().iter();
        let machine: Vec<String> = machine.map(|line| format!("- {line}\n")).collect();
        text = splice(&text, "machine", &machine.concat());
    }
    for table in report.tables() {
        text = splice(&text, table.id, &table.grid());
    }
    if let Some((before, rest)) = text.split_once(summary::BEGIN)
        && let Some((_, after)) = rest.split_once("<!-- budgets:end -->\n")
    {
        text = format!("{before}{}{after}", budgets.renewed(report.tables()));
    }
    for (name, svg) in chart::draw_all(report.tables()) {
        if text.contains(&format!("(charts/{name})")) {
            fs::write(path.with_file_name("charts").join(name), svg)?;
        }
    }
    fs::write(&path, text)?;
    eprintln!("hull-bench: {} has the figures of this run", path.display());
    Ok(())
}

/// `text` with other lines in a block, or as it is if there is no such block.
fn splice(text: &str, id: &str, lines: &str) -> String {
    let (begin, end) = (format!("<!-- figures:{id} -->\n"), "<!-- figures:end -->");
    let parts = text.split_once(&begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(end)?;
        Some((before, after))
    });
    parts.map_or_else(
        || text.to_owned(),
        |(before, after)| format!("{before}{begin}{lines}{end}{after}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_block_is_replaced() {
        let text = "a\n<!-- figures:x -->\nold\n<!-- figures:end -->\nb\n<!-- figures:y -->\nold\n<!-- figures:end -->\n";
        let spliced = splice(text, "y", "new\n");
        assert!(
            spliced.contains("figures:x -->\nold\n") && spliced.contains("figures:y -->\nnew\n")
        );
        assert_eq!(splice(text, "z", "new"), text);
    }

    #[test]
    fn every_chart_that_is_shown_is_there() {
        let path = summary::docs();
        let text = fs::read_to_string(&path).unwrap();
        let shown: Vec<&str> = text
            .split("(charts/")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
            .collect();
        assert!(!shown.is_empty());
        for name in shown {
            assert!(path.with_file_name("charts").join(name).exists(), "{name}");
        }
    }
}
