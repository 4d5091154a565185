//! search, against a server that knows the old protocol.

use crate::support::bed::Bed;
use crate::support::fake_registry::{Reply, Server};
use crate::support::{contains, http};
use crate::{requires, tests};
use serde_json::json;

tests![what_is_found_is_shown, where_is_searched];

/// Answers `/v1/search`.
fn server() -> Server {
    let results = json!({"num_results": 3, "query": "box", "results": [
        {"name": "box", "description": "A small one", "star_count": 3, "is_official": true, "is_automated": false},
        {"name": "me/box", "description": format!("long {}", "x".repeat(60)), "star_count": 70, "is_automated": true},
        {"name": "you/box", "description": null, "star_count": 0, "is_trusted": true},
    ]});
    let results = isulabox::utils::json::to_vec(&results);
    Server::start(move |asked| match asked.path.split('?').next() {
        Some("/v1/search") => Reply::new(200, &results).header("Content-Type", "application/json"),
        _ => Reply::new(404, b"{}"),
    })
}

fn what_is_found_is_shown(bed: &mut Bed) {
    requires!(registry_client);
    let server = server();
    let host = server.host();
    bed.start_with(&["--insecure-registry", &host]);
    let lines = |line: &str| -> Vec<String> { bed.isula(line).ok().lines().map(str::to_owned).collect() };
    let all = lines(&format!("search --limit 7 '{host}/small box'"));
    let asked = &server.asked()[0];
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("GET", "/v1/search?q=small%20box&n=7"));
    let names: Vec<&str> = all.iter().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["NAME", "me/box", "box", "you/box"]);
    assert_eq!(all[2], format!("{:<24} {:<48} {:<6} {:<9} {:<10} ", "box", "A small one", 3, "[OK]", ""));
    assert!(all[1].contains("xxx...") && !all[1].contains(&"x".repeat(60)));
    contains(&lines(&format!("search --no-trunc {host}/box"))[1], &"x".repeat(60));
    assert_eq!(lines(&format!("search --limit 1 {host}/box")).len(), 1 + 1);
    for (filters, found) in [
        ("-f is-official=true", &["box"][..]),
        ("-f is-automated=true", &["me/box", "you/box"]),
        ("-f stars=3 -f is-official=false", &["me/box"]),
        ("-f stars=71", &[]),
    ] {
        let lines = lines(&format!("search {filters} {host}/box"));
        let names: Vec<&str> = lines[1..].iter().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(names, found, "{filters}");
    }
    if cfg!(feature = "templates") {
        let format = "{{.Name}}|{{.StarCount}}|{{.IsOfficial}}|{{.IsAutomated}}";
        let want = ["me/box|70|false|true", "box|3|true|false", "you/box|0|false|true"];
        assert_eq!(lines(&format!("search --format '{format}' {host}/box")), want);
    }
    bed.isula(&format!("search -f stars=x {host}/box")).fails(1, "invalid filter 'stars=x'");
    bed.isula(&format!("search --limit 101 {host}/box")).fails(125, "Limit 101 is outside the range of [1, 100]");
    bed.isula(&format!("search http://{host}/box")).fails(125, "Invalid search name");
    let answer = bed.get(&format!("/v1.44/images/search?term={host}/box&limit=2")).expect(200).json();
    assert_eq!(answer.as_array().map(Vec::len), Some(2));
    assert_eq!(
        answer[0],
        json!({"name": "box", "description": "A small one", "star_count": 3, "is_official": true,
        "is_automated": false})
    );
    for query in ["term=x&limit=0", "term=x&limit=101", "limit=5", "term=", "term=x&filters={\"no\":[\"y\"]}"] {
        let status = bed.get(&format!("/v1.44/images/search?{query}")).status;
        assert_eq!(status, 400, "{query}");
    }
}

fn where_is_searched(bed: &mut Bed) {
    requires!(registry_client);
    // The first mirror cannot, and the second wants to know who asks.
    let mute = Server::start(|_| Reply::new(404, b"{}"));
    let words = isulabox::utils::json::to_vec(&json!({"results": [{"name": "box", "star_count": 1}]}));
    let second = Server::start(move |asked| match asked.header("authorization") {
        Some("Basic bWU6czNjcmV0") => Reply::new(200, &words),
        _ => Reply::new(401, b"").header("WWW-Authenticate", "Basic realm=\"x\""),
    });
    let mirrors = [mute.address(), second.address()];
    let words = bed.daemon_words(&[
        "--registry-mirrors",
        &mirrors[0],
        "--registry-mirrors",
        &mirrors[1],
        "--insecure-registry",
        &second.host(),
        "--insecure-registry",
        &mute.host(),
    ]);
    let mut command = bed.applet("isulad");
    command.args(words).env("HOME", bed.dir.join("home"));
    bed.launch_command(command);
    bed.isula(&format!("search {}/box", mute.host())).fails(1, "not found (status 404)");
    bed.isula(&format!("search {}/box", second.host())).fails(1, "unauthorized (status 401)");
    bed.isula_with(&format!("login -u me --password-stdin {}", second.host()), b"s3cret").ok();
    contains(&bed.isula(&format!("search {}/box", second.host())).ok(), "box");
    let before = mute.asked().len();
    contains(&bed.isula("search library/box").ok(), "box");
    assert_eq!(mute.asked()[before].path, "/v1/search?q=box&n=25");
    // What docker's clients send along.
    bed.isula(&format!("logout {}", second.host())).ok();
    let auth = "eyJ1c2VybmFtZSI6ICJtZSIsICJwYXNzd29yZCI6ICJzM2NyZXQiLCAic2VydmVyYWRkcmVzcyI6ICIifQ==";
    let head = format!(
        "GET /v1.44/images/search?term={}/box HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Registry-Auth: {auth}\r\n\r\n",
        second.host()
    );
    assert_eq!(http::raw(&bed.socket(), head.as_bytes()).expect("an answer").status, 200);
}
