//! Images.

#[cfg(feature = "image-tools")]
mod history;
#[cfg(feature = "image-tools")]
mod prune;
#[cfg(feature = "image-tools")]
mod save;

use super::Daemon;
use super::container::Filters;
use super::restore::image_came;
use crate::api::container::GraphDriver;
use crate::api::image::{DeleteEntry, ImageInspect, ImageSummary, InspectRootFs, OriginalInspect};
use crate::error::{Context, Error, Result};
use crate::modules::image::driver::Driver;
use crate::modules::image::embedded;
use crate::modules::image::load::Loaded;
use crate::modules::image::store::{Image, Import};
use crate::utils::time::Timestamp;
use std::io::Read;
use std::sync::Arc;

#[cfg(feature = "image-tools")]
pub use history::history;
#[cfg(feature = "image-tools")]
pub use prune::{prune, usage};
#[cfg(feature = "image-tools")]
pub use save::save;

/// Lists images, newest first. Filters: `reference`, `dangling`, `label`, `before`, `since`, `until`.
pub fn list(daemon: &Daemon, filters: &Filters) -> Result<Vec<ImageSummary>> {
    let wanted = Wanted::parse(daemon, filters)?;
    let images = daemon.images.list();
    let images = images.iter().filter(|image| wanted.holds(image));
    Ok(images
        .map(|image| {
            let mut summary = summary(image);
            // Of an image with several names those that were not asked for are left out, as docker does.
            summary.repo_tags.retain(|name| wanted.names(name));
            summary.repo_digests.retain(|name| wanted.names(name));
            summary
        })
        .collect())
}

fn summary(image: &Image) -> ImageSummary {
    let config = image.config.config.as_ref();
    ImageSummary {
        id: format!("sha256:{}", image.id),
        parent_id: String::new(),
        repo_tags: image.display_names(),
        repo_digests: image.display_digests(),
        created: image.created.unix_seconds().max(0),
        size: i64::try_from(image.size).unwrap_or(i64::MAX),
        shared_size: -1,
        labels: config.and_then(|c| c.labels.clone()).unwrap_or_default(),
        containers: -1,
    }
}

/// Filters of one listing. Values of one key are alternatives, except that labels must all be there.
#[derive(Default)]
struct Wanted {
    references: Vec<String>,
    dangling: Option<bool>,
    labels: Vec<String>,
    before: Vec<Arc<Image>>,
    since: Vec<Arc<Image>>,
    /// The earliest that was given.
    until: Option<Timestamp>,
}

impl Wanted {
    fn parse(daemon: &Daemon, filters: &Filters) -> Result<Wanted> {
        let mut wanted = Wanted::default();
        for (key, values) in filters {
            match key.as_str() {
                "reference" => wanted.references.clone_from(values),
                "label" => wanted.labels.clone_from(values),
                "dangling" => {
                    for value in values {
                        wanted.dangling = Some(match value.as_str() {
                            "true" | "1" => true,
                            "false" | "0" => false,
                            _ => return Err(Error::invalid(format!("invalid filter 'dangling={value}'"))),
                        });
                    }
                }
                "before" | "since" => {
                    let images = values.iter().map(|v| daemon.images.find(v)).collect::<Result<_>>()?;
                    if key == "before" { wanted.before = images } else { wanted.since = images }
                }
                "until" => {
                    let now = Timestamp::now();
                    let times = values.iter().map(|text| Timestamp::parse_filter(text, now));
                    for time in times {
                        let time = time.context(|| "filter until".into())?;
                        wanted.until = Some(wanted.until.map_or(time, |until| until.min(time)));
                    }
                }
                _ => return Err(Error::invalid(format!("invalid filter '{key}'"))),
            }
        }
        Ok(wanted)
    }

