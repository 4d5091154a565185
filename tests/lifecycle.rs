//! create, start, stop, kill, wait, rm, pause, ps, inspect, top.

use crate::support::bed::{Bed, json};
use crate::support::{IMAGE, contains, eventually};
use crate::{requires, tests};
use std::process::Command;

tests![
    run_passes_output_and_exit_code_through,
    run_detached_prints_the_id_and_leaves_it_running,
    create_and_start_are_separate,
    start_again_after_exit,
    name_clash_names_the_holder,
    stop_lets_the_container_end_by_itself,
    stop_kills_after_its_time,
    stop_signal_is_the_containers,
    kill_sends_any_signal,
    killed_container_counts_128_and_signal,
    wait_prints_codes_in_order,
    rm_of_a_running_container_is_refused,
    rm_force_prints_the_id,
    rm_takes_immutable_files_along,
    several_names_go_on_after_a_failure,
    containers_are_found_by_id_prefix,
    auto_remove_leaves_nothing,
    death_of_the_first_process_takes_the_others,
    pause_freezes_and_unpause_thaws,
    paused_container_can_be_removed_by_force,
    ps_is_the_originals_table,
    ps_selects_and_formats,
    stats_print_with_templates,
    inspect_shows_what_was_asked_for,
    times_are_local,
    times_follow_the_hosts_zone,
    every_build_prints_json,
    templates_are_evaluated,
    top_lists_the_processes,
    version_and_info_are_the_originals_screens,
    debug_flag_shows_the_requests,
    fifty_at_once,
];

fn run_passes_output_and_exit_code_through(bed: &mut Bed) {
    bed.start();
    let o = bed.isula(&format!("run --rm {IMAGE} sh -c 'echo out; echo err >&2; exit 7'"));
    assert_eq!((o.code, o.out.as_str(), o.err.as_str()), (7, "out\n", "err\n"), "{}", o.show());
    for code in [0, 1, 125, 126, 127, 255] {
        bed.isula(&format!("run --rm {IMAGE} payload exit {code}")).exits(code);
    }
}

fn run_detached_prints_the_id_and_leaves_it_running(bed: &mut Bed) {
    bed.start();
    let id = bed.run_detached("aa", "", "payload ready 1000");
    assert_eq!(bed.inspect("aa", "/State/Status"), "running");
    assert_eq!(bed.inspect("aa", "/Id"), id);
    contains(&bed.isula("ps").ok(), &id[..12]);
}

fn create_and_start_are_separate(bed: &mut Bed) {
    bed.start();
    let id = bed.isula(&format!("create --name aa {IMAGE} payload exit 3")).ok();
    assert_eq!(id.len(), 64, "{id}");
    assert_eq!(bed.inspect("aa", "/State/Running"), false);
    assert_eq!(bed.isula("start aa").ok(), "", "start says nothing");
    assert_eq!(bed.isula("wait aa").ok(), "3");
    assert_eq!(bed.inspect("aa", "/State/ExitCode"), 3);
    assert_eq!(bed.inspect("aa", "/State/Status"), "exited");
    // With a client attached from before the first byte.
    let o = bed.isula("start -a aa");
    assert_eq!(o.code, 3, "{}", o.show());
}

fn start_again_after_exit(bed: &mut Bed) {
    bed.start();
    bed.isula(&format!("create --name aa {IMAGE} sh -c 'echo x >> /file; wc -l < /file'")).ok();
    for n in 1..=3 {
        // What a run wrote into its root stays for the next.
        assert_eq!(bed.isula("start -a aa").ok().trim(), n.to_string());
    }
    bed.isula(&format!("create --name bb {IMAGE} payload ready 1000")).ok();
    bed.isula("start bb").ok();
    bed.isula("start bb").ok();
    let pid = bed.container_pid("bb");
    bed.isula("start bb").ok();
    assert_eq!(bed.container_pid("bb"), pid, "start of aa running container changes nothing");
}

