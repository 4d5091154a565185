//! The daemon itself.

use crate::entry::exchange::{Exchange, Outcome};
use crate::executor::{self, Daemon};

/// `GET /version`
pub fn version(daemon: &Daemon, exchange: Exchange) -> Outcome {
    exchange.json(200, &executor::system::version(daemon))
}

/// `GET /info`
pub fn info(daemon: &Daemon, exchange: Exchange) -> Outcome {
    exchange.json(200, &executor::system::info(daemon))
}
