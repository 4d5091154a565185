//! The calls to systemd (org.freedesktop.systemd1(5)).

use super::Unit;
use super::property::{self, Property};
use crate::api::oci::runtime::Resources;
use crate::engine::cgroup::layout::{Layout, Version};
use crate::engine::rights;
use crate::error::{Context, Error, Kind, Result};
use crate::utils::dbus::{Connection, Message, Method, Writer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// That there is systemd (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";
/// How long systemd gets for what it is asked.
const PATIENCE: Duration = Duration::from_secs(30);

/// Checks that systemd runs here.
///
/// # Errors
/// `Kind::Unsupported` when it does not.
pub fn check() -> Result<()> {
    match Path::new(BOOTED).is_dir() {
        true => Ok(()),
        false => {
            let text = format!("--systemd-cgroup: systemd does not run here: there is no directory {BOOTED:?}");
            Err(Error::new(Kind::Unsupported, text))
        }
    }
}

/// Starts the scope `unit` with the process `pid` in it, and waits until that is there.
///
/// # Errors
/// `Kind::Exists` when there is such a unit; `Kind::Invalid` for an annotation that is no property; what systemd says.
pub fn start(
    unit: &Unit,
    pid: i32,
    resources: Option<&Resources>,
    annotations: &BTreeMap<String, String>,
) -> Result<()> {
    let is_unified = is_unified();
    let limits = resources.map_or(Ok(Vec::new()), |r| property::of_limits(r, is_unified))?;
    let mut basic = property::basic(unit, pid as u32, is_unified);
    basic.extend(property::of_annotations(annotations)?);
    let mut systemd = Manager::connect()?;
    let started = systemd.start(&unit.name, &[&basic[..], &limits[..]].concat());
    let started = match started {
        // Left behind by a run that failed: what is still active stays so, and the next answer is the same.
        Err(e) if e.kind() == Kind::Exists => {
            let _ = systemd.call("ResetFailedUnit", Writer::new("s").string(&unit.name));
            systemd.start(&unit.name, &[&basic[..], &limits[..]].concat())
        }
        // An older systemd does not know each of them. The files of the cgroup are written anyway.
        Err(e) if e.kind() == Kind::Unsupported && !limits.is_empty() => {
            log::debug!("limits are not told to systemd: {e}");
            systemd.start(&unit.name, &basic)
        }
        started => started,
    };
    started.context(|| format!("start unit {:?} of systemd", unit.name))
}

/// Tells systemd changed limits, until its next start.
///
/// # Errors
/// What systemd says.
pub fn update(name: &str, resources: &Resources) -> Result<()> {
    let limits = property::of_limits(resources, is_unified())?;
    if limits.is_empty() {
        return Ok(());
    }
    let body = property::write(Writer::new("sba(sv)").string(name).bool(true), &limits);
    match Manager::connect()?.call("SetUnitProperties", body) {
        Err(e) if e.kind() == Kind::Unsupported => {
            log::debug!("limits are not told to systemd: {e}");
            Ok(())
        }
        result => result.map(drop).context(|| format!("change unit {name:?} of systemd")),
    }
}

/// Stops the unit with all that is in it, and has it forgotten. One that is gone is no error.
///
/// # Errors
/// What systemd says.
pub fn stop(name: &str) -> Result<()> {
    let mut systemd = Manager::connect()?;
    let stopped = match systemd.call("StopUnit", Writer::new("ss").string(name).string("replace")) {
        Err(e) if e.kind() == Kind::NotFound => return Ok(()),
        // Whatever way it has stopped.
        job => job.and_then(|job| systemd.wait_for(&job).map(drop)),
    };
    let _ = systemd.call("ResetFailedUnit", Writer::new("s").string(name)); // it may be gone, or not have failed
    stopped.context(|| format!("stop unit {name:?} of systemd"))
}

/// Whether version 2 is all there is: else systemd limits by version 1.
fn is_unified() -> bool {
    Layout::host().is_ok_and(|layout| layout.hierarchies.iter().all(|h| h.version == Version::V2))
}

/// A connection to the manager of units: the system's, or of others than the host's root their own.
struct Manager {
    connection: Connection,
    destination: &'static str,
}

impl Manager {
    fn connect() -> Result<Manager> {
        check()?;
        let mut failures = String::new();
        for (path, bus) in sockets() {
            match Connection::open(&path, bus, PATIENCE) {
                Ok(connection) => return Manager::subscribe(connection, bus),
                Err(e) => failures.push_str(&format!("; {e}")),
            }
        }
        Err(Error::new(Kind::Unsupported, format!("--systemd-cgroup: systemd cannot be reached{failures}")))
    }

    /// Without a bus in between systemd tells everything to everybody.
    fn subscribe(mut connection: Connection, bus: bool) -> Result<Manager> {
        if bus {
            let method = Method {
                destination: "org.freedesktop.DBus",
                path: "/org/freedesktop/DBus",
                interface: "org.freedesktop.DBus",
                member: "AddMatch",
            };
            let rule = "type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";
            connection.call(method, Writer::new("s").string(rule))?;
        }
        Ok(Manager { connection, destination: if bus { "org.freedesktop.systemd1" } else { "" } })
    }

    fn call(&mut self, member: &str, body: Writer) -> Result<Message> {
        let method = Method {
            destination: self.destination,
            path: "/org/freedesktop/systemd1",
            interface: "org.freedesktop.systemd1.Manager",
            member,
        };
        self.connection.call(method, body)
    }

    fn start(&mut self, name: &str, properties: &[Property]) -> Result<()> {
        let body = Writer::new("ssa(sv)a(sa(sv))").string(name).string("fail");
        let body = property::write(body, properties).array(8, |none| none);
        let job = self.call("StartTransientUnit", body)?;
        match self.wait_for(&job)?.as_str() {
            "done" => Ok(()),
            result => Err(Error::new(Kind::Remote, format!("its job ended with {result:?}"))),
        }
    }

    /// Waits for the end of the job that a call has given; how it ended.
    fn wait_for(&mut self, job: &Message) -> Result<String> {
        let job = job.body().text()?.to_owned();
        loop {
            let signal = self.connection.signal()?;
            if signal.member() != "JobRemoved" {
                continue;
            }
            let mut body = signal.body();
            let (_number, removed, _unit, result) = (body.u32()?, body.text()?, body.text()?, body.text()?);
            if removed == job {
                return Ok(result.to_owned());
            }
        }
    }
}

/// Where the manager may listen, and whether that is a bus.
fn sockets() -> Vec<(PathBuf, bool)> {
    if rights::is_host_root() {
        return vec![("/run/systemd/private".into(), false), ("/run/dbus/system_bus_socket".into(), true)];
    }
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let address = std::env::var("DBUS_SESSION_BUS_ADDRESS").unwrap_or_default();
    let named = address.split(';').find_map(|a| a.strip_prefix("unix:path="));
    let named = named.map(|path| PathBuf::from(path.split(',').next().unwrap_or_default()));
    let own = runtime.iter().map(|r| (r.join("systemd/private"), false));
    let buses = named.into_iter().chain(runtime.iter().map(|r| r.join("bus"))).map(|path| (path, true));
    own.chain(buses).collect()
}
