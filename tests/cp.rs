//! cp and diff: files into containers and out of them, in every state, by every rule, past every trap.

use crate::docker_client::docker;
use crate::support::bed::{Bed, json};
use crate::support::http::{self, Connection, Response};
use crate::support::{IMAGE, contains, leaks, requires, rootfs};
use crate::{requires, tests};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

tests![
    out_of_containers_in_every_state,
    into_containers_in_every_state,
    names_and_places_out,
    names_and_places_in,
    streams,
    words_that_are_refused,
    the_api_is_dockers,
    archives_of_all_kinds_go_in,
    what_the_container_has_mounted,
    what_a_stopped_container_has_mounted,
    read_only_places,
    what_is_immutable_stays,
    owners_modes_attributes_and_times,
    owners_in_user_namespaces,
    changes_of_a_container,
    changes_of_a_copied_root,
    the_stock_client_does_the_same,
];

pub fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A container that runs.
pub fn running(bed: &Bed, name: &str, options: &str) {
    bed.run_detached(name, options, "payload ready 1000");
    bed.await_log(name, "ready");
}

pub fn stop(bed: &Bed, name: &str) {
    bed.isula(&format!("kill {name}")).ok();
    bed.await_state(name, "exited");
}

/// What a stopped or running container has in a file, by way of a new stream.
#[track_caller]
pub fn inside(bed: &Bed, container: &str, path: &str) -> String {
    let to = bed.dir.join("inside");
    let _ = fs::remove_file(&to);
    bed.isula(&format!("cp {container}:{path} {}", to.display())).ok();
    read(&to)
}

/// Paths in a directory, sorted, with links and directories marked.
pub fn tree(path: &Path) -> Vec<String> {
    fn walk(top: &Path, path: &Path, into: &mut Vec<String>) {
        for entry in fs::read_dir(path).unwrap().flatten() {
            let path = entry.path();
            let name = path.strip_prefix(top).unwrap().display().to_string();
            let kind = entry.file_type().unwrap();
            let mark = if kind.is_dir() {
                "/"
            } else if kind.is_symlink() {
                "@"
            } else {
                ""
            };
            into.push(name + mark);
            if kind.is_dir() {
                walk(top, &path, into);
            }
        }
    }
    let mut all = Vec::new();
    walk(path, path, &mut all);
    all.sort();
    all
}

fn out_of_containers_in_every_state(bed: &mut Bed) {
    requires!(image_tools);
    bed.start();
    bed.isula(&format!("create --name made {IMAGE} true")).ok();
    let to = |name: &str| bed.dir.join(name);
    assert_eq!(bed.isula(&format!("cp made:/etc/marker {}", to("a").display())).ok(), "", "nothing is said");
    running(bed, "aa", "");
    bed.isula("exec aa sh -c 'echo own > /etc/marker; chmod 640 /etc/marker; touch -d 2001-02-03 /etc/marker'").ok();
    let check = |name: &str| {
        let metadata = to(name).metadata().unwrap();
        assert_eq!((read(&to(name)).as_str(), metadata.mode() & 0o7777), ("own\n", 0o640), "{name}");
        assert_eq!(metadata.mtime() / 86400, 11356, "2001-02-03");
    };
    bed.isula(&format!("cp aa:/etc/marker {}", to("running").display())).ok();
    check("running");
    bed.isula("pause aa").ok();
    bed.isula(&format!("cp aa:etc/marker {}", to("paused").display())).ok();
    check("paused");
    bed.isula("unpause aa").ok();
    let mounts = leaks::mounts();
    stop(bed, "aa");
    bed.isula(&format!("cp aa:/etc/../etc/marker {}", to("stopped").display())).ok();
    check("stopped");
    assert_eq!((read(&to("a")).as_str(), leaks::mounts()), ("inside\n", mounts));
}

fn into_containers_in_every_state(bed: &mut Bed) {
    requires!(image_tools);
    bed.start();
    let from = bed.dir.join("from");
    write(&from, "new\n");
    let from = from.display();
    bed.isula(&format!("create --name aa {IMAGE} payload ready 1000")).ok();
    assert_eq!(bed.isula(&format!("cp {from} aa:/made")).ok(), "");
    let mounts = leaks::mounts();
    bed.isula("start aa").ok();
    bed.await_log("aa", "ready");
    bed.isula(&format!("cp {from} aa:/running")).ok();
    bed.isula("pause aa").ok();
    bed.isula(&format!("cp {from} aa:/paused")).ok();
    bed.isula("unpause aa").ok();
    assert_eq!(bed.isula("exec aa cat /made /running /paused").ok(), "new\nnew\nnew");
    stop(bed, "aa");
    bed.isula(&format!("cp {from} aa:/stopped")).ok();
    assert_eq!(inside(bed, "aa", "/stopped"), "new\n");
    bed.isula("start aa").ok();
    assert_eq!(bed.isula("exec aa cat /made /stopped").ok(), "new\nnew");
    assert_eq!(leaks::mounts(), mounts);
}

