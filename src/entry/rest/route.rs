//! A request's method, path and query become a [`Call`]: pure, one match, everything checked before anything is done.
//!
//! A parameter that is known but not implemented is refused by name when its value would change the meaning; what no
//! version of the API knows is ignored, as docker does.

use crate::api::system::{API_VERSION, MIN_API_VERSION};
use crate::entry::exchange::Failure;
use crate::error::{Error, Kind, Result};
use crate::executor::container::{AttachQuery, CopyIn, ListQuery, WaitCondition};
use crate::executor::events::EventQuery;
use crate::modules::image::platform::Platform;
use crate::modules::runtime::log::Query as LogQuery;
use crate::utils::http::h1::{Method, RequestHead};
use crate::utils::http::query::{Filters, Query, segments};
use crate::utils::time::Timestamp;

/// Major and minor number of a version of the API.
pub type ApiVersion = (u32, u32);

/// [`API_VERSION`]; what a request without a version in its path gets.
pub const NEWEST: ApiVersion = version_of(API_VERSION);
/// [`MIN_API_VERSION`].
const OLDEST: ApiVersion = version_of(MIN_API_VERSION);

/// Everything that can be asked, apart from request bodies.
#[derive(Debug)]
pub enum Call {
    /// `/_ping`
    Ping,
    /// `/version`
    Version,
    /// `/info`
    Info,
    /// `GET /metrics` and `GET /metrics/type/{type}`
    Metrics(MetricKinds),
    /// `GET /events`
    Events(EventQuery),
    /// `POST /containers/create`
    ContainerCreate {
        /// A name is made up when absent.
        name: Option<String>,
    },
    /// `GET /containers/json`
    ContainerList(ListQuery),
    /// `/containers/{id}/…`
    Container(ContainerCall),
    /// `/exec/{id}/…`
    Exec(ExecCall),
    /// `GET /images/json`
    ImageList(Filters),
    /// `POST /images/create` with the archive as body
    ImageImport(ImportCall),
    Registry(RegistryCall),
    ImageLoad {
        name: Option<String>,
    },
    /// `POST /images/load?type=embedded`
    EmbeddedLoad {
        /// Of the image, in place of its own.
        name: Option<String>,
        /// The manifest's; without, it is the body.
        path: Option<String>,
    },
    /// `/images/{name}/…`
    Image(ImageCall),
    /// What only builds with `image-tools` do
    Tool(ToolCall),
    /// `/volumes/…`
    Volume(VolumeCall),
}

/// Which metrics are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricKinds {
    /// Memory of containers.
    pub memory: bool,
    /// Processor time of containers.
    pub cpu: bool,
    /// Processes of containers.
    pub pids: bool,
    /// The daemon's own.
    pub system: bool,
}

impl MetricKinds {
    const NONE: MetricKinds = MetricKinds { memory: false, cpu: false, pids: false, system: false };
    const ALL: MetricKinds = MetricKinds { memory: true, cpu: true, pids: true, system: true };

    /// Whether containers are asked.
    pub fn of_containers(&self) -> bool {
        self.memory || self.cpu || self.pids
    }
}

/// What can be asked about volumes.
#[derive(Debug, PartialEq, Eq)]
pub enum VolumeCall {
    /// `GET /volumes`
    List(Filters),
    /// `POST /volumes/create`
    Create,
    /// `GET /volumes/{name}`
    Inspect(String),
    /// `DELETE /volumes/{name}`
    Remove {
        /// Of the volume.
        name: String,
        /// Whether it is no error when there is none.
        force: bool,
    },
    /// `POST /volumes/prune`
    Prune(Filters),
}

/// Something about one container.
#[derive(Debug)]
pub struct ContainerCall {
    /// Name, id or prefix.
    pub id: String,
    /// What.
    pub verb: ContainerVerb,
}

/// What can be asked about one container.
#[derive(Debug)]
#[allow(missing_docs)] // each is the endpoint of its name, with that endpoint's parameters
pub enum ContainerVerb {
    Inspect { size: bool },
    Start,
    Stop { timeout: Option<i64>, signal: Option<String> },
    Restart { timeout: Option<i64>, signal: Option<String> },
    Kill { signal: Option<String> },
    Wait(WaitCondition),
    Delete { force: bool, volumes: bool },
    Rename { name: String },
    Update,
    Pause,
    Unpause,
    Logs(LogQuery),
    Attach(AttachQuery),
    Resize { height: u16, width: u16 },
    Top { arguments: String },
    Stats(StatsMode),
    ExecCreate,
}

