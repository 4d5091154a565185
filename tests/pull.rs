//! pull, login, logout, and what run does without the image; against Debian's docker-registry, filled by skopeo.

use crate::images::check_layout;
use crate::support::bed::{Bed, json};
use crate::support::proxy::{Manner, Proxy};
use crate::support::registry::{Registry, Setup, Stalling};
use crate::support::{PATIENCE, contains, eventually, http, oci};
use crate::{requires, tests};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

tests![
    pull_by_tag_and_digest,
    zstd_layers_are_pulled,
    run_gets_the_image_that_is_missing,
    login_and_certificates,
    tokens_are_fetched,
    a_spoiled_layer_leaves_nothing,
    clients_that_leave_end_the_pull,
    docker_pulls_too,
    client_certificates,
    tunnels_of_a_proxy,
    a_proxy_without_tunnels,
    a_proxy_that_is_none,
];

/// `X-Registry-Auth` of that user, for `other.test:5000` and for whatever registry is asked.
const FOR_ANOTHER: &str =
    "eyJ1c2VybmFtZSI6ICJtZSIsICJwYXNzd29yZCI6ICJzM2NyZXQiLCAic2VydmVyYWRkcmVzcyI6ICJvdGhlci50ZXN0OjUwMDAifQ==";
const FOR_ANY: &str = "eyJ1c2VybmFtZSI6ICJtZSIsICJwYXNzd29yZCI6ICJzM2NyZXQiLCAic2VydmVyYWRkcmVzcyI6ICIifQ==";

const LOGIN: Option<(&str, &str)> = Some(("me", "s3cret"));

/// A registry that has the sample image as `app:v1`.
fn registry(bed: &Bed, setup: Setup) -> Registry {
    let registry = Registry::start(&bed.dir, "registry", setup);
    let layout = bed.dir.join("layout");
    oci::sample(&layout, "x");
    registry.push(&layout, "app:v1", &[]);
    registry
}

fn layers(bed: &Bed) -> usize {
    fs::read_dir(bed.graph().join("storage/overlay-layers")).map_or(0, Iterator::count)
}

fn pull_by_tag_and_digest(bed: &mut Bed) {
    requires!(registry);
    let registry = registry(bed, Setup::default());
    bed.start_with(&["--insecure-registry", &registry.host]);
    let name = registry.name("app:v1");
    let pulled = bed.isula(&format!("pull {name}"));
    contains(&pulled.err, &format!("Image \"{name}\" pulling"));
    let id = pulled.ok();
    let id = id.strip_prefix("Image \"").and_then(|t| t.strip_suffix("\" pulled")).expect("the id").to_owned();
    check_layout(bed, &name);
    assert_eq!(layers(bed), 4, "three of its own, and the base layer that the other image has too");
    assert_eq!(bed.isula(&format!("pull -q {name}")).ok(), id);
    let answer = json(&bed.get(&format!("/v1.44/images/{name}/json")).expect(200).body);
    let digest = answer["RepoDigests"][0].as_str().expect("a digest").to_owned();
    contains(&digest, &format!("{}@sha256:", registry.name("app")));
    bed.isula(&format!("rmi -f {id}")).ok();
    eventually("the image is gone", || layers(bed) == 1);
    bed.isula(&format!("pull {digest}")).ok();
    assert_eq!(bed.isula(&format!("run --rm {digest}")).ok(), "from above");
    bed.isula(&format!("pull {}", registry.name("app:v2"))).fails(1, "v2");
    bed.isula(&format!("pull {}", registry.name("nosuch:v1"))).fails(1, "nosuch");
    bed.isula(&format!("pull --platform linux/x/y/z {name}")).fails(1, "platform");
    bed.isula("pull UPPER").fails(1, "upper case");
    bed.isula("pull localhost:1/x").fails(1, "localhost:1");
}

