//! The control side of the process.
#![forbid(unsafe_code)]

pub mod access_log;
pub mod names;
pub mod resolve;
