//! The daemon's end of its conversation with shims, and the log they write.

pub mod choice;
pub mod log;
pub mod root;
pub mod shim;
