//! Work for a caller that ends when the caller leaves.

use super::Caller;
use super::container::wait::until;
use crate::error::Result;
use crate::modules::image::registry::Cancel;
use crate::utils::sys::eventfd::EventFd;

/// Stack of the thread that watches a client.
const STACK: usize = 64 << 10;

/// Does `work`, whose flag is set when the caller leaves: a registry may be silent for minutes. A caller that cannot be
/// watched is served to the end.
pub(super) fn attended<T>(caller: &dyn Caller, work: impl FnOnce(&Cancel) -> Result<T>) -> Result<T> {
    let (cancel, done) = (Cancel::new(), EventFd::new()?);
    std::thread::scope(|scope| {
        let watch = || match until(&done, caller) {
            Ok(true) => {}
            Ok(false) => cancel.cancel(),
            Err(e) => log::warn!("cannot watch a client: {e}"),
        };
        let thread = std::thread::Builder::new().name("pull-watch".into()).stack_size(STACK);
        if let Err(e) = thread.spawn_scoped(scope, watch) {
            log::warn!("cannot watch a client: {e}");
        }
        let made = work(&cancel);
        done.signal();
        made
    })
}
