//! Infrastructure: no policy, and no domain word in a name.

pub mod archive;
pub mod atomic_file;
pub mod buffered;
pub mod capability;
pub mod checksum;
pub mod digest;
pub mod file_copy;
pub mod file_lock;
pub mod host;
pub mod http;
pub mod id;
pub mod json;
pub mod kernel;
pub mod log;
pub mod mountinfo;
pub mod order;
pub mod path;
pub mod process_table;
pub mod read_once;
pub mod remove_tree;
pub mod sd_notify;
pub mod signal;
pub mod size;
pub mod sys;
pub mod time;
pub mod workers;
