//! Which hosts are asked through a proxy: `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` by the rules of Go's programs, which
//! are those of docker and the original.

use super::address::Network;
use crate::error::{Error, Result};
use std::fmt;
use std::net::IpAddr;

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
        ProxySettings {
            http: either("HTTP_PROXY"),
            https: either("HTTPS_PROXY"),
            exceptions: either("NO_PROXY").unwrap_or_default(),
        }
    }

    /// The proxy for a host and port, if there is one.
    pub(super) fn proxy(&self, https: bool, host: &str, port: u16) -> Option<&str> {
        let proxy = if https { &self.https } else { &self.http };
        proxy.as_deref().filter(|_| !self.is_exception(host, port))
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

    /// Fails for what is no proxy, without repeating a password.
    ///
    /// # Errors
    /// `Kind::Invalid`.
    pub fn check(&self) -> Result<()> {
        for (name, proxy) in [("HTTP_PROXY", &self.http), ("HTTPS_PROXY", &self.https)] {
            let Some(proxy) = proxy else { continue };
            let rest = match proxy.split_once("://") {
                None => proxy.as_str(),
                Some(("http" | "https", rest)) => rest,
                Some((scheme, _)) => {
                    return Err(Error::invalid(format!(
                        "{name}: {scheme:?} proxies are not known, only http and https"
                    )));
                }
            };
            let host = rest.split('/').next().unwrap_or_default().rsplit('@').next().unwrap_or_default();
            if host.is_empty() || host.contains(char::is_whitespace) {
                return Err(Error::invalid(format!("{name} names no host: want [http://][USER:PASSWORD@]HOST[:PORT]")));
            }
        }
        Ok(())
    }
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
            assert_eq!(settings.proxy(true, host, port).is_none(), direct, "{host}:{port}");
        }
        assert_eq!(settings.proxy(false, "other.test", 80), None);
        let all = ProxySettings { exceptions: "*".into(), ..settings };
        assert_eq!(all.proxy(true, "other.test", 443), None);
    }

    #[test]
    fn passwords_are_not_shown() {
        let settings = ProxySettings { http: Some("http://me:s3cret@p:3128".into()), ..Default::default() };
        settings.check().unwrap();
        assert!(!format!("{settings:?}").contains("s3cret"));
        assert_eq!(masked("me:s3cret@p"), "xxxxx:xxxxx@p");
        assert_eq!(masked("http://p:1/"), "http://p:1/");
        let bad = ProxySettings { https: Some("socks5://me:s3cret@p".into()), ..Default::default() };
        let text = bad.check().unwrap_err().to_string();
        assert!(text.contains("socks5") && !text.contains("s3cret"), "{text}");
        assert!(ProxySettings { https: Some("http://me:s3cret@".into()), ..Default::default() }.check().is_err());
    }
}
