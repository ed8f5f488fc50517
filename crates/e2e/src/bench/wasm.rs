//! Containers of a Wasm hello world, whose artifact is in the store, beside native ones of the same
//! image: what Wasm costs above the envelope that both have.

pub(super) mod cold;
pub(super) mod large;
mod mappings;
pub(super) mod memory;
pub(super) mod parallel;
pub(super) mod process;

use hull_client::Spec;

use super::bed::Bed;
use super::report::{Comparison, Table};
use super::task::{self, Entry};
use super::{Plan, Result};
use crate::rootfs::Image;

/// Prints a line.
const HELLO: &str = "/wasm/hello.wasm";

/// Both tables.
pub(super) fn measure(plan: &Plan) -> Result<Vec<Table>> {
    let rounds = plan.rounds(100);
    let entries = entries(plan)?;
    let bed = || Result::Ok(Bed::make()?.with_image(Image::Wasm));
    Ok(vec![
        Table {
            row: "wasm",
            id: "wasm-pod",
            title: "A container of hello.wasm in a shim that runs".to_owned(),
            how: format!(
                "ms, median of {rounds}. As in `task`, over one persistent client; the artifact is \
                 in the store. Target: sum at most 1.5 above native `true`."
            ),
            columns: task::IN_POD.to_vec(),
            lines: task::in_pod(&bed()?, &entries, rounds, None)?,
            comparison: Some(Comparison::Difference),
        },
        Table {
            row: "wasm",
            id: "wasm-alone",
            title: "A lone container of hello.wasm, a shim of its own".to_owned(),
            how: format!(
                "ms, median of {rounds}. The same from `start` to the `delete` action: a fresh shim \
                 also has to open runner, compiler and store."
            ),
            columns: task::ALONE.to_vec(),
            lines: task::alone(&bed()?, &entries, rounds)?,
            comparison: Some(Comparison::Difference),
        },
    ])
}

/// hello.wasm, and what is native in the same image: nothing at all, and one that prints a line too.
fn entries(plan: &Plan) -> Result<[Entry<'_>; 3]> {
    let peer = plan.hull()?;
    let entry = |name: &str, args: &[&str]| Entry {
        name: name.to_owned(),
        peer,
        spec: Spec::new(args.iter().copied()),
    };
    Ok([
        entry("hello.wasm", &[HELLO]),
        entry("native `true`", &["true"]),
        entry("native `echo`", &["echo", "hello from Wasm"]),
    ])
}