/// How many samples a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatsMode {
    /// One, at once.
    Once,
    /// One, taken a second after its predecessor, from which a percentage can be computed.
    Pair,
    /// One each second.
    Stream,
}

/// Something about one exec session.
#[derive(Debug)]
pub struct ExecCall {
    /// Id.
    pub id: String,
    /// What.
    pub verb: ExecVerb,
}

/// What can be asked about one exec session.
#[derive(Debug)]
#[allow(missing_docs)] // each is the endpoint of its name, with that endpoint's parameters
pub enum ExecVerb {
    Start,
    Inspect,
    Resize { height: u16, width: u16 },
}

/// Something about one image.
#[derive(Debug)]
pub struct ImageCall {
    /// Name, id or prefix.
    pub name: String,
    /// What.
    pub verb: ImageVerb,
}

/// What can be asked about one image.
#[derive(Debug)]
#[allow(missing_docs)] // each is the endpoint of its name, with that endpoint's parameters
pub enum ImageVerb {
    Inspect,
    Tag { target: String },
    Delete { force: bool },
}

/// What only builds with `image-tools` do.
#[derive(Debug, PartialEq, Eq)]
pub enum ToolCall {
    /// `GET /images/{name}/history`
    History(String),
    /// `POST /images/prune`
    Prune(Filters),
    /// `GET /images/{name}/get` and `GET /images/get`: names of images
    Save(Vec<String>),
    /// `GET /containers/{id}/export`
    Export(String),
    /// `GET /containers/{id}/changes`
    Changes(String),
    /// `HEAD /containers/{id}/archive`: container and path
    PathStat(String, String),
    /// `GET /containers/{id}/archive`: container and path
    CopyOut(String, String),
    /// `PUT /containers/{id}/archive`: container and what is to be done
    CopyIn(String, CopyIn),
    /// `POST /containers/prune`
    PruneContainers(Filters),
    /// `GET /system/df`: the kinds that are wanted
    DiskUsage(Vec<Usage>),
    /// `POST /networks/prune` and `POST /build/prune`
    PruneNothing,
}

/// What takes room on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // they say it
pub enum Usage {
    Images,
    Containers,
    Volumes,
    BuildCache,
}

/// An image to make from the request's body.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ImportCall {
    /// `REPO[:TAG]` or empty.
    pub reference: String,
    /// Kept in the history.
    pub message: String,
    /// Dockerfile instructions.
    pub changes: Vec<String>,
}

/// Something that a registry is asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum RegistryCall {
    /// An image to pull.
    Pull {
        /// Name with tag or digest.
        name: String,
        /// `OS/ARCHITECTURE[/VARIANT]`.
        platform: Option<String>,
    },
    /// Images to find.
    Search {
        /// `TERM` or `HOST/TERM`.
        term: String,
        /// How many at most.
        limit: u32,
        /// Which of them.
        filters: Filters,
    },
    /// Whether credentials are good.
    Auth,
    /// The same, and keep them.
    Login,
    /// Forget them.
    Logout,
}

/// Parses a request. `now` is what durations in parameters count back from.
///
/// # Errors
/// 404 for an unknown path, 405 with the known methods, 400 and 501 naming what is wrong.
pub fn parse(head: &RequestHead, now: Timestamp) -> std::result::Result<(ApiVersion, Call), Failure> {
    let (path, query) = head.target.split_once('?').unwrap_or((&head.target, ""));
    let segments = segments(path)?;
    let query = Query::parse(query)?;
    let mut path: Vec<&str> = segments.iter().map(String::as_str).collect();
    let mut version = NEWEST;
    if let Some(stated) = path.first().and_then(|first| first.strip_prefix('v')).and_then(parse_version) {
        let text = path.remove(0).trim_start_matches('v');
        if stated > NEWEST {
            return Err(Error::invalid(format!(
                "client version {text} is too new. Maximum supported API version is {API_VERSION}"
            ))
            .into());
        }
        if stated < OLDEST {
            return Err(Error::invalid(format!(
                "client version {text} is too old. Minimum supported API version is {MIN_API_VERSION}, \
                 please upgrade your client to a newer version"
            ))
            .into());
        }
        version = stated;
    }
    if let Some(call) = route(&head.method, &path, &query, now) {
        return Ok((version, call?));
    }
    let none = Query::default();
    let known: Vec<Method> = Method::ALL.into_iter().filter(|m| route(m, &path, &none, now).is_some()).collect();
    if known.is_empty() {
        return Err(Error::not_found("page not found").into());
    }
    let allow = known.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    let error = Error::invalid(format!("method {} is not allowed here, only {allow}", head.method.as_str()));
    Err(Failure { status: 405, error, allow })
}

