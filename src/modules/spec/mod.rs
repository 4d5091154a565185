//! From a container configuration to the OCI runtime document.
