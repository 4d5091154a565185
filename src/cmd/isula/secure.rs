//! TLS with a daemon on the network, by flags and environment: the original's, which are docker's with other names.

use super::failure::Failure;
use crate::utils::tls::{self, Files};
use std::ffi::OsString;
use std::path::PathBuf;

/// Below the home directory, unless told otherwise.
const DIRECTORY: &str = ".iSulad";

/// What was asked for.
#[derive(Debug, Default)]
pub struct Secure {
    on: bool,
    verify: bool,
    /// Authority, certificate, key, as typed.
    typed: [Option<String>; 3],
    /// Where those lie that were not.
    directory: PathBuf,
}

impl Secure {
    /// From `--tls` and `--tlsverify`, and `--tlscacert`, `--tlscert`, `--tlskey`.
    ///
    /// # Errors
    /// Exit code 125 in a build without TLS.
    pub fn new(on: [bool; 2], typed: [Option<String>; 3]) -> Result<Secure, Failure> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        if !tls::AVAILABLE {
            let flags = ["--tls", "--tlsverify", "--tlscacert", "--tlscert", "--tlskey"];
            let given = on.into_iter().chain(typed.iter().map(Option::is_some));
            if let Some((flag, _)) = flags.iter().zip(given).find(|(_, given)| *given) {
                return Err(Failure::usage(format!("flag {flag}: {}", tls::UNAVAILABLE)));
            }
        }
        let verify = on[1] || variable("ISULAD_TLS_VERIFY").is_some();
        let on = verify || on[0] || variable("ISULAD_TLS").is_some();
        Ok(Secure { on, verify, typed, directory: directory(variable("ISULAD_CERT_PATH"), variable("HOME")) })
    }

    /// Reads the files; nothing when TLS was not asked for.
    ///
    /// # Errors
    /// Exit code 125 naming what cannot be.
    pub fn load(&self) -> Result<Option<tls::Client>, Failure> {
        match self.files()? {
            Some(files) => tls::Client::load(&files).map(Some).map_err(|e| Failure::usage(e.to_string())),
            None => Ok(None),
        }
    }

    fn files(&self) -> Result<Option<Files>, Failure> {
        let [_, certificate, key] = &self.typed;
        if !self.on {
            // Who names certificates does not expect to be read by everybody on the way.
            return match self.typed.iter().any(Option::is_some) {
                true => Err(Failure::usage("certificates are given, but neither --tls nor --tlsverify")),
                false => Ok(None),
            };
        }
        let usual = Files::usual(&self.directory);
        // One who showed nothing may have nothing to show; half of a pair is a mistake.
        let shown = certificate.is_some() || key.is_some() || usual[1..].iter().any(|path| path.exists());
        let chosen = |n: usize| self.typed[n].as_ref().map_or_else(|| usual[n].clone(), PathBuf::from);
        Ok(Some(Files { authorities: self.verify.then(|| chosen(0)), own: shown.then(|| (chosen(1), chosen(2))) }))
    }
}

fn directory(named: Option<OsString>, home: Option<OsString>) -> PathBuf {
    match named {
        Some(path) => path.into(),
        None => {
            home.map(PathBuf::from).filter(|home| home.is_absolute()).unwrap_or_else(|| "/root".into()).join(DIRECTORY)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn secure(on: bool, verify: bool, typed: [Option<&str>; 3]) -> Secure {
        Secure { on, verify, typed: typed.map(|t| t.map(str::to_owned)), directory: "/nosuch".into() }
    }

    #[test]
    fn files_are_typed_or_the_usual_ones() {
        let none = [None, None, None];
        assert_eq!(secure(false, false, none).files().unwrap(), None);
        assert_eq!(secure(true, false, none).files().unwrap(), Some(Files::default()));
        let verified = secure(true, true, none).files().unwrap().unwrap();
        assert_eq!((verified.authorities, verified.own), (Some("/nosuch/ca.pem".into()), None));
        let half = secure(true, true, [Some("a"), Some("c"), None]).files().unwrap().unwrap();
        assert_eq!((half.authorities, half.own), (Some("a".into()), Some(("c".into(), "/nosuch/key.pem".into()))));
        assert_eq!(secure(false, false, [Some("a"), None, None]).files().unwrap_err().code, 125);
        assert_eq!(secure(true, true, none).load().unwrap_err().code, 125);
    }

    #[test]
    fn the_directory_is_named_or_at_home() {
        assert_eq!(directory(Some("x".into()), None), Path::new("x"));
        assert_eq!(directory(None, Some("/users/a".into())), Path::new("/users/a/.iSulad"));
        assert_eq!(directory(None, Some("rel".into())), Path::new("/root/.iSulad"));
    }
}
