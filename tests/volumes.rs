//! Volumes: what is made, kept, shared, and removed.

use crate::support::bed::Bed;
use crate::support::{IMAGE, contains, eventually};
use crate::{requires, tests};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

tests![
    named_volumes_outlive_containers,
    anonymous_volumes_go_when_asked,
    listings_show_what_is_mounted,
    volumes_go_with_a_container_that_goes_by_itself,
    mounts_are_stored_and_shown,
    volumes_of_other_containers,
    bad_volumes_are_refused,
    what_is_used_stays,
    what_a_damaged_container_may_have_stays,
    a_damaged_record_is_kept,
    other_options_are_another_volume,
    prune_by_version_and_filter,
    the_client_prints_as_the_original,
    the_interface_speaks_dockers_words,
    a_volume_that_is_gone_is_told,
    a_volume_may_be_a_directory_elsewhere,
    the_stock_client_has_volumes,
];

pub fn store(bed: &Bed) -> PathBuf {
    bed.graph().join("volumes")
}

/// Everything in the store's directory.
pub fn entries(bed: &Bed) -> BTreeSet<String> {
    let entries = fs::read_dir(store(bed)).unwrap().flatten();
    entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

#[track_caller]
pub fn listed(bed: &Bed) -> Vec<String> {
    bed.isula("volume ls -q").ok().lines().map(str::to_owned).collect()
}

#[track_caller]
pub fn has_volumes(bed: &Bed, names: &[&str]) {
    assert_eq!(listed(bed), names);
    // What has ceased to be one may still be on its way out.
    let names = names.iter().map(|name| name.to_string()).collect();
    eventually(&format!("nothing is left beside {names:?}"), || entries(bed) == names);
}

#[track_caller]
pub fn mounts(bed: &Bed, container: &str) -> Vec<Value> {
    let mut mounts = bed.inspect(container, "/Mounts").as_array().unwrap().clone();
    mounts.sort_by_key(|mount| mount["Destination"].to_string());
    mounts
}

fn named_volumes_outlive_containers(bed: &mut Bed) {
    bed.start();
    bed.run("-v data:/d", "sh -c 'echo kept > /d/file'");
    assert_eq!(bed.run("--mount src=data,dst=/e", "cat /e/file"), "kept");
    assert_eq!(bed.run("--mount type=volume,source=data,target=/e,readonly=false", "cat /e/file"), "kept");
    let path = store(bed).join("data");
    let mode = |path: &Path| path.metadata().unwrap().mode() & 0o7777;
    assert_eq!((mode(&store(bed)), mode(&path), mode(&path.join("_data"))), (0o700, 0o755, 0o755));
    assert_eq!(fs::read_dir(&path).unwrap().count(), 1, "the directory says all");
    assert_eq!(fs::read(path.join("_data/file")).unwrap(), b"kept\n");
    for options in ["-v data:/d:ro", "--mount src=data,dst=/d,ro", "-v data:/d:ro,nocopy,z,rprivate"] {
        assert_eq!(bed.isula(&format!("run --rm {options} {IMAGE} payload write /d/x y")).exits(1), "EROFS");
    }
    // Two at once share it.
    bed.run_detached("one", "-v data:/d", "payload ready 1000");
    bed.run_detached("two", "-v data:/d", "payload ready 1000");
    bed.isula("exec one sh -c 'echo of one > /d/shared'").ok();
    assert_eq!(bed.isula("exec two cat /d/shared").ok(), "of one");
    bed.isula("rm -f -v one two").ok();
    has_volumes(bed, &["data"]);
}

fn listings_show_what_is_mounted(bed: &mut Bed) {
    bed.start();
    let source = bed.dir.join("shared");
    fs::create_dir(&source).unwrap();
    let source = source.display();
    let options = format!("-v data:/v -v {source}:/b:ro -v /a --mount type=tmpfs,dst=/t --tmpfs /only-asked-for");
    bed.isula(&format!("create --name aa {options} {IMAGE} true")).ok();
    bed.isula(&format!("create --name bb {IMAGE} true")).ok();
    for _ in 0..2 {
        let inspected = mounts(bed, "aa");
        let kinds: Vec<_> = inspected.iter().map(|mount| mount["Type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["volume", "bind", "tmpfs", "volume"]);
        let rows = bed.get("/v1.44/containers/json?all=1").expect(200).json();
        let listed = |n: usize| {
            let mut listed = rows[n]["Mounts"].as_array().unwrap().clone();
            listed.sort_by_key(|mount| mount["Destination"].to_string());
            listed
        };
        assert_eq!((listed(1), listed(0)), (inspected, Vec::new()));
        if cfg!(feature = "templates") {
            let shown = |words: &str| {
                bed.isula(&format!("ps -a {words} --format '{{{{.Mounts}}}} {{{{.LocalVolumes}}}}'")).ok()
            };
            let short: String = source.to_string().chars().take(14).collect();
            contains(&shown(""), &format!("{short}…"));
            contains(&shown("--no-trunc"), &source.to_string());
            contains(&shown(""), "data 2");
        }
        bed.restart();
    }
}

fn anonymous_volumes_go_when_asked(bed: &mut Bed) {
    bed.start();
    bed.isula(&format!("create --name aa -v /d -v named:/n --mount dst=/e -v /f:nocopy {IMAGE} true")).ok();
    let made: Vec<Value> = mounts(bed, "aa");
    let names: Vec<&str> = made.iter().map(|mount| mount["Name"].as_str().unwrap()).collect();
    let lengths: Vec<usize> = names.iter().map(|name| name.len()).collect();
    assert_eq!(lengths, [64, 64, 64, 5], "{made:#?}");
    bed.isula("start aa").ok();
    bed.await_state("aa", "exited");
    bed.isula("rm aa").ok();
    assert_eq!(listed(bed).len(), 4, "without -v they stay");
    bed.isula("volume prune -f").ok();
    bed.isula(&format!("create --name aa -v /d -v named:/n {IMAGE} true")).ok();
    // One that another has stays.
    bed.isula(&format!("create --name bb --volumes-from aa {IMAGE} true")).ok();
    bed.isula("rm -v aa").ok();
    assert_eq!(listed(bed).len(), 2);
    assert_eq!(entries(bed).len(), 2);
    bed.isula("rm --volumes bb").ok();
    has_volumes(bed, &["named"]);
}

fn volumes_go_with_a_container_that_goes_by_itself(bed: &mut Bed) {
    bed.start();
    assert_eq!(bed.run("-v /d -v named:/n", "sh -c 'echo x > /d/x; cat /d/x'"), "x");
    has_volumes(bed, &["named"]);
    let told = bed.isula("events -S 1h -U 0s -f type=volume -f event=destroy").ok();
    assert_eq!(told.lines().count(), 1, "{told}");
    // Also when the daemon was not there, or died.
    for kill in [false, true] {
        bed.run_detached("aa", "--rm -v /d -v /e", "payload ready 1000");
        let pid = bed.container_pid("aa");
        if kill {
            bed.kill()
        } else {
            bed.stop()
        }
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), nix::sys::signal::SIGKILL).unwrap();
        eventually("its end", || !Path::new(&format!("/proc/{pid}")).exists());
        bed.restart();
        eventually("its end and that of its volumes", || listed(bed) == ["named"] && entries(bed).len() == 1);
    }
    // A start that fails is its end as well.
    assert_ne!(bed.isula(&format!("run --rm -v /d {IMAGE} /no/such")).code, 0);
    has_volumes(bed, &["named"]);
}

fn mounts_are_stored_and_shown(bed: &mut Bed) {
    bed.start();
    let outside = bed.dir.join("outside");
    fs::create_dir_all(&outside).unwrap();
    let outside = outside.display();
    let line = format!(
        "create --name aa -v {outside}:/b:ro,z -v vol:/v:ro --mount type=tmpfs,dst=/t --tmpfs /u -v /anonymous {IMAGE} true"
    );
    let id = bed.isula(&line).ok();
    let shown = mounts(bed, "aa");
    let kinds: Vec<(&str, &str, bool)> = shown
        .iter()
        .map(|m| (m["Destination"].as_str().unwrap(), m["Type"].as_str().unwrap(), m["RW"].as_bool().unwrap()))
        .collect();
    let want = [("/anonymous", "volume", true), ("/b", "bind", false), ("/t", "tmpfs", true), ("/v", "volume", false)];
    assert_eq!(kinds, want);
    let source = store(bed).join("vol/_data");
    let fields = json!({"Type": "volume", "Name": "vol", "Source": source, "Destination": "/v", "Driver": "local",
        "Mode": "ro", "RW": false, "Propagation": ""});
    assert_eq!(shown[3], fields);
    let stored = fs::read(bed.graph().join(format!("engines/lcr/{id}/config.v2.json"))).unwrap();
    let stored = crate::support::bed::json(&stored)["CommonConfig"]["MountPoints"].clone();
    let point = json!({"Type": "volume", "Destination": "/v", "Driver": "local", "Key": "", "Name": "vol", "Named": true,
        "Propagation": "", "RW": false, "Relabel": "", "Source": source, "Mode": "ro"});
    assert_eq!(stored["/v"], point);
    assert_eq!((&stored["/b"]["Relabel"], &stored["/b"]["Propagation"]), (&json!("z"), &json!("rprivate")));
    assert_eq!((&stored["/anonymous"]["Named"], stored.as_object().unwrap().len()), (&json!(false), 4));
    let options = bed.inspect("aa", "/HostConfig/Binds");
    assert_eq!(options, json!([format!("{outside}:/b:ro,z"), "vol:/v:ro"]));
}

fn volumes_of_other_containers(bed: &mut Bed) {
    bed.start();
    let outside = bed.dir.join("outside");
    fs::create_dir_all(&outside).unwrap();
    let create = |name: &str, options: &str| {
        bed.isula(&format!("create --name {name} {options} {IMAGE} payload ready 1000")).ok();
    };
    create("first", &format!("-v one:/one -v {}:/bound -v /third --tmpfs /scratch", outside.display()));
    create("second", "--volumes-from first:ro -v two:/two");
    create("third", "--volumes-from second");
    bed.isula("start third").ok();
    bed.await_log("third", "ready");
    let seen = |container: &str| -> Vec<(String, bool)> {
        let text = |m: &Value| (m["Destination"].as_str().unwrap().to_owned(), m["RW"].as_bool().unwrap());
        mounts(bed, container).iter().map(text).collect()
    };
    let row = |path: &str, rw| (path.to_owned(), rw);
    assert_eq!(seen("third"), [row("/bound", false), row("/one", false), row("/third", false), row("/two", true)]);
    bed.isula("exec third payload write /two/x y").ok();
    for path in ["/one/x", "/bound/x", "/third/x"] {
        assert_eq!(bed.isula(&format!("exec third payload write {path} y")).exits(1), "EROFS");
    }
    // Of two the last one wins, and an own mount over both.
    create("other", "-v of-other:/one -v unseen:/two");
    create("last", "--volumes-from third --volumes-from other:rw -v own:/two");
    let names: Vec<Value> = mounts(bed, "last").iter().map(|m| m["Name"].clone()).collect();
    assert_eq!(names[1..], [json!("of-other"), mounts(bed, "first")[2]["Name"].clone(), json!("own")]);
    create("covered", "--volumes-from first --tmpfs /one");
    assert_eq!(seen("covered").len(), 2);
    // The others may go.
    bed.isula("rm -f -v first second third").ok();
    bed.isula("start last").ok();
    bed.await_log("last", "ready");
    assert!(outside.read_dir().unwrap().next().is_none());
    bed.isula("exec last payload write /one/x y").ok();
    for (from, part) in [
        ("nosuch", "No such container:nosuch"),
        ("last:rx", "invalid volumes-from \"last:rx\""),
        ("last:", "invalid volumes-from"),
        (":ro", "invalid volumes-from"),
    ] {
        let o = bed.isula(&format!("run --rm --volumes-from {from} {IMAGE} true"));
        assert_eq!(o.code, 125, "{}", o.show());
        contains(&o.err, part);
    }
}

fn bad_volumes_are_refused(bed: &mut Bed) {
    bed.start();
    for options in [
        "-v vol:/",
        "-v vol:relative",
        "-v v:/d",
        "-v .vol:/d",
        "-v vol/x:/d",
        "-v vol:/d:ro,rw",
        "-v vol:/d:nocopy,nocopy",
        "-v vol:/d:z,Z",
        "-v /etc:/d:nocopy",
        "-v /d:ro",
        "--mount dst=/d,ro",
        "--mount src=vol",
        "--mount src=vol,dst=/",
        "--mount type=volume,src=/etc,dst=/d",
        "--mount src=vol,dst=/d,tmpfs-size=1m",
        "--mount type=bind,src=/etc,dst=/d,volume-nocopy",
    ] {
        let o = bed.isula(&format!("run --rm {options} {IMAGE} true"));
        assert_eq!(o.code, 125, "{}", o.show());
    }
    let long = "a".repeat(65);
    let o = bed.isula(&format!("run --rm -v {long}:/d {IMAGE} true"));
    assert_eq!(o.code, 125, "{}", o.show());
    contains(&o.err, "Invalid volume name");
    let create = |host: Value, status: u16, part: &str| {
        let body = json!({"Image": IMAGE, "Cmd": ["true"], "HostConfig": host});
        let answer = bed.post("/v1.44/containers/create", &body);
        assert_eq!(answer.status, status, "{}", answer.text());
        contains(&answer.text(), part);
    };
    let mount = |more: Value| {
        let mut mount = json!({"Type": "volume", "Source": "vol", "Target": "/d"});
        mount.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"Mounts": [mount]})
    };
    create(mount(json!({"VolumeOptions": {"DriverConfig": {"Name": "nfs"}}})), 501, "nfs");
    create(mount(json!({"VolumeOptions": {"DriverConfig": {"Options": {"size": "1g"}}}})), 501, "size");
    create(mount(json!({"VolumeOptions": {"Subpath": "x"}})), 501, "subpath");
    create(mount(json!({"TmpfsOptions": {}})), 400, "another type");
    create(mount(json!({"Source": "", "ReadOnly": true})), 400, "anonymous volume cannot be read-only");
    create(json!({"VolumeDriver": "nfs"}), 501, "nfs");
    create(json!({"Binds": ["x:/d"]}), 400, "Invalid volume name (x)");
    create(json!({"VolumesFrom": ["x:y:z"]}), 400, "volumes-from");
    has_volumes(bed, &[]);
    // Made with the labels that come along.
    create(mount(json!({"VolumeOptions": {"Labels": {"k": "v"}, "DriverConfig": {"Name": "local"}}})), 201, "Id");
    assert_eq!(bed.get("/v1.44/volumes/vol").expect(200).json()["Labels"], json!({"k": "v"}));
}

