//! Pulling an image: documents first, then the layers that are missing, several at once, each unpacked as it comes.

use super::attended::attended;
use super::restore::image_came;
use super::{Caller, Daemon};
use crate::api::image::{AuthRequest, ProgressDetail, ProgressLine};
use crate::error::{Error, Result};
use crate::modules::image::assembly::{Assembly, Loose};
use crate::modules::image::credentials::Credentials;
use crate::modules::image::platform::Platform;
use crate::modules::image::reference::{Reference, display};
use crate::modules::image::registry::{Cancel, Configuration, Resolved};
use crate::modules::image::store::Image;
use crate::utils::size::decimal;
use std::io::Read;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How often a client is told how far downloads are.
const INTERVAL: Duration = Duration::from_millis(100);
/// Stack of a thread that downloads: TLS handshakes and, on one processor, the unpacking.
const STACK: usize = 512 << 10;
/// Digits of a layer's digest by which its lines are told apart.
const SHORT: usize = 12;

/// What to pull.
#[derive(Debug)]
pub struct Pull {
    /// Name with tag or digest.
    pub reference: Reference,
    /// For which machine.
    pub platform: Platform,
    /// Those that came with the request.
    pub credentials: Option<Credentials>,
}

/// What becomes of a layer.
enum Step {
    /// It is downloaded and unpacked from now on.
    Begun(usize),
    /// It is in the store.
    Done(usize),
    /// It was in the store, or came with another pull.
    Here(usize),
}

/// Pulls an image. `tell` is given lines of progress. When it fails, and when the caller leaves, the pull is given up.
///
/// # Errors
/// What the registry gives (see [`crate::modules::image::registry::Registry::resolve`]); as the store's import. Layers
/// that no image has are gone again.
pub fn pull(
    daemon: &Daemon,
    pull: &Pull,
    caller: &dyn Caller,
    tell: &mut dyn FnMut(&ProgressLine) -> Result<()>,
) -> Result<String> {
    attended(caller, |cancel| pull_attended(daemon, pull, cancel, tell))
}

fn pull_attended(
    daemon: &Daemon,
    pull: &Pull,
    cancel: &Cancel,
    tell: &mut dyn FnMut(&ProgressLine) -> Result<()>,
) -> Result<String> {
    let reference = &pull.reference;
    let shown = reference.to_string();
    let status = |text: String| ProgressLine { status: Some(text), ..ProgressLine::default() };
    let what = reference.digest.clone().or_else(|| reference.tag.clone()).unwrap_or_else(|| "latest".into());
    let (_, repository) = reference.name.split_once('/').unwrap_or(("", &reference.name));
    let kept;
    let credentials = match &pull.credentials {
        Some(given) => Some(given),
        None => {
            let host = reference.name.split('/').next().unwrap_or_default();
            kept = daemon.credentials.get(host)?;
            kept.as_ref()
        }
    };
    let resolved = daemon.registry.resolve(reference, &pull.platform, credentials, cancel)?;
    // Until now an error could be answered as one.
    tell(&ProgressLine { id: Some(what), ..status(format!("Pulling from {repository}")) })?;
    let digest_name = format!("{}@{}", reference.name, resolved.digest);
    let name = reference.digest.is_none().then(|| reference.normalised());
    let before = daemon.images.find(&name.clone().unwrap_or_else(|| digest_name.clone())).ok();
    let most = daemon.settings.downloads;
    let image = match &resolved.config {
        Configuration::Document(config) => {
            let assembly = daemon.images.assemble(config.clone())?;
            if assembly.len() != resolved.layers.len() {
                return Err(Error::corrupt(format!(
                    "{shown}: {} layers in the manifest and {} in the configuration",
                    resolved.layers.len(),
                    assembly.len()
                )));
            }
            layers(&assembly, &resolved, most, cancel, tell)?;
            assembly.commit(name.as_deref(), Some(&digest_name))?
        }
        // Which layers it has is known only when they are unpacked, but not whether it came before.
        Configuration::Schema1(_) if daemon.images.find(&digest_name).is_ok() => {
            if let Some(name) = &name {
                daemon.images.tag(&digest_name, name)?;
            }
            daemon.images.find(&digest_name)?
        }
        Configuration::Schema1(image) => {
            let loose = daemon.images.collect(resolved.layers.len());
            layers(&loose, &resolved, most, cancel, tell)?;
            let assembly = loose.assemble(|diff_ids| image.configuration(diff_ids))?;
            assembly.commit(name.as_deref(), Some(&digest_name))?
        }
    };
    log::info!("image {}: pulled as {shown:?} ({}), {} bytes", image.id, resolved.digest, image.size);
    image_came(daemon, &image.id);
    daemon.tell_image("pull", &shown, &shown);
    tell(&status(format!("Digest: {}", resolved.digest)))?;
    tell(&status(verdict(before.as_deref(), &image, &shown)))?;
    Ok(image.id.clone())
}