fn name_clash_names_the_holder(bed: &mut Bed) {
    bed.start();
    let id = bed.isula(&format!("create --name aa {IMAGE} true")).ok();
    let text = format!(
        "Error response from daemon: Conflict. The name \"aa\" is already in use by container {id}. \
         You have to remove (or rename) that container to be able to reuse that name."
    );
    bed.isula(&format!("create --name aa {IMAGE} true")).fails(1, &text);
    bed.isula(&format!("run --name aa {IMAGE} true")).fails(125, &text);
    bed.isula("rm aa").ok();
    bed.isula(&format!("create --name aa {IMAGE} true")).ok();
}

fn stop_lets_the_container_end_by_itself(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "payload trap 15");
    bed.await_log("aa", "ready");
    assert_eq!(bed.isula("stop aa").ok(), "aa", "stop prints the name it was given");
    contains(&bed.isula("logs aa").ok(), "signal 15");
    assert_eq!(bed.inspect("aa", "/State/ExitCode"), 0);
    // Stopping what is stopped succeeds.
    bed.isula("stop aa").ok();
}

fn stop_kills_after_its_time(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "payload ignore-term");
    bed.await_log("aa", "ready");
    let begin = std::time::Instant::now();
    bed.isula("stop -t 1 aa").ok();
    assert!(begin.elapsed().as_millis() >= 1000, "killed before its time");
    assert_eq!(bed.inspect("aa", "/State/ExitCode"), 137);
    bed.isula("start aa").ok();
    bed.isula("stop -t 0 aa").ok();
    bed.isula("start aa").ok();
    bed.isula("stop -f aa").ok();
    assert_eq!(bed.inspect("aa", "/State/Running"), false);
}

fn stop_signal_is_the_containers(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "--stop-signal SIGHUP", "payload trap 1 15");
    bed.await_log("aa", "ready");
    bed.isula("stop aa").ok();
    contains(&bed.isula("logs aa").ok(), "signal 1\n".trim_end());
    assert_eq!(bed.inspect("aa", "/Config/StopSignal"), "SIGHUP");
}

fn kill_sends_any_signal(bed: &mut Bed) {
    bed.start();
    for (n, (word, number)) in [("USR1", 10), ("SIGUSR2", 12), ("1", 1), ("hup", 1)].into_iter().enumerate() {
        let name = format!("a{n}");
        bed.run_detached(&name, "", &format!("payload trap {number}"));
        bed.await_log(&name, "ready");
        assert_eq!(bed.isula(&format!("kill -s {word} {name}")).ok(), name);
        assert_eq!(bed.isula(&format!("wait {name}")).ok(), "0");
        contains(&bed.isula(&format!("logs {name}")).ok(), &format!("signal {number}"));
    }
    let id = bed.inspect("a0", "/Id");
    let text = format!("Cannot kill container: Container {} is not running", id.as_str().unwrap());
    bed.isula("kill a0").fails(1, &text);
}

fn killed_container_counts_128_and_signal(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "payload ready 1000");
    bed.isula("kill aa").ok();
    assert_eq!(bed.isula("wait aa").ok(), "137");
    let mut foreground = bed.spawn(&format!("run --name bb {IMAGE} payload ready 1000"));
    bed.await_log("bb", "ready");
    bed.isula("kill bb").ok();
    drop(foreground.child.stdin.take());
    foreground.finish(crate::support::PATIENCE).exits(137);
}

fn wait_prints_codes_in_order(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "sh -c 'sleep 0.3; exit 4'");
    bed.run_detached("bb", "", "payload exit 5");
    assert_eq!(bed.isula("wait aa bb").ok(), "4\n5");
    bed.isula("wait nosuch").fails(1, "No such container");
}

fn rm_of_a_running_container_is_refused(bed: &mut Bed) {
    bed.start();
    let id = bed.run_detached("aa", "", "payload ready 1000");
    let text =
        format!("You cannot remove a running container {id}. Stop the container before attempting removal or use -f");
    bed.isula("rm aa").fails(1, &text);
    assert_eq!(bed.inspect("aa", "/State/Running"), true);
}

