//! Infrastructure: no policy, and no domain word in a name.

pub mod atomic_file;
pub mod file_lock;
pub mod http;
pub mod id;
pub mod json;
pub mod kernel;
pub mod log;
pub mod path;
pub mod size;
pub mod sys;
pub mod time;
