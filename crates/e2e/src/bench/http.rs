//! Servers of HTTP requests: hull in a container beside `wasmtime serve` of the same version, and what hyper
//! alone does on this machine. All listen on the loopback; a hello world of few bytes is asked for.

pub(super) mod bare;
mod load;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hull_client::Spec;
use hull_client::Task;
use tokio::runtime::Runtime;

use super::bed::Bed;
use super::cell::{Cell, runtime};
use super::peer::{self, Peer};
use super::report::{Comparison, Figure, Line, Table};
use super::sample::Series;
use super::task::progress;
use super::{Plan, Result};
use crate::rootfs::Image;

/// Connections of the load.
const CONNECTIONS: usize = 32;
/// Requests of one round.
const REQUESTS: usize = 20_000;
/// How long a server may take until it listens; wasmtime compiles first.
const START_LIMIT: Duration = Duration::from_secs(60);
/// The guests: fresh instances, and one for many requests.
const GUESTS: [(&str, &str); 2] = [("0.2", "/wasm/http.wasm"), ("0.3", "/wasm/http3.wasm")];

/// The table; what wasmtime does is left out where there is none.
pub(super) fn measure(plan: &Plan) -> Result<Vec<Table>> {
    let rounds = plan.rounds(10);
    let bed = Bed::make()?.with_image(Image::Wasm);
    let client = runtime()?;
    let wasmtime = peer::wasmtime();
    if wasmtime.is_none() {
        let gap = "http: no wasmtime to set hull beside; `make wasmtime` builds it".to_owned();
        plan.gaps.borrow_mut().push(gap);
    }
    let mut lines = Vec::new();
    for (version, guest) in GUESTS {
        let mut servers = vec![Server::hull(&bed, plan.hull()?, &client, guest)?];
        if let Some(wasmtime) = &wasmtime {
            servers.push(Server::wasmtime(wasmtime, guest)?);
        }
        lines.extend(race(version, &servers, &client, rounds)?);
        for server in servers {
            server.end(&client)?;
        }
    }
    let bare = [Server::bare()?];
    lines.extend(race("bare", &bare, &client, rounds)?);
    for server in bare {
        server.end(&client)?;
    }
    Ok(vec![Table {
        row: "http",
        id: "http",
        title: "Hello over HTTP from a Wasm server".to_owned(),
        how: format!(
            "Median of {rounds} rounds of {REQUESTS} requests over {CONNECTIONS} connections of \
             HTTP/1.1, which one thread of this program drives; each server has as many threads as \
             the machine has processors. 0.2: a fresh instance for each request; 0.3: instances are \
             used again. p99 is that of a round, in ms. Target: hull at least as many as wasmtime."
        ),
        columns: vec!["requests/s", "p99"],
        lines,
        comparison: Some(Comparison::Ratio),
    }])
}

/// Asks them in turns.
fn race(
    version: &str,
    servers: &[Server<'_>],
    client: &Runtime,
    rounds: usize,
) -> Result<Vec<Line>> {
    let mut series: Vec<[Series; 2]> = Vec::new();
    series.resize_with(servers.len(), Default::default);
    for round in 0..=rounds {
        progress("http", round, rounds + 1);
        for (server, [rates, tails]) in servers.iter().zip(&mut series) {
            let told = client.block_on(load::run(server.addr, CONNECTIONS, REQUESTS));
            let told = told.map_err(|error| format!("{} {version}: {error}", server.name))?;
            // The first one warms up.
            if round > 0 {
                rates.push(told.per_second());
                tails.push_time(told.p99());
            }
        }
    }
    let lines = servers.iter().zip(&series);
    Ok(lines
        .map(|(server, series)| {
            let name = format!("{}, {version}", server.name);
            (name, series.iter().map(Figure::from).collect())
        })
        .collect())
}

/// One that listens.
struct Server<'bed> {
    name: String,
    addr: SocketAddr,
    kind: Kind<'bed>,
}

enum Kind<'bed> {
    Container(Box<(Cell<'bed>, Task)>),
    Process(Child),
}

impl<'bed> Server<'bed> {
    /// A container in the host's network.
    fn hull(bed: &'bed Bed, peer: &'bed Peer, client: &Runtime, guest: &str) -> Result<Self> {
        let addr = free_address()?;
        let spec = Spec::new([guest])
            .without_namespace("network")
            .annotation("io.containerd.hull.wasm.http.addr", &addr.to_string());
        let cell = Cell::with_spec(bed, peer, spec)?;
        let (address, _) = cell.start_shim()?;
        let task = client.block_on(async {
            let task = cell.connect(&address).await?;
            cell.launch(&task).await?;
            Result::Ok(task)
        })?;
        let kind = Kind::Container(Box::new((cell, task)));
        Self::that_listens(peer.name.clone(), addr, kind)
    }

    fn wasmtime(program: &Path, guest: &str) -> Result<Self> {
        let addr = free_address()?;
        let module = format!("{}{guest}", Image::Wasm.rootfs().display());
        let mut command = Command::new(program);
        command
            .args(["serve", "--addr", &addr.to_string(), "-S", "cli"])
            .arg(module);
        Self::process("wasmtime serve", addr, command)
    }

    fn bare() -> Result<Self> {
        let addr = free_address()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args([bare::VERB, &addr.to_string()]);
        Self::process("hyper", addr, command)
    }

    fn process(name: &str, addr: SocketAddr, mut command: Command) -> Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self::that_listens(name.to_owned(), addr, Kind::Process(command.spawn()?))
    }

    fn that_listens(name: String, addr: SocketAddr, kind: Kind<'bed>) -> Result<Self> {
        let server = Self { name, addr, kind };
        let deadline = Instant::now() + START_LIMIT;
        while TcpStream::connect(addr).is_err() {
            if Instant::now() > deadline {
                return Err(format!("{} does not listen on {addr}", server.name).into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    fn end(self, client: &Runtime) -> Result<()> {
        match self.kind {
            Kind::Container(container) => client.block_on(async {
                let (cell, task) = *container;
                cell.end(&task).await?;
                cell.retire(&task).await?;
                Ok(())
            }),
            Kind::Process(mut child) => {
                child.kill()?;
                child.wait()?;
                Ok(())
            }
        }
    }
}

/// An address of the loopback at which nobody listens.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