fn rm_force_prints_the_id(bed: &mut Bed) {
    bed.start();
    let id = bed.run_detached("aa", "", "payload ready 1000");
    assert_eq!(bed.isula("rm -f aa").ok(), id);
    bed.isula("rm aa").fails(1, "No such container");
    bed.isula("inspect aa").fails(1, "No such object:a");
}

fn rm_takes_immutable_files_along(bed: &mut Bed) {
    requires!(chattr);
    bed.start();
    let id = bed.run_detached("aa", "", "sh -c 'mkdir -p /kept/er; echo > /kept/file; echo ready; sleep 1000'");
    bed.await_log("aa", "ready");
    let deep = "i=0; while [ $i -lt 2048 ]; do mkdir a; cd a; i=$((i + 1)); done";
    bed.isula(&format!("exec aa sh -c '{deep}'")).ok();
    let storage = bed.graph().join("storage/overlay");
    let upper = std::fs::read_dir(storage).unwrap().flatten().map(|entry| entry.path().join("diff"));
    let upper = upper.into_iter().find(|upper| upper.join("kept").is_dir()).expect("the container's layer");
    let document = bed.graph().join("engines/lcr").join(&id).join("config.json");
    let fixed = [upper.join("kept/file"), upper.join("kept/er"), upper.join("kept"), document];
    let set = std::process::Command::new("chattr").arg("+i").args(&fixed).output().unwrap();
    if !set.status.success() {
        crate::support::runner::skip("no immutable files here");
    }
    assert!(std::fs::remove_file(&fixed[3]).is_err() && std::fs::remove_file(&fixed[0]).is_err());
    assert_eq!(bed.isula("rm -f aa").ok(), id);
    bed.isula("inspect aa").fails(1, "No such object:aa");
    eventually("nothing is left on disk", || !upper.exists() && !fixed[3].exists());
    bed.restart();
    assert!(!bed.log().contains("garbage is left") && !bed.log().contains("not permitted"), "{}", bed.log());
}

fn several_names_go_on_after_a_failure(bed: &mut Bed) {
    bed.start();
    let ids = ["aa", "bb"].map(|name| bed.run_detached(name, "", "payload ready 1000"));
    let o = bed.isula("rm -f aa nosuch bb");
    assert_eq!(o.code, 1, "{}", o.show());
    assert_eq!(o.out, format!("{}\n{}\n", ids[0], ids[1]));
    contains(&o.err, "No such container");
}

fn containers_are_found_by_id_prefix(bed: &mut Bed) {
    bed.start();
    let id = bed.run_detached("first", "", "payload ready 1000");
    for reference in [&id[..], &id[..12], &id[..4]] {
        assert_eq!(bed.inspect(reference, "/Name").as_str().unwrap().trim_start_matches('/'), "first");
    }
    // A name wins over a prefix.
    let name = id[..2].to_string();
    bed.run_detached(&name, "", "payload ready 1000");
    assert_ne!(bed.inspect(&name, "/Id"), id);
    // Seventeen containers have two whose ids begin alike.
    for n in 0..16 {
        bed.isula(&format!("create --name made-{n} {IMAGE} true")).ok();
    }
    let ids = bed.isula("ps -aq").ok();
    let digits: Vec<char> = ids.lines().map(|l| l.chars().next().unwrap()).collect();
    let twice = digits.iter().find(|d| digits.iter().filter(|e| e == d).count() > 1).expect("pigeons and holes");
    assert_ne!(bed.isula(&format!("inspect {twice}")).code, 0, "an ambiguous prefix");
}

fn auto_remove_leaves_nothing(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "--rm", "payload trap 15");
    bed.await_log("aa", "ready");
    bed.isula("stop aa").ok();
    eventually("the container is gone", || bed.isula("ps -aq").ok().is_empty());
    bed.isula(&format!("run --rm --name bb {IMAGE} true")).ok();
    // The foreground command returns when the name is free again.
    bed.isula(&format!("run --rm --name bb {IMAGE} true")).ok();
}