/// docker's table, container to here.
fn names_and_places_out(bed: &mut Bed) {
    requires!(image_tools);
    bed.start();
    running(bed, "aa", "");
    let script = "mkdir -p /d/sub; echo f > /d/f; echo s > /d/sub/s; ln -s f /d/link; ln /d/f /d/hard; ln -s /d /to-d; \
                  ln -s d/f /to-f; ln -s /gone /to-nothing";
    bed.isula(&format!("exec aa sh -c '{script}'")).ok();
    let content = ["f", "hard", "link@", "sub/", "sub/s"];
    let place = |name: &str| {
        let path = bed.dir.join("places").join(name);
        fs::create_dir_all(&path).unwrap();
        path
    };
    let cp = |from: &str, directory: &Path, to: &str| bed.isula(&format!("cp aa:{from} {}/{to}", directory.display()));
    let below = |name: &str| -> Vec<String> {
        let mut all = vec![format!("{name}/")];
        all.extend(content.iter().map(|c| format!("{name}/{c}")));
        all
    };

    // A directory: into one that is there, to a new one, its content.
    let p = place("directory");
    cp("/d", &p, "").ok();
    assert_eq!(tree(&p), below("d"));
    assert_eq!(p.join("d/f").metadata().unwrap().ino(), p.join("d/hard").metadata().unwrap().ino(), "still one file");
    assert_eq!(fs::read_link(p.join("d/link")).unwrap(), Path::new("f"));
    for (n, to) in ["new", "new/"].iter().enumerate() {
        let p = place(&format!("new-{n}"));
        cp("/d", &p, to).ok();
        assert_eq!(tree(&p), below("new"), "{to}");
        // The same again goes into it.
        cp("/d/", &p, to).ok();
        assert!(p.join("new/d/sub/s").is_file());
    }
    let p = place("content");
    cp("/d/.", &p, "").ok();
    assert_eq!(tree(&p), content);
    cp("/d/.", &p, "fresh").ok();
    assert_eq!(tree(&p.join("fresh")), content);
    // A second time over itself.
    cp("/d/.", &p, "fresh").ok();
    assert_eq!(tree(&p.join("fresh")), content);

    // A file: to a new name, over one, into a directory.
    let p = place("file");
    cp("/d/f", &p, "g").ok();
    write(&p.join("old"), "old and longer\n");
    cp("/d/f", &p, "old").ok();
    cp("/d/f", &p, "").ok();
    assert_eq!(tree(&p), ["f", "g", "old"]);
    assert_eq!((read(&p.join("g")), read(&p.join("old"))), ("f\n".into(), "f\n".into()));
    cp("/d/f", &p, "missing/").fails(1, "no such directory");
    cp("/d/f", &p, "missing/x").fails(1, "does not exist");
    cp("/d/f", &p, "old/").fails(1, "Not a directory");
    cp("/d/f/", &p, "").fails(1, "not a directory");
    cp("/d", &p, "old").fails(1, "cannot copy directory");
    cp("/d/.", &p, "old").fails(1, "cannot copy directory");
    assert_eq!(tree(&p), ["f", "g", "old"]);

    // Links of the container.
    let p = place("links");
    cp("/to-d", &p, "").ok();
    cp("/to-nothing", &p, "").ok();
    assert_eq!(tree(&p), ["to-d@", "to-nothing@"]);
    let p = place("links-slash");
    cp("/to-d/", &p, "").ok();
    assert_eq!(tree(&p), below("to-d"));
    let p = place("links-followed");
    bed.isula(&format!("cp -L aa:/to-d {}", p.display())).ok();
    bed.isula(&format!("cp --follow-link aa:to-f {}", p.display())).ok();
    bed.isula(&format!("cp -qL aa:/to-f {}/named", p.display())).ok();
    let mut want = below("to-d");
    want.extend(["to-f".into(), "named".into()]);
    want.sort();
    assert_eq!(tree(&p), want);
    assert_eq!(read(&p.join("named")), "f\n");
    bed.isula(&format!("cp -L aa:/to-nothing {}", p.display())).fails(1, "Could not find the file /gone");

    // Links here: a destination that is one, be its end there or not.
    let p = place("local");
    fs::create_dir(p.join("real")).unwrap();
    symlink("real", p.join("to-real")).unwrap();
    symlink("real/later", p.join("to-later")).unwrap();
    cp("/d/f", &p, "to-real").ok();
    cp("/d/f", &p, "to-later").ok();
    assert_eq!(tree(&p.join("real")), ["f", "later"]);
    assert!(p.join("to-later").is_symlink());

    // A directory stays one, and so does what is none.
    let p = place("kinds");
    write(&p.join("d/f/x"), "");
    cp("/d", &p, "").fails(1, "cannot overwrite directory with non-directory");
    let p = place("kinds-2");
    write(&p.join("d/sub"), "");
    cp("/d", &p, "").fails(1, "cannot overwrite non-directory with directory");

    // The root itself, without what the kernel makes up.
    let p = place("root");
    cp("/", &p, "all").ok();
    assert!(p.join("all/d/sub/s").is_file() && p.join("all/etc/marker").is_file());
    assert_eq!(tree(&p.join("all/proc")), Vec::<String>::new());
    cp("/.", &p, "").ok();
    assert!(p.join("d/sub/s").is_file());
}

