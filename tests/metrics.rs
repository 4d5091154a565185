//! Metrics: the families, the port that has nothing else, and the form of the text.

use crate::support::bed::{Bed, refused};
use crate::support::registry::free_port;
use crate::support::{contains, eventually};
use crate::tests;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

tests![containers_are_measured, the_port_has_metrics_and_nothing_else, without_a_port_nobody_listens];

/// Families of the text, each with its samples; fails where it is not of the format.
#[track_caller]
fn families(text: &str) -> Vec<(String, Vec<String>)> {
    let mut families: Vec<(String, Vec<String>)> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let name = help.split(' ').next().expect("a name").to_owned();
            let kind = lines.next().expect("a type behind the help");
            assert!(
                [format!("# TYPE {name} gauge"), format!("# TYPE {name} counter")].contains(&kind.to_owned()),
                "{kind}"
            );
            assert!(seen.insert(name.clone()), "family {name} comes twice");
            families.push((name, Vec::new()));
            continue;
        }
        let (name, samples) = families.last_mut().expect("a family before the first sample");
        let (series, value) = line.rsplit_once(' ').expect("a value");
        assert_eq!(series.split('{').next(), Some(name.as_str()), "{line}");
        assert!(value.parse::<f64>().is_ok(), "{line}");
        samples.push(line.to_owned());
    }
    assert!(text.ends_with('\n'));
    families
}

#[track_caller]
fn value(text: &str, series: &str) -> u64 {
    let line = text.lines().find_map(|l| l.strip_prefix(series)?.strip_prefix(' '));
    line.and_then(|v| v.parse().ok()).unwrap_or_else(|| panic!("no {series} in:\n{text}"))
}

fn containers_are_measured(bed: &mut Bed) {
    bed.start();
    let id = bed.run_detached("aa", "", "sh -c 'while :; do :; done'");
    bed.isula("create --name idle box true").ok();
    let get = |kind: &str| {
        let response = bed.get(&format!("/metrics/type/{kind}")).expect(200);
        assert_eq!(response.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        response.text()
    };
    let names = |text: &str| families(text).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(&get("mem")), ["isula_container_mem_stat"]);
    assert_eq!(names(&get("cpu")), ["isula_container_cpu_stat"]);
    assert_eq!(names(&get("pids")), ["isula_container_pids"]);
    let system = get("sys");
    for name in ["isula_metrics_http_req_count", "isula_daemon_mem_stat", "isula_daemon_calloced_memory_total"] {
        assert!(names(&system).contains(&name.to_owned()), "{system}");
    }
    assert!(!system.contains("isula_container"));
    let labels = format!("id=\"{id}\",name=\"aa\"");
    eventually("time goes by", || {
        value(&get("cpu"), &format!("isula_container_cpu_stat{{{labels},type=\"total\"}}")) > 10_000_000
    });
    let all = bed.get("/metrics").expect(200).text();
    assert!(value(&all, &format!("isula_container_mem_stat{{{labels},type=\"usage\"}}")) > 0);
    assert_eq!(value(&all, &format!("isula_container_pids{{{labels}}}")), 1);
    assert_eq!(value(&all, "engine_daemon_container_states_containers{state=\"running\"}"), 1);
    assert_eq!(value(&all, "engine_daemon_container_states_containers{state=\"stopped\"}"), 1);
    assert!(value(&all, "isula_daemon_mem_stat{type=\"rss\"}") > 0);
    assert!(value(&all, "isula_daemon_calloced_memory_total") > 0);
    let before = value(&all, "isula_metrics_http_req_count");
    assert_eq!(value(&get("all"), "isula_metrics_http_req_count"), before + 1);
    // One that does not run has no processes to be measured.
    assert!(!all.contains("name=\"idle\""));
    contains(&bed.get("/metrics/type/net").expect(404).text(), "want mem, cpu, pids, sys or all");
    bed.http("POST", "/metrics", None).expect(405);
}

fn ask(port: u16, line: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the daemon listens");
    write!(stream, "{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("the daemon reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text
}

fn the_port_has_metrics_and_nothing_else(bed: &mut Bed) {
    let port = free_port();
    bed.start_with(&["--metrics-port", &port.to_string()]);
    let text = ask(port, "GET /metrics/type/all");
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    contains(&text, "isula_metrics_http_req_count");
    assert!(ask(port, "GET /metrics").starts_with("HTTP/1.1 200 "));
    for line in ["GET /_ping", "GET /version", "GET /v1.44/containers/json", "POST /v1.44/containers/create", "GET /x"]
    {
        let text = ask(port, line);
        assert!(text.starts_with("HTTP/1.1 404 "), "{line}: {text}");
    }
    // Loopback only.
    let listening = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
    let line = listening.lines().find(|l| l.contains(&format!(":{port:04X} 00000000:0000 0A")));
    contains(line.expect("a listening socket"), &format!("0100007F:{port:04X}"));
    let text = refused(bed, &bed.daemon_words(&["--metrics-port", "x"]));
    contains(&text, "metrics-port");
}

fn without_a_port_nobody_listens(bed: &mut Bed) {
    bed.launch(&["--metrics-port", "0"]);
    let inodes: BTreeSet<String> = crate::support::leaks::descriptors(bed.pid())
        .iter()
        .filter_map(|d| d.split("socket:[").nth(1)?.split(']').next().map(str::to_owned))
        .collect();
    let listening = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
    let own = |line: &&str| line.split_whitespace().nth(9).is_some_and(|inode| inodes.contains(inode));
    assert_eq!(listening.lines().find(own), None);
}
