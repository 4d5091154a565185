//! Exec sessions in the Docker Engine API.

use crate::utils::json::Object;
use serde::Serialize;

/// Body of `POST /containers/{id}/exec`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct ExecCreateRequest {
    /// Standard input wanted.
    pub attach_stdin: bool,
    /// Standard output wanted.
    pub attach_stdout: bool,
    /// Standard error wanted.
    pub attach_stderr: bool,
    /// Key sequence, such as `ctrl-p,ctrl-q`.
    pub detach_keys: String,
    /// Pseudo terminal.
    pub tty: bool,
    /// `K=V`.
    pub env: Vec<String>,
    /// Program and arguments.
    pub cmd: Vec<String>,
    /// All capabilities.
    pub privileged: bool,
    /// `user[:group]`.
    pub user: String,
    /// Working directory.
    pub working_dir: String,
    /// Rows and columns of the terminal.
    pub console_size: Option<[u16; 2]>,
}

/// `{"Id": …}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct IdResponse {
    /// The new object.
    pub id: String,
}

/// Body of `POST /exec/{id}/start`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct ExecStartRequest {
    /// Do not attach.
    pub detach: bool,
    /// Must equal that of the creation.
    pub tty: bool,
    /// Rows and columns of the terminal.
    pub console_size: Option<[u16; 2]>,
    /// That the program cannot be run is to be the answer, not a text on the stream as docker's clients expect it. Ours.
    #[serde(rename = "isulaRefuse", skip_serializing_if = "std::ops::Not::not")]
    pub refuse: bool,
}

/// Answer to `GET /exec/{id}/json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct ExecInspect {
    /// Session id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Whether it runs.
    pub running: bool,
    /// Absent while it runs.
    pub exit_code: Option<i32>,
    /// Program and arguments.
    pub process_config: ProcessConfig,
    /// Standard input wanted.
    pub open_stdin: bool,
    /// Standard error wanted.
    pub open_stderr: bool,
    /// Standard output wanted.
    pub open_stdout: bool,
    /// Whether it can be removed.
    pub can_remove: bool,
    /// Where it runs.
    #[serde(rename = "ContainerID")]
    pub container_id: String,
    /// Key sequence.
    pub detach_keys: String,
    /// Process id on the host.
    pub pid: i32,
}

/// Program and arguments of a session. Docker spells these in lower case.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default)]
pub struct ProcessConfig {
    /// Pseudo terminal.
    pub tty: bool,
    /// Program.
    pub entrypoint: String,
    /// Arguments.
    pub arguments: Vec<String>,
    /// All capabilities.
    pub privileged: bool,
    /// `user[:group]`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
}
