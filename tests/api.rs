//! The REST interface, with good and bad bytes.

use crate::support::bed::Bed;
use crate::support::http::{Connection, raw};
use crate::support::{IMAGE, PATIENCE, contains, eventually, leaks, rootfs, sys};
use crate::tests;
use serde_json::json;
use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

tests![
    ping_version_info,
    life_of_a_container,
    listing_and_filters,
    errors_have_status_and_message,
    malformed_requests_are_refused,
    bodies_are_bounded_and_checked,
    unknown_fields_are_ignored_wrong_types_are_not,
    two_requests_on_one_connection,
    attach_is_multiplexed,
    exec_is_multiplexed,
    logs_are_framed,
    waits,
    import_is_a_stream,
    import_that_breaks_off_leaves_nothing,
    uploads_with_faults_are_bad_requests,
    slow_clients_do_not_hold_the_daemon,
    idle_connections_are_bounded,
    tcp_socket_serves_too,
    socket_belongs_to_its_group,
    resize_and_top,
    resize_of_an_exec_session_that_ends,
];

const V: &str = "/v1.44";

fn ping_version_info(bed: &mut Bed) {
    bed.start();
    for path in ["/_ping", "/v1.24/_ping", "/v1.44/_ping"] {
        let pong = bed.get(path).expect(200);
        assert_eq!(pong.text(), "OK");
        assert_eq!(pong.header("api-version"), Some("1.44"));
        assert_eq!(pong.header("ostype"), Some("linux"));
    }
    let head = bed.http("HEAD", "/_ping", None);
    assert_eq!((head.status, head.body.len()), (200, 0));
    let version = bed.get("/version").expect(200).json();
    assert_eq!(version["ApiVersion"], "1.44");
    assert_eq!(version["MinAPIVersion"], "1.24");
    let info = bed.get("/info").expect(200).json();
    assert_eq!(info["Images"], 1);
    assert_eq!(info["OSType"], "linux");
}

fn create(bed: &Bed, name: &str, command: &[&str]) -> String {
    let body = json!({"Image": IMAGE, "Cmd": command});
    let answer = bed.post(&format!("{V}/containers/create?name={name}"), &body).expect(201).json();
    answer["Id"].as_str().expect("an id").to_string()
}

fn life_of_a_container(bed: &mut Bed) {
    bed.start();
    let id = create(bed, "aa", &["payload", "ready", "1000"]);
    let act = |verb: &str| bed.http("POST", &format!("{V}/containers/aa/{verb}"), None).status;
    assert_eq!(act("start"), 204);
    assert_eq!(act("start"), 304);
    let inspect = bed.get(&format!("{V}/containers/{id}/json")).expect(200).json();
    assert_eq!(inspect["State"]["Status"], "running");
    assert_eq!(inspect["Name"], "/aa");
    assert_eq!(act("pause"), 204);
    assert_eq!(act("pause"), 409);
    assert_eq!(act("unpause"), 204);
    assert_eq!(act("kill?signal=SIGTERM"), 204);
    assert_eq!(act("stop?t=0"), 204);
    assert_eq!(act("stop"), 304);
    assert_eq!(act("kill"), 409);
    assert_eq!(bed.http("DELETE", &format!("{V}/containers/aa"), None).status, 204);
    assert_eq!(bed.http("DELETE", &format!("{V}/containers/aa"), None).status, 404);
}

