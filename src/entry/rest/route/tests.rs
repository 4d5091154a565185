//! The routing table, line by line.

use super::*;
use crate::utils::http::h1::parse_request;

fn parse_line(line: &str) -> std::result::Result<(ApiVersion, Call), Failure> {
    let head = parse_request(format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
    parse(&head, Timestamp::from_unix(1_000_000, 0))
}

/// The call as `Debug` prints it.
fn call(line: &str) -> String {
    format!("{:?}", parse_line(line).unwrap().1)
}

fn refused(line: &str) -> (u16, String) {
    let f = parse_line(line).unwrap_err();
    (f.status, f.error.to_string())
}

#[test]
fn versions() {
    assert_eq!((NEWEST, OLDEST), ((1, 44), (1, 24)));
    assert_eq!(parse_line("GET /version").unwrap().0, NEWEST);
    assert_eq!(parse_line("GET /v1.24/version").unwrap().0, (1, 24));
    assert_eq!(parse_line("HEAD /v1.44/_ping").unwrap().0, (1, 44));
    assert_eq!(
        refused("GET /v1.45/version"),
        (400, "client version 1.45 is too new. Maximum supported API version is 1.44".into())
    );
    assert_eq!(refused("GET /v2.0/version").0, 400);
    let (status, text) = refused("GET /v1.23/version");
    assert!(status == 400 && text.starts_with("client version 1.23 is too old. Minimum supported API version is 1.24"));
    for path in ["/v1/version", "/v1.x/version", "/v1.44.1/version", "/v99999999999.1/version", "/v1.44"] {
        assert_eq!(refused(&format!("GET {path}")).0, 404, "{path}");
    }
}

#[test]
fn every_endpoint() {
    for (line, want) in [
        ("GET /_ping", "Ping"),
        ("GET /info", "Info"),
        ("GET /images/a/b:c/history", r#"Tool(History("a/b:c"))"#),
        ("GET /images/a/b:c/get", r#"Tool(Save(["a/b:c"]))"#),
        ("GET /images/get?names=a&names=b%3A1", r#"Tool(Save(["a", "b:1"]))"#),
        ("GET /containers/a/export", r#"Tool(Export("a"))"#),
        ("GET /containers/a/changes", r#"Tool(Changes("a"))"#),
        ("HEAD /containers/a/archive?path=%2Fx", r#"Tool(PathStat("a", "/x"))"#),
        ("GET /containers/a/archive?path=x/.", r#"Tool(CopyOut("a", "x/."))"#),
        (
            "PUT /containers/a/archive?path=/&noOverwriteDirNonDir=true&copyUIDGID=0",
            r#"Tool(CopyIn("a", CopyIn { path: "/", keep_kind: true, own: false }))"#,
        ),
        (
            "POST /images/prune?filters=%7B%22dangling%22%3A%7B%22false%22%3Atrue%7D%7D",
            r#"Tool(Prune({"dangling": ["false"]}))"#,
        ),
        ("POST /containers/prune", "Tool(PruneContainers({}))"),
        ("POST /networks/prune", "Tool(PruneNothing)"),
        ("GET /system/df", "Tool(DiskUsage([Images, Containers, Volumes, BuildCache]))"),
        ("GET /system/df?type=volume&type=image", "Tool(DiskUsage([Volumes, Images]))"),
        ("POST /containers/create?name=a", r#"ContainerCreate { name: Some("a") }"#),
        ("POST /containers/create", "ContainerCreate { name: None }"),
        (
            "GET /containers/json?all=1&limit=-1",
            "ContainerList(ListQuery { all: true, limit: None, size: false, filters: {} })",
        ),
        (
            "GET /containers/json?limit=2&size=1&filters=%7B%22name%22%3A%7B%22x%22%3Atrue%7D%7D",
            r#"ContainerList(ListQuery { all: false, limit: Some(2), size: true, filters: {"name": ["x"]} })"#,
        ),
        ("GET /containers/a/json?size=true", r#"Container(ContainerCall { id: "a", verb: Inspect { size: true } })"#),
        ("POST /containers/a/start?detachKeys=", r#"Container(ContainerCall { id: "a", verb: Start })"#),
        (
            "POST /containers/a/stop?t=-1&signal=INT",
            r#"Container(ContainerCall { id: "a", verb: Stop { timeout: Some(-1), signal: Some("INT") } })"#,
        ),
        (
            "POST /containers/a/restart",
            r#"Container(ContainerCall { id: "a", verb: Restart { timeout: None, signal: None } })"#,
        ),
        ("POST /containers/a/kill", r#"Container(ContainerCall { id: "a", verb: Kill { signal: None } })"#),
        ("POST /containers/a/wait", r#"Container(ContainerCall { id: "a", verb: Wait(NotRunning) })"#),
        (
            "POST /containers/a/wait?condition=next-exit",
            r#"Container(ContainerCall { id: "a", verb: Wait(NextExit) })"#,
        ),
        ("POST /containers/a/wait?condition=removed", r#"Container(ContainerCall { id: "a", verb: Wait(Removed) })"#),
        (
            "DELETE /containers/a?force=1&v=0",
            r#"Container(ContainerCall { id: "a", verb: Delete { force: true, volumes: false } })"#,
        ),
        ("POST /containers/a/pause", r#"Container(ContainerCall { id: "a", verb: Pause })"#),
        ("POST /containers/a/unpause", r#"Container(ContainerCall { id: "a", verb: Unpause })"#),
        (
            "POST /containers/a/resize?h=24&w=80",
            r#"Container(ContainerCall { id: "a", verb: Resize { height: 24, width: 80 } })"#,
        ),
        ("GET /containers/a/top", r#"Container(ContainerCall { id: "a", verb: Top { arguments: "-ef" } })"#),
        (
            "GET /containers/a/top?ps_args=-o+pid",
            r#"Container(ContainerCall { id: "a", verb: Top { arguments: "-o pid" } })"#,
        ),
        ("GET /containers/a/stats", r#"Container(ContainerCall { id: "a", verb: Stats(Stream) })"#),
        ("GET /containers/a/stats?stream=0", r#"Container(ContainerCall { id: "a", verb: Stats(Pair) })"#),
        (
            "GET /containers/a/stats?stream=false&one-shot=1",
            r#"Container(ContainerCall { id: "a", verb: Stats(Once) })"#,
        ),
        ("POST /containers/a/exec", r#"Container(ContainerCall { id: "a", verb: ExecCreate })"#),
        ("POST /exec/e/start", r#"Exec(ExecCall { id: "e", verb: Start })"#),
        ("GET /exec/e/json", r#"Exec(ExecCall { id: "e", verb: Inspect })"#),
        ("POST /exec/e/resize?h=1&w=2", r#"Exec(ExecCall { id: "e", verb: Resize { height: 1, width: 2 } })"#),
        ("GET /images/json?all=1&digests=1", "ImageList({})"),
        ("GET /images/r.io:5/a/b:t/json", r#"Image(ImageCall { name: "r.io:5/a/b:t", verb: Inspect })"#),
        ("GET /images/a%2Fb/json", r#"Image(ImageCall { name: "a/b", verb: Inspect })"#),
        ("GET /images/json/json", r#"Image(ImageCall { name: "json", verb: Inspect })"#),
        ("POST /images/a/b/tag?repo=c/d&tag=e", r#"Image(ImageCall { name: "a/b", verb: Tag { target: "c/d:e" } })"#),
        ("DELETE /images/a/b?force=1&noprune=1", r#"Image(ImageCall { name: "a/b", verb: Delete { force: true } })"#),
        (
            "POST /images/create?fromSrc=-&repo=a&tag=b&message=m&changes=CMD+x&changes=USER+y",
            r#"ImageImport(ImportCall { reference: "a:b", message: "m", changes: ["CMD x", "USER y"] })"#,
        ),
        (
            "POST /images/create?fromImage=busybox&tag=1&platform=linux%2Farm",
            r#"Registry(Pull { name: "busybox:1", platform: Some("linux/arm") })"#,
        ),
        (
            "POST /images/create?fromImage=a%2Fb&tag=sha256%3A0",
            r#"Registry(Pull { name: "a/b@sha256:0", platform: None })"#,
        ),
        ("POST /auth", "Registry(Auth)"),
        ("POST /isula/login", "Registry(Login)"),
        ("POST /isula/logout", "Registry(Logout)"),
        ("POST /images/load?quiet=1", "ImageLoad { name: None }"),
        ("POST /images/load?name=a:b", r#"ImageLoad { name: Some("a:b") }"#),
        ("POST /images/load?type=docker", "ImageLoad { name: None }"),
        ("POST /images/load?type=embedded", "EmbeddedLoad { name: None, path: None }"),
        ("POST /images/load?type=embedded&path=/m&name=a", r#"EmbeddedLoad { name: Some("a"), path: Some("/m") }"#),
        (
            "POST /images/create?fromSrc=-&repo=&tag=",
            r#"ImageImport(ImportCall { reference: "", message: "", changes: [] })"#,
        ),
    ] {
        assert_eq!(call(line), want, "{line}");
        let versioned = line.replacen(" /", " /v1.40/", 1);
        assert_eq!(call(&versioned), want, "{versioned}");
    }
}

#[test]
fn log_and_attach_parameters() {
    let text = call("GET /containers/a/logs?stdout=1&tail=all&since=0&until=999990&follow=1&timestamps=1");
    let until = format!("{:?}", Timestamp::from_unix(999_990, 0));
    let want = format!("tail: None, since: None, until: Some({until}), timestamps: true, follow: true");
    assert!(text.contains(&want), "{text}");
    assert!(call("GET /containers/a/logs?stderr=1&tail=5").contains("tail: Some(5)"));
    assert!(call("GET /containers/a/logs?stderr=1&tail=-1").contains("tail: None"));
    let since = format!("since: Some({:?})", Timestamp::from_unix(1_000_000 - 600, 0));
    assert!(call("GET /containers/a/logs?stderr=1&since=10m").contains(&since));
    assert!(call("POST /containers/a/attach?stream=1&stdin=1&stdout=1&detachKeys=ctrl-x").contains(
        r#"AttachQuery { stdin: true, stdout: true, stderr: false, logs: false, stream: true, detach_keys: "ctrl-x" }"#
    ));
}

#[test]
fn wrong_parameters_are_named() {
    for (line, status, part) in [
        ("GET /containers/json?limit=x", 400, "limit"),
        ("GET /containers/json?filters=x", 400, "filters"),
        ("POST /containers/a/stop?t=1s", 400, "\"1s\""),
        ("POST /containers/a/wait?condition=x", 400, "invalid condition"),
        ("GET /containers/a/logs", 400, "at least one stream"),
        ("GET /containers/a/logs?stdout=1&tail=x", 400, "tail"),
        ("GET /containers/a/logs?stdout=1&since=x", 400, "since"),
        ("POST /containers/a/resize?h=1", 400, "parameter w is missing"),
        ("POST /containers/a/resize?h=1&w=70000", 400, "70000"),
        ("POST /exec/a/resize?w=1", 400, "parameter h is missing"),
        ("POST /images/a/tag", 400, "repo"),
        ("POST /images/create", 400, "fromSrc"),
        ("GET /containers/%zz/json", 400, "escape"),
        ("POST /images/create?fromSrc=http%3A%2F%2Fa", 501, "http://a"),
        ("POST /containers/create?platform=linux%2Fmips", 501, "\"linux/mips\""),
        ("POST /containers/create?platform=windows", 501, "platform"),
        ("POST /containers/create?platform=%2F", 400, "platform"),
        ("GET /containers/json?since=x", 501, "since"),
        ("GET /system/df?type=image&type=dust", 400, "dust"),
        ("POST /containers/a/start?checkpoint=x", 501, "checkpoint"),
        ("DELETE /containers/a?link=1", 501, "link"),
        ("GET /containers/a/archive", 400, "path cannot be empty"),
        ("GET /events?since=x", 400, "invalid time"),
    ] {
        let (got, text) = refused(line);
        assert_eq!(got, status, "{line}: {text}");
        assert!(text.contains(part), "{line}: {text}");
    }
}

#[test]
fn unknown_paths_and_methods() {
    for line in
        ["GET /", "GET /nothing", "GET /containers", "GET /containers/a/b/c", "POST /images/json", "GET /images/a"]
    {
        let (status, _) = refused(line);
        assert!(matches!(status, 404 | 405), "{line}");
    }
    assert_eq!(refused("GET /nothing"), (404, "page not found".into()));
    let f = parse_line("GET /containers/a/start").unwrap_err();
    assert_eq!((f.status, f.allow.as_str()), (405, "POST"));
    let f = parse_line("PATCH /_ping").unwrap_err();
    assert_eq!((f.status, f.allow.as_str()), (405, "GET, HEAD"));
    assert!(f.error.to_string().contains("PATCH"));
}
