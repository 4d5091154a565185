//! What a registry answered: small documents, and errors with its own words.

use super::retry::{Failure, Remedy, retry_after};
use super::transport::failure;
use crate::error::{Error, Kind};
use crate::utils::json::Object;
use std::io::Read;
use ureq::Body;
use ureq::http::Response;

/// Of an answer that is an error.
const ERROR_LIMIT: u64 = 64 << 10;
/// Errors and characters of each that are shown.
const SHOWN: usize = 3;
const SHOWN_LENGTH: usize = 300;

/// A header's value as text.
pub(super) fn header<'a>(answer: &'a Response<Body>, name: &str) -> Option<&'a str> {
    answer.headers().get(name).and_then(|v| v.to_str().ok())
}

/// Reads a body to its end.
///
/// # Errors
/// `Kind::Corrupt` beyond `limit` bytes.
pub(super) fn document(answer: Response<Body>, limit: u64) -> Result<Vec<u8>, Failure> {
    let too_large = || Failure::from(Error::corrupt(format!("the answer is larger than {limit} bytes")));
    let announced = answer.body().content_length().unwrap_or(0);
    if announced > limit {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(announced).unwrap_or(0));
    let mut reader = answer.into_body().into_reader().take(limit + 1);
    // A body that breaks off is worth another attempt.
    reader.read_to_end(&mut bytes).map_err(|e| failure(e.into()))?;
    if bytes.len() as u64 > limit { Err(too_large()) } else { Ok(bytes) }
}

/// OCI distribution specification, "Error Codes".
#[derive(Object, Default)]
#[serde(default)]
struct Errors {
    errors: Vec<RegistryError>,
    /// Token servers and proxies say it in one of these.
    message: String,
    details: String,
    error: String,
    error_description: String,
}

#[derive(Object, Default)]
#[serde(default)]
struct RegistryError {
    code: String,
    message: String,
}

/// The failure that an answer with such a status is.
pub(super) fn refused(answer: Response<Body>) -> Failure {
    let status = answer.status().as_u16();
    let asked = retry_after(header(&answer, "retry-after"));
    let (kind, meaning, remedy) = match status {
        401 => (Kind::Denied, "unauthorized", Remedy::None),
        403 => (Kind::Denied, "forbidden", Remedy::None),
        404 => (Kind::NotFound, "not found", Remedy::None),
        407 => (Kind::Remote, "the proxy wants to know who asks", Remedy::None),
        408 => (Kind::Timeout, "timed out", Remedy::Later(asked)),
        429 => (Kind::Busy, "too many requests", Remedy::Later(asked)),
        500 | 502 | 503 | 504 => (Kind::Remote, "the registry failed", Remedy::Later(asked)),
        _ => (Kind::Remote, "unexpected answer", Remedy::None),
    };
    let words = words(answer);
    let separator = if words.is_empty() { "" } else { ": " };
    Failure::new(Error::new(kind, format!("{meaning} (status {status}){separator}{words}")), remedy)
}

/// The registry's own words, as far as they can be shown.
fn words(answer: Response<Body>) -> String {
    let mut bytes = Vec::new();
    // Half an explanation is none, but the status is still there.
    let _ = answer.into_body().into_reader().take(ERROR_LIMIT).read_to_end(&mut bytes);
    let Ok(errors) = crate::utils::json::parse::<Errors>(&bytes) else { return String::new() };
    let mut list: Vec<String> = Vec::new();
    for error in errors.errors {
        list.push(joined(&error.code, &error.message));
    }
    let described = if errors.error_description.is_empty() { errors.details } else { errors.error_description };
    list.push(joined(&errors.error, &errors.message));
    list.push(described);
    list.retain(|words| !words.is_empty());
    list.truncate(SHOWN);
    list.iter().map(|words| shown(words)).collect::<Vec<_>>().join("; ")
}

fn joined(a: &str, b: &str) -> String {
    [a, b].into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>().join(": ")
}

/// Text of a stranger: short, and without what moves a terminal's cursor.
pub(super) fn shown(text: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(printable).take(SHOWN_LENGTH).collect::<String>().trim().to_owned()
}
