//! Lines of requests.

use super::line::{CLF_DATE, INTO_MEMORY, Names, RFC3339, append_or_dash, date};
use policy::record::{ClientAddr, RequestRecord, Word};
use serde::Serialize;
use std::borrow::Cow;
use std::io::Write;

/// A record with the text that its words are in.
#[derive(Clone, Copy)]
pub struct Said<'a> {
    pub record: &'a RequestRecord,
    pub text: &'a [u8],
}

impl<'a> Said<'a> {
    pub fn word(self, word: Word) -> &'a [u8] {
        self.record.words.word(self.text, word)
    }
}

pub fn append_common(out: &mut Vec<u8>, said: Said<'_>, names: &Names) {
    append_clf(out, said);
    append_keys(out, said, names);
}

pub fn append_combined(out: &mut Vec<u8>, said: Said<'_>, names: &Names) {
    append_clf(out, said);
    for word in [Word::Referer, Word::UserAgent] {
        out.extend_from_slice(b" \"");
        append_or_dash(out, said.word(word));
        out.push(b'"');
    }
    append_keys(out, said, names);
}

fn append_clf(out: &mut Vec<u8>, said: Said<'_>) {
    let record = said.record;
    match record.client {
        ClientAddr::Ip(address) => write!(out, "{}", address.ip()),
        ClientAddr::Unix | ClientAddr::Unknown => write!(out, "{}", record.client),
    }
    .expect(INTO_MEMORY);
    write!(out, " - - [{}] \"", date(record.started_micros, CLF_DATE)).expect(INTO_MEMORY);
    let method = said.word(Word::Method);
    append_or_dash(out, method);
    if !method.is_empty() {
        out.push(b' ');
        append_or_dash(out, said.word(Word::Target));
        write!(out, " {}", record.version.text()).expect(INTO_MEMORY);
    }
    write!(out, "\" {} {}", record.status, record.bytes_out).expect(INTO_MEMORY);
}

fn append_keys(out: &mut Vec<u8>, said: Said<'_>, names: &Names) {
    let record = said.record;
    write!(out, " reason={}", record.reason.label()).expect(INTO_MEMORY);
    if let Some(violation) = record.violation {
        write!(out, " violation={violation}").expect(INTO_MEMORY);
    }
    write!(out, " pool={}", names.pool(record.pool)).expect(INTO_MEMORY);
    let backend = names.endpoint(record.endpoint).unwrap_or_default().as_bytes();
    let quoted = |out: &mut Vec<u8>, key: &str, text: &[u8]| {
        write!(out, " {key}=\"").expect(INTO_MEMORY);
        append_or_dash(out, text);
        out.push(b'"');
    };
    quoted(out, "rule", said.word(Word::Rule));
    quoted(out, "group", said.word(Word::Group));
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
    quoted(out, "request_id", said.word(Word::RequestId));
    quoted(out, "host", said.word(Word::Host));
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

pub fn append_json(out: &mut Vec<u8>, said: Said<'_>, names: &Names) {
    let record = said.record;
    let word = |word| String::from_utf8_lossy(said.word(word));
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
        violation: record.violation,
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
