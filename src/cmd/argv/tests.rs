//! Every form of words that docker users type, against a small program of four commands.
use super::*;

/// runs containers
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
struct Top {
    /// socket
    #[argh(option, short = 'H', arg_name = "socket")]
    host: Option<String>,
    /// verbose
    #[argh(switch, short = 'D')]
    debug: bool,
    #[argh(subcommand)]
    command: Sub,
}

#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand)]
enum Sub {
    Run(Run),
    Exec(Exec),
    Ps(Ps),
    Rm(Rm),
    Tag(Tag),
    Info(Info),
}

/// runs
#[derive(FromArgs, ArgsInfo, Debug, PartialEq, Default)]
#[argh(subcommand, name = "run")]
struct Run {
    /// memory
    #[argh(option, short = 'm', arg_name = "bytes")]
    memory: Option<String>,
    /// environment
    #[argh(option, short = 'e', arg_name = "list")]
    env: Vec<String>,
    /// stdin
    #[argh(switch, short = 'i')]
    interactive: bool,
    /// terminal
    #[argh(switch, short = 't')]
    tty: bool,
    /// background
    #[argh(switch, short = 'd')]
    detach: bool,
    /// remove
    #[argh(switch)]
    rm: bool,
    /// host name
    #[argh(option, short = 'h', arg_name = "string")]
    hostname: Option<String>,
    /// shares
    #[argh(option, arg_name = "int")]
    cpu_shares: Option<i64>,
    /// proxy
    #[argh(option, arg_name = "bool", default = "true")]
    sig_proxy: bool,
    #[argh(positional, arg_name = "IMAGE")]
    image: String,
    #[argh(positional, greedy, arg_name = "[COMMAND] [ARG...]")]
    command: Vec<String>,
}

/// executes
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand, name = "exec")]
struct Exec {
    /// terminal
    #[argh(switch, short = 't')]
    tty: bool,
    #[argh(positional, arg_name = "CONTAINER")]
    container: String,
    #[argh(positional, greedy, arg_name = "COMMAND [ARG...]")]
    command: Vec<String>,
}

/// lists
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand, name = "ps")]
struct Ps {
    /// all
    #[argh(switch, short = 'a')]
    all: bool,
    /// quiet
    #[argh(switch, short = 'q')]
    quiet: bool,
    /// filter
    #[argh(option, short = 'f', arg_name = "filter")]
    filter: Vec<String>,
    #[argh(positional, arg_name = "[NAME...]")]
    names: Vec<String>,
}

/// removes
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand, name = "rm")]
struct Rm {
    /// force
    #[argh(switch, short = 'f')]
    force: bool,
    #[argh(positional, arg_name = "CONTAINER...")]
    containers: Vec<String>,
}

/// tags
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand, name = "tag")]
struct Tag {
    #[argh(positional, arg_name = "SOURCE")]
    source: String,
    #[argh(positional, arg_name = "TARGET")]
    target: String,
}

/// tells
#[derive(FromArgs, ArgsInfo, Debug, PartialEq)]
#[argh(subcommand, name = "info")]
struct Info {}

fn top(line: &[&str]) -> Result<Top, Stop> {
    const SPELLINGS: &[Spelling] = &[("delete", "rm", &["--force"])];
    let spellings = |group: &str| if group == "info" { SPELLINGS } else { &[] };
    let refused = |command: &str, flag: &str| command == "run" && matches!(flag, "--later" | "-p");
    parse("isula", line.iter().map(OsString::from).collect(), Dialect { refused: &refused, spellings: &spellings })
}

fn words(line: &str) -> Result<Top, Stop> {
    top(&line.split_whitespace().collect::<Vec<_>>())
}

fn run(line: &str) -> Run {
    match words(line).unwrap().command {
        Sub::Run(run) => run,
        other => panic!("{other:?}"),
    }
}

