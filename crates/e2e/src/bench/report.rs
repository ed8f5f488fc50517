//! Tables, their comparisons, and the files they go to.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::sample::Series;
use super::{Result, chart, summary};

/// Lines are called by these names; behind them the versions of a peer may stand in brackets.
pub(super) const HULL: &str = "hull";
/// The runc shim of the distribution.
pub(super) const DEBIAN: &str = "Debian's runc shim";
/// The runc shim that `make clients` builds.
pub(super) const NEWEST: &str = "newest runc shim";
/// The shim that runs nothing.
pub(super) const NULL: &str = "null shim";
/// The kernel alone.
pub(super) const FLOOR: &str = "floor";

/// One figure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figure {
    median: f64,
    p99: Option<f64>,
}

impl Figure {
    pub(super) fn median(&self) -> f64 {
        self.median
    }
}

impl From<f64> for Figure {
    fn from(value: f64) -> Self {
        Self {
            median: value,
            p99: None,
        }
    }
}

impl From<&Series> for Figure {
    fn from(series: &Series) -> Self {
        Self {
            median: series.median(),
            p99: Some(series.p99()),
        }
    }
}

/// How the first line of a table is set against each of the others.
#[derive(Debug, Clone, Copy)]
pub(super) enum Comparison {
    /// First ÷ other.
    Ratio,
    /// First − other, in the unit of the column.
    Difference,
}

impl Comparison {
    fn sign(self) -> char {
        match self {
            Self::Ratio => '÷',
            Self::Difference => '−',
        }
    }

    fn cell(self, ours: f64, theirs: f64) -> String {
        match self {
            Self::Ratio => ratio(ours / theirs),
            Self::Difference => number(ours - theirs),
        }
    }
}

/// A line of a table: its name and figures.
pub(super) type Line = (String, Vec<Figure>);

/// What was measured, one line per peer or per thing that was run.
#[derive(Debug)]
pub(super) struct Table {
    /// The row's name on the command line.
    pub(super) row: &'static str,
    /// Its own name: of its chart, and of its place in docs/performance.md.
    pub(super) id: &'static str,
    /// What it is, in a few words.
    pub(super) title: String,
    /// How it was measured.
    pub(super) how: String,
    /// The figures' names.
    pub(super) columns: Vec<&'static str>,
    /// Ours is the first.
    pub(super) lines: Vec<Line>,
    /// `None` if the lines are no alternatives to each other.
    pub(super) comparison: Option<Comparison>,
}

impl Table {
    /// The figure of a column in the line of this name.
    pub(super) fn figure(&self, line: &str, column: &str) -> Option<f64> {
        let at = self.columns.iter().position(|name| *name == column)?;
        let (_, figures) = self.lines.iter().find(|(name, _)| is_called(name, line))?;
        figures.get(at).map(Figure::median)
    }

    /// The figures with a line for each comparison, as `docs/performance.md` shows them.
    pub(super) fn grid(&self) -> String {
        let rule = "---|".repeat(self.columns.len() + 1);
        let mut text = format!("| | {} |\n|{rule}\n", self.columns.join(" | "));
        for (name, figures) in &self.lines {
            let cells: Vec<String> = figures.iter().map(cell).collect();
            let _infallible = writeln!(text, "| {name} | {} |", cells.join(" | "));
        }
        for line in self.comparisons() {
            let _infallible = writeln!(text, "{line}");
        }
        text
    }

    /// The table with its title and how it was measured.
    pub(super) fn markdown(&self) -> String {
        format!("### {}\n\n{}\n\n{}", self.title, self.how, self.grid())
    }

    fn comparisons(&self) -> Vec<String> {
        let (Some(comparison), Some(((name, ours), others))) =
            (self.comparison, self.lines.split_first())
        else {
            return Vec::new();
        };
        // A null shim is no rival: nothing would be said by a ratio to it.
        let rivals = others.iter().filter(|(other, _)| !is_called(other, NULL));
        let compare = |(other, theirs): &Line| {
            let cells: Vec<String> = ours
                .iter()
                .zip(theirs)
                .map(|(ours, theirs)| comparison.cell(ours.median, theirs.median))
                .collect();
            let (other, sign) = (bare(other), comparison.sign());
            format!("| {name} {sign} {other} | {} |", cells.join(" | "))
        };
        rivals.map(compare).collect()
    }

    fn json(&self) -> Value {
        let lines = self.lines.iter().map(|(name, figures)| {
            let figures = self.columns.iter().zip(figures).map(|(column, figure)| {
                json!({ "figure": column, "median": figure.median, "p99": figure.p99 })
            });
            json!({ "peer": name, "figures": figures.collect::<Vec<_>>() })
        });
        json!({
            "row": self.row,
            "table": self.id,
            "title": self.title,
            "how": self.how,
            "peers": lines.collect::<Vec<_>>(),
        })
    }
}

