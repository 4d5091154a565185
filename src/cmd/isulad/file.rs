//! `daemon.json`. Strict: a key that is not known, or whose value has another type, is an error that names it, and so are
//! a key that is there twice and two that say different things of one setting; a typing mistake must not leave a daemon
//! that runs with other settings than its file says.

use crate::api::container::{LogConfig, Ulimit};
use crate::error::{Context, Error, Kind, Result};
use crate::utils::json::{self, Tree};
use crate::utils::order;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Largest file that is read.
const LARGEST: u64 = 1 << 20;

/// What the file sets.
#[derive(Debug, Default, PartialEq)]
pub struct File {
    /// Where it was read.
    pub path: PathBuf,
    /// `hosts`.
    pub hosts: Option<Vec<String>>,
    /// Settings that are one string, by key.
    pub words: BTreeMap<&'static str, String>,
    /// `log-opts`.
    pub log_opts: BTreeMap<String, String>,
    /// `container-log`.
    pub container_log: LogConfig,
    /// `default-ulimits`.
    pub default_ulimits: Option<Vec<Ulimit>>,
    /// `registry-mirrors`.
    pub registry_mirrors: Option<Vec<String>>,
    /// `insecure-registries`.
    pub insecure_registries: Option<Vec<String>>,
    /// `insecure-skip-verify-enforce`.
    pub insecure_skip_verify_enforce: Option<bool>,
    /// `max-concurrent-downloads`.
    pub max_concurrent_downloads: Option<u32>,
    /// `max-download-attempts`.
    pub max_download_attempts: Option<u32>,
    /// `storage-opts`.
    pub storage_opts: Option<Vec<String>>,
    /// `image-layer-check`.
    pub image_layer_check: Option<bool>,
    /// `tls`.
    pub tls: Option<bool>,
    /// `tls-verify`, and docker's `tlsverify`.
    pub tls_verify: Option<bool>,
    /// `authorization-plugin`, and docker's `authorization-plugins`.
    pub authorization_plugins: Option<Vec<String>>,
    /// `metrics-port`.
    pub metrics_port: Option<u16>,
    /// `cpu-rt-period`.
    pub cpu_rt_period: Option<i64>,
    /// `cpu-rt-runtime`.
    pub cpu_rt_runtime: Option<i64>,
    /// `runtimes`: name, program, arguments.
    pub runtimes: Vec<Vec<String>>,
}

/// Keys whose value is one string.
const WORDS: &[&str] = &[
    "group",
    "graph",
    "state",
    "pidfile",
    "log-level",
    "log-driver",
    "native.umask",
    "cgroup-parent",
    "start-timeout",
    "storage-driver",
    "userns-remap",
    "max-layer-size",
    "hook-spec",
    "default-runtime",
    "tlscacert",
    "tlscert",
    "tlskey",
];

/// The original's names in `tls-config` for docker's keys.
const TLS_FILES: &[(&str, &str)] = &[("CAFile", "tlscacert"), ("CertFile", "tlscert"), ("KeyFile", "tlskey")];

/// Keys of later releases, with the one value that asks for nothing and passes.
const LATER: &[(&str, Nothing)] = &[
    ("cdi-spec-dirs", Nothing::List),
    ("cni-bin-dir", Nothing::Text),
    ("cni-conf-dir", Nothing::Text),
    ("cri-runtimes", Nothing::Object),
    ("cri-sandboxers", Nothing::Object),
    ("disable-connections", Nothing::False),
    ("enable-cdi", Nothing::False),
    ("enable-cri-v1", Nothing::False),
    ("enable-plugins", Nothing::Text),
    ("enable-pod-events", Nothing::False),
    ("network-plugin", Nothing::Text),
    ("nri-support", Nothing::False),
    ("plugin-config-path", Nothing::Text),
    ("plugin-path", Nothing::Text),
    ("plugin-registration-timeout", Nothing::Zero),
    ("plugin-requst-timeout", Nothing::Zero),
    ("pod-sandbox-image", Nothing::Text),
    ("selinux-enabled", Nothing::False),
    ("storage-enable-remote-layer", Nothing::False),
    ("sup-groups", Nothing::List),
    ("systemd-cgroup", Nothing::False),
    ("use-decrypted-key", Nothing::True), // the default of the original
    ("websocket-server-listening-port", Nothing::Zero),
];

/// The value of a key that asks for nothing.
#[derive(Clone, Copy)]
enum Nothing {
    False,
    True,
    Zero,
    Text,
    List,
    Object,
}