fn what_is_used_stays(bed: &mut Bed) {
    bed.start();
    let id = bed.isula(&format!("create --name aa -v vol:/d {IMAGE} true")).ok();
    for _ in 0..2 {
        let o = bed.isula("volume rm vol");
        assert_eq!((o.code, o.out.as_str()), (1, ""), "{}", o.show());
        contains(&o.err, &format!("volume is used by container {id}"));
        assert_eq!(bed.http("DELETE", "/v1.44/volumes/vol?force=1", None).status, 409);
        assert_eq!(bed.isula("volume prune -f").ok(), "");
        // The next daemon knows that too.
        bed.restart();
    }
    let o = bed.isula("volume rm nosuch vol other");
    assert_eq!(o.code, 1);
    contains(&o.err, "No such volume: nosuch");
    contains(&o.err, "No such volume: other");
    bed.isula("rm aa").ok();
    assert_eq!(bed.isula("volume rm vol").ok(), "vol");
    has_volumes(bed, &[]);
}

/// Nobody knows which ones those are, as long as it is there.
fn what_a_damaged_container_may_have_stays(bed: &mut Bed) {
    bed.start();
    let id = bed.isula(&format!("create --name aa -v vol:/d -v /own {IMAGE} true")).ok();
    bed.isula(&format!("create --name bb -v /other {IMAGE} true")).ok();
    bed.stop();
    fs::write(bed.graph().join(format!("engines/lcr/{id}/config.v2.json")), "{").unwrap();
    bed.restart();
    bed.isula("volume rm vol").fails(1, &format!("container {id} is damaged"));
    assert_eq!(bed.isula("volume prune -f").ok(), "");
    bed.isula("volume prune -f -a").ok();
    assert_eq!(listed(bed).len(), 3);
    // Nor does one that is well take with it what the other may have.
    bed.isula("rm -v bb").ok();
    bed.restart();
    assert_eq!(listed(bed).len(), 3);
    bed.isula(&format!("rm -f {id}")).ok();
    bed.restart();
    assert_eq!(bed.isula("volume rm vol").ok(), "vol");
    bed.isula("volume prune -f").ok();
    has_volumes(bed, &[]);
}

