//! The daemon: start-up as a list, then serving until a signal ends it. Containers go on without it.

mod file;
mod flags;
mod options;
mod process;
mod temporary;

use crate::applet::COMMIT;
use crate::applet::VERSION;
use crate::entry::Listener;
use crate::error::{Context, Result};
use crate::executor::Daemon;
use crate::utils::sys::{descriptor, net};
use crate::utils::{log as daemon_log, sd_notify, tls};
use flags::{Flags, Parsed};
use options::Options;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

const CONFIG: &str = "/etc/isulad/daemon.json";
/// Exit code for wrong arguments, as of docker's and the original's programs.
const USAGE: u8 = 125;

/// Its manual page: name of the file, content.
pub fn pages() -> Vec<(String, String)> {
    use crate::cmd::argv::{Dialect, man};
    use argh::ArgsInfo;
    let book = man::Book { section: 8, version: VERSION, dialect: Dialect::PLAIN };
    man::pages("isulad", &flags::Flags::get_args_info(), book)
}

/// Runs the applet.
#[inline(never)] // its frame stays out of the dispatcher's, which every shim has
pub fn main(words: Vec<OsString>) -> ExitCode {
    let flags = match flags::parse(words) {
        Ok(Parsed::Run(flags)) if flags.version => {
            return print(&format!("Version {VERSION}, commit {COMMIT}\n"));
        }
        Ok(Parsed::Run(flags)) => *flags,
        Ok(Parsed::Print(text)) => return print(&text),
        Err(e) => return complain(&e.to_string(), USAGE),
    };
    match configure(flags).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            log::error!("{e}");
            // On a terminal or under a supervisor the last word must be seen, wherever the log goes.
            match daemon_log::is_on_stderr() {
                true => ExitCode::FAILURE,
                false => complain(&e.to_string(), 1),
            }
        }
    }
}

fn configure(flags: Flags) -> Result<Options> {
    let (path, asked) = match &flags.config {
        Some(path) => (path.clone(), true),
        None => (Path::new(CONFIG).to_path_buf(), false),
    };
    let file = file::load(&path, asked)?;
    options::resolve(flags, &file)
}

fn run(options: Options) -> Result<()> {
    process::must_be_root()?;
    // What a careless parent left open would be held for as long as the daemon runs. Not before the configuration was
    // read, which may come by such a descriptor: `--config <(…)`.
    // What was passed is taken first, while nothing of ours can stand in the place of what was not.
    let passed = net::take_passed()?;
    descriptor::close_from(3 + passed.len() as i32);
    // Before any thread: all threads inherit the mask, and only the signal thread hears them.
    let signals = process::block_signals()?;
    process::set_limits();
    let locks = process::claim(&options)?;
    daemon_log::install("isulad", options.log_level, options.log_sink)?;
    temporary::prepare(std::env::var_os("ISULAD_TMPDIR").as_deref())?;
    let listener = Listener::open(crate::entry::Options {
        hosts: options.hosts,
        group: options.group,
        tls: options.tls.map(|files| tls::Server::load(&files)).transpose().context(|| "tls".into())?,
        authorizer: options.authorizer,
        metrics_port: options.metrics_port,
        passed,
        ..crate::entry::Options::default()
    })?;
    log::info!("isulad {VERSION} (commit {COMMIT}) starts on {:?}", options.settings.graph);
    let daemon = Daemon::open(options.settings).context(|| "cannot start".into())?;
    process::serve_signals(signals, listener.stopper())?;
    notify("READY=1");
    log::info!("ready");
    let served = listener.run(daemon.clone(), || {
        notify("STOPPING=1");
        log::info!("stops; containers go on");
    });
    daemon.close();
    drop(locks);
    served
}

fn notify(state: &str) {
    if let Err(e) = sd_notify::notify(state) {
        log::warn!("the service manager is not told {state}: {e}");
    }
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn complain(text: &str, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "isulad: {text}"); // nowhere else to say it
    ExitCode::from(code)
}
