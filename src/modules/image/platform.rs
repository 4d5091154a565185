//! Which of an image's variants fits a machine.

use crate::api::oci::image::{Descriptor, DescriptorPlatform};
use crate::error::{Error, Result};
use std::fmt;

/// A platform in the terms of the OCI image specification (image-index.md).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// GOOS.
    pub os: String,
    /// GOARCH.
    pub architecture: String,
    /// Empty, or `v5` to `v8`.
    pub variant: String,
}

impl Platform {
    /// This machine.
    pub fn here() -> Platform {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", ""),
            "x86" => ("386", ""),
            "aarch64" => ("arm64", ""),
            "arm" => ("arm", "v7"),
            other => (other, ""),
        };
        Platform { os: "linux".into(), architecture: architecture.into(), variant: variant.into() }
    }

    /// Reads `OS[/ARCHITECTURE[/VARIANT]]` or an architecture alone, with the kernel's and Debian's names for some.
    ///
    /// # Errors
    /// `Kind::Invalid` for another form, `Kind::Unsupported` for another system than Linux.
    pub fn parse(text: &str) -> Result<Platform> {
        let bad = || Error::invalid(format!("invalid platform {text:?}: want OS/ARCHITECTURE[/VARIANT]"));
        let parts: Vec<&str> = text.split('/').collect();
        if parts.len() > 3 || parts.iter().any(|p| p.is_empty() || !p.bytes().all(is_name)) {
            return Err(bad());
        }
        let (os, rest) = match parts[..] {
            [one] if one != "linux" => ("linux", vec![one]),
            [os, ref rest @ ..] => (os, rest.to_vec()),
            [] => return Err(bad()),
        };
        if os != "linux" {
            return Err(Error::new(
                crate::error::Kind::Unsupported,
                format!("platform {text:?}: only linux is supported"),
            ));
        }
        let here = Platform::here();
        let Some(&architecture) = rest.first() else { return Ok(here) };
        let (architecture, implied) = match architecture {
            "x86_64" | "x86-64" => ("amd64", ""),
            "i386" | "i686" => ("386", ""),
            "aarch64" => ("arm64", ""),
            "armhf" => ("arm", "v7"),
            "armel" => ("arm", "v6"),
            "arm" => ("arm", "v7"),
            other => (other, ""),
        };
        let variant = rest.get(1).copied().unwrap_or(implied);
        // The only one that there is.
        let variant = if architecture == "arm64" && matches!(variant, "8" | "v8") { "" } else { variant };
        let variant = match variant.as_bytes() {
            [b'5'..=b'9'] => format!("v{variant}"),
            _ => variant.to_owned(),
        };
        Ok(Platform { os: os.into(), architecture: architecture.into(), variant })
    }

    /// How well an image of that platform runs here: the higher the better, `None` when it does not.
    fn fit(&self, other: &DescriptorPlatform) -> Option<u32> {
        if other.os != self.os || other.architecture != self.architecture {
            return None;
        }
        let level = |variant: &str| variant.strip_prefix('v').and_then(|n| n.parse::<u32>().ok());
        match self.architecture.as_str() {
            // Each runs what was built for its elders; without a variant v7 is meant (containerd's platforms package).
            "arm" => {
                let (ours, theirs) = (level(&self.variant).unwrap_or(7), level(&other.variant).unwrap_or(7));
                (theirs <= ours).then_some(theirs)
            }
            "arm64" => matches!(other.variant.as_str(), "" | "v8").then_some(1),
            // Above v1 the processor may lack what the image needs; it was asked for by name then.
            _ if other.variant == self.variant => Some(2),
            "amd64" => matches!(other.variant.as_str(), "" | "v1").then_some(1),
            _ => other.variant.is_empty().then_some(1),
        }
    }

    /// The best of an index; one that names no platform only when there is no other. Of equals the first.
    pub fn choose<'a>(&self, manifests: &'a [Descriptor]) -> Option<&'a Descriptor> {
        let mut best: Option<(u32, &Descriptor)> = None;
        for descriptor in manifests {
            let fit = match &descriptor.platform {
                Some(platform) => self.fit(platform),
                None => Some(0),
            };
            if let Some(fit) = fit
                && best.is_none_or(|(b, _)| fit > b)
            {
                best = Some((fit, descriptor));
            }
        }
        best.map(|(_, descriptor)| descriptor)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

fn is_name(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(platforms: &[&str]) -> Vec<Descriptor> {
        let one = |text: &&str| {
            let mut parts = text.split('/').map(str::to_owned);
            let mut next = || parts.next().unwrap_or_default();
            let platform = DescriptorPlatform { os: next(), architecture: next(), variant: next() };
            let platform = Some(platform).filter(|p| !p.os.is_empty());
            Descriptor { digest: text.to_string(), platform, ..Descriptor::default() }
        };
        platforms.iter().map(one).collect()
    }

    #[test]
    fn the_best_variant_is_chosen() {
        let all = index(&[
            "unknown/unknown",
            "windows/amd64",
            "linux/arm/v5",
            "linux/arm/v7",
            "linux/arm/v6",
            "linux/arm64/v8",
            "linux/amd64/v3",
            "linux/amd64",
            "linux/386",
            "",
        ]);
        for (want, chosen) in [
            ("linux/arm/v7", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("linux/arm/v5", "linux/arm/v5"),
            ("linux/arm/v8", "linux/arm/v7"),
            ("linux/arm64", "linux/arm64/v8"),
            ("aarch64", "linux/arm64/v8"),
            ("linux/amd64", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("x86_64", "linux/amd64"),
            ("linux/riscv64", ""),
        ] {
            let platform = Platform::parse(want).unwrap();
            assert_eq!(platform.choose(&all).unwrap().digest, chosen, "{want}");
        }
        assert!(Platform::parse("linux/riscv64").unwrap().choose(&index(&["linux/amd64"])).is_none());
    }

    #[test]
    fn forms() {
        assert_eq!(Platform::parse("linux").unwrap(), Platform::here());
        assert_eq!(Platform::parse("linux/arm64/v8").unwrap().to_string(), "linux/arm64");
        assert_eq!(Platform::parse("linux/arm/7").unwrap().to_string(), "linux/arm/v7");
        for bad in ["", "/", "linux//v7", "a/b/c/d", "linux/a b", "windows/amd64"] {
            assert!(Platform::parse(bad).is_err(), "{bad}");
        }
    }
}
