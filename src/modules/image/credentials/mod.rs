//! Who one is at a registry: credentials, where they are kept, and the other forms in which they come.

mod docker;
mod seal;
mod store;

pub use docker::{parse_config, parse_header};
pub use store::Store;

use std::fmt;

/// Docker's name for its own registry in every file of credentials.
const DOCKER_KEY: &str = "https://index.docker.io/v1/";
/// The host by which references name it.
const DOCKER_HOST: &str = "docker.io";

/// A user and what proves it. `Debug` hides the proof.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Empty when the proof says it.
    pub user: String,
    /// The proof.
    pub secret: Secret,
}

/// What proves who one is.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// A password, or an access token that is used as one.
    Password(String),
    /// An OAuth 2 refresh token; the registry's token server takes it instead of a password.
    IdentityToken(String),
    /// A bearer token for the registry itself, sent as it is.
    RegistryToken(String),
}

impl Credentials {
    /// A user and a password.
    pub fn password(user: impl Into<String>, password: impl Into<String>) -> Credentials {
        Credentials { user: user.into(), secret: Secret::Password(password.into()) }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.secret {
            Secret::Password(_) => "password",
            Secret::IdentityToken(_) => "identity token",
            Secret::RegistryToken(_) => "registry token",
        };
        write!(f, "Credentials({:?}, {kind})", self.user)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The host by which credentials are kept and found: without scheme and path, lower case, docker's registry under its
/// one name `docker.io`. The port stays.
pub fn normalise(server: &str) -> String {
    let server = server.trim();
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default().to_ascii_lowercase();
    match host.as_str() {
        "" | "index.docker.io" | "registry-1.docker.io" | "registry.docker.io" => DOCKER_HOST.to_owned(),
        _ => host,
    }
}

#[cfg(test)]
mod tests;
