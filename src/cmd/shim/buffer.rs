//! The loop's buffers: taken when there are bytes to hold, kept while streams are busy, given back to the kernel when
//! nothing moves.

use super::log::SCRATCH;
use crate::utils::sys::pages::Pages;

/// Bytes of a block: what one read takes, and what may wait for a slow client.
pub const BLOCK: usize = 64 * 1024;

/// Blocks that are not in use.
#[derive(Default)]
pub struct Pool {
    blocks: Vec<Pages>,
    scratch: Option<Pages>,
}

impl Pool {
    /// A block of [`BLOCK`] bytes.
    pub fn take(&mut self) -> Pages {
        self.blocks.pop().unwrap_or_else(|| map(BLOCK))
    }

    /// Gives a block back.
    pub fn put(&mut self, block: Pages) {
        if block.len() == BLOCK {
            self.blocks.push(block);
        }
    }

    /// The log encoder's buffer, also used for filtering keys.
    pub fn scratch(&mut self) -> &mut Pages {
        self.scratch.get_or_insert_with(|| map(SCRATCH))
    }

    /// Gives all unused memory back.
    pub fn trim(&mut self) {
        self.blocks = Vec::new();
        self.scratch = None;
    }
}

/// Maps a buffer. A host without 64 KiB to spare is waited for: the container's output waits in its pipe meanwhile.
pub fn map(length: usize) -> Pages {
    loop {
        match Pages::new(length) {
            Ok(pages) => return pages,
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(20)),
        }
    }
}