fn verdict(before: Option<&Image>, image: &Image, shown: &str) -> String {
    match before {
        Some(before) if before.id == image.id => format!("Status: Image is up to date for {shown}"),
        _ => format!("Status: Downloaded newer image for {shown}"),
    }
}

/// Where the layers of a pull go.
trait Sink: Sync {
    /// Whether a layer is there already.
    fn has(&self, n: usize) -> bool;

    /// Makes a layer from what `open` gives, unless it is there.
    fn layer<R: Read>(&self, n: usize, open: impl FnOnce() -> Result<R>) -> Result<()>;
}

impl Sink for Assembly<'_> {
    fn has(&self, n: usize) -> bool {
        self.has(n)
    }

    fn layer<R: Read>(&self, n: usize, open: impl FnOnce() -> Result<R>) -> Result<()> {
        self.layer(n, open)
    }
}

impl Sink for Loose<'_> {
    fn has(&self, n: usize) -> bool {
        self.has(n)
    }

    fn layer<R: Read>(&self, n: usize, open: impl FnOnce() -> Result<R>) -> Result<()> {
        self.layer(n, &mut open()?)
    }
}

/// Gets the missing layers, at most `most` at once, the lowest first.
fn layers(
    sink: &impl Sink,
    resolved: &Resolved,
    most: usize,
    cancel: &Cancel,
    tell: &mut dyn FnMut(&ProgressLine) -> Result<()>,
) -> Result<()> {
    let total = resolved.layers.len();
    let missing = (0..total).filter(|&n| !sink.has(n)).count();
    let line = |n: usize, text: &str| {
        let digits = resolved.layers[n].digest.trim_start_matches("sha256:");
        let id = digits.get(..SHORT).unwrap_or(digits).to_owned();
        ProgressLine { status: Some(text.into()), id: Some(id), ..ProgressLine::default() }
    };
    for n in 0..total {
        tell(&line(n, if sink.has(n) { "Already exists" } else { "Pulling fs layer" }))?;
    }
    let next = AtomicUsize::new(0);
    let counts: Vec<AtomicU64> = (0..total).map(|_| AtomicU64::new(0)).collect();
    let (sender, steps) = channel::<Step>();
    let cause: Mutex<Option<Error>> = Mutex::new(None);
    let work = |sender: Sender<Step>| {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= total || cancel.is_cancelled() {
                return;
            }
            let mut begun = false;
            let made = sink.layer(n, || {
                begun = true;
                let _ = sender.send(Step::Begun(n)); // who does not listen any more has cancelled
                let blob = resolved.blob(&resolved.layers[n], cancel)?;
                Ok(Counted { inner: blob, count: &counts[n] })
            });
            if let Err(e) = made {
                // The first is the cause; it brings about the others.
                let mut cause = cause.lock().unwrap_or_else(PoisonError::into_inner);
                cause.get_or_insert_with(|| e.context(format!("layer {}", resolved.layers[n].digest)));
                cancel.cancel();
                return;
            }
            let _ = sender.send(if begun { Step::Done(n) } else { Step::Here(n) }); // as above
        }
    };
    std::thread::scope(|scope| {
        let work = &work;
        for started in 0..missing.min(most.max(1)) {
            let sender = sender.clone();
            let builder = std::thread::Builder::new().name("pull".into()).stack_size(STACK);
            match builder.spawn_scoped(scope, move || work(sender)) {
                Ok(_) => {}
                Err(e) if started == 0 => return Err(Error::io("start a thread", e)),
                Err(_) => break, // fewer do it too
            }
        }
        drop(sender);
        let mut active: Vec<usize> = Vec::new();
        let mut report = |active: &mut Vec<usize>| -> Result<()> {
            loop {
                match steps.recv_timeout(INTERVAL) {
                    Ok(Step::Begun(n)) => active.push(n),
                    Ok(Step::Done(n)) => {
                        active.retain(|&a| a != n);
                        tell(&line(n, "Pull complete"))?;
                    }
                    Ok(Step::Here(n)) => tell(&line(n, "Already exists"))?,
                    Err(RecvTimeoutError::Disconnected) => return Ok(()),
                    Err(RecvTimeoutError::Timeout) => {
                        for &n in &*active {
                            let current = counts[n].load(Ordering::Relaxed);
                            // As docker has it where the size is not known.
                            let total = resolved.layers[n].size.unwrap_or(0);
                            let known = resolved.layers[n].size.map(|total| bar(current, total));
                            tell(&ProgressLine {
                                progress: Some(known.unwrap_or_else(|| decimal(current))),
                                progress_detail: Some(ProgressDetail { current, total }),
                                ..line(n, "Downloading")
                            })?;
                        }
                    }
                }
            }
        };
        report(&mut active).inspect_err(|_| cancel.cancel())
    })?;
    match cause.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(cause) => Err(cause),
        // Between two layers it has no other effect than that the second is not begun.
        None => cancel.check(),
    }
}