fn zstd_layers_are_pulled(bed: &mut Bed) {
    requires!(registry);
    let registry = Registry::start(&bed.dir, "registry", Setup::default());
    let layout = bed.dir.join("layout");
    oci::sample(&layout, "x");
    registry.push(&layout, "app:zstd", &["--dest-compress-format", "zstd"]);
    bed.start_with(&["--insecure-registry", &registry.host]);
    let name = registry.name("app:zstd");
    let blobs = registry.storage().join("blobs/sha256");
    let blobs = fs::read_dir(blobs).unwrap().flat_map(|prefix| fs::read_dir(prefix.unwrap().path()).unwrap());
    let packed = |path: PathBuf| fs::read(path.join("data")).unwrap().starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
    assert_eq!(blobs.filter(|blob| packed(blob.as_ref().unwrap().path())).count(), 3, "skopeo packs them so");
    let pulled = bed.isula(&format!("pull {name}"));
    if !cfg!(feature = "zstd") {
        pulled.fails(1, "zstd");
        return;
    }
    pulled.ok();
    check_layout(bed, &name);
    let before = layers(bed);
    registry.push(&layout, "app:v1", &[]);
    bed.isula(&format!("pull {}", registry.name("app:v1"))).ok();
    assert_eq!(layers(bed), before, "a layer is the same however it was compressed");
}

fn run_gets_the_image_that_is_missing(bed: &mut Bed) {
    requires!(registry);
    let registry = registry(bed, Setup::default());
    bed.start_with(&["--insecure-registry", &registry.host]);
    let name = registry.name("app:v1");
    let refused = bed.isula(&format!("run --rm --pull never {name}"));
    contains(&refused.err, &format!("Unable to find image '{name}' locally"));
    assert_eq!(refused.code, 125);
    let ran = bed.isula(&format!("run --rm {name}"));
    contains(&ran.err, &format!("Unable to find image '{name}' locally"));
    contains(&ran.err, "pulled");
    assert_eq!(ran.ok(), "from above");
    let again = bed.isula(&format!("run --rm --pull always {name}"));
    contains(&again.err, "pulling");
    assert_eq!(again.ok(), "from above");
}

/// A daemon whose configuration file lies beside the registry's certificates, with a home of its own.
fn start_with_home(bed: &mut Bed, registry: &Registry) -> PathBuf {
    start_with_environment(bed, registry, &[], &[]);
    bed.dir.join("home")
}

/// The same with further words and variables.
fn start_with_environment(bed: &mut Bed, registry: &Registry, words: &[&str], variables: &[(&str, &str)]) {
    let config = registry.certificates().with_file_name("daemon.json");
    fs::write(&config, "{}").unwrap();
    let words = bed.daemon_words(&[&["--config", &config.display().to_string()], words].concat());
    let mut command = bed.applet("isulad");
    command.args(words).env("HOME", bed.dir.join("home")).envs(variables.iter().copied());
    bed.launch_command(command);
}

fn login_and_certificates(bed: &mut Bed) {
    requires!(registry);
    let registry = registry(bed, Setup { tls: true, login: LOGIN, ..Setup::default() });
    let home = start_with_home(bed, &registry);
    let name = registry.name("app:v1");
    bed.isula(&format!("pull {name}")).fails(1, "authentication required");
    bed.isula_with(&format!("login -u me --password-stdin {}", registry.host), b"wrong\n").fails(1, "401");
    let said = bed.isula_with(&format!("login -u me --password-stdin {}", registry.host), b"s3cret\n");
    contains(&said.err, "Login Succeeded");
    said.ok();
    let auths = home.join(".isulad/auths.json");
    assert!(!fs::read_to_string(&auths).unwrap().contains("s3cret"));
    bed.isula(&format!("pull {name}")).ok();
    check_layout(bed, &name);
    assert!(!bed.log().contains("s3cret"));
    assert_eq!(bed.isula(&format!("logout {}", registry.host)).ok(), "Logout Succeeded");
    bed.isula(&format!("logout {}", registry.host)).fails(1, "not logged in");
    bed.isula(&format!("pull {name}")).fails(1, "authentication required");
    // What docker's clients send along counts, unless it is for another registry.
    let with_header = |auth: &str| {
        let (host, target) =
            ("Host: x\r\nConnection: close\r\nContent-Length: 0", format!("fromImage={}&tag=v1", registry.name("app")));
        let head = format!("POST /v1.44/images/create?{target} HTTP/1.1\r\n{host}\r\nX-Registry-Auth: {auth}\r\n\r\n");
        http::raw(&bed.socket(), head.as_bytes()).expect("an answer")
    };
    let other = with_header(FOR_ANOTHER);
    assert!(other.status >= 400 && other.text().contains("authentication required"), "{}", other.text());
    contains(&with_header(FOR_ANY).text(), "Image is up to date");
    // Docker's own file.
    let docker = home.join(".docker");
    fs::create_dir(&docker).unwrap();
    let config = format!("{{\"auths\":{{\"{}\":{{\"auth\":\"bWU6czNjcmV0\"}}}}}}", registry.host);
    fs::write(docker.join("config.json"), config).unwrap();
    bed.isula(&format!("pull {name}")).ok();
}