/// A name without its versions.
pub(super) fn bare(name: &str) -> &str {
    name.split_once(" (").map_or(name, |(bare, _)| bare)
}

fn is_called(name: &str, wanted: &str) -> bool {
    name == wanted || bare(name) == wanted
}

/// A ratio, or nothing where one of the figures is as good as zero.
fn ratio(value: f64) -> String {
    if (0.005..1000.0).contains(&value) {
        format!("{value:.2}")
    } else {
        "–".to_owned()
    }
}

fn cell(figure: &Figure) -> String {
    let median = number(figure.median);
    figure
        .p99
        .map_or(median.clone(), |p99| format!("{median} ({})", number(p99)))
}

/// Three digits that count; nothing for what was not measured.
pub(super) fn number(value: f64) -> String {
    if !value.is_finite() {
        "–".to_owned()
    } else if value.abs() >= 99.95 {
        format!("{value:.0}")
    } else if value.abs() >= 9.995 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// All tables of a run, and what is missing from it.
#[derive(Debug)]
pub(super) struct Report {
    machine: Vec<String>,
    gaps: Vec<String>,
    tables: Vec<Table>,
}

impl Report {
    pub(super) fn new(machine: Vec<String>) -> Self {
        Self {
            machine,
            gaps: Vec::new(),
            tables: Vec::new(),
        }
    }

    pub(super) fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// What it was measured on, one line each.
    pub(super) fn machine(&self) -> &[String] {
        &self.machine
    }

    pub(super) fn add(&mut self, table: Table) {
        self.tables.push(table);
    }

    /// Tells of something that was not measured or not compared, and what would help.
    pub(super) fn miss(&mut self, gap: String) {
        eprintln!("hull-bench: missing: {gap}");
        self.gaps.push(gap);
    }

    /// Writes `report.md`, `report.json` and the charts. `budgets` is the table of
    /// docs/performance.md, if it could be read.
    pub(super) fn write(&self, budgets: &summary::Budgets) -> Result<()> {
        let mut text = String::from("# hull-bench\n\n");
        for line in &self.machine {
            let _infallible = writeln!(text, "- {line}");
        }
        for gap in &self.gaps {
            let _infallible = writeln!(text, "- missing: {gap}");
        }
        let _infallible = write!(text, "\n## Summary\n\n{}", budgets.measured(&self.tables));
        text.push_str("\n## Rows\n");
        for table in &self.tables {
            let _infallible = write!(text, "\n{}", table.markdown());
        }
        let json = json!({
            "machine": self.machine,
            "missing": self.gaps,
            "tables": self.tables.iter().map(Table::json).collect::<Vec<_>>(),
        });
        fs::create_dir_all(dir())?;
        fs::write(dir().join("report.md"), text)?;
        fs::write(dir().join("report.json"), serde_json::to_vec_pretty(&json)?)?;
        for (name, svg) in chart::draw_all(&self.tables) {
            fs::write(dir().join(name), svg)?;
        }
        Ok(())
    }
}

/// Where the report goes.
pub(super) fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let line = |name: &str, value: f64| (name.to_owned(), vec![Figure::from(value)]);
        Table {
            row: "task",
            id: "task-pod",
            title: "A title".to_owned(),
            how: "ms.".to_owned(),
            columns: vec!["sum"],
            lines: vec![
                line("hull", 8.0),
                line("Debian's runc shim (1.6, runc 1.1)", 50.0),
                line("null shim", 1.0),
                line("floor", 4.0),
            ],
            comparison: Some(Comparison::Ratio),
        }
    }

    #[test]
    fn figures_are_found_by_name_with_or_without_versions() {
        let table = table();
        assert_eq!(table.figure(HULL, "sum"), Some(8.0));
        assert_eq!(table.figure(DEBIAN, "sum"), Some(50.0));
        assert_eq!(table.figure(NEWEST, "sum"), None);
        assert_eq!(table.figure(HULL, "CPU"), None);
    }

    #[test]
    fn grid_compares_with_all_but_the_null_shim() {
        let grid = table().grid();
        assert!(
            grid.starts_with("| | sum |\n|---|---|\n| hull | 8.00 |\n"),
            "{grid}"
        );
        assert!(
            grid.ends_with("| hull ÷ Debian's runc shim | 0.16 |\n| hull ÷ floor | 2.00 |\n"),
            "{grid}"
        );
    }

    #[test]
    fn numbers_have_three_digits() {
        let texts = [0.123, 9.996, 99.96, 12345.6, f64::NAN].map(number);
        assert_eq!(texts, ["0.12", "10.0", "100", "12346", "–"]);
    }
}
