//! The body of every failed request.

use crate::utils::json::Object;
use serde::Serialize;

/// `{"message": …}`, as the Docker Engine API has it, with the exit code a client should end with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Object)]
pub struct ErrorBody {
    /// The error chain as one line.
    pub message: String,
    /// 125 in general, 126 when the command cannot be executed, 127 when it does not exist. Ours; docker clients
    /// ignore it.
    #[serde(rename = "exitCode", default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
}