/// Nothing is written into a directory of which nobody knows whether it is the volume's place.
fn a_damaged_record_is_kept(bed: &mut Bed) {
    bed.start();
    let outside = bed.dir.join("outside");
    fs::create_dir_all(&outside).unwrap();
    bed.isula(&format!("volume create -o o=bind -o device={} vol", outside.display())).ok();
    let record = store(bed).join("vol/volume.json");
    let text = fs::read(&record).unwrap();
    for damaged in ["", "{", "[]"] {
        fs::write(&record, damaged).unwrap();
        let o = bed.isula(&format!("run --rm -v vol:/d {IMAGE} sh -c 'echo x > /d/x'"));
        assert_eq!(o.code, 125, "{}", o.show());
        contains(&o.err, "volume vol");
        bed.isula("volume prune -f").ok();
        bed.isula("volume prune -f -a").ok();
        has_volumes(bed, &["vol"]);
        assert_eq!(fs::read_dir(store(bed).join("vol/_data")).unwrap().count(), 0);
    }
    fs::write(&record, text).unwrap();
    bed.run("-v vol:/d", "sh -c 'echo x > /d/x'");
    assert_eq!(fs::read(outside.join("x")).unwrap(), b"x\n");
    fs::write(&record, "{").unwrap();
    assert_eq!(bed.isula("volume rm vol").ok(), "vol");
    has_volumes(bed, &[]);
}

