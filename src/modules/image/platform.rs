//! Platforms of images: `os/architecture[/variant]` in Go's words, and which image runs on which machine.

use crate::api::oci::image::{Descriptor, DescriptorPlatform};
use crate::error::{Error, Kind, Result};
use std::fmt;

const LINUX: &str = "linux";

/// What an image is made for, or what is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Platform {
    /// GOOS.
    pub os: String,
    /// GOARCH.
    pub architecture: String,
    /// `v7` and the like; empty for the architecture's usual one.
    pub variant: String,
}

impl Platform {
    /// This machine. A 32-bit ARM program asks the kernel which variant the processor has (uname(2)).
    pub fn here() -> Platform {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", ""),
            "x86" => ("386", ""),
            "aarch64" => ("arm64", ""),
            "arm" => ("arm", arm_variant(&nix::sys::utsname::uname().map_or_else(|_| String::new(), machine))),
            "loongarch64" => ("loong64", ""),
            "powerpc64" if cfg!(target_endian = "little") => ("ppc64le", ""),
            "powerpc64" => ("ppc64", ""),
            other => (other, ""),
        };
        Platform { os: LINUX.into(), architecture: architecture.into(), variant: variant.into() }
    }

    /// Parses `linux/arm/v7`, `linux/amd64`, `arm64` or `linux`; what is not said is this machine's. Takes the names
    /// that uname(1) prints as well.
    ///
    /// # Errors
    /// `Kind::Invalid` naming the rule; `Kind::Unsupported` for another system than Linux.
    pub fn parse(text: &str) -> Result<Platform> {
        let bad =
            || Error::invalid(format!("invalid platform {text:?}: want OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT"));
        let word = |w: &str| {
            let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
            if w.starts_with(|c: char| c.is_ascii_alphanumeric()) && w.len() <= 64 && w.bytes().all(legal) {
                Ok(w.to_ascii_lowercase())
            } else {
                Err(bad())
            }
        };
        let parts = text.split('/').map(word).collect::<Result<Vec<String>>>()?;
        let here = Platform::here();
        let platform = match &parts[..] {
            [one] if one == LINUX => here,
            [one] => Platform { os: LINUX.into(), architecture: one.clone(), variant: String::new() },
            [os, architecture] => {
                Platform { os: os.clone(), architecture: architecture.clone(), variant: String::new() }
            }
            [os, architecture, variant] => {
                Platform { os: os.clone(), architecture: architecture.clone(), variant: variant.clone() }
            }
            _ => return Err(bad()),
        };
        if !platform.os.eq_ignore_ascii_case(LINUX) {
            return Err(Error::new(Kind::Unsupported, format!("platform {text:?}: only linux is supported")));
        }
        Ok(platform.normalised())
    }

    /// One spelling for each platform: `x86_64` is `amd64`, `arm64/v8` is `arm64`, `arm` is `arm/v7`.
    pub fn normalised(mut self) -> Platform {
        self.os.make_ascii_lowercase();
        self.architecture.make_ascii_lowercase();
        self.variant.make_ascii_lowercase();
        let (architecture, variant) = match self.architecture.as_str() {
            "i386" | "i486" | "i586" | "i686" => ("386", ""),
            "x86_64" | "x86-64" => ("amd64", self.variant.as_str()),
            "aarch64" => ("arm64", self.variant.as_str()),
            "armhf" => ("arm", "v7"),
            "armel" => ("arm", "v6"),
            other => (other, self.variant.as_str()),
        };
        let variant = match (architecture, variant) {
            ("amd64", "v1") | ("arm64", "v8" | "8") => "",
            ("arm", "" | "7") => "v7",
            ("arm", "5") => "v5",
            ("arm", "6") => "v6",
            ("arm", "8") => "v8",
            (_, variant) => variant,
        };
        let (architecture, variant) = (architecture.to_owned(), variant.to_owned());
        Platform { os: self.os, architecture, variant }
    }

    /// The best of an index; one that names no platform only when there is no other. Of equals the first.
    pub fn choose<'a>(&self, manifests: &'a [Descriptor]) -> Option<&'a Descriptor> {
        let rank = |descriptor: &Descriptor| match &descriptor.platform {
            Some(offered) => self.rank(&offered.into()),
            None => Some(u32::MAX),
        };
        let ranked = manifests.iter().filter_map(|descriptor| rank(descriptor).map(|rank| (rank, descriptor)));
        ranked.min_by_key(|(rank, _)| *rank).map(|(_, descriptor)| descriptor)
    }

    /// How well an image for `offered` suits this platform: 0 is best, `None` is not at all. A processor runs what was
    /// made for a lower variant of its architecture, the highest of them best.
    fn rank(&self, offered: &Platform) -> Option<u32> {
        let (own, offered) = (self.clone().normalised(), offered.clone().normalised());
        if own.os != offered.os || own.architecture != offered.architecture {
            return None;
        }
        if own.variant == offered.variant {
            return Some(0);
        }
        let lowest = match own.architecture.as_str() {
            "arm" => 5,
            "arm64" => 8,
            "amd64" => 1,
            _ => return None,
        };
        let number = |variant: &str| match variant {
            "" => Some(lowest),
            v => v.strip_prefix('v').and_then(|n| n.parse::<u32>().ok()).filter(|n| *n >= lowest),
        };
        number(&own.variant)?.checked_sub(number(&offered.variant)?)
    }
}