fn tokens_are_fetched(bed: &mut Bed) {
    requires!(registry);
    let registry = Registry::start(&bed.dir, "registry", Setup { tokens: true, login: LOGIN, ..Setup::default() });
    let layout = bed.dir.join("layout");
    oci::sample(&layout, "x");
    registry.push(&layout, "app:v1", &[]);
    let home = bed.dir.join("home");
    let words = bed.daemon_words(&["--insecure-registry", &registry.host]);
    let mut command = bed.applet("isulad");
    command.args(words).env("HOME", &home);
    bed.launch_command(command);
    bed.isula(&format!("login -u me -p s3cret {}", registry.host)).ok();
    let before = registry.tokens.as_ref().unwrap().asked().len();
    bed.isula(&format!("pull {}", registry.name("app:v1"))).ok();
    let asked = registry.tokens.as_ref().unwrap().asked();
    assert!(asked[before..].iter().all(|t| t.contains("app") && t.contains("pull")), "{asked:?}");
    check_layout(bed, &registry.name("app:v1"));
}

fn a_spoiled_layer_leaves_nothing(bed: &mut Bed) {
    requires!(registry);
    let registry = registry(bed, Setup::default());
    bed.start_with(&["--insecure-registry", &registry.host]);
    let before = (layers(bed), fs::read_dir(bed.graph().join("storage/overlay")).unwrap().count());
    // The compressed layer: one byte of it is another.
    let digest = isulabox::utils::digest::sha256(&fs::read(bed.dir.join("upper.tar.gz")).unwrap());
    let blob = registry.storage().join(format!("blobs/sha256/{}/{digest}/data", &digest[..2]));
    let mut bytes = fs::read(&blob).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&blob, bytes).unwrap();
    bed.isula(&format!("pull {}", registry.name("app:v1"))).fails(1, &digest);
    eventually("nothing is left", || {
        (layers(bed), fs::read_dir(bed.graph().join("storage/overlay")).unwrap().count()) == before
    });
    assert_eq!(bed.isula("images -q").ok().lines().count(), 1);
}

fn clients_that_leave_end_the_pull(bed: &mut Bed) {
    requires!(registry);
    // A registry that answers the layer with its head and then nothing.
    let registry = registry(bed, Setup::default());
    let digest = isulabox::utils::digest::sha256(&fs::read(bed.dir.join("upper.tar.gz")).unwrap());
    let stuck = Stalling::before(&registry.host, &digest);
    bed.start_with(&["--insecure-registry", &stuck.host]);
    let client = bed.spawn(&format!("pull {}/app:v1", stuck.host));
    eventually("a layer is being waited for", || stuck.stalled() > 0);
    kill(Pid::from_raw(client.child.id() as i32), Signal::SIGINT).unwrap();
    assert_ne!(client.finish(PATIENCE).code, 0);
    // The daemon gives up, although the registry has not said anything.
    eventually("the connections are closed", || stuck.open() == 0);
    eventually("nothing is left", || layers(bed) == 1);
}

