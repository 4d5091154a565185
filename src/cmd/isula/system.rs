//! `version` and `info`.

use super::Session;
use super::failure::Failure;
use super::ordered::Node;
use super::output;
use super::template::{self, JsonStyle};
use crate::api::system;
use crate::applet::BUILD_TIME;
use crate::applet::COMMIT;
use crate::applet::VERSION;
use crate::utils::host::go_architecture;
use crate::utils::json;
use argh::{ArgsInfo, FromArgs};
use std::fmt::Write;

/// print the versions of client and daemon
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "version")]
pub struct Version {
    /// print with a Go template
    #[argh(option, short = 'f', arg_name = "string")]
    format: Option<String>,
}

impl Version {
    /// Runs the verb. The client's version is shown even when the daemon does not answer.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let Some(format) = template::asked(self.format.as_deref(), JsonStyle::Compact)? else {
            output::print(&version_block("Client", VERSION, COMMIT, BUILD_TIME))?;
            let server = session.client()?.version()?;
            output::print(&server_version(&server))?;
            return Ok(0);
        };
        let client = Node::texts([
            ("Version", VERSION.to_owned()),
            ("ApiVersion", system::API_VERSION.into()),
            ("DefaultAPIVersion", system::API_VERSION.into()),
            ("GitCommit", COMMIT.into()),
            ("BuildTime", BUILD_TIME.into()),
            ("Os", std::env::consts::OS.into()),
            ("Arch", go_architecture().into()),
        ]);
        let mut both = Node::Object(vec![("Client".into(), client)]);
        let server = session.client().and_then(|client| Ok(client.version()?));
        if let Ok(server) = &server {
            both.add("Server", json::parse(&json::to_vec(server))?);
        }
        match (format.render(&both), server) {
            (Ok(text), server) => output::print(&format!("{text}\n")).and(server.map(|_| 0)),
            // It asks for what the daemon did not tell.
            (Err(_), Err(failure)) | (Err(failure), Ok(_)) => Err(failure),
        }
    }
}

fn version_block(title: &str, version: &str, commit: &str, built: &str) -> String {
    format!("{title}:\n  Version:\t{version}\n  Git commit:\t{commit}\n  Built:\t{built}\n\n")
}

fn server_version(v: &system::Version) -> String {
    let mut text = version_block("Server", &v.version, &v.git_commit, &v.build_time);
    let default_file = "/etc/default/isulad/config.json";
    let _ = write!(text, "OCI config:\n  Version:\t{}\n  Default file:\t{default_file}\n\n", v.oci_version);
    text
}

/// print what the daemon and its host are like
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "info")]
pub struct Info {
    /// print with a Go template
    #[argh(option, short = 'f', arg_name = "string")]
    format: Option<String>,
}

impl Info {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let format = template::asked(self.format.as_deref(), JsonStyle::Compact)?;
        let info = session.client()?.info()?;
        let screen = match format {
            Some(format) => format!("{}\n", format.render(&json::parse(&json::to_vec(&info))?)?),
            None => screen(&info),
        };
        output::print(&screen)?;
        for warning in &info.warnings {
            output::complain(warning);
        }
        Ok(0)
    }
}

fn screen(i: &system::Info) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        text.push_str(name);
        text.push_str(": ");
        text.push_str(value);
        text.push('\n');
    };
    line("Containers", &i.containers.to_string());
    line(" Running", &i.containers_running.to_string());
    line(" Paused", &i.containers_paused.to_string());
    line(" Stopped", &i.containers_stopped.to_string());
    line("Images", &i.images.to_string());
    line("Server Version", &i.server_version);
    line("Storage Driver", &i.driver);
    for [name, value] in &i.driver_status {
        line(&format!(" {name}"), value);
    }
    line("Logging Driver", &i.logging_driver);
    line("Cgroup Driver", &i.cgroup_driver);
    if !i.hugetlb_pagesize.is_empty() {
        line("Hugetlb Pagesize", &i.hugetlb_pagesize);
    }
    line("Kernel Version", &i.kernel_version);
    line("Operating System", &i.operating_system);
    let os_type = i.os_type.strip_prefix("linux").map_or(i.os_type.clone(), |rest| format!("Linux{rest}"));
    line("OSType", &os_type);
    line("Architecture", &i.architecture);
    line("CPUs", &i.ncpu.to_string());
    line("Total Memory", &memory(i.mem_total));
    line("Name", &i.name);
    line("iSulad Root Dir", &i.docker_root_dir);
    for (name, value) in [("Http Proxy", &i.http_proxy), ("Https Proxy", &i.https_proxy), ("No Proxy", &i.no_proxy)] {
        if !value.is_empty() {
            line(name, value);
        }
    }
    text
}

/// Whole gigabytes as the original prints them; a board with less than one has megabytes.
fn memory(bytes: i64) -> String {
    match bytes >> 30 {
        0 => format!("{} MB", bytes >> 20),
        gigabytes => format!("{gigabytes} GB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_laid_out_as_in_the_original() {
        let v = system::Version {
            version: "2.1.6".into(),
            git_commit: "fef0".into(),
            build_time: "2026".into(),
            oci_version: "1.0.1".into(),
            ..system::Version::default()
        };
        let want = "Server:\n  Version:\t2.1.6\n  Git commit:\tfef0\n  Built:\t2026\n\nOCI config:\n  Version:\t1.0.1\n  \
                    Default file:\t/etc/default/isulad/config.json\n\n";
        assert_eq!(server_version(&v), want);
    }

    #[test]
    fn info_is_laid_out_as_in_the_original() {
        let info = system::Info {
            images: 1,
            server_version: "2.1.6".into(),
            driver: "overlay".into(),
            driver_status: vec![
                ["Backing Filesystem".into(), "extfs".into()],
                ["Supports d_type".into(), "true".into()],
            ],
            logging_driver: "json-file".into(),
            cgroup_driver: "cgroupfs".into(),
            hugetlb_pagesize: "2MB".into(),
            kernel_version: "6.x".into(),
            operating_system: "Debian GNU/Linux 12 (bookworm)".into(),
            os_type: "linux".into(),
            architecture: "x86_64".into(),
            ncpu: 2,
            mem_total: 25_300_000_000,
            name: "host".into(),
            docker_root_dir: "/var/lib/isulad".into(),
            ..system::Info::default()
        };
        let want = "\
Containers: 0
 Running: 0
 Paused: 0
 Stopped: 0
Images: 1
Server Version: 2.1.6
Storage Driver: overlay
 Backing Filesystem: extfs
 Supports d_type: true
Logging Driver: json-file
Cgroup Driver: cgroupfs
Hugetlb Pagesize: 2MB
Kernel Version: 6.x
Operating System: Debian GNU/Linux 12 (bookworm)
OSType: Linux
Architecture: x86_64
CPUs: 2
Total Memory: 23 GB
Name: host
iSulad Root Dir: /var/lib/isulad
";
        assert_eq!(screen(&info), want);
        assert_eq!(memory(64 << 20), "64 MB");
    }
}
