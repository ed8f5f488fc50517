//! The table of docs/performance.md: targets and budgets are read from it, figures go into it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::Result;
use super::budget::{Bound, cells};
use super::measure::{self, Measure};
use super::report::{DEBIAN, FLOOR, NEWEST, NULL, Table, number};

/// What stands around the table.
pub(super) const BEGIN: &str = "<!-- budgets:begin -->";
const END: &str = "<!-- budgets:end -->";

const HEADER: [&str; 10] = [
    "measure",
    "target",
    "budget",
    "measured",
    "hull",
    "Debian's runc",
    "newest runc",
    "null",
    "floor",
    "command",
];
/// The columns before the figures, and those of figures.
const STATED: usize = 3;
const FIGURES: usize = 6;
/// What stands where there is nothing to say.
const NOTHING: &str = "–";

/// One line of the table.
#[derive(Debug)]
struct Line {
    measure: &'static Measure,
    cells: Vec<String>,
}

impl Line {
    fn bound(&self, column: usize) -> Option<Bound> {
        Bound::parse(self.cells.get(column)?)
    }

    /// Its cells with the figures of a run; nothing if its row was not run.
    fn renewed(&self, tables: &[Table]) -> Option<Vec<String>> {
        tables.iter().find(|table| table.id == self.measure.table)?;
        let mut cells = self.cells.clone();
        cells.splice(STATED..STATED + FIGURES, figures(self, tables));
        Some(cells)
    }
}

/// The table.
#[derive(Debug)]
pub(super) struct Budgets(Vec<Line>);

/// What came of one budget.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Verdict {
    /// The measure's name.
    pub(super) name: &'static str,
    /// The row that measures it.
    pub(super) row: &'static str,
    /// What was measured, if it was.
    pub(super) value: Option<f64>,
    /// Whether it is beyond the budget.
    pub(super) over: bool,
    /// `≤ 0.40`.
    pub(super) budget: String,
}

impl Budgets {
    /// Reads the table of docs/performance.md.
    ///
    /// # Errors
    /// The file cannot be read, or a line of its table is not as it should be.
    pub(super) fn read() -> Result<Self> {
        let path = docs();
        let text =
            fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?)
    }

    fn parse(text: &str) -> std::result::Result<Self, String> {
        let (_, rest) = text
            .split_once(BEGIN)
            .ok_or_else(|| format!("no {BEGIN}"))?;
        let (table, _) = rest.split_once(END).ok_or_else(|| format!("no {END}"))?;
        let mut lines = table.lines().filter_map(cells);
        if lines.next().as_deref() != Some(&HEADER) {
            return Err(format!(
                "the table of budgets must have the columns {HEADER:?}"
            ));
        }
        let line = |cells: Vec<&str>| {
            let name = cells.first().copied().unwrap_or_default();
            let measure = measure::find(name)
                .ok_or_else(|| format!("nothing measures {name:?}; see measure.rs"))?;
            if cells.len() != HEADER.len() {
                return Err(format!(
                    "{name}: {} cells instead of {}",
                    cells.len(),
                    HEADER.len()
                ));
            }
            let cells = cells.into_iter().map(str::to_owned).collect();
            Ok(Line { measure, cells })
        };
        // The second line is the rule below the header.
        let lines: std::result::Result<Vec<Line>, String> = lines.skip(1).map(line).collect();
        Ok(Self(lines?))
    }

    /// The rows that are needed for all budgets.
    pub(super) fn rows(&self) -> Vec<&'static str> {
        let mut rows: Vec<&'static str> = Vec::new();
        for line in self.0.iter().filter(|line| line.bound(2).is_some()) {
            if !rows.contains(&line.measure.row) {
                rows.push(line.measure.row);
            }
        }
        rows
    }

    /// The lines of the rows that were run, with the figures of the run.
    pub(super) fn measured(&self, tables: &[Table]) -> String {
        table(self.0.iter().filter_map(|line| line.renewed(tables)))
    }

    /// The whole table for docs/performance.md; lines of rows that were not run stay as they are.
    pub(super) fn renewed(&self, tables: &[Table]) -> String {
        let lines = self.0.iter();
        let lines = lines.map(|line| line.renewed(tables).unwrap_or_else(|| line.cells.clone()));
        format!("{BEGIN}\n{}{END}\n", table(lines))
    }

    /// What came of each budget.
    pub(super) fn verdicts(&self, tables: &[Table]) -> Vec<Verdict> {
        let verdict = |line: &Line| {
            let bound = line.bound(2)?;
            let value = line.measure.value(tables);
            Some(Verdict {
                name: line.measure.name,
                row: line.measure.row,
                value,
                over: value.is_some_and(|value| !bound.holds(value)),
                budget: line.cells.get(2).cloned().unwrap_or_default(),
            })
        };
        self.0.iter().filter_map(verdict).collect()
    }
}

