//! cp past traps: links that lead out, trees that change, files that are none, ends in the middle.

use crate::cp::{inside, put, read, rootfs_archive, running, stop, tree, write};
use crate::support::bed::Bed;
use crate::support::http::Connection;
use crate::support::{IMAGE, contains, eventually, leaks};
use crate::{requires, tests};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::process::Command;

tests![
    links_out_of_the_root_lead_nowhere,
    a_container_that_swaps_its_links_gains_nothing,
    nothing_is_removed_below_a_mount,
    things_that_are_no_files,
    deep_wide_and_holey_trees,
    a_killed_daemon_leaves_a_container_that_starts,
    containers_that_end_meanwhile,
];

fn links_out_of_the_root_lead_nowhere(bed: &mut Bed) {
    requires!(image_tools);
    bed.start();
    let outside = bed.dir.join("outside");
    write(&outside.join("secret"), "secret\n");
    write(&bed.dir.join("new"), "new\n");
    let (secret, new) = (outside.join("secret"), bed.dir.join("new"));
    let (outside_text, new) = (outside.display().to_string(), new.display());
    bed.isula(&format!("create --name aa {IMAGE} payload ready 1000")).ok();
    for state in ["created", "running"] {
        if state == "running" {
            bed.isula("start aa").ok();
            bed.await_log("aa", "ready");
            bed.isula(&format!("exec aa sh -c 'ln -s {outside_text} /out; ln -s {outside_text}/secret /file'")).ok();
            for path in ["/out/secret", "/file/", "/out/"] {
                assert_ne!(bed.isula(&format!("cp aa:{path} {}/got", bed.dir.display())).code, 0, "{path}");
            }
            bed.isula(&format!("cp -L aa:/file {}/got", bed.dir.display())).fails(1, "Could not find the file");
            bed.isula(&format!("cp {new} aa:/out/secret")).fails(1, "Could not find the file");
            bed.isula(&format!("cp {new} aa:/file")).fails(1, "Could not find the file");
        }
        for way in ["escape-absolute", "escape-up", "escape-up/escape-absolute"] {
            bed.isula(&format!("cp aa:/{way}{outside_text}/secret {}/got", bed.dir.display()))
                .fails(1, "Could not find");
            assert_eq!(inside(bed, "aa", &format!("/{way}/etc/marker")), "inside\n");
            bed.isula(&format!("cp {new} aa:/{way}{outside_text}/secret")).fails(1, "Could not find");
            bed.isula(&format!("cp {new} aa:/{way}/put")).ok();
            assert_eq!(inside(bed, "aa", "/put"), "new\n");
        }
        bed.isula(&format!("cp aa:/escape-loop/x {}/got", bed.dir.display())).fails(1, "escape-loop");
        for to in ["/escape-loop/", "/escape-loop/x"] {
            assert_ne!(bed.isula(&format!("cp {new} aa:{to}")).code, 0, "{to}");
        }
        assert_ne!(
            bed.isula(&format!("cp aa:/new {}/got", bed.dir.display())).code,
            0,
            "nothing was put into the root"
        );
        // Members that go through links of the same archive stay inside; those that name the way out are refused.
        let links = rootfs_archive(bed, |tar| {
            tar.link("l", &outside_text);
            tar.file("l/secret", 0o600, "overwritten");
        });
        assert_ne!(put(bed, "/containers/aa/archive?path=/srv", &links).status, 200, "a link to nothing in the way");
        let links = rootfs_archive(bed, |tar| {
            tar.link("up", "../../../../../..");
            tar.file("up/through", 0o600, "inside");
            tar.hard_link("grab", &format!("up{outside_text}/secret"));
        });
        contains(&put(bed, "/containers/aa/archive?path=/srv", &links).expect(400).text(), "which is not there");
        assert_eq!(inside(bed, "aa", "/through"), "inside");
    }
    let metadata = secret.metadata().unwrap();
    assert_eq!((read(&secret).as_str(), metadata.nlink(), tree(&outside)), ("secret\n", 1, vec!["secret".into()]));
    assert!(!bed.dir.join("got").exists());
}