/// docker's table, from here to a container.
fn names_and_places_in(bed: &mut Bed) {
    requires!(image_tools);
    bed.start();
    let here = bed.dir.join("here");
    write(&here.join("d/f"), "f\n");
    write(&here.join("d/sub/s"), "s\n");
    fs::hard_link(here.join("d/f"), here.join("d/hard")).unwrap();
    symlink("f", here.join("d/link")).unwrap();
    symlink("d", here.join("to-d")).unwrap();
    symlink("d/f", here.join("to-f")).unwrap();
    write(&here.join("name:with:colon"), "colon\n");
    running(bed, "aa", "");
    let cp = |from: &str, to: &str| {
        let mut command = bed.applet("isula");
        command.args(["cp", from, &format!("aa:{to}")]).current_dir(&here);
        crate::support::command::run(command, format!("isula cp {from} aa:{to}"), b"", crate::support::PATIENCE)
    };
    let exec = |script: &str| bed.isula(&format!("exec aa sh -c '{script}'")).ok();
    let fresh = || {
        drop(exec("rm -rf /t; mkdir -p /t/there; echo old > /t/file; ln -s there /t/to-there; ln -s nothing /t/to-new"))
    };
    let files = |path: &str| exec(&format!("cd {path} && find . | sort")).replace("./", "").replace('\n', " ");
    let content = "f hard link sub sub/s";
    let full = "d d/f d/hard d/link d/sub d/sub/s";

    fresh();
    cp("d", "/t/there").ok();
    cp("d/", "/t/there/").ok();
    assert_eq!(files("/t/there"), format!(". {full}"));
    assert_eq!(exec("stat -c %h /t/there/d/f; readlink /t/there/d/link"), "2\nf");
    cp("d", "/t/new").ok();
    cp("d/", "/t/new2/").ok();
    cp("d/.", "/t/new3").ok();
    for name in ["new", "new2", "new3"] {
        assert_eq!(files(&format!("/t/{name}")), format!(". {content}"), "{name}");
    }
    fresh();
    cp("d/.", "/t/there").ok();
    assert_eq!(files("/t/there"), format!(". {content}"));
    cp("d/f", "/t/there").ok();
    cp("d/f", "/t/file").ok();
    cp("d/f", "/t/other").ok();
    cp("./name:with:colon", "/t/colon").ok();
    cp(&here.join("name:with:colon").display().to_string(), "t").ok();
    assert_eq!(exec("cat /t/file /t/other /t/colon /t/name:with:colon"), "f\nf\ncolon\ncolon");
    cp("d", "/t/file").fails(1, "cannot copy directory");
    cp("d/f", "/t/missing/").fails(1, "no such directory");
    cp("d/f", "/t/missing/x").fails(1, "Could not find the file /t/missing in container aa");
    cp("d/f", "/t/file/x").fails(1, "not a directory");
    cp("d/f", "/t/file/").fails(1, "not a directory");
    cp("d/f/", "/t/").fails(1, "Not a directory");
    cp("nosuch", "/t/").fails(1, "nosuch: No such file");
    cp("d/f", "/dev/null").fails(1, "must be a directory or a regular file");

    // Links here, and there.
    fresh();
    cp("to-d", "/t/there").ok();
    assert_eq!(exec("readlink /t/there/to-d"), "d");
    cp("to-d/", "/t/there/slash").ok();
    assert_eq!(files("/t/there/slash"), format!(". {content}"));
    cp("to-d/.", "/t/to-there").ok();
    assert!(files("/t/there").contains("sub/s"));
    cp("d/f", "/t/to-new").ok();
    assert_eq!(exec("cat /t/nothing; readlink /t/to-new"), "f\nnothing");
    let follow = |from: &str, to: &str| bed.isula(&format!("cp -L {}/{from} aa:{to}", here.display())).ok();
    follow("to-f", "/t/there/");
    assert_eq!(exec("test -L /t/there/to-f || cat /t/there/to-f"), "f");
    fresh();
    follow("to-d", "/t/there");
    assert_eq!(
        files("/t/there"),
        format!(". {}", full.replace("d/", "to-d/").replacen("d ", "to-d ", 1)).replace("subto-d/", "sub/")
    );

    // Kinds are kept.
    fresh();
    exec("mkdir -p /t/there/d/f; mkdir /t/x; echo > /t/x/d");
    cp("d", "/t/there").fails(1, "cannot overwrite directory with non-directory");
    cp("d", "/t/x").fails(1, "cannot overwrite non-directory with directory");
}

fn streams(bed: &mut Bed) {
    requires!(image_tools);
    bed.start();
    running(bed, "aa", "");
    bed.isula("exec aa sh -c 'mkdir /d /to; echo x > /d/x'").ok();
    let out = bed.applet("isula").args(["cp", "aa:/d", "-"]).output().unwrap();
    assert!(out.status.success());
    assert_eq!(names(&out.stdout), ["d/", "d/x"]);
    let mut command = bed.applet("isula");
    command.args(["cp", "-", "aa:/to"]);
    crate::support::command::run(command, "isula cp - aa:/to".into(), &out.stdout, crate::support::PATIENCE).ok();
    assert_eq!(bed.isula("exec aa cat /to/d/x").ok(), "x");
    bed.isula_with("cp - aa:/d/x", &out.stdout).fails(1, "destination \"aa:/d/x\" must be a directory");
    bed.isula_with("cp - aa:/new", &out.stdout).fails(1, "must be a directory");
    bed.isula_with("cp - nosuch:/new", &out.stdout).fails(1, "No such container:nosuch");
    bed.isula_with("cp - aa:/to", b"this is no archive").fails(1, "not a tar archive");
    let mut terminal = crate::support::pty::Terminal::run(
        {
            let mut c = bed.applet("isula");
            c.args(["cp", "aa:/d", "-"]);
            c
        },
        24,
        80,
    );
    terminal.await_text("not for a terminal");
    assert_eq!(terminal.finish(), 125);
}

