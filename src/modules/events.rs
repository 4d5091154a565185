//! The journal of events: the newest ones in memory, for those who ask what happened, and for those who listen.

use crate::api::oci::runtime::Names;
use crate::error::{Error, Kind, Result};
use crate::modules::container::lock;
use crate::utils::sys::eventfd::EventFd;
use crate::utils::time::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex};

/// Events that are kept for those who ask later, as docker keeps them.
const KEPT: usize = 256;
/// What those may occupy, in bytes.
const KEPT_BYTES: usize = 64 << 10;
/// Events that are kept for a listener that is slow.
const HELD: usize = 4096;
/// What those may occupy, in bytes.
const HELD_BYTES: usize = 1 << 20;

/// What events are about.
const KINDS: [&str; 3] = ["container", "image", "volume"];
/// Bytes that tell an event's length.
const HEAD: usize = size_of::<u32>();

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When.
    pub time: Timestamp,
    /// `container`, `image` or `volume`.
    pub kind: &'static str,
    /// What: `create`, `die`, `exec_start: ls` …
    pub action: String,
    /// To whom: 64 digits, or the name of an image or volume.
    pub id: String,
    /// Keys, each followed by its value.
    attributes: Names,
}

impl Event {
    /// One without attributes.
    pub fn new(time: Timestamp, kind: &'static str, action: String, id: String) -> Event {
        Event { time, kind, action, id, attributes: Names::default() }
    }

    /// Adds name, image, label, exit code … One with a NUL is left out, and one whose key is there: a label is no name.
    pub fn add(&mut self, key: &str, value: &str) {
        if !key.contains('\0') && !value.contains('\0') && self.attribute(key).is_none() {
            self.attributes.extend([key, value]);
        }
    }

    /// As the journal keeps it: time, kind, and the texts, each with a NUL behind it.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.time.unix_nanos().to_le_bytes().to_vec();
        for text in [self.kind, &self.action, &self.id].into_iter().chain(self.attributes.iter()) {
            bytes.extend(text.bytes().filter(|b| *b != 0));
            bytes.push(0);
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Event> {
        const SECOND: i64 = 1_000_000_000;
        let (nanos, texts) = bytes.split_first_chunk()?;
        let nanos = i64::from_le_bytes(*nanos);
        let mut texts = std::str::from_utf8(texts).ok()?.split_terminator('\0');
        let kind = KINDS.into_iter().find(|kind| texts.clone().next() == Some(kind))?;
        texts.next();
        let time = Timestamp::from_unix(nanos.div_euclid(SECOND), nanos.rem_euclid(SECOND) as u32);
        let (action, id) = (texts.next()?.into(), texts.next()?.into());
        Some(Event { time, kind, action, id, attributes: texts.collect() })
    }

    /// Keys and values.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.attributes.iter().step_by(2).zip(self.attributes.iter().skip(1).step_by(2))
    }

    /// The value of an attribute.
    pub fn attribute(&self, key: &str) -> Option<&str> {
        self.attributes().find(|(k, _)| *k == key).map(|(_, v)| v)
    }
}

/// The newest events.
#[derive(Default)]
pub struct Journal(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// Each with its length before it, in one piece of memory: as allocations of their own, long-lived among short-lived
    /// ones, a few hundred would keep ten times their size from the kernel.
    bytes: VecDeque<u8>,
    /// How many they are.
    events: usize,
    /// How many there were before the first that is kept.
    gone: u64,
    listeners: Vec<Place>,
}

/// How far a listener got.
struct Place {
    wake: Arc<EventFd>,
    next: u64,
}

impl Inner {
    fn end(&self) -> u64 {
        self.gone + self.events as u64
    }

    /// Lets go of old ones, and of those that a listener still needs when they are too many.
    fn trim(&mut self) {
        let end = self.end();
        let needed = self.listeners.iter().map(|l| l.next).min().unwrap_or(end).max(self.gone);
        while self.events > 0 {
            let (bytes, held) = (self.bytes.len(), (end - needed.max(self.gone)) as usize);
            let old = (self.events > KEPT || bytes > KEPT_BYTES) && self.events > held;
            if !(old || self.events > HELD || bytes > HELD_BYTES) {
                break;
            }
            let head: [u8; HEAD] = std::array::from_fn(|n| self.bytes[n]);
            self.bytes.drain(..HEAD + length(&head));
            self.events -= 1;
            self.gone += 1;
        }
        if self.bytes.capacity() > 4 * KEPT_BYTES && self.bytes.len() <= KEPT_BYTES {
            self.bytes.shrink_to(KEPT_BYTES);
        }
    }
}

