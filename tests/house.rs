//! House rules, read off the sources: what the compiler cannot see and review should not have to.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Who may name whom: a layer, and the first words after `crate::` that its files may use. Its own name and `error`
/// go without saying. Everything points down; nothing points up.
const ARROWS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("utils", &["utils"]),
    // What it writes is a part of the struct it is written for.
    ("derive", &["utils::json"]),
    // Times are values on the wire, and JSON is the wire.
    ("api", &["api", "utils::time", "utils::json"]),
    ("engine", &["engine", "api", "utils"]),
    ("modules", &["modules", "api", "utils"]),
    ("executor", &["executor", "modules", "api", "utils"]),
    ("entry", &["entry", "executor", "modules", "api", "utils"]),
    ("client", &["client", "api", "utils"]),
    ("cmd/argv", &["cmd::argv", "utils"]),
    ("cmd/isula", &["cmd::isula", "client", "api", "utils"]),
    ("cmd/shim", &["cmd::shim", "engine", "api", "utils"]),
    ("cmd/runtime", &["cmd::runtime", "engine", "api", "utils"]),
    ("cmd/isulad", &["cmd::isulad", "entry", "executor", "modules", "api", "utils"]),
    ("cmd", &["utils"]),
    ("applet", &["cmd"]),
];

/// Facts about the build that any layer may print.
const BUILD_FACTS: &[&str] = &["applet::VERSION", "applet::COMMIT", "applet::BUILD_TIME"];

/// Where `unsafe` may be written.
const UNSAFE_HOMES: &[&str] =
    &["src/utils/sys/", "src/engine/process/child.rs", "tests/payload/", "tests/support/sys.rs"];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] =
    &["common", "misc", "helpers", "helper", "base", "extend", "util", "manager", "handler", "data", "info", "stuff"];

/// Lines a file may have before its tests.
const WALL: usize = 800;

/// Files beyond the wall, with the reason.
const BEYOND_THE_WALL: &[(&str, &str)] = &[];

/// Packages that bring an async runtime.
const ASYNC_RUNTIMES: &[&str] =
    &["tokio", "async-std", "smol", "async-executor", "mio", "futures-executor", "glommio", "monoio", "compio"];

struct Source {
    path: String,
    text: String,
    /// The text with comments and the contents of strings blanked, line by line the same.
    code: String,
}

impl Source {
    /// The code up to the file's own tests.
    fn product_code(&self) -> &str {
        if self.path.ends_with("/tests.rs") || self.path.contains("/tests/") {
            return "";
        }
        let tests = ["#[cfg(test)]\nmod ", "#[cfg(test)]\npub(crate) mod "];
        match tests.iter().filter_map(|start| self.code.find(start)).min() {
            Some(at) => &self.code[..at],
            None => &self.code,
        }
    }

