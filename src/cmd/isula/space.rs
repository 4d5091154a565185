//! What takes room on the disk: `system df`, `system prune`, `container prune`, `image prune`.

use super::failure::Failure;
use super::ordered::Node;
use super::template;
use super::{Session, filters, output, ps, table};
use crate::api::image::ImageSummary;
use crate::api::system::DiskUsage;
use crate::client::Filters;
use crate::utils::id::short;
use crate::utils::size;
use crate::utils::time::{Timestamp, human_duration};
use argh::{ArgsInfo, FromArgs};

/// prune, or a command for containers as docker spells it: container ls, container rm, ...
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "container")]
pub struct Container {
    #[argh(subcommand)]
    command: ContainerCommand,
}

#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand)]
enum ContainerCommand {
    Prune(PruneContainers),
}

/// remove the containers that do not run
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "prune")]
struct PruneContainers {
    /// only those that match: until, label, label!
    #[argh(option, arg_name = "filter")]
    filter: Vec<String>,
    /// do not ask
    #[argh(switch, short = 'f')]
    force: bool,
}

/// prune, or a command for images as docker spells it: image ls, image rm, ...
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "image")]
pub struct Image {
    #[argh(subcommand)]
    command: ImageCommand,
}

#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand)]
enum ImageCommand {
    Prune(PruneImages),
}

/// remove the images that have no name, and those that no container has with --all
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "prune")]
struct PruneImages {
    /// also those that have names
    #[argh(switch, short = 'a')]
    all: bool,
    /// only those that match: until, label, label!
    #[argh(option, arg_name = "filter")]
    filter: Vec<String>,
    /// do not ask
    #[argh(switch, short = 'f')]
    force: bool,
}

/// look after the daemon's disk
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "system")]
pub struct System {
    #[argh(subcommand)]
    command: SystemCommand,
}

#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand)]
enum SystemCommand {
    Df(Df),
    Prune(Prune),
}

/// show what images, containers and volumes take on the disk
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "df")]
struct Df {
    /// print each row with a Go template, `table TEMPLATE` or `json`
    #[argh(option, arg_name = "string")]
    format: Option<String>,
    /// show each image, container and volume
    #[argh(switch, short = 'v')]
    verbose: bool,
}

/// remove the containers that do not run and the images that have no name
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "prune")]
struct Prune {
    /// all images that no container has
    #[argh(switch, short = 'a')]
    all: bool,
    /// only what matches: until, label, label!
    #[argh(option, arg_name = "filter")]
    filter: Vec<String>,
    /// do not ask
    #[argh(switch, short = 'f')]
    force: bool,
    /// also the volumes without a name that no container has
    #[argh(switch)]
    volumes: bool,
}

/// Keys of `--filter`.
const FILTERS: &[&str] = &["until", "label", "label!"];

impl Container {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let ContainerCommand::Prune(flags) = self.command;
        let filters = filters(&flags.filter, FILTERS)?;
        if !flags.force && !output::confirm("WARNING! This will remove all stopped containers.")? {
            return Ok(0);
        }
        let mut gone = Gone::default();
        gone.containers(session, &filters)?;
        gone.tell()
    }
}

impl Image {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let ImageCommand::Prune(flags) = self.command;
        let filters = filters(&flags.filter, FILTERS)?;
        if !flags.force && !output::confirm(&format!("WARNING! This will remove {}.", which_images(flags.all)))? {
            return Ok(0);
        }
        let mut gone = Gone::default();
        gone.images(session, filters, flags.all)?;
        gone.tell()
    }
}

fn which_images(all: bool) -> &'static str {
    if all { "all images without at least one container associated to them" } else { "all dangling images" }
}

impl System {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        match self.command {
            SystemCommand::Df(verb) => verb.run(session),
            SystemCommand::Prune(verb) => verb.run(session),
        }
    }
}

