//! What docker's users type: names of fields, forms of options, longer words for commands.

use crate::support::bed::{Bed, json};
use crate::support::{IMAGE, contains};
use crate::{requires, tests};
use std::fs;

tests![
    empty_and_odd_names,
    disabled_logs_are_told_from_refusals,
    maps_lack_keys_without_harm,
    fields_have_dockers_names,
    empty_fields_of_images,
    inspect_goes_on_after_a_failure,
    events_by_field,
    rows_have_labels_and_defaults,
    the_client_is_known_without_a_daemon,
    stop_and_restart_with_a_signal,
    words_for_commands,
    files_with_ids,
    some_streams,
    mounts_in_quotes,
    volumes_are_inspected,
    values_out_of_range,
    damaged_ones_are_removed_by_their_id,
];

fn empty_and_odd_names(bed: &mut Bed) {
    bed.start();
    let id = bed.run_detached("aa", "", "payload ready 1000");
    for verb in [
        "logs",
        "stop",
        "kill",
        "rm",
        "rm -f",
        "restart",
        "pause",
        "unpause",
        "wait",
        "top",
        "port",
        "attach",
        "update -m 8m",
    ] {
        bed.isula(&format!("{verb} ''")).fails(1, "Invalid container name (): it is empty");
    }
    bed.isula("exec '' true").fails(1, "Invalid container name (): it is empty");
    for line in ["start ''", "start -a ''"] {
        bed.isula(line).fails(125, "Invalid container name (): it is empty");
    }
    bed.isula("rename '' bb").fails(1, "Invalid container name ()");
    bed.isula("rmi ''").fails(1, "Invalid image name (): it is empty");
    bed.isula("tag '' x").fails(1, "Invalid image name (): it is empty");
    bed.isula("volume rm ''").fails(1, "Invalid volume name (): it is empty");
    bed.isula("volume inspect ''").fails(1, "Invalid volume name (): it is empty");
    bed.isula("inspect ''").fails(1, "Inspect error: No such object:");
    for name in ["a/b", "../aa", "..", "aa/json", "a b", "x?force=1"] {
        bed.isula(&format!("rm '{name}'")).fails(1, &format!("No such container:{name}"));
        bed.isula(&format!("logs '{name}'")).fails(1, &format!("No such container:{name}"));
        assert_eq!(bed.isula(&format!("volume rm '{name}'")).code, 1);
    }
    // The others are dealt with.
    let o = bed.isula("stop -t 0 '' aa");
    assert_eq!((o.code, o.out.as_str()), (1, "aa\n"), "{}", o.show());
    assert_eq!(bed.isula("rm /aa").ok(), id);
}

fn disabled_logs_are_told_from_refusals(bed: &mut Bed) {
    bed.start();
    bed.isula(&format!("run --name aa --log-driver none {IMAGE} echo x")).ok();
    let o = bed.isula("logs aa");
    assert_eq!((o.code, o.out.as_str()), (0, ""), "{}", o.show());
    contains(&o.err, "[WARNING]: Container aa disable console log!");
    bed.isula(&format!("run --name bb {IMAGE} echo x")).ok();
    assert_eq!(bed.isula("logs --details bb").ok(), "x");
}

fn maps_lack_keys_without_harm(bed: &mut Bed) {
    requires!(templates);
    bed.start();
    bed.isula(&format!("create --name aa --label k=v -v named:/d {IMAGE} true")).ok();
    let inspect = |template: &str| bed.isula(&format!("inspect -f '{template}' aa"));
    for (template, want) in [
        ("{{.Config.Labels.nope}}", "<no value>"),
        ("{{index .Config.Labels \"nope\"}}|{{index .Config.Labels \"k\"}}", "|v"),
        ("{{.Config.Annotations.nope}}{{.HostConfig.Sysctls.nope}}", "<no value><no value>"),
        ("{{.NetworkSettings.Networks.nope}}{{.HostConfig.LogConfig.Config.nope}}", "<no value><no value>"),
        ("{{with index .NetworkSettings.Ports \"80/tcp\"}}x{{end}}", ""),
        ("{{range .Mounts}}{{.Destination}}{{end}}", "/d"),
    ] {
        assert_eq!(inspect(template).ok(), want, "{template}");
    }
    for template in ["{{.Nope}}", "{{.Config.Nope}}", "{{.HostConfig.Nope}}", "{{.State.Nope}}"] {
        inspect(template).fails(1, "map has no entry for key: Nope");
    }
    assert_eq!(bed.isula("volume inspect -f '{{.Labels.nope}}{{.Options.nope}}' named").ok(), "<no value><no value>");
}

