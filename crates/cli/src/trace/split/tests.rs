use super::*;
use hull_abi::Mark;

fn mark(who: Who, what: &'static str, at_ns: u64) -> Mark {
    Mark {
        who,
        what: what.into(),
        at_ns,
    }
}

fn ended(create_ms: u64, marks: Option<Vec<Mark>>) -> Ended {
    let phase = |what, began_ns, ended_ns| Phase {
        what,
        began_ns,
        ended_ns,
    };
    let end = 5_000_000 + create_ms * 1_000_000;
    Ended {
        code: 0,
        interrupted: None,
        phases: vec![
            phase("start the shim", 1_000_000, 5_000_000),
            phase("create", 5_000_000, end),
        ],
        created_at: 5_000_000,
        trace: marks.map(|marks| Trace { marks }),
    }
}

#[test]
fn steps_last_until_the_next_one_and_add_up() {
    let marks = vec![
        mark(Who::Daemon, "read", 5_100_000),
        mark(Who::Init, "mount", 5_300_000),
        mark(Who::Init, "mount", 5_900_000),
        mark(Who::Daemon, "done", 6_000_000),
    ];
    let split = Split::of(&[ended(1, Some(marks))]);
    let create = split.create.unwrap();
    let steps: Vec<_> = create
        .iter()
        .map(|step| (step.who, step.what.as_str(), step.at_ms, step.took_ms))
        .collect();
    let want = [
        ("daemon", "read", 0.1, 0.2),
        ("init", "mount", 0.3, 0.6),
        ("init", "mount", 0.9, 0.1),
    ];
    assert_eq!(steps, want);
    assert_eq!(split.client[0].at_ms, -4.0);
    assert_eq!(split.client[1].took_ms, 1.0);
}

#[test]
fn many_runs_give_medians() {
    let runs = [ended(1, None), ended(9, None), ended(2, None)];
    let split = Split::of(&runs);
    assert_eq!(split.client[1].took_ms, 2.0);
    assert!(split.create.is_none());
    assert_eq!(median([1_000_000, 2_000_000].into_iter()), 1.5);
}

#[test]
fn the_table_has_a_bar_for_the_longest_step() {
    let text = Split::of(&[ended(8, None)]).table(Screen::plain(None));
    let create = text.lines().find(|line| line.contains("create")).unwrap();
    assert!(create.ends_with(&"#".repeat(30)), "{text}");
    let start = text.lines().find(|line| line.contains("start")).unwrap();
    assert!(start.ends_with(&format!("  {}", "#".repeat(15))), "{text}");
}