/// Docker's bar: fifty places and the two sizes.
fn bar(current: u64, total: u64) -> String {
    const PLACES: u64 = 50;
    let done = current.min(total).saturating_mul(PLACES).checked_div(total).unwrap_or(0);
    let tip = if done < PLACES { ">" } else { "" };
    let rest = PLACES.saturating_sub(done + tip.len() as u64);
    let bar = format!("{}{tip}{}", "=".repeat(done as usize), " ".repeat(rest as usize));
    format!("[{bar}] {}/{}", decimal(current), decimal(total))
}

/// Counts what is read.
struct Counted<'a, R> {
    inner: R,
    count: &'a AtomicU64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(out)?;
        self.count.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// The name that a user gave, as one to pull by.
///
/// # Errors
/// `Kind::Invalid`.
pub fn reference(text: &str) -> Result<Reference> {
    let reference = Reference::parse(text)?;
    match display(&reference.name) {
        "none" | "scratch" => Err(Error::invalid(format!("image name {text:?} is reserved"))),
        _ => Ok(reference),
    }
}

/// Asks a registry whether credentials are good; keeps them on this machine when they are and `keep` is set.
///
/// # Errors
/// `Kind::Denied` when the registry refuses them; `Kind::Invalid` without a user or a registry.
pub fn login(daemon: &Daemon, request: &AuthRequest, keep: bool, caller: &dyn Caller) -> Result<()> {
    if request.username.is_empty() || request.password.is_empty() {
        return Err(Error::invalid("a user name and a password are needed"));
    }
    let credentials = Credentials::password(&request.username, &request.password);
    attended(caller, |cancel| daemon.registry.check(&request.serveraddress, &credentials, cancel))?;
    if keep {
        daemon.credentials.set(&request.serveraddress, &credentials)?;
        log::info!("registry {:?}: logged in as {:?}", request.serveraddress, request.username);
    }
    Ok(())
}

/// Forgets the credentials for a registry.
///
/// # Errors
/// `Kind::NotFound` when there are none.
pub fn logout(daemon: &Daemon, server: &str) -> Result<()> {
    match daemon.credentials.remove(server)? {
        true => Ok(()),
        false => Err(Error::not_found(format!("not logged in to {server:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_dockers() {
        assert_eq!(bar(0, 1000), format!("[>{}] 0B/1kB", " ".repeat(49)));
        assert_eq!(bar(1_500_000, 3_000_000), format!("[{}>{}] 1.5MB/3MB", "=".repeat(25), " ".repeat(24)));
        assert_eq!(bar(5, 5), format!("[{}] 5B/5B", "=".repeat(50)));
        assert!(bar(3, 0).starts_with("[>"));
    }
}