/// Keys that only name what is built in.
const BUILT_IN: &[(&str, &[&str])] = &[("engine", &["lcr"])];

/// Reads a file; a missing one sets nothing unless it was asked for.
///
/// # Errors
/// `Kind::Invalid` and `Kind::Unsupported` naming file and key; the failing call.
pub fn load(path: &Path, must_exist: bool) -> Result<File> {
    use std::io::Read;
    let open = std::fs::File::open(path);
    let file = match open {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && !must_exist => {
            return Ok(File { path: path.into(), ..File::default() });
        }
        other => other.context(|| format!("open({path:?})"))?,
    };
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).context(|| format!("read({path:?})"))?;
    parse(path, &bytes).context(|| format!("{path:?}"))
}

fn parse(path: &Path, bytes: &[u8]) -> Result<File> {
    let mut file = File { path: path.into(), ..File::default() };
    let Value::Object(map) = json::parse::<Tree>(bytes)?.0 else {
        return Err(Error::invalid("want a JSON object"));
    };
    for (key, value) in map {
        if let Some(word) = WORDS.iter().find(|w| **w == key) {
            // Of these some may have come by another name.
            let other = TLS_FILES.iter().find(|(_, w)| w == word).map(|(name, _)| format!("tls-config.{name}"));
            let path = string(&key, value)?;
            agree(file.words.insert(word, path.clone()), path, [&key, &other.unwrap_or_default()])?;
            continue;
        }
        match key.as_str() {
            "hosts" => file.hosts = Some(strings(&key, value)?),
            "log-opts" => {
                file.log_opts = options(&key, value)?;
                known(&key, &file.log_opts, &["log-path", "log-file-mode", "max-file", "max-size"])?;
            }
            "container-log" => file.container_log = container_log(value)?,
            "registry-mirrors" => file.registry_mirrors = Some(strings(&key, value)?),
            "insecure-registries" => file.insecure_registries = Some(strings(&key, value)?),
            "insecure-skip-verify-enforce" => file.insecure_skip_verify_enforce = Some(boolean(&key, &value)?),
            "storage-opts" => file.storage_opts = Some(strings(&key, value)?),
            "image-layer-check" => file.image_layer_check = Some(boolean(&key, &value)?),
            "max-concurrent-downloads" => file.max_concurrent_downloads = Some(number(&key, &value)?),
            "max-download-attempts" => file.max_download_attempts = Some(number(&key, &value)?),
            "tls" => file.tls = Some(boolean(&key, &value)?),
            "tls-verify" | "tlsverify" => {
                let verify = boolean(&key, &value)?;
                file.tls_verify = Some(agree(file.tls_verify, verify, ["tls-verify", "tlsverify"])?);
            }
            "tls-config" => {
                for (name, path) in options(&key, value)? {
                    let full = format!("{key}.{name}");
                    let Some((_, word)) = TLS_FILES.iter().find(|(n, _)| *n == name) else {
                        return Err(Error::invalid(format!("unknown key {full:?}")));
                    };
                    agree(file.words.insert(word, path.clone()), path, [word, &full])?;
                }
            }
            "authorization-plugin" | "authorization-plugins" => {
                let plugins = match value {
                    Value::String(name) if name.is_empty() => Vec::new(),
                    Value::String(name) => vec![name],
                    list => strings(&key, list)?,
                };
                let keys = ["authorization-plugin", "authorization-plugins"];
                file.authorization_plugins = Some(agree(file.authorization_plugins.take(), plugins, keys)?);
            }
            "metrics-port" => {
                let port = value.as_u64().and_then(|n| u16::try_from(n).ok());
                file.metrics_port = Some(port.ok_or_else(|| wrong(&key, "a port, 0 to 65535"))?);
            }
            "cpu-rt-period" => file.cpu_rt_period = Some(microseconds(&key, &value)?),
            "cpu-rt-runtime" => file.cpu_rt_runtime = Some(microseconds(&key, &value)?),
            "default-ulimits" => file.default_ulimits = Some(ulimits(value)?),
            "runtimes" => file.runtimes = runtimes(value)?,
            _ => other(&key, value)?,
        }
    }
    Ok(file)
}

/// What two keys say that mean the same.
fn agree<T: PartialEq>(before: Option<T>, value: T, [key, other]: [&str; 2]) -> Result<T> {
    if before.is_some_and(|before| before != value) {
        return Err(Error::invalid(format!("keys {key:?} and {other:?} mean the same and contradict each other")));
    }
    Ok(value)
}

