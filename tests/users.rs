//! Users and groups, resolved inside the root file system.

use crate::support::bed::Bed;
use crate::support::{IMAGE, contains, rootfs};
use crate::tests;

tests![
    names_and_numbers,
    supplementary_groups,
    home_follows_the_user,
    unknown_ones_are_refused,
    hostile_password_files,
    what_is_no_file_in_etc,
];

fn names_and_numbers(bed: &mut Bed) {
    bed.start();
    for (options, expected) in [
        ("", "uid=0 gid=0 groups=0"),
        ("-u 0", "uid=0 gid=0 groups=0"),
        ("-u user", "uid=1000 gid=1000 groups=1000,2000"),
        ("-u 1000", "uid=1000 gid=1000 groups=1000,2000"),
        ("-u user:extra", "uid=1000 gid=2000 groups=2000"),
        ("-u 1000:3000", "uid=1000 gid=3000 groups=3000"),
        ("-u 4242", "uid=4242 gid=0 groups=0"),
        ("-u 4242:4343", "uid=4242 gid=4343 groups=4343"),
        ("-uuser:more", "uid=1000 gid=3000 groups=3000"),
    ] {
        assert_eq!(bed.run(options, "payload ids"), expected, "{options}");
    }
    // Root has its groups as well, also when nobody names it, and in what is started later.
    let group = bed.dir.join("group");
    std::fs::write(&group, "root:x:0:\nwheel:x:10:user,root\n").unwrap();
    let options = format!("-v {}:/etc/group", group.display());
    assert_eq!(bed.run(&options, "payload ids"), "uid=0 gid=0 groups=0,10");
    bed.run_detached("aa", &options, "payload ready 1000");
    assert_eq!(bed.isula("exec aa payload ids").ok(), "uid=0 gid=0 groups=0,10");
    assert_eq!(bed.isula("exec -u 0:0 aa payload ids").ok(), "uid=0 gid=0 groups=0");
    assert_eq!(bed.isula(&format!("run --rm -u user {IMAGE} payload cat /locked/secret")).exits(1), "EACCES");
    assert_eq!(bed.run("-u user", "payload setuid 0"), "refused");
}

fn supplementary_groups(bed: &mut Bed) {
    bed.start();
    contains(&bed.run("-u user --group-add more", "payload ids"), "groups=1000,2000,3000");
    contains(&bed.run("-u 5:6 --group-add 77 --group-add extra", "payload ids"), "gid=6 groups=6,77,2000");
    assert_eq!(bed.isula(&format!("run --rm --group-add nosuch {IMAGE} true")).code, 125);
}

fn home_follows_the_user(bed: &mut Bed) {
    bed.start();
    contains(&bed.run("-u user", "payload env"), "HOME=/srv/user");
    contains(&bed.run("", "payload env"), "HOME=/root");
    contains(&bed.run("-u 4242", "payload env"), "HOME=/");
    contains(&bed.run("-u user -e HOME=/mine", "payload env"), "HOME=/mine");
}

fn unknown_ones_are_refused(bed: &mut Bed) {
    bed.start();
    let text = "Unable to find user 'nosuchuser': no matching entries in passwd file";
    bed.isula(&format!("run --rm -u nosuchuser {IMAGE} true")).fails(125, text);
    for user in ["user:nosuch", "-1", "4294967296", "99999999999999999999"] {
        let o = bed.isula(&format!("run --rm -u {user} {IMAGE} true"));
        assert_ne!(o.code, 0, "{}", o.show());
    }
}

fn hostile_password_files(bed: &mut Bed) {
    bed.start();
    let long = format!("user:x:{}:0::/:/bin/sh\n", "9".repeat(100_000));
    for (n, text) in [
        "",
        "\n\n:::\nuser\nuser:x\n",
        "user:x:abc:def::/:\n",
        "user:x:-1:-1::/:\n",
        long.as_str(),
        "user:x:1:1:\0:/:\n",
    ]
    .iter()
    .enumerate()
    {
        let archive = bed.dir.join(format!("{n}.tar"));
        let mut tar = rootfs::Archive::create(&archive);
        tar.directory("etc");
        tar.directory("bin");
        tar.file("etc/passwd", 0o644, text);
        tar.program("bin/payload", &rootfs::payload());
        tar.finish();
        bed.isula(&format!("import {} hostile{n}", archive.display())).ok();
        let o = bed.isula(&format!("run --rm -u user hostile{n} payload ids"));
        assert!(o.code == 125 || o.out.contains("uid=1 "), "{}", o.show());
        contains(&bed.isula(&format!("run --rm -u 12 hostile{n} payload ids")).ok(), "uid=12");
    }
}

/// Where the engine mounts files of its own and reads those of the image: nothing waits for a fifo, no device is opened.
fn what_is_no_file_in_etc(bed: &mut Bed) {
    use tar::EntryType::{Char, Fifo};
    bed.start();
    let mut n = 0;
    let mut outcome = |options: &str, make: &dyn Fn(&mut rootfs::Archive)| {
        n += 1;
        let archive = bed.dir.join(format!("{n}.tar"));
        let mut tar = rootfs::Archive::create(&archive);
        ["bin", "etc"].iter().for_each(|d| tar.directory(d));
        tar.program("bin/payload", &rootfs::payload());
        make(&mut tar);
        tar.finish();
        bed.isula(&format!("import {} odd{n}", archive.display())).ok();
        bed.isula(&format!("run --rm {options} odd{n} payload list /etc"))
    };
    for file in ["etc/hostname", "etc/hosts", "etc/resolv.conf"] {
        let o = outcome("", &|tar| tar.directory(file));
        o.fails(125, &format!("\"/{file}\" is a directory in the root, and what is mounted there is none"));
        let o = outcome("", &|tar| tar.link(file, file.trim_start_matches("etc/")));
        o.fails(125, &format!("open(\"/{file}\") in the root: symbolic link loop"));
        for (kind, numbers) in [(Fifo, (0, 0)), (Char, (1, 7))] {
            let o = outcome("", &|tar| tar.node(file, kind, numbers));
            assert_eq!(o.ok(), "hostname\nhosts\nmtab\nresolv.conf", "{file}");
        }
    }
    for (file, options) in [("etc/passwd", ""), ("etc/passwd", "-u user"), ("etc/group", "-u user")] {
        let o = outcome(options, &|tar| tar.directory(file));
        o.fails(125, &format!("\"/{file}\" in the container is no regular file"));
        let o = outcome(options, &|tar| tar.link(file, file.trim_start_matches("etc/")));
        o.fails(125, &format!("open(\"/{file}\") in the container: symbolic link loop"));
        for (kind, numbers) in [(Fifo, (0, 0)), (Char, (10, 130))] {
            let o = outcome(options, &|tar| tar.node(file, kind, numbers));
            o.fails(125, &format!("\"/{file}\" in the container is no regular file"));
        }
    }
}
