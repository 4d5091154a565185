//! import, images, tag, rmi, and what hostile archives try.

use crate::support::bed::{Bed, json};
use crate::support::{IMAGE, contains, eventually, oci, rootfs};
use crate::{requires, tests};
use std::fs;
use std::process::Command;

tests![
    import_prints_the_id_and_lists_it,
    import_of_compressed_archives,
    zstd_archives_are_imported_and_loaded,
    xz_archives_are_imported_and_loaded,
    import_wants_to_know_that_an_archive_is_whole,
    import_of_what_is_no_archive,
    images_is_the_originals_table,
    images_that_were_asked_for,
    tag_and_rmi,
    image_in_use_stays,
    one_layer_for_the_same_archive,
    hostile_archives_stay_in_their_root,
    ownership_modes_links_and_times_survive,
    names_with_registry_and_digest,
    load_of_an_oci_layout,
    load_of_what_skopeo_writes,
    load_of_an_archive_without_the_base,
    load_of_what_is_no_image,
];

fn import_prints_the_id_and_lists_it(bed: &mut Bed) {
    bed.start();
    let id = bed.isula(&format!("import {} second:v1", rootfs::archive().display())).ok();
    let hex = id.strip_prefix("sha256:").unwrap_or_else(|| panic!("{id}"));
    assert_eq!(hex.len(), 64);
    contains(&bed.isula("images").ok(), &hex[..12]);
    assert_eq!(bed.isula("run --rm second:v1 cat /etc/marker").ok(), "inside");
    assert_eq!(bed.isula(&format!("run --rm {hex} cat /etc/marker")).ok(), "inside");
    assert_eq!(bed.isula(&format!("run --rm {} cat /etc/marker", &hex[..12])).ok(), "inside");
}

fn import_of_compressed_archives(bed: &mut Bed) {
    bed.start();
    let path = bed.dir.join("rootfs.tar.gz");
    let out = fs::File::create(&path).unwrap();
    assert!(Command::new("gzip").arg("-c").arg(rootfs::archive()).stdout(out).status().unwrap().success());
    bed.isula(&format!("import {} zipped", path.display())).ok();
    assert_eq!(bed.isula("run --rm zipped cat /etc/marker").ok(), "inside");
}

fn zstd_archives_are_imported_and_loaded(bed: &mut Bed) {
    requires!(zstd);
    bed.start();
    let layout = bed.dir.join("layout");
    oci::sample(&layout, "made/here:v2");
    let pack = |words: &[&str], archive: &std::path::Path| {
        let input = fs::File::open(archive).unwrap();
        let packed = Command::new("zstd").arg("-c").args(words).stdin(input).output().unwrap();
        assert!(packed.status.success(), "{packed:?}");
        packed.stdout
    };
    let (root, image) = (pack(&["-1"], &rootfs::archive()), pack(&["-19"], &oci::archive(&layout)));
    let path = bed.dir.join("x.tar.zst");
    let import = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        bed.isula(&format!("import {} packed", path.display()))
    };
    if !cfg!(feature = "zstd") {
        import(&root).fails(1, "zstd compression is not supported: give a plain or gzip tar archive");
        bed.isula_with("load", &image).fails(1, "zstd compression is not supported");
        return;
    }
    import(&root).ok();
    assert_eq!(bed.isula("run --rm packed cat /etc/marker").ok(), "inside");
    bed.isula_with("load", &image).ok();
    check_layout(bed, "made/here:v2");
    fs::write(&path, &image).unwrap();
    bed.isula(&format!("load -i {} --tag other", path.display())).ok();
    check_layout(bed, "other");
    // Several frames, as parallel compressors write them.
    let plain = fs::read(rootfs::archive()).unwrap();
    let frames = plain.chunks(1 << 20).map(|part| {
        fs::write(bed.dir.join("part"), part).unwrap();
        pack(&["-1"], &bed.dir.join("part"))
    });
    import(&frames.collect::<Vec<_>>().concat()).ok();
    // Damaged, and one that would need 128 MiB of memory.
    let before = bed.isula("images -q").ok();
    import(&root[..root.len() / 2]).fails(1, "zstd stream ends early");
    let mut wrong = root.clone();
    *wrong.last_mut().unwrap() ^= 1;
    import(&wrong).fails(1, "corrupt zstd stream: checksum mismatch");
    let long = pack(&["-1", "--long=27"], &rootfs::archive());
    import(&long).fails(1, "zstd stream needs a window of 134217728 bytes");
    bed.isula_with("load", &pack(&["--long=27"], &oci::archive(&layout))).fails(1, "RFC 8878");
    assert_eq!(bed.isula("images -q").ok(), before);
}