fn listing_and_filters(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "--label k=v", "payload ready 1000");
    create(bed, "bb", &["true"]);
    let names = |query: &str| {
        let list = bed.get(&format!("{V}/containers/json?{query}")).expect(200).json();
        let names: Vec<String> =
            list.as_array().unwrap().iter().map(|c| c["Names"][0].as_str().unwrap().to_string()).collect();
        names.join(" ")
    };
    assert_eq!(names(""), "/aa");
    assert_eq!(names("all=1"), "/bb /aa");
    assert_eq!(names("limit=1"), "/bb");
    assert_eq!(names("all=true&filters=%7B%22label%22%3A%5B%22k%3Dv%22%5D%7D"), "/aa");
    assert_eq!(names("filters=%7B%22label%22%3A%7B%22k%3Dv%22%3Atrue%7D%7D"), "/aa", "the old form of filters");
    assert_eq!(names("all=1&filters=%7B%22status%22%3A%5B%22created%22%5D%7D"), "/bb");
    assert_eq!(names("all=1&filters=%7B%22is-task%22%3A%5B%22false%22%5D%7D"), "/bb /aa");
    let ports = json!({"Image": IMAGE, "Cmd": ["true"], "ExposedPorts": {"80/tcp": {}}});
    let id = bed.post(&format!("{V}/containers/create"), &ports).expect(201).json()["Id"].clone();
    let names_of = |filter: &str| bed.isula(&format!("ps -aq --no-trunc -f {filter}")).ok();
    assert_eq!(names_of("expose=79-81/tcp"), id.as_str().unwrap());
    assert_eq!((names_of("expose=80/udp"), names_of("publish=80")), (String::new(), String::new()));
    bed.isula("ps -f publish=x").fails(1, "publish=x");
    bed.isula(&format!("rm {}", id.as_str().unwrap())).ok();
    for mode in ["none", "host"] {
        let body = json!({"Image": IMAGE, "Cmd": ["true"], "HostConfig": {"NetworkMode": mode}});
        bed.http("POST", &format!("{V}/containers/create?name={mode}&platform=linux"), Some(&body)).expect(201);
        let query = format!("all=1&filters=%7B%22network%22%3A%5B%22{mode}%22%5D%7D");
        // Who chose no network has none.
        assert_eq!(names(&query), if mode == "none" { "/none /bb /aa" } else { "/host" });
        let row = bed.get(&format!("{V}/containers/json?{query}")).expect(200).json();
        assert_eq!(row[0]["NetworkSettings"]["Networks"][mode]["NetworkID"], "");
        let networks = bed.inspect(mode, "/NetworkSettings/Networks");
        assert_eq!((networks[mode]["IPPrefixLen"].as_i64(), networks.as_object().unwrap().len()), (Some(0), 1));
    }
    let images = |time: &str| {
        let path = format!("{V}/images/json?filters=%7B%22until%22%3A%5B%22{time}%22%5D%7D");
        bed.get(&path).expect(200).json().as_array().unwrap().len()
    };
    assert_eq!((images("2001-01-01"), images("0s")), (0, 1));
    for filters in ["x", "%7B", "[]", "%7B%22nosuch%22%3A%5B%22x%22%5D%7D"] {
        bed.get(&format!("{V}/containers/json?filters={filters}")).expect(400);
    }
}

fn errors_have_status_and_message(bed: &mut Bed) {
    bed.start();
    bed.get("/nosuch").expect(404);
    bed.get(&format!("{V}/containers/nosuch/json")).expect(404);
    bed.get("/v9.99/_ping").expect(400);
    bed.get("/v1.1/containers/json").expect(400);
    bed.get("/vx/containers/json").expect(404);
    bed.http("PUT", &format!("{V}/containers/json"), None).expect(405);
    bed.http("DELETE", "/version", None).expect(405);
    bed.http("GET", &format!("{V}/containers/create"), None).expect(405);
    bed.post(&format!("{V}/containers/create"), &json!({"Image": "nosuch", "Cmd": ["x"]})).expect(404);
    bed.post(&format!("{V}/containers/create?name=aa/b"), &json!({"Image": IMAGE, "Cmd": ["x"]})).expect(400);
    create(bed, "aa", &["true"]);
    bed.post(&format!("{V}/containers/create?name=aa"), &json!({"Image": IMAGE, "Cmd": ["x"]})).expect(409);
    create(bed, "bb", &["nosuch"]);
    let answer = bed.http("POST", &format!("{V}/containers/bb/start"), None);
    assert_eq!(answer.json()["exitCode"], 127, "{}", answer.text());
    bed.http("POST", &format!("{V}/containers/aa/exec"), None).expect(400);
    bed.post(&format!("{V}/containers/aa/exec"), &json!({"Cmd": ["true"]})).expect(409);
    bed.get(&format!("{V}/exec/nosuch/json")).expect(404);
    bed.get(&format!("{V}/images/nosuch/json")).expect(404);
    bed.http("DELETE", &format!("{V}/images/nosuch"), None).expect(404);
}

