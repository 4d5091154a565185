//! Interfaces of the caller's network namespace that become the container's (OCI runtime specification 1.3,
//! config-linux.md, Network Devices). They go there with their permanent global addresses and are up afterwards; what
//! becomes of them later is up to the kernel: with their namespace it destroys virtual ones and gives others back.

use crate::api::oci::runtime::NetDevice;
use crate::error::{Context, Error, Kind, Result};
use crate::utils::sys::netlink::{Address, Link, Netlink};
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;

/// Longest name of an interface (IFNAMSIZ less the byte at its end).
const LONGEST: usize = 15;
/// In a name: the lowest number with which it is free.
const NUMBER: &str = "%d";

/// Checks the names; `own` are the CLONE_NEW* of the container's namespaces.
///
/// # Errors
/// `Kind::Invalid` naming the interface and the rule.
pub fn check(devices: &BTreeMap<String, NetDevice>, own: libc::c_int) -> Result<()> {
    if devices.is_empty() {
        return Ok(());
    }
    if own & libc::CLONE_NEWNET == 0 {
        return Err(Error::invalid("netDevices: the container needs a network namespace of its own"));
    }
    let mut taken: Vec<&str> = Vec::new();
    for (from, device) in devices {
        let name = name_inside(from, device);
        check_name(from, false).and_then(|()| check_name(name, true)).context(|| about(from))?;
        if taken.contains(&name) && !name.contains('%') {
            return Err(Error::invalid(format!("netDevices: two interfaces named {name:?}")));
        }
        taken.push(name);
    }
    Ok(())
}

/// Moves the interfaces into the network namespace `to`.
///
/// # Errors
/// `Kind::NotFound` for one that is not there, `Kind::Exists` for a name that is taken in `to`: nothing has been moved then.
/// The failing call: those that were moved before are in `to`.
pub fn give(devices: &BTreeMap<String, NetDevice>, to: BorrowedFd<'_>) -> Result<()> {
    let here = Netlink::open().context(|| "socket(AF_NETLINK)".into())?;
    let there = Netlink::open_in(to).context(|| "enter the container's network namespace".into())?;
    let mut moves = Vec::new();
    for (from, device) in devices {
        moves.push(Move::plan(from, device, &here, &there).context(|| about(from))?);
    }
    // Fixed names first: a template must not take one of them.
    let (templates, fixed): (Vec<_>, Vec<_>) = moves.iter().partition(|m| m.name.contains('%'));
    for m in fixed.into_iter().chain(templates) {
        m.run(&here, &there, to).context(|| about(m.from))?;
    }
    Ok(())
}

fn about(from: &str) -> String {
    format!("netDevices {from:?}")
}

fn name_inside<'a>(from: &'a str, device: &'a NetDevice) -> &'a str {
    if device.name.is_empty() { from } else { &device.name }
}

/// The kernel's rule for names; it tells a bad one as it tells much else.
fn check_name(name: &str, template: bool) -> Result<()> {
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    let fixed = if template { name.replacen(NUMBER, "", 1) } else { name.to_owned() };
    let fine = (1..=LONGEST).contains(&name.len())
        && ![".", ".."].contains(&name)
        && !fixed.contains('%')
        && !name.contains(bad);
    match fine {
        true => Ok(()),
        false => Err(Error::invalid(format!("{name:?} is not the name of an interface"))),
    }
}

struct Move<'a> {
    from: &'a str,
    link: Link,
    addresses: Vec<Address>,
    /// Inside; a template when it has [`NUMBER`].
    name: String,
}

