//! The daemon's command line: exactly what was typed, also of a switch that was turned off. No I/O happens here.

use crate::cmd::argv::{self, Dialect, Stop};
use crate::error::{Error, Kind, Result};
use crate::utils::tls;
use argh::{ArgsInfo, FromArgs};
use std::ffi::OsString;
use std::path::PathBuf;

/// The daemon of the container engine.
#[derive(FromArgs, ArgsInfo, Debug, Default, PartialEq)]
#[argh(help_triggers("-h", "--help"))]
pub struct Flags {
    /// socket to listen on: unix:///PATH or tcp://IP:PORT (default unix:///var/run/isulad.sock); repeatable
    #[argh(option, short = 'H', long = "host")]
    pub hosts: Vec<String>,
    /// directory of what lasts (default /var/lib/isulad); also --root
    #[argh(option, short = 'g')]
    pub graph: Option<PathBuf>,
    /// directory of what a reboot makes void (default /var/run/isulad)
    #[argh(option, short = 'S')]
    pub state: Option<PathBuf>,
    /// file for the process id (default /var/run/isulad.pid)
    #[argh(option, short = 'p')]
    pub pidfile: Option<PathBuf>,
    /// FATAL, ALERT, CRIT, ERROR, WARN, NOTICE, INFO (default), DEBUG or TRACE
    #[argh(option, short = 'l')]
    pub log_level: Option<String>,
    /// the same as --log-level DEBUG
    #[argh(option, short = 'D', arg_name = "bool")]
    pub debug: Option<bool>,
    /// where the daemon logs: stderr (default), file or syslog
    #[argh(option)]
    pub log_driver: Option<String>,
    /// for the log driver file: log-path=DIR, log-file-mode=MODE, max-file=N, max-size=SIZE; repeatable
    #[argh(option, long = "log-opt")]
    pub log_opts: Vec<String>,
    /// group of the unix socket (default isula)
    #[argh(option, short = 'G')]
    pub group: Option<String>,
    /// resource limit of every container: TYPE=SOFT[:HARD]; repeatable
    #[argh(option, long = "default-ulimit")]
    pub default_ulimits: Vec<String>,
    /// cgroup under which those of containers are made (default /isulad)
    #[argh(option)]
    pub cgroup_parent: Option<String>,
    /// file mode creation mask inside containers: normal (0022) or secure (0027, default); also --native.umask
    #[argh(option)]
    pub native_umask: Option<String>,
    /// log driver of containers: json-file (default), syslog or none
    #[argh(option)]
    pub container_log_driver: Option<String>,
    /// options of the containers' log driver: max-size, max-file, disable-log, syslog-tag, syslog-facility; repeatable
    #[argh(option, long = "container-log-opts")]
    pub container_log_opts: Vec<String>,
    /// hooks of every container, run before its own
    #[argh(option)]
    pub hook_spec: Option<String>,
    /// time in which a container must have started, such as 2m (default none)
    #[argh(option)]
    pub start_timeout: Option<String>,
    /// asked before docker's own registry for names without a host: [http://]HOST[:PORT]; repeatable
    #[argh(option)]
    pub registry_mirrors: Vec<String>,
    /// registry without TLS, or with certificates that are not verified: HOST[:PORT] or a network; repeatable
    #[argh(option, long = "insecure-registry")]
    pub insecure_registries: Vec<String>,
    /// verify no registry's certificate
    #[argh(option, arg_name = "bool")]
    pub insecure_skip_verify_enforce: Option<bool>,
    /// layers of one pull that are downloaded at once (default 2)
    #[argh(option)]
    pub max_concurrent_downloads: Option<u32>,
    /// attempts at a request to a registry that brings nothing (default 6)
    #[argh(option)]
    pub max_download_attempts: Option<u32>,
    /// how containers get their root: overlay2 (the same as overlay) or vfs, a copy each (default overlay where it works)
    #[argh(option, short = 's')]
    pub storage_driver: Option<String>,
    /// overlay2.size=SIZE of a container that asks for none, overlay2.mountopt=OPTIONS; repeatable
    #[argh(option, long = "storage-opt")]
    pub storage_opts: Vec<String>,
    /// verify the layers of images after an unclean stop
    #[argh(option, arg_name = "bool")]
    pub image_layer_check: Option<bool>,
    /// user namespace of containers: UID:GID:LENGTH, or USER[:GROUP] or default of /etc/subuid and /etc/subgid
    #[argh(option)]
    pub userns_remap: Option<String>,
    /// bytes that a layer of an image may unpack to, such as 2g (default no limit)
    #[argh(option)]
    pub max_layer_size: Option<String>,
    /// TLS on TCP sockets, for clients whoever they are
    #[argh(option, arg_name = "bool")]
    pub tls: Option<bool>,
    /// the same, for clients with a certificate of the authority
    #[argh(option, arg_name = "bool")]
    pub tlsverify: Option<bool>,
    /// certificates of the authority of clients (default /etc/isulad/ca.pem)
    #[argh(option)]
    pub tlscacert: Option<PathBuf>,
    /// certificate of the daemon (default /etc/isulad/cert.pem)
    #[argh(option)]
    pub tlscert: Option<PathBuf>,
    /// its key (default /etc/isulad/key.pem)
    #[argh(option)]
    pub tlskey: Option<PathBuf>,
    /// who is asked about each request: a plugin's name, its socket, or authz-broker; repeatable
    #[argh(option, long = "authorization-plugin")]
    pub authorization_plugins: Vec<String>,
    /// port on 127.0.0.1 for metrics; 0 (default) for none
    #[argh(option)]
    pub metrics_port: Option<u16>,
    /// microseconds in which real-time processes of all containers have --cpu-rt-runtime (cgroup v1)
    #[argh(option)]
    pub cpu_rt_period: Option<i64>,
    /// microseconds that real-time processes of all containers have in each --cpu-rt-period (cgroup v1)
    #[argh(option)]
    pub cpu_rt_runtime: Option<i64>,
    /// runtime of containers that ask for none (default lcr, which is built in)
    #[argh(option)]
    pub default_runtime: Option<String>,
    /// further OCI runtime: NAME=PROGRAM; repeatable
    #[argh(option, long = "add-runtime")]
    pub add_runtimes: Vec<String>,
    /// configuration file (default /etc/isulad/daemon.json, which need not exist)
    #[argh(option)]
    pub config: Option<PathBuf>,
    /// print the version
    #[argh(switch, short = 'V')]
    pub version: bool,
}

