//! Stream sockets without the signal and without blocking: a caller polls when there is nothing to do, so a deadline
//! needs no socket option that would stay behind when the socket is handed to another process.

use crate::error::{Context, Error, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, SockType, getsockopt, sendmsg, sockopt};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// Most descriptors that are taken with one read; the kernel closes those beyond.
pub const MAX_DESCRIPTORS: usize = 8;

/// Receives what is there (recvmsg(2)); 0 at the end. Descriptors that came along are added to `fds`, close-on-exec.
///
/// # Errors
/// `WouldBlock` when there is nothing; otherwise the failing call.
pub fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<usize> {
    receive_flags(fd, buffer, fds, libc::MSG_DONTWAIT).map(|(n, _)| n)
}

/// As [`receive`], with the flags of recvmsg(2) chosen by the caller; also gives the flags that came back, which tell of
/// truncation. Descriptors are taken in any case, so that none is lost.
///
/// # Errors
/// As [`receive`].
pub fn receive_flags(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
    fds: &mut Vec<OwnedFd>,
    flags: libc::c_int,
) -> io::Result<(usize, libc::c_int)> {
    // Aligned as the control headers that the kernel writes into it.
    let mut control = [0u64; 8];
    let mut iov = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: an all-zero msghdr is valid: no name, no buffers, no flags.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut iov;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    // SAFETY: CMSG_SPACE only computes.
    message.msg_controllen = unsafe { libc::CMSG_SPACE((MAX_DESCRIPTORS * size_of::<RawFd>()) as u32) } as _;
    let n = loop {
        // SAFETY: the header points at `buffer` and `control`, both exclusively borrowed for the call, with their
        // lengths; 48 bytes of control fit into 64.
        let n = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, flags | libc::MSG_CMSG_CLOEXEC) };
        if n >= 0 {
            break n as usize;
        }
        let e = io::Error::last_os_error();
        if e.kind() != io::ErrorKind::Interrupted {
            return Err(e);
        }
    };
    // SAFETY: recvmsg filled the control buffer and its length; the iteration stays inside of them, and each
    // descriptor was installed by the kernel for this call and is taken once.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*header).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                let data: *const RawFd = libc::CMSG_DATA(header).cast();
                for i in 0..bytes / size_of::<RawFd>() {
                    fds.push(OwnedFd::from_raw_fd(data.add(i).read_unaligned()));
                }
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    Ok((n, message.msg_flags))
}

