//! Networks in CIDR form, as proxies' exceptions and insecure registries are given.

use crate::error::{Error, Result};
use std::net::IpAddr;

/// An address, or all that share a prefix with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Network {
    bits: u128,
    mask: u128,
    is_v6: bool,
}

impl Network {
    /// Parses `ADDRESS` or `ADDRESS/BITS`.
    pub(super) fn parse(text: &str) -> Result<Network> {
        let bad = || Error::invalid(format!("invalid network {text:?}: want ADDRESS or ADDRESS/BITS"));
        let (address, length) = text.split_once('/').map_or((text, None), |(a, n)| (a, Some(n)));
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let width: u32 = if address.is_ipv6() { 128 } else { 32 };
        let length = match length {
            Some(n) => n.parse::<u32>().ok().filter(|n| *n <= width).ok_or_else(bad)?,
            None => width,
        };
        // Of the low `width` bits, the high `length` ones.
        let all = u128::MAX >> (128 - width);
        let mask = all & !(all.checked_shr(length).unwrap_or(0));
        Ok(Network { bits: bits(address) & mask, mask, is_v6: address.is_ipv6() })
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv6() == self.is_v6 && bits(address) & self.mask == self.bits
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u32::from(a).into(),
        IpAddr::V6(a) => a.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        for (network, address, inside) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "::1", false),
            ("1.2.3.4", "1.2.3.4", true),
            ("1.2.3.4/32", "1.2.3.5", false),
            ("fd00::/8", "fd12::1", true),
            ("::1", "::1", true),
            ("::/0", "fe80::1", true),
        ] {
            let found = Network::parse(network).unwrap().contains(address.parse().unwrap());
            assert_eq!(found, inside, "{network} {address}");
        }
        for bad in ["", "a", "1.2.3.4/33", "1.2.3.4/", "::/129", "10.0.0/8"] {
            assert!(Network::parse(bad).is_err(), "{bad}");
        }
    }
}
