//! Limits of huge pages.

use crate::api::container::Hugetlb;
use crate::api::oci::runtime::HugepageLimit;
use crate::error::{Error, Kind, Result};
use crate::utils::{order, pseudo_file, size};

const DIRECTORY: &str = "/sys/kernel/mm/hugepages";

/// The limits by the kernel's names of the sizes.
///
/// # Errors
/// `Kind::Invalid` for a size that this host does not have, or that is given twice.
pub(super) fn of_container(limits: &[Hugetlb]) -> Result<Vec<HugepageLimit>> {
    if limits.is_empty() {
        return Ok(Vec::new());
    }
    convert(limits, &sizes(), default_size())
}

fn convert(limits: &[Hugetlb], known: &[u64], default: Option<u64>) -> Result<Vec<HugepageLimit>> {
    let mut out: Vec<HugepageLimit> = Vec::new();
    for limit in limits {
        let bytes = match limit.page_size.as_str() {
            "" => default.ok_or_else(|| Error::new(Kind::Unsupported, "this kernel has no huge pages"))?,
            text => size::parse(text).ok().filter(|bytes| known.contains(bytes)).ok_or_else(|| {
                let names: Vec<String> = known.iter().map(|&bytes| name(bytes)).collect();
                Error::invalid(format!("Invalid hugepage size: {text}, should be one of [{}]", names.join(" ")))
            })?,
        };
        let page_size = name(bytes);
        if out.iter().any(|other| other.page_size == page_size) {
            return Err(Error::invalid(format!("the limit of huge pages of {page_size} is given twice")));
        }
        out.push(HugepageLimit { page_size, limit: limit.limit });
    }
    Ok(out)
}

/// As the kernel writes it in names of files: whole units, the largest that fits.
fn name(bytes: u64) -> String {
    match bytes {
        _ if bytes >= 1 << 30 => format!("{}GB", bytes >> 30),
        _ if bytes >= 1 << 20 => format!("{}MB", bytes >> 20),
        _ => format!("{}KB", bytes >> 10),
    }
}

/// The sizes of this kernel in bytes, ascending: one directory `hugepages-2048kB` for each.
fn sizes() -> Vec<u64> {
    let entries = std::fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| {
        let name = entry.file_name();
        size::parse(name.to_str()?.strip_prefix("hugepages-")?).ok()
    };
    let mut sizes: Vec<u64> = entries.filter_map(size).collect();
    order::sort(&mut sizes);
    sizes
}

/// Of `/proc/meminfo` (proc(5)): `Hugepagesize:       2048 kB`.
fn default_size() -> Option<u64> {
    let text = pseudo_file::read_to_string("/proc/meminfo").ok()?;
    let words = text.lines().find_map(|line| line.strip_prefix("Hugepagesize:"))?;
    size::parse(&words.replace(' ', "")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_get_the_kernels_names() {
        let of = |page_size: &str, limit| Hugetlb { page_size: page_size.into(), limit };
        let known = [64 << 10, 2 << 20, 1 << 30];
        let got = convert(&[of("", 5), of("1g", 6), of("64K", 0)], &known, Some(2 << 20)).unwrap();
        let want = [("2MB", 5), ("1GB", 6), ("64KB", 0)];
        assert_eq!(got, want.map(|(size, limit)| HugepageLimit { page_size: size.into(), limit }));
        for (list, part) in [
            (vec![of("3MB", 1)], "Invalid hugepage size: 3MB, should be one of [64KB 2MB 1GB]"),
            (vec![of("x", 1)], "Invalid hugepage size: x"),
            (vec![of("2M", 1), of("2048k", 1)], "huge pages of 2MB is given twice"),
        ] {
            let text = convert(&list, &known, None).unwrap_err().to_string();
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(convert(&[of("", 1)], &[], None).unwrap_err().kind(), Kind::Unsupported);
        assert!(default_size().is_none_or(|size| sizes().contains(&size)));
    }
}
