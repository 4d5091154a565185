//! Listening to events.

use super::connection::{Ask, Payload};
use super::{Client, Filters, target};
use crate::api::event::Message;
use crate::error::{Error, Kind, Result};
use crate::utils::http::h1::Method;
use crate::utils::json;

/// Longest event, in bytes.
const MAX_EVENT: usize = 1 << 20;

impl Client {
    /// Hands each event to `tell` until the daemon ends the stream, which it does when `until` is given and past. Times
    /// as [`crate::utils::time::Timestamp::parse_filter`] takes them; empty is none.
    ///
    /// # Errors
    /// `Kind::Invalid` for a time or filter; what `tell` gives.
    pub fn events(
        &self,
        since: &str,
        until: &str,
        filters: &Filters,
        mut tell: impl FnMut(Message) -> Result<()>,
    ) -> Result<()> {
        let given = |text: &'_ str| Some(text.to_owned()).filter(|t| !t.is_empty());
        let target = target("/events")
            .optional("since", given(since).as_deref())
            .optional("until", given(until).as_deref())
            .filters(filters);
        let mut response = self.send_asking(Method::Get, &target, Payload::None, Ask::Response)?;
        let mut pending = Vec::new();
        response.read_stream(|piece| {
            let Some(piece) = piece else { return Ok(()) };
            pending.extend_from_slice(piece);
            let Some(end) = pending.iter().rposition(|b| *b == b'\n').map(|at| at + 1) else {
                return match pending.len() <= MAX_EVENT {
                    true => Ok(()),
                    false => Err(Error::corrupt("an event that does not end")),
                };
            };
            for line in pending[..end].split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
                tell(json::parse(line).map_err(|e| e.with_kind(Kind::Corrupt))?)?;
            }
            pending.drain(..end);
            Ok(())
        })
    }
}
