//! How one record reads as one line. Pure: a record and the names of its slots go in, bytes come out.

use policy::record::{ClientAddr, TunnelRecord};
use policy::{EndpointSlot, PoolSlot};
use serde::Serialize;
use std::io::Write;
use std::sync::Arc;
use time::OffsetDateTime;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;

/// How lines are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// The Common Log Format as far as a connection without requests can fill it, then `key=value`:
    /// `client - - [date] "TCP pool backend" reason bytes_out key=value …`.
    Common,
    /// One JSON object a line, units in the names.
    Json,
}

/// What the slots are called. Kept by the log thread from messages of control.
#[derive(Debug, Default)]
pub struct Names {
    pools: Vec<Option<Arc<str>>>,
    endpoints: Vec<Option<Arc<str>>>,
}

impl Names {
    pub fn name_pool(&mut self, slot: PoolSlot, name: Option<Arc<str>>) {
        set(&mut self.pools, slot.ix(), name);
    }

    pub fn name_endpoint(&mut self, slot: EndpointSlot, name: Option<Arc<str>>) {
        set(&mut self.endpoints, slot.ix(), name);
    }

    fn pool(&self, slot: PoolSlot) -> &str {
        find(&self.pools, slot.ix())
    }

    fn endpoint(&self, slot: Option<EndpointSlot>) -> Option<&str> {
        slot.map(|slot| find(&self.endpoints, slot.ix()))
    }
}

fn set(names: &mut Vec<Option<Arc<str>>>, ix: usize, name: Option<Arc<str>>) {
    if names.len() <= ix {
        names.resize(ix + 1, None);
    }
    names[ix] = name;
}

/// A record whose slot has no name says `?`: a line without a name is better than no line.
fn find(names: &[Option<Arc<str>>], ix: usize) -> &str {
    names.get(ix).and_then(|name| name.as_deref()).unwrap_or("?")
}

/// Appends the line, its end included.
pub fn append(out: &mut Vec<u8>, format: Format, record: &TunnelRecord, names: &Names) {
    match format {
        Format::Common => append_common(out, record, names),
        Format::Json => append_json(out, record, names),
    }
    out.push(b'\n');
}

const CLF_DATE: StaticFormatDescription =
    format_description!("[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000");
const JSON_DATE: StaticFormatDescription =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

fn append_common(out: &mut Vec<u8>, record: &TunnelRecord, names: &Names) {
    match record.client {
        ClientAddr::Ip(address) => write!(out, "{}", address.ip()),
        ClientAddr::Unix | ClientAddr::Unknown => write!(out, "{}", record.client),
    }
    .expect(INTO_MEMORY);
    write!(out, " - - [{}] \"TCP ", date(record.started_micros, CLF_DATE)).expect(INTO_MEMORY);
    append_quoted(out, names.pool(record.pool));
    out.push(b' ');
    append_quoted(out, names.endpoint(record.endpoint).unwrap_or("-"));
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

/// Backend ids may hold any character. None may end the quotes or the line.
fn append_quoted(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            0..=0x1f | 0x7f => write!(out, "\\x{byte:02x}").expect(INTO_MEMORY),
            _ => out.push(byte),
        }
    }
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

fn append_json(out: &mut Vec<u8>, record: &TunnelRecord, names: &Names) {
    let line = JsonLine {
        time: date(record.started_micros, JSON_DATE),
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

const INTO_MEMORY: &str = "writing to memory cannot fail";

fn date(micros: u64, format: StaticFormatDescription) -> String {
    // A shard's clock that is beyond the year 9999 says nothing that is worth a panic.
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000)
        .ok()
        .and_then(|date| date.format(format).ok())
        .unwrap_or_else(|| "-".into())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use policy::close::CloseReason;
    use policy::{GenerationId, ShardId};

    pub fn record() -> TunnelRecord {
        TunnelRecord {
            pool: PoolSlot(1),
            endpoint: Some(EndpointSlot(3)),
            generation: GenerationId(42),
            client: ClientAddr::Ip("192.0.2.7:50000".parse().unwrap()),
            // 2026-11-21 10:00:00.000123 UTC
            started_micros: 1_795_255_200_000_123,
            connect_micros: 250,
            duration_micros: 1_500_000,
            bytes_in: 17,
            bytes_out: 5120,
            reason: CloseReason::Finished,
            shard: ShardId(1),
            attempts: 1,
        }
    }

    fn names() -> Names {
        let mut names = Names::default();
        names.name_pool(PoolSlot(1), Some("db".into()));
        names.name_endpoint(EndpointSlot(3), Some("a".into()));
        names.name_endpoint(EndpointSlot(4), Some("odd \"\n\\".into()));
        names
    }

    fn check(format: Format, record: TunnelRecord, expected: &str) {
        let mut out = Vec::new();
        append(&mut out, format, &record, &names());
        assert_eq!(String::from_utf8(out).unwrap(), format!("{expected}\n"));
    }

    #[test]
    fn common() {
        check(
            Format::Common,
            record(),
            "192.0.2.7 - - [21/Nov/2026:10:00:00 +0000] \"TCP db a\" finished 5120 in=17 port=50000 \
             connect_us=250 duration_us=1500000 generation=42 shard=1 attempts=1",
        );
        check(
            Format::Common,
            TunnelRecord {
                endpoint: None,
                client: ClientAddr::Unix,
                reason: CloseReason::NoBackend,
                attempts: 0,
                connect_micros: 0,
                bytes_in: 0,
                bytes_out: 0,
                ..record()
            },
            "unix: - - [21/Nov/2026:10:00:00 +0000] \"TCP db -\" no-backend 0 in=0 port=0 \
             connect_us=0 duration_us=1500000 generation=42 shard=1 attempts=0",
        );
    }

    #[test]
    fn json() {
        check(
            Format::Json,
            record(),
            r#"{"time":"2026-11-21T10:00:00.000123Z","pool":"db","generation":42,"backend":"a","client":"192.0.2.7:50000","reason":"finished","bytes_in":17,"bytes_out":5120,"connect_micros":250,"duration_micros":1500000,"attempts":1,"shard":1}"#,
        );
    }

    /// A backend's id is the operator's text: it must neither end the quotes nor begin a second line.
    #[test]
    fn an_odd_name_stays_within_its_line() {
        for format in [Format::Common, Format::Json] {
            let mut out = Vec::new();
            append(&mut out, format, &TunnelRecord { endpoint: Some(EndpointSlot(4)), ..record() }, &names());
            assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
        }
        let mut out = Vec::new();
        append_quoted(&mut out, "odd \"\n\\");
        assert_eq!(out, br#"odd \"\x0a\\"#);
    }

    #[test]
    fn a_nameless_slot_still_gives_a_line() {
        let mut out = Vec::new();
        append(&mut out, Format::Common, &TunnelRecord { pool: PoolSlot(900), ..record() }, &names());
        assert!(String::from_utf8(out).unwrap().contains("\"TCP ? a\""));
    }

    #[test]
    fn a_mad_clock_does_not_panic() {
        let mut out = Vec::new();
        append(&mut out, Format::Common, &TunnelRecord { started_micros: u64::MAX, ..record() }, &names());
        assert!(String::from_utf8(out).unwrap().contains("[-]"));
    }
}