fn death_of_the_first_process_takes_the_others(bed: &mut Bed) {
    bed.start();
    let o = bed.isula(&format!("run --name aa {IMAGE} payload orphans 5 1000"));
    contains(&o.ok(), "left 5");
    bed.await_state("aa", "exited");
    // That none of the five lives is what the end of every test proves.
}

fn pause_freezes_and_unpause_thaws(bed: &mut Bed) {
    requires!(cgroup_freezer);
    bed.start();
    let id = bed.run_detached("aa", "", "payload ticks 100000 10");
    bed.await_log("aa", "tick 1");
    assert_eq!(bed.isula("pause aa").ok(), "aa");
    assert_eq!(bed.inspect("aa", "/State/Paused"), true);
    contains(&bed.isula("ps").ok(), "(Paused)");
    let lines = || bed.isula("logs aa").ok().lines().count();
    let before = lines();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(lines(), before, "a frozen container wrote");
    bed.isula("pause aa").fails(1, &format!("Container {id} is already paused"));
    bed.isula("exec aa true").fails(1, &format!("Container {id} paused, unpause the container before exec"));
    assert_ne!(bed.isula("rm aa").code, 0);
    assert_eq!(bed.isula("unpause aa").ok(), "aa");
    eventually("it writes again", || lines() > before);
    bed.isula("unpause aa").fails(1, &format!("Container {id} is not paused"));
}

fn paused_container_can_be_removed_by_force(bed: &mut Bed) {
    requires!(cgroup_freezer);
    bed.start();
    bed.run_detached("aa", "", "payload ready 1000");
    bed.run_detached("bb", "", "payload ready 1000");
    bed.isula("pause aa").ok();
    bed.isula("rm -f aa").ok();
    bed.isula("pause bb").ok();
    bed.isula("kill bb").ok();
    assert_eq!(bed.isula("wait bb").ok(), "137");
}

fn ps_is_the_originals_table(bed: &mut Bed) {
    bed.start();
    let header = "CONTAINER ID\tIMAGE\tCOMMAND\tCREATED\tSTATUS\tPORTS\tNAMES";
    assert_eq!(bed.isula("ps").ok(), header);
    let id = bed.run_detached("aa", "", "payload ready 1000");
    let text = bed.isula("ps").ok();
    let cells: Vec<&str> = text.lines().nth(1).expect("one row").split('\t').map(str::trim).collect();
    assert_eq!(cells.len(), 7, "{text}");
    assert_eq!((cells[0], cells[1], cells[2]), (&id[..12], IMAGE, "\"payload ready 1000\""));
    contains(cells[3], "ago");
    contains(cells[4], "Up ");
    assert_eq!((cells[5], cells[6]), ("", "aa"));
    bed.run_detached("bb", "", "sh -c 'echo a very long command; exit 2'");
    bed.await_state("bb", "exited");
    let text = bed.isula("ps -a").ok();
    // Newest first; a command of more than 20 characters is cut.
    contains(text.lines().nth(1).expect("two rows"), "\"sh -c 'echo a ver...\"");
    contains(text.lines().nth(1).expect("two rows"), "Exited (2)");
    assert_eq!(text.lines().count(), 3);
}

