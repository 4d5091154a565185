//! The stored documents `config.v2.json` and `hostconfig.json`, with the original's field names.

use super::head::{Head, command_line};
use super::health::Check;
use super::logging::Logging;
use super::policy::Policy;
use super::syslog::Target;
use crate::api::container::{ContainerConfig, HostConfig, RestartPolicy};
use crate::api::oci::image::{Empty, Healthcheck};
use crate::api::oci::runtime::Hooks;
use crate::api::volume::MountRecord;
use crate::error::{Error, Result};
use crate::modules::runtime::choice::BUILT_IN;
use crate::utils::id::is_full_id;
use crate::utils::json;
use crate::utils::json::Object;
use crate::utils::time::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Image type of a container whose image was unpacked into the store.
pub const OCI: &str = "oci";
/// The image type of a container whose root is not an image's.
pub const EXTERNAL: &str = "external";

/// The image type of a container of an embedded image.
pub const EMBEDDED: &str = "embedded";

/// `config.v2.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct Document {
    /// Nearly everything.
    pub common_config: Common,
    /// `sha256:…` of the image; empty for an external root without one.
    pub image: String,
    /// Always empty: the run state has a file of its own.
    pub state: Empty,
}

/// The body of [`Document`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct Common {
    /// Program.
    pub path: String,
    /// Arguments.
    pub args: Vec<String>,
    /// What runs, image defaults filled in.
    pub config: ContainerConfig,
    /// Creation.
    pub created: Timestamp,
    /// As the user named it.
    pub image: String,
    /// `oci`, [`EXTERNAL`] or [`EMBEDDED`].
    pub image_type: String,
    /// File on the host; empty when there is none.
    pub hostname_path: String,
    /// File on the host.
    pub hosts_path: String,
    /// File on the host.
    pub resolv_conf_path: String,
    /// File on the host; empty without a log.
    pub log_path: String,
    /// Directory on which the root is mounted.
    pub base_fs: String,
    /// What is mounted, by the path inside, but for what the host configuration alone says: tmpfs of `--tmpfs`.
    pub mount_points: BTreeMap<String, MountRecord>,
    /// What `HookSpec` named held when the container was made. Ours.
    #[serde(rename = "isulaHooks", skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
    /// Without a leading slash.
    pub name: String,
    /// 64 digits.
    #[serde(rename = "id")]
    pub id: String,
    /// What else a listing and policy need of the host configuration, so that loading reads one file. Ours.
    #[serde(rename = "isula")]
    pub extra: Option<Extra>,
}

/// Copies out of the host configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct Extra {
    /// Removed after its exit.
    pub auto_remove: bool,
    /// Network mode.
    pub network_mode: String,
    /// Bytes at which the log rotates; 0 without a log.
    pub log_size: u64,
    /// Log files including the current one.
    pub log_files: u32,
    /// Without a log file: what each line begins with that syslog gets; empty for none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub syslog_tag: String,
    /// Number of their facility.
    pub syslog_facility: u32,
    /// When it is started again.
    pub restart_policy: RestartPolicy,
    /// Where on the host a channel of its own is mounted; empty without one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host_channel: String,
    /// Its runtime; empty for the built-in one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub runtime: String,
}

/// What loading reads of `config.v2.json`; the same names, few of them.
#[derive(Default, Object)]
#[serde(default, rename_all = "PascalCase")]
struct Brief {
    common_config: BriefCommon,
    image: String,
}

#[derive(Default, Object)]
#[serde(default, rename_all = "PascalCase")]
struct BriefCommon {
    path: String,
    args: Vec<String>,
    config: BriefConfig,
    created: Timestamp,
    image: String,
    image_type: String,
    mount_points: BTreeMap<String, MountRecord>,
    name: String,
    #[serde(rename = "id")]
    id: String,
    #[serde(rename = "isula")]
    extra: Option<Extra>,
}

#[derive(Default, Object)]
#[serde(default, rename_all = "PascalCase")]
struct BriefConfig {
    tty: bool,
    open_stdin: bool,
    labels: Option<BTreeMap<String, String>>,
    stop_signal: String,
    stop_timeout: Option<i64>,
    healthcheck: Option<Healthcheck>,
}

impl Extra {
    /// Copies what is needed.
    pub fn new(host: &HostConfig, logging: &Logging) -> Extra {
        let (log_size, log_files) = match *logging {
            Logging::File { max_size, max_files } => (max_size, max_files),
            Logging::Syslog(_) | Logging::Off => (0, 0),
        };
        let (syslog_tag, syslog_facility) = logging.syslog();
        Extra {
            auto_remove: host.auto_remove,
            network_mode: host.network_mode.clone(),
            log_size,
            log_files,
            syslog_tag,
            syslog_facility,
            restart_policy: host.restart_policy.clone(),
            host_channel: host.host_channel.path_on_host.clone(),
            runtime: Some(&host.runtime).filter(|name| *name != BUILT_IN).cloned().unwrap_or_default(),
        }
    }