/// The routing table. `None` when there is no such endpoint.
fn route(method: &Method, path: &[&str], q: &Query, now: Timestamp) -> Option<Result<Call>> {
    use Method::{Delete, Get, Head, Post, Put};
    let call = match (method, path) {
        (Get | Head, ["_ping"]) => Ok(Call::Ping),
        (Get, ["version"]) => Ok(Call::Version),
        (Get, ["info"]) => Ok(Call::Info),
        (Get, ["events"]) => events(q, now),
        (Get, ["metrics"]) => Ok(Call::Metrics(MetricKinds::ALL)),
        (Get, ["metrics", "type", kind]) => metrics(kind).map(Call::Metrics),

        (Post, ["containers", "create"]) => container_create(q),
        (Get, ["containers", "json"]) => container_list(q),
        (Post, ["containers", "prune"]) => {
            q.filters("filters").map(|filters| Call::Tool(ToolCall::PruneContainers(filters)))
        }
        (Get, ["system", "df"]) => disk_usage(q),
        (Post, ["networks" | "build", "prune"]) => Ok(Call::Tool(ToolCall::PruneNothing)),
        (Get | Head | Put, ["containers", id, "archive"]) => container_archive(method, id, q).map(Call::Tool),
        (Get, ["containers", id, "changes"]) => Ok(Call::Tool(ToolCall::Changes((*id).into()))),
        (Delete, ["containers", id]) => refuse(q, &["link"])
            .map(|()| container(id, ContainerVerb::Delete { force: q.flag("force"), volumes: q.flag("v") })),
        (Get, ["containers", id, "export"]) => Ok(Call::Tool(ToolCall::Export((*id).into()))),
        (_, ["containers", id, verb]) => {
            return Some(container_verb(method, verb, q, now)?.map(|verb| container(id, verb)));
        }

        (Post, ["exec", id, "start"]) => Ok(exec(id, ExecVerb::Start)),
        (Get, ["exec", id, "json"]) => Ok(exec(id, ExecVerb::Inspect)),
        (Post, ["exec", id, "resize"]) => size(q).map(|(height, width)| exec(id, ExecVerb::Resize { height, width })),

        (Get, ["images", "json"]) => {
            refuse(q, &["filter", "shared-size", "manifests"]).and_then(|()| q.filters("filters")).map(Call::ImageList)
        }
        (Get, ["images", "search"]) => image_search(q),
        (Post, ["images", "create"]) => image_create(q),
        (Post, ["auth"]) => Ok(Call::Registry(RegistryCall::Auth)),
        (Post, ["isula", "login"]) => Ok(Call::Registry(RegistryCall::Login)),
        (Post, ["isula", "logout"]) => Ok(Call::Registry(RegistryCall::Logout)),
        (Post, ["images", "load"]) => refuse(q, &["platform"]).and_then(|()| image_load(q)),
        (Get, ["images", "get"]) => refuse(q, &["platform"]).and_then(|()| image_save(q)),
        (Get, ["images", name @ .., "get"]) if !name.is_empty() => {
            refuse(q, &["platform"]).map(|()| Call::Tool(ToolCall::Save(vec![name.join("/")])))
        }
        (Get, ["images", name @ .., "history"]) if !name.is_empty() => {
            refuse(q, &["platform"]).map(|()| Call::Tool(ToolCall::History(name.join("/"))))
        }
        (Post, ["images", "prune"]) => q.filters("filters").map(|filters| Call::Tool(ToolCall::Prune(filters))),
        (Get, ["images", name @ .., "json"]) if !name.is_empty() => {
            refuse(q, &["platform", "manifests"]).map(|()| image(name, ImageVerb::Inspect))
        }
        (Post, ["images", name @ .., "tag"]) if !name.is_empty() => image_tag(name, q),
        (Delete, ["images", name @ ..]) if !name.is_empty() => {
            refuse(q, &["platforms"]).map(|()| image(name, ImageVerb::Delete { force: q.flag("force") }))
        }
        (Get, ["volumes"]) => q.filters("filters").map(|filters| Call::Volume(VolumeCall::List(filters))),
        (Post, ["volumes", "create"]) => Ok(Call::Volume(VolumeCall::Create)),
        (Post, ["volumes", "prune"]) => q.filters("filters").map(|filters| Call::Volume(VolumeCall::Prune(filters))),
        (Get, ["volumes", name]) => Ok(Call::Volume(VolumeCall::Inspect(name.to_string()))),
        (Delete, ["volumes", name]) => {
            Ok(Call::Volume(VolumeCall::Remove { name: name.to_string(), force: q.flag("force") }))
        }
        _ => return None,
    };
    Some(call)
}

