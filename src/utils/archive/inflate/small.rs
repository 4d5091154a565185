//! CRC-32 as gzip has it (RFC 1952, section 8), eight bytes a step.

const POLYNOMIAL: u32 = 0xedb8_8320;

static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut t = [[0u32; 256]; 8];
    let mut n = 0;
    while n < 256 {
        let mut c = n as u32;
        let mut bit = 0;
        while bit < 8 {
            c = if c & 1 == 1 { POLYNOMIAL ^ (c >> 1) } else { c >> 1 };
            bit += 1;
        }
        t[0][n] = c;
        n += 1;
    }
    let mut k = 1;
    while k < 8 {
        let mut n = 0;
        while n < 256 {
            let c = t[k - 1][n];
            t[k][n] = t[0][(c & 255) as usize] ^ (c >> 8);
            n += 1;
        }
        k += 1;
    }
    t
}

/// Continues a checksum, which begins with 0.
pub fn update(crc: u32, bytes: &[u8]) -> u32 {
    let mut c = !crc;
    let (words, rest) = bytes.as_chunks::<8>();
    for w in words {
        let low = u32::from_le_bytes([w[0], w[1], w[2], w[3]]) ^ c;
        c = TABLES[7][(low & 255) as usize]
            ^ TABLES[6][(low >> 8 & 255) as usize]
            ^ TABLES[5][(low >> 16 & 255) as usize]
            ^ TABLES[4][(low >> 24) as usize]
            ^ TABLES[3][usize::from(w[4])]
            ^ TABLES[2][usize::from(w[5])]
            ^ TABLES[1][usize::from(w[6])]
            ^ TABLES[0][usize::from(w[7])];
    }
    for b in rest {
        c = TABLES[0][usize::from(c as u8 ^ b)] ^ (c >> 8);
    }
    !c
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answer_in_any_pieces() {
        assert_eq!(update(0, b"123456789"), 0xcbf4_3926);
        let bytes: Vec<u8> = (0..100u8).collect();
        for split in 0..100 {
            assert_eq!(update(update(0, &bytes[..split]), &bytes[split..]), update(0, &bytes));
        }
    }
}