/// CVE-2018-15664: a directory that is a link to the host's root in one moment and none in the next.
fn a_container_that_swaps_its_links_gains_nothing(bed: &mut Bed) {
    requires!(image_tools);
    bed.start();
    let outside = bed.dir.join("outside");
    write(&outside.join("secret"), "secret\n");
    let way = outside.display().to_string();
    let script = format!(
        "mkdir -p /a{way}; echo mine > /a{way}/secret; ln -s / /b; echo ready; \
         while :; do mv /a /c; mv /b /a; mv /a /b; mv /c /a; done"
    );
    bed.run_detached("aa", "", &format!("sh -c '{script}'"));
    bed.await_log("aa", "ready");
    let new = bed.dir.join("new");
    write(&new, "new\n");
    let one = rootfs_archive(bed, |tar| tar.file("secret", 0o600, "new"));
    let mut done = [0; 3];
    for n in 0..40 {
        let got = bed.get(&format!("/containers/aa/archive?path=/a{way}/secret"));
        assert!(!got.text().contains("secret\n"), "round {n}");
        done[0] += u32::from(got.status == 200);
        let got = bed.get(&format!("/containers/aa/archive?path=/a{way}"));
        assert!(!got.text().contains("secret\n"), "round {n}");
        done[1] += u32::from(got.status == 200);
        done[2] += u32::from(put(bed, &format!("/containers/aa/archive?path=/a{way}"), &one).status == 200);
    }
    // Some found the directory in its place.
    assert!(done.iter().all(|count| *count > 0), "{done:?}");
    let metadata = outside.join("secret").metadata().unwrap();
    assert_eq!(
        (read(&outside.join("secret")).as_str(), metadata.nlink(), tree(&outside)),
        ("secret\n", 1, vec!["secret".into()])
    );
}

/// A member that is no directory takes the place of a directory, and of all that is below, but never of what is mounted.
fn nothing_is_removed_below_a_mount(bed: &mut Bed) {
    requires!(image_tools);
    for driver in ["overlay2", "vfs"] {
        if driver == "vfs" && !cfg!(feature = "storage") {
            continue;
        }
        bed.start_with(&["-s", driver]);
        let volume = bed.dir.join("volume");
        write(&volume.join("deep/file"), "outside\n");
        let name = format!("on-{driver}");
        let options = format!("-v {}:/top/mid/data -v own-{driver}:/top/own", volume.display());
        running(bed, &name, &options);
        let file = rootfs_archive(bed, |tar| tar.file("top", 0o600, "a file now"));
        let at = format!("/containers/{name}/archive?path=/");
        for state in ["running", "exited"] {
            if state == "exited" {
                stop(bed, &name);
            }
            let answer = put(bed, &at, &file);
            assert!(answer.status >= 400, "{driver} {state}: {}", answer.status);
            assert_eq!(tree(&volume), ["deep/", "deep/file"]);
            if state == "running" {
                let mounts = bed.isula(&format!("exec {name} sh -c 'grep -c /top/ /proc/mounts'")).ok();
                assert_eq!(mounts, "2", "{driver}");
            }
            assert_eq!(inside(bed, &name, "/top/mid/data/deep/file"), "outside\n");
        }
        bed.isula(&format!("rm {name}")).ok();
        bed.stop();
    }
}

fn things_that_are_no_files(bed: &mut Bed) {
    requires!(image_tools);
    bed.start();
    running(bed, "aa", "--cap-add MKNOD");
    bed.isula("exec aa sh -c 'mkdir /d; cd /d; mkfifo p; mknod c c 1 3; mknod b b 7 0; echo f > f'").ok();
    let to = bed.dir.join("to");
    bed.isula(&format!("cp aa:/d {}", to.display())).ok();
    let kind = |name: &str| to.join(name).symlink_metadata().unwrap().file_type();
    assert!(kind("p").is_fifo() && kind("c").is_char_device() && kind("b").is_block_device());
    assert_eq!(to.join("c").metadata().unwrap().rdev(), 0x103);
    bed.isula(&format!("cp {} aa:/e", to.display())).ok();
    assert_eq!(bed.isula("exec aa stat -c '%F %t %T' /e/c /e/p").ok(), "character special file 1 3\nfifo 0 0");
    // A fifo alone, and a socket, which is left out.
    bed.isula(&format!("cp aa:/d/p {}", bed.dir.join("p").display())).ok();
    let socket = bed.dir.join("here/socket");
    fs::create_dir_all(socket.parent().unwrap()).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    bed.isula(&format!("cp {} aa:/s", socket.parent().unwrap().display())).ok();
    assert_eq!(bed.isula("exec aa ls -A /s").ok(), "");
    bed.isula(&format!("cp {} aa:/s", socket.display())).fails(1, "a socket cannot be copied");
    // One with two names is no less left out, and what is beside it is not.
    fs::hard_link(&socket, bed.dir.join("here/again")).unwrap();
    write(&bed.dir.join("here/zz"), "last\n");
    bed.isula(&format!("cp {}/. aa:/s", socket.parent().unwrap().display())).ok();
    assert_eq!(bed.isula("exec aa ls -A /s").ok(), "zz");
    bed.isula("exec aa rm /s/zz").ok();
    running(bed, "bb", &format!("-v {}:/s", socket.parent().unwrap().display()));
    bed.isula(&format!("cp bb:/s {}", bed.dir.join("out").display())).ok();
    assert_eq!(tree(&bed.dir.join("out")), ["zz"]);
    bed.isula(&format!("cp bb:/s/socket {}", bed.dir.join("out").display()))
        .fails(1, "is a socket, which cannot be copied");
}

