//! Lines of requests.

use super::line::{CLF_DATE, INTO_MEMORY, Names, RFC3339, append_or_dash, date};
use policy::record::{ClientAddr, RequestRecord, Word};
use serde::Serialize;
use std::borrow::Cow;
use std::io::Write;

pub fn append_common(out: &mut Vec<u8>, record: &RequestRecord, names: &Names) {
    append_clf(out, record);
    append_keys(out, record, names);
}

pub fn append_combined(out: &mut Vec<u8>, record: &RequestRecord, names: &Names) {
    append_clf(out, record);
    for word in [Word::Referer, Word::UserAgent] {
        out.extend_from_slice(b" \"");
        append_or_dash(out, record.texts.word(word));
        out.push(b'"');
    }
    append_keys(out, record, names);
}

fn append_clf(out: &mut Vec<u8>, record: &RequestRecord) {
    match record.client {
        ClientAddr::Ip(address) => write!(out, "{}", address.ip()),
        ClientAddr::Unix | ClientAddr::Unknown => write!(out, "{}", record.client),
    }
    .expect(INTO_MEMORY);
    write!(out, " - - [{}] \"", date(record.started_micros, CLF_DATE)).expect(INTO_MEMORY);
    let method = record.texts.word(Word::Method);
    append_or_dash(out, method);
    if !method.is_empty() {
        out.push(b' ');
        append_or_dash(out, record.texts.word(Word::Target));
        write!(out, " {}", record.version.text()).expect(INTO_MEMORY);
    }
    write!(out, "\" {} {}", record.status, record.bytes_out).expect(INTO_MEMORY);
}

fn append_keys(out: &mut Vec<u8>, record: &RequestRecord, names: &Names) {
    write!(out, " reason={}", record.reason.label()).expect(INTO_MEMORY);
    if let Some(violation) = record.violation {
        write!(out, " violation={}", violation.label()).expect(INTO_MEMORY);
    }
    write!(out, " pool={}", names.pool(record.pool)).expect(INTO_MEMORY);
    let backend = names.endpoint(record.endpoint).unwrap_or_default().as_bytes();
    let quoted = |out: &mut Vec<u8>, key: &str, text: &[u8]| {
        write!(out, " {key}=\"").expect(INTO_MEMORY);
        append_or_dash(out, text);
        out.push(b'"');
    };
    quoted(out, "rule", record.texts.word(Word::Rule));
    quoted(out, "group", record.texts.word(Word::Group));
    quoted(out, "backend", backend);
    write!(
        out,
        " generation={} connect_us={} first_byte_us={} duration_us={} in={} attempts={} reused={}",
        record.generation,
        record.connect_micros,
        record.first_byte_micros,
        record.duration_micros,
        record.bytes_in,
        record.attempts,
        record.reused,
    )
    .expect(INTO_MEMORY);
    quoted(out, "request_id", record.texts.word(Word::RequestId));
    quoted(out, "host", record.texts.word(Word::Host));
    write!(out, " shard={}", record.shard).expect(INTO_MEMORY);
}

#[derive(Serialize)]
struct JsonLine<'a> {
    time: String,
    pool: &'a str,
    generation: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    rule: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    group: Cow<'a, str>,
    backend: Option<&'a str>,
    client: String,
    method: Cow<'a, str>,
    host: Cow<'a, str>,
    target: Cow<'a, str>,
    version: &'static str,
    status: u16,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    violation: Option<&'static str>,
    bytes_in: u64,
    bytes_out: u64,
    connect_micros: u32,
    first_byte_micros: u32,
    duration_micros: u64,
    attempts: u8,
    reused: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    request_id: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    referer: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    user_agent: Cow<'a, str>,
    shard: u16,
}

pub fn append_json(out: &mut Vec<u8>, record: &RequestRecord, names: &Names) {
    let word = |word| String::from_utf8_lossy(record.texts.word(word));
    let line = JsonLine {
        time: date(record.started_micros, RFC3339),
        pool: names.pool(record.pool),
        generation: record.generation.0,
        rule: word(Word::Rule),
        group: word(Word::Group),
        backend: names.endpoint(record.endpoint),
        client: record.client.to_string(),
        method: word(Word::Method),
        host: word(Word::Host),
        target: word(Word::Target),
        version: record.version.text(),
        status: record.status,
        reason: record.reason.label(),
        violation: record.violation.map(|violation| violation.label()),
        bytes_in: record.bytes_in,
        bytes_out: record.bytes_out,
        connect_micros: record.connect_micros,
        first_byte_micros: record.first_byte_micros,
        duration_micros: record.duration_micros,
        attempts: record.attempts,
        reused: record.reused,
        request_id: word(Word::RequestId),
        referer: word(Word::Referer),
        user_agent: word(Word::UserAgent),
        shard: record.shard.0,
    };
    serde_json::to_writer(out, &line).expect(INTO_MEMORY);
}
