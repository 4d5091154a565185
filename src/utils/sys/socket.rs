//! Messages with descriptors over `SOCK_SEQPACKET` unix sockets (unix(7)), and addresses longer than `sun_path`.
//!
//! One message is one datagram. A body over [`INLINE_LIMIT`] travels in a memfd that is the message's last descriptor,
//! so a message has no size limit from the socket buffer and the reader needs no large buffer of its own.

use crate::error::{Context, Error, Kind, Result};
use crate::utils::sys::net;
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, accept4, bind, connect, getsockopt,
    listen, sendmsg, socket, socketpair, sockopt,
};
use std::fs::File;
use std::io::{IoSlice, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Largest body that is sent inside the datagram, in bytes.
pub const INLINE_LIMIT: usize = 16 * 1024;
/// Largest body that is accepted at all, in bytes.
pub const BODY_LIMIT: u64 = 64 * 1024 * 1024;
/// Most descriptors in one message.
pub const MAX_DESCRIPTORS: usize = net::MAX_DESCRIPTORS;

/// A received message.
#[derive(Debug)]
pub struct Message {
    /// The body.
    pub body: Vec<u8>,
    /// The descriptors that came along, close-on-exec.
    pub fds: Vec<OwnedFd>,
}

/// A connected pair of message sockets, close-on-exec.
///
/// # Errors
/// The failing call.
pub fn message_pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .context(|| "socketpair(AF_UNIX, SOCK_SEQPACKET)".into())
}

/// Listens on `name` inside the directory `directory`. The address goes through `/proc/self/fd`, so the length of the
/// directory's path does not matter. An existing socket of that name is replaced.
///
/// # Errors
/// The failing call.
pub fn listen_at(directory: &Path, name: &str, backlog: i32) -> Result<OwnedFd> {
    let dir = File::open(directory).context(|| format!("open({directory:?})"))?;
    let fd = seqpacket(SockFlag::empty())?;
    let _ = std::fs::remove_file(directory.join(name)); // bind reports what matters
    let call = || format!("bind({:?})", directory.join(name));
    let address = UnixAddr::new(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()).as_str()).context(call)?;
    bind(fd.as_raw_fd(), &address).context(call)?;
    listen(&fd, Backlog::new(backlog).unwrap_or(Backlog::MAXCONN)).context(|| "listen()".into())?;
    Ok(fd)
}

/// Connects to the message socket `name` inside the directory `directory`.
///
/// # Errors
/// ENOENT or ECONNREFUSED when nobody listens.
pub fn connect_at(directory: &Path, name: &str) -> Result<OwnedFd> {
    connect_with(directory, name, SockFlag::empty())
}

/// As [`connect_at`] without waiting.
///
/// # Errors
/// EAGAIN when the listener has too many connections to take.
pub fn try_connect_at(directory: &Path, name: &str) -> Result<OwnedFd> {
    let fd = connect_with(directory, name, SockFlag::SOCK_NONBLOCK)?;
    super::descriptor::set_blocking(fd.as_fd())?;
    Ok(fd)
}

/// Whether somebody listens on the message socket `name` inside the directory `directory`. Whoever it is accepts a
/// connection that ends at once.
pub fn is_listening(directory: &Path, name: &str) -> bool {
    // Without blocking: a listener with a full queue (EAGAIN) is one too.
    match connect_with(directory, name, SockFlag::SOCK_NONBLOCK) {
        Ok(_) => true,
        Err(e) => e.errno() == Some(libc::EAGAIN),
    }
}

fn connect_with(directory: &Path, name: &str, flags: SockFlag) -> Result<OwnedFd> {
    let dir = File::open(directory).context(|| format!("open({directory:?})"))?;
    let fd = seqpacket(flags)?;
    let call = || format!("connect({:?})", directory.join(name));
    let address = UnixAddr::new(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()).as_str()).context(call)?;
    connect(fd.as_raw_fd(), &address).context(call)?;
    Ok(fd)
}

fn seqpacket(flags: SockFlag) -> Result<OwnedFd> {
    socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC | flags, None)
        .context(|| "socket(AF_UNIX, SOCK_SEQPACKET)".into())
}

/// Accepts one connection, close-on-exec.
///
/// # Errors
/// The failing call.
pub fn accept(listener: BorrowedFd<'_>) -> Result<OwnedFd> {
    let fd = accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC).context(|| "accept4()".into())?;
    // SAFETY: the kernel just made this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// User, group and process of the other end (SO_PEERCRED).
///
/// # Errors
/// The failing call.
pub fn peer_credentials(fd: BorrowedFd<'_>) -> Result<nix::sys::socket::UnixCredentials> {
    getsockopt(&fd, sockopt::PeerCredentials).context(|| "getsockopt(SO_PEERCRED)".into())
}

