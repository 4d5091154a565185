//! Listening sockets and the accept loop: one named thread per connection, a bound on their number, an orderly end.

mod greeting;

use greeting::Place;

use super::connection::{Connection, Patience, Peer, Scope, Shared};
use super::rest::{self, Perform};
use crate::api::error::ErrorBody;
use crate::error::{Context, Error, Kind, Result};
use crate::executor::Daemon;
use crate::modules::authorization::Authorizer;
use crate::utils::http::h1::{HeadWriter, Length};
use crate::utils::http::host::Host;
use crate::utils::http::media;
use crate::utils::json;
use crate::utils::sys::{net, pages, socket};
use crate::utils::tls;
use nix::poll::{PollFd, PollFlags};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Where and how to listen.
pub struct Options {
    /// `unix:///PATH`, `tcp://IP:PORT`, `fd://` (only sockets passed by the service manager).
    pub hosts: Vec<String>,
    /// Group of unix sockets; left out when it does not exist.
    pub group: String,
    /// Most connections at a time.
    pub connections: usize,
    /// On TCP sockets, if at all.
    pub tls: Option<tls::Server>,
    /// Who is asked about requests.
    pub authorizer: Option<Authorizer>,
    /// Port on loopback where metrics are, and nothing else.
    pub metrics_port: Option<u16>,
    /// Listening sockets that the service manager passed.
    pub passed: Vec<OwnedFd>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            hosts: vec!["unix:///var/run/isulad.sock".into()],
            group: "isula".into(),
            connections: 256,
            tls: None,
            authorizer: None,
            metrics_port: None,
            passed: Vec::new(),
        }
    }
}

/// Stack of a connection's thread. Only what is touched costs memory; JSON nested to the parser's limit fits into half
/// even without optimisation.
const STACK: usize = 256 * 1024;
/// How long running requests may take to end after a stop.
const DRAIN: Duration = Duration::from_secs(10);
/// Time without a new client after which memory is given back.
const IDLE: Duration = Duration::from_millis(500);
/// Most refused connections that are kept.
const REFUSED: usize = 16;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;
/// For how long a peer may leave what was sent to it unacknowledged, in milliseconds (TCP_USER_TIMEOUT, tcp(7)).
const UNACKNOWLEDGED: u32 = 60_000;
/// Most clients of the port for metrics at a time.
const READERS: usize = 4;

/// Open listening sockets. Clients can connect from the moment of opening and are answered once it runs.
pub struct Listener {
    sockets: Vec<Socket>,
    shared: Arc<Shared>,
    limit: usize,
    tls: Option<tls::Server>,
    greetings: Arc<AtomicUsize>,
    readers: Arc<AtomicUsize>,
    /// Connections that were refused since the last that was served: kept for a while, because a client that finds its
    /// connection closed while it sends does not read the answer.
    refused: RefCell<VecDeque<OwnedFd>>,
}

/// Ends [`Listener::run`] from any thread.
#[derive(Clone)]
pub struct Stopper(Arc<Shared>);

