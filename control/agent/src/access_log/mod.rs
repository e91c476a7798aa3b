//! Access log.
pub mod line;
pub mod sink;
