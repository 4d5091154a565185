//! The one table of applets. A row adds one.

use nix::sys::stat::{Mode, umask};
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::ExitCode;

/// One applet.
pub struct Applet {
    /// The name of its link.
    pub name: &'static str,
    /// One line for the help screen.
    pub about: &'static str,
    /// Runs it; the words after the name.
    pub run: fn(Vec<OsString>) -> ExitCode,
}

/// All applets.
pub static APPLETS: &[Applet] = &[
    Applet { name: "isula", about: "client of the container engine", run: crate::cmd::isula::main },
    Applet { name: "isulad", about: "the container engine", run: crate::cmd::isulad::main },
    Applet { name: "isulad-shim", about: "parent of one container, started by isulad", run: crate::cmd::shim::main },
    #[cfg(feature = "lcr")]
    Applet { name: "lcr", about: "the built-in OCI runtime", run: crate::cmd::runtime::main },
];

/// The applet that has its place in containers only, so that no link is made for it.
pub static INIT: Applet =
    Applet { name: "docker-init", about: "process 1 of containers with --init", run: crate::cmd::init::main };

/// Release.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Commit, set by the Makefile.
pub const COMMIT: &str = match option_env!("ISULABOX_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};
/// Time of the commit (RFC 3339), so that two builds of one commit are equal; set by the Makefile.
pub const BUILD_TIME: &str = match option_env!("ISULABOX_BUILD_TIME") {
    Some(time) => time,
    None => "unknown",
};

/// Finds the applet by the last component of `argv[0]`, else by the first word, and runs it.
pub fn dispatch(argv: Vec<OsString>) -> ExitCode {
    let mut words = argv.into_iter();
    let program = words.next().unwrap_or_default();
    if let Some(applet) = Path::new(&program).file_name().and_then(find) {
        return (applet.run)(words.collect());
    }
    let Some(first) = words.next() else { return print(&help(), ExitCode::SUCCESS) };
    match first.to_str() {
        Some("--list") => {
            let names: String = APPLETS.iter().map(|a| format!("{}\n", a.name)).collect();
            print(&names, ExitCode::SUCCESS)
        }
        Some("--help" | "-h") => print(&help(), ExitCode::SUCCESS),
        Some("--version" | "-V") => print(&format!("isulabox {VERSION}, commit {COMMIT}\n"), ExitCode::SUCCESS),
        Some("--install") => match words.next() {
            Some(directory) if words.len() == 0 && !directory.is_empty() => install(Path::new(&directory)),
            _ => fail("--install needs one directory"),
        },
        _ => match find(&first) {
            Some(applet) => (applet.run)(words.collect()),
            None => fail(&format!("no applet {first:?}; isulabox --list shows them")),
        },
    }
}

fn find(name: &OsStr) -> Option<&'static Applet> {
    APPLETS.iter().chain([&INIT]).find(|a| OsStr::new(a.name) == name)
}

fn help() -> String {
    let mut text = String::from(
        "Usage: isulabox APPLET [ARGUMENT]...\n       isulabox --list | --install DIR | --version | --help\n\n\
         A link to isulabox with the name of an applet runs that applet.\n\nApplets:\n",
    );
    for a in APPLETS {
        text.push_str(&format!("  {:<12} {}\n", a.name, a.about));
    }
    text
}

/// Makes a link in `directory` for each applet, to this executable: relative where it lies in the same directory. As
/// `install -d` does, makes the directory where it is missing, for everybody to read whatever the caller's mask.
fn install(directory: &Path) -> ExitCode {
    umask(Mode::empty());
    if let Err(e) = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(directory) {
        return fail(&format!("mkdir({directory:?}): {e}"));
    }
    let exe = match std::env::current_exe() {
        Ok(exe) => exe,
        Err(e) => return fail(&format!("cannot find this executable: {e}")),
    };
    let same = std::fs::canonicalize(directory).is_ok_and(|d| exe.parent() == Some(&d));
    let target = if same { Path::new(exe.file_name().unwrap_or_default()) } else { &exe };
    for applet in APPLETS {
        let link = directory.join(applet.name);
        if std::fs::read_link(&link).is_ok_and(|t| t == target) {
            continue;
        }
        if std::fs::symlink_metadata(&link).is_ok_and(|m| m.is_symlink()) {
            let _ = std::fs::remove_file(&link); // a link of an older place; the next call reports what is wrong
        }
        if let Err(e) = std::os::unix::fs::symlink(target, &link) {
            return fail(&format!("symlink({target:?}, {link:?}): {e}"));
        }
    }
    ExitCode::SUCCESS
}

fn print(text: &str, code: ExitCode) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

fn fail(text: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "isulabox: {text}");
    ExitCode::FAILURE
}
