//! How one record reads as one line. Pure: a record and the names of its slots go in, bytes come out.
//!
//! Owns what the formats have in common, the names of slots, and which format is written by whom.

use super::request::{self, Said};
use super::{template, tunnel};
use config::LogTemplate;
use policy::record::Record;
use policy::{EndpointSlot, PoolSlot};
use std::io::Write;
use std::sync::Arc;
use time::OffsetDateTime;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;

/// How lines are written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Format {
    /// The Common Log Format, then `key=value`. What has no request fills it as far as it can:
    /// `client - - [date] "TCP pool backend" reason bytes_out key=value …`.
    Common,
    /// As `Common`, with `Referer` and `User-Agent` before the keys.
    Combined,
    /// One JSON object a line, units in the names.
    Json,
    Template(LogTemplate),
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

    pub fn pool(&self, slot: PoolSlot) -> &str {
        find(&self.pools, slot.ix())
    }

    pub fn endpoint(&self, slot: Option<EndpointSlot>) -> Option<&str> {
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

/// Appends the line, its end included. With a record comes the text that its words are in.
pub fn append(out: &mut Vec<u8>, format: &Format, (record, text): (&Record, &[u8]), names: &Names) {
    let said = |record| Said { record, text };
    match (format, record) {
        (Format::Common | Format::Combined, Record::Tunnel(record)) => tunnel::append_common(out, record, names),
        (Format::Json, Record::Tunnel(record)) => tunnel::append_json(out, record, names),
        (Format::Common, Record::Request(record)) => request::append_common(out, said(record), names),
        (Format::Combined, Record::Request(record)) => request::append_combined(out, said(record), names),
        (Format::Json, Record::Request(record)) => request::append_json(out, said(record), names),
        (Format::Template(template), record) => template::append(out, template, record, text, names),
    }
    out.push(b'\n');
}

pub const CLF_DATE: StaticFormatDescription =
    format_description!("[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000");
pub const RFC3339: StaticFormatDescription =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// Texts of clients and operators may hold any byte. None may end the quotes or the line.
pub fn append_quoted(out: &mut Vec<u8>, text: &[u8]) {
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', *byte]),
            0..=0x1f | 0x7f..=0xff => write!(out, "\\x{byte:02x}").expect(INTO_MEMORY),
            _ => out.push(*byte),
        }
    }
}

/// As [`append_quoted`]; `-` where there is nothing.
pub fn append_or_dash(out: &mut Vec<u8>, text: &[u8]) {
    append_quoted(out, if text.is_empty() { b"-" } else { text });
}

pub const INTO_MEMORY: &str = "writing to memory cannot fail";

