//! A corpus of hostile archives: what each comes to is the exact tree or the exact error, and nothing outside of the
//! layer's directory is touched.
//!
//! Trees are listed sorted, what is below `%` first: `d` directory, `f` file with its content or size, `l` link, `c` and `b` devices, `p` pipe, `w`
//! whiteout; modes other than 0755 of directories and 0644 of files, `xN` for N names of one file, attributes. `@` in a
//! row is the directory with the layer's and, beside it, the victims; `%` is its path below the layer's root.

use super::*;
use crate::utils::archive::gzip::tests::gzip;
use crate::utils::archive::{Decompressed, Window};
use crate::utils::sys::xattr;
use std::fmt::Write as _;

type Want = std::result::Result<&'static str, &'static str>;

/// Archives as `super::archive` reads them.
fn lines(rows: &[(&str, Want)]) {
    for (text, want) in rows {
        let place = Place::new();
        let bytes = archive(&text.replace("; ", "\n").replace('@', place.base.to_str().unwrap()));
        compare(&place, text, &bytes, *want);
    }
}

/// Archives made byte by byte, with a name for each.
fn bytes(rows: &[(&str, Vec<u8>, Want)]) {
    for (name, bytes, want) in rows {
        compare(&Place::new(), name, bytes, *want);
    }
}

fn compare(place: &Place, name: &str, bytes: &[u8], want: Want) {
    let root = nix::fcntl::open(&place.base.join("dest"), DIRECTORY, Mode::empty()).unwrap();
    let mut source = bytes;
    let result =
        unpack(&mut Reader::new(Decompressed::detect(&mut source, Window::Small).unwrap()), root, Rules::default());
    place.check();
    if let Ok(unpacked) = &result {
        place.check_sum(unpacked);
    }
    let have = result.map(|_| tree(place)).map_err(|e| e.to_string());
    assert_eq!(have, want.map(str::to_owned).map_err(str::to_owned), "{name}");
}

fn tree(place: &Place) -> String {
    let mut entries = Vec::new();
    let (root, base) = (place.path(""), place.base.strip_prefix("/").unwrap());
    list(&root, &root, base, &mut entries);
    entries.sort_by_key(|(is_below, _)| !is_below);
    let entries: Vec<String> = entries.into_iter().map(|(_, text)| text).collect();
    entries.join(", ").replace(place.base.to_str().unwrap(), "@").replace(base.to_str().unwrap(), "%")
}

fn list(root: &Path, directory: &Path, base: &Path, entries: &mut Vec<(bool, String)>) {
    let mut paths: Vec<_> = std::fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let m = path.symlink_metadata().unwrap();
        let (kind, mode) = (m.file_type(), m.mode() & 0o7777);
        let name = path.strip_prefix(root).unwrap();
        let mut text = match kind {
            k if k.is_dir() => "d",
            k if k.is_symlink() => "l",
            k if k.is_char_device() && m.rdev() == 0 => "w",
            k if k.is_char_device() => "c",
            k if k.is_block_device() => "b",
            k if k.is_fifo() => "p",
            _ => "f",
        }
        .to_owned();
        let usual = if kind.is_dir() { 0o755 } else { 0o644 };
        if mode != usual && !kind.is_symlink() && text != "w" {
            write!(text, " {mode:o}").unwrap();
        }
        let shown = name.display().to_string();
        text += &if shown.len() > 200 { format!(" ({} bytes)", shown.len()) } else { format!(" {shown}") };
        if kind.is_symlink() {
            let target = std::fs::read_link(&path).unwrap().display().to_string();
            text += &if target.len() > 200 { format!(" -> ({} bytes)", target.len()) } else { format!(" -> {target}") };
        } else if kind.is_file() && m.len() <= 20 {
            write!(text, " {:?}", std::fs::read_to_string(&path).unwrap()).unwrap();
        } else if kind.is_file() {
            write!(text, " {} bytes", m.len()).unwrap();
        } else if matches!(text.as_bytes()[0], b'c' | b'b') {
            write!(text, " {}:{}", libc::major(m.rdev()), libc::minor(m.rdev())).unwrap();
        }
        if kind.is_file() && m.nlink() > 1 {
            write!(text, " x{}", m.nlink()).unwrap();
        }
        if kind.is_file() || kind.is_dir() {
            let attributes = xattr::all(File::open(&path).unwrap().as_fd()).unwrap();
            for (key, value) in attributes.iter().filter(|(key, _)| key.as_c_str() != c"security.selinux") {
                write!(text, " {}={}", key.to_str().unwrap(), String::from_utf8_lossy(value)).unwrap();
            }
        }
        // The way to the path of the base is of no interest.
        if !base.starts_with(name) || base == name {
            entries.push((name.starts_with(base), text));
        }
        if kind.is_dir() {
            list(root, &path, base, entries);
        }
    }
}

