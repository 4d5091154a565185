//! The conversation between the caller and the process that becomes the program.
//!
//! ```text
//! caller                                       init
//!   clone ------------------------------------->
//!   <------------------------- Spawned(pid)       only with a user namespace: from the stage in between
//!   write id maps; Mapped --------------------->  only with a new user namespace
//!   make the cgroup; Enter(its files) --------->  mounts the root meanwhile; then joins the cgroup
//!   <------------------------------- Hooks        only with hooks: before pivot_root
//!   run them; Resume -------------------------->
//!   <--------------------- Ready(terminal)        all is set up, the program was found
//!   Start ------------------------------------->  filter
//!   <---------------------------- Listener(fd)    only with a filter that asks an agent
//!   give it to the agent                          last capabilities, execve
//!   <------------------- end of the socket        execve closed it: the program runs
//! ```
//! A caller that leaves before the start says `Wait` in place of `Start`. Whoever connects to the listening socket that
//! comes with it is the caller from then on:
//! ```text
//!   connect ----------------------------------->
//!   <------------------------------- Ready        for the case that several try: it has time for this one
//!   Start ------------------------------------->  as above
//! ```
//! At any point init may send `Failed` or, from where it must not allocate any more, `Last`. When the caller dies,
//! init's next read ends and it exits; when init dies, the caller's next read ends before `Ready` and it reaps. The
//! caller waits at most [`DEADLINE`] seconds for each message; init waits as long as the caller lives. A further
//! process of a running container says `Ready` and goes on, or waits for `Start`.

use crate::error::{Context, Error, Kind, Result};
use crate::utils::sys::{fd, socket};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Seconds the caller waits for the next message.
pub const DEADLINE: i64 = 120;
/// Longest text of an error.
const TEXT_LIMIT: usize = 4096;
/// Most files of a cgroup: one for each hierarchy.
const MAX_DESCRIPTORS: usize = 32;

/// What init says.
#[derive(Debug)]
pub enum FromInit {
    /// The process that becomes the program, as the stage sees it.
    Spawned(i32),
    /// The point of the hooks.
    Hooks,
    /// Set up; the master of its terminal.
    Ready(Option<OwnedFd>),
    /// The listener of its filter.
    Listener(OwnedFd),
    /// It cannot go on.
    Failed(Error),
    /// It cannot go on, past the point where it may allocate.
    Last(LastStep, i32),
    /// The program runs, or init died without a word.
    End,
}

/// What the caller says.
#[derive(Debug)]
pub enum ToInit {
    /// The id maps are written; a further process of an unprivileged caller is known to it.
    Mapped,
    /// Files of the cgroup to join.
    Enter(Vec<OwnedFd>),
    /// The hooks ran.
    Resume,
    /// Run the program.
    Start,
    /// Run it when somebody says so who connects to this listening socket.
    Wait(OwnedFd),
}

/// The steps after the point of no return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum LastStep {
    /// Loading the system call filter.
    Filter = 1,
    /// Setting the capabilities.
    Capabilities = 2,
    /// Replacing the program.
    Execve = 3,
    /// Handing the filter's listener over.
    Listener = 4,
}

/// The caller's end.
#[derive(Debug)]
pub struct CallerEnd(OwnedFd);

/// Init's end.
#[derive(Debug)]
pub struct InitEnd(OwnedFd);

