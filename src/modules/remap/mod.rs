//! User namespaces for containers: which ids of the host stand for those inside.
//!
//! Files of images lie on the disk with the ids of the host, so that any kernel shows them right inside. Whatever is
//! unpacked is shifted once, and whatever is packed is shifted back: no archive ever has ids of the host in it. Layers
//! unpacked for one map are of no use for another, so each map has a graph and a state directory of its own.

mod attribute;
mod own;
mod parse;

use crate::api::oci::runtime::IdMapping;
use crate::error::{Error, Result};

/// What a user namespace shows for an id that it does not know (`/proc/sys/kernel/overflowuid`).
const NOBODY: u32 = 65534;

/// Ids of the host that stand for 0 and what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The one for 0.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// The ids of all containers of a daemon that have a user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remap {
    /// Users.
    pub uids: Range,
    /// Groups.
    pub gids: Range,
}

impl Range {
    /// The host's id; `what` is the kind of id, for the message.
    ///
    /// # Errors
    /// `Kind::Invalid` for one that the user namespace has not.
    pub fn to_host(&self, what: &str, id: u32) -> Result<u32> {
        match id < self.count {
            true => Ok(self.first + id),
            false => {
                let count = self.count;
                Err(Error::invalid(format!("{what} {id} is beyond the {count} ids of the user namespace")))
            }
        }
    }

    /// The id inside, for one of the host's.
    pub fn inside(&self, id: u32) -> Option<u32> {
        id.checked_sub(self.first).filter(|id| *id < self.count)
    }

    /// The range in the form of the OCI runtime specification.
    pub fn mapping(&self) -> IdMapping {
        IdMapping { container_id: 0, host_id: self.first, size: self.count }
    }
}

impl Remap {
    /// The directory, below graph and state, of what this map has to itself.
    pub fn directory(&self) -> String {
        format!("{}.{}", self.uids.first, self.gids.first)
    }

    /// Who root of the containers is.
    pub fn root(&self) -> (u32, u32) {
        (self.uids.first, self.gids.first)
    }
}

/// How a tree's ids become those of an archive.
#[derive(Debug, Clone, Copy)]
pub enum Ids {
    /// They are the same.
    Same,
    /// As the user namespace shows them.
    Inside(Remap),
    /// Of a container that shares the layers but not the user namespace: what it made has its own ids, what the image
    /// has those of the map.
    Shared(Remap),
}

impl Ids {
    /// A user id.
    pub fn uid(&self, id: u32) -> u32 {
        self.id(id, |remap| &remap.uids)
    }

    /// A group id.
    pub fn gid(&self, id: u32) -> u32 {
        self.id(id, |remap| &remap.gids)
    }

    fn id(&self, id: u32, range: impl Fn(&Remap) -> &Range) -> u32 {
        match self {
            Ids::Same => id,
            Ids::Inside(remap) => range(remap).inside(id).unwrap_or(NOBODY),
            Ids::Shared(remap) => range(remap).inside(id).unwrap_or(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REMAP: Remap =
        Remap { uids: Range { first: 100_000, count: 65536 }, gids: Range { first: 200_000, count: 1000 } };

    #[test]
    fn ids_go_out_and_come_back() {
        assert_eq!(REMAP.uids.to_host("user", 65535).unwrap(), 165_535);
        let text = REMAP.uids.to_host("user", 65536).unwrap_err().to_string();
        assert_eq!(text, "user 65536 is beyond the 65536 ids of the user namespace");
        assert!(REMAP.gids.to_host("group", 1000).is_err());
        let all = [(Ids::Same, 5, 100_005), (Ids::Inside(REMAP), NOBODY, 5), (Ids::Shared(REMAP), 5, 5)];
        for (ids, outside, within) in all {
            assert_eq!((ids.uid(5), ids.uid(100_005)), (outside, within), "{ids:?}");
        }
        assert_eq!(Ids::Inside(REMAP).gid(201_000), NOBODY);
        assert_eq!(REMAP.directory(), "100000.200000");
    }
}
