//! Network interfaces and their addresses, as the kernel tells and takes them (rtnetlink(7)).

use crate::utils::sys::clone::setns;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
use nix::sys::stat::Mode;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Longest answer that is taken: an interface with hundreds of virtual functions.
const ANSWER: usize = 256 << 10;
/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// How often a list is asked for that changes while it is told.
const ATTEMPTS: u32 = 16;
/// NLM_F_DUMP_INTR: what was told so far has changed meanwhile.
const INTERRUPTED: u16 = 0x10;
/// What a request may say of an address (linux/if_addr.h): NODAD, HOMEADDRESS, MANAGETEMPADDR, NOPREFIXROUTE and
/// MCAUTOJOIN. The other flags are the kernel's to set.
const FLAGS: u32 = 0x02 | 0x10 | 0x100 | 0x200 | 0x400;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
const IFA_RT_PRIORITY: u16 = 9;
const IFA_PROTO: u16 = 11;

/// A socket to the part of the kernel that keeps the interfaces of one network namespace.
#[derive(Debug)]
pub struct Netlink(OwnedFd);

/// An interface.
#[derive(Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number in its network namespace.
    pub index: i32,
    /// Its name there; not the alternative one that it may have been found by.
    pub name: String,
}

/// An address of an interface: what a request to make it has, but for the interface.
#[derive(Debug, PartialEq, Eq)]
pub struct Address {
    /// Family, length of the prefix, flags, scope.
    head: [u8; 4],
    attributes: Vec<u8>,
    flags: u32,
}

impl Address {
    /// Whether it was given for good, and not for a while or by the kernel's own doing (IFA_F_PERMANENT).
    pub fn is_permanent(&self) -> bool {
        self.flags & libc::IFA_F_PERMANENT != 0
    }

    /// Whether others may know it, and not only those on the same link (RT_SCOPE_UNIVERSE).
    pub fn is_global(&self) -> bool {
        self.head[3] == libc::RT_SCOPE_UNIVERSE
    }
}