/// Changes the first header; its checksum is right afterwards.
fn patched(mut bytes: Vec<u8>, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    change(&mut bytes[..512]);
    let mut header = tar::Header::new_old();
    header.as_mut_bytes().copy_from_slice(&bytes[..512]);
    header.set_cksum();
    bytes[..512].copy_from_slice(header.as_bytes());
    bytes
}

/// A member of any type.
fn raw(kind: u8, name: &str, data: &[u8]) -> Vec<u8> {
    let mut out = member("F", name, "", 0o644, &[]);
    out.extend(data);
    out.resize(out.len().next_multiple_of(512), 0);
    patched(out, |header| {
        header[124..136].copy_from_slice(format!("{:011o}\0", data.len()).as_bytes());
        header[156] = kind;
    })
}

fn end(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), vec![0; 1024]].concat()
}

fn file(records: &[(&str, &[u8])]) -> Vec<u8> {
    member("F", "a", "x", 0o644, records)
}

#[test]
fn paths() {
    lines(&[
        ("F ../victim/hello x", Ok("d victim, f victim/hello \"x\"")),
        ("F a/../../../victim/hello x", Ok("d victim, f victim/hello \"x\"")),
        ("F @/victim/hello x", Ok("d %, d %/victim, f %/victim/hello \"x\"")),
        ("F //a//./b x", Ok("d a, f a/b \"x\"")),
        ("F .. x", Err("unpack \"..\": a member other than a directory stands for the root")),
        ("D ..", Ok("")),
        ("F ..a x; F a.. x; F ... x", Ok("f ... \"x\", f ..a \"x\", f a.. \"x\"")),
        ("F a 1; F A 2; D b; D B; F B/c 3", Ok("f A \"2\", d B, f B/c \"3\", f a \"1\", d b")),
        ("F a 1; F a 2; F ./a 3", Ok("f a \"3\"")),
        ("F a 1; D a; F a/b 2", Ok("d a, f a/b \"2\"")),
        ("D a; F a/b 1; F a 2", Ok("f a \"2\"")),
        ("F a 1; F a/b 2", Err("unpack \"a/b\": a parent of \"a\": not a directory")),
    ]);
}

