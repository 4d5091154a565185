//! `images import load rmi tag`.

use super::failure::Failure;
use super::ordered::Node;
use super::template::{self, Format};
use super::{Session, filters, for_each, output, table};
use crate::api::image::ImageSummary;
use crate::client::{ImageListRequest, ImportRequest};
use crate::utils::id::short;
use crate::utils::read_once::ReadOnce;
use crate::utils::sys::zone;
use crate::utils::time::{Civil, Timestamp, human_duration};
use argh::{ArgsInfo, FromArgs};
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

/// list images
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "images")]
pub struct Images {
    /// also those that others were made from, of which there are none
    #[argh(switch, short = 'a')]
    #[allow(dead_code)] // read by nobody, see above
    all: bool,
    /// show digests
    #[argh(switch)]
    digests: bool,
    /// only those that match: dangling, label, before, since, reference
    #[argh(option, short = 'f', arg_name = "filter")]
    filter: Vec<String>,
    /// print each row with a Go template, `table TEMPLATE` or `json`
    #[argh(option, arg_name = "string")]
    format: Option<String>,
    /// do not shorten ids
    #[argh(switch)]
    no_trunc: bool,
    /// print ids only
    #[argh(switch, short = 'q')]
    quiet: bool,
    #[argh(positional, arg_name = "REPOSITORY[:TAG]")]
    reference: Option<String>,
}

const FILTERS: &[&str] = &["dangling", "label", "before", "since", "reference"];

/// Fields of `--format` with their heads.
#[rustfmt::skip]
const FIELDS: &[(&str, &str)] = &[
    ("Repository", "REPOSITORY"), ("Tag", "TAG"), ("ID", "IMAGE ID"), ("CreatedAt", "CREATED AT"),
    ("CreatedSince", "CREATED"), ("Size", "SIZE"), ("Digest", "DIGEST"), ("Containers", "CONTAINERS"),
    ("SharedSize", "SHARED SIZE"), ("UniqueSize", "UNIQUE SIZE"),
];

const NONE: &str = "<none>";

impl Images {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let mut request = ImageListRequest { filters: filters(&self.filter, FILTERS)? };
        if let Some(reference) = &self.reference {
            request.filters.entry("reference".into()).or_default().push(reference.clone());
        }
        let format = template::asked_rows(self.format.as_deref())?;
        let list = session.client()?.image_list(&request)?;
        output::print(&self.screen(&list, format, zone::utc_offset)?)?;
        Ok(0)
    }

    fn screen(&self, list: &[ImageSummary], format: Option<Format>, offset: fn(i64) -> i64) -> Result<String, Failure> {
        let mut rows: Vec<[String; 6]> = Vec::new();
        let mut nodes: Vec<Node> = Vec::new();
        for image in list {
            let bare = image.id.strip_prefix("sha256:").unwrap_or(&image.id);
            let id = if self.no_trunc { &image.id } else { short(bare) };
            let created = local_time(image.created, offset);
            let none = [format!("{NONE}:{NONE}")];
            let tags = if image.repo_tags.is_empty() { &none[..] } else { &image.repo_tags };
            for tag in tags {
                let (repository, tag) = split_tag(tag);
                let digest = digest(image, repository);
                let row = [repository, tag, digest, id, &created, &size(image.size)].map(str::to_owned);
                if format.is_some() {
                    nodes.push(fields(image, &row));
                }
                rows.push(row);
            }
        }
        if self.quiet {
            return Ok(rows.iter().map(|[_, _, _, id, ..]| format!("{id}\n")).collect());
        }
        match format {
            Some(format) => format.render_rows(FIELDS, &nodes),
            None => {
                if self.digests {
                    let head = ["REPOSITORY", "TAG", "DIGEST", "IMAGE ID", "CREATED", "SIZE"];
                    return Ok(table::spaced([30, 10, 10, 20, 20, 10], head, &rows, true));
                }
                let less = |[repository, tag, _, id, created, size]: [String; 6]| [repository, tag, id, created, size];
                let rows: Vec<[String; 5]> = rows.into_iter().map(less).collect();
                let head = ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"];
                Ok(table::spaced([30, 10, 20, 20, 10], head, &rows, true))
            }
        }
    }
}

/// The digest that an image has under a repository's name.
fn digest<'a>(image: &'a ImageSummary, repository: &str) -> &'a str {
    let mut digests = image.repo_digests.iter().filter_map(|d| d.split_once('@'));
    digests.find(|(name, _)| *name == repository || repository == NONE).map_or(NONE, |(_, digest)| digest)
}

