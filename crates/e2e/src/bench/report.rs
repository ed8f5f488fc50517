//! Tables, their ratios, and the files they go to.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Result;
use super::sample::Series;

/// One figure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figure {
    median: f64,
    p99: Option<f64>,
}

#[cfg(test)]
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
    /// What it is, in a few words.
    pub(super) title: String,
    /// How it was measured.
    pub(super) how: String,
    /// The figures' names, units included.
    pub(super) columns: Vec<&'static str>,
    /// Ours is the first.
    pub(super) lines: Vec<Line>,
    /// `None` if the lines are no alternatives to each other.
    pub(super) comparison: Option<Comparison>,
}

impl Table {
    /// The table as text, with a line that compares the first with each of the others.
    pub(super) fn markdown(&self) -> String {
        let mut text = format!("## {}\n\n{}\n\n", self.title, self.how);
        let rule = "---|".repeat(self.columns.len() + 1);
        let _infallible = writeln!(text, "| | {} |\n|{rule}", self.columns.join(" | "));
        for (name, figures) in &self.lines {
            let cells: Vec<String> = figures.iter().map(cell).collect();
            let _infallible = writeln!(text, "| {name} | {} |", cells.join(" | "));
        }
        for line in self.comparisons() {
            let _infallible = writeln!(text, "{line}");
        }
        text
    }

    fn comparisons(&self) -> Vec<String> {
        let (Some(comparison), Some(((name, ours), others))) =
            (self.comparison, self.lines.split_first())
        else {
            return Vec::new();
        };
        let compare = |(other, theirs): &Line| {
            let cells: Vec<String> = ours
                .iter()
                .zip(theirs)
                .map(|(ours, theirs)| comparison.cell(ours.median, theirs.median))
                .collect();
            format!(
                "| {name} {} {other} | {} |",
                comparison.sign(),
                cells.join(" | ")
            )
        };
        others.iter().map(compare).collect()
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
            "title": self.title,
            "how": self.how,
            "peers": lines.collect::<Vec<_>>(),
        })
    }
}

/// A ratio, or nothing where the other figure is as good as zero.
fn ratio(value: f64) -> String {
    if value.is_finite() && value < 1000.0 {
        format!("{value:.2}")
    } else {
        "–".to_owned()
    }
}

fn cell(figure: &Figure) -> String {
    let median = number(figure.median);
    figure.p99.map_or(median.clone(), |p99| {
        format!("{median} (p99 {})", number(p99))
    })
}

/// Three digits that count.
fn number(value: f64) -> String {
    if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// All tables of a run.
#[derive(Debug)]
pub(super) struct Report {
    machine: Vec<String>,
    missing: Vec<String>,
    tables: Vec<Table>,
}

impl Report {
    pub(super) fn new(machine: Vec<String>, missing: Vec<String>) -> Self {
        for line in &missing {
            eprintln!("hull-bench: not compared: {line}");
        }
        Self {
            machine,
            missing,
            tables: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, table: Table) {
        self.tables.push(table);
    }

    /// Writes `report.md` and `report.json`.
    pub(super) fn write(&self) -> Result<()> {
        let mut text = String::from("# hull-bench\n\n");
        for line in &self.machine {
            let _infallible = writeln!(text, "- {line}");
        }
        for line in &self.missing {
            let _infallible = writeln!(text, "- not compared: {line}");
        }
        for table in &self.tables {
            let _infallible = write!(text, "\n{}", table.markdown());
        }
        let json = json!({
            "machine": self.machine,
            "missing": self.missing,
            "tables": self.tables.iter().map(Table::json).collect::<Vec<_>>(),
        });
        fs::create_dir_all(dir())?;
        fs::write(dir().join("report.md"), text)?;
        fs::write(dir().join("report.json"), serde_json::to_vec_pretty(&json)?)?;
        Ok(())
    }
}

/// Where the report goes.
pub(super) fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench")
}
