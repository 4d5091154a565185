//! Infrastructure: no policy, and no domain word in a name.

pub mod archive;
pub mod atomic_file;
pub mod digest;
pub mod file_lock;
pub mod id;
pub mod json;
pub mod log;
pub mod remove_tree;
pub mod size;
pub mod sys;
pub mod time;
