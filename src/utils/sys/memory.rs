//! Copying and comparing memory on x86_64.
//!
//! musl 1.2 copies with `rep movsq` whatever the length, whose start-up costs more than a short copy itself, and compares
//! byte by byte. Logs, JSON and inflate do little else than short copies: inflate runs at two thirds of its speed. These
//! take the place of musl's (a program's own definition goes before one in a library archive). Both of memcpy and memmove
//! are here, because musl has them in one object each that refers to the other.
//!
//! Nothing in here may call a function that copies, or the compiler's call to memcpy would come back to where it began:
//! only loads, stores and one instruction.

use std::arch::asm;
use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_storeu_si128};

/// Bytes up to which a loop of stores is faster than `rep movsq`.
const LOOP_LIMIT: usize = 1024;

/// memcpy(3), which also bears a destination that overlaps the source from below.
///
/// # Safety
/// `to` is valid for writing `n` bytes, `from` for reading them; when they overlap, `to` is the lower one.
#[inline(always)]
unsafe fn copy_up(to: *mut u8, from: *const u8, n: usize) {
    // SAFETY: all accesses are within the `n` bytes at each end that the caller answers for; unaligned ones are written
    // as such. Each case loads its last block before it stores anything that could lie in it.
    unsafe {
        if n <= 32 {
            return copy_short(to, from, n);
        }
        let last = load(from.add(n - 32));
        if n <= LOOP_LIMIT {
            let mut at = 0;
            while at + 32 < n {
                store(to.add(at), load(from.add(at)));
                at += 32;
            }
        } else {
            let first = load(from);
            let skip = 32 - (to.addr() & 31);
            asm!(
                "rep movsq",
                inout("rcx") (n - skip) / 8 => _,
                inout("rdi") to.add(skip) => _,
                inout("rsi") from.add(skip) => _,
                options(nostack, preserves_flags)
            );
            store(to, first);
        }
        store(to.add(n - 32), last);
    }
}

/// A copy to a destination that overlaps the source from above.
///
/// # Safety
/// As [`copy_up`], with `to` the higher one.
#[inline(always)]
unsafe fn copy_down(to: *mut u8, from: *const u8, n: usize) {
    // SAFETY: as above; the first block is loaded before anything is stored.
    unsafe {
        if n <= 32 {
            return copy_short(to, from, n);
        }
        let first = load(from);
        let mut end = n;
        while end > 32 {
            end -= 32;
            store(to.add(end), load(from.add(end)));
        }
        store(to, first);
    }
}

/// Up to 32 bytes, overlapping as they like: everything is loaded before anything is stored.
///
/// # Safety
/// Both are valid for `n` bytes, and `n` is at most 32.
#[inline(always)]
unsafe fn copy_short(to: *mut u8, from: *const u8, n: usize) {
    /// Two blocks that meet or overlap in the middle.
    macro_rules! ends {
        ($block:ty) => {{
            let length = size_of::<$block>();
            let (a, b) =
                (from.cast::<$block>().read_unaligned(), from.add(n - length).cast::<$block>().read_unaligned());
            to.cast::<$block>().write_unaligned(a);
            to.add(n - length).cast::<$block>().write_unaligned(b);
        }};
    }
    // SAFETY: each case reads and writes blocks that are no longer than `n`, at the start and at the end.
    unsafe {
        match n {
            16.. => {
                let (a, b) = (_mm_loadu_si128(from.cast()), _mm_loadu_si128(from.add(n - 16).cast()));
                _mm_storeu_si128(to.cast(), a);
                _mm_storeu_si128(to.add(n - 16).cast(), b);
            }
            8.. => ends!(u64),
            4.. => ends!(u32),
            2.. => ends!(u16),
            1 => to.write(from.read()),
            0 => {}
        }
    }
}

/// # Safety
/// 32 bytes can be read.
#[inline(always)]
unsafe fn load(from: *const u8) -> [__m128i; 2] {
    // SAFETY: the caller's.
    unsafe { [_mm_loadu_si128(from.cast()), _mm_loadu_si128(from.add(16).cast())] }
}

/// # Safety
/// 32 bytes can be written.
#[inline(always)]
unsafe fn store(to: *mut u8, block: [__m128i; 2]) {
    // SAFETY: the caller's.
    unsafe {
        _mm_storeu_si128(to.cast(), block[0]);
        _mm_storeu_si128(to.add(16).cast(), block[1]);
    }
}