    fn layer(&self) -> &str {
        let inner = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        match inner.split_once('/') {
            Some(("cmd", rest)) => match rest.split_once('/') {
                Some((applet, _)) => &inner[.."cmd/".len() + applet.len()],
                None => "cmd",
            },
            Some((layer, _)) => layer,
            None => inner,
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files below `directory` that end in `suffix`.
fn files(directory: &str, suffix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(directory)];
    while let Some(path) = open.pop() {
        let Ok(entries) = fs::read_dir(&path) else { continue };
        for entry in entries {
            let path = entry.expect("readable directory").path();
            if path.is_dir() {
                open.push(path);
            } else if path.to_string_lossy().ends_with(suffix) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn sources(directory: &str) -> Vec<Source> {
    let list: Vec<Source> = files(directory, ".rs")
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a source file is UTF-8");
            let code = blank(&text);
            let path = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
            Source { path, text, code }
        })
        .collect();
    assert!(!list.is_empty(), "no sources below {directory}");
    list
}

/// Blanks comments and the contents of strings and character literals; keeps every line break.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    let skip_to = |out: &mut Vec<u8>, from: usize, to: usize| {
        out.extend(bytes[from..to.min(bytes.len())].iter().map(|b| if *b == b'\n' { b'\n' } else { b' ' }));
        to.min(bytes.len())
    };
    while i < bytes.len() {
        let rest = &bytes[i..];
        let word_before = i > 0 && (bytes[i - 1].is_ascii_alphanumeric() || bytes[i - 1] == b'_');
        if rest.starts_with(b"//") {
            let end = rest.iter().position(|b| *b == b'\n').map_or(bytes.len(), |n| i + n);
            i = skip_to(&mut out, i, end);
        } else if rest.starts_with(b"/*") {
            let end = text[i..].find("*/").map_or(bytes.len(), |n| i + n + 2);
            i = skip_to(&mut out, i, end);
        } else if !word_before && (rest.starts_with(b"r\"") || rest.starts_with(b"r#") || rest.starts_with(b"br")) {
            let prefix = rest.iter().position(|b| *b == b'r').expect("it starts with r or br") + 1;
            let hashes = rest[prefix..].iter().take_while(|b| **b == b'#').count();
            if rest.get(prefix + hashes) == Some(&b'"') {
                let close = format!("\"{}", "#".repeat(hashes));
                let body = i + prefix + hashes + 1;
                let end = text[body..].find(&close).map_or(bytes.len(), |n| body + n + close.len());
                i = skip_to(&mut out, i, end);
            } else {
                out.push(bytes[i]);
                i += 1;
            }
        } else if rest[0] == b'"' {
            let mut end = i + 1;
            while end < bytes.len() && bytes[end] != b'"' {
                end += if bytes[end] == b'\\' { 2 } else { 1 };
            }
            i = skip_to(&mut out, i, end + 1);
        } else if rest.starts_with(b"'\\") {
            let end = i + 3 + rest[3..].iter().position(|b| *b == b'\'').unwrap_or(0);
            i = skip_to(&mut out, i, end + 1);
        } else if rest[0] == b'\'' && text[i + 1..].chars().nth(1) == Some('\'') {
            let end = i + 1 + text[i + 1..].chars().next().map_or(1, char::len_utf8);
            i = skip_to(&mut out, i, end + 1);
        } else {
            out.push(bytes[i]);
            i += 1;
        }
    }
    String::from_utf8(out).expect("only ASCII was put in")
}

/// The paths behind each `crate::` (with `crate::{a::b, c}` taken apart), and behind `super::`s that reach the root.
fn crate_paths(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let code = &source.code;
    for (at, _) in code.match_indices("crate::") {
        let line = code[..at].lines().count();
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => {
                let mut depth = 0;
                let mut item = String::new();
                for c in group.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => found.push((line, std::mem::take(&mut item).trim().to_string())),
                        _ => {}
                    }
                    if depth == 0 && c != ',' && c != '}' {
                        item.push(c);
                    }
                }
                found.push((line, item.trim().to_string()));
            }
            None => {
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
                found.push((line, rest[..end].to_string()));
            }
        }
    }
    // `super` from a file of the crate root's own modules would reach the root.
    let inner = source.path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    let depth = inner.split('/').count();
    let chain = "super::".repeat(depth);
    for (at, _) in source.product_code().match_indices(&chain) {
        if !code[..at].ends_with("super::") {
            let rest = &code[at + chain.len()..];
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
            found.push((code[..at].lines().count(), rest[..end].to_string()));
        }
    }
    found.retain(|(_, path)| !path.is_empty());
    found
}

/// Fails with every breach at once.
fn none(breaches: Vec<String>, rule: &str) {
    assert!(breaches.is_empty(), "{rule}:\n  {}", breaches.join("\n  "));
}

/// Lines of `code` that contain one of `words`.
fn lines_with(source: &Source, code: &str, words: &[&str]) -> Vec<String> {
    code.lines()
        .enumerate()
        .filter(|(_, line)| words.iter().any(|w| line.contains(w)))
        .map(|(n, line)| format!("{}:{}: {}", source.path, n + 1, line.trim()))
        .collect()
}

