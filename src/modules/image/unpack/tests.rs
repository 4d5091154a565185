//! Hostile and awkward layers. `D name`, `F name text`, `S name target`, `H name target`, `C name major:minor`, `P name`.

mod corpus;

use super::super::signs::OPAQUE_ATTRIBUTE;
use super::*;
use crate::utils::archive::pax::tests::entry;
use crate::utils::sys::xattr;
use nix::sys::stat::makedev;
use std::ffi::CStr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// One member per line.
pub(crate) fn archive(lines: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for line in lines.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let mut words = line.splitn(3, ' ');
        let (kind, name, rest) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap_or(""));
        let name = if name == "EMPTY" { "" } else { name };
        let mode = match kind {
            "D" => 0o755,
            _ => 0o644,
        };
        out.extend(member(kind, name, rest, mode, &[]));
    }
    out.resize(out.len() + 1024, 0);
    out
}

/// One member with PAX records in front.
pub(crate) fn member(kind: &str, name: &str, rest: &str, mode: u32, records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    if !records.is_empty() {
        let body: Vec<u8> = records.iter().flat_map(|(key, value)| entry(key, value)).collect();
        let mut h = tar::Header::new_ustar();
        h.set_mode(0);
        h.set_uid(0);
        h.set_gid(0);
        h.set_mtime(0);
        h.set_size(body.len() as u64);
        h.set_entry_type(tar::EntryType::XHeader);
        h.set_cksum();
        out.extend(h.as_bytes());
        out.extend(body);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    let mut h = tar::Header::new_gnu();
    h.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    h.set_mode(mode);
    h.set_uid(0);
    h.set_gid(0);
    h.set_mtime(1_000_000_000);
    h.set_size(0);
    let mut data = &b""[..];
    h.as_old_mut().linkflag = [match kind {
        "D" => b'5',
        "S" => b'2',
        "H" => b'1',
        "C" => b'3',
        "P" => b'6',
        _ => b'0',
    }];
    match kind {
        "S" | "H" => h.as_old_mut().linkname[..rest.len()].copy_from_slice(rest.as_bytes()),
        "C" => {
            let (major, minor) = rest.split_once(':').unwrap();
            h.set_device_major(major.parse().unwrap()).unwrap();
            h.set_device_minor(minor.parse().unwrap()).unwrap();
        }
        "F" => {
            data = rest.as_bytes();
            h.set_size(data.len() as u64);
        }
        _ => {}
    }
    h.set_cksum();
    out.extend(h.as_bytes());
    out.extend(data);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

struct Place {
    base: PathBuf,
    victim: (Vec<u8>, u32, i64, u64),
}

fn state(path: &Path) -> (Vec<u8>, u32, i64, u64) {
    let m = path.metadata().unwrap();
    (std::fs::read(path).unwrap(), m.mode(), m.mtime_nsec(), m.nlink())
}

impl Place {
    fn new() -> Place {
        let id = crate::utils::id::random_id().unwrap();
        let base = std::env::temp_dir().join(format!("unpack-{}", &id[..12]));
        for directory in ["dest", "victim", "dest-evil"] {
            std::fs::create_dir_all(base.join(directory)).unwrap();
        }
        for file in ["victim/hello", "dest-evil/secret"] {
            std::fs::write(base.join(file), "sentinel").unwrap();
            std::fs::set_permissions(base.join(file), PermissionsExt::from_mode(0o600)).unwrap();
        }
        let victim = state(&base.join("victim/hello"));
        Place { base, victim }
    }

    fn unpack(&self, bytes: &[u8]) -> Result<Unpacked> {
        let root = nix::fcntl::open(&self.base.join("dest"), DIRECTORY, Mode::empty()).unwrap();
        let unpacked = unpack(&mut Reader::new(bytes), root, Rules::default())?;
        self.check_sum(&unpacked);
        Ok(unpacked)
    }

    /// The sum that was made along is that of the tree.
    fn check_sum(&self, unpacked: &Unpacked) {
        #[cfg(feature = "storage")]
        {
            let root = nix::fcntl::open(&self.base.join("dest"), DIRECTORY, Mode::empty()).unwrap();
            assert_eq!(unpacked.sum, Some(super::super::tally::of_tree(root).unwrap()));
        }
        #[cfg(not(feature = "storage"))]
        assert_eq!(unpacked.sum, None);
    }

    fn path(&self, path: &str) -> PathBuf {
        self.base.join("dest").join(path)
    }

    fn text(&self, path: &str) -> String {
        let path = self.path(path);
        assert!(path.symlink_metadata().is_ok_and(|m| m.is_file()), "{path:?} is no file");
        std::fs::read_to_string(path).unwrap()
    }

    fn attribute(&self, path: &str, name: &CStr) -> Option<Vec<u8>> {
        xattr::get(File::open(self.path(path)).unwrap().as_fd(), name).unwrap()
    }

    fn whiteout(&self, path: &str) -> bool {
        self.path(path).symlink_metadata().is_ok_and(|m| m.file_type().is_char_device() && m.rdev() == 0)
    }

    /// Nothing outside was touched.
    fn check(&self) {
        let mut names: Vec<_> =
            std::fs::read_dir(&self.base).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["dest", "dest-evil", "victim"]);
        assert_eq!(state(&self.base.join("victim/hello")), self.victim);
        assert_eq!(std::fs::read_dir(self.base.join("victim")).unwrap().count(), 1);
        assert_eq!(self.base.join("dest-evil/secret").metadata().unwrap().nlink(), 1);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        crate::utils::remove_tree::remove_tree(&self.base).unwrap();
    }
}

/// Unpacks and checks the surroundings; the result may be either.
fn run(lines: &str) -> (Place, Result<Unpacked>) {
    let place = Place::new();
    let result = place.unpack(&archive(lines));
    place.check();
    (place, result)
}

fn good(lines: &str) -> Place {
    let (place, result) = run(lines);
    result.unwrap_or_else(|e| panic!("{lines}: {e}"));
    place
}

fn bad(lines: &str) -> String {
    run(lines).1.expect_err(lines).to_string()
}

#[test]
fn names_that_climb_stay_inside() {
    for name in [
        "../victim/x",
        "/../victim/x",
        "./.././victim/x",
        "../../../../../../victim/x",
        "a/../../victim/x",
        "/victim//x",
    ] {
        let place = good(&format!("F {name} new"));
        assert_eq!(place.text("victim/x"), "new", "{name}");
    }
    for name in ["..", "/", ".", "EMPTY", "a/.."] {
        bad(&format!("F {name} new"));
        bad(&format!("S {name} /etc"));
        good(&format!("D {name}"));
    }
    let place = good("D localetc/\nS localetc/sub/.. /etc/\nF etc/passwd own\nH /localetc/localpasswd /etc/passwd");
    assert!(place.path("localetc").is_symlink() && place.text("etc/passwd") == "own");
    assert_eq!(
        place.path("etc/passwd").metadata().unwrap().ino(),
        place.path("etc/localpasswd").metadata().unwrap().ino()
    );
}

#[test]
fn links_as_parents_lead_within_the_root() {
    for target in ["/etc", "/dummy/../etc", "../../../etc", "./etc", "etc"] {
        let place = good(&format!("D etc\nD dummy\nS localetc {target}\nF /localetc/unbroken x"));
        assert_eq!(place.text("etc/unbroken"), "x", "{target}");
    }
    good("D etc\nS dummy-etc /etc\nS localetc /dummy-etc\nF /localetc/unbroken x").text("etc/unbroken");
    for target in ["/", "/../", "../../../../../../..", "..", "."] {
        assert_eq!(good(&format!("S link {target}\nF link/file x")).text("file"), "x", "{target}");
    }
    good("S loophole ../victim\nF loophole/file x").text("victim/file");
    good("D dir\nS dir/loophole ../../victim\nF dir/loophole/newdir/newfile x").text("victim/newdir/newfile");
    good("D inner\nS inner/go_up ..\nS inner/go_up/escape ../victim\nF inner/go_up/escape/newfile x")
        .text("victim/newfile");
    good("S escape ..\nS absolute /target\nF escape/absolute/file x").text("target/file");
    let place = good("D etc\nF etc/emptied notempty\nS localetc /etc\nF /localetc/emptied");
    assert_eq!(place.text("etc/emptied"), "");
    // A legitimate link whose target is not there yet.
    good("D var\nS var/run /run\nF var/run/existing/non-existing/file x").text("run/existing/non-existing/file");
    let place = good("D usr\nD usr/bin\nS bin usr/bin\nF bin/sh x");
    assert!(place.path("bin").is_symlink() && place.text("usr/bin/sh") == "x");
}

#[test]
fn loops_and_files_as_parents_are_errors() {
    assert!(bad("S a b\nS b a\nF a/x").contains("symbolic links"));
    assert!(bad("S a a/a/a/a\nF a/x").contains("symbolic links"));
    assert!(bad("F nondir x\nF nondir/foo/bar x").contains("not a directory"));
    bad("P pipe\nF pipe/x x");
}

#[test]
fn replacements_within_a_layer() {
    let place = good(
        "D foo\nD foo/tmp\nF foo/tmp/breakout 1\nS foo /\nF foo/tmp/breakout 2\nD foo\nD foo/tmp\nF foo/tmp/breakout 3",
    );
    assert_eq!((place.text("foo/tmp/breakout"), place.text("tmp/breakout")), ("3".into(), "2".into()));
    assert!(!place.path("foo").is_symlink());
    let place = good("D d\nF d/x 1\nF d 2\nF d 3");
    assert_eq!(place.text("d"), "3");
    let place = good("F f 1\nD f\nF f/x 2\nD f\nS l f\nF l 5");
    assert_eq!((place.text("f/x"), place.text("l")), ("2".into(), "5".into()));
}

#[test]
fn hard_links_are_made_only_within() {
    let place = good(
        "D etc\nF etc/passwd own\nS d1 ../../etc\nH mine /d1/passwd\nH other ../../../etc/passwd\nH usr/bin/abs /etc/passwd",
    );
    let inode = |p: &str| place.path(p).symlink_metadata().unwrap().ino();
    for name in ["mine", "other", "usr/bin/abs"] {
        assert_eq!(inode(name), inode("etc/passwd"), "{name}");
    }
    for line in ["H grab ../dest-evil/secret", "H x /etc/passwd", "H x ../victim/hello", "H x /", "D d\nH x d"] {
        bad(line);
    }
    let place = good("S passwdlink /etc/passwd\nH localpasswd /passwdlink\nH localpasswd localpasswd");
    assert!(place.path("localpasswd").is_symlink());
    let place = good("F a 1\nD b\nF b/c 2\nH b a");
    assert_eq!(place.text("b"), "1");
    bad("D b\nF b/a 1\nH b b/a");
    // The header of a link does not change its target.
    let mut bytes = archive("F a 1");
    bytes.truncate(bytes.len() - 1024);
    bytes.extend(member("H", "b", "a", 0o4777, &[]));
    bytes.resize(bytes.len() + 1024, 0);
    let place = Place::new();
    place.unpack(&bytes).unwrap();
    assert_eq!(place.path("a").metadata().unwrap().mode() & 0o7777, 0o644);
}

#[test]
fn whiteouts_take_overlayfs_form() {
    for name in [".wh.", ".wh..", ".wh...", "etc/.wh..", "etc/.wh..."] {
        bad(&format!("D etc\nF {name}"));
    }
    let place = good("D etc\nF etc/.wh.gone\nF .wh.missing\nF a/b/.wh..hidden\nF keep x\nF .wh.keep\nD dir\nF .wh.dir");
    assert!(place.whiteout("etc/gone") && place.whiteout("missing") && place.whiteout("a/b/.hidden"));
    assert_eq!(place.text("keep"), "x");
    assert_eq!(place.attribute("dir", OPAQUE_ATTRIBUTE).unwrap(), b"y");
    let place =
        good("D etc\nS localetc /etc\nF localetc/.wh.x\nF dne/../.wh.y\nF .wh.again\nD again\nF .wh.f\nF f new");
    assert!(place.whiteout("etc/x") && place.whiteout("y"));
    assert_eq!((place.attribute("again", OPAQUE_ATTRIBUTE).unwrap(), place.text("f")), (b"y".to_vec(), "new".into()));
    let place = good("D d\nF d/before x\nF d/.wh..wh..opq\nF d/after x\nF .wh..wh.plnk/1 x\nF .wh..wh.aufs x");
    assert_eq!(place.attribute("d", OPAQUE_ATTRIBUTE).unwrap(), b"y");
    assert!(place.path("d/before").exists() && place.path("d/after").exists());
    assert!(!place.path(".wh..wh.plnk").exists() && !place.path(".wh..wh.aufs").exists());
    assert!(run("F .wh..wh..opq").1.unwrap().opaque && !run("F a x").1.unwrap().opaque);
}

#[test]
fn overlayfs_signs_in_the_archive_are_left_out() {
    let place = Place::new();
    let mut bytes = member(
        "D",
        "d",
        "",
        0o755,
        &[
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.user.overlay.metacopy", b""),
        ],
    );
    bytes.extend(archive("C smuggled 0:0\nC null 1:3\nP pipe"));
    place.unpack(&bytes).unwrap();
    for name in [OPAQUE_ATTRIBUTE, c"trusted.overlay.redirect", c"user.overlay.metacopy"] {
        assert_eq!(place.attribute("d", name), None);
    }
    assert!(!place.path("smuggled").exists());
    let m = place.path("null").metadata().unwrap();
    assert!(m.file_type().is_char_device() && m.rdev() == makedev(1, 3));
    assert!(place.path("pipe").metadata().unwrap().file_type().is_fifo());
    bad("C huge 4096:0");
    bad("C huge 0:1048576");
}

#[test]
fn owners_modes_attributes_and_times() {
    let place = Place::new();
    let capability = b"\x01\0\0\x02\n\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let mut bytes = member("D", "d", "", 0o2750, &[("uid", b"1000"), ("gid", b"3000000000"), ("mtime", b"5.25")]);
    bytes.extend(member(
        "F",
        "d/suid",
        "x",
        0o4755,
        &[("uid", b"7"), ("SCHILY.xattr.security.capability", capability)],
    ));
    bytes.extend(member("F", "e/old", "x", 0o666, &[("mtime", b"-3.5")]));
    bytes.extend(member("S", "d/link", "/etc/passwd", 0o777, &[("mtime", b"9"), ("SCHILY.xattr.user.x", b"1")]));
    bytes.extend(member("F", "d/more", "x", 0o600, &[]));
    bytes.extend(member("D", "./", "", 0o700, &[("mtime", b"77")]));
    bytes.extend(archive("F last x"));
    place.unpack(&bytes).unwrap();
    let m = |p: &str| place.path(p).symlink_metadata().unwrap();
    let mode = |p: &str| m(p).mode() & 0o7777;
    assert_eq!((mode("d"), m("d").uid(), m("d").gid()), (0o2750, 1000, 3_000_000_000));
    assert_eq!((m("d").mtime(), m("d").mtime_nsec()), (5, 250_000_000));
    assert_eq!((mode("d/suid"), m("d/suid").uid(), m("d/suid").gid()), (0o4755, 7, 0));
    assert_eq!(place.attribute("d/suid", c"security.capability").unwrap(), capability);
    assert_eq!((mode("e"), mode("e/old"), m("e/old").mtime()), (0o755, 0o666, -4));
    assert_eq!(m("d/link").mtime(), 9);
    assert_eq!((mode(""), m("").mtime()), (0o700, 77));
}

#[test]
fn directory_times_survive_returns_in_any_order() {
    let place =
        good("D a\nD a/b\nF a/b/1 x\nD c\nF c/1 x\nF a/2 x\nF a/b/2 x\nS l a\nF l/3 x\nH l/b/4 c/1\nF .wh.zz\nD a/n");
    for directory in ["a", "a/b", "c", "a/n"] {
        assert_eq!(place.path(directory).metadata().unwrap().mtime(), 1_000_000_000, "{directory}");
    }
}

#[test]
fn deep_paths_need_few_descriptors() {
    let mut lines = String::new();
    let mut name = String::new();
    for n in 0..45 {
        name = format!("{name}{n}/").chars().take(90).collect();
        lines.push_str(&format!("F {name}/f{n} x\n"));
    }
    let place = Place::new();
    let long = "d/".repeat(2_000) + "f";
    let mut bytes = member("F", "short", "x", 0o644, &[("path", long.as_bytes())]);
    bytes.extend(archive(&lines));
    place.unpack(&bytes).unwrap();
    assert!(
        place.unpack(&[member("F", "s", "x", 0o644, &[("path", &vec![b'n'; 300])]), vec![0; 1024]].concat()).is_err()
    );
}

#[test]
fn truncated_layers_fail() {
    let bytes = archive("D d\nF d/x hello\nS l d");
    // Behind the data of the second member it may be the end.
    let ends = 1029..=1536;
    for n in (0..bytes.len() - 1024).step_by(100) {
        let place = Place::new();
        assert_eq!(place.unpack(&bytes[..n]).is_ok(), ends.contains(&n), "{n}");
    }
}
