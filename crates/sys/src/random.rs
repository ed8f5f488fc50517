//! Random bytes of the kernel.

use crate::{Errno, Result, check};

/// Fills the buffer, whatever its size, by
/// [getrandom(2)](https://man7.org/linux/man-pages/man2/getrandom.2.html).
///
/// # Errors
///
/// `EPERM` or `ENOSYS` under a seccomp filter that refuses the call.
pub fn fill(buffer: &mut [u8]) -> Result<()> {
    let mut left = buffer;
    while !left.is_empty() {
        // SAFETY: the pointer and the length are those of a buffer that is ours to write to.
        let ret = unsafe { libc::syscall(libc::SYS_getrandom, left.as_mut_ptr(), left.len(), 0) };
        match check(ret) {
            // Fewer than were asked for: a signal came, or it was more than one call gives.
            Ok(count) => {
                let count = usize::try_from(count).unwrap_or_default();
                left = std::mem::take(&mut left)
                    .get_mut(count..)
                    .unwrap_or_default();
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_filled() {
        let mut bytes = vec![0; 1 << 20];
        fill(&mut bytes).unwrap();
        // That 64 bytes are all zero by chance happens once in 2^512.
        assert!(
            bytes
                .chunks(64)
                .all(|chunk| chunk.iter().any(|byte| *byte != 0))
        );
        fill(&mut []).unwrap();
    }
}