/// Of the event at the beginning of `bytes`, without its head.
fn length(bytes: &[u8]) -> usize {
    bytes.first_chunk().map_or(0, |head| u32::from_le_bytes(*head) as usize)
}

impl Journal {
    /// Adds an event and wakes the listeners.
    pub fn add(&self, event: &Event) {
        let mut inner = lock(&self.0);
        let bytes = event.encode();
        inner.bytes.extend((bytes.len() as u32).to_le_bytes());
        inner.bytes.extend(bytes);
        inner.events += 1;
        inner.trim();
        inner.listeners.iter().for_each(|l| l.wake.signal());
    }

    /// Begins to listen; `past` gives what is known of the past first.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn listen(&self, past: bool) -> Result<Listener<'_>> {
        let wake = Arc::new(EventFd::new()?);
        let mut inner = lock(&self.0);
        let next = if past { inner.gone } else { inner.end() };
        inner.listeners.push(Place { wake: Arc::clone(&wake), next });
        Ok(Listener { journal: self, wake })
    }
}

/// Someone who hears of every event.
pub struct Listener<'a> {
    journal: &'a Journal,
    wake: Arc<EventFd>,
}

impl Listener<'_> {
    /// What came since the last time, in order.
    ///
    /// # Errors
    /// `Kind::Busy` when so much came that some of it is lost.
    pub fn take(&self) -> Result<Vec<Event>> {
        self.wake.clear();
        let mut inner = lock(&self.journal.0);
        let (gone, end) = (inner.gone, inner.end());
        let Some(place) = inner.listeners.iter_mut().find(|l| Arc::ptr_eq(&l.wake, &self.wake)) else {
            return Err(Error::internal("a listener without a place"));
        };
        let next = std::mem::replace(&mut place.next, end);
        if next < gone {
            return Err(Error::new(Kind::Busy, "events came faster than they were read"));
        }
        let mut rest = &*inner.bytes.make_contiguous();
        let mut new = Vec::new();
        for number in gone..end {
            let (event, after) = rest[HEAD..].split_at(length(rest));
            if number >= next {
                new.extend(Event::decode(event));
            }
            rest = after;
        }
        inner.trim();
        Ok(new)
    }
}

impl AsFd for Listener<'_> {
    /// Polls readable when there is more.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

impl Drop for Listener<'_> {
    fn drop(&mut self) {
        let mut inner = lock(&self.journal.0);
        inner.listeners.retain(|l| !Arc::ptr_eq(&l.wake, &self.wake));
        inner.trim();
    }
}

/// Which events someone wants: docker's keys; several values of one key are alternatives, labels must all hold.
#[derive(Debug, Default)]
pub struct Filter(BTreeMap<String, Vec<String>>);

impl Filter {
    /// Takes filters.
    ///
    /// # Errors
    /// `Kind::Invalid` for an unknown key.
    pub fn new(filters: BTreeMap<String, Vec<String>>) -> Result<Filter> {
        const KEYS: [&str; 9] =
            ["container", "daemon", "event", "image", "label", "network", "scope", "type", "volume"];
        match filters.keys().find(|key| !KEYS.contains(&key.as_str())) {
            Some(key) => Err(Error::invalid(format!("invalid filter {key:?}"))),
            None => Ok(Filter(filters)),
        }
    }

    /// Whether an event passes.
    pub fn matches(&self, event: &Event) -> bool {
        self.0.iter().all(|(key, values)| match key.as_str() {
            "label" => values.iter().all(|v| has_label(event, v)),
            key => values.iter().any(|v| matches(event, key, v)),
        })
    }
}

fn matches(event: &Event, key: &str, value: &str) -> bool {
    match key {
        "type" => event.kind == value,
        // `exec_start: ls` is one of `exec_start`.
        "event" => event.action == value || event.action.split_once(':').is_some_and(|(action, _)| action == value),
        "scope" => value == "local",
        "image" if event.kind == "container" => event.attribute("image").is_some_and(|image| is_named(image, value)),
        "image" if event.kind == "image" => {
            event.id.trim_start_matches("sha256:").starts_with(value.trim_start_matches("sha256:"))
                || event.attribute("name").is_some_and(|name| is_named(name, value))
        }
        "container" | "volume" if event.kind == key => {
            let name = value.trim_start_matches('/');
            event.attribute("name").unwrap_or(&event.id) == name || event.id.starts_with(name)
        }
        _ => false,
    }
}

