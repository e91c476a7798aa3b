//! Lines as the operator writes them.

use super::line::{CLF_DATE, INTO_MEMORY, Names, RFC3339, append_or_dash, append_quoted, date};
use super::request::Said;
use config::{LogField, LogPiece, LogTemplate};
use policy::record::{ClientAddr, Record, TunnelRecord, Word};
use std::io::Write;

/// What a record does not know is `-`; no text of a client ends the line or a quotation.
pub fn append(out: &mut Vec<u8>, template: &LogTemplate, record: &Record, text: &[u8], names: &Names) {
    for piece in template.pieces() {
        match (piece, record) {
            (LogPiece::Text(literal), _) => out.extend_from_slice(literal.as_bytes()),
            (LogPiece::Field(field), Record::Request(record)) => {
                append_of_request(out, *field, Said { record, text }, names);
            }
            (LogPiece::Field(field), Record::Tunnel(record)) => append_of_tunnel(out, *field, record, names),
        }
    }
}

fn append_of_request(out: &mut Vec<u8>, field: LogField, said: Said<'_>, names: &Names) {
    let record = said.record;
    let word = |word| said.word(word);
    let text: &[u8] = match field {
        LogField::Method => word(Word::Method),
        LogField::Uri => word(Word::Target),
        LogField::Host => word(Word::Host),
        LogField::Rule => word(Word::Rule),
        LogField::Group => word(Word::Group),
        LogField::RequestId => word(Word::RequestId),
        LogField::Referer => word(Word::Referer),
        LogField::UserAgent => word(Word::UserAgent),
        LogField::Version => record.version.text().as_bytes(),
        LogField::Violation => record.violation.map_or(b"", str::as_bytes),
        LogField::Status => return number(out, record.status),
        LogField::FirstByteMicros => return number(out, record.first_byte_micros),
        LogField::Reused => return number(out, record.reused),
        LogField::Time => return number(out, date(record.started_micros, RFC3339)),
        LogField::ClfTime => return number(out, date(record.started_micros, CLF_DATE)),
        LogField::Client => return number(out, record.client),
        LogField::ClientIp => return client_ip(out, record.client),
        LogField::BytesIn => return number(out, record.bytes_in),
        LogField::BytesOut => return number(out, record.bytes_out),
        LogField::Reason => record.reason.label().as_bytes(),
        LogField::Pool => names.pool(record.pool).as_bytes(),
        LogField::Generation => return number(out, record.generation),
        LogField::Backend => names.endpoint(record.endpoint).unwrap_or_default().as_bytes(),
        LogField::ConnectMicros => return number(out, record.connect_micros),
        LogField::DurationMicros => return number(out, record.duration_micros),
        LogField::Attempts => return number(out, record.attempts),
        LogField::Shard => return number(out, record.shard),
    };
    append_or_dash(out, text);
}

fn append_of_tunnel(out: &mut Vec<u8>, field: LogField, record: &TunnelRecord, names: &Names) {
    match field {
        LogField::Time => number(out, date(record.started_micros, RFC3339)),
        LogField::ClfTime => number(out, date(record.started_micros, CLF_DATE)),
        LogField::Client => number(out, record.client),
        LogField::ClientIp => client_ip(out, record.client),
        LogField::BytesIn => number(out, record.bytes_in),
        LogField::BytesOut => number(out, record.bytes_out),
        LogField::Reason => append_quoted(out, record.reason.label().as_bytes()),
        LogField::Pool => append_quoted(out, names.pool(record.pool).as_bytes()),
        LogField::Generation => number(out, record.generation),
        LogField::Backend => append_or_dash(out, names.endpoint(record.endpoint).unwrap_or_default().as_bytes()),
        LogField::ConnectMicros => number(out, record.connect_micros),
        LogField::DurationMicros => number(out, record.duration_micros),
        LogField::Attempts => number(out, record.attempts),
        LogField::Shard => number(out, record.shard),
        LogField::Method
        | LogField::Uri
        | LogField::Host
        | LogField::Version
        | LogField::Status
        | LogField::Violation
        | LogField::Rule
        | LogField::Group
        | LogField::FirstByteMicros
        | LogField::Reused
        | LogField::RequestId
        | LogField::Referer
        | LogField::UserAgent => out.push(b'-'),
    }
}

fn client_ip(out: &mut Vec<u8>, client: ClientAddr) {
    match client {
        ClientAddr::Ip(address) => number(out, address.ip()),
        ClientAddr::Unix | ClientAddr::Unknown => number(out, client),
    }
}

/// What cannot hold a client's text.
fn number(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    write!(out, "{value}").expect(INTO_MEMORY);
}