#[test]
fn links() {
    lines(&[
        ("S out @/victim; F out/hello x", Ok("d %, d %/victim, f %/victim/hello \"x\", l out -> @/victim")),
        ("S out ../victim; F out/hello x", Ok("l out -> ../victim, d victim, f victim/hello \"x\"")),
        ("S a @/victim; S b a/hello; F b x", Ok("l a -> @/victim, f b \"x\"")),
        ("S l @/victim/hello; F l x", Ok("f l \"x\"")),
        ("S l @/victim/hello; H h l; F h x", Ok("f h \"x\", l l -> @/victim/hello")),
        ("S l @/victim/hello; H h l", Ok("l h -> @/victim/hello, l l -> @/victim/hello")),
        ("S d @/victim; D d; F d/hello x", Ok("d d, f d/hello \"x\"")),
        ("D d; S d @/victim; F d/hello x", Ok("d %, d %/victim, f %/victim/hello \"x\", l d -> @/victim")),
        (
            "S d @/victim; P d/hello; C d/c 1:3",
            Ok("d %, d %/victim, c %/victim/c 1:3, p %/victim/hello, l d -> @/victim"),
        ),
        ("S d @/victim; F d/.wh.hello", Ok("d %, d %/victim, w %/victim/hello, l d -> @/victim")),
        ("S d @/victim; F .wh.d", Ok("l d -> @/victim")),
        ("F a 1; H b a; F b 2", Ok("f a \"1\", f b \"2\"")),
        ("F a 1; H b a; H c b", Ok("f a \"1\" x3, f b \"1\" x3, f c \"1\" x3")),
        ("F a 1; H a a", Ok("f a \"1\"")),
        ("H h ../victim/hello", Err("unpack \"h\": hard link to \"victim/hello\", which is not there")),
        ("S d @/victim; H h d/hello", Err("unpack \"h\": hard link to \"d/hello\", which is not there")),
        ("D d; H h d", Err("unpack \"h\": hard link to the directory \"d\"")),
        ("H h ..", Err("unpack \"h\": a hard link to the root")),
        ("F .wh.a; H h a", Err("unpack \"h\": hard link to \"a\", which is not there")),
        ("S l l; F l/a x", Err("unpack \"l/a\": path \"l\": too many levels of symbolic links")),
        ("S l ; F a x", Err("unpack \"l\": symlinkat(): no such file or directory")),
    ]);
}

#[test]
fn whiteouts() {
    lines(&[
        ("F .wh.", Err("unpack \".wh.\": a whiteout that names nothing, its directory or the one above")),
        ("F .wh..", Err("unpack \".wh..\": a whiteout that names nothing, its directory or the one above")),
        ("F d/.wh...", Err("unpack \"d/.wh...\": a whiteout that names nothing, its directory or the one above")),
        ("F .wh.a/b x", Err("unpack \".wh.a/b\": a directory named \".wh.a\": the prefix is for whiteouts")),
        ("S l .wh.a; F l/b x", Err("unpack \"l/b\": a directory named \".wh.a\": the prefix is for whiteouts")),
        ("D .wh.a; S .wh.b c; H .wh.c d", Ok("w a, w b, w c")),
        (
            "F .wh.../victim/hello x",
            Err("unpack \".wh.../victim/hello\": a directory named \".wh...\": the prefix is for whiteouts"),
        ),
        ("F .wh..wh.x y; F d/.wh..wh.plnk/e x; S .wh..wh.l a", Ok("")),
        ("F d/a x; F d/.wh..wh..opq; F d/b x", Ok("d d trusted.overlay.opaque=y, f d/a \"x\", f d/b \"x\"")),
        ("F .WH.a x; F a.wh.b x", Ok("f .WH.a \"x\", f a.wh.b \"x\"")),
        ("F .wh.a; F .wh.a; D a", Ok("d a trusted.overlay.opaque=y")),
        ("C a 0:0; C b 1:3; C d/c 0:0", Ok("c b 1:3, d d")),
    ]);
}

#[test]
fn devices() {
    lines(&[
        ("C c 4095:1048575", Ok("c c 4095:1048575")),
        ("C c 4096:0", Err("unpack \"c\": device number 4096:0 is out of range")),
        ("C c 0:1048576", Err("unpack \"c\": device number 0:1048576 is out of range")),
        ("P p; P p", Ok("p p")),
    ]);
    bytes(&[
        ("a block device", end(&[patched(member("C", "b", "8:1", 0o600, &[]), |h| h[156] = b'4')]), Ok("b 600 b 8:1")),
        ("a type that is none", end(&[raw(b'W', "a", b"")]), Err("tar member \"a\" has the unknown type 'W'")),
        (
            "a device with a size, whose data would be headers",
            end(&[patched(member("C", "c", "1:3", 0o644, &[]), |h| h[135 - 2] = b'7'), file(&[])]),
            Ok("f a \"x\", c c 1:3"),
        ),
    ]);
}

