//! Environment variables and labels, from files and from the command line.

use crate::cmd::isula::failure::Failure;
use crate::utils::order;
use std::collections::BTreeMap;

/// Most variables.
const MAX_VARIABLES: usize = 200_000;
/// Largest file with variables or labels, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// The variables of the files in order, then those of the command line. A name without a value takes this process's
/// value and is left out where it has none.
///
/// # Errors
/// A file that cannot be read; an entry without a name.
pub fn environment(files: &[String], given: &[String]) -> Result<Vec<String>, Failure> {
    let mut out = Vec::new();
    for file in files {
        for line in lines(file)? {
            let name = line.split_once('=').map_or(line.as_str(), |(name, _)| name);
            if name.is_empty() {
                return Err(Failure::usage(format!("poorly formatted environment: no variable name on line '{line}'")));
            }
            if name.contains(char::is_whitespace) {
                return Err(Failure::usage(format!(
                    "poorly formatted environment: variable '{name}' contains whitespaces"
                )));
            }
            out.extend(variable(&line));
        }
    }
    for entry in given {
        if entry.is_empty() || entry.starts_with('=') {
            return Err(Failure::usage(format!("Invalid environment variable: {entry:?}")));
        }
        out.extend(variable(entry));
    }
    match out.len() {
        0..=MAX_VARIABLES => Ok(out),
        n => Err(Failure::usage(format!("{n} environment variables, at most {MAX_VARIABLES}"))),
    }
}

fn variable(entry: &str) -> Option<String> {
    match entry.contains('=') {
        true => Some(entry.to_owned()),
        false => std::env::var(entry).ok().map(|value| format!("{entry}={value}")),
    }
}

/// The labels of the files in order, then those of the command line; a later one wins.
///
/// # Errors
/// A file that cannot be read; an entry without a name.
pub fn labels(files: &[String], given: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut all = Vec::new();
    for file in files {
        all.extend(lines(file)?);
    }
    all.extend_from_slice(given);
    let one = |text: String| match text.split_once('=').unwrap_or((&text, "")) {
        ("", _) => Err(Failure::usage(format!("Invalid label: {text:?}"))),
        (key, value) => Ok((key.to_owned(), value.to_owned())),
    };
    order::try_map(all.into_iter().map(one))
}

/// The lines of a file without comments and empty ones; spaces before the name do not count.
fn lines(path: &str) -> Result<Vec<String>, Failure> {
    let unreadable = |why: &dyn std::fmt::Display| Failure::usage(format!("cannot read {path:?}: {why}"));
    let bytes = read_bounded(path, MAX_FILE).map_err(|e| unreadable(&e))?;
    let text = String::from_utf8(bytes).map_err(|_| unreadable(&"not UTF-8"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let lines = text.lines().map(str::trim_start).filter(|l| !l.is_empty() && !l.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

/// The content of a file that may be a pipe, but not endless.
pub fn read_bounded(path: &str, limit: u64) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit {
        true => Err(std::io::Error::other(format!("more than {limit} bytes"))),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> String {
        let path = std::env::temp_dir().join(format!("isula-{name}-{}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn files_come_first_and_bare_names_take_our_value() {
        let f = file("env", "\u{feff}# comment\n\nA=1\n  B=x y # no comment\nPATH\nNO_SUCH_VARIABLE_HERE\n");
        let got = environment(std::slice::from_ref(&f), &["A=2".into(), "NO_SUCH_VARIABLE_HERE".into(), "C=".into()]);
        let path = format!("PATH={}", std::env::var("PATH").unwrap());
        assert_eq!(got.unwrap(), ["A=1", "B=x y # no comment", path.as_str(), "A=2", "C="]);
        let got = labels(std::slice::from_ref(&f), &["A=3".into(), "d".into()]).unwrap();
        assert_eq!((got["A"].as_str(), got["d"].as_str()), ("3", ""));
        std::fs::remove_file(f).unwrap();
    }

    #[test]
    fn entries_without_a_name_are_refused() {
        assert!(environment(&[], &["=x".into()]).is_err() && environment(&[], &[String::new()]).is_err());
        assert!(labels(&[], &["=x".into()]).is_err());
        for text in ["=x\n", "a b=c\n"] {
            let f = file("bad", text);
            assert!(environment(std::slice::from_ref(&f), &[]).is_err(), "{text}");
            std::fs::remove_file(f).unwrap();
        }
        let missing = environment(&["/no/such/file".into()], &[]).unwrap_err();
        assert_eq!((missing.code, missing.text.contains("\"/no/such/file\"")), (125, true));
        assert!(environment(&["/dev/zero".into()], &[]).is_err());
    }
}
