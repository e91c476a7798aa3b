//! The control side of the process.
#![forbid(unsafe_code)]

pub mod access_log;
mod clock;
mod events;
mod exposition;
mod history;
pub mod names;
mod probe;
pub mod resolve;
mod slate;
mod tell;