/// Bytes that the other end of a unix socket has not read yet, with the kernel's own; 0 where that cannot be told. Of TCP
/// what is not acknowledged.
pub fn unread(fd: BorrowedFd<'_>) -> i32 {
    let mut bytes = 0;
    // SAFETY: SIOCOUTQ, which is TIOCOUTQ of sockets, writes one int.
    match unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ as _, &raw mut bytes) } {
        0 => bytes,
        _ => 0,
    }
}

/// Sends one message. Blocks unless the socket is non-blocking.
///
/// # Errors
/// EPIPE when the other end is gone (no SIGPIPE is raised); `Kind::Invalid` for too many descriptors.
pub fn send(fd: BorrowedFd<'_>, body: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    let mut raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let spill = if body.len() > INLINE_LIMIT { Some(spill(body)?) } else { None };
    raw.extend(spill.as_ref().map(AsRawFd::as_raw_fd));
    if raw.len() > MAX_DESCRIPTORS {
        return Err(Error::invalid(format!("{} descriptors in one message, at most {MAX_DESCRIPTORS}", raw.len())));
    }
    let head = [u8::from(spill.is_some())];
    let inline: &[u8] = if spill.is_some() { &[] } else { body };
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    loop {
        match sendmsg::<()>(
            fd.as_raw_fd(),
            &[IoSlice::new(&head), IoSlice::new(inline)],
            control,
            MsgFlags::MSG_NOSIGNAL,
            None,
        ) {
            Ok(_) => return Ok(()),
            Err(nix::Error::EINTR) => {}
            Err(e) => return Err(Error::os("sendmsg()", e as i32)),
        }
    }
}

fn spill(body: &[u8]) -> Result<File> {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    let fd = memfd_create("message", MFdFlags::MFD_CLOEXEC).context(|| "memfd_create()".into())?;
    let mut file = File::from(fd);
    file.write_all(body).context(|| "write(memfd)".into())?;
    Ok(file)
}

/// Receives one message; `None` when the other end is gone. Blocks unless the socket is non-blocking
/// (then EAGAIN when there is none).
///
/// # Errors
/// `Kind::Corrupt` for a message that breaks the form; otherwise the failing call.
pub fn recv(fd: BorrowedFd<'_>) -> Result<Option<Message>> {
    let mut body = vec![0u8; INLINE_LIMIT + 1];
    let mut fds = Vec::new();
    let (length, flags) = match net::receive_flags(fd, &mut body, &mut fds, 0) {
        Ok(received) => received,
        Err(e) if e.raw_os_error() == Some(libc::ECONNRESET) => return Ok(None),
        Err(e) => return Err(Error::io("recvmsg()", e)),
    };
    if length == 0 {
        return Ok(None);
    }
    if flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
        return Err(Error::new(Kind::Corrupt, "message too long or with too many descriptors"));
    }
    body.truncate(length);
    if body.remove(0) == 0 {
        return Ok(Some(Message { body, fds }));
    }
    let file = File::from(fds.pop().ok_or_else(|| Error::corrupt("message without its body"))?);
    let size = file.metadata().context(|| "fstat(memfd)".into())?.len();
    if size > BODY_LIMIT {
        return Err(Error::corrupt(format!("message of {size} bytes, at most {BODY_LIMIT}")));
    }
    let mut body = vec![0u8; size as usize];
    // The offset of a shared descriptor stands at the end of what the sender wrote.
    file.read_exact_at(&mut body, 0).context(|| "read(memfd)".into())?;
    Ok(Some(Message { body, fds }))
}

/// A borrowed view of an owned descriptor list, for [`send`].
pub fn borrow(fds: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    fds.iter().map(AsFd::as_fd).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_messages_arrive_with_their_descriptors() {
        let (a, b) = message_pair().unwrap();
        let file = File::open("/dev/null").unwrap();
        for size in [0, 1, INLINE_LIMIT, INLINE_LIMIT + 1, 1 << 20] {
            let body: Vec<u8> = (0..size).map(|i| i as u8).collect();
            send(a.as_fd(), &body, &[file.as_fd()]).unwrap();
            let m = recv(b.as_fd()).unwrap().unwrap();
            assert_eq!((m.body == body, m.fds.len()), (true, 1), "{size}");
        }
        drop(a);
        assert!(recv(b.as_fd()).unwrap().is_none());
    }

    #[test]
    fn long_directories_do_not_matter() {
        let dir = std::env::temp_dir().join(format!("{}-{}", "x".repeat(120), std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let l = listen_at(&dir, "s.sock", 4).unwrap();
        let c = connect_at(&dir, "s.sock").unwrap();
        let s = accept(l.as_fd()).unwrap();
        send(c.as_fd(), b"hi", &[]).unwrap();
        assert_eq!(recv(s.as_fd()).unwrap().unwrap().body, b"hi");
        assert_eq!(peer_credentials(s.as_fd()).unwrap().uid(), 0);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
