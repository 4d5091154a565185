//! What takes room on the disk, and getting it back: prune and df.

use crate::docker_client::docker;
use crate::support::bed::{Bed, json};
use crate::support::rootfs::Archive;
use crate::support::{IMAGE, contains};
use crate::{requires, tests};
use serde_json::Value;

tests![
    containers_that_do_not_run_are_pruned,
    containers_are_chosen_by_filters,
    everything_has_its_size,
    a_copied_root_has_its_size_once,
    a_system_is_pruned,
    questions_are_asked,
    bad_words_are_refused,
    docker_spellings,
    the_stock_client_prunes,
];

fn names(bed: &Bed) -> Vec<String> {
    let mut names: Vec<String> = bed
        .get("/v1.44/containers/json?all=1")
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["Names"][0].to_string())
        .collect();
    names.sort();
    names.iter().map(|name| name.trim_matches(['"', '/']).to_owned()).collect()
}

fn five(bed: &Bed) {
    bed.run_detached("runs", "", "payload ready 1000");
    bed.run_detached("paused", "", "payload ready 1000");
    bed.isula("pause paused").ok();
    bed.isula(&format!("create --name made --label keep {IMAGE} true")).ok();
    bed.run_detached("done", "--label a=b", "sh -c 'dd if=/dev/zero of=/file bs=1000 count=20 2>/dev/null'");
    bed.await_state("done", "exited");
    bed.run_detached("waits", "--restart on-failure", "sh -c 'sleep 1; false'");
}

