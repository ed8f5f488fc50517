//! The order of events that every shim must keep (containerd `docs/runtime-v2.md`, "Events").
//!
//! Per container: create, start, exit, delete. Per exec: added, started, exit. Exactly one exit
//! per process. The init's exit is the last exit of its container, and an OOM event comes before
//! it. Nothing follows the delete but the create of the next container with that id.

use std::collections::HashMap;

use crate::events::{Event, Topic};

/// Whether the containers are all gone, so that what began must also have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All containers were deleted.
    Complete,
    /// Containers may still live, or their shim was killed.
    Partial,
}

/// The broken rules, each in one line. An empty list is what every test wants.
pub fn violations(events: &[Event], extent: Extent) -> Vec<String> {
    let mut lives: HashMap<&str, Life> = HashMap::new();
    let mut found = Vec::new();
    for event in events {
        let life = lives.entry(&event.container).or_default();
        if let Err(rule) = life.see(event) {
            found.push(format!("{rule}: {event}"));
        }
    }
    if extent == Extent::Complete {
        for (container, life) in &lives {
            found.extend(life.unfinished().map(|what| format!("{what}: {container}")));
        }
    }
    found
}

/// What was seen of one container since its create event.
#[derive(Debug, Default)]
struct Life {
    stage: Stage,
    pid: u32,
    execs: HashMap<String, Exec>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Nothing,
    Created,
    Started,
    Exited,
    Deleted,
}

#[derive(Debug)]
enum Exec {
    Added,
    Started(u32),
    Exited,
}

impl Life {
    fn see(&mut self, event: &Event) -> Result<(), &'static str> {
        match (event.topic, event.exec.is_empty()) {
            (Topic::Create, _) => self.create(event),
            (Topic::ExecAdded, _) => self.exec_added(event),
            (Topic::ExecStarted, _) => self.exec_started(event),
            (Topic::Exit, false) => self.exec_exit(event),
            // Some shims tell of an exec's deletion, the documentation allows it.
            (Topic::Delete, false) => self.expect_alive_or_exited(),
            (Topic::Start, _) => {
                let allowed = self.stage == Stage::Created;
                self.stage = Stage::Started;
                rule(allowed, "start without create, after exit or twice")?;
                rule(event.pid == self.pid, "start has another pid than create")
            }
            (Topic::Exit, true) => {
                let allowed = matches!(self.stage, Stage::Created | Stage::Started);
                self.stage = Stage::Exited;
                rule(allowed, "exit of an init without create, or twice")?;
                rule(event.pid == self.pid, "exit has another pid than create")?;
                let running = self
                    .execs
                    .values()
                    .any(|exec| matches!(exec, Exec::Started(_)));
                rule(!running, "exit of the init before that of a started exec")
            }
            (Topic::Oom, _) => rule(
                matches!(self.stage, Stage::Created | Stage::Started),
                "OOM not between create and exit",
            ),
            (Topic::Paused | Topic::Resumed, _) => rule(
                self.stage == Stage::Started,
                "paused or resumed while not running",
            ),
            (Topic::Delete, true) => {
                let allowed = self.stage == Stage::Exited;
                self.stage = Stage::Deleted;
                rule(allowed, "delete before exit, or twice")
            }
        }
    }

    fn create(&mut self, event: &Event) -> Result<(), &'static str> {
        let allowed = matches!(self.stage, Stage::Nothing | Stage::Deleted);
        *self = Self {
            stage: Stage::Created,
            pid: event.pid,
            execs: HashMap::new(),
        };
        rule(allowed, "create of a container that is not deleted")?;
        rule(event.pid > 0, "create without pid")
    }

    fn exec_added(&mut self, event: &Event) -> Result<(), &'static str> {
        let before = self.execs.insert(event.exec.clone(), Exec::Added);
        rule(
            matches!(self.stage, Stage::Created | Stage::Started),
            "exec added to a container that is not there or has ended",
        )?;
        // An exec that was never started may be deleted without any event.
        rule(
            !matches!(before, Some(Exec::Started(_))),
            "exec added while it runs",
        )
    }

    fn exec_started(&mut self, event: &Event) -> Result<(), &'static str> {
        let before = self
            .execs
            .insert(event.exec.clone(), Exec::Started(event.pid));
        rule(
            matches!(before, Some(Exec::Added)),
            "exec started without being added, or twice",
        )?;
        rule(
            self.stage == Stage::Started,
            "exec started while the init is not running",
        )
    }

    fn exec_exit(&mut self, event: &Event) -> Result<(), &'static str> {
        let before = self.execs.insert(event.exec.clone(), Exec::Exited);
        let Some(Exec::Started(pid)) = before else {
            return Err("exit of an exec that was not started, or twice");
        };
        rule(
            event.pid == pid,
            "exit of an exec has another pid than its start",
        )?;
        rule(
            self.stage == Stage::Started,
            "exit of an exec after that of the init",
        )
    }

    fn expect_alive_or_exited(&self) -> Result<(), &'static str> {
        let there = !matches!(self.stage, Stage::Nothing | Stage::Deleted);
        rule(there, "delete of an exec whose container is not there")
    }

    /// What a container that is gone should have told but did not.
    fn unfinished(&self) -> Option<&'static str> {
        if self
            .execs
            .values()
            .any(|exec| matches!(exec, Exec::Started(_)))
        {
            return Some("an exec was started and its exit never came");
        }
        match self.stage {
            Stage::Nothing | Stage::Deleted => None,
            Stage::Created | Stage::Started => Some("the exit of the init never came"),
            Stage::Exited => Some("the delete never came"),
        }
    }
}