fn ps_selects_and_formats(bed: &mut Bed) {
    bed.start();
    let a = bed.run_detached("aa", "--label k=v", "payload ready 1000");
    let b = bed.run_detached("bb", "--label k=w", "payload exit 0");
    bed.await_state("bb", "exited");
    let c = bed.isula(&format!("create --name cc {IMAGE} true")).ok();
    let ids = |options: &str| bed.isula(&format!("ps -q {options}")).ok();
    assert_eq!(ids(""), a);
    assert_eq!(ids("-a"), format!("{c}\n{b}\n{a}"));
    assert_eq!(ids("-l"), c);
    assert_eq!(ids("-n 2"), format!("{c}\n{b}"));
    assert_eq!(ids("-a -f status=exited"), b);
    assert_eq!(ids("-a -f status=created"), c);
    assert_eq!(ids("-a -f label=k=v"), a);
    assert_eq!(ids("-a -f label=k"), format!("{b}\n{a}"));
    assert_eq!(ids("-a -f name=cc"), c);
    assert_eq!(ids(&format!("-a -f id={}", &b[..10])), b);
    assert_eq!(ids("-a -f before=cc -f since=aa"), b);
    assert_eq!(ids("-a -f exited=0"), b);
    assert_eq!(ids("-a -f exited=7"), "");
    contains(&bed.isula("ps -f since=nosuch").err, "No such container");
    let d = bed.isula(&format!("create --name dd -v named:/there {IMAGE} true")).ok();
    for volume in ["named", "/there"] {
        assert_eq!(ids(&format!("-a -f volume={volume}")), d);
    }
    assert_eq!(ids("-a -f volume=name"), "");
    contains(&bed.isula("ps -a --no-trunc").ok(), &a);
    assert_ne!(bed.isula("ps -f nosuch=1").code, 0);
    assert_ne!(bed.isula("ps -f status=nosuch").code, 0);
}

fn stats_print_with_templates(bed: &mut Bed) {
    requires!(templates, veth);
    bed.start();
    bed.run_detached("aa", "--net none", "payload ready 1000");
    let stats = |format: &str| bed.isula(&format!("stats --no-stream --format '{format}' aa")).ok();
    assert_eq!(stats("{{.Container}} {{.Name}} {{.PIDs}} {{.NetIO}}"), "aa aa 1 0.00 B / 0.00 B");
    contains(&stats("table {{.Name}}\\t{{.MemUsage}}"), "MEM USAGE / LIMIT");
    contains(&stats("json"), "\"Name\":\"aa\"");
    assert_ne!(bed.isula("stats --no-stream --format '{{.Nothing}}' aa").code, 0);
    assert_ne!(bed.isula("stats --no-stream --original --format json aa").code, 0);
    // What it has of networks is seen as it sees it.
    let target = format!("/proc/{}/ns/net", bed.container_pid("aa"));
    let all = ["link add v0 type veth peer name v1", "addr add 10.9.9.1/24 dev v0", "link set v0 up", "link set v1 up"];
    for words in all {
        let ip = Command::new("nsenter").arg(format!("--net={target}")).arg("ip").args(words.split(' ')).status();
        assert!(ip.unwrap().success(), "{words}");
    }
    let networks = || bed.get("/containers/aa/stats?stream=0&one-shot=1").json()["networks"].clone();
    let sent = |name: &str| networks()[name]["tx_bytes"].as_u64().unwrap();
    eventually("packets", || {
        bed.isula("exec aa ping -c 1 -W 1 10.9.9.2"); // nobody answers
        sent("v0") > 0
    });
    assert_eq!((networks()["v1"]["rx_bytes"].as_u64() > Some(0), networks().get("lo")), (true, None));
    bed.run_detached("bb", "--net host", "payload ready 1000");
    assert!(bed.get("/containers/bb/stats?stream=0&one-shot=1").json().get("networks").is_none());
}

fn inspect_shows_what_was_asked_for(bed: &mut Bed) {
    bed.start();
    bed.run_detached(
        "aa",
        "-m 64m --label k=v -e A=b -w /tmp --hostname h --read-only --pids-limit 50",
        "payload ready 1000",
    );
    for (pointer, value) in [
        ("/HostConfig/Memory", serde_json::json!(64 << 20)),
        ("/HostConfig/PidsLimit", serde_json::json!(50)),
        ("/HostConfig/ReadonlyRootfs", serde_json::json!(true)),
        ("/Config/Labels/k", serde_json::json!("v")),
        ("/Config/WorkingDir", serde_json::json!("/tmp")),
        ("/Config/Hostname", serde_json::json!("h")),
        ("/Path", serde_json::json!("payload")),
        ("/Args/0", serde_json::json!("ready")),
        ("/State/OOMKilled", serde_json::json!(false)),
        ("/State/FinishedAt", serde_json::json!("0001-01-01T00:00:00Z")),
    ] {
        assert_eq!(bed.inspect("aa", pointer), value, "{pointer}");
    }
    contains(&bed.inspect("aa", "/Config/Env").to_string(), "\"A=b\"");
    let image = json(bed.isula(&format!("inspect {IMAGE}")).ok().as_bytes());
    contains(&image[0]["image"]["repo_tags"].to_string(), IMAGE);
}

