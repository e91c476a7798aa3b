//! What is said of a connection after it has ended: the shard fills it in, control's log thread writes it.
//!
//! A record is plain bytes. It holds no `Arc`: a record that waits in a ring must not pin a generation, and
//! the last drop of anything must not happen on the log thread. Names are looked up by slot where the line
//! is written; a slot is not used again while a record may still name it.

use crate::close::CloseReason;
use crate::ids::{EndpointSlot, GenerationId, PoolSlot, ShardId};
use std::fmt;
use std::net::SocketAddr;

/// One ended front connection of a TCP pool.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TunnelRecord {
    pub pool: PoolSlot,
    /// The backend that served it. `None`: the connection ended before one was reached.
    pub endpoint: Option<EndpointSlot>,
    /// The generation of the pool that all its decisions were taken from.
    pub generation: GenerationId,
    pub client: ClientAddr,
    /// When it was accepted. Unit: microseconds since the Unix epoch.
    pub started_micros: u64,
    /// Accept to the backend's connection being there, waiting and failed attempts included. 0 without a
    /// backend; saturates at 71 minutes.
    pub connect_micros: u32,
    /// Accept to the end.
    pub duration_micros: u64,
    /// Client to backend, as delivered to the backend.
    pub bytes_in: u64,
    /// Backend to client, as delivered to the client.
    pub bytes_out: u64,
    pub reason: CloseReason,
    pub shard: ShardId,
    /// Backends tried, the last included. Saturates.
    pub attempts: u8,
}

/// Where a client came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientAddr {
    Ip(SocketAddr),
    /// Through a Unix socket: the peer has no address.
    Unix,
    /// It was gone before it could be asked.
    Unknown,
}

impl fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientAddr::Ip(address) => address.fmt(f),
            ClientAddr::Unix => f.write_str("unix:"),
            ClientAddr::Unknown => f.write_str("-"),
        }
    }
}

/// A ring of 4,096 records then takes half a megabyte per shard.
const _: () = assert!(size_of::<TunnelRecord>() <= 128);
