//! What `hull stats` prints for people.

use super::server::Server;
use crate::error::Error;
use crate::{output, units};

/// The head of the table.
const HEAD: [&str; 10] = [
    "NAMESPACE",
    "ID",
    "REQUESTS",
    "5XX",
    "REFUSED",
    "TRAPS",
    "IN FLIGHT",
    "INSTANCES",
    "MEMORY",
    "CPU",
];

/// What the servers said.
///
/// # Errors
/// Why one does not, or that nobody reads.
pub(super) fn text(servers: &[Server]) -> Result<(), Error> {
    for server in servers {
        match &server.silent_because {
            None => output::print(&server.text)?,
            Some(why) => return Err(Error::new(format!("ask {:?}", server.id), why)),
        }
    }
    Ok(())
}

/// A line for each server.
///
/// # Errors
/// When nobody reads.
pub(super) fn table(servers: &[Server]) -> Result<(), Error> {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(servers.iter().map(row));
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths);
        let line: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    output::print(&text)?;
    for server in servers {
        if let Some(why) = &server.silent_because {
            output::warn(&format!("{:?} does not say how it does: {why}", server.id));
        }
    }
    Ok(())
}

fn row(server: &Server) -> [String; 10] {
    let count = |name| format!("{:.0}", server.count(name));
    let usage = server.cgroup.as_ref();
    let errors = server
        .metrics
        .get("hull_http_requests_total{class=\"5xx\"}")
        .copied()
        .unwrap_or_default();
    [
        server.namespace.clone(),
        server.id.clone(),
        count("hull_http_requests_total"),
        format!("{errors:.0}"),
        count("hull_http_refused_total"),
        count("hull_wasm_traps_total"),
        count("hull_http_in_flight"),
        count("hull_wasm_instances"),
        usage
            .and_then(|usage| usage.memory_bytes)
            .map_or_else(String::new, units::bytes),
        usage
            .and_then(|usage| usage.cpu_nanoseconds)
            .map_or_else(String::new, seconds),
    ]
}

fn seconds(nanoseconds: u64) -> String {
    let ms = nanoseconds / 1_000_000;
    format!("{}.{:03}s", ms / 1000, ms % 1000)
}
