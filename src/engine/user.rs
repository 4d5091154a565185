//! Who a process runs as: names looked up in the container's own `/etc/passwd` and `/etc/group`.

use crate::api::oci::runtime::User;
use crate::error::Result;
pub use crate::utils::accounts::Identity;
use crate::utils::accounts::{find, group_id, home, read};
use crate::utils::path::Root;

/// Resolves `user` in the root `root`. The files are read only for names, and for the home directory when
/// `want_home`.
///
/// # Errors
/// `Kind::Invalid` for a name that is in neither file, in the words of the original.
pub fn resolve(user: &User, root: &Root, want_home: bool) -> Result<Identity> {
    let mut identity = if user.username.is_empty() {
        let home = if want_home { home(user.uid, root)? } else { String::new() };
        Identity { uid: user.uid, gid: user.gid, groups: user.additional_gids.clone(), home }
    } else {
        let mut identity = find(&user.username, root)?;
        identity.groups.extend(&user.additional_gids);
        identity
    };
    if !user.additional_groups.is_empty() {
        let group = read(root, "/etc/group")?;
        for name in &user.additional_groups {
            identity.groups.push(group_id(name, &group)?);
        }
    }
    if !user.username.is_empty() {
        let mut seen = std::collections::BTreeSet::new();
        identity.groups.retain(|g| seen.insert(*g));
    }
    Ok(identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_inside_the_root_only() {
        let top = std::env::temp_dir().join(format!("user-{}", std::process::id()));
        std::fs::create_dir_all(top.join("root/etc")).unwrap();
        std::fs::write(top.join("passwd"), "evil:x:0:0::/:\n").unwrap();
        std::os::unix::fs::symlink("../../passwd", top.join("root/etc/passwd")).unwrap();
        nix::unistd::mkfifo(&top.join("root/etc/group"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let root = Root::open(&top.join("root")).unwrap();
        let by_name = |name: &str| User { username: name.into(), ..User::default() };
        let e = resolve(&by_name("evil"), &root, true).unwrap_err();
        assert_eq!(e.to_string(), "\"/etc/group\" in the container is no regular file");
        std::fs::remove_file(top.join("root/etc/group")).unwrap();
        let e = resolve(&by_name("evil"), &root, true).unwrap_err();
        assert_eq!(e.to_string(), "Unable to find user 'evil': no matching entries in passwd file");
        let user = User { uid: 5, gid: 6, additional_gids: vec![7], ..User::default() };
        let identity = resolve(&user, &root, true).unwrap();
        assert_eq!((identity.uid, identity.gid, identity.groups), (5, 6, vec![7]));
        std::fs::remove_dir_all(&top).unwrap();
    }
}
