//! A registry of a test's own: Debian's docker-registry on loopback, plain or with TLS, open or with passwords or
//! tokens, filled by skopeo. Tests that use it begin with `requires!(registry)`.

use super::authority::certificate;
use super::{PATIENCE, eventually};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

/// What the registry is to be like. The default is plain and open to all.
#[derive(Default, Clone, Copy)]
pub struct Setup {
    /// With a certificate of an authority of its own, which `certs.d` of [`Registry::certificates`] names.
    pub tls: bool,
    /// It wants a certificate of the same authority from its clients: [`Registry::client_certificate`].
    pub client_certificates: bool,
    /// Who may pull and push: everybody, or this user with this password.
    pub login: Option<(&'static str, &'static str)>,
    /// The registry wants tokens, and the server of [`Registry::tokens`] gives them: for the login if there is one.
    pub tokens: bool,
}

/// A running registry; it ends when it is dropped.
pub struct Registry {
    /// `127.0.0.1:PORT`.
    pub host: String,
    /// The token server's, where there is one.
    pub tokens: Option<Tokens>,
    dir: PathBuf,
    setup: Setup,
    child: Child,
}

impl Registry {
    /// Starts one whose files lie in a new directory `name` below `dir`.
    #[track_caller]
    pub fn start(dir: &Path, name: &str, setup: Setup) -> Registry {
        let dir = dir.join(name);
        fs::create_dir(&dir).expect("a new directory");
        let port = free_port();
        let host = format!("127.0.0.1:{port}");
        let mut config = json!({
            "version": 0.1,
            "log": {"level": "debug"},
            "storage": {"filesystem": {"rootdirectory": dir.join("storage")}, "delete": {"enabled": true}},
            "http": {"addr": host},
        });
        if setup.tls {
            certificate(&dir, "server");
            let own = dir.join("certs.d").join(&host);
            fs::create_dir_all(&own).expect("a directory");
            fs::copy(dir.join("ca.pem"), own.join("ca.crt")).expect("the authority");
            config["http"]["tls"] = json!({"certificate": dir.join("server.pem"), "key": dir.join("server.key")});
            if setup.client_certificates {
                config["http"]["tls"]["clientcas"] = json!([dir.join("ca.pem")]);
            }
        }
        let mut tokens = None;
        if setup.tokens {
            certificate(&dir, "issuer");
            let server = Tokens::start(&dir, setup.login);
            config["auth"]["token"] = json!({"realm": server.realm, "service": "tests", "issuer": "tests",
                "rootcertbundle": dir.join("ca.pem")});
            tokens = Some(server);
        } else if let Some((user, password)) = setup.login {
            let line = run(Command::new("htpasswd").args(["-nbB", user, password]));
            fs::write(dir.join("htpasswd"), line).expect("a file");
            config["auth"]["htpasswd"] = json!({"realm": "tests", "path": dir.join("htpasswd")});
        }
        // JSON is YAML.
        fs::write(dir.join("config.yml"), isulabox::utils::json::to_vec(&config)).expect("a file");
        let log = File::create(dir.join("log")).expect("a file");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(dir.join("config.yml"))
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log)
            .spawn()
            .expect("docker-registry starts");
        let mut registry = Registry { host, tokens, dir, setup, child };
        eventually("the registry listens", || {
            let ended = registry.child.try_wait().expect("it is ours");
            assert!(ended.is_none(), "the registry ended: {}", registry.log());
            TcpStream::connect(&registry.host).is_ok()
        });
        registry
    }

    /// `HOST/NAME`.
    pub fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.host)
    }

    /// The directory for a daemon's certificates by registry: it has this one's authority.
    pub fn certificates(&self) -> PathBuf {
        self.dir.join("certs.d")
    }

    /// Puts a certificate of the registry's authority, and its key, into a directory as `NAME.cert` and `NAME.key`.
    pub fn client_certificate(&self, directory: &Path, name: &str) {
        certificate(&self.dir, name);
        fs::create_dir_all(directory).expect("a directory");
        for (from, to) in [("pem", "cert"), ("key", "key")] {
            fs::copy(self.dir.join(format!("{name}.{from}")), directory.join(format!("{name}.{to}"))).expect("a file");
        }
    }

    /// Where the registry keeps its files, for tests that change them.
    pub fn storage(&self) -> PathBuf {
        self.dir.join("storage/docker/registry/v2")
    }

    /// What it said, every request among it.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.dir.join("log")).unwrap_or_default()).into_owned()
    }

    /// Copies an image from an OCI layout ([`super::oci::layout`]) to `name:tag`, with further words of `skopeo copy`, such as
    /// `--format v2s2` or `--dest-compress-format zstd`.
    #[track_caller]
    pub fn push(&self, layout: &Path, name: &str, words: &[&str]) {
        let mut command = Command::new("skopeo");
        command.args(["--insecure-policy", "copy", "--dest-tls-verify=false", "--all"]).args(words);
        if let Some((user, password)) = self.setup.login {
            command.arg("--dest-creds").arg(format!("{user}:{password}"));
        }
        if self.setup.client_certificates {
            let directory = self.dir.join("pusher");
            self.client_certificate(&directory, "pusher");
            command.arg("--dest-cert-dir").arg(directory);
        }
        command.arg(format!("oci:{}", layout.display())).arg(format!("docker://{}", self.name(name)));
        run(&mut command);
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

/// Stands before a registry, and answers requests with a certain part never.
pub struct Stalling {
    /// `127.0.0.1:PORT`.
    pub host: String,
    stalled: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
}

impl Stalling {
    /// Passes everything on to `registry` but requests with `part` in them. Its threads end with the test's process.
    pub fn before(registry: &str, part: &str) -> Stalling {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let host = listener.local_addr().expect("an address").to_string();
        let stalling = Stalling { host, stalled: Arc::default(), open: Arc::default() };
        let (registry, part) = (registry.to_owned(), part.as_bytes().to_vec());
        let (stalled, open) = (stalling.stalled.clone(), stalling.open.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (registry, part, stalled, open) = (registry.clone(), part.clone(), stalled.clone(), open.clone());
                open.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    // Either side may leave.
                    let _ = pass(client, &registry, &part, &stalled);
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        stalling
    }

    /// Requests that wait.
    pub fn stalled(&self) -> usize {
        self.stalled.load(Ordering::SeqCst)
    }

    /// Connections that clients hold open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

fn pass(mut client: TcpStream, registry: &str, part: &[u8], stalled: &AtomicUsize) -> std::io::Result<()> {
    let mut upstream = TcpStream::connect(registry)?;
    let (mut from, mut to) = (upstream.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || std::io::copy(&mut from, &mut to));
    let mut buffer = [0; 16 << 10];
    loop {
        let n = client.read(&mut buffer)?;
        if n == 0 {
            return upstream.shutdown(std::net::Shutdown::Both);
        }
        if buffer[..n].windows(part.len()).any(|window| window == part) {
            stalled.fetch_add(1, Ordering::SeqCst);
        } else {
            upstream.write_all(&buffer[..n])?;
        }
    }
}

/// A token server (distribution's "Token Authentication Specification"): it gives everybody, or its one user, what is
/// asked for, signed by `issuer.key`. It is not told to end: it waits for connections until the test's process ends.
pub struct Tokens {
    pub realm: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Tokens {
    fn start(dir: &Path, login: Option<(&'static str, &'static str)>) -> Tokens {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let realm = format!("http://{}/token", listener.local_addr().expect("an address"));
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (dir, list) = (dir.to_owned(), asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // A client that leaves is its own affair.
                let _ = serve_token(stream, &dir, login, &list);
            }
        });
        Tokens { realm, asked }
    }

    /// The targets of the requests so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no holder panics").clone()
    }
}

fn serve_token(
    stream: TcpStream,
    dir: &Path,
    login: Option<(&str, &str)>,
    list: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut target, mut authorization) = (String::new(), String::new());
    for line in BufReader::new(&stream).lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some(rest) = line.strip_prefix("GET ") {
            target = rest.split(' ').next().unwrap_or_default().to_owned();
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("authorization")
        {
            authorization = value.trim().to_owned();
        }
    }
    list.lock().expect("no holder panics").push(target.clone());
    let expected =
        login.map(|(user, password)| format!("Basic {}", base64("base64", format!("{user}:{password}").as_bytes())));
    let (status, body) = if expected.is_some_and(|e| e != authorization) {
        (401, json!({"errors": [{"code": "UNAUTHORIZED", "message": "incorrect username or password"}]}))
    } else {
        (200, json!({"token": token(dir, &target), "expires_in": 300}))
    };
    let body = isulabox::utils::json::to_vec(&body);
    let length = body.len();
    write!(&stream, "HTTP/1.1 {status} Word\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
    (&stream).write_all(&body)
}

/// A JSON Web Token (RFC 7519) with the issuer's certificate in it.
fn token(dir: &Path, target: &str) -> String {
    let query = isulabox::utils::http::query::Query::parse(target.split_once('?').map_or("", |(_, q)| q));
    let query = query.expect("a query");
    let mut access = Vec::new();
    for scope in query.all("scope").flat_map(|s| s.split(' ')) {
        let (kind, rest) = scope.split_once(':').expect("a scope");
        let (name, actions) = rest.rsplit_once(':').expect("a scope");
        access.push(json!({"type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>()}));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let der = run(Command::new("openssl").args(["x509", "-outform", "der", "-in"]).arg(dir.join("issuer.pem")));
    let header = json!({"typ": "JWT", "alg": "RS256", "x5c": [base64("base64", &der)]});
    let claims = json!({"iss": "tests", "sub": "", "aud": query.get("service").unwrap_or_default(), "exp": now + 300,
        "nbf": now - 60, "iat": now, "jti": format!("{now}"), "access": access});
    let url = |value: &Value| base64("base64url", &isulabox::utils::json::to_vec(value));
    let signed = format!("{}.{}", url(&header), url(&claims));
    let mut sign = Command::new("openssl");
    sign.args(["dgst", "-sha256", "-sign"]).arg(dir.join("issuer.key"));
    let signature = base64("base64url", &filter(&mut sign, signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// `base64`, or `base64url` without padding.
fn base64(form: &str, bytes: &[u8]) -> String {
    let text = filter(Command::new("base64").arg("-w0"), bytes);
    let text = String::from_utf8(text).expect("ASCII");
    match form {
        "base64" => text,
        _ => text.trim_end_matches('=').replace('+', "-").replace('/', "_"),
    }
}

/// A port that nobody had a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port()
}

/// Runs a program that must succeed; its output.
#[track_caller]
pub fn run(command: &mut Command) -> Vec<u8> {
    filter(command, b"")
}

/// The same with something to read.
#[track_caller]
fn filter(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("it is ours");
    let _ = writer.join(); // one that does not read says why on standard error
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {error}", output.status);
    output.stdout
}