fn malformed_requests_are_refused(bed: &mut Bed) {
    bed.start();
    let long = "x".repeat(200_000);
    let many: String = (0..5000).map(|n| format!("h{n}: v\r\n")).collect();
    for (text, statuses) in [
        ("nonsense\r\n\r\n".to_string(), &[400][..]),
        ("GET\r\n\r\n".into(), &[400]),
        ("GET /_ping\r\n\r\n".into(), &[400]),
        ("GET /_ping HTTP/9.9\r\n\r\n".into(), &[400, 505]),
        ("GET  /_ping HTTP/1.1\r\n\r\n".into(), &[400]),
        ("GET /_ping HTTP/1.1\r\nbad header\r\n\r\n".into(), &[400]),
        ("GET /_ping HTTP/1.1\r\n: x\r\n\r\n".into(), &[400]),
        ("GET /\0 HTTP/1.1\r\n\r\n".into(), &[400]),
        ("GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n".into(), &[400, 404]),
        (format!("GET /{long} HTTP/1.1\r\n\r\n"), &[400, 414, 431]),
        (format!("GET /_ping HTTP/1.1\r\nX: {long}\r\n\r\n"), &[400, 431]),
        (format!("GET /_ping HTTP/1.1\r\n{many}\r\n"), &[400, 431]),
        ("POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n".into(), &[400]),
        ("POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n".into(), &[400]),
        (
            "POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}".into(),
            &[400],
        ),
        (
            "POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}"
                .into(),
            &[400],
        ),
        ("POST /containers/create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n".into(), &[400, 501]),
        ("POST /containers/create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".into(), &[400]),
        (
            "POST /containers/create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n"
                .into(),
            &[400, 413],
        ),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), &[400, 505]),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}".into(), &[400]),
    ] {
        let shown = &text[..text.len().min(80)];
        if let Some(answer) = raw(&bed.socket(), text.as_bytes()) {
            assert!(statuses.contains(&answer.status), "{shown:?} got {}", answer.status);
            assert!(answer.json()["message"].is_string(), "{shown:?}: {}", answer.text());
        } else {
            // Closing is right only where there was no HTTP to answer in.
            assert!(text.starts_with('\u{16}') || text.starts_with("PRI"), "no answer to {shown:?}");
        }
    }
    bed.get("/_ping").expect(200);
    let whole = b"GET http://host.invalid:1/_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert_eq!(raw(&bed.socket(), whole).expect("an answer").status, 200);
}