#[test]
fn layers_point_down() {
    let mut breaches = Vec::new();
    for source in sources("src") {
        if source.path == "src/lib.rs" || source.path == "src/main.rs" {
            continue;
        }
        let layer = source.layer();
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == layer) else {
            breaches.push(format!("{}: layer {layer:?} is not in the table of arrows", source.path));
            continue;
        };
        for (line, path) in crate_paths(&source) {
            let within = |prefix: &str| path == prefix || path.starts_with(&format!("{prefix}::"));
            // A module beside the applets' folders is shared by them.
            let shared_cmd = layer.starts_with("cmd")
                && path.split("::").nth(1).is_some_and(|name| root().join(format!("src/cmd/{name}.rs")).exists())
                && path.starts_with("cmd::");
            let own = allowed.iter().any(|prefix| within(prefix));
            if !own && !within("error") && !shared_cmd && !BUILD_FACTS.iter().any(|fact| within(fact)) {
                breaches.push(format!("{}:{line}: {layer} names crate::{path}", source.path));
            }
        }
    }
    none(breaches, "imports against the arrows (ARROWS in tests/house.rs)");
}

#[test]
fn unsafe_stays_home_and_says_why() {
    let mut breaches = Vec::new();
    for source in sources("src").into_iter().chain(sources("tests")) {
        let lines: Vec<&str> = source.text.lines().collect();
        for (n, line) in source.code.lines().enumerate() {
            let written = line.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| word == "unsafe");
            if !written {
                continue;
            }
            if !UNSAFE_HOMES.iter().any(|home| source.path.starts_with(home)) {
                breaches.push(format!("{}:{}: unsafe outside of its homes", source.path, n + 1));
            }
            let opens_block = line.contains("unsafe {") || line.contains("unsafe impl");
            let explained = lines[..=n].iter().rev().take(8).any(|l| l.contains("SAFETY:"));
            if opens_block && !explained {
                breaches.push(format!("{}:{}: unsafe without SAFETY", source.path, n + 1));
            }
        }
    }
    none(breaches, "unsafe code");
}

#[test]
fn names_say_what_is_inside() {
    let mut breaches = Vec::new();
    for source in sources("src").into_iter().chain(sources("tests")) {
        for part in source.path.trim_end_matches(".rs").split('/') {
            if EMPTY_NAMES.contains(&part) && !source.path.starts_with("src/cmd/isula/") {
                breaches.push(format!("{}: {part:?} says nothing", source.path));
            }
        }
    }
    none(breaches, "file names");
}

#[test]
fn files_stay_short() {
    let mut breaches = Vec::new();
    for source in sources("src").into_iter().chain(sources("tests")) {
        let lines = if source.path.starts_with("src/") { source.product_code() } else { &source.code }.lines().count();
        let exempt = BEYOND_THE_WALL.iter().any(|(path, _)| *path == source.path);
        if lines > WALL && !exempt {
            breaches.push(format!("{}: {lines} lines without tests, the wall is {WALL}", source.path));
        }
        if lines <= WALL && exempt {
            breaches.push(format!("{}: no longer needs its exemption", source.path));
        }
    }
    none(breaches, "file length");
}

#[test]
fn every_file_says_what_it_is() {
    let silent = sources("src").into_iter().chain(sources("tests")).filter(|s| !s.text.starts_with("//!"));
    none(silent.map(|s| s.path).collect(), "files without a module comment");
}

#[test]
fn product_code_neither_unwraps_nor_leaves_gaps() {
    let mut breaches = Vec::new();
    for source in sources("src") {
        let words = [".unwrap()", "todo!(", "unimplemented!(", "dbg!(", "println!(", "eprintln!("];
        breaches.extend(lines_with(&source, source.product_code(), &words));
    }
    none(breaches, "unwrap or unfinished code; println panics when its reader has left");
}

