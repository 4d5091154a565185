//! Archives, well formed and not.

use super::super::pax::tests::entry;
use super::*;
use std::io::BufReader;

/// A ustar header with a right checksum.
fn header(path: &str, kind: u8, size: u64, change: impl FnOnce(&mut [u8; 512])) -> Vec<u8> {
    let mut h = Header::new_ustar();
    h.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
    h.set_mode(0o644);
    h.set_uid(1);
    h.set_gid(2);
    h.set_mtime(3);
    h.set_size(size);
    h.as_old_mut().linkflag = [kind];
    change(h.as_mut_bytes());
    h.set_cksum();
    h.as_bytes().to_vec()
}

fn member(path: &str, kind: u8, data: &[u8]) -> Vec<u8> {
    let mut out = header(path, kind, data.len() as u64, |_| ());
    out.extend(data);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn end(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), vec![0; 1024]].concat()
}

fn read_all(bytes: &[u8], capacity: usize) -> Result<Vec<(Member, Vec<u8>)>> {
    let mut reader = Reader::new(BufReader::with_capacity(capacity, bytes));
    let mut out = Vec::new();
    while let Some(member) = reader.next_member()? {
        let mut data = Vec::new();
        loop {
            let n = reader.data()?.len();
            if n == 0 {
                break;
            }
            data.extend_from_slice(&reader.data()?[..n]);
            reader.advance(n);
        }
        out.push((member, data));
    }
    Ok(out)
}

#[test]
fn members_with_all_kinds_of_names() {
    let long = "l/".repeat(300);
    let archive = end(&[
        member("plain", b'0', b"hello"),
        member("g", b'g', &entry("path", b"not this")),
        member(
            "x",
            b'x',
            &[entry("path", b"pax\nname"), entry("mtime", b"7.5"), entry("SCHILY.xattr.user.a", b"\n")].concat(),
        ),
        member("short", b'0', &[7; 1000]),
        member("L", b'L', format!("{long}\0").as_bytes()),
        member("K", b'K', b"the/target\0"),
        member("short", b'2', b""),
        member("dir/", 0, b""),
    ]);
    for capacity in [1, 100, 512, 65_536] {
        let all = read_all(&archive, capacity).unwrap();
        let names: Vec<&[u8]> = all.iter().map(|(m, _)| &m.path[..]).collect();
        assert_eq!(names, [b"plain", &b"pax\nname"[..], long.as_bytes(), b"dir/"]);
        assert_eq!((all[0].1.as_slice(), all[1].1.len(), all[1].0.mtime), (&b"hello"[..], 1000, (7, 500_000_000)));
        assert_eq!(all[1].0.xattrs, [(b"user.a".to_vec(), b"\n".to_vec())]);
        assert_eq!((all[2].0.kind, all[2].0.link.as_slice()), (Type::Symlink, &b"the/target"[..]));
        assert_eq!((all[3].0.kind, all[3].0.uid, all[3].0.mode), (Type::Directory, 1, 0o644));
    }
}

#[test]
fn what_the_writing_half_of_the_crate_makes() {
    let mut builder = tar::Builder::new(Vec::new());
    let mut h = Header::new_gnu();
    h.set_size(3);
    h.set_mode(0o4755);
    h.set_uid(3_000_000_000);
    h.set_mtime(1 << 40);
    builder.append_data(&mut h, "a/".repeat(150) + "f", &b"abc"[..]).unwrap();
    let all = read_all(&builder.into_inner().unwrap(), 4096).unwrap();
    assert_eq!((all[0].0.path.len(), all[0].0.uid, all[0].0.mode), (301, 3_000_000_000, 0o4755));
    assert_eq!((all[0].0.mtime, all[0].1.as_slice()), ((1 << 40, 0), &b"abc"[..]));
}

#[test]
fn a_stream_that_stops_is_an_error_except_behind_a_members_data() {
    let archive = end(&[member("x", b'x', &entry("path", b"p")), member("a", b'0', b"hello"), member("b", b'0', b"")]);
    // Behind the first member it may be the end, and before its padding.
    let between = 4 * BLOCK as usize;
    let padding = between - BLOCK as usize + 5..=between;
    for n in 0..archive.len() - 1024 {
        match read_all(&archive[..n], 64) {
            Ok(members) => assert_eq!((padding.contains(&n), members.len()), (true, 1), "{n}"),
            Err(_) if padding.contains(&n) => panic!("{n}"),
            Err(e) => assert!(matches!(e.kind(), Kind::Corrupt | Kind::Invalid), "{n}: {e:?}"),
        }
    }
    for (n, members, marked) in [
        (*padding.start(), 1, false),
        (between, 1, false),
        (archive.len() - 1024, 2, false),
        (archive.len() - 512, 2, true),
    ] {
        let mut reader = Reader::new(&archive[..n]);
        while reader.next_member().unwrap().is_some() {}
        assert_eq!((reader.members(), reader.has_end_marker()), (members, marked), "{n}");
    }
    assert_eq!(read_all(&archive[..archive.len() - 512], 64).unwrap().len(), 2);
}

