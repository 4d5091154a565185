//! What flags and file mean together. One setting given in both with different values is an error that names both:
//! neither may win silently.

use super::file::File;
use super::flags::Flags;
use crate::api::container::{LogConfig, Ulimit};
use crate::error::{Context, Error, Kind, Result};
use crate::executor::Settings;
use crate::modules::authorization::Authorizer;
use crate::modules::container::logging::Logging;
#[cfg(feature = "registry")]
use crate::modules::image::credentials;
use crate::modules::image::driver::{Driver, Storage};
#[cfg(feature = "registry")]
use crate::modules::image::registry::{self, ProxySettings};
use crate::modules::remap::Remap;
use crate::modules::runtime::choice::Choice;
use crate::modules::spec::{CGROUP_PARENT, Defaults, has_realtime, hook, validate_cgroup_parent, validate_realtime};
use crate::utils::log::{Sink, parse_level};
use crate::utils::{size, time, tls};
use log::LevelFilter;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Everything the daemon is started with.
pub struct Options {
    /// Sockets to listen on.
    pub hosts: Vec<String>,
    /// Group of unix sockets.
    pub group: String,
    /// File for the process id.
    pub pidfile: PathBuf,
    /// Level of the daemon's log.
    pub log_level: LevelFilter,
    /// Where the daemon's log goes.
    pub log_sink: Sink,
    /// TLS on TCP sockets.
    pub tls: Option<tls::Files>,
    /// Who is asked about requests.
    pub authorizer: Option<Authorizer>,
    /// Port for metrics on loopback.
    pub metrics_port: Option<u16>,
    /// The rest.
    pub settings: Settings,
}

const HOST: &str = "unix:///var/run/isulad.sock";
const GROUP: &str = "isula";
const GRAPH: &str = "/var/lib/isulad";
const STATE: &str = "/var/run/isulad";
/// Where certificates are looked for.
const CERTIFICATES: &str = "/etc/isulad";
const PIDFILE: &str = "/var/run/isulad.pid";
/// Most sockets.
const MOST_HOSTS: usize = 10;
/// Layers of one pull that are downloaded at once: a board has little memory and one line to the world.
const DOWNLOADS: u32 = 2;
const MOST_DOWNLOADS: u32 = 16;
/// Attempts at a request to a registry, of which the later ones wait 16 seconds each.
const MOST_ATTEMPTS: u32 = 100;
/// The daemon's log file.
const LOG_FILE: &str = "isulad.log";
const LOG_SIZE: u64 = 1 << 20;
const LOG_FILES: u32 = 7;
const LOG_MODE: u32 = 0o600;
const SMALLEST_LOG: u64 = 4096;