fn times_are_local(bed: &mut Bed) {
    bed.start();
    bed.isula(&format!("run --name aa {IMAGE} true")).ok();
    let show = |zone: &str, line: &str| {
        let mut command = bed.applet("isula");
        command.args(crate::support::command::words(line));
        command.env("TZ", zone);
        crate::support::command::run(command, line.to_string(), b"", crate::support::PATIENCE).ok()
    };
    let instant = |text: &str| isulabox::utils::time::Timestamp::parse_rfc3339(text).unwrap();
    // What clients of the interface get is docker's.
    let state = bed.get("/v1.44/containers/aa/json").json()["State"].clone();
    let started = state["StartedAt"].as_str().unwrap();
    assert!(started.ends_with('Z'), "{started}");
    for (zone, offset) in [("IST-5:30", "+05:30"), ("NST3:30", "-03:30"), ("UTC0", "+00:00"), ("LINT-14", "+14:00")] {
        let all = json(show(zone, "inspect aa").as_bytes());
        for pointer in ["/0/State/StartedAt", "/0/State/FinishedAt", "/0/Created"] {
            let text = all.pointer(pointer).unwrap().as_str().unwrap();
            assert!(text.ends_with(offset), "{pointer}: {text}");
        }
        let shown = all.pointer("/0/State/StartedAt").unwrap().as_str().unwrap();
        assert_eq!(instant(shown), instant(started));
        if cfg!(feature = "templates") {
            assert_eq!(show(zone, "inspect -f {{.State.StartedAt}} aa"), shown);
            assert_eq!(show(zone, "ps -a --format {{.StartAt}}"), shown);
        }
        let image = json(show(zone, &format!("inspect {IMAGE}")).as_bytes());
        let loaded = image.pointer("/0/image/loaded").unwrap().as_str().unwrap();
        assert!(loaded.ends_with(offset), "{loaded}");
        let event = show(zone, "events -S 1 -U 0s");
        let time = event.lines().last().unwrap().split(' ').next().unwrap();
        assert!(time.ends_with(offset), "{time}");
    }
    bed.isula(&format!("create --name bb {IMAGE} true")).ok();
    let never = "0001-01-01T00:00:00Z";
    assert_eq!(json(show("IST-5:30", "inspect bb").as_bytes()).pointer("/0/State/StartedAt").unwrap(), never);
}

/// The host's clock may be set to another zone at any time.
fn times_follow_the_hosts_zone(bed: &mut Bed) {
    requires!(zones);
    bed.start();
    bed.isula(&format!("create --name aa {IMAGE} true")).ok();
    let zone = std::path::Path::new("/usr/share/zoneinfo/Asia/Kolkata");
    let local = std::fs::canonicalize("/etc/localtime").unwrap();
    let none = None::<&str>;
    nix::mount::mount(Some(zone), &local, none, nix::mount::MsFlags::MS_BIND, none).unwrap();
    let mut command = bed.applet("isula");
    let out = command.args(["inspect", "aa"]).env_remove("TZ").output().unwrap();
    let text = json(&out.stdout).pointer("/0/Created").unwrap().as_str().unwrap().to_owned();
    assert!(text.ends_with("+05:30"), "{text}");
    nix::mount::umount(&local).unwrap();
}

