//! The client: words on a command line become requests, answers become screens and exit codes. One thread.
//!
//! Formats, messages and exit codes are those of the original where scripts may depend on them, and docker's elsewhere.
//! A verb is one type with its flags and one function; `Command` lists them.

#[cfg(feature = "image-tools")]
mod archive;
mod attach;
mod audit;
#[cfg(feature = "completion")]
mod completion;
#[cfg(feature = "image-tools")]
mod cp;
mod create;
#[cfg(feature = "image-tools")]
mod diff;
mod edit;
mod events;
mod exec;
mod failure;
mod flags;
#[cfg(feature = "image-tools")]
mod history;
mod images;
mod inspect;
mod lifecycle;
mod logs;
mod ordered;
mod output;
mod ps;
#[cfg(feature = "registry")]
mod registry;
mod run;
#[cfg(feature = "registry")]
mod search;
mod secure;
#[cfg(feature = "image-tools")]
mod space;
mod stats;
mod stream;
mod system;
mod table;
mod template;
mod volume;

use crate::applet::COMMIT;
use crate::applet::VERSION;
use crate::client::Client;
use crate::cmd::argv::{self, Dialect, Fault, Spelling, Stop};
use crate::utils::sys::terminal;
use argh::{ArgsInfo, FromArgs};
use failure::{FAILED, Failure};
use std::cell::OnceCell;
use std::ffi::OsString;
use std::process::ExitCode;

/// Where the daemon listens unless told otherwise.
const DEFAULT_HOST: &str = "unix:///var/run/isulad.sock";

/// client of the container engine isulad
#[derive(FromArgs, ArgsInfo, Debug)]
pub struct Top {
    /// socket of the daemon, unix:///PATH or tcp://HOST:PORT; $ISULAD_HOST or unix:///var/run/isulad.sock by default
    #[argh(option, short = 'H', arg_name = "socket")]
    host: Option<String>,
    /// log what the client does to standard error
    #[argh(switch, short = 'D')]
    debug: bool,
    /// speak TLS with a tcp:// daemon, whoever it is; also $ISULAD_TLS
    #[argh(switch)]
    tls: bool,
    /// speak TLS and verify the daemon's certificate; also $ISULAD_TLS_VERIFY
    #[argh(switch)]
    tlsverify: bool,
    /// authority of the daemon's certificate; ca.pem in $ISULAD_CERT_PATH or ~/.iSulad by default
    #[argh(option, arg_name = "file")]
    tlscacert: Option<String>,
    /// certificate to show; cert.pem there by default
    #[argh(option, arg_name = "file")]
    tlscert: Option<String>,
    /// its key; key.pem there by default
    #[argh(option, arg_name = "file")]
    tlskey: Option<String>,
    /// print the version of the client
    #[argh(switch, short = 'v')]
    version: bool,
    #[argh(subcommand)]
    command: Option<Command>,
}

/// All verbs.
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand)]
enum Command {
    Attach(attach::Attach),
    #[cfg(feature = "completion")]
    Completion(completion::Completion),
    #[cfg(feature = "image-tools")]
    Container(space::Container),
    #[cfg(feature = "image-tools")]
    Cp(cp::Cp),
    Create(flags::Create),
    #[cfg(feature = "image-tools")]
    Diff(diff::Diff),
    Events(events::Events),
    Exec(exec::Exec),
    #[cfg(feature = "image-tools")]
    Export(archive::Export),
    #[cfg(feature = "image-tools")]
    History(history::History),
    #[cfg(feature = "image-tools")]
    Image(space::Image),
    Images(images::Images),
    Import(images::Import),
    Info(system::Info),
    Inspect(inspect::Inspect),
    Kill(lifecycle::Kill),
    Load(images::Load),
    #[cfg(feature = "registry")]
    Login(registry::Login),
    #[cfg(feature = "registry")]
    Logout(registry::Logout),
    Logs(logs::Logs),
    Pause(lifecycle::Pause),
    Port(edit::Port),
    Ps(ps::Ps),
    #[cfg(feature = "registry")]
    Pull(registry::Pull),
    Rename(edit::Rename),
    Restart(lifecycle::Restart),
    Rm(lifecycle::Rm),
    Rmi(images::Rmi),
    Run(flags::Run),
    #[cfg(feature = "image-tools")]
    Save(archive::Save),
    #[cfg(feature = "registry")]
    Search(search::Search),
    Start(lifecycle::Start),
    Stats(stats::Stats),
    Stop(lifecycle::Stop),
    #[cfg(feature = "image-tools")]
    System(space::System),
    Tag(images::Tag),
    Top(logs::Top),
    Unpause(lifecycle::Unpause),
    Update(edit::Update),
    Version(system::Version),
    Volume(volume::Volume),
    Wait(lifecycle::Wait),
}

