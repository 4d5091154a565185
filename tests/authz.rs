//! Authorization plugins: what they see, and what becomes of what they do not allow.

use crate::support::authority::certificate;
use crate::support::bed::{Bed, json, refused};
use crate::support::http::{Connection, Response};
use crate::support::registry::free_port;
use crate::support::{IMAGE, PATIENCE, contains, eventually};
use crate::{requires, tests};
use base64::Engine as _;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

tests![
    a_plugin_sees_requests_and_responses,
    what_a_plugin_denies_is_not_done,
    a_response_that_is_denied_is_not_sent,
    large_bodies_cannot_hide,
    a_plugin_that_hangs_or_is_gone_denies,
    the_broker_is_asked_about_users_with_certificates,
    the_broker_is_asked_about_tls_without_certificates,
    a_plugin_sees_what_is_done,
    names_that_cannot_be_are_refused,
];

/// What a plugin says to a question: path and body. `None` is silence.
type Answer = fn(&str, &str) -> Option<(u16, String)>;

/// A plugin that is a thread of the test.
struct Plugin {
    path: PathBuf,
    asked: Arc<Mutex<Vec<(String, String)>>>,
}

impl Plugin {
    fn start(path: &Path, answer: Answer) -> Plugin {
        std::fs::create_dir_all(path.parent().expect("a directory above")).expect("a directory");
        let listener = UnixListener::bind(path).expect("a socket");
        let asked: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let noted = Arc::clone(&asked);
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let (target, body) = question(&mut stream);
                let answered = answer(&target, &body);
                noted.lock().expect("no holder panics").push((target, body));
                match answered {
                    Some((status, text)) => {
                        let length = text.len();
                        let _ = write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{text}");
                    }
                    None => kept.push(stream),
                }
            }
        });
        Plugin { path: path.into(), asked }
    }

    fn name(&self) -> &str {
        self.path.to_str().expect("ASCII")
    }

    /// What was asked about so far, of requests (`Req`) or responses (`Res`).
    fn asked(&self, about: &str) -> Vec<Value> {
        let asked = self.asked.lock().expect("no holder panics");
        let suffix = format!("/AuthZPlugin.AuthZ{about}");
        asked.iter().filter(|(target, _)| *target == suffix).map(|(_, body)| json(body.as_bytes())).collect()
    }

    /// The last question about a request whose path ends so.
    #[track_caller]
    fn last(&self, about: &str, path: &str) -> Value {
        let all = self.asked(about);
        let of =
            |v: &&Value| v["RequestUri"].as_str().and_then(|u| u.split('?').next()).is_some_and(|u| u.ends_with(path));
        all.iter().rev().find(of).cloned().unwrap_or_else(|| panic!("nobody asked about {path}: {all:?}"))
    }
}

/// Path and body of a request.
fn question(stream: &mut UnixStream) -> (String, String) {
    let (mut text, mut block) = (Vec::new(), [0; 4096]);
    loop {
        let n = stream.read(&mut block).expect("a question");
        text.extend_from_slice(&block[..n]);
        let Some(end) = text.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&text[..end]).into_owned();
        let length = head.lines().find_map(|l| l.strip_prefix("Content-Length: ")).and_then(|l| l.parse().ok());
        if n == 0 || text.len() >= end + 4 + length.unwrap_or(0) {
            let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
            return (target, String::from_utf8_lossy(&text[end + 4..]).into_owned());
        }
    }
}

