//! [set_mempolicy(2)](https://man7.org/linux/man-pages/man2/set_mempolicy.2.html).

use crate::{Result, check};

/// NUMA nodes, one bit for each: as many as any kernel is built for.
pub type NodeMask = [u64; 16];

/// Sets from which NUMA nodes this thread gets memory: `MPOL_*` with `MPOL_F_*` flags. Survives execve.
///
/// # Errors
/// `ENOSYS` where the kernel has no NUMA support, `EINVAL` for an unknown mode, nodes that the mode does
/// not take or none that the cpuset allows.
pub fn set(mode_and_flags: u32, nodes: &NodeMask) -> Result<()> {
    // The kernel looks at one bit less than it is told of, and wants no mask where there are no nodes.
    let bits = size_of_val(nodes).saturating_mul(8).saturating_add(1);
    let has_nodes = nodes.iter().any(|word| *word != 0);
    let (mask, bits) = if has_nodes {
        (nodes.as_ptr(), bits)
    } else {
        (std::ptr::null(), 0)
    };
    // SAFETY: the kernel reads `bits - 1` bits of the mask, which is as long as that, or none.
    let ret = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode_and_flags, mask, bits) };
    check(ret).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Errno;

    #[test]
    fn a_node_that_does_not_exist_is_refused_and_the_default_is_not() {
        std::thread::spawn(|| {
            let (default, bind) = (0, 2);
            let mut nodes = [0; 16];
            let is_numa = set(default, &nodes) != Err(Errno::ENOSYS);
            nodes[15] = 1 << 63;
            let wanted = if is_numa {
                Errno::EINVAL
            } else {
                Errno::ENOSYS
            };
            assert_eq!(set(bind, &nodes), Err(wanted));
        })
        .join()
        .unwrap();
    }
}