    /// One that nobody could have set is none.
    fn policy(&self) -> Policy {
        Policy::parse(&self.restart_policy).unwrap_or_default()
    }

    fn host_channel(&self) -> Option<Box<str>> {
        set(&self.host_channel)
    }

    fn runtime(&self) -> Option<Box<str>> {
        set(&self.runtime)
    }

    fn logging(&self) -> Logging {
        match (self.log_size, self.syslog_tag.as_str()) {
            (0, "") => Logging::Off,
            (0, tag) => Logging::Syslog(Box::new(Target { tag: tag.into(), facility: self.syslog_facility })),
            (max_size, _) => Logging::File { max_size, max_files: self.log_files.max(1) },
        }
    }
}

impl Document {
    /// The part that is kept in memory.
    pub fn head(&self) -> Head {
        let c = &self.common_config;
        let extra = c.extra.clone().unwrap_or_default();
        Head {
            is_unread: false,
            name: c.name.clone(),
            image: c.image.clone(),
            image_id: bare(&self.image).into(),
            command: command_line(&c.path, &c.args),
            created: c.created,
            labels: c.config.labels.clone(),
            network_mode: extra.network_mode.clone(),
            auto_remove: extra.auto_remove,
            tty: c.config.tty,
            open_stdin: c.config.open_stdin,
            stop_signal: c.config.stop_signal.clone(),
            stop_timeout: c.config.stop_timeout,
            policy: extra.policy(),
            check: check(c.config.healthcheck.as_ref()),
            logging: extra.logging(),
            host_channel: extra.host_channel(),
            runtime: extra.runtime(),
            mounts: c.mount_points.values().map(Into::into).collect(),
        }
    }

    /// The image's id without prefix.
    pub fn image_id(&self) -> &str {
        bare(&self.image)
    }
}

fn set(text: &str) -> Option<Box<str>> {
    Some(text).filter(|text| !text.is_empty()).map(Box::from)
}

/// One that nobody could have set is none.
fn check(configuration: Option<&Healthcheck>) -> Option<Box<Check>> {
    configuration.and_then(|c| Check::parse(c).unwrap_or_default()).map(Box::new)
}

fn bare(image: &str) -> &str {
    image.strip_prefix("sha256:").unwrap_or(image)
}

/// Reads the part that is kept in memory of the document of container `id`. `host` gives `hostconfig.json` for
/// documents that lack our copies.
///
/// # Errors
/// `Kind::Corrupt` when it is no such document.
pub fn load_head(bytes: &[u8], id: &str, host: impl FnOnce() -> Result<HostConfig>) -> Result<Head> {
    let damaged = |e: Error| e.with_kind(crate::error::Kind::Corrupt);
    let brief: Brief = json::parse(bytes).map_err(damaged)?;
    let c = brief.common_config;
    if c.id != id {
        return Err(Error::corrupt(format!("the document is that of container {:?}", c.id)));
    }
    super::name::check(&c.name).map_err(damaged)?;
    if !(is_full_id(bare(&brief.image)) || brief.image.is_empty() && c.image_type == EXTERNAL) {
        return Err(Error::corrupt(format!("invalid image id {:?}", brief.image)));
    }
    let extra = match c.extra {
        Some(extra) => extra,
        None => {
            let host = host()?;
            // The tag for syslog is made with a container, and this one has none.
            let logging = Logging::default().refine(&host.log_config).ok();
            let logging = logging.filter(|logging| !matches!(logging, Logging::Syslog(_)));
            Extra::new(&host, &logging.unwrap_or_default())
        }
    };
    Ok(Head {
        is_unread: false,
        image_id: bare(&brief.image).into(),
        command: command_line(&c.path, &c.args),
        name: c.name,
        image: c.image,
        created: c.created,
        labels: c.config.labels.unwrap_or_default(),
        auto_remove: extra.auto_remove,
        tty: c.config.tty,
        open_stdin: c.config.open_stdin,
        stop_signal: c.config.stop_signal,
        stop_timeout: c.config.stop_timeout,
        policy: extra.policy(),
        check: check(c.config.healthcheck.as_ref()),
        logging: extra.logging(),
        host_channel: extra.host_channel(),
        runtime: extra.runtime(),
        mounts: c.mount_points.values().map(Into::into).collect(),
        network_mode: extra.network_mode,
    })
}