/// Names of an archive's members.
fn names(archive: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap().map(Result::unwrap);
    entries.map(|e| String::from_utf8_lossy(&e.path_bytes()).into_owned()).collect()
}

fn words_that_are_refused(bed: &mut Bed) {
    requires!(image_tools);
    bed.start();
    bed.isula(&format!("create --name aa {IMAGE} true")).ok();
    for (line, text) in [
        ("cp aa:/x bb:/y", "copying between containers is not supported"),
        ("cp /x ./aa:/y", "must specify at least one container source"),
        ("cp /x /y", "must specify at least one container source"),
        ("cp '' aa:/y", "source can not be empty"),
        ("cp aa:/y ''", "destination can not be empty"),
        ("cp nosuch:/x /tmp", "Error response from daemon: No such container:nosuch"),
        ("cp /etc/passwd nosuch:/x", "Error response from daemon: No such container:nosuch"),
        ("cp /etc nosuch:/x/", "Error response from daemon: No such container:nosuch"),
        ("cp aa:/nosuch /tmp", "Error response from daemon: Could not find the file /nosuch in container aa"),
        ("cp aa: /tmp", "path cannot be empty"),
        ("cp aa:/etc/marker /nosuch/x", "invalid output path: directory \"/nosuch\" does not exist"),
        ("cp aa:/etc/marker /dev/null", "must be a directory or a regular file"),
        ("diff nosuch", "No such container:nosuch"),
    ] {
        bed.isula(line).fails(1, text);
    }
    for line in ["cp aa:/x", "cp", "cp aa:/x /y /z", "cp --nosuch aa:/x /y", "diff"] {
        assert_eq!(bed.isula(line).code, 125, "{line}");
    }
}