#[test]
fn names_and_extension_headers() {
    let path = |length: usize| end(&[raw(b'L', "L", &vec![b'n'; length]), file(&[])]);
    let link = |length: usize| end(&[raw(b'K', "K", &vec![b'n'; length]), member("S", "l", "t", 0o777, &[])]);
    let record = |size: usize| file(&[("comment", &vec![b'c'; size])]);
    let attributes = |count: usize| {
        let names: Vec<String> = (0..count).map(|n| format!("SCHILY.xattr.user.overlay.{n:05}")).collect();
        end(&[file(&names.iter().map(|name| (name.as_str(), &b""[..])).collect::<Vec<_>>())])
    };
    let twice = |kind: u8| end(&[raw(kind, "x", b"a"), raw(kind, "x", b"b"), file(&[])]);
    let announced = patched(raw(b'x', "x", b""), |h| h[124..136].copy_from_slice(b"77777777777\0"));
    bytes(&[
        ("a component of 255 bytes", path(255), Ok("f (255 bytes) \"x\"")),
        ("a longer one", path(256), Err(LONG)),
        ("a path of 4096 bytes", path(4096), Err("a path of more than 4095 bytes in a tar archive")),
        ("a target of 4095 bytes", link(4095), Ok("l l -> (4095 bytes)")),
        ("a longer one", link(4096), Err("a path of more than 4095 bytes in a tar archive")),
        ("a name with a NUL", end(&[raw(b'L', "L", b"b\0../c"), file(&[])]), Ok("f b \"x\"")),
        (
            "a PAX name with a NUL",
            end(&[file(&[("path", b"b\0c")])]),
            Err("malformed value of PAX header record \"path\""),
        ),
        (
            "a PAX name that climbs",
            end(&[file(&[("path", b"/../victim/hello")])]),
            Ok("d victim, f victim/hello \"x\""),
        ),
        ("two names", twice(b'L'), Err("two extension headers of one kind for a tar member")),
        ("two PAX headers", end(&[record(1), record(1)]).split_off(1024), Ok("f a \"x\"")),
        ("a large record", end(&[record(1 << 19)]), Ok("f a \"x\"")),
        ("a huge record", end(&[record(1 << 20)]), Err("extension header of 1048593 bytes in a tar archive")),
        ("one that is announced", end(&[announced]), Err("extension header of 8589934591 bytes in a tar archive")),
        ("a record longer than its header", end(&[raw(b'x', "x", b"99 path=b\n"), file(&[])]), Err(RECORD)),
        ("a record without an end", end(&[raw(b'x', "x", b"9 path=b"), file(&[])]), Err(RECORD)),
        ("as many attributes as the kernel lists", attributes(3_300), Ok("f a \"x\"")),
        ("more", attributes(4_000), Err("more than 65536 bytes of names of extended attributes in a PAX header")),
        (
            "an extension header of nothing",
            end(&[raw(b'L', "L", b"b")]),
            Err("tar archive ends behind an extension header"),
        ),
        ("defaults for all", end(&[raw(b'g', "g", b"10 path=b\n"), file(&[])]), Ok("f a \"x\"")),
    ]);
}

const LONG: &str = concat!(
    "unpack \"",
    "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
    "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
    "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
    "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
    "\": openat(O_CREAT): file name too long"
);
const RECORD: &str = "malformed PAX header record";
const SPARSE: &str = "malformed sparse file in a tar archive";