    fn holds(&self, image: &Image) -> bool {
        let labels = image.config.config.as_ref().and_then(|c| c.labels.as_ref());
        let labelled = |wanted: &String| match wanted.split_once('=') {
            Some((name, value)) => labels.and_then(|l| l.get(name)).is_some_and(|v| v == value),
            None => labels.is_some_and(|l| l.contains_key(wanted)),
        };
        self.dangling.is_none_or(|d| d == image.names.is_empty())
            && self.labels.iter().all(labelled)
            && (self.references.is_empty()
                || image.display_names().iter().chain(&image.display_digests()).any(|name| self.names(name)))
            && self.before.iter().all(|other| image.created < other.created)
            && self.since.iter().all(|other| image.created > other.created)
            && self.until.is_none_or(|until| image.created <= until)
    }

    /// Whether a name is one of those asked for: whole, or its repository.
    fn names(&self, name: &str) -> bool {
        let matches = |pattern: &String| {
            glob(pattern.as_bytes(), name.as_bytes()) || glob(pattern.as_bytes(), repository_of(name).as_bytes())
        };
        self.references.is_empty() || self.references.iter().any(matches)
    }
}

/// A name without tag or digest.
fn repository_of(name: &str) -> &str {
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

/// Whether `text` has the form of `pattern`: `*` stands for anything but a slash, `?` for one such character,
/// `[a-z]` and `[^a-z]` for one of a set, a backslash takes the next character as it is. Takes time proportional to
/// the product of both lengths at most.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on after the last star had to take one character more.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let step = match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some(_) => text.get(t).and_then(|c| one(&pattern[p..], *c)),
            None if t == text.len() => return true,
            None => None,
        };
        match (step, retry) {
            (Some(length), _) => (p, t) = (p + length, t + 1),
            (None, Some((after, taken))) if text.get(taken).is_some_and(|c| *c != b'/') => {
                retry = Some((after, taken + 1));
                (p, t) = (after, taken + 1);
            }
            _ => return false,
        }
    }
}

/// How long the first element of `pattern` is when it stands for `c`.
fn one(pattern: &[u8], c: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => (c != b'/').then_some(1),
        [b'\\', escaped, ..] => (*escaped == c).then_some(2),
        [b'[', rest @ ..] => {
            let (negated, set) = rest.strip_prefix(b"^").map_or((false, rest), |set| (true, set));
            let length = set.iter().skip(1).position(|b| *b == b']')? + 1;
            let (mut n, mut found) = (0, false);
            while n < length {
                let range = n + 2 < length && set[n + 1] == b'-';
                let last = if range { set[n + 2] } else { set[n] };
                found |= (set[n]..=last).contains(&c);
                n += if range { 3 } else { 1 };
            }
            (found != negated && c != b'/').then_some(1 + usize::from(negated) + length + 1)
        }
        [first, ..] => (*first == c).then_some(1),
        [] => None,
    }
}

/// Everything about one image, in docker's form and in the original's.
pub fn inspect(daemon: &Daemon, reference: &str) -> Result<ImageInspect> {
    let image = daemon.images.find(reference)?;
    let config = &image.config;
    let size = i64::try_from(image.size).unwrap_or(i64::MAX);
    Ok(ImageInspect {
        id: format!("sha256:{}", image.id),
        repo_tags: image.display_names(),
        repo_digests: image.display_digests(),
        parent: String::new(),
        comment: config.history.last().map(|h| h.comment.clone()).unwrap_or_default(),
        created: config.created.clone().unwrap_or_default(),
        author: config.author.clone(),
        config: config.config.clone().unwrap_or_default(),
        architecture: config.architecture.clone(),
        variant: config.variant.clone(),
        os: config.os.clone(),
        size,
        graph_driver: graph_driver(daemon, &image),
        rootfs: InspectRootFs { kind: "layers".into(), layers: config.rootfs.diff_ids.clone() },
        metadata: [("LastTagTime".to_string(), image.loaded.rfc3339())].into(),
        embedded: image.embedded.as_ref().map(|embedded| embedded.describe()),
        original: Some(OriginalInspect {
            id: image.id.clone(),
            repo_tags: image.display_names(),
            repo_digests: image.display_digests(),
            top_layer: image.layers.last().cloned().unwrap_or_default(),
            size,
            created: image.created.rfc3339(),
            loaded: image.loaded.rfc3339(),
            spec: config.clone(),
        }),
    })
}