impl Netlink {
    /// For the calling thread's network namespace.
    ///
    /// # Errors
    /// The failing call.
    pub fn open() -> nix::Result<Netlink> {
        let protocol = SockProtocol::NetlinkRoute;
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).map(Netlink)
    }

    /// For the network namespace `namespace`, which the calling thread enters for a moment.
    ///
    /// # Errors
    /// The failing call. When it is the way back, the thread is still elsewhere and must end.
    pub fn open_in(namespace: BorrowedFd<'_>) -> nix::Result<Netlink> {
        let own = open("/proc/thread-self/ns/net", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        setns(namespace, libc::CLONE_NEWNET)?;
        let opened = Netlink::open();
        setns(own.as_fd(), libc::CLONE_NEWNET)?;
        opened
    }

    /// The interface `name`.
    ///
    /// # Errors
    /// ENODEV when there is none.
    pub fn link(&self, name: &str) -> nix::Result<Link> {
        let request = Request::new(libc::RTM_GETLINK, 0, &link_header(0, 0));
        let mut found = Err(Errno::ENODEV);
        self.exchange(request.text(libc::IFLA_IFNAME, name), &mut |kind, body| {
            if let (libc::RTM_NEWLINK, Some((head, rest))) = (kind, body.split_first_chunk::<16>()) {
                let own = attributes(rest).find(|(kind, _)| *kind == libc::IFLA_IFNAME).map(|(_, name)| name);
                let name = String::from_utf8_lossy(own.unwrap_or_default()).trim_end_matches('\0').to_owned();
                found = Ok(Link { index: i32::from_ne_bytes([head[4], head[5], head[6], head[7]]), name });
            }
        })?;
        found
    }

    /// Moves interface `index` to the network namespace `to` and names it `name` there. It is down then, and without
    /// addresses.
    ///
    /// # Errors
    /// EINVAL for one that is bound to its namespace, EEXIST when the name is taken there, EPERM without CAP_NET_ADMIN
    /// over both.
    pub fn move_link(&self, index: i32, to: BorrowedFd<'_>, name: &str) -> nix::Result<()> {
        let request = Request::new(libc::RTM_NEWLINK, 0, &link_header(index, 0));
        let request = request.text(libc::IFLA_IFNAME, name);
        self.exchange(request.attribute(libc::IFLA_NET_NS_FD, &to.as_raw_fd().to_ne_bytes()), &mut |_, _| {})
    }

    /// Brings interface `index` up.
    ///
    /// # Errors
    /// What its driver says.
    pub fn raise(&self, index: i32) -> nix::Result<()> {
        let header = link_header(index, libc::IFF_UP as u32);
        self.exchange(Request::new(libc::RTM_NEWLINK, 0, &header), &mut |_, _| {})
    }

    /// The addresses of interface `index`, of all families.
    ///
    /// # Errors
    /// The failing call.
    pub fn addresses(&self, index: i32) -> nix::Result<Vec<Address>> {
        let mut attempt = 1;
        loop {
            let mut list = Vec::new();
            let request = Request::new(libc::RTM_GETADDR, libc::NLM_F_DUMP, &[0; 8]);
            let told = self.exchange(request, &mut |kind, body| {
                if let (libc::RTM_NEWADDR, Some((head, rest))) = (kind, body.split_first_chunk::<8>())
                    && i32::from_ne_bytes([head[4], head[5], head[6], head[7]]) == index
                {
                    list.push(address([head[0], head[1], head[2], head[3]], rest));
                }
            });
            match told {
                Err(Errno::EAGAIN) if attempt < ATTEMPTS => attempt += 1,
                other => return other.map(|()| list),
            }
        }
    }

    /// Gives interface `index` an address.
    ///
    /// # Errors
    /// EEXIST when it has it, EACCES for one of version 6 where that is switched off.
    pub fn add_address(&self, index: i32, address: &Address) -> nix::Result<()> {
        let mut header = [0; 8];
        header[..4].copy_from_slice(&address.head);
        header[4..].copy_from_slice(&index.to_ne_bytes());
        let mut request = Request::new(libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &header);
        request.0.extend_from_slice(&address.attributes);
        self.exchange(request, &mut |_, _| {})
    }

    /// Sends a request and gives the kinds and bodies of the answers to `each`.
    fn exchange(&self, request: Request, each: &mut dyn FnMut(u16, &[u8])) -> nix::Result<()> {
        let mut request = request.0;
        let length = request.len() as u32;
        request[..4].copy_from_slice(&length.to_ne_bytes());
        send(self.0.as_raw_fd(), &request, MsgFlags::empty())?;
        let mut buffer = vec![0; ANSWER];
        let mut changed = false;
        loop {
            let length = match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC) {
                Err(Errno::EINTR) => continue,
                length => length?,
            };
            let mut rest = buffer.get(..length).ok_or(Errno::EMSGSIZE)?;
            while let Some((header, _)) = rest.split_first_chunk::<HEADER>() {
                let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
                let kind = u16::from_ne_bytes([header[4], header[5]]);
                changed |= u16::from_ne_bytes([header[6], header[7]]) & INTERRUPTED != 0;
                let body = rest.get(HEADER..length).ok_or(Errno::EBADMSG)?;
                match libc::c_int::from(kind) {
                    // Both begin with an error number; that of success is 0.
                    libc::NLMSG_ERROR | libc::NLMSG_DONE => {
                        let errno = body.first_chunk().map_or(0, |errno| i32::from_ne_bytes(*errno));
                        return match errno {
                            0 if changed => Err(Errno::EAGAIN),
                            0 => Ok(()),
                            errno => Err(Errno::from_raw(-errno)),
                        };
                    }
                    _ => each(kind, body),
                }
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

/// A message that is being put together.
struct Request(Vec<u8>);

impl Request {
    /// Every request asks for a word at its end, so that the answer to it is known to be whole.
    fn new(kind: u16, flags: libc::c_int, body: &[u8]) -> Request {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags) as u16;
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(body);
        Request(bytes)
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Request {
        push(&mut self.0, kind, value);
        self
    }

    fn text(self, kind: u16, value: &str) -> Request {
        self.attribute(kind, &[value.as_bytes(), &[0]].concat())
    }
}

/// `struct ifinfomsg` for an interface, with flags to switch on.
fn link_header(index: i32, on: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&on.to_ne_bytes());
    header[12..].copy_from_slice(&on.to_ne_bytes());
    header
}

/// An address as it is told, without what is its present interface's or the kernel's own.
fn address(head: [u8; 4], told: &[u8]) -> Address {
    let mut flags = u32::from(head[2]);
    let mut kept = Vec::new();
    for (kind, value) in attributes(told) {
        match kind {
            IFA_FLAGS => flags = value.first_chunk().map_or(flags, |flags| u32::from_ne_bytes(*flags)),
            libc::IFA_ADDRESS | libc::IFA_LOCAL | libc::IFA_BROADCAST | IFA_CACHEINFO | IFA_RT_PRIORITY | IFA_PROTO => {
                push(&mut kept, kind, value);
            }
            _ => {}
        }
    }
    push(&mut kept, IFA_FLAGS, &(flags & FLAGS).to_ne_bytes());
    Address { head: [head[0], head[1], 0, head[3]], attributes: kept, flags }
}

fn push(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = (4 + value.len()) as u16;
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// Kinds and values of a run of attributes, up to one that is damaged.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (header, _) = bytes.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([header[2], header[3]]), value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_found() {
        let netlink = Netlink::open().unwrap();
        let link = netlink.link("lo").unwrap();
        assert_eq!(link, Link { index: link.index, name: "lo".into() });
        let list = netlink.addresses(link.index).unwrap();
        // Of the host, not global but in version 6's eyes.
        assert!(list.iter().all(|a| a.is_permanent()), "{list:?}");
        assert!(list.iter().filter(|a| i32::from(a.head[0]) == libc::AF_INET).all(|a| !a.is_global()));
        assert_eq!(netlink.link("no-such").unwrap_err(), Errno::ENODEV);
        let missing = netlink.add_address(i32::MAX, list.first().unwrap_or(&address([2, 8, 0, 0], &[]))).unwrap_err();
        assert!(matches!(missing, Errno::ENODEV | Errno::EPERM | Errno::EINVAL), "{missing}");
    }

    #[test]
    fn what_is_told_of_an_address_is_made_a_request() {
        let mut told = Vec::new();
        push(&mut told, libc::IFA_ADDRESS, &[10, 0, 0, 1]);
        push(&mut told, libc::IFA_LABEL, b"eth0:1\0");
        push(&mut told, IFA_FLAGS, &0x0281u32.to_ne_bytes());
        let found = address([2, 24, 0x80, 0], &told);
        assert!(found.is_permanent() && found.is_global());
        assert_eq!(found.head, [2, 24, 0, 0]);
        let kept: Vec<_> = attributes(&found.attributes).collect();
        assert_eq!(kept, [(libc::IFA_ADDRESS, &[10, 0, 0, 1][..]), (IFA_FLAGS, &0x0200u32.to_ne_bytes()[..])]);
        let other = address([2, 24, 0, 253], &[]);
        assert!(!other.is_permanent() && !other.is_global());
    }

    #[test]
    fn damaged_attributes_end_the_list() {
        let mut bytes = Vec::new();
        push(&mut bytes, 1, b"abc");
        for tail in [&[3, 0, 0, 0][..], &[40, 0, 2, 0], &[9]] {
            let all = [&bytes, tail].concat();
            assert_eq!(attributes(&all).collect::<Vec<_>>(), [(1, &b"abc"[..])]);
        }
    }
}