pub fn date(micros: u64, format: StaticFormatDescription) -> String {
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
    use policy::record::{ClientAddr, RequestRecord, TunnelRecord, Version, Word, Words};
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

    pub fn request() -> RequestRecord {
        worded().0
    }

    /// With the text of its words.
    fn worded() -> (RequestRecord, Vec<u8>) {
        let (mut words, mut text) = (Words::default(), Vec::new());
        words.say(&mut text, Word::Method, b"GET");
        words.say(&mut text, Word::Target, b"/a?b=\"c\"");
        words.say(&mut text, Word::Host, b"example.com");
        words.say(&mut text, Word::Rule, b"static");
        words.say(&mut text, Word::Group, b"main");
        words.say(&mut text, Word::RequestId, b"id7");
        words.say(&mut text, Word::UserAgent, b"curl/8\xff");
        let record = RequestRecord {
            pool: PoolSlot(1),
            endpoint: Some(EndpointSlot(3)),
            generation: GenerationId(42),
            client: ClientAddr::Ip("192.0.2.7:50000".parse().unwrap()),
            started_micros: 1_795_255_200_000_123,
            connect_micros: 250,
            first_byte_micros: 900,
            duration_micros: 1_500,
            bytes_in: 170,
            bytes_out: 5120,
            status: 200,
            version: Version::Http11,
            reason: CloseReason::Finished,
            violation: None,
            shard: ShardId(1),
            attempts: 1,
            reused: true,
            logged: true,
            words,
        };
        (record, text)
    }

    fn names() -> Names {
        let mut names = Names::default();
        names.name_pool(PoolSlot(1), Some("db".into()));
        names.name_endpoint(EndpointSlot(3), Some("a".into()));
        names.name_endpoint(EndpointSlot(4), Some("odd \"\n\\".into()));
        names
    }

    fn check(format: Format, record: TunnelRecord, expected: &str) {
        check_record(format, Record::Tunnel(record), expected);
    }

    fn check_request(format: Format, record: RequestRecord, expected: &str) {
        check_record(format, Record::Request(record), expected);
    }

    fn check_record(format: Format, record: Record, expected: &str) {
        let mut out = Vec::new();
        append(&mut out, &format, (&record, &worded().1), &names());
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

    #[test]
    fn requests_in_the_formats_of_the_field() {
        let keys = "reason=finished pool=db rule=\"static\" group=\"main\" backend=\"a\" generation=42 connect_us=250 \
             first_byte_us=900 duration_us=1500 in=170 attempts=1 reused=true request_id=\"id7\" host=\"example.com\" shard=1";
        let clf = r#"192.0.2.7 - - [21/Nov/2026:10:00:00 +0000] "GET /a?b=\"c\" HTTP/1.1" 200 5120"#;
        check_request(Format::Common, request(), &format!("{clf} {keys}"));
        check_request(Format::Combined, request(), &format!(r#"{clf} "-" "curl/8\xff" {keys}"#));
        check_request(
            Format::Common,
            RequestRecord {
                endpoint: None,
                status: 0,
                bytes_out: 0,
                reason: CloseReason::Refused,
                violation: Some("bare-lf"),
                words: Words::default(),
                connect_micros: 0,
                first_byte_micros: 0,
                attempts: 0,
                reused: false,
                ..request()
            },
            "192.0.2.7 - - [21/Nov/2026:10:00:00 +0000] \"-\" 0 0 reason=refused violation=bare-lf pool=db rule=\"-\" \
             group=\"-\" backend=\"-\" generation=42 connect_us=0 first_byte_us=0 duration_us=1500 in=170 attempts=0 \
             reused=false request_id=\"-\" host=\"-\" shard=1",
        );
    }

    #[test]
    fn requests_in_json() {
        check_request(
            Format::Json,
            request(),
            r#"{"time":"2026-11-21T10:00:00.000123Z","pool":"db","generation":42,"rule":"static","group":"main","backend":"a","client":"192.0.2.7:50000","method":"GET","host":"example.com","target":"/a?b=\"c\"","version":"HTTP/1.1","status":200,"reason":"finished","bytes_in":170,"bytes_out":5120,"connect_micros":250,"first_byte_micros":900,"duration_micros":1500,"attempts":1,"reused":true,"request_id":"id7","user_agent":"curl/8�","shard":1}"#,
        );
    }

    #[test]
    fn lines_as_the_operator_writes_them() {
        let format = |text: &str| Format::Template(text.parse().unwrap());
        check_request(
            format("{client_ip} {{{method}}} {uri} {status} {rule} {first_byte_micros} {referer}"),
            request(),
            r#"192.0.2.7 {GET} /a?b=\"c\" 200 static 900 -"#,
        );
        check(format("{method} {status} {backend} {reason}"), record(), "- - a finished");
    }

    /// A backend's id is the operator's text: it must neither end the quotes nor begin a second line.
    #[test]
    fn an_odd_name_stays_within_its_line() {
        for format in [Format::Common, Format::Json] {
            let mut out = Vec::new();
            let record = Record::Tunnel(TunnelRecord { endpoint: Some(EndpointSlot(4)), ..record() });
            append(&mut out, &format, (&record, &worded().1), &names());
            assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
        }
        let mut out = Vec::new();
        append_quoted(&mut out, b"odd \"\n\\");
        assert_eq!(out, br#"odd \"\x0a\\"#);
    }

    #[test]
    fn a_nameless_slot_still_gives_a_line() {
        let mut out = Vec::new();
        let record = Record::Tunnel(TunnelRecord { pool: PoolSlot(900), ..record() });
        append(&mut out, &Format::Common, (&record, b""), &names());
        assert!(String::from_utf8(out).unwrap().contains("\"TCP ? a\""));
    }

    #[test]
    fn a_mad_clock_does_not_panic() {
        let mut out = Vec::new();
        let record = Record::Tunnel(TunnelRecord { started_micros: u64::MAX, ..record() });
        append(&mut out, &Format::Common, (&record, b""), &names());
        assert!(String::from_utf8(out).unwrap().contains("[-]"));
    }
}