/// What was removed, as docker tells it.
#[derive(Default)]
struct Gone {
    screen: String,
    bytes: u64,
}

impl Gone {
    fn list(&mut self, head: &str, lines: impl IntoIterator<Item = String>) {
        let lines: String = lines.into_iter().map(|line| line + "\n").collect();
        if !lines.is_empty() {
            self.screen.push_str(&format!("Deleted {head}:\n{lines}\n"));
        }
    }

    fn containers(&mut self, session: &Session, filters: &Filters) -> Result<(), Failure> {
        let answer = session.client()?.container_prune(filters)?;
        self.list("Containers", answer.containers_deleted.unwrap_or_default());
        self.bytes += answer.space_reclaimed;
        Ok(())
    }

    fn volumes(&mut self, session: &Session, filters: &Filters) -> Result<(), Failure> {
        let answer = session.client()?.volume_prune(filters)?;
        self.list("Volumes", answer.volumes_deleted);
        self.bytes += answer.space_reclaimed;
        Ok(())
    }

    fn images(&mut self, session: &Session, mut filters: Filters, all: bool) -> Result<(), Failure> {
        filters.insert("dangling".into(), vec![(!all).to_string()]);
        let answer = session.client()?.image_prune(&filters)?;
        let lines = answer.images_deleted.iter().flatten().flat_map(|entry| {
            let lines = [("untagged", &entry.untagged), ("deleted", &entry.deleted)];
            lines.into_iter().filter_map(|(what, name)| Some(format!("{what}: {}", name.as_ref()?)))
        });
        self.list("Images", lines);
        self.bytes += answer.space_reclaimed;
        Ok(())
    }

    fn tell(self) -> Result<u8, Failure> {
        output::print(&format!("{}Total reclaimed space: {}\n", self.screen, size::decimal(self.bytes)))?;
        Ok(0)
    }
}

impl Prune {
    fn run(self, session: &Session) -> Result<u8, Failure> {
        let filters = filters(&self.filter, FILTERS)?;
        if self.volumes && filters.contains_key("until") {
            return Err(Failure::usage("ERROR: The \"until\" filter is not supported with \"--volumes\""));
        }
        let mut what = vec!["all stopped containers"];
        if self.volumes {
            what.push("all anonymous volumes not used by at least one container");
        }
        what.push(which_images(self.all));
        let mut warning = String::from("WARNING! This will remove:\n");
        what.iter().for_each(|what| warning.push_str(&format!("  - {what}\n")));
        if !self.filter.is_empty() {
            warning.push_str("\n  Items to be pruned will be filtered with:\n");
            self.filter.iter().for_each(|filter| warning.push_str(&format!("  - {filter}\n")));
        }
        if !self.force && !output::confirm(&warning)? {
            return Ok(0);
        }
        let mut gone = Gone::default();
        let done = gone.containers(session, &filters);
        let done = done.and_then(|()| if self.volumes { gone.volumes(session, &filters) } else { Ok(()) });
        let done = done.and_then(|()| gone.images(session, filters, self.all));
        // What is gone is told, whatever became of the rest.
        gone.tell().and_then(|code| done.map(|()| code))
    }
}

/// A kind of things on the disk.
struct Row {
    kind: &'static str,
    total: usize,
    active: usize,
    size: i64,
    reclaimable: i64,
}

/// Fields of `--format` with their heads.
#[rustfmt::skip]
const FIELDS: &[(&str, &str)] = &[
    ("Type", "TYPE"), ("TotalCount", "TOTAL"), ("Active", "ACTIVE"), ("Size", "SIZE"), ("Reclaimable", "RECLAIMABLE"),
];

impl Row {
    fn cells(&self) -> [String; 5] {
        let share = match self.size {
            0 => String::new(),
            size => format!(" ({}%)", self.reclaimable * 100 / size),
        };
        [
            self.kind.to_owned(),
            self.total.to_string(),
            self.active.to_string(),
            decimal(self.size),
            format!("{}{share}", decimal(self.reclaimable)),
        ]
    }
}