/// The help screen; argh's own is not compiled in.
const HELP: &str = "\
Usage: isulad [OPTIONS]

The daemon of the container engine.

  -H, --host HOST                unix:///PATH or tcp://IP:PORT; repeatable (default unix:///var/run/isulad.sock)
  -g, --graph, --root DIR        what lasts (default /var/lib/isulad)
  -S, --state DIR                what a reboot makes void (default /var/run/isulad)
  -p, --pidfile FILE             file for the process id (default /var/run/isulad.pid)
      --config FILE              configuration file (default /etc/isulad/daemon.json, which need not exist)
  -G, --group GROUP              group of the unix socket (default isula)
  -l, --log-level LEVEL          FATAL ALERT CRIT ERROR WARN NOTICE INFO DEBUG TRACE (default INFO)
  -D, --debug                    the same as --log-level DEBUG
      --log-driver DRIVER        stderr, file or syslog (default stderr)
      --log-opt KEY=VALUE        for file: log-path, log-file-mode, max-file, max-size; repeatable
      --cgroup-parent PATH       cgroup under which those of containers are made (default /isulad)
      --cpu-rt-period US         microseconds in which real-time processes of all containers have --cpu-rt-runtime
      --cpu-rt-runtime US        as many microseconds (default 0: as the cgroup parent has it; cgroup v1)
      --default-ulimit LIMIT     TYPE=SOFT[:HARD] for every container; repeatable
      --native.umask WORD        inside containers: normal (0022) or secure (0027, default)
      --container-log-driver D   json-file, syslog or none (default json-file)
      --container-log-opts K=V   max-size, max-file, disable-log, syslog-tag, syslog-facility; repeatable
      --hook-spec FILE           hooks of every container, run before its own
      --start-timeout TIME       in which a container must have started, such as 2m (default none)
  -s, --storage-driver DRIVER    overlay2 (overlay) or vfs, a copy for each container (default overlay where it works)
      --storage-opt KEY=VALUE    overlay2.size, overlay2.mountopt; repeatable
      --image-layer-check        verify the layers of images after an unclean stop
      --registry-mirrors HOST    [http://]HOST[:PORT], asked before docker's own registry; repeatable
      --insecure-registry HOST   HOST[:PORT] or network without TLS or with unverified certificates; repeatable
      --insecure-skip-verify-enforce  verify no registry's certificate
      --max-concurrent-downloads N    layers of one pull that are downloaded at once (default 2)
      --max-download-attempts N       attempts at a request to a registry that brings nothing (default 6)
      --userns-remap MAP         user namespace of containers: UID:GID:LENGTH, USER[:GROUP] or default (the latter
                                 two by /etc/subuid and /etc/subgid); graph and state get a directory for it
      --max-layer-size SIZE      that a layer of an image may unpack to, such as 2g (default no limit)
      --tls                      TLS on TCP sockets; anybody may be a client
      --tlsverify                the same; clients need a certificate of the authority
      --tlscacert FILE           the clients' authority (default /etc/isulad/ca.pem)
      --tlscert FILE             certificate of the daemon (default /etc/isulad/cert.pem)
      --tlskey FILE              its key (default /etc/isulad/key.pem)
      --authorization-plugin P   asked about each request: a name, the path of a socket, or authz-broker; repeatable
      --metrics-port PORT        on 127.0.0.1, for metrics only (default 0, none)
      --default-runtime NAME     runtime of containers that ask for none (default lcr, which is built in)
      --add-runtime NAME=PROGRAM further OCI runtime; runc, crun, youki, runsc and kata-runtime in PATH are known
  -V, --version                  print the version
  -h, --help                     print this
";

/// Flags of the original that later releases bring.
const LATER: &[&str] = &[
    "cni-bin-dir",
    "cni-conf-dir",
    "cri-runtime",
    "enable-plugins",
    "network-plugin",
    "pod-sandbox-image",
    "selinux-enabled",
    "sup-groups",
    "systemd-cgroup",
    "use-decrypted-key",
    "websocket-server-listening-port",
];

/// What the words ask for.
#[derive(Debug)]
pub enum Parsed {
    /// To run.
    Run(Box<Flags>),
    /// To print this and end well.
    Print(String),
}

/// Reads the words after the program's name.
///
/// # Errors
/// `Kind::Invalid` for an unknown or malformed flag, `Kind::Unsupported` for one that comes later.
pub fn parse(words: Vec<OsString>) -> Result<Parsed> {
    let words = words
        .into_iter()
        .map(|word| word.into_string().map_err(|word| Error::invalid(format!("argument {word:?} is not valid UTF-8"))));
    let words = words.map(|word| usual(word?)).collect::<Result<Vec<String>>>()?;
    let mut plain = Vec::new();
    for (n, word) in words.iter().enumerate() {
        match storage_option(word, words.get(n + 1)) {
            Some(found) => plain.extend(found.into_iter().map(OsString::from)),
            None => plain.push(word.into()),
        }
    }
    match argv::parse("isulad", plain, Dialect::PLAIN) {
        Ok(flags) => Ok(Parsed::Run(Box::new(flags))),
        Err(Stop::Help(_)) => Ok(Parsed::Print(HELP.into())),
        Err(Stop::Fault(fault)) => Err(Error::invalid(fault.to_string().replace('\n', " "))),
    }
}

/// Words for one with the short flag that is docker's for the driver and the original's for an option; no driver's name
/// has this sign. `None` when it is not this flag with an option.
fn storage_option(word: &str, next: Option<&String>) -> Option<Vec<String>> {
    let letters = word.strip_prefix('-')?;
    let value = letters.trim_start_matches(['D', 'V']).strip_prefix('s')?;
    let switches = &letters[..letters.len() - value.len() - 1];
    let glued = value.strip_prefix('=').or(Some(value).filter(|value| !value.is_empty()));
    if !glued.or(next.map(String::as_str))?.contains('=') {
        return None;
    }
    let mut words = Vec::new();
    words.extend((!switches.is_empty()).then(|| format!("-{switches}")));
    words.push("--storage-opt".into());
    words.extend(glued.map(String::from));
    Some(words)
}

/// Other spellings of a flag become its own.
fn usual(word: String) -> Result<String> {
    let Some(rest) = word.strip_prefix("--").filter(|rest| !rest.is_empty()) else { return Ok(word) };
    let (name, value) = match rest.split_once('=') {
        Some((name, _)) => (name, &rest[name.len()..]),
        None => (rest, ""),
    };
    if LATER.contains(&name) {
        return Err(Error::new(Kind::Unsupported, format!("flag --{name} comes with a later release")));
    }
    if name.starts_with("tls") && !tls::AVAILABLE {
        return Err(Error::new(Kind::Unsupported, format!("flag --{name}: {}", tls::UNAVAILABLE)));
    }
    let name = match name {
        "root" => "graph",
        "native.umask" => "native-umask",
        "container-log-opt" => "container-log-opts",
        "log-opts" => "log-opt",
        "storage-opts" => "storage-opt",
        name => name,
    };
    Ok(format!("--{name}{value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(words: &[&str]) -> Result<Flags> {
        match parse(words.iter().map(OsString::from).collect())? {
            Parsed::Run(flags) => Ok(*flags),
            Parsed::Print(text) => panic!("{text}"),
        }
    }

    #[test]
    fn spellings() {
        let f = run(&[
            "-H",
            "unix:///a",
            "--host=tcp://127.0.0.1:1",
            "-H=unix:///b",
            "--root=/g",
            "--native.umask=normal",
            "-D",
            "--log-opt",
            "max-size=1m",
            "--version=false",
            "-s=vfs",
            "-s",
            "overlay2.size=1g",
            "--storage-opts=overlay2.skip_mount_home=true",
            "--image-layer-check=true",
        ])
        .unwrap();
        assert_eq!(f.storage_driver.as_deref(), Some("vfs"));
        assert_eq!(f.storage_opts, ["overlay2.size=1g", "overlay2.skip_mount_home=true"]);
        assert_eq!(f.image_layer_check, Some(true));
        assert_eq!(f.hosts, ["unix:///a", "tcp://127.0.0.1:1", "unix:///b"]);
        assert_eq!((f.graph, f.native_umask), (Some("/g".into()), Some("normal".into())));
        assert_eq!(f.log_opts, ["max-size=1m"]);
        assert!(f.debug == Some(true) && !f.version);
        assert!(run(&["--version"]).unwrap().version);
    }

    #[test]
    fn short_flags_stand_together() {
        let f = run(&["-Hunix:///x", "-Dl", "info", "-g/a", "--graph", "/g", "-soverlay2.size=1g"]).unwrap();
        assert_eq!((f.hosts, f.debug, f.log_level.as_deref()), (vec!["unix:///x".into()], Some(true), Some("info")));
        assert_eq!((f.graph, f.storage_opts), (Some("/g".into()), vec!["overlay2.size=1g".into()]));
        let f = run(&["-Dsvfs", "-Ds", "a=b", "-Dlinfo", "-s=c=d"]).unwrap();
        assert_eq!((f.storage_driver.as_deref(), f.storage_opts), (Some("vfs"), vec!["a=b".into(), "c=d".into()]));
    }

    #[test]
    fn a_switch_that_is_turned_off_is_told_from_none() {
        let f = run(&["-D=false", "--image-layer-check=0", "--insecure-skip-verify-enforce=false"]).unwrap();
        assert_eq!([f.debug, f.image_layer_check, f.insecure_skip_verify_enforce], [Some(false); 3]);
        assert_eq!(run(&["--insecure-skip-verify-enforce=true"]).unwrap().insecure_skip_verify_enforce, Some(true));
        assert_eq!(run(&[]).unwrap(), Flags::default());
    }

    #[test]
    fn refusals_name_the_flag() {
        for (words, part) in [
            (&["--nosuch"][..], "--nosuch"),
            (&["--graph"], "--graph"),
            (&["--cni-bin-dir"], "--cni-bin-dir"),
            (&["--tlsverify=perhaps"], "--tlsverify"),
            (&["--metrics-port", "70000"], "--metrics-port"),
            (&["--cpu-rt-period", "xx"], "--cpu-rt-period"),
            (&["--debug=perhaps"], "perhaps"),
            (&["--selinux-enabled=false"], "--selinux-enabled"),
            (&["-Dx"], "-x"),
            (&["word"], "word"),
        ] {
            let e = run(words).unwrap_err().to_string();
            assert!(e.contains(part), "{e}");
        }
    }

    #[test]
    #[cfg(feature = "tls")]
    fn switches_take_a_value() {
        let f = run(&["--tls=true", "--tlsverify=false", "--tlscacert=/a", "--authorization-plugin=x"]).unwrap();
        assert_eq!((f.tls, f.tlsverify), (Some(true), Some(false)));
        assert_eq!((f.tlscacert, f.authorization_plugins), (Some("/a".into()), vec!["x".to_owned()]));
    }

    #[test]
    #[cfg(not(feature = "tls"))]
    fn flags_for_tls_are_refused_by_name() {
        for flag in ["--tls", "--tlsverify", "--tlscacert=/a", "--tlscert", "--tlskey"] {
            let e = run(&[flag]).unwrap_err();
            assert!(e.kind() == Kind::Unsupported && e.to_string().contains(flag.split('=').next().unwrap()), "{e}");
        }
    }

    #[test]
    fn help_ends_well() {
        for word in ["--help", "-h"] {
            match parse(vec![word.into()]).unwrap() {
                Parsed::Print(text) => assert!(text.contains("--cgroup-parent"), "{text}"),
                Parsed::Run(_) => panic!("no help"),
            }
        }
    }
}