fn other_options_are_another_volume(bed: &mut Bed) {
    bed.start();
    let create = |device: &str| format!("volume create -o o=bind -o device={device} vol");
    bed.isula(&create("/tmp")).ok();
    bed.isula(&create("/tmp")).ok();
    bed.isula("volume create vol").ok();
    bed.isula(&create("/var")).fails(1, "volume vol is there already, with other options");
    assert_eq!(bed.isula("events -S 1h -U 0s -f type=volume").ok().lines().count(), 1);
    bed.isula("volume rm vol").ok();
    contains(&bed.isula("events -S 1h -U 0s -f type=volume").ok(), "volume destroy vol");
}

fn prune_by_version_and_filter(bed: &mut Bed) {
    bed.start();
    bed.isula("volume create --label keep=1 --label x labelled").ok();
    bed.isula(&format!("run --rm -v plain:/d -v big:/e {IMAGE} sh -c 'head -c 100000 /dev/zero > /e/zeros'")).ok();
    bed.isula(&format!("create --name aa -v used:/d -v /anonymous {IMAGE} true")).ok();
    bed.isula("rm aa").ok();
    bed.isula(&format!("create --name aa -v used:/d {IMAGE} true")).ok();
    let prune = |path: &str| {
        let answer = bed.http("POST", path, None).expect(200).json();
        let names: Vec<String> =
            answer["VolumesDeleted"].as_array().unwrap().iter().map(|n| n.as_str().unwrap().to_owned()).collect();
        (names, answer["SpaceReclaimed"].as_u64().unwrap())
    };
    let (names, space) = prune("/v1.44/volumes/prune");
    assert_eq!((names.len(), names[0].len(), space), (1, 64, 0), "anonymous ones alone");
    assert_eq!(prune("/v1.44/volumes/prune?filters={\"label\":[\"nosuch\"],\"all\":[\"1\"]}").0.len(), 0);
    let (names, space) = prune("/v1.44/volumes/prune?filters={\"all\":[\"true\"],\"label!\":[\"keep\"]}");
    assert_eq!((names, space), (vec!["big".to_owned(), "plain".into()], 100_000));
    assert_eq!(prune("/v1.41/volumes/prune").0, ["labelled"], "before 1.42 also those that have names");
    for filters in ["{\"all\":[\"maybe\"]}", "{\"dangling\":[\"1\"]}", "{\"nosuch\":[\"1\"]}"] {
        bed.http("POST", &format!("/v1.44/volumes/prune?filters={filters}"), None).expect(400);
    }
    has_volumes(bed, &["used"]);
}

