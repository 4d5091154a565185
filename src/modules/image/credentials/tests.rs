//! Credentials that come back, and secrets that do not show.

use super::*;
use crate::error::Kind;
use crate::utils::json;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};

#[test]
fn hosts_have_one_name() {
    for (server, want) in [
        ("", "docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("docker.io", "docker.io"),
        ("http://Board:5000/v2/", "board:5000"),
        ("board", "board"),
        ("[::1]:5000", "[::1]:5000"),
    ] {
        assert_eq!(normalise(server), want, "{server}");
    }
}

#[test]
fn secrets_do_not_print() {
    for secret in [
        Secret::Password("s3cret".into()),
        Secret::IdentityToken("s3cret".into()),
        Secret::RegistryToken("s3cret".into()),
    ] {
        let credentials = Credentials { user: "me".into(), secret };
        assert!(!format!("{credentials:?} {:?}", credentials.secret).contains("s3cret"));
    }
}

#[test]
fn dockers_file() {
    let auth = STANDARD.encode("me:pa:ss");
    let text = format!(
        "{{\"auths\":{{\"board:5000\":{{\"auth\":\"{auth}\"}},\"https://index.docker.io/v1/\":{{\"auth\":\"{auth}\",\
         \"identitytoken\":\"t\"}},\"kept\":{{}},\"bad\":{{\"auth\":\"%\"}}}},\"credsStore\":\"pass\",\
         \"credHelpers\":{{\"gcr.io\":\"gcloud\"}},\"HttpHeaders\":{{}}}}"
    );
    let get = |host: &str| parse_config(text.as_bytes(), host);
    assert_eq!(get("board:5000").unwrap(), Some(Credentials::password("me", "pa:ss")));
    assert_eq!(get("docker.io").unwrap().unwrap().secret, Secret::IdentityToken("t".into()));
    assert_eq!(get("elsewhere").unwrap(), None);
    for (host, helper) in [("gcr.io", "gcloud"), ("kept", "pass")] {
        let error = get(host).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
        assert!(error.to_string().contains(&format!("docker-credential-{helper}")), "{error}");
    }
    let error = get("bad").unwrap_err().to_string();
    assert!(error.contains("\"bad\"") && error.contains("base 64"), "{error}");
    assert!(parse_config(b"[]", "x").is_err());
}

#[test]
fn dockers_header() {
    let document = json::to_vec(&serde_json::json!({
        "username": "me", "password": "p\u{fc}?>", "serveraddress": "https://Board:5000"
    }));
    let want = Some((Some("board:5000".to_owned()), Credentials::password("me", "p\u{fc}?>")));
    for value in [URL_SAFE.encode(&document), URL_SAFE_NO_PAD.encode(&document), STANDARD.encode(&document)] {
        assert_eq!(parse_header(&value).unwrap(), want, "{value}");
    }
    for empty in ["", "e30=", "bnVsbA=="] {
        assert_eq!(parse_header(empty).unwrap(), None, "{empty:?}");
    }
    let token = URL_SAFE.encode("{\"registrytoken\":\"abc\"}");
    assert_eq!(parse_header(&token).unwrap().unwrap().1.secret, Secret::RegistryToken("abc".into()));
    for bad in ["%", "W10=", "bm90IGpzb24="] {
        let error = parse_header(bad).unwrap_err();
        assert!(error.kind() == Kind::Invalid && !error.to_string().contains(bad), "{error}");
    }
}

mod store {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Directory {
            let path = std::env::temp_dir().join(format!("credentials-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            Directory(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_store_keeps_what_it_was_given() {
        let directory = Directory::new("store");
        let store = Store::new(&directory.0);
        assert_eq!(store.get("board:5000").unwrap(), None);
        assert!(!store.remove("board:5000").unwrap());
        let (a, b) = (
            Credentials::password("me", "s3cret:\u{e4}\""),
            Credentials { user: String::new(), secret: Secret::IdentityToken("t0ken".into()) },
        );
        store.set("https://board:5000/v2/", &a).unwrap();
        store.set("docker.io", &b).unwrap();
        // Another process.
        let store = Store::new(&directory.0);
        assert_eq!(store.get("BOARD:5000").unwrap(), Some(a));
        assert_eq!(store.get("https://index.docker.io/v1/").unwrap(), Some(b));
        for name in ["auths.json", "aeskey"] {
            let path = directory.0.join(name);
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{name}");
            let bytes = std::fs::read(&path).unwrap();
            for secret in [&b"s3cret"[..], b"t0ken", &STANDARD.encode("me:s3cret").as_bytes()[..11]] {
                assert!(!bytes.windows(secret.len()).any(|w| w == secret), "{name} shows a secret");
            }
        }
        // What a login left that was interrupted goes with the logout.
        let left = directory.0.join(".tmp-auths.json-77-0");
        std::fs::write(&left, "").unwrap();
        assert!(store.remove("board:5000").unwrap());
        assert_eq!(store.get("board:5000").unwrap(), None);
        assert!(!left.exists());
    }

    #[test]
    fn what_was_tampered_with_asks_for_a_new_login() {
        let directory = Directory::new("tampered");
        let store = Store::new(&directory.0);
        store.set("a", &Credentials::password("me", "s3cret")).unwrap();
        let path = directory.0.join("auths.json");
        let text = std::fs::read_to_string(&path).unwrap();
        // The same entry for another host.
        std::fs::write(&path, text.replace("\"a\"", "\"b\"")).unwrap();
        let error = store.get("b").unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt);
        assert!(error.to_string().contains("log in again"), "{error}");
        std::fs::write(&path, &text).unwrap();
        std::fs::write(directory.0.join("aeskey"), [7; 32]).unwrap();
        assert_eq!(store.get("a").unwrap_err().kind(), Kind::Corrupt);
        std::fs::write(directory.0.join("aeskey"), [7; 31]).unwrap();
        assert!(store.get("a").unwrap_err().to_string().contains("32 bytes"));
        std::fs::remove_file(directory.0.join("aeskey")).unwrap();
        assert!(store.get("a").unwrap_err().to_string().contains("log in again"));
        // A login makes it whole.
        store.set("a", &Credentials::password("me", "new")).unwrap();
        assert_eq!(store.get("a").unwrap(), Some(Credentials::password("me", "new")));
    }
}
