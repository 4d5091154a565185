//! Buffers that the allocator never sees: whole pages from mmap(2), given back to the kernel on drop. A page costs
//! memory only once it was written to.

use crate::error::{Error, Result};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// A private anonymous mapping, zeroed.
#[derive(Debug)]
pub struct Pages {
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping belongs to this value alone, as a box would.
unsafe impl Send for Pages {}

impl Pages {
    /// Maps `length` bytes (more than none).
    ///
    /// # Errors
    /// ENOMEM.
    pub fn new(length: usize) -> Result<Pages> {
        // SAFETY: a new anonymous mapping at an address the kernel chooses touches no existing memory.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        match NonNull::new(base.cast::<u8>()) {
            Some(base) if base.as_ptr().cast() != libc::MAP_FAILED => Ok(Pages { base, length }),
            _ => Err(Error::last_os(format!("mmap({length})"))),
        }
    }
}

impl Deref for Pages {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: the mapping is readable, `length` bytes long, initialised by the kernel, and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.length) }
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, writable, and `&mut self` makes the view exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.length) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: this is the mapping made in `new`; no view of it outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.length) };
    }
}

fn page_size() -> usize {
    // SAFETY: sysconf takes an integer.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(64 * 1024).max(4096)
}

/// Stack that [`trim_stack`] looks at, in bytes.
const STACK_DEPTH: usize = 96 * 1024;
/// Below the caller's frame for what this function and its callers still need, in bytes.
const STACK_MARGIN: usize = 8 * 1024;

/// Gives the kernel back what deeper calls have left on the stack below the caller's frame. For a long wait after a
/// deep moment, on a stack with 128 KiB left.
#[inline(never)]
pub fn trim_stack() {
    let mark = 0u8;
    let here = (&raw const mark).addr();
    let page = page_size();
    let end = (here - STACK_MARGIN.max(page)) & !(page - 1);
    let start = (here - STACK_DEPTH) & !(page - 1);
    if start < end {
        // SAFETY: the range lies below the frames of this function and its callers, where nothing is alive; it reads
        // as zeros afterwards. On a stack that grows on demand a part of it may not be mapped, which is an error
        // without effect.
        unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
    }
}

unsafe extern "C" {
    /// First byte of the program and the byte behind its last instruction (end(3)); the linker defines both.
    static __executable_start: u8;
    static etext: u8;
}

/// Takes the program's own code and constants out of this process's page table. Nothing is read again from the disk
/// while the page cache holds it: the next use of a page is a minor fault. For a long wait: pages that no process maps
/// are the first that the kernel can use otherwise, and on a small board most of a waiting daemon's memory are these.
pub fn trim_text() {
    let (start, end) = ((&raw const __executable_start).addr(), (&raw const etext).addr());
    let page = page_size();
    let (start, end) = (start.next_multiple_of(page), end & !(page - 1));
    if start < end {
        // SAFETY: headers, constants and code of the executable: private mappings of its file that are never written
        // to (relocated data lies behind the code, see targets/prove), so each page comes back as it was.
        unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn deep(n: u32) -> u64 {
        let block = std::hint::black_box([u64::from(n); 100]);
        if n == 0 { block[99] } else { block[50] + deep(n - 1) }
    }

    #[test]
    fn a_trimmed_stack_is_usable() {
        let before = deep(50);
        trim_stack();
        assert_eq!(deep(50), before);
    }

    #[test]
    fn code_that_was_let_go_still_runs() {
        let resident = || {
            let text = std::fs::read_to_string("/proc/self/statm").unwrap();
            text.split(' ').nth(2).unwrap().parse::<u64>().unwrap()
        };
        let (before, sum) = (resident(), deep(50));
        trim_text();
        let after = resident();
        assert_eq!(deep(50), sum);
        // Other tests run beside this one, and bring back what they need.
        assert!(after < before || before < 64, "{before} {after}");
    }

    #[test]
    fn pages_are_zeroed_and_writable() {
        let mut pages = Pages::new(10_000).unwrap();
        assert!(pages.len() == 10_000 && pages.iter().all(|&b| b == 0));
        pages[9_999] = 1;
        assert_eq!(pages[9_999], 1);
        assert!(Pages::new(usize::MAX).is_err());
    }
}
