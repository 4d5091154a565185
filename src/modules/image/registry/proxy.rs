//! Which hosts are asked through a proxy: `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` by the rules of Go's programs, which
//! are those of docker and the original.

use super::address::Network;
use crate::error::{Error, Kind, Result};
use std::fmt;
use std::net::IpAddr;
use ureq::Proxy;

const HTTP: &str = "HTTP_PROXY";
const HTTPS: &str = "HTTPS_PROXY";
const NO: &str = "NO_PROXY";

/// Proxies and exceptions. Proxies may carry a password: neither printed nor logged.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ProxySettings {
    /// For `http` registries.
    pub http: Option<String>,
    /// For `https` registries.
    pub https: Option<String>,
    /// Hosts, domains, addresses and networks that are asked directly, separated by commas.
    pub exceptions: String,
}

impl ProxySettings {
    /// Of this process's environment; of two spellings of a variable, the upper-case one counts first.
    pub fn from_environment() -> ProxySettings {
        ProxySettings::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> ProxySettings {
        let either = |name: &str| {
            let value = |name: &str| variable(name).filter(|v| !v.is_empty());
            value(name).or_else(|| value(&name.to_ascii_lowercase()))
        };
        ProxySettings { http: either(HTTP), https: either(HTTPS), exceptions: either(NO).unwrap_or_default() }
    }

    /// The proxy for a host and port, if there is one.
    ///
    /// # Errors
    /// `Kind::Remote` when the variable that should name it does not.
    pub(super) fn proxy(&self, https: bool, host: &str, port: u16) -> Result<Option<Proxy>> {
        let (name, proxy) = if https { (HTTPS, &self.https) } else { (HTTP, &self.http) };
        let proxy = proxy.as_deref().filter(|_| !self.is_exception(host, port));
        proxy.map(|proxy| parse(name, proxy)).transpose()
    }

    fn is_exception(&self, host: &str, port: u16) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches([']', '.']).to_ascii_lowercase();
        let address: Option<IpAddr> = host.parse().ok();
        // A proxy elsewhere cannot reach what is here.
        if host == "localhost" || address.is_some_and(|a| a.is_loopback()) {
            return true;
        }
        self.exceptions.split(',').map(str::trim).filter(|e| !e.is_empty()).any(|exception| {
            let exception = exception.to_ascii_lowercase();
            if exception == "*" {
                return true;
            }
            if let (Some(address), Ok(network)) = (address, Network::parse(&exception)) {
                return network.contains(address);
            }
            let (name, number) = match exception.rsplit_once(':') {
                Some((name, number)) if !name.contains(':') => (name, number.parse::<u16>().ok()),
                _ => (exception.as_str(), None),
            };
            if number.is_some_and(|number| number != port) {
                return false;
            }
            let domain = name.trim_start_matches('*');
            match domain.strip_prefix('.') {
                Some(_) => host.ends_with(domain),
                None => host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')),
            }
        })
    }

    /// What is wrong with the proxies.
    pub(super) fn mistakes(&self) -> Vec<Error> {
        let proxies = [(HTTP, &self.http), (HTTPS, &self.https)];
        let parsed = proxies.into_iter().filter_map(|(name, proxy)| proxy.as_deref().map(|proxy| parse(name, proxy)));
        parsed.filter_map(|proxy| proxy.err()).collect()
    }
}

/// Reads the value of a variable as Go does: without a scheme it is an `http` proxy.
///
/// # Errors
/// `Kind::Remote` naming the variable and not its value, which may hold a password.
fn parse(variable: &str, value: &str) -> Result<Proxy> {
    let bad = |what: String| Error::new(Kind::Remote, format!("{variable} {what}"));
    let (scheme, rest) = value.split_once("://").unwrap_or(("http", value));
    if !matches!(scheme, "http" | "https") {
        return Err(bad(format!("names a proxy of the kind {scheme:?}, and only http and https are known")));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    // The library looks at the port only when it connects, and takes a wrong one for none.
    let is_host = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => !name.is_empty() && port.parse::<u16>().is_ok(),
        _ => !host.is_empty(),
    };
    let proxy = Proxy::new(&format!("{scheme}://{authority}")).ok().filter(|_| is_host);
    proxy.ok_or_else(|| {
        let want =
            "[http://][USER:PASSWORD@]HOST[:PORT], with %XX for what is neither letter nor digit in USER and PASSWORD";
        bad(format!("is not the address of a proxy: want {want}"))
    })
}

