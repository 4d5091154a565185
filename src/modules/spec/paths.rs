//! Paths that are hidden or made read-only, and how paths of requests are cleaned.

use crate::api::container::HostConfig;

/// The specification's usual ones and those of vendor kernels that leak across containers; missing ones are skipped
/// by the engine.
pub(super) const MASKED: [&str; 33] = [
    "/proc/acpi",
    "/proc/config.gz",
    "/proc/cpuirqstat",
    "/proc/fdenable",
    "/proc/fdstat",
    "/proc/fdthreshold",
    "/proc/files_panic_enable",
    "/proc/iomem_ext",
    "/proc/kbox",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/livepatch",
    "/proc/lru_info/dump_lru_info",
    "/proc/lru_info/lru_info_file",
    "/proc/memstat",
    "/proc/net_namespace",
    "/proc/oom_extend",
    "/proc/pagealloc_bt",
    "/proc/pagealloc_module",
    "/proc/pagealloc_statistics",
    "/proc/pin_memory",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/sig_catch",
    "/proc/signo",
    "/proc/slaballoc_bt",
    "/proc/slaballoc_module",
    "/proc/slaballoc_statistics",
    "/proc/sysmonitor",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];

pub(super) const READONLY: [&str; 7] = [
    "/proc/asound",
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-region-size",
    "/proc/sysrq-trigger",
];

/// Masked and read-only paths: none for a privileged container, the request's lists where it has them, else the
/// template's.
pub(super) fn hidden(host: &HostConfig, masked: Vec<String>, readonly: Vec<String>) -> (Vec<String>, Vec<String>) {
    if host.privileged {
        return (Vec::new(), Vec::new());
    }
    let list = |given: &Option<Vec<String>>, template| given.clone().unwrap_or(template);
    (list(&host.masked_paths, masked), list(&host.readonly_paths, readonly))
}

/// A path as the words say it: without `.`, doubled slashes and `..` (which goes up within the path). Empty when
/// `path` is not absolute.
pub(super) fn clean(path: &str) -> String {
    if !path.starts_with('/') {
        return String::new();
    }
    crate::utils::path::clean(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaning() {
        for (path, want) in
            [("/a//b/./c/", "/a/b/c"), ("/../x", "/x"), ("/", "/"), ("a/b", ""), ("", ""), ("/a/../..", "/")]
        {
            assert_eq!(clean(path), want, "{path}");
        }
    }

    #[test]
    fn requests_replace_the_lists() {
        let mut host = HostConfig { masked_paths: Some(vec![]), ..HostConfig::default() };
        let hidden = |host: &HostConfig| hidden(host, vec!["/a".into()], vec!["/b".into()]);
        assert_eq!(hidden(&host), (vec![], vec!["/b".into()]));
        host.privileged = true;
        assert_eq!(hidden(&host), (vec![], vec![]));
    }
}