fn the_client_prints_as_the_original(bed: &mut Bed) {
    bed.start();
    assert_eq!(bed.isula("volume ls").ok(), "DRIVER  VOLUME NAME");
    assert_eq!(bed.isula("volume create").ok().len(), 64);
    assert_eq!(bed.isula("volume create -d local --label a=b --label c two").ok(), "two");
    assert_eq!(bed.isula("volume create two").ok(), "two", "it is there");
    bed.isula(&format!("create --name aa -v one:/d {IMAGE} true")).ok();
    let anonymous = listed(bed).into_iter().find(|name| name.len() == 64).unwrap();
    let mut lines: Vec<String> = bed.isula("volume ls").ok().lines().map(str::to_owned).collect();
    assert_eq!(lines.remove(0), "DRIVER  VOLUME NAME");
    lines.sort();
    let mut want = vec![format!("local   {anonymous}"), "local   one".into(), "local   two".into()];
    want.sort();
    assert_eq!(lines, want);
    assert_eq!(bed.isula("volume ls -q -f name=tw").ok(), "two");
    if cfg!(feature = "templates") {
        let format = "'{{.Driver}} {{.Name}} {{.Scope}} {{.Labels}}'";
        assert_eq!(bed.isula(&format!("volume ls -f name=tw --format {format}")).ok(), "local two local a=b,c=");
        let table = bed.isula("volume ls -f name=tw --format 'table {{.Name}}'").ok();
        assert_eq!(table.lines().map(str::trim_end).collect::<Vec<_>>(), ["VOLUME NAME", "two"]);
    }
    assert_eq!(bed.isula("volume ls -q -f label=a=b -f label=c").ok(), "two");
    assert_eq!(bed.isula("volume ls -q -f label=a=x").ok(), "");
    assert_eq!(bed.isula("volume ls -q -f dangling=false").ok(), "one");
    assert_eq!(bed.isula("volume ls -q -f driver=nfs").ok(), "");
    bed.isula("volume ls -f nosuch=1").fails(125, "nosuch");
    bed.isula("volume ls -f dangling=maybe").fails(1, "dangling=maybe");
    let text = bed.isula("volume inspect two one").ok();
    let all: Value = crate::support::bed::json(text.as_bytes());
    let path = store(bed).join("two/_data");
    assert_eq!((&all[0]["Mountpoint"], &all[0]["Labels"]), (&json!(path), &json!({"a": "b", "c": ""})));
    assert_eq!((&all[1]["Driver"], &all[1]["Scope"]), (&json!("local"), &json!("local")));
    contains(&text, "    {\n        \"CreatedAt\": \"20");
    if requires_templates() {
        assert_eq!(bed.isula("volume inspect -f '{{.Name}} {{.Driver}}' two").ok(), "two local");
    }
    bed.isula("volume inspect nosuch").fails(1, "No such volume: nosuch");
    bed.isula("volume create -d nfs x1").fails(1, "volume driver \"nfs\" is not supported");
    bed.isula("volume create -o type=tmpfs x1").fails(1, "type \"tmpfs\" is not supported");
    bed.isula("volume create x").fails(1, "Invalid volume name (x)");
    bed.isula("volume create a/b").fails(1, "Invalid volume name (a/b)");
    bed.isula("volume create --label =x x1").fails(125, "Invalid label");
    bed.isula("volume").ok();
    contains(&bed.isula("volume").ok(), "isula volume <command>");
    bed.isula("volume nosuch").fails(1, "\"nosuch\" not found");
    bed.isula("volume rm").fails(125, "requires a minimum of 1 argument");
    assert_eq!(bed.isula("volume rm -f nosuch").ok(), "nosuch");
    let asked = bed.isula_with("volume prune", b"n\n").ok();
    contains(&asked, "WARNING! This will remove all local volumes not used by at least one container.");
    contains(&asked, "Are you sure you want to continue? [y/N]");
    assert_eq!(listed(bed).len(), 3);
    let said = bed.isula_with("volume prune", b"y\n").ok();
    contains(&said, "two");
    contains(&said, &anonymous);
    has_volumes(bed, &["one"]);
}