fn rule(kept: bool, name: &'static str) -> Result<(), &'static str> {
    if kept { Ok(()) } else { Err(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(topic: Topic, exec: &str, pid: u32) -> Event {
        Event {
            topic,
            container: "c".to_owned(),
            exec: exec.to_owned(),
            pid,
            status: 0,
        }
    }

    #[test]
    fn whole_life_with_exec_is_in_order() {
        let events = [
            event(Topic::Create, "", 7),
            event(Topic::Start, "", 7),
            event(Topic::ExecAdded, "e", 0),
            event(Topic::ExecStarted, "e", 8),
            event(Topic::Oom, "", 0),
            event(Topic::Exit, "e", 8),
            event(Topic::Exit, "", 7),
            event(Topic::Delete, "", 7),
            event(Topic::Create, "", 9),
            event(Topic::Exit, "", 9),
            event(Topic::Delete, "", 9),
        ];
        assert_eq!(violations(&events, Extent::Complete), Vec::<String>::new());
    }

    #[test]
    fn each_broken_rule_is_named() {
        let start = [event(Topic::Create, "", 7), event(Topic::Start, "", 7)];
        let exec = [
            event(Topic::ExecAdded, "e", 0),
            event(Topic::ExecStarted, "e", 8),
        ];
        let exit = event(Topic::Exit, "", 7);
        let cases: [(Vec<Event>, &str); 7] = [
            (vec![event(Topic::Start, "", 7)], "start without create"),
            (
                [&start[..], &[exit.clone(), exit.clone()]].concat(),
                "exit of an init",
            ),
            (
                [&start[..], &exec[..], std::slice::from_ref(&exit)].concat(),
                "before that of a started exec",
            ),
            (
                [&start[..], &[exit.clone(), event(Topic::Oom, "", 0)]].concat(),
                "OOM not between",
            ),
            (
                [&start[..], &[event(Topic::Delete, "", 7)]].concat(),
                "delete before exit",
            ),
            (
                [&start[..], &[event(Topic::Exit, "e", 8)]].concat(),
                "was not started",
            ),
            (
                [&start[..], &[event(Topic::Exit, "", 6)]].concat(),
                "another pid",
            ),
        ];
        for (events, text) in cases {
            let found = violations(&events, Extent::Partial);
            assert!(
                found.len() == 1 && found[0].contains(text),
                "{text}: {found:?}"
            );
        }
    }

    #[test]
    fn what_never_ended_is_found_only_when_all_is_gone() {
        let events = [event(Topic::Create, "", 7), event(Topic::Start, "", 7)];
        assert_eq!(violations(&events, Extent::Partial), Vec::<String>::new());
        assert_eq!(
            violations(&events, Extent::Complete),
            ["the exit of the init never came: c"]
        );
    }

    #[test]
    fn line_of_ctr_events_is_read() {
        let line = "2026-11-22 15:00:00.1 +0000 UTC ns /tasks/exit \
            {\"container_id\":\"c\",\"id\":\"e\",\"pid\":8,\"exit_status\":7}";
        let read = Event::from_ctr(line, "ns").unwrap();
        assert_eq!(
            read,
            Event {
                status: 7,
                ..event(Topic::Exit, "e", 8)
            }
        );
        assert_eq!(Event::from_ctr(line, "other"), None);
    }
}
