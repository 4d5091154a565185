//! Finds the program in the container, in the words that docker has for what is wrong with it.

use crate::error::{Error, Kind, Result, errno_text};
use nix::sys::stat::{SFlag, stat};
use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;

/// Where docker looks without a `PATH`.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The path of the program `name`: itself when it has a slash, else the first executable file of that name in the
/// `PATH` of `env`. To be called with the root, working directory and user that it will run with.
///
/// # Errors
/// `Kind::CommandNotFound` or `Kind::CommandNotExecutable`.
pub fn find(name: &CStr, env: &[CString]) -> Result<CString> {
    let bytes = name.to_bytes();
    if bytes.contains(&b'/') {
        return match check(bytes) {
            Ok(()) => Ok(name.to_owned()),
            Err(e) => Err(failed(name, e as i32, e != nix::Error::EACCES && e != nix::Error::EISDIR)),
        };
    }
    let path = env.iter().rev().find_map(|e| e.to_bytes().strip_prefix(b"PATH="));
    for directory in path.unwrap_or(DEFAULT_PATH).split(|&b| b == b':') {
        let directory = if directory.is_empty() { b"." } else { directory };
        let candidate = [directory, b"/", bytes].concat();
        if check(&candidate).is_ok() {
            return Ok(CString::new(candidate).expect("made of C strings"));
        }
    }
    let text = format!("exec: {:?}: executable file not found in $PATH", name.to_string_lossy());
    Err(Error::new(Kind::CommandNotFound, text))
}

/// Why the program `name` could not be run: `errno` of execve(2), or with `looked` of stat(2).
pub fn failed(name: &CStr, errno: i32, looked: bool) -> Error {
    let kind = match errno {
        libc::ENOENT | libc::ENOTDIR => Kind::CommandNotFound,
        _ => Kind::CommandNotExecutable,
    };
    let (name, reason) = (name.to_string_lossy(), errno_text(errno));
    let stat = if looked { format!("stat {name}: ") } else { String::new() };
    Error::new(kind, format!("exec: {name:?}: {stat}{reason}"))
}

fn check(path: &[u8]) -> nix::Result<()> {
    let stat = stat(OsStr::from_bytes(path))?;
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFDIR => Err(nix::Error::EISDIR),
        // Whose bits count is for execve(2) to say.
        _ if stat.st_mode & 0o111 == 0 => Err(nix::Error::EACCES),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(name: &str, path: &str) -> Result<String> {
        let env = [CString::new(format!("PATH={path}")).unwrap()];
        super::find(&CString::new(name).unwrap(), &env).map(|p| p.into_string().unwrap())
    }

    #[test]
    fn words_are_dockers() {
        assert_eq!(find("sh", "/nowhere::/bin").unwrap(), "/bin/sh");
        assert_eq!(find("/bin/sh", "").unwrap(), "/bin/sh");
        for (name, kind, text) in [
            ("nosuch", Kind::CommandNotFound, "exec: \"nosuch\": executable file not found in $PATH"),
            ("/x", Kind::CommandNotFound, "exec: \"/x\": stat /x: no such file or directory"),
            ("/etc/passwd/x", Kind::CommandNotFound, "exec: \"/etc/passwd/x\": stat /etc/passwd/x: not a directory"),
            ("/etc", Kind::CommandNotExecutable, "exec: \"/etc\": is a directory"),
            ("/etc/passwd", Kind::CommandNotExecutable, "exec: \"/etc/passwd\": permission denied"),
        ] {
            let e = find(name, "/bin").unwrap_err();
            assert_eq!((e.kind(), e.to_string().as_str()), (kind, text));
        }
    }
}