fn fault(line: &str) -> String {
    match words(line) {
        Err(Stop::Fault(fault)) => fault.to_string(),
        other => panic!("{line}: {other:?}"),
    }
}

fn list(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

#[test]
fn other_spellings_of_a_command() {
    let rm = Sub::Rm(Rm { force: true, containers: vec!["x".into()] });
    assert_eq!(words("-D info delete x").unwrap(), Top { host: None, debug: true, command: rm });
    // Not where no group stands, nor for another word.
    assert!(matches!(words("delete x"), Err(Stop::Fault(Fault::UnknownCommand { .. }))));
    assert!(matches!(words("info other"), Err(Stop::Fault(Fault::TooMany { .. }))));
    assert_eq!(words("help info delete"), words("rm --help"));
}

#[test]
fn clusters_glued_values_and_equal_signs() {
    let r = run("run -m64m --interactive=false -te A=1 img ls -l");
    assert_eq!((r.memory.as_deref(), r.interactive, r.tty), (Some("64m"), false, true));
    assert_eq!((r.env, r.command), (list(&["A=1"]), list(&["ls", "-l"])));

    let r = run("run -itd -eA=b --env=C=d -e=E=f --env G=h -m=1k img");
    assert!(r.interactive && r.tty && r.detach);
    assert_eq!(r.env, list(&["A=b", "C=d", "E=f", "G=h"]));
    assert_eq!(r.memory.as_deref(), Some("1k"));

    let r = run("run -ite A -it=false -m -1 img");
    assert_eq!((r.interactive, r.tty, r.env, r.memory.as_deref()), (true, false, list(&["A"]), Some("-1")));
    let r = run("run -dh box img");
    assert_eq!((r.detach, r.hostname.as_deref()), (true, Some("box")));
}

#[test]
fn an_option_may_be_empty_and_an_odd_value_is_taken_as_it_is() {
    let Ok(Top { command: Sub::Run(r), .. }) = top(&["run", "--hostname=", "-e", "--rm", "--env", "", "img"]) else {
        panic!()
    };
    assert_eq!((r.hostname.as_deref(), r.rm, r.env), (Some(""), false, list(&["--rm", ""])));
}

#[test]
fn switches_with_a_value_and_flags_given_twice() {
    assert!(!run("run --rm --rm=false img").rm);
    assert!(run("run --rm=0 --rm=T img").rm);
    assert!(run("run img").sig_proxy && run("run --sig-proxy img").sig_proxy);
    assert!(!run("run --sig-proxy=false img").sig_proxy);
    assert_eq!(run("run -m 1 --memory 2 img").memory.as_deref(), Some("2"), "the last one counts");
}

#[test]
fn words_after_the_image_belong_to_the_container() {
    let r = run("run --rm img sh -c -it --rm -- -H x --help");
    assert_eq!(r.command, list(&["sh", "-c", "-it", "--rm", "--", "-H", "x", "--help"]));
    assert_eq!(run("run img -- ls").command, list(&["--", "ls"]));
    let r = run("run -t -- img -t");
    assert_eq!((r.tty, r.image.as_str(), r.command), (true, "img", list(&["-t"])));
    assert_eq!(run("run -- help help").image, "help");
    let Sub::Exec(e) = words("exec -t c ls -t").unwrap().command else { panic!() };
    assert_eq!((e.tty, e.container.as_str(), e.command), (true, "c", list(&["ls", "-t"])));
}

#[test]
fn other_commands_interleave() {
    let Sub::Ps(p) = words("ps -aqf name=x foo -f a=b bar").unwrap().command else { panic!() };
    assert!(p.all && p.quiet);
    assert_eq!((p.filter, p.names), (list(&["name=x", "a=b"]), list(&["foo", "bar"])));
    let Sub::Rm(r) = words("rm a -f b -- -c --").unwrap().command else { panic!() };
    assert_eq!((r.force, r.containers), (true, list(&["a", "b", "-c", "--"])));
    let Sub::Rm(r) = words("rm -").unwrap().command else { panic!() };
    assert_eq!(r.containers, list(&["-"]), "a lone dash is a word");
}

#[test]
fn common_flags_may_come_before_and_after_the_command() {
    for line in ["-H s -D ps", "ps -H s -D", "ps -DH s", "ps --host=s --debug", "-Hs ps -D"] {
        let t = words(line).unwrap();
        assert_eq!((t.host.as_deref(), t.debug), (Some("s"), true), "{line}");
    }
    assert_eq!(words("-H a ps -H b").unwrap().host.as_deref(), Some("b"));
}

#[test]
fn faults_have_the_texts_of_the_original() {
    for (line, want) in [
        ("run --nosuchflag busybox", "Unknown flag found:'--nosuchflag'"),
        ("run --nosuch=1 busybox", "Unknown flag found:'--nosuch'"),
        ("ps -az", "Unknown flag found:'-z'"),
        ("run --memory", "Flag needs an argument: --memory"),
        ("run -im", "Flag needs an argument: -m"),
        ("run --rm=maybe img", "Invalid boolean value \"maybe\" for flag --rm"),
        ("run -t= img", "Invalid boolean value \"\" for flag -t"),
        ("run --cpu-shares x img", "Invalid value \"x\" for flag --cpu-shares"),
        ("run --cpu-shares=1.5 img", "Invalid value \"1.5\" for flag --cpu-shares"),
        ("run", "\"run\" requires a minimum of 1 argument."),
        ("run -it", "\"run\" requires a minimum of 1 argument."),
        ("exec c", "\"exec\" requires a minimum of 2 arguments."),
        ("rm -f", "\"rm\" requires a minimum of 1 argument."),
        ("tag a", "\"tag\" requires a minimum of 2 arguments."),
        ("tag a b c", "\"tag\" requires at most 2 arguments."),
        ("info x", "\"info\" requires 0 arguments."),
        ("foo", "isula: command \"foo\" not found\nrun `isula --help` for a list of sub-commands"),
        ("run --later=3 img", "flag --later is not available in this release"),
        ("run -itp 80:80 img", "flag -p is not available in this release"),
        ("ps --later", "Unknown flag found:'--later'"),
    ] {
        assert_eq!(fault(line), want, "{line}");
    }
    assert_eq!(fault(&format!("rm {}", "a ".repeat(1000))), "You specify too many arguments.");
    assert!(words(&format!("run img {}", "a ".repeat(1000))).is_ok());
}

#[test]
fn words_that_are_not_text_are_refused() {
    use std::os::unix::ffi::OsStringExt;
    let odd = OsString::from_vec(vec![b'a', 0xff]);
    let got = parse::<Top>("isula", vec!["rm".into(), odd], Dialect::PLAIN);
    assert_eq!(got.unwrap_err(), Stop::Fault(Fault::NotText(OsString::from_vec(vec![b'a', 0xff]))));
}

#[test]
fn help_is_found_wherever_it_stands_before_the_container() {
    for line in ["", "--help", "-h", "-D --help"] {
        let Err(Stop::Help(text)) = words(line) else { panic!("{line}") };
        assert!(text.starts_with("USAGE:\n\tisula <command>") && text.contains("\n\trun "), "{text}");
    }
    let Err(Stop::Help(text)) = words("ps x -h") else { panic!() };
    assert!(text.starts_with("Usage:  isula ps [OPTIONS] [NAME...]\n\nLists\n\nOptions:\n  -a, --all"), "{text}");
    let Err(Stop::Help(text)) = words("run -i --help") else { panic!() };
    assert!(text.starts_with("Usage:  isula run [OPTIONS] IMAGE [COMMAND] [ARG...]\n"), "{text}");
    assert!(text.contains("\n  -m, --memory bytes ") && text.contains("\nCommon options:\n  -D, --debug"), "{text}");
    assert_eq!(fault("run -h"), "Flag needs an argument: -h", "here -h is the host name");
}