/// Puts flags and file together.
///
/// # Errors
/// `Kind::Invalid` naming what is malformed or given twice.
pub fn resolve(flags: Flags, file: &File) -> Result<Options> {
    let pick = Pick { file };
    let path = |flag: &Option<PathBuf>| flag.as_ref().map(|p| p.to_string_lossy().into_owned());
    if file.hosts.is_some() && !flags.hosts.is_empty() {
        return Err(pick.twice("--host", "hosts"));
    }
    if file.default_ulimits.is_some() && !flags.default_ulimits.is_empty() {
        return Err(pick.twice("--default-ulimit", "default-ulimits"));
    }
    let mirrors =
        pick.list("--registry-mirrors", "registry-mirrors", flags.registry_mirrors, &file.registry_mirrors)?;
    let insecure =
        pick.list("--insecure-registry", "insecure-registries", flags.insecure_registries, &file.insecure_registries)?;
    let skip_verify = pick.switch(
        "--insecure-skip-verify-enforce",
        "insecure-skip-verify-enforce",
        flags.insecure_skip_verify_enforce,
        file.insecure_skip_verify_enforce,
    )? == Some(true);
    if cfg!(not(feature = "registry")) && (skip_verify || !(mirrors.is_empty() && insecure.is_empty())) {
        log::warn!("what is set for registries has no effect: this build has no registry client");
    }
    let downloads = match (flags.max_concurrent_downloads, file.max_concurrent_downloads) {
        (Some(a), Some(b)) if a != b => {
            return Err(pick.twice("--max-concurrent-downloads", "max-concurrent-downloads"));
        }
        (a, b) => a.or(b).unwrap_or(DOWNLOADS),
    };
    if !(1..=MOST_DOWNLOADS).contains(&downloads) {
        return Err(Error::invalid(format!("max-concurrent-downloads {downloads}: want 1 to {MOST_DOWNLOADS}")));
    }
    let attempts = match (flags.max_download_attempts, file.max_download_attempts) {
        (Some(a), Some(b)) if a != b => return Err(pick.twice("--max-download-attempts", "max-download-attempts")),
        (a, b) => a.or(b),
    };
    if let Some(attempts) = attempts
        && !(1..=MOST_ATTEMPTS).contains(&attempts)
    {
        return Err(Error::invalid(format!("max-download-attempts {attempts}: want 1 to {MOST_ATTEMPTS}")));
    }
    let hosts = Some(flags.hosts).filter(|h| !h.is_empty()).or_else(|| file.hosts.clone());
    let hosts = hosts.filter(|h| !h.is_empty()).unwrap_or_else(|| vec![HOST.into()]);
    if hosts.len() > MOST_HOSTS {
        return Err(Error::invalid(format!("{} hosts given, at most {MOST_HOSTS}", hosts.len())));
    }
    let remap = pick.word("--userns-remap", "userns-remap", flags.userns_remap)?.filter(|word| !word.is_empty());
    let remap = remap.map(|word| Remap::parse(&word)).transpose()?;
    let graph = absolute("graph", &pick.word("--graph", "graph", path(&flags.graph))?, GRAPH)?;
    let state = absolute("state", &pick.word("--state", "state", path(&flags.state))?, STATE)?;
    let pidfile = absolute("pidfile", &pick.word("--pidfile", "pidfile", path(&flags.pidfile))?, PIDFILE)?;
    let debug = flags.debug == Some(true);
    let level = if debug { Some("DEBUG".to_string()) } else { flags.log_level };
    let level = pick.word(if debug { "--debug" } else { "--log-level" }, "log-level", level)?;
    let stored = file.words.get("log-level").and_then(|word| parse_level(word).ok());
    if flags.debug == Some(false) && stored == Some(LevelFilter::Debug) {
        return Err(pick.contradiction("--debug", "log-level", "false", "DEBUG"));
    }
    let driver = pick.word("--storage-driver", "storage-driver", flags.storage_driver)?;
    let storage_opts = pick.list("--storage-opt", "storage-opts", flags.storage_opts, &file.storage_opts)?;
    let check_layers =
        pick.switch("--image-layer-check", "image-layer-check", flags.image_layer_check, file.image_layer_check)?;
    let log_opts = pick.map("--log-opt", "log-opts", &flags.log_opts, &file.log_opts)?;
    let log_driver = pick.word("--log-driver", "log-driver", flags.log_driver)?;
    let umask = pick.word("--native.umask", "native.umask", flags.native_umask)?;
    let hook_spec = pick.word("--hook-spec", "hook-spec", flags.hook_spec)?.filter(|path| !path.is_empty());
    let start_timeout = pick.word("--start-timeout", "start-timeout", flags.start_timeout)?;
    let layer_limit = pick.word("--max-layer-size", "max-layer-size", flags.max_layer_size)?;
    let default_ulimits = match &file.default_ulimits {
        Some(list) => list.clone(),
        None => last_of_each(flags.default_ulimits.iter().map(|text| ulimit(text)).collect::<Result<_>>()?),
    };
    let container_driver =
        pick.scalar("--container-log-driver", "container-log.driver", flags.container_log_driver, {
            Some(file.container_log.driver.clone()).filter(|d| !d.is_empty())
        })?;
    let container_options =
        pick.map("--container-log-opts", "container-log.opts", &flags.container_log_opts, &file.container_log.config)?;
    let logging = LogConfig { driver: container_driver.unwrap_or_default(), config: container_options };
    let plugins = pick.list(
        "--authorization-plugin",
        "authorization-plugin",
        flags.authorization_plugins,
        &file.authorization_plugins,
    )?;
    let default_runtime = pick.word("--default-runtime", "default-runtime", flags.default_runtime)?;
    let mut runtimes = file.runtimes.clone();
    for entry in &flags.add_runtimes {
        let Some((name, path)) = entry.split_once('=') else {
            return Err(Error::invalid(format!("flag --add-runtime {entry:?}: want NAME=PROGRAM")));
        };
        if runtimes.iter().any(|runtime| runtime[0] == name) {
            return Err(Error::invalid(format!("runtime {name:?} is given twice (--add-runtime and \"runtimes\")")));
        }
        runtimes.push(vec![name.into(), path.into()]);
    }
    let realtime = realtime(
        pick.number("--cpu-rt-period", "cpu-rt-period", flags.cpu_rt_period, file.cpu_rt_period)?,
        pick.number("--cpu-rt-runtime", "cpu-rt-runtime", flags.cpu_rt_runtime, file.cpu_rt_runtime)?,
    )?;
    let metrics_port = match (flags.metrics_port, file.metrics_port) {
        (Some(a), Some(b)) if a != b => return Err(pick.twice("--metrics-port", "metrics-port")),
        (a, b) => a.or(b).filter(|port| *port != 0),
    };
    let secure = Secure {
        on: [flags.tls, flags.tlsverify],
        files: [path(&flags.tlscacert), path(&flags.tlscert), path(&flags.tlskey)],
        environment: ["ISULAD_TLS", "ISULAD_TLS_VERIFY"]
            .map(|name| std::env::var_os(name).is_some_and(|v| !v.is_empty())),
        // Whatever the hosts say: such a socket may be one of TCP.
        passed: std::env::var_os("LISTEN_FDS").is_some(),
    };
    let tls = secure.resolve(&pick, &hosts)?;
    #[cfg(feature = "registry")]
    let credentials = credentials_of(std::env::var_os("HOME"));
    Ok(Options {
        hosts,
        group: pick.word("--group", "group", flags.group)?.unwrap_or_else(|| GROUP.into()),
        pidfile,
        log_level: level.map_or(Ok(LevelFilter::Info), |word| parse_level(&word)).context(|| "log-level".into())?,
        log_sink: sink(log_driver.as_deref(), &log_opts, &graph)?,
        tls,
        // A map of users has a state directory of its own; the plugin is the host's.
        authorizer: Authorizer::new(&plugins, &state)?,
        metrics_port,
        settings: Settings {
            logging: Logging::default().refine(&logging).context(|| "log of containers".into())?,
            defaults: Defaults {
                cgroup_parent: cgroup_parent(pick.word("--cgroup-parent", "cgroup-parent", flags.cgroup_parent)?)?,
                ulimits: check_ulimits(default_ulimits).context(|| "default-ulimits".into())?,
                umask: umask.map(|word| umask_of(&word)).transpose().context(|| "native.umask".into())?,
                remap,
                hooks: hook_spec.map(|path| hook::load(&path)).transpose().context(|| "hook-spec".into())?,
                ..Defaults::default()
            },
            realtime,
            runtimes: Choice::new(default_runtime.as_deref().unwrap_or_default(), &runtimes)?,
            storage: storage(driver.as_deref(), &storage_opts, check_layers == Some(true))?,
            #[cfg(feature = "registry")]
            registry: registry::Settings {
                mirrors,
                insecure,
                skip_verify,
                certificates: file.path.parent().unwrap_or(Path::new("/")).join("certs.d"),
                attempts,
                proxy: ProxySettings::from_environment(),
                credentials: Some(credentials.clone()),
            },
            #[cfg(feature = "registry")]
            credentials,
            #[cfg(feature = "registry")]
            downloads: downloads as usize,
            start_timeout: start_timeout.map_or(Ok(Duration::ZERO), |text| timeout(&text))?,
            layer_limit: layer_limit.map_or(Ok(None), |text| layer_limit_of(&text))?,
            graph: remap.map_or(graph.clone(), |remap| graph.join(remap.directory())),
            state: remap.map_or(state.clone(), |remap| state.join(remap.directory())),
        },
    })
}