/// Verbs that are known and come with a later release.
const REFUSED_COMMANDS: &[&str] = &["network"];

/// What the words of this client are like.
const DIALECT: Dialect<'static> = Dialect { refused: &flags::is_refused, spellings: &spellings };

/// Docker's longer spellings of verbs: `container ls` is `ps`.
fn spellings(group: &str) -> &'static [Spelling] {
    macro_rules! table {
        ($($word:literal $(= $verb:literal $($flag:literal)*)?,)*) => {
            &[$(table!(@ $word $(= $verb $($flag)*)?)),*]
        };
        (@ $word:literal = $verb:literal $($flag:literal)*) => { ($word, $verb, &[$($flag),*]) };
        (@ $word:literal) => { ($word, $word, &[]) };
    }
    match group {
        #[cfg(feature = "image-tools")]
        "container" => table![
            "attach", "cp", "create", "diff", "exec", "export", "inspect" = "inspect" "--type=container", "kill",
            "list" = "ps", "logs", "ls" = "ps", "pause", "port", "ps", "remove" = "rm", "rename", "restart", "rm", "run",
            "start", "stats", "stop", "top", "unpause", "update", "wait",
        ],
        #[cfg(feature = "image-tools")]
        "image" => table![
            "history", "import", "inspect" = "inspect" "--type=image", "list" = "images", "load", "ls" = "images", "pull",
            "remove" = "rmi", "rm" = "rmi", "save", "tag",
        ],
        #[cfg(feature = "image-tools")]
        "system" => table!["events", "info",],
        "volume" => table!["list" = "ls", "remove" = "rm",],
        _ => &[],
    }
}

/// What a verb works with.
struct Session {
    host: String,
    secure: secure::Secure,
    client: OnceCell<Client>,
}

impl Session {
    /// The daemon, connected at the first use: what can be refused without it is refused before.
    fn client(&self) -> Result<&Client, Failure> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let tls = if self.host.starts_with("tcp:") { self.secure.load()? } else { None };
        let client = Client::connect(&self.host, tls).map_err(|e| Failure::local(e.to_string()))?;
        Ok(self.client.get_or_init(|| client))
    }
}

/// Runs the applet.
pub fn main(words: Vec<OsString>) -> ExitCode {
    // A panic aborts, so no guard runs; the terminal must not stay raw.
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        terminal::restore();
        before(info);
    }));
    ExitCode::from(match run(words) {
        Ok(code) => code,
        Err(_) if output::reader_gone() => output::PIPE_EXIT,
        Err(failure) => {
            if !failure.text.is_empty() {
                output::complain(&failure.text);
            }
            failure.code
        }
    })
}

/// The manual pages of this client: name of the file, content.
pub fn pages() -> Vec<(String, String)> {
    argv::man::pages("isula", &Top::get_args_info(), argv::man::Book { section: 1, version: VERSION, dialect: DIALECT })
}

fn run(words: Vec<OsString>) -> Result<u8, Failure> {
    #[cfg(feature = "completion")]
    if words.first().is_some_and(|word| word == completion::ASK) {
        let words: Vec<String> = words.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
        return output::print(&completion::answer(&words)?).map(|()| 0);
    }
    let top = match argv::parse::<Top>("isula", words, DIALECT) {
        Ok(top) => top,
        Err(Stop::Help(screen)) => return output::print(&screen).map(|()| 0),
        Err(Stop::Fault(fault)) => return Err(refuse(fault)),
    };
    if top.version {
        return output::print(&format!("Version {VERSION}, commit {COMMIT}\n")).map(|()| 0);
    }
    if top.debug {
        let sink = crate::utils::log::Sink::Stderr;
        crate::utils::log::install("isula", log::LevelFilter::Debug, sink)?;
    }
    let Some(command) = top.command else {
        return output::print(&argv::help("isula", &[&Top::get_args_info()], DIALECT)).map(|()| 0);
    };
    let secure = secure::Secure::new([top.tls, top.tlsverify], [top.tlscacert, top.tlscert, top.tlskey])?;
    let host = top.host.unwrap_or_else(default_host);
    let session = Session { host, secure, client: OnceCell::new() };
    command.run(&session)
}