fn fields_have_dockers_names(bed: &mut Bed) {
    requires!(templates);
    bed.start();
    let id = bed.isula(&format!("create --name aa -c 7 --cpus 1.5 {IMAGE} true")).ok();
    for (template, want) in [
        ("{{.ID}}", id.as_str()),
        ("{{.Id}}", &id),
        ("{{.HostConfig.NanoCPUs}}{{.HostConfig.NanoCpus}}", "15000000001500000000"),
        ("{{.HostConfig.CPUShares}}{{.HostConfig.CpuShares}}", "77"),
        ("{{.HostConfig.CPUPeriod}}{{.HostConfig.CpuQuota}}", "00"),
        ("{{.HostConfig.CPURealtimePeriod}}{{.HostConfig.CpuRealtimeRuntime}}", "00"),
        ("{{.HostConfig.BlkioDeviceReadIOps}}{{.HostConfig.BlkioDeviceWriteIops}}", "[][]"),
        ("{{if .Config.HealthCheck}}x{{end}}{{if .Config.Healthcheck}}x{{end}}", ""),
        ("{{.HostConfig.HostChannel.PathOnHost}}{{.Config.ImageRef}}", ""),
        ("{{.Config.Domainname}}", ""),
    ] {
        assert_eq!(bed.isula(&format!("inspect -f '{template}' aa")).ok(), want, "{template}");
    }
    contains(&bed.isula(&format!("inspect -f '{{{{.ID}}}}' {IMAGE}")).ok(), "sha256:");
    let version = bed.isula("version -f '{{.Client.APIVersion}} {{.Client.Os}} {{.Server.APIVersion}} {{.Server.Os}}'");
    assert_eq!(version.ok(), "1.44 linux 1.44 linux");
    assert_eq!(bed.isula("version -f '{{.Client.Arch}}'").ok(), bed.isula("version -f '{{.Server.Arch}}'").ok());
    assert_eq!(bed.isula("info -f '{{.CPUCfsPeriod}}'").ok(), bed.isula("info -f '{{.CpuCfsPeriod}}'").ok());
    assert_eq!(bed.isula("info -f '{{.HTTPProxy}}{{.HttpProxy}}'").ok(), "");
    contains(&bed.isula("info -f ''").ok(), "Containers: 1");
}

fn empty_fields_of_images(bed: &mut Bed) {
    requires!(templates);
    bed.start();
    let inspect = |template: &str| bed.isula(&format!("inspect --type image -f '{template}' {IMAGE}")).ok();
    for field in ["Env", "Cmd", "Entrypoint", "Labels", "Volumes"] {
        let text = inspect(&format!("{{{{json .Config.{field}}}}}"));
        assert!(["null", "[]", "{}"].contains(&text.as_str()), "{field}: {text}");
    }
    assert_eq!(inspect("{{.Variant}}{{range .Config.Env}}x{{end}}{{index .Config.Labels \"x\"}}"), "");
    bed.isula(&format!("inspect -f '{{{{.Config.Nope}}}}' {IMAGE}")).fails(1, "map has no entry for key");
}

fn inspect_goes_on_after_a_failure(bed: &mut Bed) {
    bed.start();
    let id = bed.isula(&format!("create --name aa {IMAGE} true")).ok();
    fs::write(bed.dir.join("x"), "").unwrap();
    let o = bed.isula("inspect nosuch aa '' nosuch/2");
    assert_eq!(o.code, 1, "{}", o.show());
    assert_eq!(json(o.out.as_bytes())[0]["Id"], id.as_str());
    contains(&o.err, "No such object:nosuch\n");
    if crate::support::requires::templates().is_ok() {
        let o = bed.isula(&format!("inspect -f '{{{{.HostConfig.CpuShares}}}}' {IMAGE} aa"));
        assert_eq!((o.code, o.out.as_str()), (1, "0\n"), "{}", o.show());
        contains(&o.err, "map has no entry for key: HostConfig");
    }
}

fn events_by_field(bed: &mut Bed) {
    requires!(templates);
    bed.start();
    let id = bed.isula(&format!("create --name aa -v named:/d {IMAGE} true")).ok();
    let events = |template: &str| bed.isula(&format!("events --since 10m --until 0s --format '{template}'")).ok();
    let all = events("Type={{.Type}} Status={{.Status}} ID={{.ID}}");
    contains(&all, &format!("Type=container Status=create ID={id}"));
    contains(&all, "Type=volume Status= ID=");
    let all =
        events("{{.Action}} {{.From}} {{.Time}} {{.TimeNano}} {{.Scope}} {{.Actor.ID}} {{.Actor.Attributes.nope}}");
    contains(&all, &format!("create {IMAGE} "));
    contains(&all, &format!(" local {id} <no value>"));
    assert!(events("{{.Actor.Attributes.name}}").lines().count() > 1);
}