/// The original's and docker's places: below the home of root, who is the one to run a daemon.
#[cfg(feature = "registry")]
fn credentials_of(home: Option<std::ffi::OsString>) -> credentials::Store {
    let home = home.map(PathBuf::from).filter(|home| home.is_absolute() && home.parent().is_some());
    let home = home.unwrap_or_else(|| "/root".into());
    credentials::Store::new(home.join(".isulad")).with_docker(home.join(".docker/config.json"))
}

/// What is asked about TLS outside of the file: off and on, with and without verification of clients.
struct Secure {
    on: [Option<bool>; 2],
    files: [Option<String>; 3],
    environment: [bool; 2],
    passed: bool,
}

impl Secure {
    fn resolve(self, pick: &Pick<'_>, hosts: &[String]) -> Result<Option<tls::Files>> {
        let file = pick.file;
        let on = pick.switch("--tls", "tls", self.on[0], file.tls)?;
        let verify = pick.switch("--tlsverify", "tls-verify", self.on[1], file.tls_verify)?;
        let verify = verify.unwrap_or(self.environment[1]);
        let on = verify || on.unwrap_or(self.environment[0]);
        let names = [("--tlscacert", "tlscacert"), ("--tlscert", "tlscert"), ("--tlskey", "tlskey")];
        let named =
            self.files.iter().any(Option::is_some) || names.iter().any(|(_, key)| file.words.contains_key(*key));
        let mut files = tls::Files::usual(Path::new(CERTIFICATES));
        for ((place, (flag, key)), typed) in files.iter_mut().zip(names).zip(self.files) {
            if let Some(path) = pick.word(flag, key, typed)? {
                *place = absolute(key, &Some(path), "")?;
            }
        }
        if !on {
            // Who names certificates must not end up with a socket that is open to everybody.
            return if named {
                Err(Error::invalid("certificates are given, but neither --tls nor --tlsverify"))
            } else {
                Ok(None)
            };
        }
        if !self.passed && !hosts.iter().any(|host| host.starts_with("tcp:") || host.starts_with("fd:")) {
            log::debug!("TLS has no effect: no host is a TCP socket");
            return Ok(None);
        }
        if !tls::AVAILABLE {
            return Err(Error::new(Kind::Unsupported, format!("tls: {}", tls::UNAVAILABLE)));
        }
        let [authorities, certificate, key] = files;
        Ok(Some(tls::Files { authorities: verify.then_some(authorities), own: Some((certificate, key)) }))
    }
}