fn deep_wide_and_holey_trees(bed: &mut Bed) {
    requires!(image_tools, gnu);
    bed.start();
    running(bed, "aa", "");
    let script = "mkdir /deep /wide; cd /deep; i=0; while [ $i -lt 150 ]; do mkdir dir-number-$i; cd dir-number-$i; i=$((i+1)); done; \
                  echo end > end; cd /wide; i=0; while [ $i -lt 3000 ]; do echo $i > f$i; i=$((i+1)); done; \
                  dd if=/dev/zero of=/hole bs=1 count=1 seek=64M 2>/dev/null";
    bed.isula(&format!("exec aa sh -c '{script}'")).ok();
    let to = bed.dir.join("to");
    fs::create_dir(&to).unwrap();
    for name in ["deep", "wide", "hole"] {
        bed.isula(&format!("cp aa:/{name} {}", to.display())).ok();
    }
    let deepest = tree(&to.join("deep")).into_iter().max_by_key(String::len).unwrap();
    assert_eq!((read(&to.join("deep").join(&deepest)).as_str(), tree(&to.join("wide")).len()), ("end\n", 3000));
    assert_eq!(to.join("hole").metadata().unwrap().len(), (64 << 20) + 1);
    bed.isula(&format!("cp {} aa:/back", to.display())).ok();
    assert_eq!(bed.isula("exec aa sh -c 'find /back | wc -l; cat /back/wide/f2999'").ok(), "3155\n2999");
    // GNU's sparse members keep their holes.
    let sparse = bed.dir.join("sparse.tar");
    let file = bed.dir.join("sparse");
    fs::File::create(&file).unwrap().set_len(256 << 20).unwrap();
    let made = Command::new("tar").args(["-cS", "-f"]).arg(&sparse).arg("-C").arg(&bed.dir).arg("sparse").status();
    assert!(made.unwrap().success());
    put(bed, "/containers/aa/archive?path=/srv", &fs::read(&sparse).unwrap()).expect(200);
    assert_eq!(bed.isula("exec aa stat -c '%s' /srv/sparse").ok(), (256u64 << 20).to_string());
    let blocks: u64 = bed.isula("exec aa stat -c '%b' /srv/sparse").ok().parse().unwrap();
    assert!(blocks < 2048, "{blocks} blocks");
}

fn a_killed_daemon_leaves_a_container_that_starts(bed: &mut Bed) {
    requires!(image_tools);
    bed.start();
    bed.isula(&format!("create --name aa {IMAGE} payload ready 1000")).ok();
    let mounts = leaks::mounts();
    let begin = |bed: &Bed| {
        let mut connection = Connection::open(&bed.socket());
        connection
            .send(b"PUT /containers/aa/archive?path=/srv HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        let mut header = tar::Header::new_gnu();
        header.set_size(1 << 20);
        header.set_path("half").unwrap();
        header.set_mode(0o644);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        let bytes = [header.as_bytes(), &[b'x'; 512][..]].concat();
        connection.send(format!("{:x}\r\n", bytes.len()).as_bytes());
        connection.send(&bytes);
        connection.send(b"\r\n");
        connection
    };
    // A client that leaves in the middle: half a file is none.
    let connection = begin(bed);
    drop(connection);
    eventually("the daemon notices", || bed.isula("cp aa:/srv/half -").code == 1);
    let connection = begin(bed);
    bed.kill();
    drop(connection);
    bed.restart();
    assert_eq!(leaks::mounts(), mounts);
    bed.isula("start aa").ok();
    assert_eq!(bed.isula("exec aa echo well").ok(), "well");
    bed.isula("rm -f aa").ok();
}

fn containers_that_end_meanwhile(bed: &mut Bed) {
    requires!(image_tools);
    bed.start();
    running(bed, "aa", "");
    let mut connection = Connection::open(&bed.socket());
    connection.send(b"PUT /containers/aa/archive?path=/srv HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let one = rootfs_archive(bed, |tar| tar.file("one", 0o600, &"y".repeat(20_000)));
    let (first, last) = one.split_at(10_240);
    let chunk = |bytes: &[u8]| [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
    connection.send(&chunk(first));
    eventually("it is being written", || bed.isula("exec aa test -e /srv/one").code == 0);
    // Neither waits for the other.
    stop(bed, "aa");
    bed.isula("start aa").ok();
    connection.send(&chunk(last));
    connection.send(b"0\r\n\r\n");
    let answer = connection.response().unwrap().expect(409);
    contains(&answer.text(), "ended while files were copied to it");
    assert_eq!(bed.isula("exec aa test -e /srv/one").code, 1, "half a file is none");
}