fn yes() -> Option<(u16, String)> {
    Some((200, r#"{"Allow":true}"#.into()))
}

fn no(why: &str) -> Option<(u16, String)> {
    Some((200, format!(r#"{{"Allow":false,"Msg":"{why}"}}"#)))
}

fn activate() -> Option<(u16, String)> {
    Some((200, r#"{"Implements":["authz"]}"#.into()))
}

fn decoded(text: &Value) -> String {
    let engine = base64::engine::general_purpose::STANDARD;
    String::from_utf8(engine.decode(text.as_str().unwrap_or_default()).expect("base 64")).expect("UTF-8")
}

/// A request with header fields of its own.
#[track_caller]
fn send(bed: &Bed, head: &str, body: &[u8]) -> Response {
    let mut connection = Connection::open(&bed.socket());
    connection.send(format!("{head}\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes());
    let _ = connection.stream.write_all(body); // it may answer before it has read everything
    connection.response().expect("an answer")
}

fn a_plugin_sees_requests_and_responses(bed: &mut Bed) {
    requires!(tls);
    let plugin = Plugin::start(&bed.dir.join("p.sock"), |target, _| match target {
        "/Plugin.Activate" => activate(),
        _ => yes(),
    });
    bed.start_with(&["--authorization-plugin", plugin.name()]);
    bed.run_detached("aa", "-e SECRET=x", "payload ready 1000");
    let create = plugin.last("Req", "/containers/create");
    assert_eq!(create["RequestMethod"], "POST");
    assert_eq!(create.get("User"), None, "a unix socket has no user");
    let body = json(decoded(&create["RequestBody"]).as_bytes());
    assert_eq!(body["Image"], IMAGE);
    assert_eq!(create["RequestHeaders"]["Content-Type"], "application/json");
    let created = plugin.last("Res", "/containers/create");
    assert_eq!(created["ResponseStatusCode"], 201);
    contains(&decoded(&created["ResponseBody"]), "\"Id\"");
    // Archives pass by, and whole.
    assert_eq!(plugin.last("Req", "/images/create").get("RequestBody"), None);
    assert_eq!(bed.isula("exec aa echo hi").ok(), "hi");
    assert_eq!(bed.isula("logs aa").ok(), "ready");
    // Credentials are nobody's business.
    let (content, length) = ("Content-Type: application/json", "Content-Length: 27");
    let head = format!(
        "POST /v1.44/auth HTTP/1.1\r\n{content}\r\n{length}\r\nx-registry-auth: c2VjcmV0\r\nAuthorization: Basic eA=="
    );
    send(bed, &head, br#"{"password":"very secret!"}"#);
    let auth = plugin.last("Req", "/auth");
    assert_eq!(auth.get("RequestBody"), None);
    let headers = auth["RequestHeaders"].as_object().expect("an object");
    assert!(
        headers.keys().all(|k| !["x-registry-auth", "authorization"].contains(&k.to_lowercase().as_str())),
        "{auth}"
    );
    // Somebody who sends in chunks, and another request behind it.
    let mut connection = Connection::open(&bed.socket());
    connection.send(
        b"POST /v1.44/volumes/create HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
          7\r\n{\"Name\"\r\n6\r\n:\"v1\"}\r\n0\r\n\r\nGET /_ping HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    assert_eq!(connection.response().expect("an answer").status, 201);
    assert_eq!(connection.response().expect("an answer").text(), "OK");
    assert_eq!(decoded(&plugin.last("Req", "/volumes/create")["RequestBody"]), r#"{"Name":"v1"}"#);
    bed.isula("volume rm v1").ok();
    assert_eq!(
        plugin.asked.lock().expect("no holder panics").iter().filter(|(t, _)| t == "/Plugin.Activate").count(),
        1
    );
}

fn what_a_plugin_denies_is_not_done(bed: &mut Bed) {
    requires!(tls);
    // Two of them: the second is not asked about what the first denies.
    let first = Plugin::start(&bed.dir.join("p1.sock"), |target, body| match target {
        "/Plugin.Activate" => activate(),
        "/AuthZPlugin.AuthZReq" if body.contains("/stop") => no("nobody stops anything"),
        _ => yes(),
    });
    let second = Plugin::start(&bed.dir.join("p2.sock"), |target, body| match target {
        "/Plugin.Activate" => activate(),
        "/AuthZPlugin.AuthZReq" if body.contains("/exec") => {
            Some((200, r#"{"Allow":true,"Err":"policy is broken"}"#.into()))
        }
        _ => yes(),
    });
    bed.start_with(&["--authorization-plugin", first.name(), "--authorization-plugin", second.name()]);
    bed.run_detached("aa", "", "payload ready 1000");
    let text = format!("authorization denied by plugin {}: nobody stops anything", first.name());
    bed.isula("stop aa").fails(1, &text);
    assert_eq!(bed.http("POST", "/v1.44/containers/aa/stop", None).expect(403).json()["message"], text);
    assert_eq!(bed.inspect("aa", "/State/Status"), "running");
    assert!(second.asked("Req").iter().all(|q| !q["RequestUri"].as_str().unwrap_or_default().contains("/stop")));
    bed.isula("exec aa true").fails(1, &format!("authorization denied by plugin {}: policy is broken", second.name()));
    bed.isula("pause aa").ok();
    bed.isula("unpause aa").ok();
}

fn a_response_that_is_denied_is_not_sent(bed: &mut Bed) {
    requires!(tls);
    let plugin = Plugin::start(&bed.dir.join("p.sock"), |target, body| match target {
        "/Plugin.Activate" => activate(),
        "/AuthZPlugin.AuthZRes" if body.contains("/aa/json\"") || body.contains("/aa/logs") => no("not for you"),
        _ => yes(),
    });
    bed.start_with(&["--authorization-plugin", plugin.name()]);
    bed.run_detached("aa", "", "payload ready 1000");
    let text = format!("authorization denied by plugin {}: not for you", plugin.name());
    assert_eq!(bed.get("/v1.44/containers/aa/json").expect(403).json()["message"], text);
    // One whose length nobody knows.
    let response = bed.get("/v1.44/containers/aa/logs?stdout=1").expect(403);
    assert_eq!(response.json()["message"], text);
    // An error stays what it is.
    bed.get("/v1.44/containers/nosuch/json").expect(404);
}

fn large_bodies_cannot_hide(bed: &mut Bed) {
    requires!(tls);
    let plugin = Plugin::start(&bed.dir.join("p.sock"), |target, _| match target {
        "/Plugin.Activate" => activate(),
        _ => yes(),
    });
    bed.start_with(&["--authorization-plugin", plugin.name()]);
    let labels = json!({"Name": "v1", "Labels": {"a": "x".repeat(1 << 20)}});
    let response = bed.post("/v1.44/volumes/create", &labels).expect(413);
    contains(&response.text(), "1048576 bytes");
    let body = isulabox::utils::json::to_vec(&labels);
    let chunked = [format!("{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
    let head = "POST /v1.44/volumes/create HTTP/1.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked";
    assert_eq!(send(bed, head, &chunked).status, 413);
    assert!(
        plugin.asked("Req").iter().all(|q| !q["RequestUri"].as_str().unwrap_or_default().ends_with("/volumes/create"))
    );
    let labels = json!({"Name": "v1", "Labels": {"a": "x".repeat(1 << 19)}});
    bed.post("/v1.44/volumes/create", &labels).expect(201);
    bed.isula("volume rm v1").ok();
}

fn a_plugin_that_hangs_or_is_gone_denies(bed: &mut Bed) {
    requires!(tls);
    let plugin = Plugin::start(&bed.dir.join("p.sock"), |target, body| match target {
        "/Plugin.Activate" => activate(),
        _ if body.contains("/containers/aa/pause") => None,
        _ => yes(),
    });
    bed.start_with(&["--authorization-plugin", plugin.name()]);
    bed.run_detached("aa", "", "payload ready 1000");
    let begin = Instant::now();
    let hangs = bed.spawn("pause aa");
    eventually("the question", || !plugin.asked("Req").is_empty());
    // Others do not wait for it once it has been given up; the plugin of this test takes one after the other.
    hangs.finish(PATIENCE).fails(1, "it did not answer in time");
    assert!(begin.elapsed() < PATIENCE);
    assert_eq!(bed.inspect("aa", "/State/Status"), "running");
    // Without its socket nothing goes, and all goes on when it is back.
    let away = bed.dir.join("away.sock");
    std::fs::rename(&plugin.path, &away).expect("a rename");
    bed.isula("pause aa").fails(1, "authorization denied by plugin");
    bed.isula("ps").fails(1, "p.sock");
    std::fs::rename(&away, &plugin.path).expect("a rename");
    bed.isula("ps").ok();
}

/// Nothing is read by other rules than those by which a plugin reads it.
fn a_plugin_sees_what_is_done(bed: &mut Bed) {
    requires!(tls);
    let plugin = Plugin::start(&bed.dir.join("p.sock"), |target, _| match target {
        "/Plugin.Activate" => activate(),
        _ => yes(),
    });
    bed.start_with(&["--authorization-plugin", plugin.name()]);
    let post = |path: &str, body: &str| {
        let head = format!("POST {path} HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {}", body.len());
        send(bed, &head, body.as_bytes())
    };
    let twice = r#"{"Image":"box","Cmd":["true"],"HostConfig":{"Privileged":true},"hostConfig":{"Privileged":false}}"#;
    contains(&post("/v1.44/containers/create", twice).expect(400).text(), "duplicate field");
    contains(&post("/v1.44//containers/create", "{}").expect(400).text(), "has an empty part");
    // Names in other letters are read as docker reads them.
    let other = r#"{"image":"box","cmd":["true"],"hostConfig":{"memory":67108864}}"#;
    let id = post("/v1.44/containers/create?name=aa", other).expect(201).json()["Id"].as_str().unwrap().to_owned();
    assert_eq!(bed.inspect(&id, "/HostConfig/Memory"), 67_108_864);
}

fn the_broker_is_asked_about_tls_without_certificates(bed: &mut Bed) {
    requires!(tls);
    let broker = Plugin::start(&bed.state().join("plugins/authz-broker.sock"), |target, body| match (target, body) {
        ("/isulad.auth", ":docker_version") => Some((200, String::new())),
        _ => Some((403, "no".into())),
    });
    let (dir, port) = (bed.dir.join("certs"), free_port());
    certificate(&dir, "server");
    let at = |file: &str| dir.join(file).display().to_string();
    let host = format!("tcp://127.0.0.1:{port}");
    let (own, key) = (at("server.pem"), at("server.key"));
    bed.start_with(&["-H", &host, "--tls", "--tlscert", &own, "--tlskey", &key, "--authorization-plugin=authz-broker"]);
    bed.isula(&format!("-H {host} --tls version")).ok();
    bed.isula(&format!("-H {host} --tls ps")).fails(1, "action 'container_list' for user '': permission denied");
    assert!(broker.asked.lock().expect("no holder panics").len() >= 2);
}

fn the_broker_is_asked_about_users_with_certificates(bed: &mut Bed) {
    requires!(tls);
    let broker = Plugin::start(&bed.state().join("plugins/authz-broker.sock"), |target, body| match (target, body) {
        ("/isulad.auth", "alice:container_list" | "alice:docker_version") => Some((200, String::new())),
        _ => Some((403, "no".into())),
    });
    let (dir, port) = (bed.dir.join("certs"), free_port());
    certificate(&dir, "server");
    certificate(&dir, "alice");
    certificate(&dir, "bob");
    let at = |file: &str| dir.join(file).display().to_string();
    let (host, ca) = (format!("tcp://127.0.0.1:{port}"), at("ca.pem"));
    let (own, key) = (at("server.pem"), at("server.key"));
    bed.start_with(&[
        "-H",
        &host,
        "--tlsverify",
        "--tlscacert",
        &ca,
        "--tlscert",
        &own,
        "--tlskey",
        &key,
        "--authorization-plugin=authz-broker",
    ]);
    let isula = |user: &str, line: &str| {
        let (certificate, key) = (at(&format!("{user}.pem")), at(&format!("{user}.key")));
        bed.isula(&format!("-H {host} --tlsverify --tlscacert {ca} --tlscert {certificate} --tlskey {key} {line}"))
    };
    isula("alice", "ps").ok();
    isula("alice", "version").ok();
    isula("bob", "ps").fails(1, "action 'container_list' for user 'bob': permission denied");
    isula("alice", &format!("create {IMAGE} true"))
        .fails(1, "action 'container_create' for user 'alice': permission denied");
    isula("alice", "images").fails(1, "action 'image_list' for user 'alice': permission denied");
    assert!(bed.isula("ps -aq").ok().is_empty(), "on the unix socket nobody is asked");
    let asked: Vec<String> =
        broker.asked.lock().expect("no holder panics").iter().map(|(_, body)| body.clone()).collect();
    assert!(asked.contains(&"bob:container_list".to_owned()) && asked.iter().all(|a| a.contains(':')), "{asked:?}");
}

fn names_that_cannot_be_are_refused(bed: &mut Bed) {
    requires!(tls);
    for name in ["a/b", "", "../x", ".hidden"] {
        let text = refused(bed, &bed.daemon_words(&["--authorization-plugin", name]));
        contains(&text, "invalid authorization plugin");
    }
    let text = refused(bed, &bed.daemon_words(&["--authorization-plugin", "a", "--authorization-plugin", "a"]));
    contains(&text, "given twice");
}