fn xz_archives_are_imported_and_loaded(bed: &mut Bed) {
    requires!(xz, gnu);
    bed.start();
    let layout = bed.dir.join("layout");
    oci::sample(&layout, "made/here:v2");
    let pack = |words: &[&str], archive: &std::path::Path| {
        let input = fs::File::open(archive).unwrap();
        let packed = Command::new("xz").args(["-c", "--threads=1"]).args(words).stdin(input).output().unwrap();
        assert!(packed.status.success(), "{packed:?}");
        packed.stdout
    };
    let root = pack(&["-1"], &rootfs::archive());
    let path = bed.dir.join("x.tar.xz");
    let import = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        bed.isula(&format!("import {} packed", path.display()))
    };
    if !cfg!(feature = "xz") {
        import(&root).fails(1, "xz compression is not supported: give a plain or gzip tar archive");
        bed.isula_with("load", &root).fails(1, "xz compression is not supported");
        return;
    }
    import(&root).ok();
    assert_eq!(bed.isula("run --rm packed cat /etc/marker").ok(), "inside");
    // What Yocto calls it with; blocks, checks and sizes as other compressors write them.
    for (n, words) in
        [&["-9"][..], &["-0", "--check=none", "--block-size=300KiB"], &["-0", "--check=sha256"]].iter().enumerate()
    {
        let image = pack(words, &oci::archive(&layout));
        bed.isula_with(&format!("load --tag other{n}"), &image).ok();
        check_layout(bed, &format!("other{n}"));
    }
    // Several streams with padding between and behind them.
    let plain = fs::read(rootfs::archive()).unwrap();
    let streams = plain.chunks(1 << 20).map(|part| {
        fs::write(bed.dir.join("part"), part).unwrap();
        [pack(&["-0", "--check=crc32"], &bed.dir.join("part")), vec![0; 8]].concat()
    });
    import(&streams.collect::<Vec<_>>().concat()).ok();
    // A layer in it is compressed as well; the client of docker sends the same.
    let before = bed.isula("images -q").ok();
    import(&root[..root.len() / 2]).fails(1, "xz stream ends early");
    let mut wrong = root.clone();
    wrong[root.len() / 2] ^= 1;
    import(&wrong).fails(1, "corrupt xz stream");
    let mut wrong = root.clone();
    *wrong.last_mut().unwrap() ^= 1;
    import(&wrong).fails(1, "corrupt xz stream: wrong tail");
    let large = pack(&["--lzma2=preset=0,dict=96MiB"], &rootfs::archive());
    import(&large).fails(1, "xz stream needs a dictionary of 100663296 bytes, more than 67108864");
    bed.isula_with("load", &large).fails(1, "dictionary of 100663296 bytes");
    import(&pack(&["--x86", "--lzma2=preset=0"], &rootfs::archive())).fails(1, "a filter besides LZMA2");
    import(b"BZh91AY&SY").fails(1, "bzip2 compression is not supported");
    assert_eq!(bed.isula("images -q").ok(), before);
}