fn default_host() -> String {
    std::env::var("ISULAD_HOST").ok().filter(|h| !h.is_empty()).unwrap_or_else(|| DEFAULT_HOST.to_owned())
}

fn refuse(fault: Fault) -> Failure {
    match &fault {
        Fault::UnknownCommand { command, .. } if REFUSED_COMMANDS.contains(&command.as_str()) => {
            Failure { text: format!("isula: command {command:?} is not available in this release"), code: FAILED }
        }
        Fault::UnknownCommand { .. } => Failure { text: fault.to_string(), code: FAILED },
        _ => Failure::usage(fault.to_string()),
    }
}

impl Command {
    fn run(self, session: &Session) -> Result<u8, Failure> {
        match self {
            Command::Attach(verb) => verb.run(session),
            #[cfg(feature = "completion")]
            Command::Completion(verb) => verb.run(session),
            #[cfg(feature = "image-tools")]
            Command::Container(verb) => verb.run(session),
            #[cfg(feature = "image-tools")]
            Command::Cp(verb) => verb.run(session),
            Command::Create(flags::Create(flags)) => run::create(session, &flags),
            #[cfg(feature = "image-tools")]
            Command::Diff(verb) => verb.run(session),
            Command::Events(verb) => verb.run(session),
            Command::Exec(verb) => verb.run(session),
            #[cfg(feature = "image-tools")]
            Command::Export(verb) => verb.run(session),
            #[cfg(feature = "image-tools")]
            Command::History(verb) => verb.run(session),
            #[cfg(feature = "image-tools")]
            Command::Image(verb) => verb.run(session),
            Command::Images(verb) => verb.run(session),
            Command::Import(verb) => verb.run(session),
            Command::Info(verb) => verb.run(session),
            Command::Inspect(verb) => verb.run(session),
            Command::Kill(verb) => verb.run(session),
            Command::Load(verb) => verb.run(session),
            #[cfg(feature = "registry")]
            Command::Login(verb) => verb.run(session),
            #[cfg(feature = "registry")]
            Command::Logout(verb) => verb.run(session),
            Command::Logs(verb) => verb.run(session),
            Command::Pause(verb) => verb.run(session),
            Command::Port(verb) => verb.run(session),
            Command::Ps(verb) => verb.run(session),
            #[cfg(feature = "registry")]
            Command::Pull(verb) => verb.run(session),
            Command::Rename(verb) => verb.run(session),
            Command::Restart(verb) => verb.run(session),
            Command::Rm(verb) => verb.run(session),
            Command::Rmi(verb) => verb.run(session),
            Command::Run(flags::Run(flags)) => run::run(session, &flags),
            #[cfg(feature = "image-tools")]
            Command::Save(verb) => verb.run(session),
            #[cfg(feature = "registry")]
            Command::Search(verb) => verb.run(session),
            Command::Start(verb) => verb.run(session),
            Command::Stats(verb) => verb.run(session),
            Command::Stop(verb) => verb.run(session),
            #[cfg(feature = "image-tools")]
            Command::System(verb) => verb.run(session),
            Command::Tag(verb) => verb.run(session),
            Command::Top(verb) => verb.run(session),
            Command::Update(verb) => verb.run(session),
            Command::Unpause(verb) => verb.run(session),
            Command::Version(verb) => verb.run(session),
            Command::Volume(verb) => verb.run(session),
            Command::Wait(verb) => verb.run(session),
        }
    }
}

/// Does something to each name and goes on after a failing one. A text that comes back is printed as a line. The exit
/// code is that of the first failure.
fn for_each(names: &[String], mut work: impl FnMut(&str) -> Result<Option<String>, Failure>) -> Result<u8, Failure> {
    let mut code = 0;
    for name in names {
        match work(name) {
            Ok(Some(line)) => output::print(&format!("{line}\n"))?,
            Ok(None) => {}
            Err(failure) => {
                output::complain(&failure.text);
                code = if code == 0 { failure.code } else { code };
            }
        }
    }
    Ok(code)
}