/// The top layer is what docker calls the upper directory of an image.
fn graph_driver(daemon: &Daemon, image: &Image) -> GraphDriver {
    let mut layers = daemon.images.lower_directories(image).into_iter().map(|p| p.to_string_lossy().into_owned());
    let mut data = std::collections::BTreeMap::new();
    if let Some(top) = layers.next() {
        data.insert("UpperDir".to_string(), top);
    }
    let lower: Vec<String> = layers.collect();
    if !lower.is_empty() {
        data.insert("LowerDir".to_string(), lower.join(":"));
    }
    GraphDriver { name: daemon.images.driver().map_or("unknown", Driver::name).into(), data }
}

/// Makes an image from a tar stream; gives its id (`sha256:…`).
pub fn import(daemon: &Daemon, import: Import<'_>) -> Result<String> {
    let image = daemon.images.import(import)?;
    log::info!("image {}: imported as {:?}, {} bytes", image.id, image.display_names(), image.size);
    image_came(daemon, &image.id);
    let id = format!("sha256:{}", image.id);
    daemon.tell_image("import", &id, image.display_names().first().unwrap_or(&id));
    Ok(id)
}

/// Loads the images of an archive.
pub fn load(daemon: &Daemon, source: &mut dyn Read, name: Option<&str>) -> Result<Vec<Loaded>> {
    let loaded = daemon.images.load(source, name)?;
    for one in &loaded {
        log::info!("image {}: loaded as {:?}, {} bytes", one.image.id, one.names, one.image.size);
        image_came(daemon, &one.image.id);
        let id = format!("sha256:{}", one.image.id);
        daemon.tell_image("load", &id, one.names.first().unwrap_or(&id));
    }
    Ok(loaded)
}

/// Makes an embedded image of a manifest.
pub fn load_embedded(daemon: &Daemon, source: embedded::Source, name: Option<&str>) -> Result<Vec<Loaded>> {
    let image = daemon.images.load_embedded(source, name)?;
    let names = image.display_names().into_iter().take(1).collect();
    log::info!("image {}: embedded as {:?}, {} bytes", image.id, image.display_names(), image.size);
    image_came(daemon, &image.id);
    let names: Vec<String> = names;
    let id = format!("sha256:{}", image.id);
    daemon.tell_image("load", &id, names.first().unwrap_or(&id));
    Ok(vec![Loaded { image, names }])
}

/// Gives a further name.
pub fn tag(daemon: &Daemon, source: &str, target: &str) -> Result<()> {
    daemon.images.tag(source, target)?;
    log::info!("image {source:?}: named {target:?}");
    if let Ok(image) = daemon.images.find(target) {
        daemon.tell_image("tag", &format!("sha256:{}", image.id), target);
    }
    Ok(())
}

/// Removes a name or image.
pub fn delete(daemon: &Daemon, reference: &str, force: bool) -> Result<Vec<DeleteEntry>> {
    let gone = daemon.images.delete(reference, force, &|image| daemon.image_user(image))?;
    told_gone(daemon, &gone);
    Ok(gone)
}

/// Tells what is gone.
fn told_gone(daemon: &Daemon, gone: &[DeleteEntry]) {
    for entry in gone {
        match (&entry.untagged, &entry.deleted) {
            (Some(name), _) => {
                log::info!("image name {name:?} removed");
                daemon.tell_image("untag", name, name);
            }
            (_, Some(id)) => {
                log::info!("{id} removed");
                daemon.tell_image("delete", id, id);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, text, want) in [
            ("busy*", "busybox", true),
            ("busybox:*", "busybox:latest", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("b?x", "box", true),
            ("b?x", "b/x", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[]", "]", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("*a*b", "xaxxb", true),
            ("*a*b", "xaxxc", false),
            ("", "", true),
            ("a", "", false),
        ] {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), want, "{pattern} {text}");
        }
        assert!(!glob("*a".repeat(200).as_bytes(), "a".repeat(150).as_bytes()));
    }
}