fn import_wants_to_know_that_an_archive_is_whole(bed: &mut Bed) {
    bed.start();
    let path = bed.dir.join("x.tar");
    let mut tar = rootfs::Archive::create(&path);
    tar.standard();
    tar.finish();
    let mut bytes = fs::read(&path).unwrap();
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    // Behind the padding of the last member, the marker is missing.
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    fs::write(&path, &bytes).unwrap();
    bed.isula(&format!("import {} cut", path.display())).fails(1, "it has no end marker");
    // A compressed one tells its end itself, and a layer is what its digest says.
    let packed = Command::new("gzip").arg("-c").arg(&path).output().unwrap().stdout;
    fs::write(bed.dir.join("x.tar.gz"), packed).unwrap();
    bed.isula(&format!("import {}.gz whole", path.display())).ok();
    assert_eq!(bed.isula("run --rm whole cat /etc/marker").ok(), "inside");
    let layout = bed.dir.join("layout");
    oci::layout(&layout, &[&path], &["linux/amd64"], &serde_json::json!({"Cmd": ["cat", "/etc/marker"]}));
    bed.isula(&format!("load --tag layers -i {}", oci::archive(&layout).display())).ok();
    assert_eq!(bed.isula("run --rm layers").ok(), "inside");
}

fn images_that_were_asked_for(bed: &mut Bed) {
    bed.start();
    let import =
        |words: &str, name: &str| bed.isula(&format!("import {words} {} {name}", rootfs::archive().display())).ok();
    import("-c 'LABEL a=b'", "host.example:5000/dir/name:v1");
    std::thread::sleep(std::time::Duration::from_millis(10));
    let id = import("-c 'LABEL a=c'", "other:v1");
    for name in ["other:v2", "another", "host.example:5000/other:v3"] {
        bed.isula(&format!("tag other:v1 {name}")).ok();
    }
    import("", "gone");
    import("-m again", "gone");
    let list = |words: &str| {
        let text = bed.isula(&format!("images {words}")).ok();
        let mut rows: Vec<String> =
            text.lines().skip(1).map(|l| l.split_whitespace().take(2).collect::<Vec<_>>().join(":")).collect();
        rows.sort();
        rows.join(" ")
    };
    // Of an image with several names those that match.
    assert_eq!(list("-f reference=other"), "other:v1 other:v2");
    assert_eq!(list("other"), "other:v1 other:v2");
    assert_eq!(list("other:v2"), "other:v2");
    assert_eq!(list("-f reference=*other"), "another:latest other:v1 other:v2");
    assert_eq!(list("-f reference=host.example:5000/*/*:v1"), "host.example:5000/dir/name:v1");
    assert_eq!(list("-f reference=host.example:5000/* -f reference=nosuch"), "host.example:5000/other:v3");
    assert_eq!(list("-f dangling=true"), "<none>:<none>");
    assert_eq!(list("-f dangling=false other:v1"), "other:v1");
    assert_eq!(list("-f label=a=b"), "host.example:5000/dir/name:v1");
    assert_eq!(list("-f label=a other:v1"), "other:v1");
    assert_eq!(list("-f label=a -f label=x"), "");
    assert_eq!(list("-f before=other:v1"), format!("{IMAGE}:latest host.example:5000/dir/name:v1"));
    assert_eq!(list("-f since=other:v1"), "<none>:<none> gone:latest");
    assert_eq!(list("-f since=host.example:5000/dir/name:v1 -f before=gone other:v1"), "other:v1");
    bed.isula("images -f before=nosuch").fails(1, "nosuch");
    bed.isula("images -f nosuch=1").fails(125, "nosuch");
    bed.isula("images -f dangling=perhaps").fails(1, "perhaps");
    assert_eq!(bed.isula("images -q --no-trunc other:v1").ok(), id);
    assert_eq!(bed.isula("images -q other:v1").ok(), id[7..19]);
    contains(&bed.isula("images --digests").ok(), "DIGEST");
    let json_row = bed.isula("images --format json other:v1").ok();
    let row = json(json_row.as_bytes());
    assert_eq!(
        (&row["Repository"], &row["ID"], &row["Containers"]),
        (&"other".into(), &id[7..19].into(), &"N/A".into())
    );
    if cfg!(feature = "templates") {
        assert_eq!(bed.isula("images --format '{{.Repository}}@{{.Tag}}' other:v1").ok(), "other@v1");
        let table = bed.isula("images --format 'table {{.ID}} {{.Digest}} {{.UniqueSize}}' --no-trunc other:v1").ok();
        assert_eq!(
            table.split_whitespace().collect::<Vec<_>>(),
            ["IMAGE", "ID", "DIGEST", "UNIQUE", "SIZE", &id, "<none>", "N/A"]
        );
    }
    // docker's endpoint.
    let answer = bed.get("/images/json?filters=%7B%22reference%22%3A%5B%22other%22%5D%7D").json();
    assert_eq!(answer[0]["RepoTags"], serde_json::json!(["other:v1", "other:v2"]));
    assert_eq!(answer.as_array().unwrap().len(), 1, "{answer}");
}

