//! `linux.resources.hugepageLimits`.

use super::{Present, Step, Write, invalid};
use crate::Error;
use crate::routes::Version;
use hull_abi::Resources;

const LIMIT: &str = "hugepageLimits";

pub(super) fn steps(r: &Resources, version: Version, _: Present<'_>) -> Result<Vec<Step>, Error> {
    let suffix = match version {
        Version::V1 => "limit_in_bytes",
        Version::V2 => "max",
    };
    let mut steps = Vec::new();
    for entry in &r.hugepages {
        let size = &entry.page_size;
        // The size becomes part of a file's name.
        if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(invalid(
                LIMIT,
                format!("{size:?} is not a page size such as 2MB"),
            ));
        }
        let bytes = entry.limit_bytes;
        steps.push(Step::One(Write::new(
            LIMIT,
            &format!("hugetlb.{size}.{suffix}"),
            bytes,
        )));
        // Linux 5.7 counts reservations too; without, faults alone are limited.
        let reserved = format!("hugetlb.{size}.rsvd.{suffix}");
        steps.push(Step::One(Write::new(LIMIT, &reserved, bytes).or_skip()));
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::super::testing::show;
    use super::*;
    use hull_abi::HugepageLimit;

    fn convert(size: &str, version: Version) -> Result<String, Error> {
        let entry = HugepageLimit {
            page_size: size.into(),
            limit_bytes: 4_194_304,
        };
        let resources = Resources {
            hugepages: vec![entry],
            ..Resources::default()
        };
        steps(&resources, version, &|_| None).map(|steps| show(&steps))
    }

    #[test]
    fn both_ways_of_counting_are_limited() {
        assert_eq!(
            convert("2MB", Version::V2).unwrap(),
            "hugetlb.2MB.max=4194304; hugetlb.2MB.rsvd.max=4194304"
        );
        assert_eq!(
            convert("2MB", Version::V1).unwrap(),
            "hugetlb.2MB.limit_in_bytes=4194304; hugetlb.2MB.rsvd.limit_in_bytes=4194304"
        );
    }

    #[test]
    fn size_that_is_no_size_is_refused() {
        for size in ["", "../x", "2MB.max/"] {
            assert!(convert(size, Version::V2).is_err());
        }
    }
}
