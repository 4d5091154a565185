//! Labels of security modules: an AppArmor profile or an SELinux context for the next execve(2).
//!
//! The attribute file is opened through the host's `/proc` while that is in sight: one inside the container could be
//! a file of the image's choice (CVE-2019-16884).

use crate::api::oci::runtime::Process;
use crate::error::{Context, Error, Kind, Result};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;

const PROC_SUPER_MAGIC: u32 = 0x9fa0;

/// An open attribute file of this process and what to write.
#[derive(Debug)]
pub struct ExecLabel {
    file: File,
    text: String,
}

impl ExecLabel {
    /// Opens the attribute file when `process` asks for a label. Works for the calling process only.
    ///
    /// # Errors
    /// `Kind::Unsupported` when the kernel lacks the module.
    pub fn open(process: &Process) -> Result<Option<ExecLabel>> {
        let (paths, text): (&[&str], String) = if !process.selinux_label.is_empty() {
            if !Path::new("/sys/fs/selinux/enforce").exists() {
                return Err(Error::new(Kind::Unsupported, "an SELinux label on a kernel without SELinux"));
            }
            (&["/proc/self/attr/exec"], process.selinux_label.clone())
        } else if !matches!(process.apparmor_profile.as_str(), "" | "unconfined") {
            if !Path::new("/sys/module/apparmor").exists() {
                return Err(Error::new(Kind::Unsupported, "an AppArmor profile on a kernel without AppArmor"));
            }
            // The first path is that of Linux 5.8, where several modules may be stacked.
            let text = format!("exec {}", process.apparmor_profile);
            (&["/proc/self/attr/apparmor/exec", "/proc/self/attr/exec"], text)
        } else {
            return Ok(None);
        };
        let mut result = Err(Error::internal("no attribute file"));
        for path in paths {
            result = OpenOptions::new().write(true).open(path).context(|| format!("open({path:?})"));
            if result.is_ok() {
                break;
            }
        }
        let file = result?;
        if crate::utils::sys::fd::file_system_of(file.as_fd()) != Ok(PROC_SUPER_MAGIC) {
            return Err(Error::new(Kind::Denied, "/proc is not procfs"));
        }
        Ok(Some(ExecLabel { file, text }))
    }

    /// Sets the label for the next execve(2) of this process.
    ///
    /// # Errors
    /// The failing call: ENOENT for a profile that is not loaded, EINVAL for an invalid context.
    pub fn apply(mut self) -> Result<()> {
        let text = self.text.as_bytes();
        self.file.write_all(text).context(|| format!("write(\"/proc/self/attr/exec\", {:?})", self.text))
    }
}
