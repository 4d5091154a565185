//! What went wrong, as an HTTP status code: the one table. Docker's clients branch on these.

use crate::error::Kind;

/// The status of a response to a request that failed with this kind.
pub fn status_of(kind: Kind) -> u16 {
    match kind {
        Kind::Invalid | Kind::CommandNotFound | Kind::CommandNotExecutable => 400,
        Kind::Denied => 403,
        Kind::NotFound => 404,
        Kind::Exists | Kind::Conflict => 409,
        Kind::Unsupported => 501,
        Kind::Busy => 503,
        Kind::Timeout | Kind::Corrupt | Kind::Remote | Kind::Os(_) | Kind::Internal => 500,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        for (kind, status) in [
            (Kind::NotFound, 404),
            (Kind::Exists, 409),
            (Kind::Conflict, 409),
            (Kind::Invalid, 400),
            (Kind::Unsupported, 501),
            (Kind::Denied, 403),
            (Kind::Busy, 503),
            (Kind::Timeout, 500),
            (Kind::Corrupt, 500),
            (Kind::Remote, 500),
            (Kind::CommandNotFound, 400),
            (Kind::CommandNotExecutable, 400),
            (Kind::Os(5), 500),
            (Kind::Internal, 500),
        ] {
            assert_eq!(status_of(kind), status, "{kind:?}");
        }
    }
}
