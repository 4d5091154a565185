//! `volume create`, `inspect`, `ls`, `prune`, `rm`.

use super::create::pairs;
use super::failure::{FAILED, Failure};
use super::ordered::Node;
use super::template::{self, JsonStyle};
use super::{Session, filters, for_each, output};
use crate::api::volume::{self, VolumeRequest};
use crate::utils::json;
use argh::{ArgsInfo, FromArgs};

/// look after volumes
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "volume")]
pub struct Volume {
    #[argh(subcommand)]
    command: VolumeCommand,
}

#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand)]
enum VolumeCommand {
    Create(Create),
    Inspect(Inspect),
    Ls(Ls),
    Prune(Prune),
    Rm(Rm),
}

/// make a volume
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "create")]
pub struct Create {
    /// driver of the volume; local, which is the only one, by default
    #[argh(option, short = 'd', arg_name = "string")]
    driver: Option<String>,
    /// free text, KEY=VALUE
    #[argh(option, arg_name = "list")]
    label: Vec<String>,
    /// option of the driver, KEY=VALUE
    #[argh(option, short = 'o', arg_name = "list")]
    opt: Vec<String>,
    /// name of the volume, in place of the word
    #[argh(option, long = "name", arg_name = "string")]
    other_name: Option<String>,
    #[argh(positional, arg_name = "VOLUME")]
    name: Option<String>,
}

/// print what is known about volumes
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "inspect")]
pub struct Inspect {
    /// print with a Go template
    #[argh(option, short = 'f', arg_name = "string")]
    format: Option<String>,
    #[argh(positional, arg_name = "VOLUME...")]
    names: Vec<String>,
}

/// list volumes
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "ls")]
pub struct Ls {
    /// only those that match: name, label, dangling, driver
    #[argh(option, short = 'f', arg_name = "filter")]
    filter: Vec<String>,
    /// print names only
    #[argh(switch, short = 'q')]
    quiet: bool,
    /// print with a Go template
    #[argh(option, arg_name = "string")]
    format: Option<String>,
}

/// remove the volumes that no container has
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "prune")]
pub struct Prune {
    /// also those that have names, which is so without it as well
    #[argh(switch, short = 'a')]
    #[allow(dead_code)] // read by nobody, see above
    all: bool,
    /// only those that match: label, label!
    #[argh(option, arg_name = "filter")]
    filter: Vec<String>,
    /// do not ask
    #[argh(switch, short = 'f')]
    force: bool,
}

/// remove volumes
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "rm")]
pub struct Rm {
    /// no error for one that is not there
    #[argh(switch, short = 'f')]
    force: bool,
    #[argh(positional, arg_name = "VOLUME...")]
    names: Vec<String>,
}

impl Volume {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        match self.command {
            VolumeCommand::Create(verb) => verb.run(session),
            VolumeCommand::Inspect(verb) => verb.run(session),
            VolumeCommand::Ls(verb) => verb.run(session),
            VolumeCommand::Prune(verb) => verb.run(session),
            VolumeCommand::Rm(verb) => verb.run(session),
        }
    }
}

impl Create {
    fn run(self, session: &Session) -> Result<u8, Failure> {
        if self.name.is_some() && self.other_name.is_some() {
            return Err(Failure::usage("conflicting options: give the name once, as a word or with --name"));
        }
        let request = VolumeRequest {
            name: self.name.or(self.other_name).unwrap_or_default(),
            driver: self.driver.unwrap_or_default(),
            driver_opts: pairs("option", &self.opt)?,
            labels: super::create::labels(&[], &self.label)?,
        };
        let volume = session.client()?.volume_create(&request)?;
        output::print(&format!("{}\n", volume.name))?;
        Ok(0)
    }
}

impl Inspect {
    fn run(self, session: &Session) -> Result<u8, Failure> {
        let format = template::asked(self.format.as_deref(), JsonStyle::Pretty)?;
        let client = session.client()?;
        let (mut found, mut code) = (Vec::new(), 0);
        for name in &self.names {
            let volume: Node = match client.volume_inspect_json(name).and_then(|bytes| json::parse(&bytes)) {
                Ok(volume) => volume,
                Err(e) => {
                    output::complain(&Failure::daemon(&e).text);
                    code = FAILED;
                    continue;
                }
            };
            match format.as_ref().map(|format| format.render(&volume)) {
                Some(Ok(text)) => output::print(&format!("{text}\n"))?,
                Some(Err(failure)) => {
                    output::complain(&failure.text);
                    code = FAILED;
                }
                None => found.push(volume),
            }
        }
        if format.is_none() && (!found.is_empty() || code == 0) {
            let mut screen = json::to_pretty(&json::to_vec(&Node::List(found)));
            screen.push(b'\n');
            output::print_bytes(&screen)?;
        }
        Ok(code)
    }
}

/// Fields of `ls --format` with their heads, which are docker's.
#[rustfmt::skip]
const FIELDS: &[(&str, &str)] = &[
    ("Driver", "DRIVER"), ("Name", "VOLUME NAME"), ("Scope", "SCOPE"), ("Mountpoint", "MOUNTPOINT"),
    ("Labels", "LABELS"), ("Links", "LINKS"), ("Size", "SIZE"), ("Availability", "AVAILABILITY"), ("Group", "GROUP"),
    ("Status", "STATUS"),
];

fn fields(volume: &volume::Volume) -> Node {
    let labels: Vec<String> = volume.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let values = [&volume.driver, &volume.name, &volume.scope, &volume.mountpoint, &labels.join(",")];
    // docker counts uses and bytes for `system df` only, and has the others for volumes of a cluster.
    let values = values.into_iter().cloned().chain(std::iter::repeat("N/A".to_owned()));
    let mut row = Node::texts(FIELDS.iter().zip(values).map(|((field, _), value)| (*field, value)));
    row.add_labels(&volume.labels);
    row
}

impl Ls {
    fn run(self, session: &Session) -> Result<u8, Failure> {
        let filters = filters(&self.filter, &["name", "label", "dangling", "driver"])?;
        let format = if self.quiet { None } else { template::asked_rows(self.format.as_deref())? };
        let list = session.client()?.volume_list(&filters)?;
        if let Some(format) = format {
            let rows: Vec<Node> = list.volumes.iter().map(fields).collect();
            output::print(&format.render_rows(FIELDS, &rows)?)?;
            return Ok(0);
        }
        let mut screen = String::new();
        if !self.quiet {
            screen.push_str("DRIVER  VOLUME NAME\n");
        }
        for volume in &list.volumes {
            match self.quiet {
                true => screen.push_str(&format!("{}\n", volume.name)),
                false => screen.push_str(&format!("{:<7} {}\n", volume.driver, volume.name)),
            }
        }
        output::print(&screen)?;
        Ok(0)
    }
}

impl Prune {
    fn run(self, session: &Session) -> Result<u8, Failure> {
        let mut filters = filters(&self.filter, &["label", "label!"])?;
        // The original's removes all that nobody uses.
        filters.insert("all".into(), vec!["true".into()]);
        let warning = "WARNING! This will remove all local volumes not used by at least one container.";
        if !self.force && !output::confirm(warning)? {
            return Ok(0);
        }
        let answer = session.client()?.volume_prune(&filters)?;
        output::print(&answer.volumes_deleted.iter().map(|name| format!("{name}\n")).collect::<String>())?;
        Ok(0)
    }
}

impl Rm {
    fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = session.client()?;
        for_each(&self.names, |name| {
            client.volume_remove(name, self.force)?;
            Ok(Some(name.to_owned()))
        })
    }
}