fn decimal(bytes: i64) -> String {
    size::decimal(u64::try_from(bytes).unwrap_or(0))
}

fn rows(usage: &DiskUsage) -> [Row; 3] {
    let images = usage.images.as_deref().unwrap_or_default();
    let layers = usage.layers_size.unwrap_or(0);
    // What only images have that a container has.
    let used: i64 = images.iter().filter(|i| i.containers > 0).map(|i| i.size - i.shared_size).sum();
    let containers = usage.containers.as_deref().unwrap_or_default();
    let is_active = |state: &str| matches!(state, "running" | "paused" | "restarting");
    let bytes = |active: bool| {
        let some = containers.iter().filter(|c| !active || !is_active(&c.state));
        some.filter_map(|c| c.size_rw).sum()
    };
    let volumes = usage.volumes.as_deref().unwrap_or_default();
    let uses = |unused: bool| {
        let all = volumes.iter().filter_map(|v| v.usage_data.as_ref());
        all.filter(|data| !unused || data.ref_count == 0).map(|data| data.size).sum()
    };
    [
        Row {
            kind: "Images",
            total: images.len(),
            active: images.iter().filter(|i| i.containers > 0).count(),
            size: layers,
            reclaimable: (layers - used).max(0),
        },
        Row {
            kind: "Containers",
            total: containers.len(),
            active: containers.iter().filter(|c| is_active(&c.state)).count(),
            size: bytes(false),
            reclaimable: bytes(true),
        },
        Row {
            kind: "Local Volumes",
            total: volumes.len(),
            active: volumes.iter().filter(|v| v.usage_data.as_ref().is_some_and(|d| d.ref_count > 0)).count(),
            size: uses(false),
            reclaimable: uses(true),
        },
    ]
}

impl Df {
    fn run(self, session: &Session) -> Result<u8, Failure> {
        let format = template::asked_rows(self.format.as_deref())?;
        if self.verbose && format.is_some() {
            return Err(Failure::usage("the format and verbose options conflict"));
        }
        let usage = session.client()?.disk_usage()?;
        let screen = match format {
            Some(format) => {
                let all = rows(&usage);
                let nodes: Vec<Node> =
                    all.iter().map(|row| Node::texts(FIELDS.iter().map(|f| f.0).zip(row.cells()))).collect();
                format.render_rows(FIELDS, &nodes)?
            }
            None if self.verbose => details(&usage, Timestamp::now()),
            None => {
                let heads: Vec<&str> = FIELDS.iter().map(|field| field.1).collect();
                let lines = rows(&usage).map(|row| row.cells().join("\t"));
                table::tabulate(&[&[heads.join("\t")], &lines[..]].concat())
            }
        };
        output::print(&screen)?;
        Ok(0)
    }
}