fn fields(image: &ImageSummary, [repository, tag, digest, id, created, size]: &[String; 6]) -> Node {
    let age = Timestamp::now().since(Timestamp::from_unix(image.created, 0));
    Node::texts([
        ("Repository", repository.clone()),
        ("Tag", tag.clone()),
        ("ID", id.clone()),
        ("CreatedAt", created.clone()),
        ("CreatedSince", format!("{} ago", human_duration(age))),
        ("Size", size.clone()),
        ("Digest", digest.clone()),
        // docker counts these for `system df` only.
        ("Containers", "N/A".into()),
        ("SharedSize", "N/A".into()),
        ("UniqueSize", "N/A".into()),
    ])
}

/// `name` and `tag` of `name:tag`; a colon before a slash belongs to a port.
fn split_tag(reference: &str) -> (&str, &str) {
    match reference.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (reference, NONE),
    }
}

/// `2024-01-01 00:00:00` in the local zone.
fn local_time(seconds: i64, offset: fn(i64) -> i64) -> String {
    let c = Civil::from_unix(seconds + offset(seconds));
    format!("{:04}-{:02}-{:02} {:02}:{:02}:{:02}", c.year, c.month, c.day, c.hour, c.minute, c.second)
}

/// `1.891MB`, in powers of 1024.
fn size(bytes: i64) -> String {
    let mut value = bytes.max(0) as f64;
    let mut unit = "B";
    for larger in ["KB", "MB", "GB", "TB"] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    format!("{value:.3}{unit}")
}

/// make an image from a tar archive of a root file system
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "import")]
pub struct Import {
    /// apply a Dockerfile instruction
    #[argh(option, short = 'c', arg_name = "list")]
    change: Vec<String>,
    /// message for the history
    #[argh(option, short = 'm', arg_name = "string")]
    message: Option<String>,
    #[argh(positional, arg_name = "FILE|-")]
    file: String,
    #[argh(positional, arg_name = "REPOSITORY[:TAG]")]
    name: String,
}

/// An archive to send; `-` is standard input.
fn source(path: &str) -> Result<Box<dyn Read>, Failure> {
    if path == "-" {
        return Ok(Box::new(std::io::stdin()));
    }
    let unusable = |why: &dyn std::fmt::Display| Failure::local(format!("cannot open {path:?}: {why}"));
    let file = File::open(path).map_err(|e| unusable(&e))?;
    if file.metadata().is_ok_and(|m| m.is_dir()) {
        return Err(unusable(&"is a directory"));
    }
    Ok(Box::new(ReadOnce::new(file)))
}

/// load images from an archive of save or an OCI image layout, or one from the manifest of an embedded image
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "load")]
pub struct Load {
    /// the archive, plain or compressed, or the manifest; standard input by default
    #[argh(option, short = 'i', arg_name = "file")]
    input: Option<String>,
    /// name for the image, when the archive holds one only
    #[argh(option, arg_name = "string")]
    tag: Option<String>,
    /// what it is: docker, an archive, by default, or embedded, a manifest whose layers stay where they are
    #[argh(option, short = 't', long = "type", arg_name = "string")]
    kind: Option<String>,
    /// print nothing
    #[argh(switch, short = 'q')]
    quiet: bool,
}

impl Load {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let embedded = match self.kind.as_deref() {
            None | Some("docker") => false,
            Some("embedded") => true,
            Some(other) => {
                return Err(Failure::usage(format!("invalid image type {other:?}: want docker or embedded")));
            }
        };
        let path = self.input.as_deref().unwrap_or("-");
        if path == "-" && crate::utils::sys::terminal::is_terminal(std::io::stdin().as_fd()) {
            let what = if embedded { "a manifest" } else { "an archive" };
            let text = format!("{what} is needed: give --input, or standard input that is no terminal");
            return Err(Failure::usage(text));
        }
        let (tag, input) = (self.tag.as_deref(), path != "-");
        let path = if input { std::path::absolute(path).unwrap_or_else(|_| path.into()) } else { path.into() };
        let name = path.to_str().ok_or_else(|| Failure::local(format!("{path:?} is not UTF-8")))?;
        match embedded {
            // The daemon reads it: what it names is beside it, on the daemon's machine.
            true if input => session.client()?.image_load_embedded(tag, Some(name), &mut std::io::empty())?,
            true => session.client()?.image_load_embedded(tag, None, &mut *source("-")?)?,
            false => {
                let mut source = source(name)?;
                session.client()?.image_load(tag, &mut *source)?
            }
        };
        if !self.quiet {
            output::print(&format!("Load image from \"{name}\" success\n"))?;
        }
        Ok(0)
    }
}

