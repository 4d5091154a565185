//! From a container configuration to the OCI runtime document.

pub mod seccomp_profile;
