//! Containers: state, store, restore.
