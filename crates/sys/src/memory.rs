//! What this process keeps of the machine's memory.

use crate::{Result, check};
use std::ffi::c_void;

unsafe extern "C" {
    /// Where the executable's read-only segments begin and end, in the words of the linker
    /// ([end(3)](https://man7.org/linux/man-pages/man3/end.3.html)). Only their addresses mean something.
    static __executable_start: u8;
    static etext: u8;
}

/// Keeps the heap small: one arena, and free memory at its top goes back to the kernel early
/// ([mallopt(3)](https://man7.org/linux/man-pages/man3/mallopt.3.html)).
pub fn limit_heap() {
    // SAFETY: integers only; called before the process has other threads.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    // SAFETY: as above.
    unsafe { libc::mallopt(libc::M_TRIM_THRESHOLD, 128 * 1024) };
}

/// As many arenas as threads, for a process that will have several.
pub fn use_arenas(threads: usize) {
    let arenas = libc::c_int::try_from(threads).unwrap_or(1);
    // SAFETY: integers only; called before the process has other threads.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, arenas) };
}

/// Gives free heap memory back to the kernel.
pub fn trim_heap() {
    // SAFETY: only touches the allocator's own free memory.
    unsafe { libc::malloc_trim(0) };
}

/// Unmaps the pages of the program's code and constants. They stay in the page cache, where the kernel can
/// now drop them easily, and are mapped again one by one as they are used
/// ([madvise(2)](https://man7.org/linux/man-pages/man2/madvise.2.html), `MADV_DONTNEED`). Breakpoints of a
/// debugger, which are private copies of such pages, are lost.
///
/// # Errors
/// `EINVAL` or `ENOMEM` where the linker has laid the executable out in another way; at most a part of the
/// code is unmapped then.
pub fn unmap_code() -> Result<()> {
    const PAGE: usize = 4096;
    let first = (&raw const __executable_start).addr();
    let end = (&raw const etext).addr();
    // Whole pages: what shares the last one with something else stays.
    let len = (end & !(PAGE - 1)).saturating_sub(first);
    // SAFETY: `first` begins the mapping of the executable file, and the linker places only segments up to
    // `etext` that are mapped from it read-only and private; what it relocates or this program writes to
    // lies above. So what is read from the file again is what was there. (A debugger's breakpoints are the
    // exception; without them the program does the same.)
    let ret = unsafe { libc::madvise(first as *mut c_void, len, libc::MADV_DONTNEED) };
    check(libc::c_long::from(ret)).map(drop)
}

#[cfg(test)]
mod tests {
    #[test]
    fn program_goes_on_without_its_pages() {
        let text = "constant";
        super::unmap_code().unwrap();
        assert_eq!(text.replace("con", "in"), "instant");
    }
}