/// memcmp(3): eight bytes at a time.
///
/// # Safety
/// Both can be read for `n` bytes.
#[inline(always)]
unsafe fn compare(a: *const u8, b: *const u8, n: usize) -> i32 {
    let mut at = 0;
    // SAFETY: `at` plus what is read stays within `n`.
    unsafe {
        while at + 8 <= n {
            let (x, y) = (a.add(at).cast::<u64>().read_unaligned(), b.add(at).cast::<u64>().read_unaligned());
            if x != y {
                return if x.swap_bytes() < y.swap_bytes() { -1 } else { 1 };
            }
            at += 8;
        }
        while at < n {
            let (x, y) = (a.add(at).read(), b.add(at).read());
            if x != y {
                return i32::from(x) - i32::from(y);
            }
            at += 1;
        }
    }
    0
}

/// The names that the compiler calls; elsewhere the C library's are good.
#[cfg(target_env = "musl")]
mod exported {
    use super::{compare, copy_down, copy_up};

    // SAFETY: these names have the meaning that C gives them.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
        // SAFETY: memcpy's own contract.
        unsafe { copy_up(to, from, n) };
        to
    }

    // SAFETY: as above.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
        // SAFETY: memmove's own contract; a destination within the source is copied to from the end.
        unsafe {
            if to.addr().wrapping_sub(from.addr()) >= n {
                copy_up(to, from, n);
            } else {
                copy_down(to, from, n);
            }
        }
        to
    }

    // SAFETY: as above.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
        // SAFETY: memcmp's own contract.
        unsafe { compare(a, b, n) }
    }

    // SAFETY: as above; bcmp(3) only tells equal from different.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
        // SAFETY: bcmp's own contract.
        unsafe { compare(a, b, n) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTHS: [usize; 22] =
        [0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255, 1024, 1025, 1060, 5000];

    fn pattern(n: usize) -> Vec<u8> {
        (0..n).map(|i| (i * 7 + i / 251) as u8).collect()
    }

    #[test]
    fn copies_everything_and_nothing_else() {
        for n in LENGTHS {
            for (lead, offset) in [(0, 0), (1, 3), (17, 5), (31, 30)] {
                let from = pattern(n + 64);
                let mut to = vec![0xee; n + 128];
                // SAFETY: both are long enough, and apart.
                unsafe { copy_up(to.as_mut_ptr().add(lead), from.as_ptr().add(offset), n) };
                assert_eq!(to[lead..lead + n], from[offset..offset + n], "{n} {lead} {offset}");
                assert!(to[..lead].iter().chain(&to[lead + n..]).all(|&b| b == 0xee), "{n} {lead} {offset}");
            }
        }
    }

    #[test]
    fn copies_over_itself_in_both_directions() {
        for n in LENGTHS {
            for distance in [1, 2, 7, 8, 15, 16, 31, 33, 100] {
                let whole = pattern(n + distance);
                let mut down = whole.clone();
                // SAFETY: within one buffer, the destination above the source.
                unsafe { copy_down(down.as_mut_ptr().add(distance), down.as_ptr(), n) };
                assert_eq!(down[distance..], whole[..n], "{n} {distance}");
                let mut up = whole.clone();
                // SAFETY: within one buffer, the destination below the source.
                unsafe { copy_up(up.as_mut_ptr(), up.as_ptr().add(distance), n) };
                assert_eq!(up[..n], whole[distance..], "{n} {distance}");
            }
        }
    }

    #[test]
    fn compares_as_unsigned_bytes() {
        // SAFETY: both slices are as long as the count.
        let order = |a: &[u8], b: &[u8]| unsafe { compare(a.as_ptr(), b.as_ptr(), a.len().min(b.len())) }.signum();
        for n in LENGTHS {
            let a = pattern(n);
            assert_eq!(order(&a, &a.clone()), 0);
            for at in (0..n).step_by(1 + n / 50) {
                let mut b = a.clone();
                b[at] ^= 0x80;
                let want = if a[at] < b[at] { -1 } else { 1 };
                assert_eq!((order(&a, &b), order(&b, &a)), (want, -want), "{n} {at}");
            }
        }
    }
}
