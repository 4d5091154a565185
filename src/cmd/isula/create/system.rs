//! Flags of system containers.

use crate::api::container::HostChannel;
use crate::api::resource::NAMESPACED_PARAMETERS;
use crate::cmd::isula::failure::Failure;

/// `net`, `ipc` or both with a comma.
pub fn parameters(value: Option<&str>) -> Result<Vec<String>, Failure> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let words: Vec<&str> = value.split(',').collect();
    if let Some(bad) = words.iter().find(|word| NAMESPACED_PARAMETERS.iter().all(|(known, _)| known != *word)) {
        return Err(Failure::usage(format!("invalid ns change option {bad:?}: want net, ipc or net,ipc")));
    }
    let wanted = NAMESPACED_PARAMETERS.iter().filter(|(word, _)| words.contains(word));
    Ok(wanted.map(|(_, path)| path.to_string()).collect())
}

/// `HOST:CONTAINER[:ro|rw[:SIZE]]`.
pub fn channel(value: Option<&str>) -> Result<HostChannel, Failure> {
    let Some(value) = value else { return Ok(HostChannel::default()) };
    let bad = |why: &str| Failure::usage(format!("Invalid host channel {value:?}: {why}"));
    let parts: Vec<&str> = value.split(':').collect();
    let (host, inside, permissions, size) = match parts[..] {
        [host, inside] => (host, inside, "", None),
        [host, inside, permissions] => (host, inside, permissions, None),
        [host, inside, permissions, size] => (host, inside, permissions, Some(size)),
        _ => return Err(bad("want HOST:CONTAINER[:ro|rw[:SIZE]]")),
    };
    if !host.starts_with('/') || !inside.starts_with('/') {
        return Err(bad("want two absolute paths"));
    }
    if parts.len() > 2 && !matches!(permissions, "ro" | "rw") {
        return Err(bad("want ro or rw"));
    }
    let size = match size {
        None => 0,
        // Nothing is not the default.
        Some(size) => crate::utils::size::parse(size).ok().filter(|n| *n > 0).ok_or_else(|| bad("want a size"))?,
    };
    let (path_on_host, path_in_container) = (host.to_owned(), inside.to_owned());
    Ok(HostChannel { path_on_host, path_in_container, permissions: permissions.to_owned(), size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_open_parameters() {
        assert_eq!(parameters(None).unwrap(), [""; 0]);
        assert_eq!(parameters(Some("net")).unwrap(), ["/proc/sys/net"]);
        assert_eq!(parameters(Some("ipc,net")).unwrap().len(), 10);
        for text in ["", "net,", "uts", "net ipc"] {
            assert!(parameters(Some(text)).unwrap_err().text.starts_with("invalid ns change option"), "{text}");
        }
    }

    #[test]
    fn channels() {
        let of = |permissions: &str, size| HostChannel {
            path_on_host: "/a".into(),
            path_in_container: "/b".into(),
            permissions: permissions.into(),
            size,
        };
        assert_eq!(channel(Some("/a:/b")).unwrap(), of("", 0));
        assert_eq!(channel(Some("/a:/b:ro")).unwrap(), of("ro", 0));
        assert_eq!(channel(Some("/a:/b:rw:4k")).unwrap(), of("rw", 4096));
        for text in ["", "/a", "a:/b", "/a:b", "/a:/b:", "/a:/b:x", "/a:/b:rw:", "/a:/b:rw:0", "/a:/b:rw:4k:"] {
            assert!(channel(Some(text)).unwrap_err().text.starts_with("Invalid host channel"), "{text}");
        }
    }
}