#[test]
fn sparse_files() {
    // Offset and length of a piece, and the whole size, in GNU's old format.
    let old = |offset: &str, length: &str, size: &str| {
        let field =
            |h: &mut [u8], at: usize, text: &str| h[at..at + 12].copy_from_slice(format!("{text:0>11}\0").as_bytes());
        end(&[patched(raw(b'S', "a", b"abc"), |h| {
            h[257..265].copy_from_slice(b"ustar  \0");
            field(h, 386, offset);
            field(h, 398, length);
            field(h, 483, size);
        })])
    };
    let pax = |map: &[u8], size: &[u8]| end(&[file(&[("GNU.sparse.map", map), ("GNU.sparse.size", size)])]);
    let in_data = |map: &str| {
        let body = [map.as_bytes(), &vec![0; 512 - map.len()], b"x"].concat();
        let records = [("GNU.sparse.major", &b"1"[..]), ("GNU.sparse.realsize", b"9"), ("GNU.sparse.name", b"../s")];
        let header = member("F", "a", "", 0o644, &records);
        end(&[header[..header.len() - 512].to_vec(), raw(b'0', "a", &body)])
    };
    bytes(&[
        ("old", old("4", "3", "7"), Ok("f a \"\\0\\0\\0\\0abc\"")),
        ("old, beyond its end", old("5", "3", "7"), Err(SPARSE)),
        ("old, less than its data", old("0", "2", "7"), Err(SPARSE)),
        ("old, more than its data", old("0", "4", "7"), Err(SPARSE)),
        ("old, nonsense", old("9x", "3", "7"), Err(SPARSE)),
        ("0.1", pax(b"2,1", b"4"), Ok("f a \"\\0\\0x\\0\"")),
        ("0.1, overlapping", pax(b"0,1,0,0", b"4"), Err(SPARSE)),
        ("0.1, overflowing", pax(b"18446744073709551615,1", b"4"), Err(SPARSE)),
        ("0.1, larger than any file", pax(b"0,1", b"9223372036854775808"), Err(SPARSE)),
        ("0.1, odd", pax(b"0,1,2", b"4"), Err("malformed value of PAX header record \"GNU.sparse.map\"")),
        ("1.0", in_data("1\n8\n1\n"), Ok("f s \"\\0\\0\\0\\0\\0\\0\\0\\0x\"")),
        ("1.0, fewer pieces than it says", in_data("2\n8\n1\n"), Err(SPARSE)),
        ("1.0, pieces without end", in_data("99999999999\n"), Err(SPARSE)),
        ("1.0, digits without end", in_data(&"1".repeat(500)), Err(SPARSE)),
    ]);
}

#[test]
fn attributes() {
    let with = |name: &str| end(&[file(&[(&format!("SCHILY.xattr.{name}"), b"v")])]);
    bytes(&[
        ("user", with("user.a"), Ok("f a \"x\" user.a=v")),
        ("trusted", with("trusted.a"), Ok("f a \"x\" trusted.a=v")),
        ("security", with("security.a"), Ok("f a \"x\" security.a=v")),
        (
            "an invalid capability",
            with("security.capability"),
            Err("unpack \"a\": fsetxattr(\"security.capability\"): invalid argument"),
        ),
        ("a label", with("security.selinux"), Ok("f a \"x\"")),
        ("a redirection", with("trusted.overlay.redirect"), Ok("f a \"x\"")),
        ("a metacopy", with("trusted.overlay.metacopy"), Ok("f a \"x\"")),
        ("the same without privileges", with("user.overlay.whiteout"), Ok("f a \"x\"")),
        ("a namespace that is none", with("nosuch.a"), Ok("f a \"x\"")),
        ("no name", with(""), Err("malformed value of PAX header record \"SCHILY.xattr.\"")),
    ]);
}

#[test]
fn numbers_and_checksums() {
    let size = |field: &'static [u8; 12]| end(&[patched(file(&[]), |h| h[124..136].copy_from_slice(field))]);
    let wrong = |at: usize| {
        let mut bytes = archive("F a x\nF b x");
        bytes[at] ^= 1;
        bytes
    };
    bytes(&[
        ("base 256", size(b"\x80\0\0\0\0\0\0\0\0\0\0\x01"), Ok("f a \"x\"")),
        ("base 256, negative", size(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), Err(SIZE)),
        ("base 256, huge", size(b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), Err(SIZE)),
        ("minus", size(b"-0000000001\0"), Err(SIZE)),
        ("not octal", size(b"00000000008\0"), Err(SIZE)),
        ("more than there is", size(b"77777777777\0"), Err("unpack \"a\": tar archive ends early")),
        (
            "a PAX size beyond the data",
            end(&[file(&[("size", b"9223372036854775808")])]),
            Err("unpack \"a\": tar archive ends early"),
        ),
        ("the first checksum", wrong(148), Err("not a tar archive")),
        ("a later checksum", wrong(1024 + 148), Err("wrong checksum of a header in a tar archive")),
        (
            "a mode with other bits",
            end(&[patched(file(&[]), |h| h[100..108].copy_from_slice(b"0177777\0"))]),
            Ok("f 7777 a \"x\""),
        ),
    ]);
}