fn import_of_what_is_no_archive(bed: &mut Bed) {
    bed.start();
    let path = bed.dir.join("x");
    let whole = fs::read(rootfs::archive()).unwrap();
    let mut wrong = whole.clone();
    wrong[512 * 3 + 148] ^= 1; // a checksum
    for bytes in
        [&b""[..], b"not a tar", &[0; 10], &vec![b'x'; 100_000], &whole[..1000], &whole[..whole.len() / 2], &wrong]
    {
        fs::write(&path, bytes).unwrap();
        let o = bed.isula(&format!("import {} broken", path.display()));
        assert_ne!(o.code, 0, "{} bytes: {}", bytes.len(), o.show());
        assert!(!o.err.is_empty());
    }
    assert_ne!(bed.isula("import /nosuch broken").code, 0);
    assert_ne!(bed.isula(&format!("import {} broken", bed.dir.display())).code, 0);
    for name in ["UPPER", "a b", "none", "none:latest", "a:b:c", ""] {
        assert_ne!(bed.isula(&format!("import {} '{name}'", rootfs::archive().display())).code, 0, "{name:?}");
    }
    assert_eq!(bed.isula("images -q").ok().lines().count(), 1);
}

fn images_is_the_originals_table(bed: &mut Bed) {
    bed.start();
    let text = bed.isula("images").ok();
    let mut lines = text.lines();
    assert_eq!(
        lines.next().map(str::trim_end),
        Some("REPOSITORY                     TAG        IMAGE ID             CREATED              SIZE")
    );
    let row: Vec<&str> = lines.next().expect("one image").split_whitespace().collect();
    assert_eq!((row[0], row[1], row[2].len()), (IMAGE, "latest", 12), "{text}");
    contains(row.last().unwrap(), "MB");
    assert_eq!(bed.isula("images -q").ok(), row[2]);
    assert_eq!(bed.isula("images -q -f reference=nosuch").ok(), "");
    assert_ne!(bed.isula("images --nosuch").code, 0);
}

fn tag_and_rmi(bed: &mut Bed) {
    bed.start();
    assert_eq!(bed.isula(&format!("tag {IMAGE} other:two")).ok(), "");
    assert_eq!(bed.isula("images -q").ok().lines().count(), 2);
    assert_eq!(bed.isula("rmi other:two").ok(), "Image \"other:two\" removed");
    bed.isula("rmi nosuch").fails(1, "No such image:nosuch");
    bed.isula("tag nosuch x").fails(1, "nosuch");
    // A tag that moves leaves the image without a name, or gone, but never two holders.
    bed.isula(&format!("tag {IMAGE} moved")).ok();
    bed.isula(&format!("rmi {IMAGE}")).ok();
    assert_eq!(bed.isula("run --rm moved echo well").ok(), "well");
    bed.isula("rmi moved").ok();
    assert_eq!(bed.isula("images -q").ok(), "");
    assert_eq!(bed.isula(&format!("run --rm {IMAGE} true")).code, 125);
    // Nothing of it is on the disk.
    let size = Command::new("du").args(["-sk"]).arg(bed.graph()).output().unwrap();
    let kib: u64 = String::from_utf8_lossy(&size.stdout).split_whitespace().next().unwrap().parse().unwrap();
    assert!(kib < 500, "{kib} KiB left of removed images");
}