struct Socket {
    fd: OwnedFd,
    /// How its clients are served.
    service: Service,
    /// Removed at the end, when it is still this one.
    file: Option<SocketFile>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Service {
    Plain,
    Tls,
    Metrics,
}

struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Listener {
    /// Opens all sockets, or none.
    ///
    /// # Errors
    /// `Kind::Invalid` for a malformed host, `Kind::Exists` when somebody answers there, otherwise the failing call.
    pub fn open(options: Options) -> Result<Listener> {
        Listener::open_with(options, Patience::default())
    }

    fn open_with(options: Options, patience: Patience) -> Result<Listener> {
        let passed = options.passed;
        let hosts: Vec<Host> = options.hosts.iter().map(|h| Host::parse(h)).collect::<Result<_>>()?;
        if passed.is_empty() && hosts.contains(&Host::Passed) {
            return Err(Error::invalid("no socket was passed for fd:// (LISTEN_FDS, LISTEN_PID)"));
        }
        let shared = Arc::new(Shared { authorizer: options.authorizer, ..Shared::new(patience)? });
        let mut listener = Listener {
            sockets: Vec::new(),
            shared,
            limit: options.connections.max(1),
            tls: options.tls,
            greetings: Arc::default(),
            readers: Arc::default(),
            refused: RefCell::default(),
        };
        let remote = if listener.tls.is_some() { Service::Tls } else { Service::Plain };
        let mut passed_paths = Vec::new();
        for fd in passed {
            let service = if is_unix(&fd) { Service::Plain } else { remote };
            if !is_unix(&fd) {
                warn_of("a socket passed by the service manager", listener.tls.as_ref());
            }
            passed_paths.extend(unix_path(&fd).map(|path| place_of(&path)));
            listener.sockets.push(Socket { fd, service, file: None });
        }
        for host in &hosts {
            match host {
                Host::Unix(path) if passed_paths.contains(&place_of(path)) => {}
                Host::Unix(path) => listener.sockets.push(listen_unix(path, &options.group)?),
                Host::Tcp(address) => {
                    listener.sockets.push(listen_tcp(address, remote)?);
                    warn_of(&host.to_string(), listener.tls.as_ref());
                }
                Host::Passed => {}
            }
        }
        if let Some(port) = options.metrics_port {
            let address = format!("127.0.0.1:{port}");
            listener.sockets.push(listen_tcp(&address, Service::Metrics).context(|| "metrics-port".into())?);
        }
        for socket in &listener.sockets {
            set_nonblocking(&socket.fd)?;
        }
        Ok(listener)
    }

    /// What ends [`Listener::run`].
    pub fn stopper(&self) -> Stopper {
        Stopper(self.shared.clone())
    }

    /// Serves until stopped: accepts, then tells that it stops and lets running requests end for some seconds. The socket
    /// files are removed. Connections that were handed to shims go on.
    ///
    /// # Errors
    /// When waiting for connections is impossible.
    pub fn run(self, daemon: Arc<Daemon>, stops: impl FnOnce()) -> Result<()> {
        self.run_with(Arc::new(daemon), stops)
    }

    fn run_with(self, performer: Arc<dyn Perform>, stops: impl FnOnce()) -> Result<()> {
        let slots = Arc::new(Slots { taken: Mutex::new(0), freed: Condvar::new(), limit: self.limit });
        let accepting = self.accept_until_stopped(&slots, &performer);
        let Listener { sockets, shared, .. } = self;
        // Also when accepting failed: nobody may wait for an answer that does not come.
        Stopper(shared).stop();
        stops();
        drop(sockets);
        let left = slots.drain(Instant::now() + DRAIN);
        if left > 0 {
            log::warn!("{left} requests had not ended {DRAIN:?} after the stop");
        }
        accepting
    }

    fn accept_until_stopped(&self, slots: &Arc<Slots>, performer: &Arc<dyn Perform>) -> Result<()> {
        let mut fds: Vec<PollFd<'_>> =
            self.sockets.iter().map(|s| PollFd::new(s.fd.as_fd(), PollFlags::POLLIN)).collect();
        fds.push(PollFd::new(self.shared.stop.as_fd(), PollFlags::POLLIN));
        let mut idle = Some(IDLE);
        while !self.shared.is_stopping() {
            let until = idle.map(|idle| Instant::now() + idle);
            if !net::wait_for(&mut fds, until).context(|| "poll(listening sockets)".into())? {
                pages::trim_stack();
                pages::trim_text();
                // Again while somebody is served, who brings back what he needs, but less and less often: a client
                // may follow a log for days.
                idle = idle.map(|idle| idle * 2).filter(|_| *lock(&slots.taken) > 0);
                continue;
            }
            idle = Some(IDLE);
            for (socket, _) in self.sockets.iter().zip(&fds).filter(|(_, ready)| ready.any() == Some(true)) {
                match socket::accept(socket.fd.as_fd()) {
                    Ok(fd) if socket.service == Service::Tls => self.greet(fd, slots, performer),
                    Ok(fd) => self.serve(fd, socket.service, slots, performer),
                    // The client left again, or another thread of events was faster.
                    Err(e) if matches!(e.errno(), Some(libc::EAGAIN | libc::ECONNABORTED | libc::EINTR)) => {}
                    Err(e) => {
                        // Out of descriptors or memory: the client stays in the queue and the loop must not spin.
                        log::warn!("cannot accept a connection: {e}");
                        let mut stop = [PollFd::new(self.shared.stop.as_fd(), PollFlags::POLLIN)];
                        let soon = Instant::now() + Duration::from_millis(100);
                        net::wait_for(&mut stop, Some(soon)).context(|| "poll(stop)".into())?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Gives the connection a thread, or refuses it.
    fn serve(&self, fd: OwnedFd, service: Service, slots: &Arc<Slots>, performer: &Arc<dyn Perform>) {
        let peer = peer_of(&fd);
        // Everybody on this host can come there, and must not keep others out.
        let reader = (service == Service::Metrics).then(|| Place::take(&self.readers, READERS));
        if matches!(reader, Some(None)) {
            return self.refuse(fd, peer, &format!("{READERS} others read metrics"));
        }
        let Some(slot) = Slot::take(slots, &self.shared) else {
            return self.refuse(fd, peer, &format!("{} connections are open", self.limit));
        };
        self.refused.borrow_mut().clear();
        // In a place that both this function and the thread reach, so that a thread that does not start can be
        // answered for.
        let mut connection = Connection::new(fd, peer.clone(), self.shared.clone());
        if service == Service::Metrics {
            connection.scope = Scope::Metrics;
        }
        let connection = Arc::new(Mutex::new(Some(connection)));
        let (taken, performer) = (connection.clone(), performer.clone());
        let run = move || {
            let _places = (slot, reader);
            if let Some(connection) = lock(&taken).take() {
                rest::serve(connection, &*performer);
            }
        };
        let spawned = std::thread::Builder::new().name("rest".into()).stack_size(STACK).spawn(run);
        if let Err(e) = spawned
            && let Some(connection) = lock(&connection).take()
        {
            self.refuse(connection.into_parts().0, peer, &format!("no thread: {e}"));
        }
    }

    /// Answers 503 without waiting: the answer fits into any new socket's buffer.
    fn refuse(&self, fd: OwnedFd, peer: Peer, why: &str) {
        use nix::sys::socket::{Shutdown, shutdown};
        let mut refused = self.refused.borrow_mut();
        if refused.is_empty() {
            log::warn!("{peer}: refused, {why}"); // a flood is one line
        }
        let answer = refusal();
        let _ = net::send(fd.as_fd(), &[IoSlice::new(&answer)], &[]); // the client left already
        let _ = shutdown(fd.as_raw_fd(), Shutdown::Write);
        if refused.len() == REFUSED {
            refused.pop_front();
        }
        refused.push_back(fd);
    }
}

/// The answer to a connection for which there is no place.
fn refusal() -> Vec<u8> {
    let message = "too many connections, try again later".into();
    let body = json::to_vec(&ErrorBody { message, exit_code: None });
    let mut answer = HeadWriter::response(503)
        .field("Content-Type", media::JSON)
        .field("Connection", "close")
        .field("Retry-After", "1")
        .length(Length::Known(body.len() as u64))
        .finish();
    answer.extend(body);
    answer
}

impl Stopper {
    /// Stops. Async-signal-safe, may be called often.
    pub fn stop(&self) {
        self.0.stopping.store(true, Ordering::Release);
        let _ = self.0.stop.write(1); // a full counter is readable all the same
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let Some(file) = &self.file else { return };
        // A newer daemon may have put its own there.
        let ours = std::fs::symlink_metadata(&file.path).is_ok_and(|m| m.dev() == file.device && m.ino() == file.inode);
        if ours && let Err(e) = std::fs::remove_file(&file.path) {
            log::warn!("unlink({:?}): {e}", file.path);
        }
    }
}

/// The places that connections take.
struct Slots {
    taken: Mutex<usize>,
    freed: Condvar,
    limit: usize,
}

impl Slots {
    /// Waits until all places are free; gives how many are not at the deadline.
    fn drain(&self, deadline: Instant) -> usize {
        let mut taken = lock(&self.taken);
        while *taken > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            taken = self.freed.wait_timeout(taken, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *taken
    }
}

struct Slot {
    slots: Arc<Slots>,
    shared: Arc<Shared>,
}

impl Slot {
    fn take(slots: &Arc<Slots>, shared: &Arc<Shared>) -> Option<Slot> {
        let mut taken = lock(&slots.taken);
        if *taken >= slots.limit {
            return None;
        }
        *taken += 1;
        shared.crowded.store(*taken * 2 > slots.limit, Ordering::Relaxed);
        Some(Slot { slots: slots.clone(), shared: shared.clone() })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = lock(&self.slots.taken);
        *taken -= 1;
        self.shared.crowded.store(*taken * 2 > self.slots.limit, Ordering::Relaxed);
        self.slots.freed.notify_all();
    }
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

fn peer_of(fd: &OwnedFd) -> Peer {
    use nix::sys::socket::{setsockopt, sockopt};
    if is_unix(fd) {
        return match socket::peer_credentials(fd.as_fd()) {
            Ok(c) => Peer::Local { uid: c.uid(), pid: c.pid() },
            Err(_) => Peer::Unknown,
        };
    }
    let Ok(stream) = fd.try_clone().map(TcpStream::from) else { return Peer::Unknown };
    // Small answers must not wait for each other, and a silent peer of a stream is found out.
    let _ = stream.set_nodelay(true);
    let _ = setsockopt(fd, sockopt::KeepAlive, &true);
    // And one that is gone without a word while bytes are on their way to it.
    let _ = setsockopt(fd, sockopt::TcpUserTimeout, &UNACKNOWLEDGED);
    stream.peer_addr().map_or(Peer::Unknown, Peer::Remote)
}

fn is_unix(fd: &OwnedFd) -> bool {
    use nix::sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname};
    let family = getsockname::<SockaddrStorage>(fd.as_raw_fd()).ok().and_then(|a| a.family());
    family == Some(AddressFamily::Unix)
}

fn unix_path(fd: &OwnedFd) -> Option<PathBuf> {
    use nix::sys::socket::{UnixAddr, getsockname};
    getsockname::<UnixAddr>(fd.as_raw_fd()).ok().and_then(|a| a.path().map(Path::to_owned))
}

/// A path of a socket without the links on its way: `/var/run` is one to `/run`, and a service manager says either.
fn place_of(path: &Path) -> PathBuf {
    let (parent, name) = (path.parent(), path.file_name());
    let beside = || Some(parent?.canonicalize().ok()?.join(name?));
    path.canonicalize().ok().or_else(beside).unwrap_or_else(|| path.to_owned())
}

fn set_nonblocking(fd: &OwnedFd) -> Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = fcntl(fd, FcntlArg::F_GETFL).context(|| "fcntl(F_GETFL)".into())?;
    let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
    fcntl(fd, FcntlArg::F_SETFL(flags)).context(|| "fcntl(F_SETFL, O_NONBLOCK)".into())?;
    Ok(())
}

/// Between bind and listen nobody can connect, so the mode is right before anybody could use a wrong one.
fn listen_unix(path: &Path, group: &str) -> Result<Socket> {
    use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
    remove_stale(path)?;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).context(|| format!("create directory {parent:?}"))?;
    }
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
        .context(|| "socket(AF_UNIX, SOCK_STREAM)".into())?;
    let address = UnixAddr::new(path).context(|| format!("address {path:?}"))?;
    bind(fd.as_raw_fd(), &address).context(|| format!("bind({path:?})"))?;
    let meta = std::fs::symlink_metadata(path).context(|| format!("lstat({path:?})"))?;
    let file = Some(SocketFile { path: path.to_owned(), device: meta.dev(), inode: meta.ino() });
    let socket = Socket { fd, service: Service::Plain, file }; // from here on an error removes the file
    match group_id(group) {
        Some(gid) => {
            std::os::unix::fs::chown(path, None, Some(gid)).context(|| format!("chown({path:?}, group {group:?})"))?
        }
        // The default one need not exist; the socket is root's alone then.
        None if group == Options::default().group => {}
        None => return Err(Error::invalid(format!("no group {group:?} in /etc/group"))),
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))
        .context(|| format!("chmod({path:?}, 0660)"))?;
    listen(&socket.fd, Backlog::new(BACKLOG).unwrap_or(Backlog::MAXCONN)).context(|| format!("listen({path:?})"))?;
    Ok(socket)
}

/// Removes a socket file that nobody answers on.
fn remove_stale(path: &Path) -> Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io(format!("lstat({path:?})"), e)),
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(Error::new(Kind::Exists, format!("{path:?} exists and is not a socket")));
        }
        Ok(_) => {}
    }
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
    let call = || format!("connect({path:?})");
    // A daemon that hangs with a full queue must not make this one hang.
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)
        .context(|| "socket(AF_UNIX, SOCK_STREAM)".into())?;
    match connect(fd.as_raw_fd(), &UnixAddr::new(path).context(call)?) {
        Ok(()) | Err(nix::Error::EAGAIN) => {
            Err(Error::new(Kind::Exists, format!("somebody listens on {path:?} already")))
        }
        Err(nix::Error::ECONNREFUSED) => std::fs::remove_file(path).context(|| format!("unlink({path:?})")),
        Err(nix::Error::ENOENT) => Ok(()),
        Err(e) => Err(e).context(call),
    }
}

