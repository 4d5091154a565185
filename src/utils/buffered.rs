//! Readers that have a buffer of their own.

use std::io::{BufRead, Result};

/// [`std::io::Read::read`] for a reader whose `fill_buf` does the work.
///
/// # Errors
/// What `fill_buf` gives.
pub fn read(reader: &mut impl BufRead, out: &mut [u8]) -> Result<usize> {
    let available = reader.fill_buf()?;
    let n = available.len().min(out.len());
    out[..n].copy_from_slice(&available[..n]);
    reader.consume(n);
    Ok(n)
}