fn container_archive(method: &Method, id: &str, q: &Query) -> Result<ToolCall> {
    let path = q.get("path").filter(|path| !path.is_empty());
    let path = path.ok_or_else(|| Error::invalid("bad parameter: path cannot be empty"))?.to_owned();
    Ok(match method {
        Method::Head => ToolCall::PathStat(id.into(), path),
        Method::Get => ToolCall::CopyOut(id.into(), path),
        _ => {
            let (keep_kind, own) = (q.flag("noOverwriteDirNonDir"), q.flag("copyUIDGID"));
            ToolCall::CopyIn(id.into(), CopyIn { path, keep_kind, own })
        }
    })
}

/// The parameters `name`, `type` and `path` are ours.
fn image_load(q: &Query) -> Result<Call> {
    let text = |name: &str| q.get(name).map(str::to_owned);
    match q.get("type") {
        None | Some("" | "docker") => {
            refuse(q, &["path"])?;
            Ok(Call::ImageLoad { name: text("name") })
        }
        Some("embedded") => Ok(Call::EmbeddedLoad { name: text("name"), path: text("path") }),
        Some(other) => Err(Error::invalid(format!("invalid image type {other:?}: want docker or embedded"))),
    }
}

fn container_verb(method: &Method, verb: &str, q: &Query, now: Timestamp) -> Option<Result<ContainerVerb>> {
    use Method::{Get, Post};
    let text = |name: &str| q.get(name).map(str::to_owned);
    Some(match (method, verb) {
        (Get, "json") => Ok(ContainerVerb::Inspect { size: q.flag("size") }),
        (Post, "start") => refuse(q, &["checkpoint", "checkpoint-dir"]).map(|()| ContainerVerb::Start),
        (Post, "stop") => q.integer("t").map(|timeout| ContainerVerb::Stop { timeout, signal: text("signal") }),
        (Post, "restart") => q.integer("t").map(|timeout| ContainerVerb::Restart { timeout, signal: text("signal") }),
        (Post, "kill") => Ok(ContainerVerb::Kill { signal: text("signal") }),
        (Post, "wait") => wait_condition(q).map(ContainerVerb::Wait),
        (Post, "rename") => match q.get("name") {
            None | Some("") => Err(Error::invalid("parameter name is missing")),
            Some(name) => Ok(ContainerVerb::Rename { name: name.into() }),
        },
        (Post, "update") => Ok(ContainerVerb::Update),
        (Post, "pause") => Ok(ContainerVerb::Pause),
        (Post, "unpause") => Ok(ContainerVerb::Unpause),
        (Get, "logs") => logs(q, now).map(ContainerVerb::Logs),
        (Post, "attach") => Ok(ContainerVerb::Attach(AttachQuery {
            stdin: q.flag("stdin"),
            stdout: q.flag("stdout"),
            stderr: q.flag("stderr"),
            logs: q.flag("logs"),
            stream: q.flag("stream"),
            detach_keys: text("detachKeys").unwrap_or_default(),
        })),
        (Post, "resize") => size(q).map(|(height, width)| ContainerVerb::Resize { height, width }),
        (Get, "top") => Ok(ContainerVerb::Top { arguments: text("ps_args").unwrap_or_else(|| "-ef".into()) }),
        (Get, "stats") => Ok(ContainerVerb::Stats(match (q.flag_or("stream", true), q.flag("one-shot")) {
            (true, _) => StatsMode::Stream,
            (false, true) => StatsMode::Once,
            (false, false) => StatsMode::Pair,
        })),
        (Post, "exec") => Ok(ContainerVerb::ExecCreate),
        _ => return None,
    })
}