/// `-f KEY=VALUE` as the daemon takes it.
///
/// # Errors
/// Exit code 125 for a key that is not in `known`.
fn filters(list: &[String], known: &[&str]) -> Result<crate::client::Filters, Failure> {
    let mut out = crate::client::Filters::new();
    for text in list {
        let Some((key, value)) = text.split_once('=') else {
            return Err(Failure::usage(format!("Bad format of filter '{text}' (expected name=value)")));
        };
        let key = key.trim().to_ascii_lowercase();
        if !known.contains(&key.as_str()) {
            return Err(Failure::usage(format!("Invalid filter '{key}'")));
        }
        out.entry(key).or_default().push(value.trim().to_owned());
    }
    Ok(out)
}

/// The original's word for a state.
fn state_word(state: &str) -> &str {
    if state == "created" { "inited" } else { state }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(line: &str) -> Failure {
        run(line.split_whitespace().map(OsString::from).collect()).unwrap_err()
    }

    #[test]
    fn spellings_are_on_the_page_of_their_group() {
        let pages = pages();
        let page = |name: &str| pages.iter().find(|(found, _)| found == name).map_or("", |(_, text)| text);
        assert!(page("isula-volume.1").contains(".B list\nSee\n.BR isula\\-volume\\-ls (1).\n"));
        assert!(!page("isula.1").contains("SPELLINGS") && !page("isula-ps.1").contains("SPELLINGS"));
        #[cfg(feature = "image-tools")]
        {
            let text = page("isula-container.1");
            assert!(text.contains(".B ls\nSee\n.BR isula\\-ps (1).\n"), "{text}");
            assert!(text.contains(".B inspect\nWith \\-\\-type=container. See\n.BR isula\\-inspect (1).\n"), "{text}");
        }
    }

    #[test]
    fn unknown_and_later_commands() {
        let f = failure("foo");
        assert_eq!(f.text, "isula: command \"foo\" not found\nrun `isula --help` for a list of sub-commands");
        assert_eq!(f.code, 1);
        for command in REFUSED_COMMANDS {
            let f = failure(command);
            assert_eq!(f.text, format!("isula: command {command:?} is not available in this release"));
            assert_eq!(f.code, 1);
        }
    }

    #[test]
    fn faults_of_the_grammar_end_with_125() {
        for (line, text) in [
            ("create", "\"create\" requires a minimum of 1 argument."),
            ("run", "\"run\" requires a minimum of 1 argument."),
            ("run --nosuchflag busybox", "Unknown flag found:'--nosuchflag'"),
            ("ps --nosuch", "Unknown flag found:'--nosuch'"),
            ("run --ip 1 x", "flag --ip is not available in this release"),
            ("run --version x", "Unknown flag found:'--version'"),
            ("ps -v", "Unknown flag found:'-v'"),
            ("run --rm --restart always x", "Conflicting options: --restart and --rm"),
            ("exec c", "\"exec\" requires a minimum of 2 arguments."),
            ("version x", "\"version\" requires 0 arguments."),
        ] {
            assert_eq!(failure(line), Failure { text: text.into(), code: 125 }, "{line}");
        }
    }

    #[test]
    fn filters_are_grouped_and_checked() {
        let list = ["name=a".to_owned(), "Name=b".into(), "label=k=v".into()];
        let got = filters(&list, &["name", "label"]).unwrap();
        assert_eq!((got["name"].join(","), got["label"].join(",")), ("a,b".into(), "k=v".into()));
        assert_eq!(filters(&["x=y".into()], &["name"]).unwrap_err().code, 125);
        assert_eq!(filters(&["name".into()], &["name"]).unwrap_err().code, 125);
    }

    #[test]
    fn one_failing_name_does_not_stop_the_others() {
        let names = ["a".to_owned(), "b".into(), "c".into()];
        let mut seen = Vec::new();
        let code = for_each(&names, |name| {
            seen.push(name.to_owned());
            if name == "a" { Err(Failure { text: "no".into(), code: 127 }) } else { Ok(None) }
        });
        assert_eq!((code, seen.len()), (Ok(127), 3));
    }
}