/// A request with a body of bytes.
#[track_caller]
pub fn put(bed: &Bed, path: &str, body: &[u8]) -> Response {
    let mut connection = Connection::open(&bed.socket());
    let head = format!(
        "PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-tar\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    connection.send(head.as_bytes());
    connection.send(body);
    connection.response().expect("an answer")
}

/// The answer to a HEAD.
#[track_caller]
fn head(bed: &Bed, path: &str) -> (u16, Value) {
    let mut connection = Connection::open(&bed.socket());
    connection.send(format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
    let (status, headers) = connection.head().unwrap();
    (status, stat_of(&headers))
}

fn stat_of(headers: &[(String, String)]) -> Value {
    let field = headers.iter().find(|(name, _)| name == "x-docker-container-path-stat");
    field.map_or(Value::Null, |(_, value)| json(&STANDARD.decode(value).unwrap()))
}

fn the_api_is_dockers(bed: &mut Bed) {
    requires!(image_tools);
    bed.start();
    running(bed, "aa", "");
    let script = "mkdir -m 1777 /d; echo x > /d/x; chmod 4751 /d/x; ln -s x /d/link; ln -s /escape-up/d/x /d/far; mkfifo -m 644 /d/p; \
                  touch -d \"2001-02-03 00:00:00\" /d/x";
    bed.isula(&format!("exec aa sh -c '{script}'")).ok();
    let (status, stat) = head(bed, "/v1.44/containers/aa/archive?path=/d/x");
    assert_eq!(status, 200);
    let want = r#"{"name":"x","size":2,"mode":8389097,"mtime":"2001-02-03T00:00:00Z","linkTarget":""}"#;
    assert_eq!(stat, json(want.as_bytes()));
    for (path, name, mode, target) in [
        ("/d", "d", 1u64 << 31 | 1 << 20 | 0o777, ""),
        ("/d/.", ".", 1 << 31 | 1 << 20 | 0o777, ""),
        ("/", "/", 1 << 31 | 0o755, ""),
        ("/d/link", "link", 1 << 27 | 0o777, "/d/x"),
        ("/d/far", "far", 1 << 27 | 0o777, "/d/x"),
        ("/d/p", "p", 1 << 25 | 0o644, ""),
        ("/dev/null", "null", 1 << 26 | 1 << 21 | 0o666, ""),
    ] {
        let (status, stat) = head(bed, &format!("/containers/aa/archive?path={path}"));
        assert_eq!((status, stat["name"].as_str(), stat["mode"].as_u64()), (200, Some(name), Some(mode)), "{path}");
        assert_eq!(stat["linkTarget"], target, "{path}");
    }
    for (path, names_of) in [
        ("/d/x", vec!["x"]),
        ("/d/link", vec!["link"]),
        ("/d", vec!["d/", "d/far", "d/link", "d/p", "d/x"]),
        ("/d/", vec!["d/", "d/far", "d/link", "d/p", "d/x"]),
        ("/d/.", vec!["./", "./far", "./link", "./p", "./x"]),
    ] {
        let got = bed.get(&format!("/containers/aa/archive?path={path}")).expect(200);
        assert_eq!(got.header("content-type"), Some("application/x-tar"));
        assert_eq!(names(&got.body), names_of, "{path}");
        assert!(stat_of(&got.headers)["mode"].is_u64(), "{path}");
    }
    for (method, path, status) in [
        ("GET", "/containers/aa/archive?path=/nosuch", 404),
        ("GET", "/containers/nosuch/archive?path=/", 404),
        ("GET", "/containers/aa/archive?path=", 400),
        ("GET", "/containers/aa/archive", 400),
        ("GET", "/containers/aa/archive?path=/d/x/", 400),
        ("GET", "/containers/aa/archive?path=/d/x/y", 400),
        ("GET", "/containers/aa/archive?path=/proc/cpuinfo", 400),
        ("POST", "/containers/aa/archive?path=/", 405),
        ("GET", "/containers/nosuch/changes", 404),
    ] {
        bed.http(method, path, None).expect(status);
    }
    assert_eq!(head(bed, "/containers/aa/archive?path=/nosuch"), (404, Value::Null));

    let one = rootfs_archive(bed, |tar| tar.file("put/in", 0o600, "y"));
    let at = |query: &str| format!("/containers/aa/archive?{query}");
    put(bed, &at("path=/d"), &one).expect(200);
    assert_eq!(bed.isula("exec aa stat -c '%a %U' /d/put /d/put/in").ok(), "755 root\n600 root");
    assert_eq!(put(bed, &at("path=/d/x"), &one).expect(400).json()["message"], "extraction point is not a directory");
    put(bed, &at("path=/nosuch"), &one).expect(404);
    put(bed, "/containers/nosuch/archive?path=/", &one).expect(404);
    put(bed, &at("path=/d"), b"no archive").expect(400);
    put(bed, &at("path=/d"), &one[..512]).expect(400);
    put(bed, &at("path=/proc"), &one).expect(400);
    let file = rootfs_archive(bed, |tar| tar.file("put", 0o600, "now a file"));
    put(bed, &at("path=/d&noOverwriteDirNonDir=true"), &file).expect(400);
    put(bed, &at("path=/d&noOverwriteDirNonDir=0"), &file).expect(200);
    assert_eq!(bed.isula("exec aa cat /d/put").ok(), "now a file");
    put(bed, &at("path=/d"), &one).expect(400);
    let directory = rootfs_archive(bed, |tar| tar.directory("put"));
    put(bed, &at("path=/d&noOverwriteDirNonDir=1"), &directory).expect(400);
    put(bed, &at("path=/d"), &directory).expect(200);
    let out = rootfs_archive(bed, |tar| tar.hard_link("x", "../../out"));
    contains(&put(bed, &at("path=/d"), &out).expect(400).text(), "leads out of the destination");
    // The daemon is well.
    assert_eq!(http::request(&bed.socket(), "GET", "/_ping", None).status, 200);
}

pub fn rootfs_archive(bed: &Bed, fill: impl FnOnce(&mut rootfs::Archive)) -> Vec<u8> {
    let path = bed.dir.join("made.tar");
    let mut archive = rootfs::Archive::create(&path);
    fill(&mut archive);
    archive.finish();
    fs::read(path).unwrap()
}

fn archives_of_all_kinds_go_in(bed: &mut Bed) {
    requires!(image_tools, gnu);
    bed.start();
    running(bed, "aa", "");
    let here = bed.dir.join("packed");
    write(&here.join("x/y"), "content\n");
    for name in ["plain", "gzip", "xz"] {
        if name == "xz" && !cfg!(feature = "xz") {
            continue;
        }
        let path = bed.dir.join("packed.tar");
        let mut tar = Command::new("tar");
        if name != "plain" {
            tar.arg("-I").arg(requires::find(name).unwrap());
        }
        let made = tar.arg("-c").arg("-f").arg(&path).arg("-C").arg(&here).arg("x").status().unwrap();
        assert!(made.success());
        put(bed, "/containers/aa/archive?path=/srv", &fs::read(&path).unwrap()).expect(200);
        assert_eq!(bed.isula("exec aa sh -c 'cat /srv/x/y; rm -r /srv/x'").ok(), "content", "{name}");
    }
}

/// A directory with a file to be mounted, and a file to be copied.
fn volume_and_new(bed: &Bed) -> (PathBuf, String) {
    let (volume, new) = (bed.dir.join("volume"), bed.dir.join("new"));
    write(&volume.join("file"), "outside\n");
    write(&new, "new\n");
    (volume, new.display().to_string())
}

fn what_the_container_has_mounted(bed: &mut Bed) {
    requires!(image_tools);
    bed.start();
    let (volume, new) = volume_and_new(bed);
    write(&bed.dir.join("one"), "one\n");
    let one = bed.dir.join("one");
    running(bed, "aa", &format!("-v {}:/data --tmpfs /scratch -v {}:/etc/one", volume.display(), one.display()));
    bed.isula("exec aa sh -c 'echo memory > /scratch/x'").ok();
    assert_eq!(inside(bed, "aa", "/data/file"), "outside\n");
    assert_eq!(inside(bed, "aa", "/scratch/x"), "memory\n");
    bed.isula(&format!("cp {new} aa:/data/in")).ok();
    bed.isula(&format!("cp {new} aa:/scratch/in")).ok();
    assert_eq!(read(&volume.join("in")), "new\n");
    assert_eq!(bed.isula("exec aa cat /scratch/in").ok(), "new");
    // A file that is a mount keeps its place.
    bed.isula(&format!("cp {new} aa:/etc/one")).ok();
    assert_eq!(read(&one), "new\n");
    assert_eq!(bed.isula("exec aa sh -c 'cat /etc/one; grep -c /etc/one /proc/mounts'").ok(), "new\n1");
}

fn what_a_stopped_container_has_mounted(bed: &mut Bed) {
    requires!(image_tools);
    bed.start();
    let (volume, new) = volume_and_new(bed);
    let (volume_text, later) = (volume.display(), bed.dir.join("later"));
    // Neither was there a place for the mounts so far, nor one of the sources.
    let options = format!("-v {volume_text}:/new/data -v {}:/later -v {volume_text}/file:/etc/one", later.display());
    bed.isula(&format!("create --name aa {options} {IMAGE} payload ready 1000")).ok();
    assert_eq!(inside(bed, "aa", "/new/data/file"), "outside\n");
    assert_eq!(inside(bed, "aa", "/etc/one"), "outside\n");
    assert_eq!(bed.isula("diff aa").ok(), "", "a look changes nothing");
    bed.isula(&format!("cp {new} aa:/new/data/in")).ok();
    bed.isula(&format!("cp {new} aa:/later/in")).ok();
    assert_eq!((read(&volume.join("in")), read(&later.join("in"))), ("new\n".into(), "new\n".into()));
    bed.isula("start aa").ok();
    assert_eq!(bed.isula("exec aa cat /new/data/in /later/in").ok(), "new\nnew");
    stop(bed, "aa");
    let listing = names(&bed.get("/containers/aa/archive?path=/new").expect(200).body);
    assert_eq!(listing, ["new/", "new/data/", "new/data/file", "new/data/in"]);
}

fn read_only_places(bed: &mut Bed) {
    requires!(image_tools);
    bed.start();
    let (_, from) = volume_and_new(bed);
    let (ro, rw) = (bed.dir.join("ro"), bed.dir.join("rw"));
    fs::create_dir_all(&ro).unwrap();
    fs::create_dir_all(&rw).unwrap();
    let options = format!("--read-only -v {}:/ro:ro -v {}:/rw", ro.display(), rw.display());
    bed.isula(&format!("create --name aa {options} {IMAGE} payload ready 1000")).ok();
    let one = rootfs_archive(bed, |tar| tar.file("in", 0o600, "y"));
    for state in ["created", "running", "exited"] {
        if state == "running" {
            bed.isula("start aa").ok();
            bed.await_log("aa", "ready");
        } else if state == "exited" {
            stop(bed, "aa");
        }
        bed.isula(&format!("cp {from} aa:/etc/x")).fails(1, "container rootfs is marked read-only");
        bed.isula(&format!("cp {from} aa:/ro/x")).fails(1, "mounted volume is marked read-only");
        put(bed, "/containers/aa/archive?path=/", &one).expect(403);
        put(bed, "/containers/aa/archive?path=/ro", &one).expect(403);
        bed.isula(&format!("cp {from} aa:/rw/{state}")).ok();
        assert_eq!(read(&rw.join(state)), "new\n");
        assert_eq!(inside(bed, "aa", "/etc/marker"), "inside\n");
    }
    assert_eq!(tree(&ro), Vec::<String>::new());
    // A read-only volume below what is written to.
    running(bed, "bb", &format!("-v {}:/top/ro:ro", ro.display()));
    let below = rootfs_archive(bed, |tar| tar.file("ro/in", 0o600, "y"));
    put(bed, "/containers/bb/archive?path=/top", &below).expect(403);
}

fn what_is_immutable_stays(bed: &mut Bed) {
    requires!(image_tools, chattr);
    bed.start();
    let here = bed.dir.join("here");
    let other = bed.dir.join("other");
    write(&here.join("kept"), "as it was\n");
    write(&other, "other\n");
    running(bed, "aa", &format!("-v {}:/here", here.display()));
    let chattr = |how: &str| Command::new("chattr").arg(how).arg(here.join("kept")).output().unwrap().status.success();
    if !chattr("+i") {
        crate::support::runner::skip("no immutable files here");
    }
    let refused =
        [format!("cp aa:/etc/marker {}", here.join("kept").display()), format!("cp {} aa:/here/kept", other.display())]
            .map(|line| bed.isula(&line));
    let text = read(&here.join("kept"));
    assert!(chattr("-i"));
    for o in refused {
        assert_ne!(o.code, 0, "{}", o.show());
        contains(&o.err.to_lowercase(), "operation not permitted");
    }
    assert_eq!(text, "as it was\n");
    bed.isula(&format!("cp aa:/etc/marker {}", here.join("kept").display())).ok();
    assert_eq!(read(&here.join("kept")), "inside\n");
}

fn owners_modes_attributes_and_times(bed: &mut Bed) {
    requires!(image_tools);
    bed.start();
    running(bed, "aa", "");
    running(bed, "bb", "--user 1000:2000");
    let here = bed.dir.join("here");
    write(&here.join("d/f"), "x");
    std::os::unix::fs::chown(here.join("d/f"), Some(7), Some(8)).unwrap();
    std::os::unix::fs::chown(here.join("d"), Some(9), Some(10)).unwrap();
    fs::set_permissions(here.join("d/f"), PermissionsExt::from_mode(0o6755)).unwrap();
    fs::set_permissions(here.join("d"), PermissionsExt::from_mode(0o1750)).unwrap();
    let mut touched = Command::new("touch");
    touched.env("TZ", "UTC").args(["-d", "2001-02-03 00:00:00"]).arg(here.join("d/f")).arg(here.join("d"));
    assert!(touched.status().unwrap().success());
    let from = here.join("d");
    let from = from.display();
    bed.isula(&format!("cp {from} aa:/d")).ok();
    let stat = |c: &str| bed.isula(&format!("exec {c} stat -c '%a %u %g %Y' /tmp/d /tmp/d/f")).ok();
    bed.isula(&format!("cp {from} aa:/tmp")).ok();
    assert_eq!(stat("aa"), "1750 9 10 981158400\n6755 7 8 981158400");
    bed.isula(&format!("cp -a {from} bb:/tmp")).ok();
    contains(&bed.isula("exec -u 0 bb stat -c '%a %u %g' /tmp/d /tmp/d/f").ok(), "6755 1000 2000");
    // By name, as the container's own files have it.
    running(bed, "cc", "--user user");
    bed.isula(&format!("cp --archive {from} cc:/tmp")).ok();
    contains(&bed.isula("exec -u 0 cc stat -c '%u %g' /tmp/d/f").ok(), "1000 1000");
    // Out again: the caller's, without set-id bits, unless all is to be kept.
    bed.isula(&format!("cp aa:/tmp/d {}", here.join("plain").display())).ok();
    bed.isula(&format!("cp -a aa:/tmp/d {}", here.join("kept").display())).ok();
    let of = |name: &str| {
        let m = here.join(name).metadata().unwrap();
        (m.mode() & 0o7777, m.uid(), m.gid(), m.mtime())
    };
    assert_eq!((of("plain/f"), of("plain").0), ((0o755, 0, 0, 981158400), 0o1750));
    assert_eq!((of("kept/f"), of("kept")), ((0o6755, 7, 8, 981158400), (0o1750, 9, 10, 981158400)));
    // Attributes, where the file systems have them.
    let capability: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let capable = rootfs_archive(bed, |tar| {
        tar.attribute("security.capability", &capability);
        tar.file("capable", 0o755, "x");
        tar.attribute("trusted.overlay.opaque", b"y");
        tar.file("capable-too", 0o755, "x");
    });
    put(bed, "/containers/aa/archive?path=/srv", &capable).expect(200);
    let back = bed.get("/containers/aa/archive?path=/srv").expect(200).body;
    let has = |name: &str| back.windows(name.len()).any(|w| w == name.as_bytes());
    assert!(has("SCHILY.xattr.security.capability") && !has("trusted.overlay"));
}

fn owners_in_user_namespaces(bed: &mut Bed) {
    requires!(image_tools);
    bed.start_with(&["--userns-remap", "100000:200000:65536"]);
    let here = bed.dir.join("f");
    write(&here, "x");
    std::os::unix::fs::chown(&here, Some(7), Some(8)).unwrap();
    let volume = bed.dir.join("volume");
    fs::create_dir_all(&volume).unwrap();
    std::os::unix::fs::chown(&volume, Some(100_000), Some(200_000)).unwrap();
    bed.isula(&format!("create --name aa -v {}:/data {IMAGE} payload ready 1000", volume.display())).ok();
    let deep = rootfs_archive(bed, |tar| tar.file("way/to/f", 0o600, "y"));
    for state in ["stopped", "running"] {
        if state == "running" {
            bed.isula("start aa").ok();
            bed.await_log("aa", "ready");
        }
        bed.isula(&format!("cp {} aa:/srv/{state}", here.display())).ok();
        bed.isula(&format!("cp {} aa:/data/{state}", here.display())).ok();
        put(bed, &format!("/containers/aa/archive?path=/{}", if state == "running" { "srv" } else { "tmp" }), &deep)
            .expect(200);
        let metadata = volume.join(state).metadata().unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (100_007, 200_008), "{state}");
        let body = bed.get(&format!("/containers/aa/archive?path=/srv/{state}")).expect(200).body;
        let mut archive = tar::Archive::new(&body[..]);
        let header = archive.entries().unwrap().next().unwrap().unwrap().header().clone();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (7, 8), "{state}");
    }
    assert_eq!(
        bed.isula("exec aa stat -c '%u %g' /srv/stopped /srv/running /tmp/way /srv/way/to").ok(),
        "7 8\n7 8\n0 0\n0 0"
    );
    // One that the namespace has not.
    std::os::unix::fs::chown(&here, Some(70_000), Some(8)).unwrap();
    bed.isula(&format!("cp {} aa:/srv/x", here.display())).fails(1, "user 70000 is beyond the 65536 ids");
}