fn containers_that_do_not_run_are_pruned(bed: &mut Bed) {
    requires!(image_tools);
    bed.start();
    five(bed);
    let id = bed.inspect("done", "/Id").as_str().unwrap().to_owned();
    let o = bed.isula("container prune -f").ok();
    contains(&o, "Deleted Containers:\n");
    contains(&o, &id);
    contains(&o, "Total reclaimed space: 20kB");
    assert_eq!(names(bed), ["paused", "runs", "waits"]);
    assert_eq!(bed.isula("container prune -f").ok(), "Total reclaimed space: 0B");
    let answer = bed.post("/v1.44/containers/prune", &Value::Null).expect(200).json();
    assert_eq!(answer, json(br#"{"ContainersDeleted":null,"SpaceReclaimed":0}"#));
    assert_eq!(bed.isula("events -S 1h -U 0s -f event=destroy -f container=done").ok().lines().count(), 1);
}

fn containers_are_chosen_by_filters(bed: &mut Bed) {
    requires!(image_tools);
    bed.start();
    five(bed);
    for (filter, left) in [
        ("--filter until=1h", "done made paused runs waits"),
        ("--filter label=nosuch", "done made paused runs waits"),
        ("--filter label=a=c", "done made paused runs waits"),
        ("--filter label!=keep", "made paused runs waits"),
        // Both would have to be there to save it.
        ("--filter label!=keep --filter label!=other --filter until=0s", "paused runs waits"),
    ] {
        bed.isula(&format!("container prune -f {filter}")).ok();
        assert_eq!(names(bed).join(" "), left, "{filter}");
    }
}

fn everything_has_its_size(bed: &mut Bed) {
    requires!(image_tools);
    bed.start();
    bed.run_detached(
        "aa",
        "-v data:/d",
        "sh -c 'dd if=/dev/zero of=/f bs=1000 count=30 2>/dev/null; cp /f /d; payload ready 1000'",
    );
    bed.await_log("aa", "ready");
    bed.isula(&format!("create --name bb -v data:/d -v /own {IMAGE} true")).ok();
    bed.isula("volume create unused").ok();
    // A second image of the same layer and one more of its own.
    let path = bed.dir.join("other.tar");
    let mut tar = Archive::create(&path);
    tar.file("file", 0o644, &"x".repeat(5000));
    tar.finish();
    bed.isula(&format!("import {} other", path.display())).ok();
    let df = bed.get("/v1.44/system/df").expect(200).json();
    let (images, containers, volumes) = (&df["Images"], &df["Containers"], &df["Volumes"]);
    assert_eq!((images.as_array().unwrap().len(), containers.as_array().unwrap().len()), (2, 2));
    let image = |name: &str| {
        images.as_array().unwrap().iter().find(|i| i["RepoTags"][0].as_str().unwrap().contains(name)).unwrap()
    };
    assert_eq!(
        (&image("other")["Size"], &image("other")["Containers"], &image("other")["SharedSize"]),
        (&5000.into(), &0.into(), &0.into())
    );
    assert_eq!(image("box")["Containers"], 2);
    assert_eq!(df["LayersSize"].as_i64().unwrap(), image("box")["Size"].as_i64().unwrap() + 5000);
    let container =
        |name: &str| containers.as_array().unwrap().iter().find(|c| c["Names"][0] == format!("/{name}")).unwrap();
    assert_eq!((&container("aa")["SizeRw"], &container("bb")["SizeRw"]), (&30_000.into(), &0.into()));
    assert_eq!(container("aa")["SizeRootFs"].as_i64().unwrap(), image("box")["Size"].as_i64().unwrap() + 30_000);
    assert_eq!(
        (&container("bb")["Mounts"][0]["Type"], container("bb")["Mounts"].as_array().unwrap().len()),
        (&"volume".into(), 2)
    );
    let volume =
        |name: &str| volumes.as_array().unwrap().iter().find(|v| v["Name"] == name).unwrap()["UsageData"].clone();
    assert_eq!(volume("data"), json(br#"{"Size":30000,"RefCount":2}"#));
    assert_eq!(volume("unused"), json(br#"{"Size":0,"RefCount":0}"#));
    // Only what is asked for.
    let some = bed.get("/v1.44/system/df?type=volume&type=image").expect(200).json();
    assert!(some["Containers"].is_null() && some["Volumes"].is_array() && some["LayersSize"].is_number(), "{some}");
    assert!(
        bed.get("/v1.44/containers/json").json()[0]["SizeRw"].is_null(),
        "nothing is counted that nobody asked for"
    );
    let screen = bed.isula("system df").ok();
    let rows: Vec<Vec<&str>> = screen.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]);
    assert_eq!((&rows[1][..3], rows[1][4]), (&["Images", "2", "1"][..], "5kB"));
    assert_eq!(rows[2], ["Containers", "2", "1", "30kB", "0B", "(0%)"]);
    assert_eq!(rows[3], ["Local", "Volumes", "3", "2", "30kB", "0B", "(0%)"]);
    let screen = bed.isula("system df -v").ok();
    for part in ["Images space usage:", "Containers space usage:", "Local Volumes space usage:", "30kB"] {
        contains(&screen, part);
    }
    contains(&bed.isula("ps -s").ok(), "30kB (virtual ");
    if cfg!(feature = "templates") {
        assert_eq!(
            bed.isula("system df --format '{{.Type}}={{.TotalCount}}'").ok(),
            "Images=2\nContainers=2\nLocal Volumes=3"
        );
        contains(&bed.isula("ps -a --format '{{.Names}} {{.Size}} {{.LocalVolumes}}'").ok(), "bb 0B (virtual ");
    }
}

fn a_copied_root_has_its_size_once(bed: &mut Bed) {
    requires!(image_tools, storage);
    bed.start_with(&["-s", "vfs"]);
    bed.isula(&format!("create --name aa {IMAGE} true")).ok();
    let row = bed.get("/v1.44/containers/json?all=1&size=1").expect(200).json()[0].clone();
    assert_eq!(row["SizeRootFs"], row["SizeRw"]);
    assert!(row["SizeRw"].as_i64().unwrap() > 1 << 20, "{row}");
}

fn a_system_is_pruned(bed: &mut Bed) {
    requires!(image_tools);
    bed.start();
    five(bed);
    bed.isula(&format!("create --name cc -v /own -v named:/n {IMAGE} true")).ok();
    let path = bed.dir.join("other.tar");
    let mut tar = Archive::create(&path);
    tar.file("file", 0o644, &"x".repeat(5000));
    tar.finish();
    bed.isula(&format!("import {} other", path.display())).ok();
    bed.isula("volume create named2").ok();
    let o = bed.isula("system prune -f").ok();
    contains(&o, "Deleted Containers:\n");
    contains(&o, "Total reclaimed space: 20kB");
    assert!(!o.contains("Deleted Volumes") && !o.contains("Deleted Images"), "{o}");
    assert_eq!(names(bed), ["paused", "runs", "waits"]);
    // Images with a name and volumes with one need to be asked for; what is used stays.
    let o = bed.isula("system prune -f -a --volumes").ok();
    contains(&o, "Deleted Volumes:\n");
    contains(&o, "Deleted Images:\nuntagged: other:latest\n");
    assert_eq!(bed.isula("images -q").ok().lines().count(), 1);
    assert_eq!(bed.isula("volume ls -q").ok(), "named\nnamed2");
    bed.isula("exec runs echo well").ok();
}

fn questions_are_asked(bed: &mut Bed) {
    requires!(image_tools);
    bed.start();
    bed.isula(&format!("create --name aa {IMAGE} true")).ok();
    for line in ["container prune", "system prune --volumes"] {
        // Nobody answers.
        let o = bed.isula(line);
        assert_eq!(o.code, 0, "{}", o.show());
        contains(&o.out, "Are you sure you want to continue? [y/N]");
        assert_eq!(names(bed), ["aa"]);
    }
    contains(&bed.isula("system prune -a").out, "  - all images without at least one container associated to them\n");
}

fn bad_words_are_refused(bed: &mut Bed) {
    requires!(image_tools);
    bed.start();
    bed.isula(&format!("create --name aa {IMAGE} true")).ok();
    for (line, part) in [
        ("container prune -f --filter colour=red", "Invalid filter 'colour'"),
        ("container prune -f --filter until=yesterday", "yesterday"),
        ("system prune -f --volumes --filter until=1h", "not supported with \"--volumes\""),
        ("system df -v --format json", "the format and verbose options conflict"),
        ("system nosuch", "nosuch"),
        ("container nosuch", "nosuch"),
    ] {
        let o = bed.isula(line);
        assert!(o.code != 0 && o.err.contains(part), "{}", o.show());
    }
    let filters = |text: &str| {
        format!(
            "/v1.44/containers/prune?filters={}",
            text.replace('"', "%22").replace(['{'], "%7B").replace('}', "%7D")
        )
    };
    assert_eq!(bed.http("POST", &filters(r#"{"colour":["red"]}"#), None).status, 400);
    assert_eq!(bed.http("POST", &filters(r#"{"until":["1h","2h"]}"#), None).status, 400);
    assert_eq!(bed.get("/v1.44/system/df?type=dust").status, 400);
    assert_eq!(names(bed), ["aa"]);
}

/// Docker's longer words for the same commands.
fn docker_spellings(bed: &mut Bed) {
    requires!(image_tools);
    bed.start();
    bed.isula(&format!("container create --name aa {IMAGE} payload ready 1000")).ok();
    bed.isula("container start aa").ok();
    assert_eq!(bed.isula("container exec aa echo well").ok(), "well");
    assert_eq!(bed.isula("container ls -q").ok().lines().count(), 1);
    assert_eq!(bed.isula(&format!("container run --rm {IMAGE} sh -c 'echo ls'")).ok(), "ls");
    contains(&bed.isula("container inspect aa").ok(), "\"Running\": true");
    // Each group means its own.
    bed.isula(&format!("tag {IMAGE} aa")).ok();
    contains(&bed.isula("image inspect aa").ok(), "\"repo_tags\"");
    bed.isula("rmi aa").ok();
    assert_ne!(bed.isula("image inspect aa").code, 0);
    assert_ne!(bed.isula(&format!("container inspect {IMAGE}")).code, 0);
    bed.isula("container rm -f aa").ok();
    contains(&bed.isula("image ls").ok(), "box");
    bed.isula(&format!("image tag {IMAGE} two")).ok();
    bed.isula("image rm two").ok();
    contains(&bed.isula("system info").ok(), "Server Version");
    contains(&bed.isula("system events -S 1h -U 0s").ok(), "container start");
}

fn the_stock_client_prunes(bed: &mut Bed) {
    requires!(docker, image_tools);
    bed.start();
    five(bed);
    let df = docker(bed, "system df").ok();
    contains(&df, "Containers      5");
    contains(&docker(bed, "system df -v").ok(), "20kB");
    contains(&docker(bed, "ps -a -s").ok(), "20kB (virtual ");
    contains(&docker(bed, "container prune -f --filter label=a=b").ok(), "Total reclaimed space: 20kB");
    let o = docker(bed, "system prune -f --volumes").ok();
    contains(&o, "Deleted Containers:");
    assert_eq!(names(bed), ["paused", "runs", "waits"]);
}