fn bodies_are_bounded_and_checked(bed: &mut Bed) {
    bed.start();
    let path = format!("{V}/containers/create");
    let post = |body: &str| {
        let text = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        raw(&bed.socket(), text.as_bytes()).expect("an answer").expect(400);
    };
    for body in ["", "{", "null", "[]", "7", "\"x\"", "{\"Image\":}", "{\"Image\":\"box\"} x", "\u{0}"] {
        post(body);
    }
    // A million brackets must cost neither stack nor memory.
    post(&"[".repeat(1_000_000));
    post(&format!("{{\"Image\":\"box\",\"Cmd\":{}", "[".repeat(500_000)));
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n");
    let answer = raw(&bed.socket(), head.as_bytes()).expect("an answer");
    assert!([400, 413].contains(&answer.status), "{}", answer.status);
    // A declared length that never comes: the daemon answers nothing or an error, and serves on.
    let mut half = Connection::open(&bed.socket());
    half.send(format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{").as_bytes());
    drop(half);
    assert!(
        leaks::peak_memory(bed.pid()) < 64 << 10,
        "bad bodies made the daemon take {} KiB",
        leaks::peak_memory(bed.pid())
    );
}

fn unknown_fields_are_ignored_wrong_types_are_not(bed: &mut Bed) {
    bed.start();
    let path = format!("{V}/containers/create");
    bed.post(&path, &json!({"Image": IMAGE, "Cmd": ["true"], "NoSuch": {"aa": 1}, "HostConfig": {"NoSuchEither": []}}))
        .expect(201);
    bed.post(
        &path,
        &json!({"Image": IMAGE, "Cmd": null, "Entrypoint": "true", "Env": null, "HostConfig": {"Binds": null}}),
    )
    .expect(201);
    for body in [
        json!({"Image": 7}),
        json!({"Image": IMAGE, "HostConfig": {"Memory": "x"}}),
        json!({"Image": IMAGE, "HostConfig": []}),
    ] {
        bed.post(&path, &body).expect(400);
    }
}

fn two_requests_on_one_connection(bed: &mut Bed) {
    bed.start();
    let mut connection = Connection::open(&bed.socket());
    for _ in 0..3 {
        connection.send(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(connection.response().expect("an answer").status, 200);
    }
    // Both at once.
    connection
        .send(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\nGET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(connection.response().expect("an answer").text(), "OK");
    contains(&connection.response().expect("an answer").text(), "ApiVersion");
    // A chunked body, in pieces.
    let body = format!("{{\"Image\":\"{IMAGE}\",\"Cmd\":[\"true\"]}}");
    let (one, two) = body.split_at(10);
    let mut connection = Connection::open(&bed.socket());
    connection.send(b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
    for part in [one, two, ""] {
        connection.send(format!("{:x}\r\n{part}\r\n", part.len()).as_bytes());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(connection.response().expect("an answer").status, 201);
}

/// Upgrades the connection of a request; what follows are frames.
fn upgrade(bed: &Bed, path: &str, body: &str) -> Connection {
    let mut connection = Connection::open(&bed.socket());
    let text = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.send(text.as_bytes());
    let (status, headers) = connection.head().expect("a head");
    assert_eq!(status, 101, "{headers:?}");
    connection
}

fn frames(connection: &mut Connection) -> (String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some((stream, bytes)) = connection.frame() {
        match stream {
            1 => out.extend(bytes),
            2 => err.extend(bytes),
            other => panic!("stream {other}"),
        }
    }
    (String::from_utf8_lossy(&out).into_owned(), String::from_utf8_lossy(&err).into_owned())
}

fn attach_is_multiplexed(bed: &mut Bed) {
    bed.start();
    let body = json!({"Image": IMAGE, "Cmd": ["sh", "-c", "read x; echo out $x; echo err $x >&2"], "OpenStdin": true,
        "StdinOnce": true, "AttachStdin": true, "AttachStdout": true, "AttachStderr": true});
    bed.post(&format!("{V}/containers/create?name=aa"), &body).expect(201);
    let mut connection = upgrade(bed, &format!("{V}/containers/aa/attach?stream=1&stdin=1&stdout=1&stderr=1"), "");
    assert_eq!(bed.http("POST", &format!("{V}/containers/aa/start"), None).status, 204);
    connection.send(b"word\n");
    assert_eq!(frames(&mut connection), ("out word\n".into(), "err word\n".into()));
    // Half a close is the end of input.
    let body = json!({"Image": IMAGE, "Cmd": ["payload", "count"], "OpenStdin": true, "StdinOnce": true});
    bed.post(&format!("{V}/containers/create?name=bb"), &body).expect(201);
    let mut connection = upgrade(bed, &format!("{V}/containers/bb/attach?stream=1&stdin=1&stdout=1&stderr=1"), "");
    assert_eq!(bed.http("POST", &format!("{V}/containers/bb/start"), None).status, 204);
    connection.send(b"12345");
    connection.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(frames(&mut connection).0, "5\n");
}

fn exec_is_multiplexed(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "payload ready 1000");
    let exec = |body: serde_json::Value| {
        let answer = bed.post(&format!("{V}/containers/aa/exec"), &body).expect(201).json();
        answer["Id"].as_str().expect("an id").to_string()
    };
    let id = exec(json!({"Cmd": ["payload", "both", "3"], "AttachStdout": true, "AttachStderr": true}));
    let mut connection = upgrade(bed, &format!("{V}/exec/{id}/start"), "{\"Detach\":false,\"Tty\":false}");
    assert_eq!(frames(&mut connection), ("out 0\nout 1\nout 2\n".into(), "err 0\nerr 1\nerr 2\n".into()));
    eventually("its code", || bed.get(&format!("{V}/exec/{id}/json")).expect(200).json()["ExitCode"] == 0);
    // Twice it cannot be started.
    let again = bed.post(&format!("{V}/exec/{id}/start"), &json!({"Detach": true}));
    assert!(again.status >= 400, "{}", again.status);
    let id = exec(json!({"Cmd": ["payload", "exit", "5"], "AttachStdout": true}));
    bed.post(&format!("{V}/exec/{id}/start"), &json!({"Detach": true})).expect(200);
    eventually("its code", || bed.get(&format!("{V}/exec/{id}/json")).expect(200).json()["ExitCode"] == 5);
    bed.post(&format!("{V}/containers/aa/exec"), &json!({"Cmd": []})).expect(400);
}

fn logs_are_framed(bed: &mut Bed) {
    bed.start();
    bed.isula(&format!("run --name aa {IMAGE} payload both 2")).exits(0);
    let answer = bed.get(&format!("{V}/containers/aa/logs?stdout=1&stderr=1")).expect(200);
    let mut connection = Connection { stream: std::os::unix::net::UnixStream::pair().unwrap().0, rest: answer.body };
    connection.stream.set_nonblocking(true).unwrap();
    assert_eq!(frames(&mut connection), ("out 0\nout 1\n".into(), "err 0\nerr 1\n".into()));
    bed.get(&format!("{V}/containers/aa/logs")).expect(400);
    bed.get(&format!("{V}/containers/aa/logs?stdout=1&since=x")).expect(400);
}

fn waits(bed: &mut Bed) {
    bed.start();
    create(bed, "aa", &["payload", "exit", "7"]);
    let mut connection = Connection::open(&bed.socket());
    connection.send(format!("POST {V}/containers/aa/wait?condition=next-exit HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
    // The head comes at once, so that a client knows that an exit from now on is not missed.
    let (status, _) = connection.head().expect("a head");
    assert_eq!(status, 200);
    assert_eq!(bed.http("POST", &format!("{V}/containers/aa/start"), None).status, 204);
    eventually("the code", || {
        let _ = connection.take(connection.rest.len() + 1);
        String::from_utf8_lossy(&connection.rest).contains("\"StatusCode\":7")
            || bed.inspect("aa", "/State/ExitCode") == 7
    });
    let answer = bed.http("POST", &format!("{V}/containers/aa/wait"), None).expect(200);
    assert_eq!(answer.json()["StatusCode"], 7);
    bed.http("POST", &format!("{V}/containers/aa/wait?condition=nosuch"), None).expect(400);
}

fn import_is_a_stream(bed: &mut Bed) {
    bed.start();
    let tar = fs::read(rootfs::archive()).unwrap();
    let mut connection = Connection::open(&bed.socket());
    let head = format!(
        "POST {V}/images/create?fromSrc=-&repo=streamed&tag=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    connection.send(head.as_bytes());
    for part in tar.chunks(100_000) {
        connection.send(format!("{:x}\r\n", part.len()).as_bytes());
        connection.send(part);
        connection.send(b"\r\n");
    }
    connection.send(b"0\r\n\r\n");
    let answer = connection.response().expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    contains(&answer.text(), "sha256:");
    contains(&bed.isula("images").ok(), "streamed");
    bed.isula("rmi streamed:1").ok();
}

fn import_that_breaks_off_leaves_nothing(bed: &mut Bed) {
    bed.start();
    let tar = fs::read(rootfs::archive()).unwrap();
    for cut in [0, 100, 10_000, tar.len() / 2] {
        let mut connection = Connection::open(&bed.socket());
        let head = format!(
            "POST {V}/images/create?fromSrc=-&repo=broken HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
            tar.len()
        );
        connection.send(head.as_bytes());
        connection.send(&tar[..cut]);
    }
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(bed.isula("images -q").ok().lines().count(), 1);
    for body in [vec![7; 100_000], tar[..tar.len() / 2].to_vec(), Vec::new()] {
        let mut connection = Connection::open(&bed.socket());
        let head = format!(
            "POST {V}/images/create?fromSrc=-&repo=broken HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        connection.send(head.as_bytes());
        let _ = connection.stream.write_all(&body);
        let answer = connection.response().expect("an answer");
        // An error before the first byte is a status; later it is the stream's last message.
        assert!(answer.status >= 400 || answer.text().contains("\"error\""), "{} {}", answer.status, answer.text());
    }
    assert_eq!(bed.isula("images -q").ok().lines().count(), 1);
    eventually("nothing of it stays on disk", || {
        leaks::named_after(&bed.graph(), &["tmp".into(), "partial".into()]).len() <= 2
    });
}

/// The client is to blame, and is told so.
fn uploads_with_faults_are_bad_requests(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "payload ready 1000");
    let tar = fs::read(rootfs::archive()).unwrap();
    let half = &tar[..tar.len() / 2 + 100];
    let uploads =
        ["POST /images/create?fromSrc=-&repo=broken", "POST /images/load", "PUT /containers/aa/archive?path=/etc"];
    // The last one is an optional part.
    for path in &uploads[..if cfg!(feature = "image-tools") { 3 } else { 2 }] {
        let (method, path) = path.split_once(' ').unwrap();
        let short = format!("Content-Length: {}\r\n\r\n", tar.len());
        let whole = format!("Content-Length: {}\r\n\r\n", half.len());
        for (what, fields, body) in [
            ("a malformed chunk", "Transfer-Encoding: chunked\r\n\r\n", &b"3\r\nabcX\r\nzz\r\n"[..]),
            ("a short body", &short, half),
            ("a cut archive", &whole, half),
            ("no archive", "Content-Length: 1000\r\n\r\n", &[7; 1000]),
        ] {
            let mut connection = Connection::open(&bed.socket());
            connection
                .send(format!("{method} {V}{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}").as_bytes());
            let _ = connection.stream.write_all(body); // it may be refused by then
            let _ = connection.stream.shutdown(std::net::Shutdown::Write);
            let answer = connection.response().expect("an answer");
            assert_eq!(answer.status, 400, "{path}, {what}: {}", answer.text());
        }
    }
}

fn slow_clients_do_not_hold_the_daemon(bed: &mut Bed) {
    bed.start();
    let mut slow: Vec<Connection> = (0..30).map(|_| Connection::open(&bed.socket())).collect();
    for (n, connection) in slow.iter_mut().enumerate() {
        connection.send(&b"GET /_ping HTTP/1.1\r\nHost: x\r\n"[..n]);
    }
    let begin = Instant::now();
    bed.get("/_ping").expect(200);
    assert_eq!(bed.run("", "echo well"), "well");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

/// Beyond the bound there is 503, not a thread; and afterwards everything is as before.
fn idle_connections_are_bounded(bed: &mut Bed) {
    bed.start();
    let mut open = Vec::new();
    let mut refused = 0;
    for _ in 0..600 {
        let stream = std::os::unix::net::UnixStream::connect(bed.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let mut connection = Connection { stream, rest: Vec::new() };
        // Where it was refused already there may be no reader any more.
        let _ = connection.stream.write_all(b"G");
        refused += usize::from(connection.head().is_ok_and(|(status, _)| status == 503));
        open.push(connection);
    }
    let threads = fs::read_dir(format!("/proc/{}/task", bed.pid())).unwrap().count();
    assert!(threads < 400, "{threads} threads");
    assert!(refused > 0, "nobody was refused");
    drop(open);
    eventually("it serves again", || {
        raw(&bed.socket(), b"GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .is_some_and(|r| r.status == 200)
    });
}

fn tcp_socket_serves_too(bed: &mut Bed) {
    // A port that the kernel says is free.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let host = format!("tcp://127.0.0.1:{port}");
    bed.start_with(&["-H", &host]);
    contains(&bed.isula(&format!("version -H {host}")).ok(), "Server:");
    assert_eq!(bed.isula_with(&format!("run --rm -i -H {host} {IMAGE} cat"), b"over tcp").ok(), "over tcp");
    bed.isula(&format!("run --rm -H {host} {IMAGE} payload exit 6")).exits(6);
}

fn socket_belongs_to_its_group(bed: &mut Bed) {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;
    // A group of this machine other than root's.
    let groups = fs::read_to_string("/etc/group").unwrap();
    let mut fields = groups.lines().map(|l| l.split(':').collect::<Vec<_>>());
    let group = fields.find(|f| f.len() > 2 && f[2] != "0").expect("a second group");
    let gid: u32 = group[2].parse().unwrap();
    bed.start_with(&["--group", group[0]]);
    let m = fs::metadata(bed.socket()).unwrap();
    assert_eq!(m.permissions().mode() & 0o777, 0o660);
    assert_eq!((m.uid(), m.gid()), (0, gid));
    let as_user_of = |gid: u32| {
        let mut command = std::process::Command::new(crate::support::bed::binary());
        command.uid(65534).gid(gid).args(["isula", "ps"]);
        command.env("ISULAD_HOST", format!("unix://{}", bed.socket().display()));
        sys::die_with_parent(&mut command);
        crate::support::command::run(command, "isula ps".into(), b"", PATIENCE).code
    };
    // The way to the socket must be open to others for this test to mean anything.
    if std::path::Path::new(&crate::support::bed::binary()).starts_with("/root") {
        crate::support::runner::skip("the binary lies where only root can read it");
    }
    assert_eq!(as_user_of(gid), 0);
    assert_ne!(as_user_of(65534), 0);
    eventually("changing requests are logged with their peer", || {
        bed.run("", "true");
        bed.log().contains("uid")
    });
}

fn resize_of_an_exec_session_that_ends(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "payload ready 1000");
    for round in 0..20 {
        let body = json!({"Cmd": ["true"], "Tty": true});
        let answer = bed.post(&format!("{V}/containers/aa/exec"), &body).expect(201).json();
        let id = answer["Id"].as_str().unwrap();
        let resize = || bed.http("POST", &format!("{V}/exec/{id}/resize?h=33&w=44"), None).status;
        assert_eq!(resize(), 409, "before it runs");
        bed.post(&format!("{V}/exec/{id}/start"), &json!({"Detach": true, "Tty": true})).expect(200);
        eventually("it is over", || {
            let status = resize();
            assert!(matches!(status, 200 | 409), "round {round}: {status}");
            status == 409
        });
    }
}

fn resize_and_top(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "-t", "payload winch");
    eventually("resizes arrive", || {
        bed.http("POST", &format!("{V}/containers/aa/resize?h=33&w=44"), None).expect(200);
        bed.isula("logs aa").ok().contains("size 33 44")
    });
    bed.http("POST", &format!("{V}/containers/aa/resize?h=x&w=44"), None).expect(400);
    let top = bed.get(&format!("{V}/containers/aa/top")).expect(200).json();
    contains(&top["Titles"].to_string(), "PID");
    contains(&top["Processes"].to_string(), "payload winch");
    bed.http("POST", &format!("{V}/containers/aa/resize?h=1&w=44"), None).expect(200);
    assert_eq!(bed.isula("wait aa").ok(), "0");
}
