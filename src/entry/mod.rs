//! The interface: bytes become calls of the executor, results become bytes. Decides nothing.
