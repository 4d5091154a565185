//! The trail of the verbs that end containers: who asked for it goes to syslog, as the original has it.

use crate::utils::syslog;
use std::os::unix::ffi::OsStrExt;

/// Longest command line that is recorded, in bytes.
const MAX_LINE: usize = 1024;

/// Records this invocation and the command line of the parent. A host without syslog has no trail; a syslog that is
/// full loses the line: the verb neither fails nor waits.
pub fn record() {
    let own: Vec<Vec<u8>> = std::env::args_os().map(|w| w.as_bytes().to_vec()).collect();
    let parent = std::fs::read(format!("/proc/{}/cmdline", nix::unistd::getppid())).unwrap_or_default();
    let line = line(std::process::id(), &own.join(&b' '), &parent);
    let _ = syslog::connect().map(|socket| socket.send(&line));
}

fn line(pid: u32, own: &[u8], parent: &[u8]) -> Vec<u8> {
    let printable = |bytes: &[u8]| -> Vec<u8> {
        let end = bytes.len().min(MAX_LINE);
        bytes[..end].iter().map(|b| if b.is_ascii_control() { b' ' } else { *b }).collect()
    };
    let mut out = syslog::head(syslog::USER, syslog::INFO, "isulad-client", pid).into_bytes();
    out.extend_from_slice(b"command ");
    out.extend(printable(own));
    out.extend_from_slice(b", parent ");
    let parent = printable(parent);
    out.extend_from_slice(parent.trim_ascii_end());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_without_control_characters() {
        let got = line(7, b"isula rm -f a\nb", b"bash\0-c\0x\0");
        assert_eq!(String::from_utf8(got).unwrap(), "<14>isulad-client[7]: command isula rm -f a b, parent bash -c x");
        assert!(line(7, &[b'a'; 5000], &[b'b'; 5000]).len() < 2200);
        record();
    }
}
