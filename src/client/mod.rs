//! Ways to the daemon: one `Client`, one method per endpoint.