impl<'a> Move<'a> {
    /// Changes nothing.
    fn plan(from: &'a str, device: &NetDevice, here: &Netlink, there: &Netlink) -> Result<Move<'a>> {
        let link = match here.link(from) {
            Err(Errno::ENODEV) => return Err(Error::not_found("there is no such interface")),
            found => found.context(|| format!("RTM_GETLINK({from:?})"))?,
        };
        // Down it has lost those of version 6.
        let addresses = here.addresses(link.index).context(|| "RTM_GETADDR".into())?;
        let addresses = addresses.into_iter().filter(|a| a.is_permanent() && a.is_global()).collect();
        let name = if device.name.is_empty() { link.name.clone() } else { device.name.clone() };
        if !name.contains('%') && !is_free(there, &name)? {
            return Err(Error::new(Kind::Exists, format!("the container has an interface {name:?} already")));
        }
        Ok(Move { from, link, addresses, name })
    }

    fn run(&self, here: &Netlink, there: &Netlink, to: BorrowedFd<'_>) -> Result<()> {
        let name = numbered(&self.name, there)?;
        match here.move_link(self.link.index, to, &name) {
            Err(Errno::EINVAL) => return Err(Error::invalid("the kernel does not move it to another namespace")),
            moved => moved.context(|| format!("RTM_NEWLINK(IFLA_NET_NS_FD, {name:?})"))?,
        }
        // Its number may be another one there.
        let index = there.link(&name).context(|| format!("RTM_GETLINK({name:?})"))?.index;
        for address in &self.addresses {
            there.add_address(index, address).context(|| format!("RTM_NEWADDR({name:?})"))?;
        }
        there.raise(index).context(|| format!("RTM_NEWLINK({name:?}, IFF_UP)"))
    }
}

fn is_free(there: &Netlink, name: &str) -> Result<bool> {
    match there.link(name) {
        Ok(_) => Ok(false),
        Err(Errno::ENODEV) => Ok(true),
        Err(e) => Err(e).context(|| format!("RTM_GETLINK({name:?})")),
    }
}

/// The name that a template stands for: chosen here as the kernel would, so that the interface is found again.
fn numbered(template: &str, there: &Netlink) -> Result<String> {
    if !template.contains('%') {
        return Ok(template.to_owned());
    }
    for number in 0u32.. {
        let name = template.replacen(NUMBER, &number.to_string(), 1);
        if name.len() > LONGEST {
            break;
        }
        if is_free(there, &name)? {
            return Ok(name);
        }
    }
    Err(Error::new(Kind::Exists, format!("no name is left for {template:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(from: &str, name: &str) -> Result<()> {
        check(&[(from.to_owned(), NetDevice { name: name.into() })].into(), libc::CLONE_NEWNET)
    }

    #[test]
    fn names_follow_the_kernels_rule() {
        for (from, name) in [("eth0", ""), ("a.7", "ctr"), ("fifteen-letters", "eth%d"), ("x", "%d"), ("x", "a%db")] {
            check_one(from, name).unwrap();
        }
        for (from, name) in [
            ("", ""),
            (".", ""),
            ("..", "x"),
            ("a/b", ""),
            ("a:1", ""),
            ("a b", ""),
            ("sixteen-letters-", ""),
            ("eth%d", ""),
            ("x", "%"),
            ("x", "%s"),
            ("x", "%d%d"),
            ("x", "a\n"),
            ("x", "sixteen-letters-"),
        ] {
            let e = check_one(from, name).unwrap_err();
            assert!(e.kind() == Kind::Invalid && e.to_string().contains("is not the name of an interface"), "{e}");
        }
    }

    #[test]
    fn no_two_get_one_name_and_none_without_a_namespace() {
        let device = |name: &str| NetDevice { name: name.into() };
        let mut devices: BTreeMap<_, _> = [("a".to_owned(), device("b")), ("b".into(), device(""))].into();
        let e = check(&devices, libc::CLONE_NEWNET).unwrap_err();
        assert_eq!(e.to_string(), "netDevices: two interfaces named \"b\"");
        devices = [("a".to_owned(), device("b%d")), ("b".into(), device("b%d"))].into();
        check(&devices, libc::CLONE_NEWNET).unwrap();
        assert_eq!(check(&devices, libc::CLONE_NEWPID).unwrap_err().kind(), Kind::Invalid);
        check(&BTreeMap::new(), 0).unwrap();
    }
}
