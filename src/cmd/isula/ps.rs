//! `ps`: a row for each container.

use super::failure::Failure;
use super::ordered::Node;
use super::template::{self, Format};
use super::{Session, filters, output, state_word, table};
use crate::api::container::ContainerSummary;
use crate::api::volume::DRIVER;
use crate::client::ListRequest;
use crate::utils::id::short;
use crate::utils::size;
use crate::utils::sys::zone;
use crate::utils::time::{Timestamp, human_duration};
use argh::{ArgsInfo, FromArgs};

/// list containers
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "ps")]
pub struct Ps {
    /// also those that do not run
    #[argh(switch, short = 'a')]
    all: bool,
    /// only those that match, KEY=VALUE
    #[argh(option, short = 'f', arg_name = "filter")]
    filter: Vec<String>,
    /// print each row with a Go template, `table TEMPLATE` or `json`
    #[argh(option, arg_name = "string")]
    format: Option<String>,
    /// the newest container, in any state
    #[argh(switch, short = 'l')]
    latest: bool,
    /// the newest N containers, in any state
    #[argh(option, short = 'n', arg_name = "int")]
    last: Option<i64>,
    /// do not shorten ids and commands
    #[argh(switch)]
    no_trunc: bool,
    /// print whole ids only
    #[argh(switch, short = 'q')]
    quiet: bool,
    /// show what they take on the disk
    #[argh(switch, short = 's')]
    size: bool,
}

/// Filters of the original, then those of docker.
pub const FILTERS: &[&str] = &[
    "id", "name", "label", "status", "ancestor", "before", "exited", "health", "is-task", "network", "publish",
    "expose", "since", "volume",
];

/// The table's heads.
const HEADS: [&str; 8] = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES", "SIZE"];

/// Fields of `--format` with their heads: the original's, then docker's.
#[rustfmt::skip]
const FIELDS: &[(&str, &str)] = &[
    ("ID", "CONTAINER ID"), ("Image", "IMAGE"), ("Command", "COMMAND"), ("Created", "CREATED"), ("Status", "STATUS"),
    ("Ports", "PORTS"), ("Names", "NAMES"), ("Pid", "PID"), ("ExitCode", "EXIT CODE"),
    ("RestartCount", "RESTART COUNT"), ("StartAt", "START AT"), ("FinishAt", "FINISH AT"), ("Runtime", "RUNTIME"),
    ("State", "STATE"), ("CreatedAt", "CREATED AT"), ("RunningFor", "CREATED"), ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"), ("Networks", "NETWORKS"), ("LocalVolumes", "LOCAL VOLUMES"), ("Size", "SIZE"),
];

/// In quotes; of a long one the first 17 letters.
pub fn command(c: &ContainerSummary) -> String {
    match c.command.chars().count() > 20 {
        true => format!("\"{}...\"", c.command.chars().take(17).collect::<String>()),
        false => format!("\"{}\"", c.command),
    }
}