fn cgroup_parent(word: Option<String>) -> Result<String> {
    let parent = word.filter(|p| !p.is_empty()).unwrap_or_else(|| CGROUP_PARENT.into());
    validate_cgroup_parent(&parent)?;
    Ok(parent)
}

fn storage(driver: Option<&str>, options: &[String], check_layers: bool) -> Result<Storage> {
    if check_layers && cfg!(not(feature = "storage")) {
        return Err(Error::new(Kind::Unsupported, "image-layer-check: this build cannot verify layers"));
    }
    let driver = driver.filter(|word| !word.is_empty()).map(Driver::parse).transpose()?;
    let mut storage = Storage { driver, check_layers, ..Storage::default() };
    options.iter().try_for_each(|option| storage.option(option))?;
    Ok(storage)
}

/// Chooses between flag and file.
struct Pick<'a> {
    file: &'a File,
}

impl Pick<'_> {
    fn twice(&self, flag: &str, key: &str) -> Error {
        Error::invalid(format!("flag {flag} and key {key:?} of {:?} are both given", self.file.path))
    }

    fn contradiction(&self, flag: &str, key: &str, typed: &str, stored: &str) -> Error {
        Error::invalid(format!(
            "flag {flag} ({typed:?}) and key {key:?} of {:?} ({stored:?}) contradict each other",
            self.file.path
        ))
    }

    fn list(&self, flag: &str, key: &str, typed: Vec<String>, stored: &Option<Vec<String>>) -> Result<Vec<String>> {
        match stored {
            Some(_) if !typed.is_empty() => Err(self.twice(flag, key)),
            Some(stored) => Ok(stored.clone()),
            None => Ok(typed),
        }
    }

    fn word(&self, flag: &str, key: &str, typed: Option<String>) -> Result<Option<String>> {
        self.scalar(flag, key, typed, self.file.words.get(key).cloned())
    }

    fn scalar(&self, flag: &str, key: &str, typed: Option<String>, stored: Option<String>) -> Result<Option<String>> {
        match (&typed, &stored) {
            (Some(a), Some(b)) if a != b && !mean_the_same(key, a, b) => Err(self.contradiction(flag, key, a, b)),
            _ => Ok(typed.or(stored)),
        }
    }

    fn switch(&self, flag: &str, key: &str, typed: Option<bool>, stored: Option<bool>) -> Result<Option<bool>> {
        match (typed, stored) {
            (Some(a), Some(b)) if a != b => Err(self.contradiction(flag, key, &a.to_string(), &b.to_string())),
            (a, b) => Ok(a.or(b)),
        }
    }

    fn number(&self, flag: &str, key: &str, typed: Option<i64>, stored: Option<i64>) -> Result<i64> {
        match (typed, stored) {
            (Some(a), Some(b)) if a != b => Err(self.twice(flag, key)),
            (a, b) => Ok(a.or(b).unwrap_or(0)),
        }
    }

    fn map(
        &self,
        flag: &str,
        key: &str,
        typed: &[String],
        stored: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>> {
        let mut all = stored.clone();
        for option in typed {
            let Some((name, value)) = option.split_once('=') else {
                return Err(Error::invalid(format!("flag {flag} {option:?}: want KEY=VALUE")));
            };
            let key = format!("{key}.{name}");
            let chosen = self.scalar(&format!("{flag} {name}"), &key, Some(value.into()), stored.get(name).cloned())?;
            all.insert(name.into(), chosen.unwrap_or_default());
        }
        Ok(all)
    }
}