fn details(usage: &DiskUsage, now: Timestamp) -> String {
    let three = |bytes: i64| size::decimal_with(u64::try_from(bytes).unwrap_or(0), 3);
    let images = usage.images.iter().flatten().map(|image| {
        let (repository, tag) = name_of(image);
        let age = human_duration(now.since(Timestamp::from_unix(image.created, 0)));
        let id = short(image.id.strip_prefix("sha256:").unwrap_or(&image.id));
        let sizes = [image.size, image.shared_size, image.size - image.shared_size].map(three);
        format!("{repository}\t{tag}\t{id}\t{age} ago\t{}\t{}", sizes.join("\t"), image.containers)
    });
    let containers = usage.containers.iter().flatten().map(|c| {
        let (command, size) = (ps::command(c), three(c.size_rw.unwrap_or(0)));
        let (id, volumes) = (short(&c.id), c.mounts.len());
        let (created, names) = (ps::created(c, now), ps::names(c));
        format!("{id}\t{}\t{command}\t{volumes}\t{size}\t{created}\t{}\t{names}", c.image, c.status)
    });
    let volumes = usage.volumes.iter().flatten().map(|volume| {
        let data = volume.usage_data.clone().unwrap_or_default();
        format!("{}\t{}\t{}", volume.name, data.ref_count, three(data.size))
    });
    let mut screen = String::new();
    let mut section = |title: &str, heads: &str, rows: &mut dyn Iterator<Item = String>| {
        let lines: Vec<String> = std::iter::once(heads.to_owned()).chain(rows).collect();
        screen.push_str(&format!("{title} space usage:\n\n{}\n", table::tabulate(&lines)));
    };
    let heads = "REPOSITORY\tTAG\tIMAGE ID\tCREATED\tSIZE\tSHARED SIZE\tUNIQUE SIZE\tCONTAINERS";
    section("Images", heads, &mut { images });
    let heads = "CONTAINER ID\tIMAGE\tCOMMAND\tLOCAL VOLUMES\tSIZE\tCREATED\tSTATUS\tNAMES";
    section("Containers", heads, &mut { containers });
    section("Local Volumes", "VOLUME NAME\tLINKS\tSIZE", &mut { volumes });
    screen
}

fn name_of(image: &ImageSummary) -> (&str, &str) {
    let name = image.repo_tags.first().and_then(|name| name.rsplit_once(':'));
    name.unwrap_or(("<none>", "<none>"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::container::ContainerSummary;
    use crate::api::volume::{UsageData, Volume};

    fn usage() -> DiskUsage {
        let image = |name: Option<&str>, size, shared_size, containers| ImageSummary {
            id: format!("sha256:{}", "7803e7bbd995".repeat(6)),
            repo_tags: name.into_iter().map(str::to_owned).collect(),
            created: 1_704_067_200,
            size,
            shared_size,
            containers,
            ..ImageSummary::default()
        };
        let container = |state: &str, size_rw| ContainerSummary {
            id: "c7ac14b0d6a6".repeat(6),
            names: vec!["/name".into()],
            image: "box".into(),
            command: "sh".into(),
            created: 1_704_067_200,
            state: state.into(),
            status: "Up".into(),
            size_rw,
            ..ContainerSummary::default()
        };
        let volume = |name: &str, size, ref_count| Volume {
            name: name.into(),
            usage_data: Some(UsageData { size, ref_count }),
            ..Volume::default()
        };
        DiskUsage {
            layers_size: Some(5_000_000),
            images: Some(vec![
                image(Some("box:latest"), 3_000_000, 1_000_000, 1),
                image(None, 3_000_000, 1_000_000, 0),
            ]),
            containers: Some(vec![container("running", Some(3000)), container("exited", Some(1000))]),
            volumes: Some(vec![volume("data", 10, 1), volume("old", 30, 0)]),
            build_cache: None,
        }
    }

    #[test]
    fn the_sums_are_dockers() {
        let cells = rows(&usage()).map(|row| row.cells().join(" "));
        assert_eq!(
            cells,
            ["Images 2 1 5MB 3MB (60%)", "Containers 2 1 4kB 1kB (25%)", "Local Volumes 2 1 40B 30B (75%)",]
        );
        let cells = rows(&DiskUsage::default()).map(|row| row.cells().join(" "));
        assert_eq!(cells[0], "Images 0 0 0B 0B");
    }

    #[test]
    fn details_of_each() {
        let screen = details(&usage(), Timestamp::from_unix(1_704_067_200 + 7200, 0));
        for line in [
            "box          latest    7803e7bbd995   2 hours ago   3MB       1MB           2MB           1",
            "<none>       <none>    7803e7bbd995   2 hours ago   3MB       1MB           2MB           0",
            "c7ac14b0d6a6   box       \"sh\"      0               3kB       2 hours ago   Up        name",
            "data          1         10B",
        ] {
            assert!(screen.lines().any(|l| l == line), "{line}\n{screen}");
        }
    }
}
