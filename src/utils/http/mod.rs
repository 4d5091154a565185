//! HTTP/1.1 as state machines over byte slices: no sockets, limits as parameters. Server, client and tests use the same.

pub mod chunked;
pub mod h1;
pub mod host;
pub mod media;
pub mod multiplex;
pub mod query;

#[cfg(test)]
mod tests {
    use super::*;

    /// Pseudo-random bytes, rich in those that the grammars know.
    fn noise(seed: u64, length: usize) -> Vec<u8> {
        const ALPHABET: &[u8] =
            b"\r\n\r\n \t:;,0123afAFxHTTP/1.GETPOSTContent-Length Transfer-Encoding chunked%+&=?{}[]\"\0\xff\x01";
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        (0..length).map(|_| ALPHABET[(next() % ALPHABET.len() as u64) as usize]).collect()
    }

    #[test]
    fn no_input_makes_a_parser_panic_or_stand_still() {
        for seed in 0..3000 {
            let bytes = noise(seed, (seed % 97) as usize);
            let _ = h1::head_end(&bytes, 0);
            let _ = h1::parse_request(&bytes);
            let _ = h1::fields(&bytes);
            let _ = h1::parse_response(&bytes);
            for start in ["GET / HTTP/1.1\r\nHost: a\r\n", "HTTP/1.1 200 OK\r\n"] {
                let whole = [start.as_bytes(), &bytes, b"\r\n\r\n"].concat();
                let _ = h1::parse_request(&whole);
                let _ = h1::parse_response(&whole);
            }
            let text = String::from_utf8_lossy(&bytes);
            let _ = query::segments(&text);
            let _ = query::Query::parse(&text).map(|q| q.filters("filters"));
            let _ = host::Host::parse(&text);
            let mut decoder = chunked::Decoder::default();
            let mut rest = &bytes[..];
            while let Ok(step) = decoder.step(rest)
                && !decoder.is_done()
                && !rest.is_empty()
            {
                assert!(step.consumed > 0);
                rest = &rest[step.consumed..];
            }
            let mut decoder = multiplex::Decoder::default();
            let mut rest = &bytes[..];
            while !rest.is_empty()
                && let Ok(step) = decoder.step(rest)
            {
                assert!(step.consumed > 0);
                rest = &rest[step.consumed..];
            }
        }
    }
}
