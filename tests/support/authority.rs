//! Certificates for loopback, of an authority of a test's own.

use super::registry::run;
use std::fs;
use std::path::Path;
use std::process::Command;

/// `NAME.key` and `NAME.pem`, signed by the authority `ca.pem`, which is made when there is none. The subject's common
/// name is `NAME`.
pub fn certificate(dir: &Path, name: &str) {
    certificate_for(dir, name, 30);
}

/// The same, good for so many days; below 0 it has expired.
pub fn certificate_for(dir: &Path, name: &str, days: i32) {
    let at = |name: &str| dir.join(name).display().to_string();
    let openssl = |line: String| run(Command::new("openssl").args(line.split(' ')));
    fs::create_dir_all(dir).expect("a directory");
    if !dir.join("ca.pem").exists() {
        let (key, out) = (at("ca.key"), at("ca.pem"));
        openssl(format!("req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=tests -keyout {key} -out {out}"));
    }
    let (key, request, out) = (at(&format!("{name}.key")), at("request"), at(&format!("{name}.pem")));
    openssl(format!("req -newkey rsa:2048 -nodes -subj /CN={name} -keyout {key} -out {request}"));
    fs::write(dir.join("extensions"), "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:registry.test\n").expect("a file");
    let (ca, ca_key, extensions) = (at("ca.pem"), at("ca.key"), at("extensions"));
    openssl(format!(
        "x509 -req -days {days} -CA {ca} -CAkey {ca_key} -CAcreateserial -in {request} -extfile {extensions} -out {out}"
    ));
}