#[test]
fn one_sort_serves_all_types() {
    let mut breaches = Vec::new();
    for source in sources("src").into_iter().filter(|source| source.path != "src/utils/order.rs") {
        breaches.extend(lines_with(&source, source.product_code(), &[".sort(", ".sort_by", ".sort_unstable"]));
    }
    none(breaches, "sorts of the standard library's, each of which is 5 KB: use utils::order");
}

#[test]
fn no_test_is_switched_off() {
    let mut breaches = Vec::new();
    for source in sources("src").into_iter().chain(sources("tests")) {
        breaches.extend(lines_with(&source, &source.code, &["#[ignore", "#[cfg(any())]"]));
    }
    none(breaches, "ignored tests");
}

#[test]
fn the_lock_file_names_one_registry_and_no_async_runtime() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock is committed");
    let mut breaches = Vec::new();
    for line in lock.lines() {
        if let Some(name) = line.strip_prefix("name = ")
            && ASYNC_RUNTIMES.contains(&name.trim_matches('"'))
        {
            breaches.push(format!("async runtime {name}"));
        }
        if line.starts_with("source = ") && line != "source = \"registry+https://github.com/rust-lang/crates.io-index\""
        {
            breaches.push(line.to_string());
        }
    }
    none(breaches, "Cargo.lock");
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let mut breaches = Vec::new();
    let (mut in_dependencies, mut reason) = (false, false);
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_dependencies = line.contains("dependencies");
            reason = false;
        } else if line.starts_with('#') {
            reason = true;
        } else if line.is_empty() {
            reason = false;
        } else if in_dependencies && !reason {
            breaches.push(line.to_string());
        }
    }
    none(breaches, "dependencies without a comment above them");
}

#[test]
fn nothing_names_a_developers_machine() {
    // Put together here, so that this file does not contain them.
    let words: Vec<String> =
        [["/ho", "me/"], ["/wo", "rk/"], ["/tmp/w", "t/"], ["192.16", "8."]].map(|w| w.concat()).into();
    let mut breaches = Vec::new();
    let mut paths: Vec<PathBuf> =
        ["Makefile", "README.md", "CHANGELOG.md", "Cargo.toml", "Cargo.lock", "cross.toml", ".ci/run"]
            .iter()
            .map(|name| root().join(name))
            .collect();
    for directory in ["src", "tests", "targets", "yocto"] {
        paths.extend(files(directory, ""));
    }
    for path in paths {
        // What is not UTF-8 is test data.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for (n, line) in text.lines().enumerate() {
            for word in words.iter().filter(|w| line.contains(w.as_str())) {
                breaches.push(format!("{}:{}: {word}", path.display(), n + 1));
            }
        }
    }
    assert!(!root().join(".cargo").exists(), "a cargo configuration would carry one machine's settings to all");
    none(breaches, "places of one machine");
}

#[test]
fn the_rules_can_be_broken() {
    let source = |text: &str| Source { path: "src/modules/x.rs".into(), text: text.into(), code: blank(text) };
    let s = source(
        "use crate::{error::Result, entry::{rest, y}, utils};\nfn f() { crate::executor::run(); } // crate::no\n",
    );
    let paths: BTreeSet<String> = crate_paths(&s).into_iter().map(|(_, path)| path).collect();
    let expected = ["error::Result", "entry::", "utils", "executor::run"].map(String::from);
    assert_eq!(paths, BTreeSet::from(expected));

    let s = source(
        "let a = \"unsafe { // \\\" \"; let c = '\"'; let d = '\\''; let l: &'static str; /* .unwrap() */ r#\"todo!(\"#;\n",
    );
    assert!(!s.code.contains("unsafe") && !s.code.contains("unwrap") && !s.code.contains("todo"));
    assert!(s.code.contains("'static str"), "{}", s.code);
    assert_eq!(s.code.len(), s.text.len());

    let s = source("fn f() { x.unwrap() }\n#[cfg(test)]\nmod tests { fn g() { x.unwrap() } }\n");
    assert_eq!(lines_with(&s, s.product_code(), &[".unwrap()"]), ["src/modules/x.rs:1: fn f() { x.unwrap() }"]);
}