impl From<&DescriptorPlatform> for Platform {
    fn from(platform: &DescriptorPlatform) -> Platform {
        let DescriptorPlatform { architecture, os, variant } = platform.clone();
        Platform { os, architecture, variant }.normalised()
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

fn machine(name: nix::sys::utsname::UtsName) -> String {
    name.machine().to_string_lossy().into_owned()
}

/// The variant by the kernel's word for the machine: `armv6l`, `armv7l`, `armv8l`, `aarch64`.
fn arm_variant(machine: &str) -> &'static str {
    match machine {
        "aarch64" => "v8",
        m if m.starts_with("armv8") => "v8",
        m if m.starts_with("armv6") => "v6",
        m if m.starts_with("armv5") => "v5",
        _ => "v7",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        Platform::parse(text).unwrap()
    }

    #[test]
    fn one_spelling() {
        for (text, want) in [
            ("linux/amd64", "linux/amd64"),
            ("Linux/X86_64", "linux/amd64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("aarch64", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
        ] {
            assert_eq!(platform(text).to_string(), want, "{text}");
        }
        assert_eq!(platform("linux"), Platform::here().normalised());
        for text in ["", "/", "linux/", "a/b/c/d", "linux/../x", "linux/a b", "a//b", "lin\u{fc}x/amd64"] {
            assert!(Platform::parse(text).unwrap_err().to_string().contains("invalid platform"), "{text}");
        }
    }

    #[test]
    fn lower_variants_run_on_higher_processors() {
        let ranks = |own: &str, offered: &[&str]| -> Vec<Option<u32>> {
            offered.iter().map(|o| platform(own).rank(&platform(o))).collect()
        };
        let arm = ["linux/arm/v5", "linux/arm/v6", "linux/arm/v7", "linux/arm", "linux/arm/v8", "linux/arm64"];
        assert_eq!(ranks("linux/arm/v8", &arm), [Some(3), Some(2), Some(1), Some(1), Some(0), None]);
        assert_eq!(ranks("linux/arm/v7", &arm), [Some(2), Some(1), Some(0), Some(0), None, None]);
        assert_eq!(ranks("linux/arm/v6", &arm), [Some(1), Some(0), None, None, None, None]);
        assert_eq!(ranks("linux/arm/v5", &arm), [Some(0), None, None, None, None, None]);
        assert_eq!(ranks("linux/arm64", &["linux/arm64/v8", "linux/arm64/v9", "linux/arm/v7"]), [Some(0), None, None]);
        assert_eq!(ranks("linux/amd64/v3", &["linux/amd64", "linux/amd64/v2"]), [Some(2), Some(1)]);
        assert_eq!(ranks("linux/amd64", &["linux/amd64/v2", "linux/386"]), [None, None]);
    }

    #[test]
    fn the_best_variant_is_chosen() {
        let one = |text: &&str| {
            let mut parts = text.split('/').map(str::to_owned);
            let mut next = || parts.next().unwrap_or_default();
            let platform = DescriptorPlatform { os: next(), architecture: next(), variant: next() };
            let platform = Some(platform).filter(|p| !p.os.is_empty());
            Descriptor { digest: text.to_string(), platform, ..Descriptor::default() }
        };
        let index = |list: &[&str]| list.iter().map(one).collect::<Vec<_>>();
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
            ("linux/amd64/v2", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("x86_64", "linux/amd64"),
            ("linux/riscv64", ""),
        ] {
            assert_eq!(platform(want).choose(&all).unwrap().digest, chosen, "{want}");
        }
        assert!(platform("linux/riscv64").choose(&index(&["linux/amd64"])).is_none());
        assert_eq!(Platform::parse("windows/amd64").unwrap_err().kind(), Kind::Unsupported);
    }

    #[test]
    fn variants_from_the_kernel() {
        for (machine, want) in
            [("armv7l", "v7"), ("armv6l", "v6"), ("armv5tel", "v5"), ("armv8l", "v8"), ("aarch64", "v8")]
        {
            assert_eq!(arm_variant(machine), want);
        }
    }
}