/// Whether an image goes by a name, with or without its tag.
fn is_named(image: &str, name: &str) -> bool {
    image == name || image.strip_prefix(name).is_some_and(|rest| rest.starts_with(':'))
}

fn has_label(event: &Event, label: &str) -> bool {
    match label.split_once('=') {
        Some((key, value)) => event.attribute(key) == Some(value),
        None => event.attribute(label).is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(action: &str) -> Event {
        let id = "0123456789abcdef".repeat(4).replacen("012345", "abcdef", 1);
        let mut event = Event::new(Timestamp::from_unix(1, 0), "container", action.into(), id);
        for (key, value) in [("name", "web"), ("image", "box:1"), ("l", "v"), ("nul", "a\0b"), ("name", "a label")] {
            event.add(key, value);
        }
        event
    }

    fn actions(listener: &Listener<'_>) -> Vec<String> {
        listener.take().unwrap().iter().map(|e| e.action.clone()).collect()
    }

    #[test]
    fn listeners_hear_everything_once() {
        let journal = Journal::default();
        journal.add(&event("a"));
        let (old, new) = (journal.listen(true).unwrap(), journal.listen(false).unwrap());
        assert_eq!(actions(&old), ["a"]);
        assert!(actions(&new).is_empty());
        journal.add(&event("b"));
        journal.add(&event("c"));
        for listener in [&old, &new] {
            assert_eq!(actions(listener), ["b", "c"]);
            assert!(actions(listener).is_empty());
        }
        drop((old, new));
        assert!(lock(&journal.0).listeners.is_empty());
    }

    #[test]
    fn the_past_is_bounded_and_listeners_are_waited_for() {
        let journal = Journal::default();
        for n in 0..KEPT + 10 {
            journal.add(&event(&n.to_string()));
        }
        let listener = journal.listen(true).unwrap();
        let past = actions(&listener);
        assert_eq!((past.len(), past[0].as_str()), (KEPT, "10"));
        for n in 0..HELD {
            journal.add(&event(&n.to_string()));
        }
        assert_eq!(actions(&listener).len(), HELD);
        assert_eq!(lock(&journal.0).events, KEPT);
        for _ in 0..=HELD {
            journal.add(&event("more"));
        }
        assert!(listener.take().is_err(), "what is lost is not hidden");
        assert!(actions(&listener).is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let journal = Journal::default();
        for _ in 0..100 {
            let mut event = event("a");
            event.add("x", &"y".repeat(10_000));
            journal.add(&event);
        }
        let inner = lock(&journal.0);
        assert!(inner.bytes.len() <= KEPT_BYTES && inner.events > 0);
        drop(inner);
        let mut odd = event("odd: a\0b");
        odd.add("empty", "");
        journal.add(&odd);
        let last = journal.listen(true).unwrap().take().unwrap().pop().unwrap();
        assert_eq!((last.action.as_str(), last.attribute("empty")), ("odd: ab", Some("")));
        assert_eq!(Event { action: odd.action.clone(), ..last }, odd);
    }

    #[test]
    fn filters() {
        let filter = |list: &[(&str, &str)]| {
            let mut filters = BTreeMap::<String, Vec<String>>::new();
            list.iter().for_each(|(k, v)| filters.entry((*k).into()).or_default().push((*v).into()));
            Filter::new(filters)
        };
        let e = event("exec_start: ls");
        for (list, want) in [
            (&[][..], true),
            (&[("type", "container")], true),
            (&[("type", "image")], false),
            (&[("type", "image"), ("type", "container")], true),
            (&[("event", "exec_start")], true),
            (&[("event", "exec_start: ls")], true),
            (&[("event", "exec")], false),
            (&[("container", "abc")], true),
            (&[("label", "nul")], false),
            (&[("container", "web")], true),
            (&[("container", "we")], false),
            (&[("image", "box")], true),
            (&[("image", "box:1")], true),
            (&[("image", "box:2")], false),
            (&[("label", "l=v")], true),
            (&[("label", "l"), ("label", "m")], false),
            (&[("volume", "web")], false),
            (&[("scope", "local")], true),
            (&[("scope", "swarm")], false),
        ] {
            assert_eq!(filter(list).unwrap().matches(&e), want, "{list:?}");
        }
        assert!(filter(&[("nosuch", "x")]).unwrap_err().to_string().contains("nosuch"));
        let image = Event::new(Timestamp::UNSET, "image", "pull".into(), "sha256:1234".into());
        assert!(filter(&[("image", "12")]).unwrap().matches(&image));
    }
}