fn every_build_prints_json(bed: &mut Bed) {
    bed.start();
    let id = bed.run_detached("aa", "", "payload ready 1000");
    let row = json(bed.isula("ps --format json").ok().as_bytes());
    assert_eq!((&row["ID"], &row["Names"]), (&id[..12].into(), &"aa".into()));
    for format in ["json", "'{{json .}}'"] {
        assert_eq!(json(bed.isula(&format!("inspect -f {format} aa")).ok().as_bytes())["Id"], id);
    }
    if crate::support::requires::templates().is_err() {
        bed.isula("ps --format '{{.ID}}'").fails(125, "this build has no Go templates");
        bed.isula("inspect -f '{{.Id}}' aa").fails(125, "this build has no Go templates");
    }
}

fn templates_are_evaluated(bed: &mut Bed) {
    requires!(templates);
    bed.start();
    let id = bed.run_detached("aa", "", "payload ready 1000");
    assert_eq!(bed.isula("ps --format '{{.ID}} {{.Names}} {{.State}}'").ok(), format!("{} aa running", &id[..12]));
    assert_eq!(bed.isula("inspect -f '{{.State.Status}}' aa").ok(), "running");
    assert_eq!(bed.isula("inspect -f '{{.State.Running}} {{.Id}}' aa").ok(), format!("true {id}"));
    let text = bed.isula("inspect -f '{{json .HostConfig.RestartPolicy}}' aa").ok();
    assert_eq!(json(text.as_bytes())["Name"], "no");
    bed.isula("inspect nosuch").fails(1, "Inspect error: No such object:nosuch");
    assert_ne!(bed.isula("inspect -f '{{.State' aa").code, 0);
}

fn top_lists_the_processes(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "sh -c 'sleep 1000 & sleep 2000'");
    eventually("both sleep", || {
        let text = bed.isula("top aa").ok();
        text.starts_with("UID") && text.contains("sleep 1000") && text.contains("sleep 2000")
    });
    // Whoever runs it, and whatever ps alone would show.
    bed.run_detached("bb", "-u 12", "payload ready 1000");
    let pid = bed.container_pid("bb");
    for options in ["-o pid,args", "-o pid", "-ef", "aux"] {
        contains(&bed.isula(&format!("top bb {options}")).ok(), &pid.to_string());
    }
    assert_eq!(bed.isula("top bb -o pid").ok().lines().count(), 2);
    bed.isula("stop -t 0 aa").ok();
    assert_ne!(bed.isula("top aa").code, 0);
}

fn debug_flag_shows_the_requests(bed: &mut Bed) {
    bed.start();
    for line in ["-D ps", "ps --debug"] {
        let o = bed.isula(line);
        contains(&o.err, "GET /v1.44/containers/json");
        contains(&o.err, " 200\n");
        assert_eq!(o.ok(), bed.isula("ps").ok(), "standard output is the same");
    }
    assert_eq!(bed.isula("ps --debug=false").err, "");
}

fn version_and_info_are_the_originals_screens(bed: &mut Bed) {
    bed.start();
    let version = bed.isula("version").ok();
    for line in
        ["Client:\n  Version:\t", "Server:\n  Version:\t", "  Git commit:\t", "  Built:\t", "OCI config:\n  Version:\t"]
    {
        contains(&version, line);
    }
    bed.run_detached("aa", "", "payload ready 1000");
    let info = bed.isula("info").ok();
    for line in [
        "Containers: 1",
        " Running: 1",
        " Paused: 0",
        " Stopped: 0",
        "Images: 1",
        "Logging Driver: json-file",
        "OSType: ",
    ] {
        contains(&info, line);
    }
    contains(&info, &format!("Root Dir: {}", bed.graph().display()));
}

fn fifty_at_once(bed: &mut Bed) {
    bed.start();
    let bed = &*bed;
    let ids: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..50).map(|n| scope.spawn(move || bed.spawn_detached(&format!("c{n}"), "payload ready 1000"))).collect();
        threads.into_iter().map(|t| t.join().expect("a started container")).collect()
    });
    let running = bed.isula("ps -q").ok();
    for id in &ids {
        contains(&running, id);
    }
    assert_eq!(running.lines().count(), 50);
    let line = (0..50).map(|n| format!("c{n}")).collect::<Vec<_>>().join(" ");
    bed.isula(&format!("rm -f {line}")).ok();
}
