//! `linux.resources.pids`: the same file in both versions.

use super::{Present, Step, Write};
use crate::Error;
use crate::routes::Version;
use hull_abi::Resources;

/// # Errors
/// None; the signature is the table's.
#[expect(
    clippy::unnecessary_wraps,
    reason = "one signature for the table of controllers"
)]
pub(super) fn steps(r: &Resources, _: Version, _: Present<'_>) -> Result<Vec<Step>, Error> {
    let Some(limit) = r.pids else {
        return Ok(Vec::new());
    };
    let value = match limit {
        ..0 => "max".to_owned(),
        // Init itself must exist (runc 1.4 does the same).
        0 => "1".to_owned(),
        limit => limit.to_string(),
    };
    Ok(vec![Step::One(Write::new("pids.limit", "pids.max", value))])
}

#[cfg(test)]
mod tests {
    use super::super::testing::show;
    use super::*;

    #[test]
    fn limits_of_tasks() {
        let table = [
            (None, ""),
            (Some(-1), "pids.max=max"),
            (Some(0), "pids.max=1"),
            (Some(20), "pids.max=20"),
        ];
        for (pids, expected) in table {
            let resources = Resources {
                pids,
                ..Resources::default()
            };
            let steps = steps(&resources, Version::V2, &|_| None).unwrap();
            assert_eq!(show(&steps), expected);
        }
    }
}