/// A path as text, as the documents have it.
pub fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    /// A document as creation makes it.
    fn sample(id: &str, name: &str) -> Document {
        let mut d = Document { image: format!("sha256:{}", "a".repeat(64)), ..Document::default() };
        let c = &mut d.common_config;
        c.id = id.into();
        c.name = name.into();
        c.path = "sh".into();
        c.args = vec!["-c".into(), "echo \"a\"".into()];
        c.image = "busybox".into();
        c.created = Timestamp::from_unix(1_700_000_000, 5);
        c.config.tty = true;
        c.config.stop_timeout = Some(3);
        c.config.labels.insert("a".into(), "b".into());
        let mount = |kind: &str, name: &str, named| MountRecord {
            kind: kind.into(),
            name: name.into(),
            named,
            ..MountRecord::default()
        };
        let mounts = [
            ("/a", mount("volume", "va", true)),
            ("/b", mount("bind", "", false)),
            ("/c", mount("volume", "vc", false)),
        ];
        c.mount_points = mounts.map(|(path, mount)| (path.to_owned(), mount)).into();
        c.extra = Some(Extra {
            host_channel: String::new(),
            runtime: "runc".into(),
            auto_remove: true,
            network_mode: "host".into(),
            log_size: 9000,
            log_files: 2,
            syslog_tag: String::new(),
            syslog_facility: 0,
            restart_policy: RestartPolicy { name: "on-failure".into(), maximum_retry_count: 3 },
        });
        d
    }

    #[test]
    fn both_ways_to_the_head_agree() {
        let id = "b".repeat(64);
        let d = sample(&id, "web");
        let bytes = json::to_vec(&d);
        let head = load_head(&bytes, &id, || panic!("our own documents need no second file")).unwrap();
        assert_eq!(head, d.head());
        assert_eq!(json::parse::<Document>(&bytes).unwrap(), d);
        assert_eq!(head.command, "sh -c 'echo \"a\"'");
        let volumes: Vec<_> = head.volumes().map(|v| (&*v.name, v.anonymous)).collect();
        assert_eq!(volumes, [("va", false), ("vc", true)]);
    }

    #[test]
    fn the_originals_document_is_read() {
        let id = "e".repeat(64);
        let text = format!(
            r#"{{"CommonConfig":{{"Path":"sleep","Args":["100"],"Config":{{"Hostname":"e35f","Env":["A=b"],
            "Cmd":["sleep","100"],"LogDriver":"json-file","Annotations":{{"cgroup.dir":"/isulad"}}}},
            "Created":"2026-11-24T03:50:27.996621574+00:00","Image":"busybox","ImageType":"oci","Name":"lay",
            "id":"{id}"}},"Image":"sha256:{}","State":{{}}}}"#,
            "7".repeat(64)
        );
        let host = || json::parse(br#"{"NetworkMode":"none","AutoRemove":true,"CPUShares":5,"Runtime":"runc"}"#);
        let head = load_head(text.as_bytes(), &id, host).unwrap();
        assert_eq!((head.name.as_str(), head.network_mode.as_str(), head.auto_remove), ("lay", "none", true));
        assert_eq!(head.logging, Logging::default());
        let d: Document = json::parse(text.as_bytes()).unwrap();
        assert_eq!(d.common_config.config.cmd, Some(vec!["sleep".into(), "100".into()]));
    }

    #[test]
    fn syslog_is_kept() {
        let id = "b".repeat(64);
        let mut d = sample(&id, "web");
        let logging = Logging::Syslog(Box::new(Target { tag: "web".into(), facility: 16 }));
        d.common_config.extra = Some(Extra::new(&HostConfig::default(), &logging));
        let head = load_head(&json::to_vec(&d), &id, || panic!("our own documents need no second file")).unwrap();
        assert_eq!((&head.logging, &d.head().logging), (&logging, &logging));
    }

    #[test]
    fn damage_is_told() {
        let id = "b".repeat(64);
        let whole = json::to_vec(&sample(&id, "web"));
        let load = |bytes: &[u8]| load_head(bytes, &id, || Ok(HostConfig::default())).unwrap_err().kind();
        for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
            assert_eq!(load(&whole[..cut]), Kind::Corrupt, "{cut}");
        }
        assert_eq!(load(b"{}"), Kind::Corrupt);
        assert_eq!(load(&json::to_vec(&sample(&"c".repeat(64), "web"))), Kind::Corrupt);
        assert_eq!(load(&json::to_vec(&sample(&id, "../x"))), Kind::Corrupt);
    }
}