fn requires_templates() -> bool {
    crate::support::requires::templates().is_ok()
}

fn the_interface_speaks_dockers_words(bed: &mut Bed) {
    bed.start();
    let create = |body: Value| bed.post("/v1.44/volumes/create", &body).expect(201).json();
    let made = create(json!({"Name": "vol", "Labels": {"k": "v"}, "DriverOpts": null, "Driver": "local"}));
    let keys: Vec<&String> = made.as_object().unwrap().keys().collect();
    assert_eq!(keys.len(), 7, "{made}");
    assert_eq!((&made["Name"], &made["Labels"], &made["Options"]), (&json!("vol"), &json!({"k": "v"}), &json!({})));
    // The same name is the same volume, as it is.
    assert_eq!(create(json!({"Name": "vol", "Labels": {"k": "w"}})), made);
    assert_eq!(bed.get("/v1.44/volumes/vol").expect(200).json(), made);
    let anonymous = create(json!({}));
    assert_eq!(anonymous["Labels"], json!({"com.docker.volume.anonymous": ""}));
    let given = "b".repeat(64);
    assert_eq!(create(json!({"Name": given}))["Labels"], json!({}), "its name was given");
    let labelled = create(json!({"Labels": {"k": "v"}}));
    assert_eq!(labelled["Labels"], json!({"com.docker.volume.anonymous": "", "k": "v"}));
    bed.restart();
    assert_eq!(bed.get("/v1.44/volumes/vol").expect(200).json(), made, "it is on disk");
    let list = bed.get("/v1.44/volumes").expect(200).json();
    assert_eq!(list["Volumes"].as_array().unwrap().len(), 4);
    assert!(list["Volumes"].as_array().unwrap().contains(&made) && list["Warnings"] == json!([]));
    let filtered =
        bed.get("/v1.44/volumes?filters={\"dangling\":{\"true\":true},\"name\":[\"vo\"]}").expect(200).json();
    assert_eq!(filtered["Volumes"], json!([made]));
    bed.get("/v1.44/volumes?filters={\"nosuch\":[\"1\"]}").expect(400);
    for (body, status) in [
        (json!({"Name": "../x"}), 400),
        (json!({"Name": "a".repeat(65)}), 400),
        (json!({"Driver": "nfs"}), 501),
        (json!({"DriverOpts": {"type": "nfs"}}), 501),
        (json!({"Labels": 5}), 400),
    ] {
        assert_eq!(bed.post("/v1.44/volumes/create", &body).status, status, "{body}");
    }
    bed.get("/v1.44/volumes/nosuch").expect(404);
    bed.get("/v1.44/volumes/%2e%2e").expect(404);
    bed.http("DELETE", "/v1.44/volumes/nosuch", None).expect(404);
    bed.http("DELETE", "/v1.44/volumes/nosuch?force=true", None).expect(204);
    bed.http("DELETE", "/v1.44/volumes/%2e%2e%2fstorage?force=true", None).expect(204);
    bed.http("PUT", "/v1.44/volumes/vol", None).expect(405);
    bed.http("DELETE", "/v1.44/volumes/vol", None).expect(204);
    assert!(bed.graph().join("storage").is_dir());
    assert_eq!(entries(bed).len(), 3);
}

