//! Clients that speak TLS: a thread greets one, then becomes the relay of its connection, whose plain end is served as
//! any other. A client has no place among the connections before it has shown who it is: greetings have a bound of
//! their own, so that strangers cannot keep others out.

use super::{Listener, STACK, Slot, Slots, lock, peer_of, refusal};
use crate::entry::connection::{Connection, Peer, Shared};
use crate::entry::rest::{self, Perform};
use crate::error::{Context, Kind, Result};
use crate::utils::sys::net;
use crate::utils::tls;
use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Most clients that are being greeted at a time; one more is turned away.
const GREETINGS: usize = 32;

/// A place among a few, for those who are nobody yet.
pub(super) struct Place(Arc<AtomicUsize>);

impl Place {
    /// One of `most`, when one is free.
    pub(super) fn take(count: &Arc<AtomicUsize>, most: usize) -> Option<Place> {
        let place = Place(Arc::clone(count));
        (count.fetch_add(1, Ordering::Relaxed) < most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Listener {
    /// Gives the connection a thread, or ends it.
    pub(super) fn greet(&self, fd: OwnedFd, slots: &Arc<Slots>, performer: &Arc<dyn Perform>) {
        let Some(server) = self.tls.clone() else { return };
        let peer = peer_of(&fd);
        let Some(place) = Place::take(&self.greetings, GREETINGS) else {
            log::debug!("{peer}: turned away, {GREETINGS} others are being greeted");
            return;
        };
        let shared = self.shared.clone();
        let inside = Inside { shared, slots: slots.clone(), performer: performer.clone() };
        let run = move || {
            let client = peer.to_string();
            match inside.serve(&server, fd, peer, place) {
                Ok(()) => {}
                // Anybody can make these lines.
                Err(e) if matches!(e.kind(), Kind::Remote | Kind::Timeout) => log::debug!("{client}: {e}"),
                Err(e) => log::warn!("{client}: {e}"),
            }
        };
        if let Err(e) = std::thread::Builder::new().name("tls".into()).stack_size(STACK).spawn(run) {
            log::warn!("a client is turned away, no thread: {e}");
        }
    }
}

/// Where a client comes to that was greeted.
struct Inside {
    shared: Arc<Shared>,
    slots: Arc<Slots>,
    performer: Arc<dyn Perform>,
}

impl Inside {
    /// Greets a client and serves it to its end.
    fn serve(&self, server: &tls::Server, fd: OwnedFd, peer: Peer, place: Place) -> Result<()> {
        let session = server.accept(fd, Instant::now() + self.shared.patience.head)?;
        let address = if let Peer::Remote(address) = peer { Some(address) } else { None };
        let peer = match server.verifies() {
            true => Peer::Certified { user: session.user().unwrap_or_default().into(), address },
            false => Peer::Encrypted(address),
        };
        let (near, far) = UnixStream::pair().context(|| "socketpair()".into())?;
        let Some(_slot) = Slot::take(&self.slots, &self.shared) else {
            log::debug!("{peer}: refused, {} connections are open", self.slots.limit);
            let _ = net::send(near.as_fd(), &[IoSlice::new(&refusal())], &[]); // it fits into a new socket's buffer
            drop(near);
            return session.relay(far.into(), None);
        };
        drop(place);
        // Set when nobody serves requests any more: then the connection has ended, or belongs to a container.
        let served = Arc::new(AtomicBool::new(false));
        let connection = Arc::new(Mutex::new(Some(Connection::new(near.into(), peer, self.shared.clone()))));
        let run = {
            let (taken, served, performer) = (connection.clone(), served.clone(), self.performer.clone());
            move || {
                if let Some(connection) = lock(&taken).take() {
                    rest::serve(connection, &*performer);
                }
                served.store(true, Ordering::Release);
            }
        };
        let spawned = std::thread::Builder::new().name("rest".into()).stack_size(STACK).spawn(run);
        if let Err(e) = spawned
            && let Some(connection) = lock(&connection).take()
        {
            log::warn!("a client is refused, no thread: {e}");
            let (near, ..) = connection.into_parts();
            let _ = net::send(near.as_fd(), &[IoSlice::new(&refusal())], &[]); // as above
        }
        // A stop waits for requests, but not for those who follow a container.
        let leave = tls::Leave { from: self.shared.stop.as_fd(), now: &|| served.load(Ordering::Acquire) };
        session.relay(far.into(), Some(&leave))
    }
}
