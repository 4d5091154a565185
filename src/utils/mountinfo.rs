//! `/proc/PID/mountinfo` (proc_pid_mountinfo(5)).

/// Undoes the octal escapes of blank, tab, line feed and backslash.
pub fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut i = 0;
    while i < field.len() {
        let digits =
            field.get(i + 1..i + 4).filter(|d| field[i] == b'\\' && d.iter().all(|b| (b'0'..b'8').contains(b)));
        if let Some(d) = digits {
            out.push((d[0] - b'0') << 6 | (d[1] - b'0') << 3 | (d[2] - b'0'));
            i += 4;
        } else {
            out.push(field[i]);
            i += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn octal_escapes() {
        for (text, want) in [("/a\\040b", "/a b"), ("\\134\\011", "\\\t"), ("/x\\04", "/x\\04"), ("/x\\949", "/x\\949")]
        {
            assert_eq!(unescape(text.as_bytes()), want.as_bytes());
        }
    }
}
