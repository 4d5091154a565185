//! CRC-64 as xz has it (.xz file format, section 6).

const POLYNOMIAL: u64 = 0xc96c_5795_d787_0f42;

static TABLE: [u64; 256] = table();

const fn table() -> [u64; 256] {
    let mut t = [0; 256];
    let mut n = 0;
    while n < 256 {
        let mut c = n as u64;
        let mut bit = 0;
        while bit < 8 {
            c = if c & 1 == 1 { POLYNOMIAL ^ (c >> 1) } else { c >> 1 };
            bit += 1;
        }
        t[n] = c;
        n += 1;
    }
    t
}

/// Continues a checksum, which begins with 0. A byte a step: LZMA2 is ten times slower.
pub fn update(crc: u64, bytes: &[u8]) -> u64 {
    !bytes.iter().fold(!crc, |c, b| TABLE[usize::from(c as u8 ^ b)] ^ (c >> 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answer() {
        assert_eq!(update(0, b"123456789"), 0x995d_c9bb_df19_39fa);
        assert_eq!(update(update(0, b"1234"), b"56789"), update(0, b"123456789"));
    }
}