fn number(key: &str, value: &Value) -> Result<u32> {
    value.as_u64().and_then(|n| u32::try_from(n).ok()).ok_or_else(|| wrong(key, "a whole number"))
}

fn other(key: &str, value: Value) -> Result<()> {
    if let Some((_, words)) = BUILT_IN.iter().find(|(k, _)| *k == key) {
        let word = string(key, value)?;
        return if words.contains(&word.as_str()) {
            Ok(())
        } else {
            Err(Error::new(Kind::Unsupported, format!("key {key:?}: {word:?} comes with a later release")))
        };
    }
    let Some((_, nothing)) = LATER.iter().find(|(k, _)| *k == key) else {
        return Err(Error::invalid(format!("unknown key {key:?}")));
    };
    let asks = match nothing {
        Nothing::False => boolean(key, &value)?,
        Nothing::True => !boolean(key, &value)?,
        Nothing::Zero => value.as_i64().ok_or_else(|| wrong(key, "a whole number"))? != 0,
        Nothing::Text => !string(key, value)?.is_empty(),
        Nothing::List => !strings(key, value)?.is_empty(),
        Nothing::Object => !object(key, value)?.is_empty(),
    };
    match (asks, nothing) {
        (false, _) => Ok(()),
        (true, Nothing::True) => {
            Err(Error::new(Kind::Unsupported, format!("key {key:?}: false comes with a later release")))
        }
        (true, _) => Err(Error::new(Kind::Unsupported, format!("key {key:?} comes with a later release"))),
    }
}

fn wrong(key: &str, want: &str) -> Error {
    Error::invalid(format!("key {key:?}: want {want}"))
}

fn boolean(key: &str, value: &Value) -> Result<bool> {
    value.as_bool().ok_or_else(|| wrong(key, "true or false"))
}

fn string(key: &str, value: Value) -> Result<String> {
    match value {
        Value::String(s) => Ok(s),
        _ => Err(wrong(key, "a string")),
    }
}

fn strings(key: &str, value: Value) -> Result<Vec<String>> {
    let Value::Array(list) = value else { return Err(wrong(key, "a list of strings")) };
    list.into_iter().map(|v| string(key, v).map_err(|_| wrong(key, "a list of strings"))).collect()
}

fn object(key: &str, value: Value) -> Result<Map<String, Value>> {
    match value {
        Value::Object(map) => Ok(map),
        _ => Err(wrong(key, "an object")),
    }
}

fn options(key: &str, value: Value) -> Result<BTreeMap<String, String>> {
    let pair = |(k, v)| string(&format!("{key}.{k}"), v).map(|v| (k, v));
    order::try_map(object(key, value)?.into_iter().map(pair))
}

fn known(key: &str, have: &BTreeMap<String, String>, names: &[&str]) -> Result<()> {
    match have.keys().find(|k| !names.contains(&k.as_str())) {
        None => Ok(()),
        Some(k) => Err(Error::invalid(format!("unknown key {:?}", format!("{key}.{k}")))),
    }
}

fn microseconds(key: &str, value: &Value) -> Result<i64> {
    value.as_i64().ok_or_else(|| wrong(key, "a whole number"))
}

fn container_log(value: Value) -> Result<LogConfig> {
    let mut log = LogConfig::default();
    for (key, value) in object("container-log", value)? {
        match key.as_str() {
            "driver" => log.driver = string("container-log.driver", value)?,
            "opts" => log.config = options("container-log.opts", value)?,
            _ => return Err(Error::invalid(format!("unknown key {:?}", format!("container-log.{key}")))),
        }
    }
    Ok(log)
}

fn runtimes(value: Value) -> Result<Vec<Vec<String>>> {
    let mut list = Vec::new();
    for (name, value) in object("runtimes", value)? {
        if cfg!(not(feature = "other-runtimes")) {
            list.push(vec![name]); // refused by its name
            continue;
        }
        let key = format!("runtimes.{name}");
        let mut runtime = vec![name, String::new()];
        for (field, value) in object(&key, value)? {
            let full = format!("{key}.{field}");
            match field.as_str() {
                "path" => runtime[1] = string(&full, value)?,
                // The original's name and docker's.
                "runtime-args" | "runtimeArgs" => {
                    runtime.truncate(2);
                    runtime.extend(strings(&full, value)?);
                }
                _ => return Err(Error::invalid(format!("unknown key {full:?}"))),
            }
        }
        list.push(runtime);
    }
    Ok(list)
}