fn container(id: &str, verb: ContainerVerb) -> Call {
    Call::Container(ContainerCall { id: id.into(), verb })
}

fn exec(id: &str, verb: ExecVerb) -> Call {
    Call::Exec(ExecCall { id: id.into(), verb })
}

fn image(name: &[&str], verb: ImageVerb) -> Call {
    Call::Image(ImageCall { name: name.join("/"), verb })
}

fn container_create(q: &Query) -> Result<Call> {
    if let Some(text) = q.get("platform").filter(|text| !text.is_empty()) {
        let here = Platform::here().normalised();
        if Platform::parse(text)? != here {
            let text = format!("platform {text:?} is not supported, only this machine's, {here}");
            return Err(Error::new(Kind::Unsupported, text));
        }
    }
    Ok(Call::ContainerCreate { name: q.get("name").map(str::to_owned) })
}

fn container_list(q: &Query) -> Result<Call> {
    refuse(q, &["since", "before"])?;
    Ok(Call::ContainerList(ListQuery {
        all: q.flag("all"),
        limit: q.limit("limit")?,
        size: q.flag("size"),
        filters: q.filters("filters")?,
    }))
}

/// Everything, when no kind is named.
fn disk_usage(q: &Query) -> Result<Call> {
    let all = [Usage::Images, Usage::Containers, Usage::Volumes, Usage::BuildCache];
    let names: Vec<&str> = q.all("type").filter(|name| !name.is_empty()).collect();
    let kinds = names.iter().map(|name| match *name {
        "image" => Ok(Usage::Images),
        "container" => Ok(Usage::Containers),
        "volume" => Ok(Usage::Volumes),
        "build-cache" => Ok(Usage::BuildCache),
        other => Err(Error::invalid(format!("unknown object type: {other}"))),
    });
    let kinds = kinds.collect::<Result<Vec<_>>>()?;
    Ok(Call::Tool(ToolCall::DiskUsage(if kinds.is_empty() { all.to_vec() } else { kinds })))
}

fn events(q: &Query, now: Timestamp) -> Result<Call> {
    let (since, until) = (time(q, "since", now)?, time(q, "until", now)?);
    Ok(Call::Events(EventQuery { since, until, filters: q.filters("filters")? }))
}

fn metrics(kind: &str) -> Result<MetricKinds> {
    let none = MetricKinds::NONE;
    Ok(match kind {
        "all" => MetricKinds::ALL,
        "mem" => MetricKinds { memory: true, ..none },
        "cpu" => MetricKinds { cpu: true, ..none },
        "pids" => MetricKinds { pids: true, ..none },
        "sys" => MetricKinds { system: true, ..none },
        other => {
            let text = format!("no metrics of type {other:?}: want mem, cpu, pids, sys or all");
            return Err(Error::not_found(text));
        }
    })
}

fn wait_condition(q: &Query) -> Result<WaitCondition> {
    Ok(match q.get("condition") {
        None | Some("not-running") => WaitCondition::NotRunning,
        Some("next-exit") => WaitCondition::NextExit,
        Some("removed") => WaitCondition::Removed,
        Some(other) => return Err(Error::invalid(format!("invalid condition: {other:?}"))),
    })
}

fn logs(q: &Query, now: Timestamp) -> Result<LogQuery> {
    // The drivers keep nothing beside the lines, so `details` has none to add.
    let query = LogQuery {
        stdout: q.flag("stdout"),
        stderr: q.flag("stderr"),
        tail: if q.get("tail") == Some("all") { None } else { q.limit("tail")? },
        since: time(q, "since", now)?,
        until: time(q, "until", now)?,
        timestamps: q.flag("timestamps"),
        follow: q.flag("follow"),
    };
    if !(query.stdout || query.stderr) {
        return Err(Error::invalid("Bad parameters: you must choose at least one stream"));
    }
    Ok(query)
}