fn image_in_use_stays(bed: &mut Bed) {
    bed.start();
    let id = bed.isula(&format!("create --name aa {IMAGE} echo well")).ok();
    bed.isula(&format!("rmi {IMAGE}")).fails(1, &format!("Image used by {id}"));
    bed.isula(&format!("rmi -f {IMAGE}")).fails(1, &format!("Image used by {id}"));
    assert_eq!(bed.isula("start -a aa").ok(), "well");
    bed.isula("rm aa").ok();
    bed.isula(&format!("rmi {IMAGE}")).ok();
}

fn one_layer_for_the_same_archive(bed: &mut Bed) {
    bed.start();
    let layers = || fs::read_dir(bed.graph().join("storage/overlay-layers")).map_or(0, |d| d.count());
    let before = layers();
    bed.isula(&format!("import {} again", rootfs::archive().display())).ok();
    assert_eq!(layers(), before, "the layer is there twice");
    bed.isula("rmi again").ok();
    assert_eq!(bed.run("", "echo well"), "well", "the shared layer went with the other image");
}

/// An archive written entry by entry, as no honest program does it.
fn hostile_archives_stay_in_their_root(bed: &mut Bed) {
    bed.start();
    let outside = bed.dir.join("outside");
    fs::create_dir(&outside).unwrap();
    let target = outside.display().to_string();
    let up = format!("../../../../../../../../..{target}");
    let raw = |name: &str, kind: u8, link: &str, content: &str| {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len().min(100)].copy_from_slice(&name.as_bytes()[..name.len().min(100)]);
        header.as_old_mut().linkname[..link.len().min(100)].copy_from_slice(&link.as_bytes()[..link.len().min(100)]);
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend(content.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    };
    let cases: Vec<Vec<Vec<u8>>> = vec![
        vec![raw(&format!("{up}/aa"), b'0', "", "x")],
        vec![raw(&format!("{target}/b"), b'0', "", "x")],
        vec![raw("l", b'2', &target, ""), raw("l/c", b'0', "", "x")],
        vec![raw("l", b'2', &up, ""), raw("l/d", b'0', "", "x")],
        vec![raw("l", b'2', &format!("{target}/e"), ""), raw("l", b'0', "", "x")],
        vec![raw("l", b'2', &target, ""), raw("l/", b'5', "", ""), raw("l/f", b'0', "", "x")],
        vec![raw("h", b'1', "/etc/passwd", "")],
        vec![raw("l", b'2', "/etc", ""), raw("h", b'1', "l/passwd", "")],
        vec![raw("d/../../g", b'0', "", "x")],
        vec![raw("l", b'2', &target, ""), raw("l/.wh.x", b'0', "", "")],
        vec![raw(".wh...", b'0', "", "")],
        vec![raw(".wh.", b'0', "", "")],
        vec![raw("..", b'0', "", "x")],
        vec![raw(".", b'0', "", "x")],
        vec![raw("", b'0', "", "x")],
        vec![raw("loop", b'2', "loop", ""), raw("loop/x", b'0', "", "x")],
    ];
    for (n, entries) in cases.iter().enumerate() {
        let path = bed.dir.join(format!("{n}.tar"));
        let mut bytes: Vec<u8> = entries.concat();
        bytes.extend([0; 1024]);
        fs::write(&path, bytes).unwrap();
        let o = bed.isula(&format!("import {} hostile{n}", path.display()));
        let reached: Vec<_> = fs::read_dir(&outside).unwrap().flatten().map(|e| e.path()).collect();
        assert!(reached.is_empty(), "case {n} wrote outside: {reached:?}\n{}", o.show());
    }
    assert_eq!(bed.run("", "echo well"), "well");
    eventually("and all can be removed", || {
        let names = bed.isula("images -q").ok();
        names.lines().count() <= 1 + cases.len()
    });
}

