//! Weights and rates of block devices.

use super::kernel::Controllers;
use crate::api::container::{HostConfig, ThrottleDevice, WeightDevice};
use crate::api::oci::runtime::{self as oci, BlockIo};
use crate::error::{Error, Result};
use nix::sys::stat::{major, minor};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// The lists of rates with the flags that they have.
pub(super) fn rates(host: &HostConfig) -> [(&str, &[ThrottleDevice]); 4] {
    [
        ("--device-read-bps", &host.blkio_device_read_bps),
        ("--device-write-bps", &host.blkio_device_write_bps),
        ("--device-read-iops", &host.blkio_device_read_iops),
        ("--device-write-iops", &host.blkio_device_write_iops),
    ]
}

/// Checks everything that needs no look at a device.
pub(super) fn validate(host: &HostConfig) -> Result<()> {
    let range = |weight: u16| weight == 0 || (10..=1000).contains(&weight);
    if !range(host.blkio_weight) {
        return Err(Error::invalid("Range of blkio weight is from 10 to 1000"));
    }
    if let Some(WeightDevice { path, weight }) = host.blkio_weight_device.iter().find(|d| !range(d.weight)) {
        return Err(Error::invalid(format!("Invalid weight for device: {path}:{weight}, want 10 to 1000")));
    }
    let weights = host.blkio_weight_device.iter().map(|d| ("--blkio-weight-device", &d.path));
    let rates = rates(host).into_iter().flat_map(|(flag, list)| list.iter().map(move |d| (flag, &d.path)));
    match weights.chain(rates).find(|(_, path)| !path.starts_with('/') || path.contains('\0')) {
        Some((flag, path)) => {
            Err(Error::invalid(format!("bad format for device path {path:?} ({flag}): want an absolute path")))
        }
        None => Ok(()),
    }
}

/// What of it this kernel can keep. The devices must be there.
pub(super) fn of_container(host: &HostConfig, have: &Controllers) -> Result<Option<BlockIo>> {
    let weights = host.blkio_weight_device.iter().filter(|d| d.weight != 0 && have.blkio_weight_device);
    let weight_device = |d: &WeightDevice| {
        let (major, minor) = numbers("--blkio-weight-device", &d.path)?;
        Ok(oci::WeightDevice { major, minor, weight: Some(d.weight) })
    };
    let rate = |(flag, list): (&str, &[ThrottleDevice])| -> Result<Vec<oci::ThrottleDevice>> {
        let one = |d: &ThrottleDevice| {
            let (major, minor) = numbers(flag, &d.path)?;
            Ok(oci::ThrottleDevice { major, minor, rate: d.rate })
        };
        list.iter().filter(|_| have.blkio_throttle).map(one).collect()
    };
    let [read_bps, write_bps, read_iops, write_iops] = rates(host);
    let block = BlockIo {
        weight: (host.blkio_weight != 0 && have.blkio_weight).then_some(host.blkio_weight),
        weight_device: weights.map(weight_device).collect::<Result<_>>()?,
        throttle_read_bps_device: rate(read_bps)?,
        throttle_write_bps_device: rate(write_bps)?,
        throttle_read_iops_device: rate(read_iops)?,
        throttle_write_iops_device: rate(write_iops)?,
    };
    Ok(Some(block).filter(|b| *b != BlockIo::default()))
}

/// Major and minor number of a block device, links such as /dev/disk/by-id/… followed.
fn numbers(flag: &str, path: &str) -> Result<(i64, i64)> {
    let bad = |why: &str| Error::invalid(format!("device {path:?} ({flag}): {why}"));
    let metadata = Path::new(path).metadata().map_err(|e| bad(&Error::io("stat", e).to_string()))?;
    if !metadata.file_type().is_block_device() {
        return Err(bad("not a block device"));
    }
    let number = metadata.rdev();
    Ok((major(number) as i64, minor(number) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::modules::spec::kernel;

    fn weight(path: &str, weight: u16) -> HostConfig {
        let device = WeightDevice { path: path.into(), weight };
        HostConfig { blkio_weight_device: vec![device], ..HostConfig::default() }
    }

    fn rate(path: &str) -> HostConfig {
        let device = ThrottleDevice { path: path.into(), rate: 5 };
        HostConfig { blkio_device_write_iops: vec![device], ..HostConfig::default() }
    }

    #[test]
    fn rules() {
        for good in [weight("/dev/x", 10), weight("/dev/x", 1000), weight("/dev/x", 0), rate("/dev/x")] {
            validate(&good).unwrap();
        }
        for (bad, part) in [
            (weight("/dev/x", 9), "Invalid weight for device: /dev/x:9"),
            (weight("/dev/x", 1001), "Invalid weight for device"),
            (weight("x", 10), "\"x\" (--blkio-weight-device)"),
            (rate(""), "\"\" (--device-write-iops)"),
            (HostConfig { blkio_weight: 9, ..HostConfig::default() }, "Range of blkio weight is from 10 to 1000"),
        ] {
            let e = validate(&bad).unwrap_err();
            assert!(e.kind() == Kind::Invalid && e.to_string().contains(part), "{e}");
        }
    }

    #[test]
    fn devices_are_looked_up() {
        let have = Controllers { blkio_throttle: true, blkio_weight_device: true, ..*kernel::controllers() };
        for (host, part) in [
            (rate("/dev/nosuch"), "device \"/dev/nosuch\" (--device-write-iops): stat"),
            (rate("/dev/null"), "not a block device"),
            (weight("/etc", 10), "device \"/etc\" (--blkio-weight-device): not a block device"),
        ] {
            let text = of_container(&host, &have).unwrap_err().to_string();
            assert!(text.contains(part), "{text}");
        }
        let none = Controllers { blkio_throttle: false, blkio_weight_device: false, ..have };
        assert_eq!(of_container(&rate("/dev/nosuch"), &none).unwrap(), None, "what is left out needs no device");
        assert_eq!(of_container(&HostConfig::default(), &have).unwrap(), None);
        assert_eq!(of_container(&weight("/dev/nosuch", 0), &have).unwrap(), None);
    }
}