fn changes_of_a_container(bed: &mut Bed) {
    requires!(image_tools);
    bed.start();
    bed.isula(&format!("create --name aa {IMAGE} payload ready 1000")).ok();
    assert_eq!(bed.isula("diff aa").ok(), "");
    running(bed, "bb", "");
    let script = "echo new > /etc/marker; rm /etc/group; mkdir -p /srv/a/b; echo x > /srv/a/b/c; rm -r /locked; mkdir /locked; \
                  echo y > /locked/own; ln -s x /var/link";
    bed.isula(&format!("exec bb sh -c '{script}'")).ok();
    let want = "C /etc\nD /etc/group\nC /etc/marker\nC /locked\nA /locked/own\nD /locked/secret\nC /srv\n\
                A /srv/a\nA /srv/a/b\nA /srv/a/b/c\nC /var\nA /var/link";
    let got = bed.isula("diff bb").ok();
    assert_eq!(got, want);
    stop(bed, "bb");
    assert_eq!(bed.isula("diff bb").ok(), want);
    let answer = bed.get("/containers/bb/changes").expect(200).json();
    assert_eq!(answer[0], json(br#"{"Path":"/etc","Kind":0}"#));
    assert_eq!(answer[1], json(br#"{"Path":"/etc/group","Kind":2}"#));
    assert_eq!(answer[4], json(br#"{"Path":"/locked/own","Kind":1}"#));
}

fn changes_of_a_copied_root(bed: &mut Bed) {
    requires!(image_tools, storage);
    bed.start_with(&["-s", "vfs"]);
    write(&bed.dir.join("new"), "new\n");
    bed.isula(&format!("create --name aa {IMAGE} payload ready 1000")).ok();
    assert_eq!(bed.isula("diff aa").ok(), "");
    assert_eq!(inside(bed, "aa", "/etc/marker"), "inside\n");
    bed.isula(&format!("cp {} aa:/srv/in", bed.dir.join("new").display())).ok();
    assert_eq!(bed.isula("diff aa").ok(), "C /srv\nA /srv/in");
    // A look makes no place for what would be mounted.
    let volume = bed.dir.join("volume");
    write(&volume.join("file"), "outside\n");
    bed.isula(&format!("create --name bb -v {}:/new/data {IMAGE} true", volume.display())).ok();
    assert_eq!(inside(bed, "bb", "/etc/marker"), "inside\n");
    assert_eq!(bed.isula("diff bb").ok(), "");
    bed.isula("start aa").ok();
    let script = "echo new > /etc/marker; rm /etc/group; rm -r /locked; mkdir /locked; echo y > /locked/own";
    bed.isula(&format!("exec aa sh -c '{script}'")).ok();
    let got = bed.isula("diff aa").ok();
    for line in ["D /etc/group", "C /etc/marker", "C /etc", "A /locked/own", "D /locked/secret", "A /srv/in"] {
        assert!(got.lines().any(|l| l == line), "{line} in\n{got}");
    }
    assert!(!got.contains("/bin/busybox"), "{got}");
}

fn the_stock_client_does_the_same(bed: &mut Bed) {
    requires!(image_tools, docker);
    bed.start();
    running(bed, "aa", "");
    let here: PathBuf = bed.dir.join("here");
    write(&here.join("d/f"), "f\n");
    symlink("f", here.join("d/link")).unwrap();
    let text = here.display();
    docker(bed, &format!("cp {text}/d aa:/srv/new")).ok();
    docker(bed, &format!("cp {text}/d/f aa:/srv")).ok();
    assert_eq!(bed.isula("exec aa sh -c 'cat /srv/f; cat /srv/new/link'").ok(), "f\nf");
    docker(bed, &format!("cp aa:/srv/new {text}/back")).ok();
    docker(bed, &format!("cp aa:/srv/new/. {text}/content")).ok();
    docker(bed, &format!("cp -L aa:/srv/new/link {text}/followed")).ok();
    assert_eq!(tree(&here.join("back")), ["f", "link@"]);
    assert_eq!(tree(&here.join("content")), ["f", "link@"]);
    assert_eq!(read(&here.join("followed")), "f\n");
    docker(bed, &format!("cp aa:/nosuch {text}/x")).fails(1, "Could not find the file /nosuch in container aa");
    docker(bed, &format!("cp {text}/d aa:/etc/marker")).fails(1, "cannot copy directory");
    docker(bed, &format!("cp {text}/d/f aa:/nosuch/x")).fails(1, "Could not find the file /nosuch in container aa");
    let out = docker(bed, "cp aa:/srv/f -");
    contains(&out.out, "f\n");
    let diff = docker(bed, "diff aa").ok();
    for line in ["A /srv/f", "A /srv/new/link", "C /srv"] {
        assert!(diff.lines().any(|l| l == line), "{line} in {diff}");
    }
    stop(bed, "aa");
    docker(bed, &format!("cp {text}/d/f aa:/srv/stopped")).ok();
    docker(bed, &format!("cp aa:/srv/stopped {text}/stopped")).ok();
    assert_eq!(read(&here.join("stopped")), "f\n");
}
