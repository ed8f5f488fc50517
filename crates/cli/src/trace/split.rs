//! The split of one run or the medians of many.

use std::collections::HashMap;
use std::hash::Hash;

use hull_abi::{Trace, Who};
use serde::Serialize;

use crate::layout::{Cell, Paint, Row, Screen};
use crate::session::{Ended, Phase};

/// Longest bar, in characters.
const BAR: u64 = 30;

const MILLISECOND: f64 = 1e6;

/// Where the time of a container went.
#[derive(Debug, Serialize)]
pub(super) struct Split {
    /// How many runs these are the medians of.
    runs: usize,
    /// What the client did, one after the other.
    client: Vec<Step>,
    /// The same within Create, in the shim's processes; nothing if a run has no record.
    pub(super) create: Option<Vec<Step>>,
}

/// A part of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Step {
    /// The process: client, daemon, job, init.
    who: &'static str,
    what: String,
    /// Milliseconds from the moment at which Create was sent.
    at_ms: f64,
    took_ms: f64,
}

/// A step of one run: nanoseconds from Create, and of its length.
#[derive(Debug, Clone, Copy)]
struct Measured {
    at: i64,
    took: i64,
}

impl Split {
    /// The medians of some runs; there is at least one.
    pub(super) fn of(ended: &[Ended]) -> Self {
        let client = medians(ended.iter().map(client).collect());
        let traces: Option<Vec<_>> = ended
            .iter()
            .map(|ended| Some(create(ended.trace.as_ref()?, ended.created_at)))
            .collect();
        Self {
            runs: ended.len(),
            client,
            create: traces.map(medians),
        }
    }

    /// As a table.
    pub(super) fn table(&self, screen: Screen) -> String {
        let heading = |text: &str| Cell::new(text, Paint::Heading);
        let mut rows: Vec<Row> = vec![vec![
            heading("process"),
            heading("at ms"),
            heading("took ms"),
            heading("step"),
            heading(""),
        ]];
        rows.extend(bars(&self.client));
        if let Some(create) = &self.create {
            rows.push(vec![heading("")]);
            rows.push(vec![heading("within create")]);
            rows.extend(bars(create));
        }
        if self.runs > 1 {
            rows.push(vec![heading("")]);
            let runs = format!("medians of {} runs", self.runs);
            rows.push(vec![Cell::new(runs, Paint::Faint)]);
        }
        screen.rows(&rows)
    }
}

fn bars(steps: &[Step]) -> impl Iterator<Item = Row> {
    let longest = steps.iter().map(|step| step.took_ms).fold(0.0, f64::max);
    steps.iter().map(move |step| {
        vec![
            step.who.into(),
            format!("{:8.3}", step.at_ms).into(),
            format!("{:8.3}", step.took_ms).into(),
            (&step.what).into(),
            Cell::new(bar(step.took_ms, longest), Paint::Good),
        ]
    })
}

/// A bar in proportion to the longest step's; a step that took any time has one character.
fn bar(took: f64, longest: f64) -> String {
    let length = (1..=BAR).filter(|length| {
        #[expect(clippy::cast_precision_loss, reason = "at most 30")]
        let share = (*length as f64 - 1.0) / BAR as f64;
        longest > 0.0 && took / longest > share
    });
    "#".repeat(length.count())
}

/// What a step is known by in every run: its name, and which of that name it is.
type Name = (&'static str, String, usize);

fn client(ended: &Ended) -> Vec<(Name, Measured)> {
    let step = |phase: &Phase| {
        let measured = Measured {
            at: between(ended.created_at, phase.began_ns),
            took: between(phase.began_ns, phase.ended_ns),
        };
        (("client", phase.what.to_owned()), measured)
    };
    numbered(ended.phases.iter().map(step))
}

/// Each step lasts until the next one begins, in whichever process.
fn create(trace: &Trace, created_at: u64) -> Vec<(Name, Measured)> {
    let ends = trace.marks.iter().skip(1);
    let steps = trace.marks.iter().zip(ends).map(|(mark, next)| {
        let measured = Measured {
            at: between(created_at, mark.at_ns),
            took: between(mark.at_ns, next.at_ns),
        };
        (
            (process(mark.who), mark.what.clone().into_owned()),
            measured,
        )
    });
    numbered(steps)
}

fn process(who: Who) -> &'static str {
    match who {
        Who::Daemon => "daemon",
        Who::Job => "job",
        Who::Init => "init",
    }
}

fn between(from: u64, to: u64) -> i64 {
    to.cast_signed().wrapping_sub(from.cast_signed())
}

fn numbered<K: Hash + Eq + Clone + Into<(&'static str, String)>>(
    steps: impl Iterator<Item = (K, Measured)>,
) -> Vec<(Name, Measured)> {
    let mut seen: HashMap<K, usize> = HashMap::new();
    steps
        .map(|(key, measured)| {
            let number = seen.entry(key.clone()).or_default();
            *number += 1;
            let (who, what) = key.into();
            ((who, what, *number), measured)
        })
        .collect()
}

/// The medians of each step over the runs that have it, in the order of their beginnings. Those that
/// begin at once stay in the order of the run with most steps.
fn medians(runs: Vec<Vec<(Name, Measured)>>) -> Vec<Step> {
    let mut all: HashMap<Name, Vec<Measured>> = HashMap::new();
    for (name, measured) in runs.iter().flatten() {
        all.entry(name.clone()).or_default().push(*measured);
    }
    let order = runs.iter().max_by_key(|run| run.len());
    let mut steps: Vec<Step> = order
        .into_iter()
        .flatten()
        .map(|(name, _)| {
            let measured = all.get(name).map(Vec::as_slice).unwrap_or_default();
            Step {
                who: name.0,
                what: name.1.clone(),
                at_ms: median(measured.iter().map(|m| m.at)),
                took_ms: median(measured.iter().map(|m| m.took)),
            }
        })
        .collect();
    steps.sort_by(|one, other| one.at_ms.total_cmp(&other.at_ms));
    steps
}

/// The median in milliseconds: of an even number, the mean of the middle two.
fn median(nanoseconds: impl Iterator<Item = i64>) -> f64 {
    let mut sorted: Vec<i64> = nanoseconds.collect();
    sorted.sort_unstable();
    let upper = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
    let below = sorted.len().saturating_sub(1) / 2;
    let lower = sorted.get(below).copied().unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "durations, far below 2^53 ns")]
    let middle = (lower + upper) as f64 / 2.0;
    // Nanoseconds are exact; more digits are only noise of the division.
    (middle / MILLISECOND * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests;
