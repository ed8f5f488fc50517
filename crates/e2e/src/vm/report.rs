//! What the guest says: passed on line by line, and judged.

use std::io::{BufRead, BufReader};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use super::Result;
use super::machine::Machine;
use super::suite::{LIMIT, Part};

/// How long the boot may take, and the end.
const BOOT_LIMIT: Duration = Duration::from_secs(120);

/// What became of one file of tests.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    name: String,
    /// Of its process.
    status: i32,
    /// How many tests ran, by its last line.
    ran: usize,
}

/// Prints what the tests print until the machine is off. An error is what went wrong first.
pub(super) fn follow(machine: Machine, parts: &[Part]) -> Result<()> {
    let mut machine = Some(machine);
    let output = machine
        .as_mut()
        .and_then(Machine::take_output)
        .ok_or("QEMU has no standard output")?;
    let (lines, hears) = mpsc::channel();
    let reader = thread::spawn(move || {
        for line in BufReader::new(output)
            .split(b'\n')
            .map_while(std::io::Result::ok)
        {
            if lines
                .send(String::from_utf8_lossy(&line).into_owned())
                .is_err()
            {
                break;
            }
        }
    });
    let outcomes = listen(&hears);
    let off = outcomes
        .is_ok()
        .then(|| machine.take())
        .flatten()
        .map(Machine::finish);
    // Killed, should it still run: then the reader ends too.
    drop(machine);
    drop(reader.join());
    judge(&outcomes?, parts)?;
    off.unwrap_or(Ok(()))
}

/// Follows the guest's lines to `vm: done`.
fn listen(hears: &Receiver<String>) -> Result<Vec<Outcome>> {
    let mut deadline = Instant::now() + BOOT_LIMIT;
    let (mut outcomes, mut ran, mut began, mut doing) =
        (Vec::new(), 0, Instant::now(), "booting".to_owned());
    loop {
        let line = hears
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            .map_err(|error| match error {
                mpsc::RecvTimeoutError::Timeout => format!("the guest hung while {doing}"),
                mpsc::RecvTimeoutError::Disconnected => format!("the guest ended while {doing}"),
            })?;
        let words: Vec<&str> = line.trim_end().split(' ').collect();
        match words.as_slice() {
            ["vm:", "begin", name] => {
                (ran, began, doing) = (0, Instant::now(), format!("running {name}"));
                // The guest's own deadline comes first.
                deadline = began + LIMIT + BOOT_LIMIT;
                println!("\n     Running tests/{name}.rs in the machine");
            }
            ["vm:", "end", name, status] => {
                println!(
                    "     {name}: {:.1} s in the machine",
                    began.elapsed().as_secs_f32()
                );
                outcomes.push(Outcome {
                    name: (*name).to_owned(),
                    status: status.parse()?,
                    ran,
                });
                doing = "between files".to_owned();
            }
            ["vm:", "done"] => return Ok(outcomes),
            ["test", "result:", rest @ ..] => {
                ran = count(rest);
                println!("{line}");
            }
            _ => println!("{line}"),
        }
    }
}

/// Passed and failed tests of a result line: `ok. 3 passed; 1 failed; …`.
fn count(words: &[&str]) -> usize {
    words
        .windows(2)
        .filter(|pair| matches!(pair[1], "passed;" | "failed;"))
        .filter_map(|pair| pair[0].parse::<usize>().ok())
        .sum()
}

/// An error names every part that is not good.
fn judge(outcomes: &[Outcome], parts: &[Part]) -> Result<()> {
    let bad: Vec<String> = parts
        .iter()
        .filter_map(|part| flaw(outcomes, part))
        .collect();
    if bad.is_empty() {
        Ok(())
    } else {
        Err(bad.join("; ").into())
    }
}

fn flaw(outcomes: &[Outcome], part: &Part) -> Option<String> {
    let name = part.file.name;
    let Some(outcome) = outcomes.iter().find(|outcome| outcome.name == name) else {
        return Some(format!("{name} did not run"));
    };
    match outcome.status {
        0 if outcome.ran == 0 => Some(format!("{name} ran no test")),
        0 if outcome.ran < part.tests.len() => Some(format!("{name} lacks a test that was named")),
        0 => None,
        137 => Some(format!(
            "{name} was killed, after {LIMIT:?} or by something else"
        )),
        status => Some(format!("{name} failed (status {status})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::suite;

    fn outcome(status: i32, ran: usize) -> Vec<Outcome> {
        vec![Outcome {
            name: "cgroup".to_owned(),
            status,
            ran,
        }]
    }

    #[test]
    fn only_a_file_that_ran_and_passed_is_good() {
        let files = [suite::find("cgroup").unwrap()];
        assert!(judge(&outcome(0, 3), &files).is_ok());
        for bad in [outcome(101, 3), outcome(0, 0), outcome(137, 1), Vec::new()] {
            assert!(judge(&bad, &files).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn tests_that_ran_are_counted() {
        let line =
            "ok. 13 passed; 2 failed; 7 ignored; 0 measured; 9 filtered out; finished in 1.00s";
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(count(&words), 15);
    }

    #[test]
    fn guest_that_falls_silent_is_told_with_what_it_did() {
        let (lines, hears) = mpsc::channel();
        lines.send("vm: begin cgroup".to_owned()).unwrap();
        drop(lines);
        let error = listen(&hears).unwrap_err().to_string();
        assert_eq!(error, "the guest ended while running cgroup");
    }
}