/// Whether two values of a setting are spellings of one.
fn mean_the_same(key: &str, a: &str, b: &str) -> bool {
    fn both<T: PartialEq>(a: &str, b: &str, read: fn(&str) -> Option<T>) -> bool {
        read(a).is_some_and(|a| Some(a) == read(b))
    }
    match key {
        "graph" | "state" | "pidfile" | "hook-spec" | "cgroup-parent" | "log-opts.log-path" => {
            Path::new(a) == Path::new(b)
        }
        "tlscacert" | "tlscert" | "tlskey" => Path::new(a) == Path::new(b),
        "log-level" => both(a, b, |word| parse_level(word).ok()),
        "log-driver" => both(a, b, |word| matches!(word, "stderr" | "stdout").then_some(())),
        "log-opts.log-file-mode" => both(a, b, |text| u32::from_str_radix(text, 8).ok()),
        "log-opts.max-file" | "container-log.opts.max-file" => both(a, b, |text| text.parse::<u32>().ok()),
        "log-opts.max-size" | "container-log.opts.max-size" | "max-layer-size" => both(a, b, |s| size::parse(s).ok()),
        "start-timeout" => both(a, b, |text| timeout(text).ok()),
        "storage-driver" => both(a, b, |word| Driver::parse(word).ok()),
        _ => false,
    }
}

fn absolute(name: &str, given: &Option<String>, default: &str) -> Result<PathBuf> {
    let path = PathBuf::from(given.as_deref().unwrap_or(default));
    if path.is_absolute() { Ok(path) } else { Err(Error::invalid(format!("{name} {path:?}: want an absolute path"))) }
}

fn sink(driver: Option<&str>, options: &BTreeMap<String, String>, graph: &Path) -> Result<Sink> {
    let file = driver == Some("file");
    if let (false, Some(name)) = (file, options.keys().next()) {
        // A file written for the original sets these whatever the driver is; they are only checked then.
        log::debug!("log option {name} has no effect with another log driver than file");
    }
    let (mut directory, mut mode, mut max_files, mut max_size) = (graph.to_path_buf(), LOG_MODE, LOG_FILES, LOG_SIZE);
    for (name, value) in options {
        let bad = |want: &str| Error::invalid(format!("log option {name} {value:?}: want {want}"));
        match name.as_str() {
            "log-path" => directory = absolute("log option log-path", &Some(value.clone()), "")?,
            "log-file-mode" => {
                mode =
                    u32::from_str_radix(value, 8).ok().filter(|m| *m <= 0o777).ok_or_else(|| bad("an octal mode"))?;
            }
            "max-file" => max_files = value.parse().ok().filter(|n| *n >= 1).ok_or_else(|| bad("a number from 1"))?,
            "max-size" => {
                max_size = size::parse(value).ok().filter(|n| *n >= SMALLEST_LOG).ok_or_else(|| bad("at least 4KB"))?;
            }
            _ => return Err(Error::invalid(format!("unknown log option {name:?}"))),
        }
    }
    match driver {
        None | Some("stderr" | "stdout") => Ok(Sink::Stderr),
        Some("syslog") => Ok(Sink::Syslog),
        Some("file") => Ok(Sink::File { path: directory.join(LOG_FILE), max_size, max_files, mode }),
        Some(other) => Err(Error::invalid(format!("invalid log driver {other:?}: want stderr, file or syslog"))),
    }
}

