//! Capabilities (capabilities(7)): from names to the sets of the process.

use crate::api::oci::runtime::Capabilities;
use crate::error::{Context, Error, Result};
use crate::utils::capability::NAMES;
use crate::utils::sys::prctl::{self, CapabilitySets};

/// The five sets as bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sets {
    bounding: u64,
    ambient: u64,
    process: CapabilitySets,
}

impl Sets {
    /// Reads the names. None at all means no capabilities.
    ///
    /// # Errors
    /// `Kind::Invalid` naming an unknown capability.
    pub fn parse(capabilities: Option<&Capabilities>) -> Result<Sets> {
        let Some(c) = capabilities else { return Ok(Sets::default()) };
        Ok(Sets {
            bounding: bits(&c.bounding)?,
            ambient: bits(&c.ambient)?,
            process: CapabilitySets {
                effective: bits(&c.effective)?,
                permitted: bits(&c.permitted)?,
                inheritable: bits(&c.inheritable)?,
            },
        })
    }

    /// Takes what is not wanted out of the bounding set, and from these sets what this process cannot give: the
    /// specification asks for a warning then, not for an error.
    ///
    /// # Errors
    /// The failing call.
    pub fn limit(&mut self) -> Result<()> {
        let own = prctl::capabilities().context(|| "capget()".into())?;
        for capability in (0..64).filter(|c| self.bounding & (1 << c) == 0) {
            match prctl::drop_from_bounding_set(capability) {
                Ok(()) => {}
                // The first number beyond the kernel's last capability.
                Err(nix::Error::EINVAL) => break,
                // Without CAP_SETPCAP what is not there need not be dropped.
                Err(nix::Error::EPERM) if prctl::in_bounding_set(capability) == Ok(false) => {}
                Err(e) => return Err(Error::os(format!("prctl(PR_CAPBSET_DROP, {capability})"), e as i32)),
            }
        }
        self.process.permitted &= own.permitted;
        self.process.effective &= self.process.permitted;
        // Beyond the permitted set CAP_SETPCAP may take only from the bounding set.
        self.process.inheritable &= own.permitted | own.inheritable;
        self.ambient &= self.process.permitted & self.process.inheritable;
        Ok(())
    }

    /// Gives the process its sets. Makes no allocation.
    ///
    /// # Errors
    /// The failing call.
    pub fn apply(&self) -> nix::Result<()> {
        prctl::set_capabilities(&self.process)?;
        // Lowering the inheritable set has taken from the ambient one already; what is left over may be too much.
        match prctl::clear_ambient_set() {
            Err(nix::Error::EINVAL) if self.ambient == 0 => {}
            result => result?,
        }
        for capability in (0..64).filter(|c| self.ambient & (1 << c) != 0) {
            prctl::raise_in_ambient_set(capability)?;
        }
        Ok(())
    }
}

/// Makes all permitted capabilities of this process effective, after a change of user has cleared them.
///
/// # Errors
/// The failing call.
pub fn make_permitted_effective() -> nix::Result<()> {
    let own = prctl::capabilities()?;
    prctl::set_capabilities(&CapabilitySets { effective: own.permitted, ..own })
}

fn bits(names: &[String]) -> Result<u64> {
    let mut bits = 0;
    for name in names {
        let upper = name.to_ascii_uppercase();
        let word = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let number = NAMES.iter().position(|n| *n == word);
        bits |= 1 << number.ok_or_else(|| Error::invalid(format!("unknown capability {name:?}")))?;
    }
    Ok(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_bits() {
        let list = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
        assert_eq!(bits(&list(&["CAP_CHOWN", "cap_setpcap", "CHECKPOINT_RESTORE"])).unwrap(), 1 | 1 << 8 | 1 << 40);
        assert_eq!(bits(&list(&["CAP_FLY"])).unwrap_err().to_string(), "unknown capability \"CAP_FLY\"");
        assert_eq!(Sets::parse(None).unwrap(), Sets::default());
    }
}