/// Sends what fits (sendmsg(2)), without SIGPIPE. Descriptors go along with the first byte; unix sockets only.
///
/// # Errors
/// `WouldBlock` when nothing fits; otherwise the failing call.
pub fn send(fd: BorrowedFd<'_>, parts: &[IoSlice<'_>], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    loop {
        match sendmsg::<()>(fd.as_raw_fd(), parts, control, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT, None) {
            Ok(n) => return Ok(n),
            Err(nix::Error::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Sends all of `parts`; `patience` is the time without progress after which it gives up, `None` is no limit.
///
/// # Errors
/// `TimedOut` without progress; otherwise the failing call.
pub fn send_all(
    fd: BorrowedFd<'_>,
    mut parts: &mut [IoSlice<'_>],
    mut fds: &[BorrowedFd<'_>],
    patience: Option<Duration>,
) -> io::Result<()> {
    IoSlice::advance_slices(&mut parts, 0); // empty parts at the front would be a send of nothing
    while !parts.is_empty() {
        match send(fd, parts, fds) {
            Ok(n) => {
                IoSlice::advance_slices(&mut parts, n);
                fds = &[];
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                let deadline = patience.map(|p| Instant::now() + p);
                if !wait_for(&mut [PollFd::new(fd, PollFlags::POLLOUT)], deadline)? {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Receives something, waiting until `deadline`; 0 at the end.
///
/// # Errors
/// `TimedOut` after the deadline; otherwise the failing call.
pub fn receive_by(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
    fds: &mut Vec<OwnedFd>,
    deadline: Option<Instant>,
) -> io::Result<usize> {
    loop {
        match receive(fd, buffer, fds) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            other => return other,
        }
        if !wait_for(&mut [PollFd::new(fd, PollFlags::POLLIN)], deadline)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

/// Waits until one of `fds` is ready (poll(2)); `false` when the deadline passed first.
///
/// # Errors
/// The failing call.
pub fn wait_for(fds: &mut [PollFd<'_>], deadline: Option<Instant>) -> io::Result<bool> {
    loop {
        let timeout = match deadline {
            None => PollTimeout::NONE,
            Some(d) => {
                // Rounded up, so that the last millisecond is not spent in a loop.
                let left = d.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
                PollTimeout::try_from(i32::try_from(left).unwrap_or(i32::MAX)).unwrap_or(PollTimeout::MAX)
            }
        };
        match poll(fds, timeout) {
            Ok(0) if deadline.is_some_and(|d| Instant::now() >= d) => return Ok(false),
            Ok(0) | Err(nix::Error::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(e) => return Err(e.into()),
        }
    }
}

/// How many listening sockets a service manager passed (sd_listen_fds(3)): descriptors from 3 on, when the environment's
/// `LISTEN_PID` is this process.
///
/// # Errors
/// `Kind::Invalid` for a malformed count.
pub fn passed() -> Result<RawFd> {
    let variable = |name: &str| std::env::var(name).ok();
    if variable("LISTEN_PID").and_then(|v| v.parse().ok()) != Some(std::process::id()) {
        return Ok(0);
    }
    let count = variable("LISTEN_FDS").unwrap_or_default();
    let number = count.parse().ok().filter(|n| (0..=64).contains(n));
    number.ok_or_else(|| Error::invalid(format!("invalid LISTEN_FDS {count:?}")))
}

/// Takes the sockets that were [`passed`]. To be called once, before the process opens anything of its own: what the
/// manager did not pass would be that.
///
/// # Errors
/// As [`passed`]; `Kind::Invalid` for one that is no listening stream socket.
pub fn take_passed() -> Result<Vec<OwnedFd>> {
    let take = |raw| {
        let fd = take_descriptor(raw)?;
        check_listening(fd.as_fd()).map(|()| fd)
    };
    (3..3 + passed()?).map(|raw| take(raw).context(|| format!("LISTEN_FDS: descriptor {raw}"))).collect()
}

fn check_listening(fd: BorrowedFd<'_>) -> Result<()> {
    match getsockopt(&fd, sockopt::SockType) {
        Ok(SockType::Stream) => {}
        Ok(_) => return Err(Error::invalid("is no stream socket")),
        Err(nix::Error::ENOTSOCK) => return Err(Error::invalid("is no socket")),
        Err(e) => return Err(e).context(|| "getsockopt(SO_TYPE)".into()),
    }
    match getsockopt(&fd, sockopt::AcceptConn).context(|| "getsockopt(SO_ACCEPTCONN)".into())? {
        true => Ok(()),
        false => Err(Error::invalid("is a socket that does not listen")),
    }
}

fn take_descriptor(raw: RawFd) -> Result<OwnedFd> {
    // SAFETY: fcntl with integer arguments touches no memory; a number that is not open gives an error.
    if unsafe { libc::fcntl(raw, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(Error::last_os(format!("fcntl({raw}, F_SETFD, FD_CLOEXEC)")));
    }
    // SAFETY: the descriptor is open (the call above succeeded) and by the protocol's contract it is ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    #[test]
    fn descriptors_arrive_with_the_first_byte_only() {
        let (a, b) = UnixStream::pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let mut parts = [IoSlice::new(b""), IoSlice::new(b"he"), IoSlice::new(b"llo")];
        send_all(a.as_fd(), &mut parts, &[null.as_fd(); 3], None).unwrap();
        let (mut buffer, mut fds) = ([0; 16], Vec::new());
        assert_eq!(receive(b.as_fd(), &mut buffer, &mut fds).unwrap(), 5);
        assert_eq!((&buffer[..5], fds.len()), (&b"hello"[..], 3));
        let e = receive(b.as_fd(), &mut buffer, &mut fds).unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::WouldBlock);
        drop(a);
        assert_eq!(receive(b.as_fd(), &mut buffer, &mut fds).unwrap(), 0);
    }

    #[test]
    fn a_flood_of_descriptors_is_cut_and_does_not_leak() {
        let (a, b) = UnixStream::pair().unwrap();
        let (end, kept) = UnixStream::pair().unwrap();
        send(a.as_fd(), &[IoSlice::new(b"x")], &[end.as_fd(); 20]).unwrap();
        drop(end);
        let mut fds = Vec::new();
        receive(b.as_fd(), &mut [0; 4], &mut fds).unwrap();
        assert!((3..20).contains(&fds.len()), "{}", fds.len());
        fds.clear();
        // Only when every copy is closed does the other side see the end.
        assert_eq!(receive_by(kept.as_fd(), &mut [0; 1], &mut fds, Some(Instant::now())).unwrap(), 0);
    }

    #[test]
    fn only_what_listens_is_taken() {
        let path = std::env::temp_dir().join(format!("listening-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        check_listening(listener.as_fd()).unwrap();
        std::fs::remove_file(&path).unwrap();
        let (stream, _other) = UnixStream::pair().unwrap();
        let datagrams = UnixDatagram::unbound().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        for (fd, why) in
            [(stream.as_fd(), "does not listen"), (datagrams.as_fd(), "no stream socket"), (null.as_fd(), "no socket")]
        {
            let e = check_listening(fd).unwrap_err();
            assert!(e.kind() == Kind::Invalid && e.to_string().contains(why), "{e}");
        }
    }

    #[test]
    fn deadlines_pass() {
        let (a, _b) = UnixStream::pair().unwrap();
        let soon = Some(Instant::now() + Duration::from_millis(20));
        let e = receive_by(a.as_fd(), &mut [0; 1], &mut Vec::new(), soon).unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::TimedOut);
        let block = vec![0; 4 << 20];
        let e = send_all(a.as_fd(), &mut [IoSlice::new(&block)], &[], Some(Duration::from_millis(20))).unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_vanished_reader_is_an_error_and_no_signal() {
        let (a, b) = UnixStream::pair().unwrap();
        drop(b);
        let e = send_all(a.as_fd(), &mut [IoSlice::new(b"x")], &[], None).unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::BrokenPipe);
    }
}
