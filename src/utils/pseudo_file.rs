//! Files of procfs, sysfs and cgroupfs: short texts that the kernel makes while they are read, and whose size it does not
//! tell. The standard library reads those in steps that begin with 32 bytes, into memory that it moves at each.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Most files fit.
const BLOCK: usize = 4096;

/// The content.
///
/// # Errors
/// Those of open(2) and read(2).
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let (mut all, mut block) = (Vec::new(), [0; BLOCK]);
    loop {
        match file.read(&mut block) {
            Ok(0) => return Ok(all),
            Ok(n) => all.extend_from_slice(&block[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// The content as text.
///
/// # Errors
/// As [`read`], and `InvalidData` when it is no UTF-8.
pub fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|_| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long() {
        let status = read_to_string("/proc/self/status").unwrap();
        assert!(status.starts_with("Name:") && status.ends_with('\n'));
        // The kernel gives a page of this at a time.
        let long = read("/proc/kallsyms").or_else(|_| read("/proc/self/smaps")).unwrap();
        assert!(long.len() > BLOCK && long.ends_with(b"\n"));
        assert_eq!(read("/proc/self/no_such_file").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