fn umask_of(word: &str) -> Result<u32> {
    match word {
        "normal" => Ok(0o022),
        "secure" => Ok(0o027),
        other => Err(Error::invalid(format!("invalid native umask {other:?}: want normal or secure"))),
    }
}

/// 0 is none.
fn layer_limit_of(text: &str) -> Result<Option<u64>> {
    let bytes = size::parse(text).context(|| "max-layer-size".into())?;
    Ok(Some(bytes).filter(|bytes| *bytes > 0))
}

/// What the parent cgroups get.
fn realtime(period: i64, runtime: i64) -> Result<(i64, i64)> {
    validate_realtime(period, runtime)?;
    if (period != 0 || runtime != 0) && !has_realtime() {
        log::warn!("cpu-rt-period and cpu-rt-runtime have no effect: Your kernel does not support cgroup rt period");
    }
    Ok((period, runtime))
}

/// A duration, or a bare number of seconds.
fn timeout(text: &str) -> Result<Duration> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    time::parse_duration(text).context(|| "start timeout".into())
}

/// `TYPE=SOFT[:HARD]`.
fn ulimit(text: &str) -> Result<Ulimit> {
    let bad = || Error::invalid(format!("invalid default ulimit {text:?}: want TYPE=SOFT[:HARD]"));
    let (name, values) = text.split_once('=').ok_or_else(bad)?;
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let number = |s: &str| s.parse::<i64>().map_err(|_| bad());
    Ok(Ulimit { name: name.into(), soft: number(soft)?, hard: number(hard)? })
}

/// As in docker a later flag is worth more than an earlier one of the same type.
fn last_of_each(list: Vec<Ulimit>) -> Vec<Ulimit> {
    let mut kept: Vec<Ulimit> = Vec::new();
    for limit in list {
        kept.retain(|earlier| earlier.name != limit.name);
        kept.push(limit);
    }
    kept
}

