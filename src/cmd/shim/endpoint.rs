//! Reading and writing other people's descriptors without ever blocking the loop and without changing their flags:
//! a flag belongs to the open file description, which a client's shell may share.

use super::buffer::BLOCK;
use crate::utils::sys::descriptor::{self, Kind};
use crate::utils::sys::poll::{self, POLLIN, POLLOUT};
use nix::errno::Errno;
use nix::fcntl::{SpliceFFlags, splice};
use nix::sys::socket::{MsgFlags, recv, send, sendmsg};
use nix::unistd::{read, write};
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// What came of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// So many bytes moved.
    Moved(usize),
    /// Not now.
    Again,
    /// Never again: end of file, or broken.
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// MSG_DONTWAIT.
    Socket,
    /// Never blocks: a regular file, or a description of our own that is non-blocking.
    Plain,
    /// Might block: asked first, and moved in pieces that a ready descriptor takes at once.
    Careful,
}

/// Bytes that a pipe which polls writable takes without blocking (PIPE_BUF), and a terminal nearly always.
const CAREFUL_LIMIT: usize = 512;

/// A descriptor and the way to use it.
#[derive(Debug)]
pub struct Endpoint {
    fd: OwnedFd,
    way: Way,
}

impl Endpoint {
    /// Of a descriptor that someone handed over.
    pub fn new(fd: OwnedFd, for_writing: bool) -> Endpoint {
        match descriptor::kind(fd.as_fd()) {
            Kind::Socket => Endpoint { fd, way: Way::Socket },
            // A description of our own would start at offset 0.
            Kind::File | Kind::Null => Endpoint { fd, way: Way::Plain },
            Kind::Pipe | Kind::Terminal | Kind::Other => {
                match descriptor::reopen_nonblocking(fd.as_fd(), for_writing) {
                    Ok(own) => Endpoint { fd: own, way: Way::Plain },
                    Err(_) => Endpoint { fd, way: Way::Careful },
                }
            }
        }
    }

    /// Of a descriptor that is non-blocking and nobody else's.
    pub fn own(fd: OwnedFd) -> Endpoint {
        Endpoint { fd, way: Way::Plain }
    }

    /// Whether it is a socket, whose other end may stop taking without ever leaving.
    pub fn is_socket(&self) -> bool {
        self.way == Way::Socket
    }

    /// Reads what is there.
    pub fn read(&self, buffer: &mut [u8]) -> Transfer {
        loop {
            let result = match self.way {
                Way::Socket => recv(self.fd.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT),
                Way::Careful if !poll::is_ready(self.fd.as_fd(), POLLIN) => Err(Errno::EAGAIN),
                Way::Plain | Way::Careful => read(&self.fd, buffer),
            };
            match result {
                Ok(0) => return Transfer::Ended,
                other => {
                    if let Some(transfer) = outcome(other) {
                        return transfer;
                    }
                }
            }
        }
    }

    /// Moves what is there to `target` without a copy of it (splice(2)); `None` where that cannot be done now, or not at
    /// all, and reading and writing will tell why.
    pub fn splice(&self, target: &Endpoint) -> Option<Transfer> {
        if self.way != Way::Plain || target.way != Way::Plain {
            return None;
        }
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
        match splice(&self.fd, None, &target.fd, None, BLOCK, flags) {
            Ok(0) => Some(Transfer::Ended),
            Ok(n) => Some(Transfer::Moved(n)),
            Err(_) => None,
        }
    }

    /// Writes as much as fits now.
    pub fn write(&self, bytes: &[u8]) -> Transfer {
        loop {
            let result = match self.way {
                Way::Socket => send(self.fd.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL),
                Way::Plain => write(&self.fd, bytes),
                Way::Careful if !poll::is_ready(self.fd.as_fd(), POLLOUT) => Err(Errno::EAGAIN),
                Way::Careful => write(&self.fd, &bytes[..bytes.len().min(CAREFUL_LIMIT)]),
            };
            if let Some(transfer) = outcome(result) {
                return transfer;
            }
        }
    }

    /// Writes two pieces as if they were one.
    pub fn write_two(&self, head: &[u8], body: &[u8]) -> Transfer {
        if self.way != Way::Socket || head.is_empty() {
            return self.write(if head.is_empty() { body } else { head });
        }
        let parts = [IoSlice::new(head), IoSlice::new(body)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        loop {
            if let Some(transfer) = outcome(sendmsg::<()>(self.fd.as_raw_fd(), &parts, &[], flags, None)) {
                return transfer;
            }
        }
    }

    /// Gives the descriptor back.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

impl AsFd for Endpoint {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// `None` asks for another try. All hard errors are alike to the caller: the other side is of no use any more.
fn outcome(result: nix::Result<usize>) -> Option<Transfer> {
    match result {
        Ok(n) => Some(Transfer::Moved(n)),
        Err(Errno::EINTR) => None,
        Err(Errno::EAGAIN) => Some(Transfer::Again),
        Err(_) => Some(Transfer::Ended),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{FcntlArg, OFlag, fcntl};

    #[test]
    fn a_blocking_pipe_never_blocks_and_keeps_its_flags() {
        let (r, w) = descriptor::pipe().unwrap();
        let (reader, writer) = (r.try_clone().unwrap(), w.try_clone().unwrap());
        let (reader, writer) = (Endpoint::new(reader, false), Endpoint::new(writer, true));
        let mut buffer = vec![0u8; 1 << 17];
        assert_eq!(reader.read(&mut buffer), Transfer::Again);
        let mut sent = 0;
        while let Transfer::Moved(n) = writer.write(&buffer) {
            sent += n;
        }
        assert_eq!(sent, 65536);
        assert_eq!(reader.read(&mut buffer), Transfer::Moved(65536));
        for fd in [&r, &w] {
            assert!(!OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).unwrap()).contains(OFlag::O_NONBLOCK));
        }
        drop((w, writer));
        assert_eq!(reader.read(&mut buffer), Transfer::Ended);
    }

    #[test]
    fn the_careful_way_does_not_block_either() {
        let (r, w) = descriptor::pipe().unwrap();
        let (reader, writer) = (Endpoint { fd: r, way: Way::Careful }, Endpoint { fd: w, way: Way::Careful });
        let mut buffer = vec![0u8; 4096];
        assert_eq!(reader.read(&mut buffer), Transfer::Again);
        let mut sent = 0;
        while let Transfer::Moved(n) = writer.write(&buffer) {
            sent += n;
        }
        assert!(sent > 60_000, "{sent}");
        drop(reader);
        assert_eq!(writer.write(b"x"), Transfer::Ended);
    }

    #[test]
    fn a_file_goes_on_where_it_stands() {
        use std::io::{Read, Seek, Write};
        let path = std::env::temp_dir().join(format!("endpoint-{}", std::process::id()));
        let mut file =
            std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        file.write_all(b"before ").unwrap();
        let endpoint = Endpoint::new(file.try_clone().unwrap().into(), true);
        assert_eq!(endpoint.write(b"after"), Transfer::Moved(5));
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(text, "before after");
    }

    #[test]
    fn a_closed_socket_ends_without_a_signal() {
        let (a, b) = std::os::unix::net::UnixStream::pair().unwrap();
        let endpoint = Endpoint::new(a.into(), true);
        assert_eq!(endpoint.write_two(b"ab", b"cd"), Transfer::Moved(4));
        drop(b);
        assert_eq!(endpoint.write(b"x"), Transfer::Ended);
    }
}
