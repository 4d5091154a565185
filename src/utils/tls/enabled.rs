//! Settings and greetings.

use super::common_name::common_name;
use super::relay::{self, Wire};
use super::{Files, Leave, pem};
use crate::error::{Context, Error, Kind, Result};
use crate::utils::sys::net;
use nix::poll::{PollFd, PollFlags};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, Connection, DigitallySignedStruct,
    RootCertStore, ServerConfig, ServerConnection, SignatureScheme,
};
use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

/// A server's settings.
#[derive(Debug, Clone)]
pub struct Server {
    config: Arc<ServerConfig>,
    verifies: bool,
}

/// A client's settings.
#[derive(Debug, Clone)]
pub struct Client(Arc<ClientConfig>);

/// A connection whose sides have greeted each other.
#[derive(Debug)]
pub struct Session {
    pub(super) tls: Connection,
    pub(super) socket: OwnedFd,
}

impl Server {
    /// Reads the files of a server, which needs a certificate. Clients must show one when authorities are named.
    ///
    /// # Errors
    /// As [`pem::certificates`] and [`pem::pair`]; `Kind::Invalid` for authorities that are none.
    pub fn load(files: &Files) -> Result<Server> {
        let provider = Arc::new(ring::default_provider());
        let Some((certificate, key)) = &files.own else {
            return Err(Error::invalid("a server needs a certificate and its key"));
        };
        let own = pem::pair(certificate, key, &provider)?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::internal(format!("TLS: {e}")))?;
        let builder = match &files.authorities {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(roots(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
                    .build()
                    .map_err(|e| Error::invalid(format!("{path:?}: {e}")))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder
            .with_single_cert(own.chain, own.key)
            .map_err(|e| Error::invalid(format!("{certificate:?} with {key:?}: {e}")))?;
        // Who comes back is verified anew, and nothing is remembered of anybody.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Server { config: Arc::new(config), verifies: files.authorities.is_some() })
    }

    /// Whether clients are verified.
    pub fn verifies(&self) -> bool {
        self.verifies
    }

    /// Greets a client, until `deadline`. One who speaks plain HTTP is told so, in HTTP.
    ///
    /// # Errors
    /// What is wrong with the client, for the log: it has been told as far as it can be.
    pub fn accept(&self, socket: OwnedFd, deadline: Instant) -> Result<Session> {
        if speaks_http(&socket, deadline)? {
            let head =
                "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n";
            let text = "Client sent an HTTP request to an HTTPS server.\n"; // as Go's server, which clients know
            let _ = net::send(socket.as_fd(), &[IoSlice::new(head.as_bytes()), IoSlice::new(text.as_bytes())], &[]);
            relay::close_gently(&socket);
            return Err(Error::new(Kind::Remote, "speaks HTTP without TLS"));
        }
        let tls = ServerConnection::new(Arc::clone(&self.config)).map_err(|e| failure(&e))?;
        Session { tls: tls.into(), socket }.greet(deadline)
    }
}

impl Client {
    /// Reads the files of a client. Without authorities any server is taken for the right one.
    ///
    /// # Errors
    /// As [`Server::load`].
    pub fn load(files: &Files) -> Result<Client> {
        let provider = Arc::new(ring::default_provider());
        let own = files.own.as_ref().map(|(certificate, key)| pem::pair(certificate, key, &provider)).transpose()?;
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::internal(format!("TLS: {e}")))?;
        let builder = match &files.authorities {
            Some(path) => builder.with_root_certificates(roots(path)?),
            None => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider))),
        };
        let mut config = match own {
            Some(own) => builder
                .with_client_auth_cert(own.chain, own.key)
                .map_err(|e| Error::invalid(format!("client certificate: {e}")))?,
            None => builder.with_no_client_auth(),
        };
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Client(Arc::new(config)))
    }

    /// Greets a server of this name or address, until `deadline`.
    ///
    /// # Errors
    /// `Kind::Invalid` for a name that cannot be one; `Kind::Remote` with what is wrong with the server.
    pub fn connect(&self, socket: OwnedFd, name: &str, deadline: Instant) -> Result<Session> {
        let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
        let server = ServerName::try_from(bare.to_owned())
            .map_err(|_| Error::invalid(format!("{name:?} is neither a name nor an address")))?;
        let tls = ClientConnection::new(Arc::clone(&self.0), server).map_err(|e| failure(&e))?;
        Session { tls: tls.into(), socket }.greet(deadline)
    }
}