/// A proxy without its user and password.
pub fn masked(proxy: &str) -> String {
    let (scheme, rest) = proxy.split_once("://").map_or(("", proxy), |(s, r)| (s, r));
    let separator = if scheme.is_empty() { "" } else { "://" };
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}{separator}xxxxx:xxxxx@{host}"),
        None => proxy.to_owned(),
    }
}

impl fmt::Debug for ProxySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxySettings")
            .field("http", &self.http.as_deref().map(masked))
            .field("https", &self.https.as_deref().map(masked))
            .field("exceptions", &self.exceptions)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_in_both_cases() {
        let settings = ProxySettings::from_variables(|name| match name {
            "HTTP_PROXY" | "NO_PROXY" => Some("upper".into()),
            "http_proxy" | "https_proxy" => Some("lower".into()),
            "HTTPS_PROXY" => Some(String::new()),
            _ => None,
        });
        assert_eq!((settings.http.as_deref(), settings.https.as_deref()), (Some("upper"), Some("lower")));
        assert_eq!(settings.exceptions, "upper");
    }

    #[test]
    fn exceptions_by_the_rules_of_go() {
        let exceptions = "example.com, .sub.test,*.star.test,10.0.0.0/8,fd00::/8,172.16.0.9,only.test:5000,";
        let settings = ProxySettings { https: Some("p".into()), exceptions: exceptions.into(), ..Default::default() };
        for (host, port, direct) in [
            ("example.com", 443, true),
            ("EXAMPLE.com.", 443, true),
            ("a.example.com", 443, true),
            ("badexample.com", 443, false),
            ("sub.test", 443, false),
            ("a.sub.test", 443, true),
            ("a.star.test", 443, true),
            ("10.2.3.4", 443, true),
            ("11.2.3.4", 443, false),
            ("[fd00::1]", 443, true),
            ("172.16.0.9", 5000, true),
            ("only.test", 5000, true),
            ("only.test", 5001, false),
            ("127.3.2.1", 443, true),
            ("localhost", 443, true),
            ("other.test", 443, false),
        ] {
            assert_eq!(settings.proxy(true, host, port).unwrap().is_none(), direct, "{host}:{port}");
        }
        assert!(settings.proxy(false, "other.test", 80).unwrap().is_none());
        let all = ProxySettings { exceptions: "*".into(), ..settings };
        assert!(all.proxy(true, "other.test", 443).unwrap().is_none());
    }

    #[test]
    fn passwords_are_not_shown() {
        let settings = ProxySettings { http: Some("http://me:s3cret@p:3128".into()), ..Default::default() };
        assert!(settings.mistakes().is_empty());
        assert!(!format!("{settings:?}").contains("s3cret"));
        assert_eq!(masked("me:s3cret@p"), "xxxxx:xxxxx@p");
        assert_eq!(masked("http://p:1/"), "http://p:1/");
    }

    #[test]
    fn values_as_go_reads_them() {
        for (value, host, port, user, password) in [
            ("p", "p", 80, None, None),
            ("p:3128/", "p", 3128, None, None),
            ("https://p", "p", 443, None, None),
            ("me:s3cret@p:1", "p", 1, Some("me"), Some("s3cret")),
            ("http://me:s3%40cret@[::1]:3128/x?y", "[::1]", 3128, Some("me"), Some("s3@cret")),
        ] {
            let proxy = parse(HTTP, value).unwrap();
            assert_eq!((proxy.host(), proxy.port(), proxy.username(), proxy.password()), (host, port, user, password));
        }
        for (value, part) in [
            ("socks5://me:s3cret@p", "socks5"),
            ("http://me:s3cret@", "want"),
            ("http://:3128", "want"),
            ("http://me:s3 cret@p", "want"),
            ("http://me:s3%ffcret@p", "want"),
            ("p:x", "want"),
            ("/", "want"),
        ] {
            let settings = ProxySettings { https: Some(value.into()), http: Some("p".into()), ..Default::default() };
            let Err(error) = settings.proxy(true, "a.test", 443) else { panic!("{value}") };
            let text = error.to_string();
            assert!(text.starts_with("HTTPS_PROXY ") && text.contains(part) && !text.contains("cret"), "{text}");
            assert_eq!(settings.mistakes().len(), 1);
            // Who does not need it is not troubled.
            assert!(settings.proxy(true, "localhost", 443).unwrap().is_none());
            assert!(settings.proxy(false, "a.test", 80).unwrap().is_some());
        }
    }
}