fn ownership_modes_links_and_times_survive(bed: &mut Bed) {
    bed.start();
    assert_eq!(bed.run("", "stat -c '%a %u %g %Y' /locked/secret"), "600 0 0 1700000000");
    assert_eq!(bed.run("", "readlink /escape-absolute"), "/");
    assert_eq!(bed.run("", "stat -c '%a %F' /bin/busybox"), "755 regular file");
    assert_eq!(bed.run("", "stat -c '%a %F' /locked"), "755 directory");
}

fn names_with_registry_and_digest(bed: &mut Bed) {
    bed.start();
    for name in ["host.example/path/name:tag", "host.example:5000/name", "path/name", "name"] {
        bed.isula(&format!("tag {IMAGE} {name}")).ok();
        assert_eq!(bed.isula(&format!("run --rm {name} echo well")).ok(), "well");
    }
    let text = bed.isula(&format!("inspect {IMAGE}")).ok();
    let tags = json(text.as_bytes())[0]["image"]["repo_tags"].as_array().unwrap().len();
    assert_eq!(tags, 5, "{text}");
    for name in ["host.example/path/name:tag", "host.example:5000/name", "path/name", "name"] {
        bed.isula(&format!("rmi {name}")).ok();
    }
}

/// What the image of [`oci::sample`] is like, once it is here as `name`.
pub fn check_layout(bed: &Bed, name: &str) {
    assert_eq!(bed.isula(&format!("run --rm {name}")).ok(), "from above");
    assert_eq!(bed.isula(&format!("run --rm {name} sh -c 'echo $FROM; ls -A /srv; ls /etc/marker'")).code, 1);
    let listed = bed.isula(&format!("run --rm {name} sh -c 'echo $FROM; ls -A /srv; stat -c %a /etc/upper'")).ok();
    assert_eq!(listed.lines().collect::<Vec<_>>(), ["layout", "new", "640"]);
}

fn load_of_an_oci_layout(bed: &mut Bed) {
    bed.start();
    let layout = bed.dir.join("layout");
    oci::sample(&layout, "made/here:v2");
    let path = oci::archive(&layout);
    let said = bed.isula(&format!("load -i {}", path.display())).ok();
    assert_eq!(said, format!("Load image from \"{}\" success", path.display()));
    check_layout(bed, "made/here:v2");
    // Again, from a pipe, compressed, with a name of its own; the layers are there once.
    let layers = || fs::read_dir(bed.graph().join("storage/overlay-layers")).unwrap().count();
    let before = layers();
    let packed = Command::new("gzip").arg("-c").arg(&path).output().unwrap().stdout;
    bed.isula_with("load --tag other", &packed).ok();
    assert_eq!(layers(), before);
    assert_eq!(bed.isula("run --rm other").ok(), "from above");
    assert_eq!(bed.isula("images -q").ok().lines().filter(|l| !l.is_empty()).count(), 3);
    bed.isula("rmi other made/here:v2").ok();
    eventually("the layers are gone", || layers() == 1);
}