/// Looks a group up in `/etc/group` (group(5)); a number is taken as it is. A static program has no other source.
fn group_id(name: &str) -> Option<u32> {
    if let Ok(gid) = name.parse() {
        return Some(gid);
    }
    let text = std::fs::read("/etc/group").ok()?;
    text.split(|&b| b == b'\n').find_map(|line| {
        let mut fields = line.split(|&b| b == b':');
        let found = fields.next()? == std::ffi::OsStr::new(name).as_bytes() && !name.is_empty();
        let gid = std::str::from_utf8(fields.nth(1)?).ok()?;
        if found { gid.parse().ok() } else { None }
    })
}

fn listen_tcp(address: &str, service: Service) -> Result<Socket> {
    let listener = TcpListener::bind(address).map_err(|e| {
        let taken = e.kind() == std::io::ErrorKind::AddrInUse;
        let error = Error::io(format!("listen on tcp://{address}"), e);
        if taken { error.with_kind(Kind::Exists) } else { error }
    })?;
    Ok(Socket { fd: listener.into(), service, file: None })
}

/// What is open to everybody is told at each start.
fn warn_of(host: &str, tls: Option<&tls::Server>) {
    match tls {
        Some(server) if server.verifies() => {}
        Some(_) => log::warn!(
            "{host} is open to everybody who reaches it: clients are not verified without tlsverify, and requests have the \
             rights of root"
        ),
        None => {
            log::warn!("{host} is open to everybody who reaches it, without TLS: requests have the rights of root");
        }
    }
}

#[cfg(test)]
mod tests;
