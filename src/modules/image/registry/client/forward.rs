//! Requests to a proxy in absolute form (RFC 9112, 3.2.2): how proxies are asked for `http` addresses, as many of them
//! open tunnels to port 443 only. The library knows tunnels alone, so it is given a connection to the proxy for one to
//! the registry, on which the first line of each request is completed.

use crate::error::{Error, Result};
use std::fmt;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, DefaultConnector, NextTimeout, Transport};
use ureq::{Proxy, ProxyProtocol};

/// Beginnings of the requests that are made. Forms, which follow one of them, begin otherwise.
const REQUESTS: [&[u8]; 2] = [b"GET /", b"POST /"];

/// The proxy: scheme, host and port.
#[derive(Debug, Clone)]
pub(super) struct Forward(Uri);

impl Forward {
    pub(super) fn new(proxy: &Proxy) -> Result<Forward> {
        let scheme = if proxy.protocol() == ProxyProtocol::Https { "https" } else { "http" };
        let address = format!("{scheme}://{}:{}/", proxy.host(), proxy.port());
        address.parse().map(Forward).map_err(|_| Error::internal("a proxy without an address"))
    }
}

impl Resolver for Forward {
    /// The registry's name is the proxy's affair.
    fn resolve(
        &self,
        _: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> std::result::Result<ResolvedSocketAddrs, ureq::Error> {
        DefaultResolver::default().resolve(&self.0, config, timeout)
    }
}

impl Connector<()> for Forward {
    type Out = AbsoluteForm;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<()>,
    ) -> std::result::Result<Option<AbsoluteForm>, ureq::Error> {
        let proxy = ConnectionDetails {
            uri: &self.0,
            addrs: details.addrs.clone(),
            config: details.config,
            request_level: details.request_level,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: details.current_time.clone(),
            run_connector: details.run_connector.clone(),
            register_shutdown: details.register_shutdown.clone(),
        };
        let origin = details.uri.authority().map_or_else(String::new, |authority| format!("http://{authority}"));
        let connected = DefaultConnector::default().connect(&proxy, chained)?;
        Ok(connected.map(|inner| AbsoluteForm { inner, origin: origin.into_bytes() }))
    }
}

/// A connection to a proxy, for one origin.
pub(super) struct AbsoluteForm {
    inner: Box<dyn Transport>,
    /// `http://HOST[:PORT]`.
    origin: Vec<u8>,
}

impl Transport for AbsoluteForm {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, mut amount: usize, timeout: NextTimeout) -> std::result::Result<(), ureq::Error> {
        let output = self.inner.buffers().output();
        if let Some(at) = target(&output[..amount]) {
            let room = self.origin.len();
            if amount + room > output.len() {
                return Err(ureq::Error::Io(std::io::Error::other("a request too long for a proxy")));
            }
            output.copy_within(at..amount, at + room);
            output[at..at + room].copy_from_slice(&self.origin);
            amount += room;
        }
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> std::result::Result<bool, ureq::Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }
}

impl fmt::Debug for AbsoluteForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AbsoluteForm")
    }
}

/// Where the target of a request begins.
fn target(head: &[u8]) -> Option<usize> {
    REQUESTS.iter().find(|start| head.starts_with(start)).map(|start| start.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        for (head, at) in [
            (&b"GET /v2/ HTTP/1.1\r\n"[..], Some(4)),
            (b"POST /token HTTP/1.1\r\n", Some(5)),
            (b"grant_type=refresh_token", None),
            (b"", None),
        ] {
            assert_eq!(target(head), at);
        }
    }
}