fn load_of_what_skopeo_writes(bed: &mut Bed) {
    requires!(skopeo);
    bed.start();
    let layout = bed.dir.join("layout");
    oci::sample(&layout, "x");
    for kind in ["docker-archive", "oci-archive"] {
        let path = bed.dir.join(kind);
        let copy = Command::new("skopeo")
            .args(["copy", "--quiet", "--insecure-policy"])
            .arg(format!("oci:{}:x", layout.display()))
            .arg(format!("{kind}:{}:docker.io/library/{kind}:v3", path.display()))
            .output()
            .unwrap();
        assert!(copy.status.success(), "{copy:?}");
        bed.isula(&format!("load -i {}", path.display())).ok();
        check_layout(bed, &format!("{kind}:v3"));
    }
}

/// As `docker save` of one who knows what the board has: the base is in the store, and not in the archive.
fn load_of_an_archive_without_the_base(bed: &mut Bed) {
    bed.start();
    let layout = bed.dir.join("layout");
    oci::sample(&layout, "made/here:v2");
    let base = fs::read(rootfs::archive()).unwrap();
    let digest = isulabox::utils::digest::sha256(&base);
    fs::remove_file(layout.join("blobs/sha256").join(&digest)).unwrap();
    bed.isula(&format!("load -i {}", oci::archive(&layout).display())).ok();
    check_layout(bed, "made/here:v2");
    // The same in docker's form, of which the layers are named by their paths.
    let saved = bed.dir.join("saved");
    fs::create_dir_all(saved.join("upper")).unwrap();
    fs::copy(bed.dir.join("upper.tar"), saved.join("upper/layer.tar")).unwrap();
    let upper = isulabox::utils::digest::sha256(&fs::read(bed.dir.join("upper.tar")).unwrap());
    let archive = |base: &str| {
        let config = serde_json::json!({"os": "linux", "architecture": "amd64", "config": {"Cmd": ["cat", "/etc/upper"]},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{base}"), format!("sha256:{upper}")]}});
        fs::write(saved.join("config.json"), config.to_string()).unwrap();
        let manifest = serde_json::json!([{"Config": "config.json", "RepoTags": ["saved:v1"],
            "Layers": ["base/layer.tar", "upper/layer.tar"]}]);
        fs::write(saved.join("manifest.json"), manifest.to_string()).unwrap();
        format!("load -i {}", oci::archive(&saved).display())
    };
    bed.isula(&archive(&digest)).ok();
    assert_eq!(bed.isula("run --rm saved:v1").ok(), "from above");
    // One that is not here.
    let absent = "ab".repeat(32);
    let before = bed.isula("images").ok();
    let want = format!("layer \"base/layer.tar\" (sha256:{absent}) is neither in the archive nor here");
    bed.isula(&archive(&absent)).fails(1, &want);
    assert_eq!(bed.isula("images").ok(), before);
}

fn load_of_what_is_no_image(bed: &mut Bed) {
    bed.start();
    let layout = bed.dir.join("layout");
    oci::sample(&layout, "made:v1");
    let whole = fs::read(oci::archive(&layout)).unwrap();
    let path = bed.dir.join("x");
    for (bytes, want) in [
        (&b""[..], "empty"),
        (b"not a tar", "tar"),
        (&whole[..whole.len() / 2], "archive"),
        (&fs::read(rootfs::archive()).unwrap(), "neither manifest.json"),
    ] {
        fs::write(&path, bytes).unwrap();
        bed.isula(&format!("load -i {}", path.display())).fails(1, want);
    }
    fs::write(&path, &whole).unwrap();
    bed.isula(&format!("load -i {} --tag UPPER", path.display())).fails(1, "upper case");
    bed.isula(&format!("load -i {} -t oci", path.display())).fails(125, "oci");
    let text = if cfg!(feature = "embedded") { "Invalid manifest" } else { "embedded" };
    bed.isula(&format!("load -i {} -t embedded", path.display())).fails(1, text);
    bed.isula("load -i /nosuch").fails(1, "/nosuch");
    assert_eq!(bed.isula("images -q").ok().lines().count(), 1);
    assert_eq!(fs::read_dir(bed.graph().join("storage/overlay-layers")).unwrap().count(), 1);
}