/// Both ends.
///
/// # Errors
/// The failing call.
pub fn pair() -> Result<(CallerEnd, InitEnd)> {
    let (a, b) = socketpair(nix::sys::socket::AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .context(|| "socketpair(AF_UNIX, SOCK_SEQPACKET)".into())?;
    Ok((CallerEnd::new(a)?, InitEnd(b)))
}

impl CallerEnd {
    /// The end of a conversation over `connection`.
    ///
    /// # Errors
    /// The failing call.
    pub fn new(connection: OwnedFd) -> Result<CallerEnd> {
        nix::sys::socket::setsockopt(
            &connection,
            nix::sys::socket::sockopt::ReceiveTimeout,
            &TimeVal::seconds(DEADLINE),
        )
        .context(|| "setsockopt(SO_RCVTIMEO)".into())?;
        Ok(CallerEnd(connection))
    }

    /// Closes the copy that a new process has of it, or that process would never see the end of its conversation when
    /// the caller dies. To be called in a process that ends by execve(2) or exit only.
    pub fn close_copy(&self) {
        let _ = nix::unistd::close(self.0.as_raw_fd()); // open, since it is owned
    }

    /// Says `message`. A dead init is no error here: the next read tells why it died.
    ///
    /// # Errors
    /// The failing call.
    pub fn send(&self, message: &ToInit) -> Result<()> {
        let (tag, fds) = match message {
            ToInit::Mapped => (b'm', &[][..]),
            ToInit::Enter(files) => (b'e', files.as_slice()),
            ToInit::Resume => (b'r', &[][..]),
            ToInit::Start => (b's', &[][..]),
            ToInit::Wait(listener) => (b'w', std::slice::from_ref(listener)),
        };
        let fds: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        match send(self.0.as_fd(), &[tag], &fds) {
            Ok(()) | Err(nix::Error::EPIPE | nix::Error::ECONNRESET) => Ok(()),
            Err(e) => Err(Error::os("sendmsg()", e as i32)),
        }
    }

    /// Waits for what init says.
    ///
    /// # Errors
    /// `Kind::Timeout` past the deadline; `Kind::Corrupt` for a message that breaks the form.
    pub fn receive(&self) -> Result<FromInit> {
        let corrupt = || Error::corrupt("message of the container's first process");
        let mut result = receive(self.0.as_fd());
        if let Err(nix::Error::ECONNRESET) = result {
            // Init ended without reading all that was said to it. The kernel tells this first, once; what init had
            // to say comes behind.
            result = receive(self.0.as_fd());
        }
        let (bytes, mut fds) = match result {
            Err(nix::Error::EAGAIN) => {
                let text = format!("the container's first process is not ready after {DEADLINE} s");
                return Err(Error::new(Kind::Timeout, text));
            }
            result => result.context(|| "recvmsg()".into())?,
        };
        let Some((&tag, body)) = bytes.split_first() else { return Ok(FromInit::End) };
        let number = |at: usize| {
            let bytes = body.get(at..at + 4).and_then(|b| b.try_into().ok());
            bytes.map(i32::from_ne_bytes).ok_or_else(corrupt)
        };
        match tag {
            b'p' => Ok(FromInit::Spawned(number(0)?)),
            b'h' => Ok(FromInit::Hooks),
            b'R' => Ok(FromInit::Ready(fds.pop())),
            b'n' => Ok(FromInit::Listener(fds.pop().ok_or_else(corrupt)?)),
            b'l' => {
                let step = [LastStep::Filter, LastStep::Capabilities, LastStep::Execve, LastStep::Listener]
                    .into_iter()
                    .find(|s| body.first() == Some(&(*s as u8)));
                Ok(FromInit::Last(step.ok_or_else(corrupt)?, number(1)?))
            }
            b'f' => {
                let kind = decode(*body.first().ok_or_else(corrupt)?, number(1)?).ok_or_else(corrupt)?;
                let text = String::from_utf8_lossy(body.get(5..).unwrap_or_default()).into_owned();
                Ok(FromInit::Failed(Error::new(kind, text)))
            }
            _ => Err(corrupt()),
        }
    }
}

impl InitEnd {
    /// Says which process becomes the program.
    ///
    /// # Errors
    /// The failing call: EPIPE when the caller is gone.
    pub fn spawned(&self, pid: i32) -> Result<()> {
        let mut message = [b'p'; 5];
        message[1..].copy_from_slice(&pid.to_ne_bytes());
        self.say(&message, &[])
    }

    /// Says that the point of the hooks is reached.
    ///
    /// # Errors
    /// As [`InitEnd::spawned`].
    pub fn hooks(&self) -> Result<()> {
        self.say(b"h", &[])
    }

    /// Says that all is set up.
    ///
    /// # Errors
    /// As [`InitEnd::spawned`].
    pub fn ready(&self, terminal: Option<BorrowedFd<'_>>) -> Result<()> {
        let fds: Vec<RawFd> = terminal.iter().map(AsRawFd::as_raw_fd).collect();
        self.say(b"R", &fds)
    }

    /// Says why it cannot go on. Nothing is to be done when the caller does not hear it.
    pub fn failed(&self, error: &Error) {
        let (code, errno) = encode(error.kind());
        let mut message = vec![b'f', code];
        message.extend_from_slice(&errno.to_ne_bytes());
        let text = error.to_string();
        let mut end = text.len().min(TEXT_LIMIT);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        message.extend_from_slice(&text.as_bytes()[..end]);
        let _ = self.say(&message, &[]);
    }

    /// Hands over the listener of the filter that was just loaded, without allocation.
    ///
    /// # Errors
    /// The errno of sendmsg(2).
    pub fn listener(&self, listener: BorrowedFd<'_>) -> std::result::Result<(), i32> {
        fd::send(self.0.as_fd(), b'n', listener)
    }

    /// As [`InitEnd::failed`], without allocation.
    pub fn failed_last(&self, step: LastStep, errno: i32) {
        let mut message = [b'l'; 6];
        message[1] = step as u8;
        message[2..].copy_from_slice(&errno.to_ne_bytes());
        let _ = nix::sys::socket::send(self.0.as_raw_fd(), &message, MsgFlags::MSG_NOSIGNAL);
    }

    /// Waits for what the caller says; a caller that is gone is an error.
    ///
    /// # Errors
    /// `Kind::Remote` when the caller is gone.
    pub fn receive(&self) -> Result<ToInit> {
        let (bytes, mut fds) = receive(self.0.as_fd()).context(|| "recvmsg()".into())?;
        match bytes.first() {
            Some(b'm') => Ok(ToInit::Mapped),
            Some(b'e') => Ok(ToInit::Enter(fds)),
            Some(b'r') => Ok(ToInit::Resume),
            Some(b's') => Ok(ToInit::Start),
            Some(b'w') if fds.len() == 1 => Ok(ToInit::Wait(fds.remove(0))),
            _ => Err(Error::new(Kind::Remote, "the container's supervisor is gone")),
        }
    }

    /// Waits for the start, which may be another caller's: this end is connected to that one then.
    ///
    /// # Errors
    /// As [`InitEnd::receive`].
    pub fn await_start(&self) -> Result<()> {
        let listener = match self.receive()? {
            ToInit::Start => return Ok(()),
            ToInit::Wait(listener) => listener,
            _ => return Err(Error::internal("expected the start")),
        };
        loop {
            let connection = socket::accept(listener.as_fd())?;
            fd::replace(self.0.as_fd(), connection.as_fd())?;
            drop(connection);
            // Who looks whether somebody listens hangs up without a word.
            if self.ready(None).is_ok() && matches!(self.receive(), Ok(ToInit::Start)) {
                break;
            }
        }
        // Open until execve(2) closes it: that is how others see that the program does not run yet.
        std::mem::forget(listener);
        Ok(())
    }

    fn say(&self, message: &[u8], fds: &[RawFd]) -> Result<()> {
        send(self.0.as_fd(), message, fds).context(|| "sendmsg()".into())
    }
}

fn send(fd: BorrowedFd<'_>, bytes: &[u8], fds: &[RawFd]) -> nix::Result<()> {
    let rights = [ControlMessage::ScmRights(fds)];
    let control: &[ControlMessage<'_>] = if fds.is_empty() { &[] } else { &rights };
    loop {
        match sendmsg::<()>(fd.as_raw_fd(), &[IoSlice::new(bytes)], control, MsgFlags::MSG_NOSIGNAL, None) {
            Err(nix::Error::EINTR) => {}
            result => return result.map(drop),
        }
    }
}

/// One message; empty at the end.
fn receive(fd: BorrowedFd<'_>) -> nix::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut bytes = vec![0u8; TEXT_LIMIT + 16];
    let mut space = nix::cmsg_space!([RawFd; MAX_DESCRIPTORS]);
    loop {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        match recvmsg::<()>(fd.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC) {
            Err(nix::Error::EINTR) => {}
            Err(e) => return Err(e),
            Ok(message) => {
                let mut fds = Vec::new();
                for c in message.cmsgs()? {
                    if let ControlMessageOwned::ScmRights(list) = c {
                        fds.extend(list.into_iter().map(crate::utils::sys::fd::received));
                    }
                }
                let length = message.bytes;
                bytes.truncate(length);
                return Ok((bytes, fds));
            }
        }
    }
}

const KINDS: [Kind; 13] = [
    Kind::NotFound,
    Kind::Exists,
    Kind::Conflict,
    Kind::Invalid,
    Kind::Unsupported,
    Kind::Denied,
    Kind::Busy,
    Kind::Timeout,
    Kind::Corrupt,
    Kind::Remote,
    Kind::CommandNotFound,
    Kind::CommandNotExecutable,
    Kind::Internal,
];
const OS: u8 = 255;

fn encode(kind: Kind) -> (u8, i32) {
    match kind {
        Kind::Os(errno) => (OS, errno),
        kind => (KINDS.iter().position(|k| *k == kind).expect("the table has every kind but Os") as u8, 0),
    }
}

fn decode(code: u8, errno: i32) -> Option<Kind> {
    if code == OS { Some(Kind::Os(errno)) } else { KINDS.get(usize::from(code)).copied() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_as_they_were() {
        let (caller, init) = pair().unwrap();
        init.spawned(7).unwrap();
        assert!(matches!(caller.receive().unwrap(), FromInit::Spawned(7)));
        let file = std::fs::File::open("/dev/null").unwrap();
        init.ready(Some(file.as_fd())).unwrap();
        assert!(matches!(caller.receive().unwrap(), FromInit::Ready(Some(_))));
        for kind in KINDS.into_iter().chain([Kind::Os(libc::EPERM)]) {
            init.failed(&Error::new(kind, "é".repeat(TEXT_LIMIT)));
            let FromInit::Failed(e) = caller.receive().unwrap() else { panic!("{kind:?}") };
            assert_eq!((e.kind(), e.to_string().len()), (kind, TEXT_LIMIT));
        }
        init.listener(file.as_fd()).unwrap();
        assert!(matches!(caller.receive().unwrap(), FromInit::Listener(_)));
        init.failed_last(LastStep::Execve, libc::ENOENT);
        assert!(matches!(caller.receive().unwrap(), FromInit::Last(LastStep::Execve, libc::ENOENT)));
        caller.send(&ToInit::Enter(vec![file.into()])).unwrap();
        assert!(matches!(init.receive().unwrap(), ToInit::Enter(files) if files.len() == 1));
        caller.send(&ToInit::Start).unwrap();
        drop(caller);
        assert!(matches!(init.receive().unwrap(), ToInit::Start));
        assert_eq!(init.receive().unwrap_err().kind(), Kind::Remote);
        let (caller, init) = pair().unwrap();
        caller.send(&ToInit::Resume).unwrap();
        init.hooks().unwrap();
        drop(init);
        assert!(matches!(caller.receive().unwrap(), FromInit::Hooks));
        assert!(matches!(caller.receive().unwrap(), FromInit::End));
        caller.send(&ToInit::Start).unwrap();
    }

    #[test]
    fn another_caller_takes_over() {
        let directory = std::env::temp_dir().join(format!("sync-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let (caller, init) = pair().unwrap();
        caller.send(&ToInit::Wait(socket::listen_at(&directory, "s", 4).unwrap())).unwrap();
        drop(caller);
        let waiting = std::thread::spawn(move || init.await_start().map(|()| init));
        assert!(socket::is_listening(&directory, "s"), "somebody who only looks");
        let caller = CallerEnd::new(socket::connect_at(&directory, "s").unwrap()).unwrap();
        assert!(matches!(caller.receive().unwrap(), FromInit::Ready(None)));
        caller.send(&ToInit::Start).unwrap();
        let init = waiting.join().unwrap().unwrap();
        assert!(socket::is_listening(&directory, "s"), "until execve(2)");
        init.failed_last(LastStep::Execve, libc::ENOENT);
        assert!(matches!(caller.receive().unwrap(), FromInit::Last(LastStep::Execve, libc::ENOENT)));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