fn ulimits(value: Value) -> Result<Vec<Ulimit>> {
    let mut list = Vec::new();
    for (name, value) in object("default-ulimits", value)? {
        let key = format!("default-ulimits.{name}");
        let (mut hard, mut soft) = (None, None);
        for (field, value) in object(&key, value)? {
            let number = || value.as_i64().ok_or_else(|| wrong(&format!("{key}.{field}"), "a whole number"));
            match field.as_str() {
                "Name" => {
                    if value.as_str() != Some(&name) {
                        return Err(wrong(&format!("{key}.Name"), &format!("{name:?}")));
                    }
                }
                "Hard" => hard = Some(number()?),
                "Soft" => soft = Some(number()?),
                _ => return Err(Error::invalid(format!("unknown key {:?}", format!("{key}.{field}")))),
            }
        }
        let (Some(hard), Some(soft)) = (hard, soft) else {
            return Err(wrong(&key, "both Hard and Soft"));
        };
        list.push(Ulimit { name, hard, soft });
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<File> {
        parse(Path::new("/d.json"), text.as_bytes())
    }

    #[test]
    fn every_key() {
        let f = parsed(
            r#"{"hosts":["unix:///a"],"group":"isula","graph":"/g","state":"/s","pidfile":"/p","log-level":"ERROR",
            "log-driver":"stdout","log-opts":{"log-file-mode":"0600","log-path":"/l","max-file":"1","max-size":"30KB"},
            "container-log":{"driver":"json-file","opts":{"max-size":"10k"}},"native.umask":"normal",
            "start-timeout":"2m","max-layer-size":"1g","userns-remap":"default","cgroup-parent":"/x","default-runtime":"lcr",
            "storage-driver":"overlay2",
            "default-ulimits":{"nofile":{"Name":"nofile","Hard":10,"Soft":5}},
            "storage-opts":["overlay2.override_kernel_check=true"],
            "registry-mirrors":[],"hook-spec":"","image-layer-check":false,"use-decrypted-key":true,"metrics-port":9090,"cpu-rt-period":1000,"cpu-rt-runtime":0,
            "tls":true,"tls-verify":false,"tls-config":{"CAFile":"/ca","CertFile":"/cert","KeyFile":"/key"},
            "authorization-plugin":"authz-broker"}"#,
        )
        .unwrap();
        assert_eq!(f.hosts.unwrap(), ["unix:///a"]);
        assert_eq!((f.words.len(), f.words["graph"].as_str()), (WORDS.len(), "/g"));
        assert_eq!((f.storage_opts.unwrap().len(), f.image_layer_check), (1, Some(false)));
        assert_eq!((f.cpu_rt_period, f.cpu_rt_runtime), (Some(1000), Some(0)));
        assert_eq!((f.tls, f.tls_verify, f.metrics_port), (Some(true), Some(false), Some(9090)));
        assert_eq!(["tlscacert", "tlscert", "tlskey"].map(|w| f.words[w].as_str()), ["/ca", "/cert", "/key"]);
        assert_eq!(f.authorization_plugins.unwrap(), ["authz-broker"]);
        assert_eq!(f.log_opts["max-size"], "30KB");
        assert_eq!(f.container_log.config["max-size"], "10k");
        assert_eq!(f.default_ulimits.unwrap(), [Ulimit { name: "nofile".into(), hard: 10, soft: 5 }]);
    }

    #[test]
    fn each_mistake_is_named() {
        for (text, part) in [
            (r#"{"grpah":"/g"}"#, "unknown key \"grpah\""),
            (r#"{"max-layer-size":5}"#, "key \"max-layer-size\": want a string"),
            (r#"{"graph":5}"#, "key \"graph\": want a string"),
            (r#"{"hosts":"unix:///a"}"#, "key \"hosts\": want a list"),
            (r#"{"hosts":[5]}"#, "key \"hosts\": want a list"),
            (r#"{"log-opts":{"max-size":5}}"#, "\"log-opts.max-size\": want a string"),
            (r#"{"log-opts":{"size":"5"}}"#, "\"log-opts.size\""),
            (r#"{"container-log":{"drvier":"x"}}"#, "\"container-log.drvier\""),
            (r#"{"default-ulimits":{"nofile":{"Hard":1}}}"#, "default-ulimits.nofile"),
            (r#"{"default-ulimits":{"nofile":{"Hard":1,"Soft":"x"}}}"#, "default-ulimits.nofile.Soft"),
            (r#"{"default-ulimits":{"nofile":{"Hard":1,"Soft":1,"Name":"core"}}}"#, "default-ulimits.nofile.Name"),
            (r#"{"storage-driver":true}"#, "key \"storage-driver\": want a string"),
            (r#"{"storage-opts":{"overlay2.size":"1g"}}"#, "key \"storage-opts\": want a list"),
            (r#"{"image-layer-check":"yes"}"#, "key \"image-layer-check\": want true or false"),
            (r#"{"runtimes":{"a":{"path":"/x","runtime-args":"b"}}}"#, "runtimes.a.runtime-args"),
            (r#"{"hook-spec":true}"#, "key \"hook-spec\": want a string"),
            (r#"{"enable-cri-v1":true}"#, "enable-cri-v1"),
            (r#"{"tls":"yes"}"#, "key \"tls\": want true or false"),
            (r#"{"tls-config":{"CA":"/x"}}"#, "\"tls-config.CA\""),
            (r#"{"cpu-rt-runtime":"9"}"#, "key \"cpu-rt-runtime\": want a whole number"),
            (r#"{"metrics-port":70000}"#, "key \"metrics-port\": want a port"),
            (r#"{"authorization-plugins":{"a":1}}"#, "key \"authorization-plugins\": want a list"),
            (r#"{"graph":"/a","state":"/b","graph":"/a"}"#, "duplicate field `graph`"),
            (r#"{"log-opts":{"max-size":"5k","max-size":"6k"}}"#, "duplicate field `max-size`"),
            (r#"{"tls-verify":true,"tlsverify":false}"#, "keys \"tls-verify\" and \"tlsverify\""),
            (
                r#"{"authorization-plugin":"a","authorization-plugins":[]}"#,
                "keys \"authorization-plugin\" and \"authorization-plugins\"",
            ),
            (r#"{"tlscacert":"/a","tls-config":{"CAFile":"/b"}}"#, "keys \"tlscacert\" and \"tls-config.CAFile\""),
            (r#"{"selinux-enabled":""}"#, "key \"selinux-enabled\": want true or false"),
            (r#"{"enable-cdi":[]}"#, "key \"enable-cdi\": want true or false"),
            (r#"{"cri-runtimes":0}"#, "key \"cri-runtimes\": want an object"),
            (r#"{"nri-support":null}"#, "key \"nri-support\": want true or false"),
            (r#"{"cdi-spec-dirs":"x"}"#, "key \"cdi-spec-dirs\": want a list"),
            (r#"{"cni-bin-dir":false}"#, "key \"cni-bin-dir\": want a string"),
            (r#"{"cni-bin-dir":"/x"}"#, "key \"cni-bin-dir\" comes with a later"),
            (r#"{"plugin-requst-timeout":""}"#, "key \"plugin-requst-timeout\": want a whole number"),
            (r#"{"use-decrypted-key":false}"#, "key \"use-decrypted-key\": false"),
            ("[]", "object"),
            ("{", "invalid JSON"),
            ("", "invalid JSON"),
        ] {
            let e = parsed(text).unwrap_err().to_string();
            assert!(e.contains(part), "{text}: {e}");
        }
    }

    #[test]
    fn what_asks_for_nothing_or_says_the_same_passes() {
        let f = parsed(
            r#"{"selinux-enabled":false,"cri-runtimes":{},"cdi-spec-dirs":[],"cni-bin-dir":"","plugin-requst-timeout":0,
            "tls-verify":true,"tlsverify":true,"tlscacert":"/a","tls-config":{"CAFile":"/a"},
            "authorization-plugin":"x","authorization-plugins":["x"]}"#,
        )
        .unwrap();
        assert_eq!((f.tls_verify, f.words["tlscacert"].as_str()), (Some(true), "/a"));
        assert_eq!(f.authorization_plugins.unwrap(), ["x"]);
    }

    #[test]
    fn a_missing_file_is_an_error_only_when_asked_for() {
        let path = Path::new("/nosuch/daemon.json");
        assert_eq!(load(path, false).unwrap(), File { path: path.into(), ..File::default() });
        assert!(load(path, true).unwrap_err().to_string().contains("/nosuch/daemon.json"));
    }
}
