//! Volumes.

use super::route::VolumeCall;
use crate::entry::exchange::{Exchange, Outcome};
use crate::executor::{Daemon, volume};

/// The version of the API since which `prune` leaves volumes that have names, unless told otherwise.
const PRUNE_IS_NARROW: (u32, u32) = (1, 42);

/// `/volumes/…`
pub fn perform(daemon: &Daemon, call: VolumeCall, mut exchange: Exchange) -> Outcome {
    match call {
        VolumeCall::List(filters) => match volume::list(daemon, &filters) {
            Ok(list) => exchange.json(200, &list),
            Err(e) => exchange.fail(e),
        },
        VolumeCall::Create => {
            let request = match exchange.document() {
                Ok(request) => request,
                Err(failure) => return exchange.fail(failure),
            };
            match volume::create(daemon, request) {
                Ok(volume) => exchange.json(201, &volume),
                Err(e) => exchange.fail(e),
            }
        }
        VolumeCall::Inspect(name) => match volume::inspect(daemon, &name) {
            Ok(volume) => exchange.json(200, &volume),
            Err(e) => exchange.fail(e),
        },
        VolumeCall::Remove { name, force } => match volume::remove(daemon, &name, force) {
            Ok(()) => exchange.empty(204),
            Err(e) => exchange.fail(e),
        },
        VolumeCall::Prune(filters) => {
            let named = exchange.version < PRUNE_IS_NARROW;
            match volume::prune(daemon, &filters, named) {
                Ok(answer) => exchange.json(200, &answer),
                Err(e) => exchange.fail(e),
            }
        }
    }
}