impl Ps {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let limit = if self.latest { Some(1) } else { self.last.and_then(|n| u64::try_from(n).ok()) };
        let size = !self.quiet && (self.size || self.format.as_deref().is_some_and(|format| format.contains(".Size")));
        let request = ListRequest { all: self.all, limit, size, filters: filters(&self.filter, FILTERS)? };
        let mut rows = self.rows()?;
        let now = Timestamp::now();
        session.client()?.container_list(&request, |c| rows.add(&self, &c, now))?;
        output::print(&rows.screen()?)?;
        Ok(0)
    }

    fn rows(&self) -> Result<Rows, Failure> {
        Ok(match &self.format {
            _ if self.quiet => Rows::Ids(String::new()),
            format => match template::asked_rows(format.as_deref())? {
                Some(format) => Rows::Fields(format, Vec::new()),
                None => Rows::Cells(&HEADS[..if self.size { 8 } else { 7 }], Vec::new()),
            },
        })
    }

    fn id(&self, c: &ContainerSummary) -> String {
        if self.no_trunc { c.id.clone() } else { short(&c.id).to_owned() }
    }

    fn command(&self, c: &ContainerSummary) -> String {
        if self.no_trunc { format!("\"{}\"", c.command) } else { command(c) }
    }

    /// Volumes by name, others by their path on the host; of a long one the first 14 letters, as docker has it.
    fn mounts(&self, c: &ContainerSummary) -> String {
        let shown = c.mounts.iter().map(|m| {
            let name = if m.name.is_empty() { &m.source } else { &m.name };
            match self.no_trunc || name.chars().count() <= 15 {
                true => name.clone(),
                false => name.chars().take(14).chain(['…']).collect(),
            }
        });
        shown.collect::<Vec<_>>().join(",")
    }

    fn fields(&self, c: &ContainerSummary, now: Timestamp) -> Node {
        let labels: Vec<String> = c.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let x = &c.extra;
        let mut row = Node::texts(FIELDS.iter().map(|(field, _)| {
            let value = match *field {
                "ID" => self.id(c),
                "Image" => c.image.clone(),
                "Command" => self.command(c),
                "Created" | "RunningFor" => created(c, now),
                "Status" => c.status.clone(),
                "Ports" => ports(c),
                "Names" => names(c),
                "Pid" => x.pid.to_string(),
                "ExitCode" => x.exit_code.to_string(),
                "RestartCount" => x.restart_count.to_string(),
                "StartAt" => x.started_at.rfc3339_in(zone::utc_offset),
                "FinishAt" => x.finished_at.rfc3339_in(zone::utc_offset),
                "Runtime" => x.runtime.clone(),
                "State" => state_word(&c.state).to_owned(),
                "CreatedAt" => creation(c).rfc3339_in(zone::utc_offset),
                "Labels" => labels.join(","),
                "Mounts" => self.mounts(c),
                "Networks" => c.host_config.network_mode.clone(),
                "LocalVolumes" => c.mounts.iter().filter(|m| m.driver == DRIVER).count().to_string(),
                _ => size(c),
            };
            (*field, value)
        }));
        row.add_labels(&c.labels);
        row
    }
}

/// What is kept of the containers: what will be printed.
enum Rows {
    /// Whole ids, a line each.
    Ids(String),
    /// For `--format`.
    Fields(Format, Vec<Node>),
    /// For the table.
    Cells(&'static [&'static str], Vec<Vec<String>>),
}

impl Rows {
    fn add(&mut self, ps: &Ps, c: &ContainerSummary, now: Timestamp) {
        match self {
            Rows::Ids(text) => {
                text.push_str(&c.id);
                text.push('\n');
            }
            Rows::Fields(_, rows) => rows.push(ps.fields(c, now)),
            Rows::Cells(heads, rows) => {
                let cell = |head: &&str| match *head {
                    "CONTAINER ID" => ps.id(c),
                    "IMAGE" => c.image.clone(),
                    "COMMAND" => ps.command(c),
                    "CREATED" => created(c, now),
                    "STATUS" => c.status.clone(),
                    "PORTS" => ports(c),
                    "NAMES" => names(c),
                    _ => size(c),
                };
                rows.push(heads.iter().map(cell).collect());
            }
        }
    }

    fn screen(self) -> Result<String, Failure> {
        match self {
            Rows::Ids(text) => Ok(text),
            Rows::Fields(format, rows) => format.render_rows(FIELDS, &rows),
            Rows::Cells(heads, rows) => Ok(table::tabbed(heads, &rows)),
        }
    }
}

fn creation(c: &ContainerSummary) -> Timestamp {
    if c.extra.created_at.is_set() { c.extra.created_at } else { Timestamp::from_unix(c.created, 0) }
}

/// Of its own layer, and with the image.
fn size(c: &ContainerSummary) -> String {
    let text = |bytes: i64| size::decimal_with(u64::try_from(bytes).unwrap_or(0), 3);
    match (c.size_rw, c.size_root_fs) {
        (Some(own), Some(all)) => format!("{} (virtual {})", text(own), text(all)),
        _ => String::new(),
    }
}

/// How long ago it was made.
pub fn created(c: &ContainerSummary, now: Timestamp) -> String {
    format!("{} ago", human_duration(now.since(creation(c))))
}

/// Without the slashes.
pub fn names(c: &ContainerSummary) -> String {
    let names: Vec<&str> = c.names.iter().map(|n| n.strip_prefix('/').unwrap_or(n)).collect();
    names.join(",")
}

