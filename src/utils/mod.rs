//! Infrastructure: no policy, and no domain word in a name.

pub mod atomic_file;
pub mod file_lock;
pub mod http;
pub mod id;
pub mod json;
pub mod log;
pub mod size;
pub mod sys;
pub mod time;