fn docker_pulls_too(bed: &mut Bed) {
    requires!(registry, docker);
    let registry = registry(bed, Setup::default());
    bed.start_with(&["--insecure-registry", &registry.host]);
    let docker = |words: &[&str]| {
        let host = format!("unix://{}", bed.socket().display());
        let output =
            Command::new("docker").args(words).env("DOCKER_HOST", host).env("HOME", &bed.dir).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let name = registry.name("app:v1");
    let said = docker(&["pull", &name]);
    for want in ["Pulling from app", "Pull complete", "Digest: sha256:", "Status: Downloaded newer image for"] {
        contains(&said, want);
    }
    contains(&docker(&["pull", &name]), "Status: Image is up to date for");
    assert_eq!(docker(&["run", "--rm", "--network", "none", &name]), "from above\n");
    let archive = oci::archive(&bed.dir.join("layout"));
    contains(&docker(&["load", "-i", &archive.display().to_string()]), "Loaded image");
}

fn client_certificates(bed: &mut Bed) {
    requires!(registry);
    let registry = registry(bed, Setup { tls: true, client_certificates: true, ..Setup::default() });
    start_with_home(bed, &registry);
    let (name, own) = (registry.name("app:v1"), registry.certificates().join(&registry.host));
    bed.isula(&format!("pull {name}")).fails(1, "TLS: received fatal alert");
    registry.client_certificate(&own, "client");
    let key = own.join("client.key");
    fs::rename(&key, own.join("away")).unwrap();
    bed.isula(&format!("pull {name}")).fails(1, "client.cert\" has no key");
    // The key of another certificate.
    let other = Registry::start(&bed.dir, "other", Setup { tls: true, ..Setup::default() });
    other.client_certificate(&bed.dir.join("others"), "client");
    fs::copy(bed.dir.join("others/client.key"), &key).unwrap();
    bed.isula(&format!("pull {name}")).fails(1, "client.key\" is not the key of");
    // The certificate of another authority.
    fs::rename(own.join("client.cert"), own.join("kept")).unwrap();
    fs::copy(bed.dir.join("others/client.cert"), own.join("client.cert")).unwrap();
    bed.isula(&format!("pull {name}")).fails(1, "TLS: received fatal alert");
    fs::rename(own.join("kept"), own.join("client.cert")).unwrap();
    fs::rename(own.join("away"), &key).unwrap();
    bed.isula(&format!("pull {name}")).ok();
    check_layout(bed, &name);
    // They are read anew for each pull, and shown to nobody else.
    fs::remove_file(&key).unwrap();
    bed.isula(&format!("pull {name}")).fails(1, "has no key");
}

/// A name that only a proxy knows, with the registry's port.
fn hidden(registry: &Registry) -> String {
    let port = registry.host.rsplit(':').next().expect("a port");
    format!("registry.test:{port}")
}

/// User and password as a variable has them, and as the proxy sees them.
const LOGIN_IN_URL: &str = "me:s3cr%40et";
const PROXY_LOGIN: Option<&str> = Some("Basic bWU6czNjckBldA==");

fn tunnels_of_a_proxy(bed: &mut Bed) {
    requires!(registry);
    let registry = registry(bed, Setup { tls: true, ..Setup::default() });
    let host = hidden(&registry);
    fs::rename(registry.certificates().join(&registry.host), registry.certificates().join(&host)).unwrap();
    let proxy = Proxy::start(&registry.host, Manner { wants: PROXY_LOGIN, ..Manner::default() });
    let name = format!("{host}/app:v1");
    let url = format!("http://{LOGIN_IN_URL}@{}", proxy.host);
    start_with_environment(bed, &registry, &[], &[("HTTPS_PROXY", &url)]);
    bed.isula(&format!("pull {name}")).ok();
    check_layout(bed, &name);
    let asked = proxy.asked();
    assert!(!asked.is_empty() && asked.iter().all(|a| *a == format!("CONNECT {host}")), "{asked:?}");
    let shown = bed.get("/v1.44/info").expect(200).text();
    contains(&shown, &format!("http://xxxx:xxxx@{}", proxy.host));
    assert!(!shown.contains("s3cr") && !bed.log().contains("s3cr"));
    bed.stop();
    let url = format!("http://me:wr0ng@{}", proxy.host);
    start_with_environment(bed, &registry, &[], &[("HTTPS_PROXY", &url)]);
    bed.isula(&format!("pull {name}")).fails(1, "the proxy refuses to connect (status 407)");
    assert!(!bed.log().contains("wr0ng"));
    bed.stop();
    // Who is excepted is asked directly: by a name that this machine knows meanwhile.
    let hosts = bed.dir.join("hosts");
    fs::write(&hosts, "127.0.0.1 localhost registry.test\n").unwrap();
    mount(Some(&hosts), "/etc/hosts", None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    bed.own_mounts();
    let before = proxy.asked().len();
    start_with_environment(bed, &registry, &[], &[("HTTPS_PROXY", &url), ("NO_PROXY", "x.test,registry.test")]);
    bed.isula(&format!("pull {name}")).ok();
    assert_eq!(proxy.asked().len(), before);
}

fn a_proxy_without_tunnels(bed: &mut Bed) {
    requires!(registry);
    let registry = registry(bed, Setup::default());
    let host = hidden(&registry);
    let proxy = Proxy::start(&registry.host, Manner { wants: PROXY_LOGIN, refuses_tunnels: true });
    let name = format!("{host}/app:v1");
    let url = format!("{LOGIN_IN_URL}@{}", proxy.host);
    let variables = [("http_proxy", url.as_str()), ("https_proxy", url.as_str())];
    start_with_environment(bed, &registry, &["--insecure-registry", &host], &variables);
    bed.isula(&format!("pull {name}")).ok();
    check_layout(bed, &name);
    let asked = proxy.asked();
    let (tunnels, plain): (Vec<&String>, Vec<&String>) = asked.iter().partition(|a| a.starts_with("CONNECT"));
    assert!(!tunnels.is_empty() && plain.len() >= 4, "{asked:?}");
    assert!(plain.iter().all(|a| a.starts_with(&format!("GET http://{host}/v2/app/"))), "{asked:?}");
    assert!(!bed.log().contains("s3cr"));
    bed.stop();
    // What lies on this machine is never asked through a proxy.
    let variables = [("http_proxy", "http://127.0.0.1:1"), ("https_proxy", "http://127.0.0.1:1")];
    start_with_environment(bed, &registry, &["--insecure-registry", &registry.host], &variables);
    bed.isula(&format!("pull {}", registry.name("app:v1"))).ok();
    bed.stop();
    let url = format!("http://me:wr0ng@{}", proxy.host);
    let variables = [("HTTP_PROXY", url.as_str()), ("HTTPS_PROXY", url.as_str())];
    start_with_environment(bed, &registry, &["--insecure-registry", &host], &variables);
    bed.isula(&format!("pull {name}")).fails(1, "the proxy wants to know who asks (status 407)");
}

fn a_proxy_that_is_none(bed: &mut Bed) {
    requires!(registry);
    let registry = registry(bed, Setup::default());
    let host = hidden(&registry);
    let url = "socks5://me:s3cret@127.0.0.1:1";
    let words = ["--insecure-registry", &host, "--insecure-registry", &registry.host];
    start_with_environment(bed, &registry, &words, &[("HTTP_PROXY", "me:s3cret@"), ("HTTPS_PROXY", url)]);
    // The daemon does without, and who needs it is told.
    for part in ["HTTP_PROXY is not the address of a proxy", "HTTPS_PROXY names a proxy of the kind \"socks5\""] {
        contains(&bed.log(), part);
    }
    bed.isula(&format!("pull {host}/app:v1")).fails(1, "HTTP_PROXY is not the address of a proxy");
    bed.isula(&format!("pull {}", registry.name("app:v1"))).ok();
    assert!(!bed.log().contains("s3cret"));
}