fn table(lines: impl Iterator<Item = Vec<String>>) -> String {
    let rule = "---|".repeat(HEADER.len());
    let mut text = format!("| {} |\n|{rule}\n", HEADER.join(" | "));
    for cells in lines {
        let _infallible = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}

/// `measured` and the figures behind it.
fn figures(line: &Line, tables: &[Table]) -> [String; FIGURES] {
    let measure = line.measure;
    let with_unit =
        |value: f64, unit: &str| format!("{} {unit}", number(value)).trim_end().to_owned();
    let measured = measure.value(tables).map(|value| {
        let verdict = match line.bound(1).map(|target| target.holds(value)) {
            Some(true) => ", met",
            Some(false) => ", missed",
            None => "",
        };
        with_unit(value, measure.value_unit()) + verdict
    });
    let figure = |name: &str| {
        let figure = measure.figure(tables, name)?;
        Some(with_unit(figure, measure.unit))
    };
    [
        measured,
        figure(measure.ours()),
        figure(DEBIAN),
        figure(NEWEST),
        figure(NULL),
        figure(FLOOR),
    ]
    .map(|cell| cell.unwrap_or_else(|| NOTHING.to_owned()))
}

/// `docs/performance.md` of this repository.
pub(super) fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/performance.md")
}

#[cfg(test)]
mod tests {
    use super::super::report::Figure;
    use super::*;

    const DOCS: &str = "\
text
<!-- budgets:begin -->
| measure | target | budget | measured | hull | Debian's runc | newest runc | null | floor | command |
|---|---|---|---|---|---|---|---|---|---|
| exec of `true`: hull ÷ Debian's runc | ≤ 0.20 | ≤ 0.30 | 0.1 | old | – | – | – | – | `exec` |
| shim binary | ≤ 6 MB | – | 5.40 MB | old | – | – | – | – | `size` |
<!-- budgets:end -->
more";

    fn exec(hull: f64) -> Table {
        let line = |name: &str, value: f64| (name.to_owned(), vec![Figure::from(value)]);
        Table {
            row: "exec",
            id: "exec",
            title: String::new(),
            how: String::new(),
            columns: vec!["sum"],
            lines: vec![
                line("hull", hull),
                line("Debian's runc shim (1)", 10.0),
                line("null shim", 1.0),
            ],
            comparison: None,
        }
    }

    #[test]
    fn figures_of_rows_that_ran_replace_the_old_ones() {
        let budgets = Budgets::parse(DOCS).unwrap();
        let table = budgets.renewed(&[exec(2.5)]);
        assert!(
            table.contains(
                "| ≤ 0.20 | ≤ 0.30 | 0.25, missed | 2.50 ms | 10.0 ms | – | 1.00 ms | – | `exec` |"
            ),
            "{table}"
        );
        assert!(table.contains("| 5.40 MB | old |"), "{table}");
        let measured = budgets.measured(&[exec(2.5)]);
        assert!(
            measured.contains("0.25, missed") && !measured.contains("old"),
            "{measured}"
        );
    }

    #[test]
    fn a_written_table_can_be_read_again() {
        let budgets = Budgets::parse(DOCS).unwrap();
        let again = Budgets::parse(&budgets.renewed(&[])).unwrap();
        assert_eq!(again.renewed(&[]), budgets.renewed(&[]));
    }

    #[test]
    fn only_a_value_beyond_its_budget_is_over() {
        let budgets = Budgets::parse(DOCS).unwrap();
        assert_eq!(budgets.rows(), ["exec"]);
        let over = |hull| {
            budgets
                .verdicts(&[exec(hull)])
                .iter()
                .any(|verdict| verdict.over)
        };
        assert_eq!([2.9, 3.0, 3.1].map(over), [false, false, true]);
        let missing = budgets.verdicts(&[]);
        assert_eq!(
            (missing.len(), missing[0].value, missing[0].over),
            (1, None, false)
        );
    }

    #[test]
    fn unknown_measures_and_columns_are_refused() {
        let unknown = DOCS.replace("shim binary", "shim colour");
        assert!(
            Budgets::parse(&unknown)
                .unwrap_err()
                .contains("shim colour")
        );
        assert!(Budgets::parse(&DOCS.replace("| floor ", "")).is_err());
        assert!(Budgets::parse("nothing").is_err());
    }

    #[test]
    fn the_table_of_this_repository_is_as_it_should_be() {
        Budgets::read().unwrap();
    }
}
