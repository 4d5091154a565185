//! The protocols, with plugins that are threads.

use super::*;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};

/// Status and body of an answer to a request; `None` is silence.
type Answer = fn(&str) -> Option<(u16, &'static str)>;

/// Serves requests by a function of head and body until it is dropped.
struct Fake {
    directory: PathBuf,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    fn start(name: &str, socket: &str, answer: Answer) -> Fake {
        let directory = std::env::temp_dir().join(format!("authorization-{name}-{}", std::process::id()));
        let path = directory.join(socket);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let listener = UnixListener::bind(&path).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let text = request(&mut stream);
                noted.lock().unwrap().push(text.clone());
                match answer(&text) {
                    Some((status, body)) => {
                        let length = body.len();
                        write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
                    }
                    None => kept.push(stream),
                }
            }
        });
        Fake { directory, seen }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn request(stream: &mut UnixStream) -> String {
    let mut text = String::new();
    let mut block = [0; 4096];
    loop {
        let n = stream.read(&mut block).unwrap();
        text.push_str(std::str::from_utf8(&block[..n]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.split("Content-Length: ").nth(1).and_then(|t| t.split("\r\n").next());
        if n == 0 || length.and_then(|n| n.parse().ok()).is_none_or(|n: usize| body.len() >= n) {
            return text;
        }
    }
}

fn authorizer(names: &[&str], state: &Path) -> Authorizer {
    let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
    let mut authorizer = Authorizer::new(&names, state).unwrap().unwrap();
    authorizer.patience = Duration::from_millis(300);
    authorizer
}

#[test]
fn a_plugin_is_activated_once_and_asked_each_time() {
    let fake = Fake::start("once", "p.sock", |text| {
        Some((
            200,
            match text {
                t if t.starts_with("POST /Plugin.Activate ") => r#"{"Implements":["authz"]}"#,
                t if t.contains("secret") => r#"{"Allow":false,"Msg":"not this one"}"#,
                t if t.contains("broken") => r#"{"Allow":true,"Err":"no policy"}"#,
                _ => r#"{"Allow":true}"#,
            },
        ))
    });
    let path = fake.directory.join("p.sock");
    let authorizer = authorizer(&[path.to_str().unwrap()], Path::new("/nosuch"));
    let of = |uri: &str| AccessRequest { request_uri: uri.into(), ..AccessRequest::default() };
    authorizer.check_request(&of("/info")).unwrap();
    authorizer.check_response(&of("/info")).unwrap();
    let e = authorizer.check_request(&of("/secret")).unwrap_err();
    let want = format!("authorization denied by plugin {}: not this one", path.display());
    assert_eq!((e.kind(), e.to_string()), (Kind::Denied, want));
    let e = authorizer.check_response(&of("/broken")).unwrap_err();
    assert!(e.kind() == Kind::Denied && e.to_string().ends_with(": no policy"), "{e}");
    let targets: Vec<String> = fake.seen().iter().map(|t| t.split(' ').nth(1).unwrap().to_owned()).collect();
    let (activate, req, res) = ("/Plugin.Activate", "/AuthZPlugin.AuthZReq", "/AuthZPlugin.AuthZRes");
    assert_eq!(targets, [activate, req, res, req, res]);
    // Nobody is asked about actions.
    authorizer.check_action("alice", "container_start").unwrap();
}

#[test]
fn whoever_does_not_say_yes_has_said_no() {
    let cases: [(&str, Answer, &str); 5] = [
        ("hangs", |_| None, "in time"),
        ("other", |_| Some((200, r#"{"Implements":["VolumeDriver"]}"#)), "authz"),
        ("error", |_| Some((500, "{}")), "status 500"),
        ("words", |_| Some((200, "yes")), "invalid JSON"),
        (
            "late",
            |text| text.starts_with("POST /Plugin.Activate ").then_some((200, r#"{"Implements":["authz"]}"#)),
            "in time",
        ),
    ];
    for (name, answer, part) in cases {
        let fake = Fake::start(name, "p.sock", answer);
        let path = fake.directory.join("p.sock");
        let e = authorizer(&[path.to_str().unwrap()], Path::new("/")).check_request(&AccessRequest::default());
        let e = e.unwrap_err();
        assert!(e.kind() == Kind::Denied && e.to_string().contains(part), "{name}: {e}");
    }
    let e = authorizer(&["/nosuch/p.sock"], Path::new("/")).check_request(&AccessRequest::default()).unwrap_err();
    assert!(e.kind() == Kind::Denied && e.to_string().contains("/nosuch/p.sock"), "{e}");
}

#[test]
fn the_broker_is_told_user_and_action() {
    let fake = Fake::start("broker", "plugins/authz-broker.sock", |text| match text {
        t if t.ends_with("\r\n\r\nalice:container_start") => Some((200, "")),
        t if t.ends_with("\r\n\r\nhang:up") => None,
        _ => Some((403, "")),
    });
    let authorizer = authorizer(&[BROKER], &fake.directory);
    assert!(!authorizer.has_plugins());
    authorizer.check_request(&AccessRequest::default()).unwrap();
    authorizer.check_action("alice", "container_start").unwrap();
    for (user, action) in [("alice", "container_stop"), ("hang", "up"), ("", "pull")] {
        let e = authorizer.check_action(user, action).unwrap_err();
        let want = format!("action '{action}' for user '{user}': permission denied");
        assert_eq!((e.kind(), e.to_string()), (Kind::Denied, want));
    }
    assert!(fake.seen()[0].starts_with("POST /isulad.auth HTTP/1.1\r\nHost: localhost\r\n"));
}

#[test]
fn names_are_judged_at_the_start() {
    let new = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
        Authorizer::new(&names, Path::new("/"))
    };
    assert!(new(&[]).unwrap().is_none());
    assert!(new(&["a", "b"]).unwrap().is_some());
    assert!(new(&["a", "a"]).err().unwrap().to_string().contains("twice"));
    assert!(new(&["a/b"]).err().unwrap().to_string().contains("\"a/b\""));
}
