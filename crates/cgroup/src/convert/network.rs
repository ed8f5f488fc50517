//! `linux.resources.network`: two controllers that cgroup v1 alone has
//! (<https://docs.kernel.org/admin-guide/cgroup-v1/net_cls.html>,
//! <https://docs.kernel.org/admin-guide/cgroup-v1/net_prio.html>).

use super::{Present, Step, Write};
use crate::Error;
use crate::routes::Version;
use hull_abi::Resources;

#[expect(
    clippy::unnecessary_wraps,
    reason = "one signature for the table of controllers"
)]
pub(super) fn class(r: &Resources, _: Version, _: Present<'_>) -> Result<Vec<Step>, Error> {
    let write = |class| Write::new("network.classID", "net_cls.classid", class);
    // 0 is no class, and Go's absent one.
    let class = r.network.class_id.filter(|class| *class != 0);
    Ok(class.map(write).map(Step::One).into_iter().collect())
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "one signature for the table of controllers"
)]
pub(super) fn priorities(r: &Resources, _: Version, _: Present<'_>) -> Result<Vec<Step>, Error> {
    // The file takes one interface a write.
    let writes = r.network.priorities.iter().map(|(interface, priority)| {
        let value = format!("{interface} {priority}");
        let write = Write::new("network.priorities", "net_prio.ifpriomap", value);
        // That is what every packet has anyway.
        Step::One(if *priority == 0 {
            write.or_skip()
        } else {
            write
        })
    });
    Ok(writes.collect())
}

#[cfg(test)]
mod tests {
    use super::super::testing::show;
    use super::*;
    use hull_abi::Network;

    fn resources(class_id: Option<u32>, priorities: &[(&str, u32)]) -> Resources {
        let priorities = priorities.iter().map(|(name, p)| ((*name).to_owned(), *p));
        Resources {
            network: Network {
                class_id,
                priorities: priorities.collect(),
            },
            ..Resources::default()
        }
    }

    #[test]
    fn class_is_a_number_and_zero_is_none() {
        let convert = |class_id| {
            let steps = class(&resources(class_id, &[]), Version::V1, &|_| None);
            show(&steps.unwrap())
        };
        assert_eq!(convert(Some(1_048_577)), "net_cls.classid=1048577");
        assert_eq!(convert(Some(0)), "");
        assert_eq!(convert(None), "");
    }

    #[test]
    fn each_interface_has_its_line() {
        let resources = resources(None, &[("eth0", 5), ("lo", 0)]);
        let steps = priorities(&resources, Version::V1, &|_| None).unwrap();
        assert_eq!(
            show(&steps),
            "net_prio.ifpriomap=eth0 5; net_prio.ifpriomap=lo 0"
        );
    }
}