/// A point in time. Docker's clients send `0` for none.
fn time(q: &Query, name: &str, now: Timestamp) -> Result<Option<Timestamp>> {
    match q.get(name) {
        None | Some("0") => Ok(None),
        Some(text) => Timestamp::parse_filter(text, now).map(Some).map_err(|e| e.context(format!("parameter {name}"))),
    }
}

fn size(q: &Query) -> Result<(u16, u16)> {
    let side = |name: &str| q.integer(name)?.ok_or_else(|| Error::invalid(format!("parameter {name} is missing")));
    Ok((side("h")?, side("w")?))
}

fn image_create(q: &Query) -> Result<Call> {
    if let Some(name) = q.get("fromImage") {
        // The tag may be a digest.
        let name = match q.get("tag").filter(|tag| !tag.is_empty()) {
            Some(digest) if digest.contains(':') => format!("{name}@{digest}"),
            tag => named(name, tag),
        };
        let platform = q.get("platform").map(str::to_owned).filter(|p| !p.is_empty());
        return Ok(Call::Registry(RegistryCall::Pull { name, platform }));
    }
    refuse(q, &["platform"])?;
    match q.get("fromSrc") {
        Some("-") => {}
        Some(other) => {
            let text = format!("fromSrc {other:?} is not supported, only \"-\", the request's body");
            return Err(Error::new(Kind::Unsupported, text));
        }
        None => return Err(Error::invalid("one of the parameters fromImage and fromSrc is needed")),
    }
    Ok(Call::ImageImport(ImportCall {
        reference: q.get("repo").map_or_else(String::new, |repo| named(repo, q.get("tag"))),
        message: q.get("message").unwrap_or_default().into(),
        changes: q.all("changes").filter(|c| !c.is_empty()).map(str::to_owned).collect(),
    }))
}

fn image_search(q: &Query) -> Result<Call> {
    let term = q.get("term").ok_or_else(|| Error::invalid("parameter term is missing"))?.to_owned();
    let limit: i64 = q.integer("limit")?.unwrap_or(25);
    let limit = u32::try_from(limit).ok().filter(|n| (1..=100).contains(n));
    let limit = limit.ok_or_else(|| {
        let given = q.get("limit").unwrap_or_default();
        Error::invalid(format!("Limit {given} is outside the range of [1, 100]"))
    })?;
    Ok(Call::Registry(RegistryCall::Search { term, limit, filters: q.filters("filters")? }))
}

fn image_save(q: &Query) -> Result<Call> {
    let names: Vec<String> = q.all("names").filter(|name| !name.is_empty()).map(str::to_owned).collect();
    match names.is_empty() {
        true => Err(Error::invalid("parameter names is missing")),
        false => Ok(Call::Tool(ToolCall::Save(names))),
    }
}

fn image_tag(name: &[&str], q: &Query) -> Result<Call> {
    let repo = q.get("repo").ok_or_else(|| Error::invalid("parameter repo is missing"))?;
    Ok(image(name, ImageVerb::Tag { target: named(repo, q.get("tag")) }))
}

fn named(repo: &str, tag: Option<&str>) -> String {
    match tag {
        Some(tag) => format!("{repo}:{tag}"),
        None => repo.to_owned(),
    }
}

fn refuse(q: &Query, names: &[&str]) -> Result<()> {
    match names.iter().find(|n| q.flag(n)) {
        Some(name) => Err(unsupported(&format!("parameter {name}"))),
        None => Ok(()),
    }
}

fn unsupported(what: &str) -> Error {
    Error::new(Kind::Unsupported, format!("{what} is not supported yet"))
}

fn parse_version(text: &str) -> Option<ApiVersion> {
    let (major, minor) = text.split_once('.')?;
    let number = |s: &str| s.bytes().all(|b| b.is_ascii_digit()).then(|| s.parse().ok()).flatten();
    Some((number(major)?, number(minor)?))
}

/// The numbers of one of the two version constants.
const fn version_of(text: &str) -> ApiVersion {
    let (bytes, mut numbers, mut part, mut at) = (text.as_bytes(), [0; 2], 0, 0);
    while at < bytes.len() {
        if bytes[at] == b'.' {
            part += 1;
        } else {
            numbers[part] = numbers[part] * 10 + (bytes[at] - b'0') as u32;
        }
        at += 1;
    }
    (numbers[0], numbers[1])
}

#[cfg(test)]
mod tests;
