//! Whether a create takes longer on a machine that has many containers already.
//!
//! A full node has its containers in pods with a shim each, so the crowd is made of shims with five
//! containers each, and the container that is timed joins the first of them.

use tokio::runtime::Runtime;

use super::account;
use super::bed::Bed;
use super::cell::{Cell, runtime};
use super::peer::Peer;
use super::pod::Pod;
use super::report::{Figure, Line, Table};
use super::sample::Series;
use super::task::progress;
use super::{Plan, Result};

const IN_POD: usize = 5;
const FEW: usize = 10;
const MANY: usize = 500;

/// The table.
pub(super) fn measure(plan: &Plan) -> Result<Vec<Table>> {
    let rounds = plan.rounds(60);
    let lines: Result<Vec<Line>> = plan.rivals().map(|peer| line(peer, rounds)).collect();
    Ok(vec![Table {
        row: "crowd",
        id: "crowd",
        title: format!("Create of a container beside {FEW} and beside {MANY} live ones"),
        how: format!(
            "ms, median of {rounds}. {IN_POD} containers of `sleep` in each shim, as in the pods of \
             a node; the new one joins the first shim. Measured at {FEW}, at {MANY}, and at {FEW} \
             again."
        ),
        columns: vec!["at 10", "at 500", "ratio"],
        lines: lines?,
        comparison: None,
    }])
}

fn line(peer: &Peer, rounds: usize) -> Result<Line> {
    let bed = Bed::make()?;
    let mut crowd = Crowd {
        peer,
        bed: &bed,
        client: runtime()?,
        pods: Vec::new(),
    };
    let (mut few, mut many) = (Series::default(), Series::default());
    crowd.grow(FEW)?;
    crowd.measure(&mut few, rounds / 2)?;
    crowd.grow(MANY)?;
    crowd.measure(&mut many, rounds)?;
    crowd.shrink(FEW)?;
    crowd.measure(&mut few, rounds / 2)?;
    crowd.shrink(0)?;
    let ratio = many.median() / few.median();
    let figures = vec![Figure::from(&few), Figure::from(&many), ratio.into()];
    Ok((peer.name.clone(), figures))
}

/// A pod and its containers besides the one that it was started with.
type Member<'bed> = (Pod<'bed>, Vec<Cell<'bed>>);

/// The containers that are there already.
struct Crowd<'bed> {
    peer: &'bed Peer,
    bed: &'bed Bed,
    client: Runtime,
    pods: Vec<Member<'bed>>,
}

impl Crowd<'_> {
    /// Starts pods until there are so many containers.
    fn grow(&mut self, containers: usize) -> Result<()> {
        let what = format!("crowd of {}", self.peer.name);
        while self.pods.len() * IN_POD < containers {
            progress(&what, self.pods.len(), MANY / IN_POD);
            let pod = Pod::start(self.bed, self.peer, &self.client)?;
            let mut cells = Vec::new();
            for _ in 1..IN_POD {
                let cell = Cell::make(self.bed, self.peer, &["sleep", "1000000"])?;
                self.client.block_on(cell.launch(&pod.task))?;
                cells.push(cell);
            }
            self.pods.push((pod, cells));
        }
        Ok(())
    }

    /// Ends pods until there are so many containers.
    fn shrink(&mut self, containers: usize) -> Result<()> {
        while self.pods.len() * IN_POD > containers {
            let Some((pod, cells)) = self.pods.pop() else {
                break;
            };
            for cell in cells {
                self.client.block_on(cell.end(&pod.task))?;
                cell.remove()?;
            }
            pod.end(&self.client)?;
        }
        Ok(())
    }

    /// Adds the times of so many creates.
    fn measure(&self, series: &mut Series, rounds: usize) -> Result<()> {
        let (pod, _) = self.pods.first().ok_or("the crowd is empty")?;
        for _ in 0..rounds {
            let cell = Cell::make(self.bed, self.peer, &["true"])?;
            let times = self.client.block_on(cell.run(&pod.task))?;
            cell.remove()?;
            account::rest(std::slice::from_ref(&pod.account));
            series.push_time(times.create);
        }
        Ok(())
    }
}
