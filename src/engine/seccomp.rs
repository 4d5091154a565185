//! System call filters: from the configuration's rules to a BPF program (seccomp(2)).

use crate::api::oci::runtime::Seccomp;
use crate::error::Result;

/// A compiled program.
pub struct Program {
    // private: instructions, flags
}

/// Compiles `seccomp` for the architecture this binary was built for and its sub-architectures. Unknown system calls
/// are skipped (OCI runtime specification, config-linux.md, Seccomp).
///
/// # Errors
/// `Kind::Invalid` naming an unknown action, architecture, operator or flag.
pub fn compile(seccomp: &Seccomp) -> Result<Program> {
    let _ = seccomp;
    todo!()
}

impl Program {
    /// Loads the program into the calling process. Makes no allocation. Needs CAP_SYS_ADMIN or no_new_privs.
    ///
    /// # Errors
    /// The failing call.
    pub fn load(&self) -> Result<()> {
        todo!()
    }
}