fn rows_have_labels_and_defaults(bed: &mut Bed) {
    requires!(templates);
    bed.start();
    // Fields are looked at without a row, too.
    for list in ["ps", "volume ls", "images -f reference=nosuch"] {
        bed.isula(&format!("{list} --format '{{{{.Nope}}}}'")).fails(1, "invalid format field");
        assert_eq!(bed.isula(&format!("{list} --format '{{{{json .}}}}'")).ok(), "");
    }
    bed.isula(&format!("create --name aa --label a.b=x,y=z {IMAGE} true")).ok();
    bed.isula("volume create --label k=v data").ok();
    assert_eq!(bed.isula("ps -a --format '{{.Label \"a.b\"}}|{{.Label \"nope\"}}'").ok(), "x,y=z|");
    assert_eq!(
        bed.isula("volume ls --format '{{.Label \"k\"}} {{.Links}} {{.Size}} {{.Status}}'").ok(),
        "v N/A N/A N/A"
    );
    assert!(!bed.isula("ps -a --format json").ok().contains("\"Label\""));
    let mut lists = vec!["ps -a", "images", "images -a", "volume ls"];
    if cfg!(feature = "image-tools") {
        lists.extend(["history box", "system df"]);
    }
    for list in lists {
        let want = bed.isula(list).ok();
        for format in ["table", "''"] {
            assert_eq!(bed.isula(&format!("{list} --format {format}")).ok(), want, "{list} {format}");
        }
    }
    contains(&bed.isula("stats --no-stream --format table").ok(), "MEM USAGE / LIMIT");
    contains(&bed.isula("inspect -f '' aa").ok(), "\"HostConfig\"");
}

fn the_client_is_known_without_a_daemon(bed: &mut Bed) {
    requires!(templates);
    let o = bed.isula("version -f '{{.Client.Version}}'");
    assert_eq!((o.code, o.out.trim()), (1, env!("CARGO_PKG_VERSION")), "{}", o.show());
    contains(&o.err, "Can not connect with server");
    let o = bed.isula("version -f '{{.Server.Version}}'");
    assert_eq!((o.code, o.out.as_str()), (1, ""), "{}", o.show());
    contains(&o.err, "Can not connect with server");
}

fn stop_and_restart_with_a_signal(bed: &mut Bed) {
    bed.start();
    let command = "sh -c 'trap \"exit 3\" USR1; echo on; while true; do sleep 0.1; done'";
    bed.run_detached("aa", "", command);
    bed.await_log("aa", "on");
    bed.isula("restart -s USR1 --timeout 300 aa").ok();
    assert_eq!(bed.inspect("aa", "/State/Running"), true);
    crate::support::eventually("it runs again", || bed.isula("logs aa").ok().matches("on").count() == 2);
    assert_eq!(bed.isula("stop --signal USR1 --timeout 300 aa").ok(), "aa");
    assert_eq!(bed.inspect("aa", "/State/ExitCode"), 3);
    assert_ne!(bed.isula("restart -s NOSUCH aa").code, 0);
}

fn words_for_commands(bed: &mut Bed) {
    bed.start();
    bed.isula("volume create --name data").ok();
    assert_eq!(bed.isula("volume list -q").ok(), "data");
    assert_eq!(bed.isula("volume remove data").ok(), "data");
    bed.isula("volume create --name a1 a2").fails(125, "conflicting options");
    assert_eq!(bed.isula("-v").ok(), bed.isula("--version").ok());
    bed.isula(&format!("run --version {IMAGE}")).fails(125, "Unknown flag found:'--version'");
    bed.isula("rmi --no-prune nosuch").fails(1, "nosuch");
    if cfg!(feature = "registry") {
        bed.isula("pull -a box").fails(125, "-a");
    }
    if !cfg!(feature = "image-tools") {
        return;
    }
    for (long, short) in [("container ls", "ps"), ("system info", "info"), ("volume list", "volume ls")] {
        assert_eq!(bed.isula(&format!("help {long}")).ok(), bed.isula(&format!("{short} --help")).ok());
    }
    for group in ["image", "container", "system", "volume"] {
        let screen = bed.isula(&format!("{group} --help")).ok();
        for part in ["--host socket", "--tlsverify", "--help"] {
            contains(&screen, part);
        }
        assert!(!screen.contains("--version"), "{screen}");
    }
    let screen = bed.isula("container --help").ok();
    contains(&screen, "\n\tls ");
    contains(&screen, "List containers");
    contains(&bed.isula("run --help").ok(), " size=SIZE: ");
    contains(&bed.isula("port --help").ok(), "CONTAINER [PORT[/PROTOCOL]]\n");
}