fn check_ulimits(list: Vec<Ulimit>) -> Result<Vec<Ulimit>> {
    for u in &list {
        if !Ulimit::NAMES.contains(&u.name.as_str()) {
            return Err(Error::invalid(format!(
                "invalid default ulimit {:?}: want one of {}",
                u.name,
                Ulimit::NAMES.join(" ")
            )));
        }
        let unlimited = |n: i64| if n == -1 { i64::MAX } else { n };
        if u.soft < -1 || u.hard < -1 || unlimited(u.soft) > unlimited(u.hard) {
            return Err(Error::invalid(format!(
                "invalid default ulimit {:?}: soft limit {} and hard limit {}",
                u.name, u.soft, u.hard
            )));
        }
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(words: &[(&'static str, &str)]) -> File {
        let words = words.iter().map(|(k, v)| (*k, v.to_string())).collect();
        File { path: "/d.json".into(), words, ..File::default() }
    }

    #[test]
    fn defaults() {
        let o = resolve(Flags::default(), &File::default()).unwrap();
        assert_eq!(o.hosts, [HOST]);
        assert_eq!((o.group.as_str(), o.pidfile.as_path()), (GROUP, Path::new(PIDFILE)));
        assert_eq!(o.settings.defaults.umask, None);
        assert_eq!(o.settings.defaults.cgroup_parent, CGROUP_PARENT);
        assert!(matches!(o.log_sink, Sink::Stderr) && o.log_level == LevelFilter::Info);
    }

    #[test]
    fn the_same_value_twice_is_no_conflict() {
        let flags = Flags { graph: Some("/g".into()), ..Flags::default() };
        let o = resolve(flags, &file(&[("graph", "/g"), ("log-driver", "file")])).unwrap();
        assert_eq!(o.settings.graph, Path::new("/g"));
        assert!(matches!(o.log_sink, Sink::File { path, mode: 0o600, .. } if path == Path::new("/g/isulad.log")));
    }

    #[test]
    fn another_spelling_is_no_conflict() {
        let flags = Flags {
            graph: Some("/g/".into()),
            log_level: Some("INFO".into()),
            log_driver: Some("stderr".into()),
            log_opts: vec!["max-size=1m".into(), "log-file-mode=600".into()],
            start_timeout: Some("2m".into()),
            storage_driver: Some("overlay2".into()),
            max_layer_size: Some("1g".into()),
            debug: Some(false),
            ..Flags::default()
        };
        let mut stored = file(&[
            ("graph", "/g"),
            ("log-level", "info"),
            ("log-driver", "stdout"),
            ("start-timeout", "120"),
            ("storage-driver", "overlay"),
            ("max-layer-size", "1024m"),
        ]);
        stored.log_opts = [("max-size", "1024k"), ("log-file-mode", "0600")].map(|(k, v)| (k.into(), v.into())).into();
        let o = resolve(flags, &stored).unwrap();
        assert_eq!((o.settings.graph.as_path(), o.log_level), (Path::new("/g"), LevelFilter::Info));
        for (key, a, b) in [("graph", "/g", "/h"), ("log-driver", "stdout", "file"), ("start-timeout", "x", "y")] {
            assert!(!mean_the_same(key, a, b), "{key}");
        }
    }

    #[test]
    fn the_last_default_ulimit_of_a_type_wins() {
        let texts = ["nofile=50:60", "core=0", "nofile=5:6"];
        let flags = Flags { default_ulimits: texts.map(String::from).into(), ..Flags::default() };
        let limits = resolve(flags, &File::default()).unwrap().settings.defaults.ulimits;
        let limits: Vec<_> = limits.iter().map(|u| (u.name.as_str(), u.soft, u.hard)).collect();
        assert_eq!(limits, [("core", 0, 0), ("nofile", 5, 6)]);
    }

    #[test]
    fn a_map_has_directories_of_its_own() {
        let flags = |map: &str| Flags { userns_remap: Some(map.into()), graph: Some("/g".into()), ..Flags::default() };
        let o = resolve(flags("100000:200000:65536"), &file(&[("log-driver", "file")])).unwrap();
        assert_eq!(o.settings.graph, Path::new("/g/100000.200000"));
        assert_eq!(o.settings.state, Path::new(STATE).join("100000.200000"));
        assert_eq!(o.settings.defaults.remap.unwrap().root(), (100_000, 200_000));
        // The log is the daemon's, whatever its containers have.
        assert!(matches!(o.log_sink, Sink::File { path, .. } if path == Path::new("/g/isulad.log")));
        assert_eq!(resolve(flags(""), &file(&[])).unwrap().settings.graph, Path::new("/g"));
        let e = resolve(flags("1:2"), &file(&[("userns-remap", "1:2:3")])).err().unwrap().to_string();
        assert!(e.contains("--userns-remap") && e.contains("\"userns-remap\""), "{e}");
    }

    #[test]
    #[cfg(feature = "tls")]
    fn tls_is_asked_for_by_flag_file_or_environment() {
        let hosts = ["tcp://127.0.0.1:2376".to_owned()];
        let secure = |on: [bool; 2], environment| {
            let on = on.map(|on| on.then_some(true));
            Secure { on, environment, passed: false, files: [None, None, None] }
        };
        let resolve = |secure: Secure, file: &File| secure.resolve(&Pick { file }, &hosts);
        let none = file(&[]);
        let usual = tls::Files::usual(Path::new(CERTIFICATES));
        assert_eq!(resolve(secure([false; 2], [false; 2]), &none).unwrap(), None);
        let plain = resolve(secure([true, false], [false; 2]), &none).unwrap().unwrap();
        assert_eq!((plain.authorities, plain.own), (None, Some((usual[1].clone(), usual[2].clone()))));
        let verified = resolve(secure([false, true], [false; 2]), &none).unwrap().unwrap();
        assert_eq!(verified.authorities, Some(usual[0].clone()));
        assert_eq!(resolve(secure([false; 2], [false, true]), &none).unwrap(), Some(verified));
        assert!(resolve(secure([false; 2], [true, false]), &none).unwrap().is_some());
        // The file is worth more than the environment, and files of its own are taken.
        let off = File { tls: Some(false), ..file(&[]) };
        assert_eq!(resolve(secure([false; 2], [true, false]), &off).unwrap(), None);
        let e = resolve(secure([true, false], [false; 2]), &off).unwrap_err().to_string();
        assert!(e.contains("--tls") && e.contains("/d.json"), "{e}");
        // A flag is worth more than the environment, too.
        let untyped = Secure { on: [Some(false); 2], ..secure([false; 2], [true, true]) };
        assert_eq!(resolve(untyped, &none).unwrap(), None);
        let on = File { tls_verify: Some(true), ..file(&[("tlscacert", "/c"), ("tlscert", "/d"), ("tlskey", "/e")]) };
        let got = resolve(secure([false; 2], [false; 2]), &on).unwrap().unwrap();
        assert_eq!(got, tls::Files { authorities: Some("/c".into()), own: Some(("/d".into(), "/e".into())) });
        // Only TCP sockets have it.
        let here = ["unix:///s".to_owned()];
        assert_eq!(secure([true; 2], [false; 2]).resolve(&Pick { file: &none }, &here).unwrap(), None);
        let named = Secure { files: [None, Some("/d".into()), None], ..secure([false; 2], [false; 2]) };
        assert!(resolve(named, &none).unwrap_err().to_string().contains("--tlsverify"));
        let relative = Secure { files: [None, Some("d".into()), None], ..secure([true, false], [false; 2]) };
        assert!(resolve(relative, &none).unwrap_err().to_string().contains("absolute"));
    }

    #[test]
    fn conflicts_name_both_sides() {
        let cases = [
            (
                Flags { graph: Some("/a".into()), ..Flags::default() },
                file(&[("graph", "/b")]),
                ["--graph", "\"graph\""],
            ),
            (
                Flags { debug: Some(true), ..Flags::default() },
                file(&[("log-level", "INFO")]),
                ["--debug", "\"log-level\""],
            ),
            (
                Flags { debug: Some(false), ..Flags::default() },
                file(&[("log-level", "debug")]),
                ["--debug (\"false\")", "\"log-level\""],
            ),
            (
                Flags { tls: Some(false), ..Flags::default() },
                File { tls: Some(true), ..file(&[]) },
                ["--tls (\"false\")", "\"tls\""],
            ),
            (
                Flags { tlsverify: Some(false), ..Flags::default() },
                File { tls_verify: Some(true), ..file(&[]) },
                ["--tlsverify (\"false\")", "\"tls-verify\""],
            ),
            (
                Flags { image_layer_check: Some(false), ..Flags::default() },
                File { image_layer_check: Some(true), ..file(&[]) },
                ["--image-layer-check (\"false\")", "\"image-layer-check\""],
            ),
            (
                Flags { insecure_skip_verify_enforce: Some(true), ..Flags::default() },
                File { insecure_skip_verify_enforce: Some(false), ..file(&[]) },
                ["--insecure-skip-verify-enforce", "\"insecure-skip-verify-enforce\""],
            ),
            (
                Flags { hosts: vec!["unix:///a".into()], ..Flags::default() },
                File { hosts: Some(vec!["unix:///a".into()]), ..file(&[]) },
                ["--host", "\"hosts\""],
            ),
            (
                Flags { default_ulimits: vec!["nofile=1".into()], ..Flags::default() },
                File { default_ulimits: Some(Vec::new()), ..file(&[]) },
                ["--default-ulimit", "\"default-ulimits\""],
            ),
            (
                Flags { log_opts: vec!["max-file=2".into()], ..Flags::default() },
                File { log_opts: [("max-file".to_string(), "3".to_string())].into(), ..file(&[]) },
                ["--log-opt max-file", "\"log-opts.max-file\""],
            ),
        ];
        for (flags, file, parts) in cases {
            let e = resolve(flags, &file).err().unwrap().to_string();
            assert!(parts.iter().all(|p| e.contains(p)) && e.contains("/d.json"), "{e}");
        }
    }

    #[test]
    fn malformed_values_are_named() {
        let with = |words: &[(&'static str, &str)]| resolve(Flags::default(), &file(words)).err().unwrap().to_string();
        assert!(with(&[("graph", "rel")]).contains("\"rel\""));
        assert!(with(&[("log-level", "loud")]).contains("\"loud\""));
        assert!(with(&[("log-driver", "tape")]).contains("\"tape\""));
        assert!(with(&[("native.umask", "x")]).contains("\"x\""));
        assert!(with(&[("cgroup-parent", "../x")]).contains("\"../x\""));
        assert!(with(&[("start-timeout", "soon")]).contains("\"soon\""));
        for text in ["nofile", "nofile=x", "nofile=2:1", "nosuch=1", "nofile=-2"] {
            let flags = Flags { default_ulimits: vec![text.into()], ..Flags::default() };
            let e = resolve(flags, &File::default()).err().unwrap().to_string();
            assert!(e.contains("default ulimit"), "{e}");
        }
        assert_eq!(timeout("2m").unwrap(), Duration::from_secs(120));
        assert_eq!(timeout("90").unwrap(), Duration::from_secs(90));
    }
}
