//! An exec of `true` in a running container over a persistent client.

use super::account;
use super::bed::Bed;
use super::cell::runtime;
use super::pod::Pod;
use super::report::{Comparison, Table};
use super::task::{Calls, progress};
use super::{Plan, Result};

const WARM_UP: usize = 3;

/// The table.
pub(super) fn measure(plan: &Plan) -> Result<Vec<Table>> {
    let rounds = plan.rounds(100);
    let bed = Bed::make()?;
    let client = runtime()?;
    let mut pods = Vec::new();
    for peer in &plan.peers {
        pods.push(Pod::start(&bed, peer, &client)?);
    }
    let mut series: Vec<Calls> = Vec::new();
    series.resize_with(pods.len(), Default::default);
    for round in 0..WARM_UP + rounds {
        progress("execs", round, WARM_UP + rounds);
        for (pod, calls) in pods.iter().zip(&mut series) {
            let before = pod.account.used();
            let times = client.block_on(pod.cell.exec(&pod.task, &format!("e{round}")))?;
            account::rest(std::slice::from_ref(&pod.account));
            if round >= WARM_UP {
                calls.push(times);
                calls.push_cpu(&pod.account, before);
            }
        }
    }
    for pod in pods {
        pod.end(&client)?;
    }
    let lines = plan.peers.iter().zip(&series);
    Ok(vec![Table {
        row: "exec",
        id: "exec",
        title: "An exec of `true` in a running container".to_owned(),
        how: format!(
            "ms, median of {rounds}. Exec, Start, exit and Delete over one persistent client. CPU \
             is of shim, what it starts, and the process."
        ),
        columns: vec!["Exec", "Start", "exit", "Delete", "sum", "CPU"],
        lines: lines
            .map(|(peer, calls)| (peer.name.clone(), calls.figures().to_vec()))
            .collect(),
        comparison: Some(Comparison::Ratio),
    }])
}