#[test]
fn not_tar_and_nothing() {
    let text = |bytes: &[u8]| read_all(bytes, 64).unwrap_err().to_string();
    assert_eq!(text(b""), "the archive is empty");
    assert_eq!(text(b"short"), "not a tar archive");
    assert_eq!(text(&[b'x'; 2000]), "not a tar archive");
    assert!(read_all(&[0; 1024], 64).unwrap().is_empty());
    assert!(text(&end(&[member("a", b'0', b""), vec![1; 512]])).contains("wrong checksum"));
}

#[test]
fn lies() {
    let bad = |parts: &[Vec<u8>]| assert!(read_all(&end(parts), 512).is_err());
    bad(&[header("a", b'0', 5000, |_| ())]);
    bad(&[header("a", b'0', 0, |b| {
        b[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0xff, 255, 255, 255, 255, 255, 255, 255])
    })]);
    bad(&[header("a", b'0', 0, |b| b[124..136].fill(0xff))]);
    bad(&[header("a", b'0', 0, |b| b[108..116].fill(0xff))]);
    bad(&[header("a", b'0', 0, |b| b[108..116].copy_from_slice(b"99999999"))]);
    bad(&[header("x", b'x', 2 << 20, |_| ()), vec![0; 2 << 20], member("a", b'0', b"")]);
    bad(&[member("L", b'L', &[b'a'; 5000]), member("a", b'0', b"")]);
    bad(&[member("L", b'L', b"a"), member("L", b'L', b"a"), member("a", b'0', b"")]);
    bad(&[member("x", b'x', &entry("uid", b"4294967295")), member("a", b'0', b"")]);
    bad(&[member("s", b'W', b"")]);
}

#[test]
fn a_size_on_a_member_without_data_is_ignored_and_pax_size_holds() {
    let archive = end(&[
        header("d", b'5', 1000, |_| ()),
        member("x", b'x', &entry("size", b"3")),
        header("f", b'0', 0, |_| ()),
        [b"abc".to_vec(), vec![0; 509]].concat(),
    ]);
    let all = read_all(&archive, 512).unwrap();
    assert_eq!((all[0].0.size, all[1].0.size, all[1].1.as_slice()), (0, 3, &b"abc"[..]));
}

#[test]
fn numbers() {
    for (field, want) in [
        (&b"0000644\0"[..], Some(0o644)),
        (b" 644 \0\0\0", Some(0o644)),
        (b"\0\0\0\0\0\0\0\0", Some(0)),
        (b"\x80\0\0\0\0\0\x01\0", Some(256)),
        (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
        (b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
        (b"-1\0\0\0\0\0\0", None),
        (b"8\0\0\0\0\0\0\0", None),
    ] {
        assert_eq!(number(field), want, "{field:?}");
    }
}

#[test]
fn sparse_files_of_three_formats() {
    let gnu = {
        let mut h = Header::new_gnu();
        h.as_mut_bytes()[..1].copy_from_slice(b"s");
        h.set_mode(0o600);
        h.set_uid(0);
        h.set_gid(0);
        h.set_mtime(0);
        h.set_size(3);
        h.set_entry_type(tar::EntryType::GNUSparse);
        let g = h.as_gnu_mut().unwrap();
        g.set_real_size(1000);
        g.sparse[0].set_offset(0);
        g.sparse[0].set_length(1);
        g.sparse[1].set_offset(500);
        g.sparse[1].set_length(2);
        h.set_cksum();
        [h.as_bytes().to_vec(), b"abc".to_vec(), vec![0; 509]].concat()
    };
    let pax1 = [
        member(
            "x",
            b'x',
            &[
                entry("GNU.sparse.major", b"1"),
                entry("GNU.sparse.minor", b"0"),
                entry("GNU.sparse.name", b"s"),
                entry("GNU.sparse.realsize", b"1000"),
            ]
            .concat(),
        ),
        header("GNUSparseFile.1/s", b'0', 515, |_| ()),
        {
            let mut data = b"2\n0\n1\n500\n2\n".to_vec();
            data.resize(512, 0);
            [data, b"abc".to_vec(), vec![0; 509]].concat()
        },
    ]
    .concat();
    let pax01 = [
        member("x", b'x', &[entry("GNU.sparse.size", b"1000"), entry("GNU.sparse.map", b"0,1,500,2")].concat()),
        member("s", b'0', b"abc"),
    ]
    .concat();
    for archive in [gnu, pax1, pax01] {
        let all = read_all(&end(&[archive, member("after", b'0', b"")]), 64).unwrap();
        assert_eq!((all[0].0.path.as_slice(), all[0].0.size, all[0].1.as_slice()), (&b"s"[..], 1000, &b"abc"[..]));
        assert_eq!(all[0].0.sparse, Some(vec![(0, 1), (500, 2)]));
        assert_eq!(all[1].0.path, b"after");
    }
    assert!(checked_map(vec![(5, 1), (0, 1)], 10, 2).is_none() && checked_map(vec![(0, 11)], 10, 11).is_none());
}