fn roots(path: &std::path::Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in pem::certificates(path)? {
        roots.add(certificate).map_err(|e| Error::invalid(format!("{path:?}: not an authority: {e}")))?;
    }
    Ok(roots)
}

/// Looks at the first byte: a record of TLS begins with 22, a method with a letter.
fn speaks_http(socket: &OwnedFd, deadline: Instant) -> Result<bool> {
    let mut first = [0; 1];
    loop {
        let flags = nix::libc::MSG_PEEK | nix::libc::MSG_DONTWAIT;
        match net::receive_flags(socket.as_fd(), &mut first, &mut Vec::new(), flags) {
            Ok((0, _)) => return Err(Error::new(Kind::Remote, "left without a word")),
            Ok(_) => return Ok(first[0].is_ascii_uppercase()),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(Error::io("receive", e)),
        }
        let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        if !net::wait_for(&mut fds, Some(deadline)).context(|| "poll()".into())? {
            return Err(Error::new(Kind::Timeout, "no greeting came in time"));
        }
    }
}

impl Session {
    fn greet(mut self, deadline: Instant) -> Result<Session> {
        use std::io::ErrorKind::WouldBlock;
        loop {
            let mut wire = Wire(self.socket.as_fd());
            while self.tls.wants_write() {
                match self.tls.write_tls(&mut wire) {
                    Ok(_) => {}
                    Err(e) if e.kind() == WouldBlock => break,
                    Err(e) => return Err(Error::io("TLS greeting", e).with_kind(Kind::Remote)),
                }
            }
            if !self.tls.is_handshaking() && !self.tls.wants_write() {
                return Ok(self);
            }
            let mut wanted = PollFlags::empty();
            wanted.set(PollFlags::POLLOUT, self.tls.wants_write());
            wanted.set(PollFlags::POLLIN, self.tls.is_handshaking());
            if wanted.contains(PollFlags::POLLIN) {
                match self.tls.read_tls(&mut wire) {
                    Ok(0) => {
                        return Err(Error::new(
                            Kind::Remote,
                            "the connection ended during the TLS greeting; is TLS spoken there?",
                        ));
                    }
                    Ok(_) => {
                        if let Err(e) = self.tls.process_new_packets() {
                            let _ = self.tls.write_tls(&mut wire); // the alert; the other side may be gone
                            relay::close_gently(&self.socket);
                            return Err(failure(&e));
                        }
                        continue;
                    }
                    Err(e) if e.kind() == WouldBlock => {}
                    Err(e) => return Err(Error::io("TLS greeting", e).with_kind(Kind::Remote)),
                }
            }
            let mut fds = [PollFd::new(self.socket.as_fd(), wanted)];
            if !net::wait_for(&mut fds, Some(deadline)).context(|| "poll()".into())? {
                return Err(Error::new(Kind::Timeout, "the TLS greeting did not end in time"));
            }
        }
    }

    /// Who the other side is: the common name of its certificate. `None` when it showed none, or one without a name.
    pub fn user(&self) -> Option<String> {
        common_name(self.tls.peer_certificates()?.first()?)
    }

    /// Moves bytes between the connection and `plain`, a stream socket, until either side ends, and ends the other.
    /// Bytes that are on the way when one side has sent its last still arrive; half-closes are passed on.
    ///
    /// # Errors
    /// When the connection breaks, with what the other side had to say.
    pub fn relay(mut self, plain: OwnedFd, leave: Option<&Leave<'_>>) -> Result<()> {
        relay::run(&mut self, &plain, leave)
    }
}

/// What the library's error means to somebody who set up certificates.
pub(super) fn failure(e: &rustls::Error) -> Error {
    let text = match e {
        rustls::Error::InvalidMessage(_) => "it does not speak TLS".into(),
        rustls::Error::NoCertificatesPresented => "it shows no certificate".into(),
        // The latter is what an authority of the same name gives.
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "its certificate is not of the authority that is trusted here".into()
        }
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "its certificate has expired".into()
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => "it wants a certificate".into(),
        rustls::Error::AlertReceived(AlertDescription::UnknownCA | AlertDescription::DecryptError) => {
            "it does not trust the authority of the certificate shown to it".into()
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateExpired) => {
            "it says that the certificate shown to it has expired".into()
        }
        rustls::Error::AlertReceived(AlertDescription::BadCertificate | AlertDescription::CertificateUnknown) => {
            "it does not accept the certificate shown to it".into()
        }
        e => e.to_string(),
    };
    Error::new(Kind::Remote, format!("TLS: {text}"))
}

/// Takes every server for the right one; that the server has the key of the certificate it shows is still verified.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