fn files_with_ids(bed: &mut Bed) {
    bed.start();
    let path = bed.dir.join("cid");
    let line = format!("create --cidfile {} {IMAGE} true", path.display());
    let id = bed.isula(&line).ok();
    assert_eq!(fs::read_to_string(&path).unwrap(), id);
    bed.isula(&line).fails(125, "exists");
    assert_eq!(bed.isula("ps -aq").ok(), id);
    fs::remove_file(&path).unwrap();
    bed.isula(&format!("run --cidfile {} nosuch/image:1 true", path.display()).replace("run", "run --pull never"))
        .fails(125, "");
    assert!(!path.exists());
    let id = bed.isula(&format!("run -d --cidfile {} {IMAGE} true", path.display())).ok();
    assert_eq!(fs::read_to_string(&path).unwrap(), id);
}

fn some_streams(bed: &mut Bed) {
    bed.start();
    for (flags, out, err) in [
        ("-a stdout", "o\n", ""),
        ("-a STDERR", "", "e\n"),
        ("-a stdout -a stderr", "o\n", "e\n"),
        ("-a stdin", "", ""),
    ] {
        let o = bed.isula(&format!("run --rm {flags} {IMAGE} sh -c 'echo o; echo e >&2; exit 3'"));
        assert_eq!((o.code, o.out.as_str(), o.err.as_str()), (3, out, err), "{}", o.show());
    }
    let o = bed.isula_with(&format!("run --rm -i -a stdin -a stdout {IMAGE} cat"), b"well");
    assert_eq!(o.ok(), "well");
    assert_eq!(
        bed.run(
            "--domainname d.e --hostname h --add-host x=10.1.2.3 --add-host y:[::5]",
            "cat /proc/sys/kernel/domainname"
        ),
        "d.e"
    );
    let hosts = bed.run("--add-host x=10.1.2.3 --add-host y:[::5]", "cat /etc/hosts");
    contains(&hosts, "10.1.2.3\tx\n");
    contains(&hosts, "::5\ty");
}

fn mounts_in_quotes(bed: &mut Bed) {
    bed.start();
    let directory = bed.dir.join("a,b");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("file"), "well").unwrap();
    let mount =
        format!("--mount 'type=bind,\"src={}\",dst=/d,consistency=cached,bind-recursive=enabled'", directory.display());
    assert_eq!(bed.run(&mount, "cat /d/file"), "well");
    let volume = "--mount src=data,dst=/v,volume-driver=local,volume-label=k=v";
    bed.run(volume, "true");
    assert_eq!(json(bed.isula("volume inspect data").ok().as_bytes())[0]["Labels"]["k"], "v");
    bed.run("-v data:/v:cached", "true");
}

fn volumes_are_inspected(bed: &mut Bed) {
    bed.start();
    bed.isula("volume create data").ok();
    for line in ["inspect data", "inspect --type volume data"] {
        assert_eq!(json(bed.isula(line).ok().as_bytes())[0]["Name"], "data");
    }
    bed.isula("inspect --type container data").fails(1, "No such object:data");
    bed.isula("inspect --type nosuch data").fails(125, "--type");
    bed.isula(&format!("create --name aa {IMAGE} true")).ok();
    for (flag, has) in [("-s", true), ("--size", true), ("", false)] {
        let found = json(bed.isula(&format!("inspect {flag} aa")).ok().as_bytes());
        assert_eq!(found[0].get("SizeRw").is_some(), has, "{flag}");
    }
}

fn values_out_of_range(bed: &mut Bed) {
    bed.start();
    bed.isula(&format!("create --name aa {IMAGE} true")).ok();
    for value in ["70000", "-1"] {
        for line in [format!("create --blkio-weight {value} {IMAGE}"), format!("update --blkio-weight {value} aa")] {
            bed.isula(&line).fails(125, "Range of blkio weight is from 10 to 1000");
        }
    }
    bed.isula("stats --no-stream 'a b'").fails(125, "Invalid container name (a b)");
    bed.isula("stats --no-stream nosuch").fails(1, "No such container");
    bed.isula(&format!("run --net container: {IMAGE} true")).fails(125, "want container:NAME");
}

fn damaged_ones_are_removed_by_their_id(bed: &mut Bed) {
    bed.start();
    let id = bed.isula(&format!("create --name aa {IMAGE} true")).ok();
    bed.isula(&format!("create --name bb {IMAGE} true")).ok();
    let engines = fs::read_dir(bed.graph().join("engines")).unwrap().flatten().map(|e| e.path().join(&id));
    let path = engines.map(|path| path.join("hostconfig.json")).find(|path| path.exists()).unwrap();
    fs::write(&path, "{").unwrap();
    assert_ne!(bed.isula("inspect aa").code, 0);
    assert_eq!(bed.isula("rm -f aa").ok(), id);
}
