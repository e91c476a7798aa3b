//! What the end-to-end tests are made of: the real binaries, real clients, and backends that behave badly.
//!
//! The harness judges from outside. It shares no parser and no type with the data plane, speaks to the
//! appliance as any client, backend or operator could, and names each end of a connection that is not
//! the promised one ([`outcome::Failure`]). What it believes must be possible to be wrong: its own tests
//! show each failure being seen.
//!
//! - [`wait`], [`pattern`], [`outcome`]: deadlines, bytes that can be checked anywhere, names for what was seen
//! - [`net`], [`client`], [`fleet`], [`churn`]: one connection, one exchange, many long ones, many short ones
//! - [`backend`]: every vice a backend can have, each with a name
//! - [`http`]: the same for HTTP/1.1 and WebSockets
//! - [`binaries`], [`process`], [`appliance`]: building, starting, asking and ending the appliance
//! - [`netns`], [`kernel`]: a network of one's own, and what the kernel counted in it
//!
//! Nothing here waits for time to pass: it waits for an event, and a deadline makes its absence a failure.

#![forbid(unsafe_code)]

pub mod appliance;
pub mod backend;
pub mod binaries;
pub mod churn;
pub mod client;
pub mod fleet;
pub mod http;
pub mod kernel;
pub mod net;
pub mod netns;
pub mod outcome;
pub mod pattern;
pub mod process;
pub mod wait;

/// Leaves a test out because the machine lacks something. `CI=true` promises a machine that lacks nothing,
/// so there it is a failure.
pub fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "cannot be skipped in CI: {reason}");
    println!("SKIPPED: {reason}");
}
