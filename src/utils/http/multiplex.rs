//! multiplex.
