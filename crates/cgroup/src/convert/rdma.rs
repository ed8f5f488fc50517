//! `linux.resources.rdma`: the same file in both versions
//! (<https://docs.kernel.org/admin-guide/cgroup-v1/rdma.html>).

use super::{Present, Step, Write};
use crate::Error;
use crate::routes::Version;
use hull_abi::{RdmaLimit, Resources};

#[expect(
    clippy::unnecessary_wraps,
    reason = "one signature for the table of controllers"
)]
pub(super) fn steps(r: &Resources, _: Version, _: Present<'_>) -> Result<Vec<Step>, Error> {
    // The file takes one device a write.
    let writes = r
        .rdma
        .iter()
        .map(|device| Step::One(Write::new("rdma", "rdma.max", line(device))));
    Ok(writes.collect())
}

/// `mlx5_1 hca_handle=2 hca_object=max`; what is left out stays.
fn line(limit: &RdmaLimit) -> String {
    let mut line = limit.device.clone();
    for (key, number) in [
        ("hca_handle", limit.hca_handles),
        ("hca_object", limit.hca_objects),
    ] {
        match number.map(i32::try_from) {
            Some(Ok(i32::MAX)) | Some(Err(_)) => {
                // The kernel counts to this number, which it calls "max".
                line.push_str(&format!(" {key}=max"));
            }
            Some(Ok(number)) => line.push_str(&format!(" {key}={number}")),
            None => {}
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::super::testing::show;
    use super::*;

    #[test]
    fn each_device_has_its_line() {
        let limit = |device: &str, hca_handles, hca_objects| RdmaLimit {
            device: device.into(),
            hca_handles,
            hca_objects,
        };
        let resources = Resources {
            rdma: vec![
                limit("mlx5_1", Some(3), Some(10_000)),
                limit("mlx5_2", Some(0), None),
                limit("rxe0", None, Some(u32::MAX)),
                limit("rxe1", Some(i32::MAX.unsigned_abs()), Some(7)),
            ],
            ..Resources::default()
        };
        for version in [Version::V1, Version::V2] {
            let steps = steps(&resources, version, &|_| None).unwrap();
            assert_eq!(
                show(&steps),
                "rdma.max=mlx5_1 hca_handle=3 hca_object=10000; rdma.max=mlx5_2 hca_handle=0; \
                 rdma.max=rxe0 hca_object=max; rdma.max=rxe1 hca_handle=max hca_object=7"
            );
        }
    }
}