fn a_volume_that_is_gone_is_told(bed: &mut Bed) {
    bed.start();
    bed.isula(&format!("create --name aa -v vol:/d {IMAGE} true")).ok();
    fs::remove_dir_all(store(bed).join("vol")).unwrap();
    bed.isula("start aa").fails(125, "No such volume: vol");
    let o = bed.isula(&format!("create --volumes-from aa {IMAGE} true"));
    contains(&o.err, "No such volume: vol");
    bed.isula("volume create vol").ok();
    bed.isula("start aa").ok();
    bed.await_state("aa", "exited");
}

fn a_volume_may_be_a_directory_elsewhere(bed: &mut Bed) {
    bed.start();
    let outside = bed.dir.join("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("file"), "outside\n").unwrap();
    let options = |o: &str| format!("-o type=none -o o={o} -o device={}", outside.display());
    bed.isula(&format!("volume create {} vol", options("bind"))).ok();
    bed.isula(&format!("volume create {} fixed", options("bind,ro"))).ok();
    for _ in 0..2 {
        assert_eq!(bed.run("-v vol:/etc", "cat /etc/file"), "outside");
        let o = bed.isula(&format!("run --rm -v fixed:/d {IMAGE} payload write /d/x y"));
        assert_eq!(o.exits(1), "EROFS");
        bed.restart();
    }
    let names: Vec<_> = fs::read_dir(&outside).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(!names.iter().any(|name| name == "marker"), "nothing is copied there: {names:?}");
    bed.isula("volume prune -f").ok();
    has_volumes(bed, &[]);
    assert_eq!(fs::read(outside.join("file")).unwrap(), b"outside\n", "it is not the volume's to remove");
    bed.isula("volume create -o o=bind -o device=/no/such vol").ok();
    let o = bed.isula(&format!("run --rm -v vol:/d {IMAGE} true"));
    assert_eq!(o.code, 125, "{}", o.show());
    contains(&o.err, "No such volume: vol, \"/no/such\" is no directory");
}

fn the_stock_client_has_volumes(bed: &mut Bed) {
    requires!(docker);
    bed.start();
    let docker = |line: &str| crate::docker_client::docker(bed, line);
    assert_eq!(docker("volume create --label k=v vol").ok(), "vol");
    let run = "run --rm --network none";
    assert_eq!(docker(&format!("{run} -v vol:/x {IMAGE} sh -c 'echo kept > /x/f; cat /x/f'")).ok(), "kept");
    assert_eq!(
        docker(&format!("{run} --mount type=volume,src=vol,dst=/y,volume-nocopy {IMAGE} cat /y/f")).ok(),
        "kept"
    );
    contains(&docker("volume ls").ok(), "local     vol");
    assert_eq!(docker("volume ls -q -f label=k=v").ok(), "vol");
    assert_eq!(docker("volume inspect -f '{{.Name}} {{.Driver}} {{.Labels.k}}' vol").ok(), "vol local v");
    docker(&format!("create --name aa --network none -v vol:/x -v /anonymous {IMAGE} cat /x/f")).ok();
    docker(&format!("create --name bb --network none --volumes-from aa:ro {IMAGE} payload write /x/f y")).ok();
    let o = docker("start -a bb");
    assert_eq!((o.code, o.out.trim()), (1, "EROFS"), "{}", o.show());
    let o = docker("volume rm vol");
    assert_ne!(o.code, 0);
    contains(&o.err, "volume is used by container");
    docker("rm -v bb").ok();
    docker("rm -v aa").ok();
    has_volumes(bed, &["vol"]);
    contains(&docker("volume prune -f").ok(), "Total reclaimed space: 0B");
    has_volumes(bed, &["vol"]);
    contains(&docker("volume prune -a -f").ok(), "vol");
    docker("volume create vol").ok();
    assert_eq!(docker("volume rm vol").ok(), "vol");
    assert_ne!(docker("volume inspect vol").code, 0);
    has_volumes(bed, &[]);
}
