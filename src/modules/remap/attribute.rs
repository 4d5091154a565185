//! Extended attributes with ids in them: capabilities of files (capabilities(7), "File capability extended attribute
//! versioning") and access control lists (linux/posix_acl_xattr.h). The kernel does not translate what root of the host
//! writes; both have the same bytes on every machine.
//!
//! Capabilities of version 2 name no owner: what the host's root gave holds in every user namespace, and stays as it is,
//! so that it holds for containers with the host's too. Root inside can only give those of version 3 (Linux 4.14), which
//! name it. In archives these are of version 2 again.

use super::{Ids, Remap};
use crate::error::{Error, Result};

const CAPABILITY: &[u8] = b"security.capability";
const ACCESS_LIST: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];
/// VFS_CAP_REVISION_2 and _3, VFS_CAP_FLAGS_MASK's complement, and lengths (linux/capability.h).
const REVISION: u32 = 0xff00_0000;
const REVISION_2: u32 = 0x0200_0000;
const REVISION_3: u32 = 0x0300_0000;
const LENGTH_2: usize = 20;
const LENGTH_3: usize = 24;
/// ACL_USER and ACL_GROUP: the entries whose last field is an id.
const USER: u16 = 0x02;
const GROUP: u16 = 0x08;
/// Length of a list's head (its version) and of an entry (tag, permissions, id).
const HEAD: usize = 4;
const ENTRY: usize = 8;

impl Remap {
    /// An attribute's value as it is to be on the disk.
    ///
    /// # Errors
    /// `Kind::Invalid` for an id that the user namespace has not.
    pub fn attribute(&self, name: &[u8], value: &[u8]) -> Result<Vec<u8>> {
        if name == CAPABILITY {
            // With anything else the kernel knows what is wrong.
            let Some((_, owner)) = capability(value) else { return Ok(value.to_vec()) };
            let owner = self.uids.to_host("owner of capabilities: user", owner)?;
            return Ok([&value[..LENGTH_2], &owner.to_le_bytes()].concat());
        }
        let mut value = value.to_vec();
        change_list(name, &mut value, |tag, id| match tag {
            USER => self.uids.to_host("access control list: user", id),
            _ => self.gids.to_host("access control list: group", id),
        })?;
        Ok(value)
    }
}

impl Ids {
    /// An attribute's value as it is to be in an archive.
    pub fn attribute(&self, name: &[u8], mut value: Vec<u8>) -> Vec<u8> {
        if matches!(self, Ids::Same) {
            return value;
        }
        if name == CAPABILITY {
            let Some((flags, owner)) = capability(&value) else { return value };
            let owner = self.uid(owner);
            let revision = if owner == 0 { REVISION_2 } else { REVISION_3 };
            value[..4].copy_from_slice(&(revision | flags).to_le_bytes());
            value.truncate(LENGTH_2);
            if owner != 0 {
                value.extend_from_slice(&owner.to_le_bytes());
            }
            return value;
        }
        let changed = change_list(name, &mut value, |tag, id| {
            Ok::<_, Error>(if tag == USER { self.uid(id) } else { self.gid(id) })
        });
        debug_assert!(changed.is_ok(), "every id has one to stand for it");
        value
    }
}

/// Flags and owner of capabilities that have one.
fn capability(value: &[u8]) -> Option<(u32, u32)> {
    let word = |at: usize| Some(u32::from_le_bytes(value.get(at..at + 4)?.try_into().ok()?));
    let magic = word(0)?;
    let owned = magic & REVISION == REVISION_3 && value.len() == LENGTH_3;
    owned.then_some((magic & !REVISION, word(LENGTH_2)?))
}

/// Changes the ids of an access control list, if it is one.
fn change_list(name: &[u8], value: &mut [u8], change: impl Fn(u16, u32) -> Result<u32>) -> Result<()> {
    if !ACCESS_LIST.contains(&name) || value.len() < HEAD {
        return Ok(());
    }
    for entry in value[HEAD..].chunks_exact_mut(ENTRY) {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        if matches!(tag, USER | GROUP) {
            let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
            entry[4..].copy_from_slice(&change(tag, id)?.to_le_bytes());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Range;
    use super::*;

    const REMAP: Remap =
        Remap { uids: Range { first: 100_000, count: 100 }, gids: Range { first: 200_000, count: 100 } };

    #[test]
    fn capabilities_lose_the_owner_that_root_inside_gave_them() {
        // cap_net_raw=ep, as setcap(8) writes it.
        let plain = [&0x0200_0001u32.to_le_bytes()[..], &(1u32 << 13).to_le_bytes(), &[0; 12]].concat();
        let owned = [&0x0300_0001u32.to_le_bytes()[..], &plain[4..], &100_000u32.to_le_bytes()].concat();
        assert_eq!(REMAP.attribute(CAPABILITY, &plain).unwrap(), plain);
        for ids in [Ids::Inside(REMAP), Ids::Shared(REMAP)] {
            assert_eq!(ids.attribute(CAPABILITY, owned.clone()), plain);
            assert_eq!(ids.attribute(CAPABILITY, plain.clone()), plain);
        }
        assert_eq!(Ids::Same.attribute(CAPABILITY, owned.clone()), owned);
        // Of a user namespace inside.
        let nested = |owner: u32| [&owned[..LENGTH_2], &owner.to_le_bytes()].concat();
        assert_eq!(REMAP.attribute(CAPABILITY, &nested(7)).unwrap(), nested(100_007));
        assert_eq!(Ids::Inside(REMAP).attribute(CAPABILITY, nested(100_007)), nested(7));
        assert!(REMAP.attribute(CAPABILITY, &nested(100)).is_err());
        for odd in [&b""[..], b"abc", &plain[..12]] {
            assert_eq!(REMAP.attribute(CAPABILITY, odd).unwrap(), odd);
        }
        assert_eq!(REMAP.attribute(b"user.x", &plain).unwrap(), plain);
    }

    #[test]
    fn lists_have_users_and_groups() {
        let entry = |tag: u16, id: u32| [&tag.to_le_bytes()[..], &6u16.to_le_bytes(), &id.to_le_bytes()].concat();
        let list = |user, group| {
            [2u32.to_le_bytes().to_vec(), entry(1, u32::MAX), entry(USER, user), entry(GROUP, group)].concat()
        };
        for name in ACCESS_LIST {
            assert_eq!(REMAP.attribute(name, &list(5, 6)).unwrap(), list(100_005, 200_006));
            assert_eq!(Ids::Inside(REMAP).attribute(name, list(100_005, 200_006)), list(5, 6));
        }
        let e = REMAP.attribute(ACCESS_LIST[0], &list(5, 100)).unwrap_err().to_string();
        assert_eq!(e, "access control list: group 100 is beyond the 100 ids of the user namespace");
        assert_eq!(REMAP.attribute(ACCESS_LIST[0], b"ab").unwrap(), b"ab");
    }
}
