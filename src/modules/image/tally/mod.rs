//! A layer's tree in one number, to find out later whether a disk still has what was unpacked.
//!
//! Each name in the tree has a number of its own: of its path, type, mode, owner, size, content, and of what a layer's
//! meaning hangs on besides, the signs of deletions and the capabilities of programs. The layer's is their sum. A sum has
//! no order, so that it can be made along with the tree: each file's content is summed up as it passes by, nothing is
//! read again, and neither time nor memory grow with the number of names. What makes the sum wrong, a file that a later
//! member replaces or a directory that is reached through a link, is rare in archives; then the tree is gone through once
//! more at its end, as it is to verify it. Times are left out, because file systems keep them in different precision.
//!
//! The number goes into `layer.json`, which is on the disk before any image that has the layer. It is no defence: who can
//! change a layer can change its record. It is for power cuts, dying flash and careless hands.

#[cfg(not(feature = "storage"))]
mod disabled;
#[cfg(feature = "storage")]
mod enabled;

#[cfg(not(feature = "storage"))]
pub(super) use disabled::Tally;
#[cfg(feature = "storage")]
pub(super) use enabled::{Tally, of_tree};

/// What a name has besides its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "storage"), allow(dead_code))]
pub(super) struct Likeness {
    /// Type and mode.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Of a device.
    pub device: u64,
}
