//! Lines of tunnels.

use super::line::{CLF_DATE, INTO_MEMORY, Names, RFC3339, append_quoted, date};
use policy::record::{ClientAddr, TunnelRecord};
use serde::Serialize;
use std::io::Write;

pub fn append_common(out: &mut Vec<u8>, record: &TunnelRecord, names: &Names) {
    match record.client {
        ClientAddr::Ip(address) => write!(out, "{}", address.ip()),
        ClientAddr::Unix | ClientAddr::Unknown => write!(out, "{}", record.client),
    }
    .expect(INTO_MEMORY);
    write!(out, " - - [{}] \"TCP ", date(record.started_micros, CLF_DATE)).expect(INTO_MEMORY);
    append_quoted(out, names.pool(record.pool).as_bytes());
    out.push(b' ');
    append_quoted(out, names.endpoint(record.endpoint).unwrap_or("-").as_bytes());
    let port = match record.client {
        ClientAddr::Ip(address) => address.port(),
        ClientAddr::Unix | ClientAddr::Unknown => 0,
    };
    write!(
        out,
        "\" {} {} in={} port={} connect_us={} duration_us={} generation={} shard={} attempts={}",
        record.reason.label(),
        record.bytes_out,
        record.bytes_in,
        port,
        record.connect_micros,
        record.duration_micros,
        record.generation,
        record.shard,
        record.attempts,
    )
    .expect(INTO_MEMORY);
}

#[derive(Serialize)]
struct JsonLine<'a> {
    time: String,
    pool: &'a str,
    generation: u64,
    backend: Option<&'a str>,
    client: String,
    reason: &'static str,
    bytes_in: u64,
    bytes_out: u64,
    connect_micros: u32,
    duration_micros: u64,
    attempts: u8,
    shard: u16,
}

pub fn append_json(out: &mut Vec<u8>, record: &TunnelRecord, names: &Names) {
    let line = JsonLine {
        time: date(record.started_micros, RFC3339),
        pool: names.pool(record.pool),
        generation: record.generation.0,
        backend: names.endpoint(record.endpoint),
        client: record.client.to_string(),
        reason: record.reason.label(),
        bytes_in: record.bytes_in,
        bytes_out: record.bytes_out,
        connect_micros: record.connect_micros,
        duration_micros: record.duration_micros,
        attempts: record.attempts,
        shard: record.shard.0,
    };
    serde_json::to_writer(out, &line).expect(INTO_MEMORY);
}