impl Import {
    /// Runs the verb: prints the id.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        if self.name.is_empty() {
            return Err(Failure::usage("Invalid image name: it is empty"));
        }
        let mut source = source(&self.file)?;
        let (repo, tag) = match split_tag(&self.name) {
            (repo, NONE) => (repo, ""),
            parts => parts,
        };
        let request = ImportRequest {
            repo: repo.to_owned(),
            tag: tag.to_owned(),
            message: self.message.unwrap_or_default(),
            changes: self.change,
        };
        let id = session.client()?.image_import(&request, &mut *source)?;
        output::print(&format!("{id}\n"))?;
        Ok(0)
    }
}

/// remove images
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "rmi")]
pub struct Rmi {
    /// also when the image has several names
    #[argh(switch, short = 'f')]
    force: bool,
    /// keep those that it was made from, of which there are none
    #[argh(switch)]
    #[allow(dead_code)] // read by nobody, see above
    no_prune: bool,
    #[argh(positional, arg_name = "IMAGE...")]
    images: Vec<String>,
}

impl Rmi {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = session.client()?;
        for_each(&self.images, |name| {
            client.image_remove(name, self.force)?;
            Ok(Some(format!("Image \"{name}\" removed")))
        })
    }
}

/// give an image a further name
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "tag")]
pub struct Tag {
    #[argh(positional, arg_name = "SOURCE[:TAG]")]
    source: String,
    #[argh(positional, arg_name = "TARGET[:TAG]")]
    target: String,
}

impl Tag {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let (repo, tag) = match split_tag(&self.target) {
            (repo, NONE) => (repo, "latest"),
            parts => parts,
        };
        session.client()?.image_tag(&self.source, repo, tag)?;
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(id: &str, tags: &[&str]) -> ImageSummary {
        ImageSummary {
            id: format!("sha256:{id:0<64}"),
            repo_tags: tags.iter().map(|t| (*t).to_owned()).collect(),
            created: 1_704_067_200,
            size: 1_983_150,
            ..ImageSummary::default()
        }
    }

    fn screen(images: &Images, list: &[ImageSummary]) -> String {
        let format = images.format.as_deref().map(|f| Format::parse(f, template::JsonStyle::Compact).unwrap());
        images.screen(list, format, |_| 0).unwrap()
    }

    fn flags() -> Images {
        Images {
            all: false,
            digests: false,
            filter: vec![],
            format: None,
            no_trunc: false,
            quiet: false,
            reference: None,
        }
    }

    #[test]
    fn the_table_is_that_of_the_original() {
        let want = "\
REPOSITORY                     TAG        IMAGE ID             CREATED              SIZE       
bb                             two        7803e7bbd995         2024-01-01 00:00:00  1.891MB    
busybox                        latest     7803e7bbd995         2024-01-01 00:00:00  1.891MB    
<none>                         <none>     1234567890ab         2024-01-01 00:00:00  1.891MB    
";
        let list = [image("7803e7bbd995", &["bb:two", "busybox:latest"]), image("1234567890ab", &[])];
        assert_eq!(screen(&flags(), &list), want);
        assert_eq!(screen(&Images { quiet: true, ..flags() }, &list[1..]), "1234567890ab\n");
        if cfg!(feature = "templates") {
            let format = Some("{{.Repository}}:{{.Tag}} {{.Size}} {{.Digest}}".to_owned());
            assert_eq!(screen(&Images { format, ..flags() }, &list[1..]), "<none>:<none> 1.891MB <none>\n");
        }
        let digests = vec!["other@sha256:1".into(), "busybox@sha256:2".into()];
        let list = [ImageSummary { repo_digests: digests, ..list[0].clone() }];
        let want = "\
REPOSITORY                     TAG        DIGEST     IMAGE ID             CREATED              SIZE       
bb                             two        <none>     7803e7bbd995         2024-01-01 00:00:00  1.891MB    
busybox                        latest     sha256:2   7803e7bbd995         2024-01-01 00:00:00  1.891MB    
";
        assert_eq!(screen(&Images { digests: true, ..flags() }, &list), want);
    }

    #[test]
    fn names_sizes_and_times() {
        assert_eq!(split_tag("localhost:5000/a/b"), ("localhost:5000/a/b", NONE));
        assert_eq!(split_tag("localhost:5000/a:1"), ("localhost:5000/a", "1"));
        assert_eq!((size(0).as_str(), size(1024).as_str(), size(3 << 30).as_str()), ("0.000B", "1.000KB", "3.000GB"));
        assert_eq!(local_time(0, |_| 3600), "1970-01-01 01:00:00");
    }
}
