//! history, save, export, image prune: what goes out, and comes back the same.

use crate::support::bed::{Bed, json};
use crate::support::command::{self, Output};
use crate::support::{IMAGE, contains, eventually, leaks, oci, rootfs};
use crate::{requires, tests};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

tests![
    history_of_imported_and_loaded_images,
    export_is_the_merged_root,
    export_leaves_nothing_when_interrupted,
    an_interrupted_save_leaves_no_file,
    saved_images_are_loaded_again,
    save_shares_layers_and_is_stable,
    skopeo_reads_what_save_writes,
    prune_takes_what_nothing_uses,
    the_stock_client_does_the_same,
];

/// Members of an archive by name, with tar(1)'s long listing.
#[track_caller]
fn listing(path: &Path) -> String {
    let out = Command::new("tar").arg("-tvf").arg(path).output().expect("tar");
    assert!(out.status.success(), "{path:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// One member of an archive.
#[track_caller]
fn member(path: &Path, name: &str) -> Vec<u8> {
    let out = Command::new("tar").arg("-xOf").arg(path).arg(name).output().expect("tar");
    assert!(out.status.success(), "{name}: {}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

fn load_sample(bed: &Bed, name: &str) {
    let layout = bed.dir.join("layout");
    oci::sample(&layout, name);
    bed.isula(&format!("load -i {}", oci::archive(&layout).display())).ok();
}

fn id_of(bed: &Bed, name: &str) -> String {
    let text = bed.isula(&format!("inspect {name}")).ok();
    json(text.as_bytes())[0]["Id"].as_str().or(json(text.as_bytes())[0]["image"]["id"].as_str()).unwrap().to_owned()
}

fn history_of_imported_and_loaded_images(bed: &mut Bed) {
    requires!(image_tools);
    bed.start();
    bed.isula(&format!("import -m 'a message' {} spoken:v1", rootfs::archive().display())).ok();
    let text = bed.isula("history spoken:v1").ok();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>().join(" "), "IMAGE CREATED CREATED BY SIZE COMMENT");
    assert_eq!(lines.len(), 2, "{text}");
    contains(lines[1], "a message");
    contains(lines[1], "ago");
    let answer = bed.get("/images/spoken:v1/history").json();
    assert_eq!(answer[0]["Tags"][0], "spoken:v1");
    assert_eq!(answer[0]["Id"], format!("sha256:{}", id_of(bed, "spoken:v1").trim_start_matches("sha256:")));
    assert!(answer[0]["Size"].as_i64().unwrap() > 100_000, "{answer}");
    // This one tells of no step.
    load_sample(bed, "made/here:v2");
    let answer = bed.get("/images/made/here:v2/history").json();
    assert_eq!(answer.as_array().unwrap().len(), 4, "{answer}");
    assert_eq!((&answer[1]["Id"], &answer[1]["Tags"]), (&Value::from("<missing>"), &Value::Null));
    assert_eq!(bed.isula("history -q made/here:v2").ok().lines().skip(1).collect::<Vec<_>>(), ["<missing>"; 3]);
    bed.isula("history nosuch").fails(1, "No such image:nosuch");
}

fn export_is_the_merged_root(bed: &mut Bed) {
    requires!(image_tools, gnu);
    bed.start();
    let script = "rm /etc/marker; echo mine > /etc/own; chmod 4711 /etc/own; ln /etc/own /etc/same; mkdir -p /data/deep; \
                  exec payload ready 1000";
    bed.run_detached("aa", "-v /etc:/data", &format!("sh -c '{script}'"));
    bed.await_log("aa", "ready");
    let running = bed.dir.join("running.tar");
    assert_eq!(bed.isula(&format!("export -o {} aa", running.display())).ok(), "");
    let list = listing(&running);
    assert!(!list.contains("etc/marker"), "{list}");
    contains(&list, "-rws--x--x");
    contains(&list, "link to ");
    assert!(!list.lines().any(|l| l.contains(" data/") && !l.ends_with(" data/")), "what is mounted is in it: {list}");
    assert!(!list.lines().any(|l| l.contains(" proc/") && !l.ends_with(" proc/")), "{list}");
    assert_eq!(member(&running, "etc/own"), b"mine\n");
    // The file is never overwritten.
    bed.isula(&format!("export -o {} aa", running.display())).fails(1, "exists already");
    bed.isula("kill aa").ok();
    bed.await_state("aa", "exited");
    let stopped = bed.dir.join("stopped.tar");
    bed.isula(&format!("export --output {} aa", stopped.display())).ok();
    assert_eq!(member(&stopped, "etc/own"), b"mine\n");
    // What comes out goes in.
    bed.isula(&format!("import {} back", stopped.display())).ok();
    assert_eq!(
        bed.isula("run --rm back sh -c 'cat /etc/own; ls /etc/marker 2>/dev/null; stat -c %a /etc/same'").ok(),
        "mine\n4711"
    );
    bed.isula("export -o /nosuch/x aa").fails(1, "/nosuch/x");
    let missing = bed.dir.join("missing.tar");
    bed.isula(&format!("export -o {} nosuch", missing.display())).fails(1, "nosuch");
    assert!(!missing.exists() && no_temporaries(&bed.dir));
    bed.isula("rm aa").ok();
}

fn no_temporaries(directory: &Path) -> bool {
    let names = fs::read_dir(directory).unwrap().flatten().map(|e| e.file_name().into_string().unwrap());
    names.filter(|name| name.contains(".tar")).all(|name| !name.starts_with('.'))
}

/// Somebody who leaves in the middle, and a daemon that is killed in the middle.
fn export_leaves_nothing_when_interrupted(bed: &mut Bed) {
    requires!(image_tools);
    bed.start();
    bed.run_detached("aa", "", "payload ready 1000");
    bed.await_log("aa", "ready");
    let mounts = leaks::mounts();
    let begun = |bed: &Bed| {
        let mut socket = std::os::unix::net::UnixStream::connect(bed.socket()).unwrap();
        std::io::Write::write_all(&mut socket, b"GET /containers/aa/export HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut some = [0; 1000];
        std::io::Read::read_exact(&mut socket, &mut some).unwrap();
        contains(&String::from_utf8_lossy(&some), "application/x-tar");
        socket
    };
    let socket = begun(bed);
    assert_eq!(leaks::mounts(), mounts, "the mount can be seen");
    drop(socket);
    eventually("the daemon notices", || bed.log().contains("export of \"aa\""));
    let socket = begun(bed);
    bed.kill();
    drop(socket);
    bed.restart();
    assert_eq!(leaks::mounts(), mounts);
    assert_eq!(bed.isula("exec aa echo well").ok(), "well");
    bed.isula("rm -f aa").ok();
}

/// A signal while the archive is written: it has no name yet, and what there is of it goes.
fn an_interrupted_save_leaves_no_file(bed: &mut Bed) {
    requires!(image_tools);
    bed.start();
    let large = bed.dir.join("large");
    let mut archive = rootfs::Archive::create(&large);
    archive.file("file", 0o644, &"x".repeat(64 << 20));
    archive.finish();
    bed.isula(&format!("import {} large:1", large.display())).ok();
    let path = bed.dir.join("large.tar");
    let mut interrupted = 0;
    // One that is done before the signal comes is none.
    for _ in 0..20 {
        let _ = fs::remove_file(&path);
        let mut client = bed.applet("isula").args(["save", "-o"]).arg(&path).arg("large:1").spawn().unwrap();
        eventually("the file, or the end", || !no_temporaries(&bed.dir) || client.try_wait().unwrap().is_some());
        if client.try_wait().unwrap().is_none() {
            kill(Pid::from_raw(client.id() as i32), Signal::SIGINT).unwrap();
        }
        if client.wait().unwrap().signal() == Some(Signal::SIGINT as i32) {
            interrupted += 1;
            assert!(no_temporaries(&bed.dir), "an interrupted save left its file");
        }
    }
    assert!(interrupted > 0, "no save was interrupted");
    bed.isula(&format!("save -o {} large:1", path.display())).ok();
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
    bed.isula("rmi large:1").ok();
}

fn saved_images_are_loaded_again(bed: &mut Bed) {
    requires!(image_tools);
    bed.start();
    load_sample(bed, "made/here:v2");
    bed.isula("tag made/here:v2 made/here:v3").ok();
    let path = bed.dir.join("saved.tar");
    assert_eq!(bed.isula(&format!("save -o {} made/here:v2", path.display())).ok(), "");
    let manifest = json(&member(&path, "manifest.json"));
    assert_eq!(manifest[0]["RepoTags"], Value::from(vec!["made/here:v2"]));
    assert_eq!(manifest[0]["Layers"].as_array().unwrap().len(), 4);
    let config = json(&member(&path, manifest[0]["Config"].as_str().unwrap()));
    assert_eq!(config["config"]["Env"][0], "FROM=layout");
    bed.isula("rmi made/here:v2 made/here:v3").ok();
    bed.isula(&format!("load -i {}", path.display())).ok();
    crate::images::check_layout(bed, "made/here:v2");
    bed.isula("inspect made/here:v3").fails(1, "made/here:v3");
    // Without a tag all of a name are meant; by its id an image has none. From a pipe.
    bed.isula("tag made/here:v2 made/here:v4").ok();
    let tags = |words: &str| {
        let mut command = bed.applet("isula");
        command.args(["save", words]).stdout(fs::File::create(bed.dir.join("piped")).unwrap());
        assert!(command.status().unwrap().success());
        json(&member(&bed.dir.join("piped"), "manifest.json"))[0]["RepoTags"].clone()
    };
    assert_eq!(tags("made/here"), Value::from(vec!["made/here:v2", "made/here:v4"]));
    let id = id_of(bed, "made/here:v2");
    assert_eq!(tags(id.trim_start_matches("sha256:")), Value::Null);
    bed.isula(&format!("save -o {}/none.tar made/here nosuch", bed.dir.display())).fails(1, "No such image:nosuch");
    assert!(!bed.dir.join("none.tar").exists() && no_temporaries(&bed.dir));
    bed.isula("rmi made/here:v2 made/here:v4").ok();
}

fn save_shares_layers_and_is_stable(bed: &mut Bed) {
    requires!(image_tools);
    bed.start();
    load_sample(bed, "made/here:v2");
    let one = bed.dir.join("one.tar");
    bed.isula(&format!("save -o {} made/here:v2", one.display())).ok();
    let both = bed.dir.join("both.tar");
    bed.isula(&format!("save -o {} made/here:v2 {IMAGE}", both.display())).ok();
    let manifest = json(&member(&both, "manifest.json"));
    assert_eq!(manifest.as_array().unwrap().len(), 2, "{manifest}");
    assert_eq!(manifest[0]["Layers"][0], manifest[1]["Layers"][0], "one layer of both");
    let more = both.metadata().unwrap().size() - one.metadata().unwrap().size();
    assert!(more < 20_000, "{more} bytes more for an image whose only layer is there");
    // What was loaded once is saved with the same id and the same bytes ever after.
    bed.isula(&format!("load -i {}", one.display())).ok();
    let first = id_of(bed, "made/here:v2");
    let two = bed.dir.join("two.tar");
    bed.isula(&format!("save -o {} made/here:v2", two.display())).ok();
    assert!(fs::read(&one).unwrap() == fs::read(&two).unwrap(), "{}\n{}", listing(&one), listing(&two));
    bed.isula(&format!("load -i {}", two.display())).ok();
    assert_eq!(id_of(bed, "made/here:v2"), first);
    bed.isula("rmi made/here:v2").ok();
}

fn skopeo(words: &[String]) -> Output {
    let mut command = Command::new("skopeo");
    command.args(["--insecure-policy"]).args(words);
    command::run(command, format!("skopeo {}", words.join(" ")), b"", Duration::from_secs(120))
}

fn skopeo_reads_what_save_writes(bed: &mut Bed) {
    requires!(image_tools, skopeo);
    bed.start();
    load_sample(bed, "made/here:v2");
    let path = bed.dir.join("saved.tar");
    bed.isula(&format!("save -o {} made/here:v2", path.display())).ok();
    bed.isula("rmi made/here:v2").ok();
    let at = |name: &str| bed.dir.join(name).display().to_string();
    for (n, source) in ["docker-archive", "oci-archive"].into_iter().enumerate() {
        let layout = at(&format!("unpacked{n}"));
        let from =
            if n == 0 { format!("{source}:{}", path.display()) } else { format!("{source}:{}:v2", path.display()) };
        skopeo(&["copy".into(), "--quiet".into(), from.clone(), format!("dir:{layout}")]).ok();
        let again = at(&format!("again{n}"));
        let to = format!("{source}:{again}:docker.io/library/back{n}:v1");
        skopeo(&["copy".into(), "--quiet".into(), from, to]).ok();
        bed.isula(&format!("load -i {again}")).ok();
        crate::images::check_layout(bed, &format!("back{n}:v1"));
    }
    bed.isula("rmi back0:v1 back1:v1").ok();
}

fn prune_takes_what_nothing_uses(bed: &mut Bed) {
    requires!(image_tools);
    bed.start();
    let import = |name: &str, change: &str| {
        bed.isula(&format!("import -c '{change}' {} {name}", rootfs::archive().display())).ok()
    };
    import("moved", "LABEL a=b");
    let used = import("moved", "LABEL c=d");
    bed.isula("create --name aa moved true").ok();
    let unnamed = import("moved", "LABEL e=f");
    import("named", "LABEL g=h");
    // Of four, the first and the second have lost their name, and the second is in use.
    assert_ne!(used, unnamed);
    bed.isula("image prune -f --filter nosuch=1").fails(125, "nosuch");
    contains(&bed.isula("image prune -f --filter label=x").ok(), "Total reclaimed space: 0B");
    contains(&bed.isula("image prune -f --filter label!=a").ok(), "Total reclaimed space: 0B");
    contains(&bed.isula("image prune -f --filter until=24h").ok(), "Total reclaimed space: 0B");
    let asked = bed.isula_with("image prune", b"n\n").ok();
    contains(&asked, "WARNING! This will remove all dangling images.");
    assert_eq!(bed.isula("images -q").ok().lines().count(), 5);
    let said = bed.isula_with("image prune", b"y\n").ok();
    contains(&said, "deleted: sha256:");
    assert_eq!(bed.isula("images -q").ok().lines().count(), 4, "{said}");
    bed.isula("rm aa").ok();
    bed.isula("image prune --force").ok();
    assert_eq!(bed.isula("images -q").ok().lines().count(), 3);
    let said = bed.isula("image prune -af --filter label=g=h").ok();
    contains(&said, "untagged: named:latest");
    assert_eq!(bed.isula("images -q").ok().lines().count(), 2);
    load_sample(bed, "made/here:v2");
    let said = bed.isula("image prune -a -f").ok();
    contains(&said, "Total reclaimed space: ");
    assert!(!said.contains("space: 0B"), "{said}");
    assert_eq!(bed.isula("images -q").ok(), "");
    assert_eq!(fs::read_dir(bed.graph().join("storage/overlay-layers")).unwrap().count(), 0);
}

fn the_stock_client_does_the_same(bed: &mut Bed) {
    requires!(image_tools, docker);
    bed.start();
    let docker = |line: &str| crate::docker_client::docker(bed, line);
    load_sample(bed, "made/here:v2");
    contains(&docker("history made/here:v2").ok(), "<missing>");
    let path = bed.dir.join("saved.tar");
    docker(&format!("save -o {} made/here:v2 {IMAGE}", path.display())).ok();
    docker("rmi made/here:v2").ok();
    contains(&docker(&format!("load -i {}", path.display())).ok(), "Loaded image: made/here:v2");
    crate::images::check_layout(bed, "made/here:v2");
    docker("run --name aa --network none made/here:v2 sh -c 'echo x > /own'").ok();
    let path = bed.dir.join("exported.tar");
    docker(&format!("export -o {} aa", path.display())).ok();
    assert_eq!(member(&path, "own"), b"x\n");
    docker("rm aa").ok();
    contains(&docker("image prune -af").ok(), "untagged: made/here:v2");
    assert_eq!(docker("images -q").ok(), "");
}