/// `ip:host->container/proto`, or `container/proto` for one that is not published.
fn ports(c: &ContainerSummary) -> String {
    let one = |port: &serde_json::Value| {
        let number = |key: &str| port.get(key).and_then(serde_json::Value::as_u64).unwrap_or(0);
        let text = |key: &str| port.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        let inside = format!("{}/{}", number("PrivatePort"), text("Type"));
        match number("PublicPort") {
            0 => inside,
            outside => format!("{}:{outside}->{inside}", text("IP")),
        }
    };
    c.ports.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::container::SummaryExtra;
    use crate::cmd::argv::parse;
    use crate::cmd::isula::{Command, DIALECT, Top};

    const NOW: i64 = 1_800_000_000;

    fn summary(id: &str, command: &str, status: &str, name: &str, age: i64) -> ContainerSummary {
        ContainerSummary {
            id: format!("{id:0<64}"),
            names: vec![format!("/{name}")],
            image: "busybox".into(),
            command: command.into(),
            created: NOW - age,
            state: "created".into(),
            status: status.into(),
            extra: SummaryExtra { pid: 7, exit_code: 137, ..SummaryExtra::default() },
            ..ContainerSummary::default()
        }
    }

    fn screen(line: &str, list: &[ContainerSummary]) -> Result<String, Failure> {
        let words = line.split(';').map(Into::into).collect();
        let Some(Command::Ps(ps)) = parse::<Top>("isula", words, DIALECT).unwrap().command else { panic!() };
        let mut rows = ps.rows()?;
        list.iter().for_each(|c| rows.add(&ps, c, Timestamp::from_unix(NOW, 0)));
        rows.screen()
    }

    #[test]
    fn the_table_is_that_of_the_original() {
        let head = "CONTAINER ID\tIMAGE\tCOMMAND\tCREATED\tSTATUS\tPORTS\tNAMES\n";
        assert_eq!(screen("ps", &[]).unwrap(), head);
        let list = [
            summary("c7ac14b0d6a6", "sh -c 'echo out; echo err >&2'", "Exited (0) 1 seconds ago", "log1", 1),
            summary("afd138e71216", "sh", "Exited (137) 1 seconds ago", "obs3", 8),
            summary("a4373022c922", "sh", "Exited (0) 8 seconds ago", "obs1", 8),
        ];
        let want = "\
CONTAINER ID\tIMAGE  \tCOMMAND               \tCREATED      \tSTATUS                    \tPORTS\tNAMES
c7ac14b0d6a6\tbusybox\t\"sh -c 'echo out; ...\"\t1 seconds ago\tExited (0) 1 seconds ago  \t     \tlog1 
afd138e71216\tbusybox\t\"sh\"                  \t8 seconds ago\tExited (137) 1 seconds ago\t     \tobs3 
a4373022c922\tbusybox\t\"sh\"                  \t8 seconds ago\tExited (0) 8 seconds ago  \t     \tobs1 
";
        assert_eq!(screen("ps;-a", &list).unwrap(), want);
        let whole = screen("ps;-a;--no-trunc", &list[..1]).unwrap();
        assert!(whole.contains(&format!("{:0<64}\t", "c7ac14b0d6a6")) && whole.contains("echo err >&2'\""), "{whole}");
        assert_eq!(screen("ps;-aq", &list[1..2]).unwrap(), format!("{:0<64}\n", "afd138e71216"));
    }

    #[cfg(feature = "templates")]
    #[test]
    fn formats() {
        let list = [summary("a4373022c922", "sh", "Created", "obs1", 8)];
        let print = |format: &str| screen(&format!("ps;--format;{format}"), &list);
        assert_eq!(print("{{.ID}} {{.Names}} {{.Status}}").unwrap(), "a4373022c922 obs1 Created\n");
        assert_eq!(print("{{.State}} {{.Pid}} {{.ExitCode}}").unwrap(), "inited 7 137\n");
        assert_eq!(print("table {{.Names}}\\t{{.Created}}").unwrap(), "NAMES     CREATED\nobs1      8 seconds ago\n");
        for (field, _) in FIELDS {
            print(&format!("{{{{.{field}}}}}")).unwrap();
        }
        assert!(print("{{.Nosuch}}").unwrap_err().text.starts_with("invalid format field"));
        let table = screen("ps", &list);
        assert_eq!((screen("ps;--format;table", &list), screen("ps;--format;", &list)), (table.clone(), table));
        assert!(print("json").unwrap().starts_with("{\"ID\":\"a4373022c922\",\"Image\":\"busybox\""));
    }

    #[test]
    fn published_ports() {
        let mut c = summary("a", "sh", "Up", "x", 1);
        c.ports = vec![
            serde_json::json!({"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}),
            serde_json::json!({"PrivatePort": 53, "Type": "udp"}),
        ];
        assert_eq!(ports(&c), "0.0.0.0:8080->80/tcp, 53/udp");
    }
}
