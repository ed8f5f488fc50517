//! `linux.resources.cpu.cpus` and `.mems`: the same files in both versions.

use super::{Present, Step, Write};
use crate::Error;
use crate::routes::Version;
use hull_abi::Resources;

#[expect(
    clippy::unnecessary_wraps,
    reason = "one signature for the table of controllers"
)]
pub(super) fn steps(r: &Resources, _: Version, _: Present<'_>) -> Result<Vec<Step>, Error> {
    let fields = [
        ("cpu.cpus", "cpuset.cpus", "cpus", &r.cpu.cpus),
        ("cpu.mems", "cpuset.mems", "mems", &r.cpu.mems),
    ];
    let set = fields.into_iter().filter_map(|(limit, file, bare, list)| {
        let list = list.as_deref().filter(|list| !list.is_empty())?;
        // Hierarchies mounted with `noprefix` have the bare names.
        Some(Step::One(Write::new(limit, file, list).or_use(bare, list)))
    });
    Ok(set.collect())
}

#[cfg(test)]
mod tests {
    use super::super::testing::show;
    use super::*;
    use hull_abi::Cpu;

    #[test]
    fn lists_are_written_verbatim_and_empty_ones_left() {
        let cpu = Cpu {
            cpus: Some("0-2,7".into()),
            mems: Some(String::new()),
            ..Cpu::default()
        };
        let resources = Resources {
            cpu,
            ..Resources::default()
        };
        let steps = steps(&resources, Version::V1, &|_| None).unwrap();
        assert_eq!(show(&steps), "cpuset.cpus=0-2,7");
    }
}
