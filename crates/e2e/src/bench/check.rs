//! `make bench-check`: whether anything has become worse than docs/performance.md allows.

use super::memory::number as number_of;
use super::report::{Report, number};
use super::summary::{Budgets, Verdict};
use super::{Plan, Result, machine, run_row};

/// Above this load of one minute neighbours decide more than the code does.
const BUSY: f64 = 1.5;

/// Runs the rows that have budgets, or those of them that were named, and those with a budget that
/// was passed a second time: only what is over twice is over, because a neighbour can spoil one run.
/// Gives whether all budgets hold.
pub(super) fn run(plan: &Plan, report: &mut Report, budgets: &Budgets) -> Result<bool> {
    let load = machine::load();
    let mut rows = budgets.rows();
    rows.retain(|row| plan.is_wanted(row));
    let mut verdicts = judge(plan, report, budgets, &rows)?;
    let mut doubtful = rows.clone();
    doubtful.retain(|row| {
        verdicts
            .iter()
            .any(|verdict| verdict.over && verdict.row == *row)
    });
    for verdict in verdicts.iter().filter(|verdict| verdict.over) {
        eprintln!("hull-bench: measured once more: {}", line(verdict));
    }
    let again = judge(plan, report, budgets, &doubtful)?;
    for verdict in verdicts.iter_mut().filter(|verdict| verdict.over) {
        if let Some(second) = again.iter().find(|second| second.name == verdict.name) {
            verdict.clone_from(second);
        }
    }
    for verdict in &verdicts {
        println!("{}", line(verdict));
    }
    let over = verdicts.iter().filter(|verdict| verdict.over).count();
    let unknown = verdicts
        .iter()
        .filter(|verdict| verdict.value.is_none())
        .count();
    println!(
        "{} budgets, {over} over, {unknown} not measured",
        verdicts.len()
    );
    if over > 0 && number_of(&load) > BUSY {
        println!("the machine was busy before the run, load {load}: repeat it when it is quiet");
    }
    Ok(over == 0)
}

/// Runs these rows; gives what came of their budgets.
fn judge(
    plan: &Plan,
    report: &mut Report,
    budgets: &Budgets,
    rows: &[&'static str],
) -> Result<Vec<Verdict>> {
    let mut tables = Vec::new();
    for row in rows {
        tables.extend(run_row(plan, report, row)?);
    }
    let mut verdicts = budgets.verdicts(&tables);
    verdicts.retain(|verdict| rows.contains(&verdict.row));
    Ok(verdicts)
}

/// `ok    0.14  ≤ 0.20  exec of …`.
fn line(verdict: &Verdict) -> String {
    let (word, value) = match verdict.value {
        None => ("none", "–".to_owned()),
        Some(value) if verdict.over => ("over", number(value)),
        Some(value) => ("ok", number(value)),
    };
    format!(
        "{word:<4}  {value:>6}  {:<10}  {} (`{}`)",
        verdict.budget, verdict.name, verdict.row
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_was_measured_and_what_is_allowed() {
        let verdict = |value, over| Verdict {
            name: "exec",
            row: "exec",
            value,
            over,
            budget: "≤ 0.20".to_owned(),
        };
        assert_eq!(
            line(&verdict(Some(0.31), true)),
            "over    0.31  ≤ 0.20      exec (`exec`)"
        );
        assert!(line(&verdict(Some(0.1), false)).starts_with("ok "));
        assert!(line(&verdict(None, false)).starts_with("none       –"));
    }
}
