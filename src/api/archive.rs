//! Files in containers in the Docker Engine API.

use super::oci::runtime::Mount;
use super::shim::RootOrder;
use crate::utils::json::Object;
use serde::Serialize;

/// The field of a response that has a [`PathStat`] in JSON in base64.
pub const PATH_STAT: &str = "X-Docker-Container-Path-Stat";

/// What there is at a path in a container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "camelCase")]
pub struct PathStat {
    /// Last component of the path.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// Type and permissions as Go's `os.FileMode` has them.
    pub mode: u32,
    /// Last modification (RFC 3339).
    pub mtime: String,
    /// Where a symbolic link leads to in the end, from the container's root; empty for anything else.
    pub link_target: String,
}

/// Bits of Go's `os.FileMode` (package io/fs) beside the nine of permissions.
pub mod go_mode {
    /// A directory.
    pub const DIRECTORY: u32 = 1 << 31;
    /// A symbolic link.
    pub const SYMLINK: u32 = 1 << 27;
    /// A device.
    pub const DEVICE: u32 = 1 << 26;
    /// A named pipe.
    pub const FIFO: u32 = 1 << 25;
    /// A socket.
    pub const SOCKET: u32 = 1 << 24;
    /// setuid.
    pub const SETUID: u32 = 1 << 23;
    /// setgid.
    pub const SETGID: u32 = 1 << 22;
    /// With [`DEVICE`]: a character device.
    pub const CHAR_DEVICE: u32 = 1 << 21;
    /// sticky.
    pub const STICKY: u32 = 1 << 20;
}

impl PathStat {
    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.mode & go_mode::DIRECTORY != 0
    }

    /// Whether it is a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.mode & go_mode::SYMLINK != 0
    }

    /// Whether it is neither a file nor a directory nor a link.
    pub fn is_special(&self) -> bool {
        self.mode & (go_mode::DEVICE | go_mode::FIFO | go_mode::SOCKET | go_mode::CHAR_DEVICE) != 0
    }
}

/// A path that is not as the image has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct PathChange {
    /// From the container's root.
    pub path: String,
    /// 0 changed, 1 added, 2 deleted.
    pub kind: u8,
}

/// What the shim applet is told that is to open a container's root with what is mounted in it, on its standard input.
/// The answer are two descriptors, of the root and of the mount namespace that it is in, or a text that says why there
/// are none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default)]
pub struct ViewOrder {
    /// The root. Without layers and device it is the directory `target`.
    pub root: RootOrder,
    /// What is mounted in it.
    pub mounts: Vec<Mount>,
    /// Whether something is to be written. Otherwise no layer is changed, not even by places for the mounts.
    pub write: bool,
    /// Whether the root itself is read-only.
    pub read_only: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_dockers() {
        let stat = PathStat { name: "a".into(), link_target: "/b".into(), ..PathStat::default() };
        let text = crate::utils::json::to_text(&stat);
        assert_eq!(text, r#"{"name":"a","size":0,"mode":0,"mtime":"","linkTarget":"/b"}"#);
        let change = PathChange { path: "/a".into(), kind: 2 };
        assert_eq!(crate::utils::json::to_text(&change), r#"{"Path":"/a","Kind":2}"#);
    }
}