const SIZE: &str = "tar member \"a\": malformed size";

#[test]
fn ends() {
    let whole = archive("F a x");
    let bomb = end(&[raw(b'x', "x", &vec![0; 8 << 20])]);
    bytes(&[
        ("no end marker", whole[..1024].to_vec(), Ok("f a \"x\"")),
        ("half a marker", whole[..1024 + 100].to_vec(), Err("tar archive ends early")),
        ("one block of zeros", whole[..1024 + 512].to_vec(), Ok("f a \"x\"")),
        ("padding that stops", whole[..600].to_vec(), Ok("f a \"x\"")),
        ("no padding", whole[..513].to_vec(), Ok("f a \"x\"")),
        ("no data", whole[..512].to_vec(), Err("unpack \"a\": tar archive ends early")),
        ("garbage behind the end", [&whole[..], b"garbage"].concat(), Ok("f a \"x\"")),
        ("members behind the end", [whole.clone(), archive("F b x")].concat(), Ok("f a \"x\"")),
        ("nothing", Vec::new(), Err("the archive is empty")),
        ("nothing but an end", vec![0; 1024], Ok("")),
        (
            "8 MiB of extension header in 8 KiB of gzip",
            gzip(&bomb),
            Err("extension header of 8388608 bytes in a tar archive"),
        ),
        ("compressed twice", gzip(&gzip(&whole)), Err("not a tar archive")),
        ("compressed, cut", gzip(&whole)[..60].to_vec(), Err("gzip stream ends early")),
    ]);
}

#[test]
fn sizes() {
    let all = |text: &str| archive(&text.replace("; ", "\n"));
    let sparse = |size: &'static [u8]| {
        let records: [(&str, &[u8]); 4] = [
            ("GNU.sparse.major", b"0"),
            ("GNU.sparse.minor", b"1"),
            ("GNU.sparse.size", size),
            ("GNU.sparse.map", b"0,1"),
        ];
        end(&[member("F", "a", "x", 0o644, &records)])
    };
    let deep = format!("D {}", "d/".repeat(45));
    const BEYOND: &str = "the layer takes more than the 8192 bytes that max-layer-size allows";
    for (name, bytes, error) in [
        ("as many as may be", all(&format!("F a {}", "x".repeat(7168))), None),
        ("one byte more", all(&format!("F a {}", "x".repeat(7169))), Some("a")),
        ("a hole", sparse(b"7168"), None),
        ("a larger hole", sparse(b"7169"), Some("a")),
        ("all the bytes there are", sparse(b"9223372036854775807"), Some("a")),
        ("empty files", all("F a; F b; F c; F d; F e; F f; F g; F h"), None),
        ("one empty file more", all("F a; F b; F c; F d; F e; F f; F g; F h; F i"), Some("i")),
        ("the same one again and again", all(&["F a"; 9].join("; ")), Some("a")),
        ("links, devices and whiteouts", all(&["S l x; P p; C c 1:3; F .wh.w"; 3].join("; ")), Some("l")),
        ("directories on the way, which the next member pays for", all(&format!("{deep}; F a")), Some("a")),
    ] {
        let want = error.map(|member| format!("unpack {member:?}: {BEYOND}"));
        let place = Place::new();
        let root = nix::fcntl::open(&place.base.join("dest"), DIRECTORY, Mode::empty()).unwrap();
        let result = unpack(&mut Reader::new(&bytes[..]), root, Rules { limit: Some(8192), remap: None });
        assert_eq!(result.err().map(|e| e.to_string()), want, "{name}");
    }
}
