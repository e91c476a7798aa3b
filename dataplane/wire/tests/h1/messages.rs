//! Random messages: most of them nearly right, for there the readers differ.

use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Bytes that begin with a request's head, and something behind it.
pub fn requests() -> impl Strategy<Value = Vec<u8>> {
    (select(REQUEST_LINES), fields(), select(BEHIND)).prop_map(|(line, fields, behind)| head(line, &fields, behind))
}

pub fn responses() -> impl Strategy<Value = Vec<u8>> {
    (select(STATUS_LINES), fields(), select(BEHIND)).prop_map(|(line, fields, behind)| head(line, &fields, behind))
}

/// A chunked body, with what may be wrong in one.
pub fn chunked() -> impl Strategy<Value = Vec<u8>> {
    let sizes = prop::collection::vec((prop::collection::vec(any::<u8>(), 1..40), select(EXTENSIONS)), 0..5);
    (sizes, select(TRAILERS), select(BEHIND)).prop_map(|(chunks, trailers, behind)| {
        let mut bytes = Vec::new();
        for (data, extension) in chunks {
            bytes.extend_from_slice(format!("{:x}{extension}\r\n", data.len()).as_bytes());
            bytes.extend_from_slice(&data);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(format!("0\r\n{trailers}\r\n{behind}").as_bytes());
        bytes
    })
}

/// Bends a message in up to three places: one byte another, one gone, one more, or a piece twice.
pub fn bent(messages: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let bend = (any::<Index>(), 0..4_u8, select(BYTES));
    (messages, prop::collection::vec(bend, 0..=3)).prop_map(|(mut bytes, bends)| {
        for (place, how, byte) in bends {
            let at = place.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 if bytes.len() > 1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, byte),
                _ => {
                    let piece = bytes[at..bytes.len().min(at + 9)].to_vec();
                    bytes.splice(at..at, piece);
                }
            }
        }
        bytes
    })
}

fn fields() -> impl Strategy<Value = Vec<&'static str>> {
    let few = prop::collection::vec(select(FIELDS), 0..6);
    // A host in most of them: a message without one says little else.
    (few, prop::bool::weighted(0.9), any::<Index>()).prop_map(|(mut fields, host, place)| {
        if host {
            fields.insert(place.index(fields.len() + 1), "Host: a.example:80");
        }
        fields
    })
}

fn head(line: &str, fields: &[&str], behind: &str) -> Vec<u8> {
    let lines = fields.iter().map(|field| format!("{field}\r\n")).collect::<String>();
    format!("{line}\r\n{lines}\r\n{behind}").into_bytes()
}

const REQUEST_LINES: &[&str] = &[
    "GET / HTTP/1.1",
    "GET /a/b?c=d HTTP/1.1",
    "POST /a HTTP/1.1",
    "PUT / HTTP/1.0",
    "HEAD http://b.example/x HTTP/1.1",
    "GET HTTPS://[::1]:8443?q HTTP/1.1",
    "OPTIONS * HTTP/1.1",
    "OPTIONS http://b HTTP/1.1",
    "CONNECT b.example:443 HTTP/1.1",
    "X-ODD /\\ HTTP/1.1",
    "\r\nGET / HTTP/1.1",
    "GET / HTTP/2.0",
];

const STATUS_LINES: &[&str] = &[
    "HTTP/1.1 200 OK",
    "HTTP/1.0 200 OK",
    "HTTP/1.1 204 No Content",
    "HTTP/1.1 304 Not Modified",
    "HTTP/1.1 100 Continue",
    "HTTP/1.1 101 Switching Protocols",
    "HTTP/1.1 103",
    "HTTP/1.1 404 ",
    "HTTP/1.1 999 \u{e4}",
];

const FIELDS: &[&str] = &[
    "Accept: */*",
    "X-Odd:\t\u{e4} ",
    "Host: b",
    "host: c/d",
    "Content-Length: 5",
    "content-length: 0",
    "Content-Length: 5, 5",
    "Content-Length: +5",
    "Content-Length: 18446744073709551616",
    "Content-Length : 5",
    "Content_Length: 5",
    "Transfer-Encoding: chunked",
    "transfer-encoding: Chunked ",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: xchunked",
    "Connection: close",
    "Connection: keep-alive, x-odd",
    "Connection: content-length, te, upgrade",
    "Connection: \"close\"",
    "TE: trailers",
    "Upgrade: websocket",
    "Expect: 100-continue",
    "Expect: the unexpected",
    "Keep-Alive: timeout=5",
    "Proxy-Connection: close",
    "X-Forwarded-For: 10.0.0.1",
    "Forwarded: for=10.0.0.1",
    "Via: 1.1 p",
    " folded",
    ": nameless",
    "colonless",
];

const BEHIND: &[&str] = &["", "\r\n", "hello", "GET / HTTP/1.1\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "\0"];

const EXTENSIONS: &[&str] = &["", "", "", ";a", ";a=b", " ;a=\"b;c\"", " ", ";", "\t;x", ";\0", " x"];

const TRAILERS: &[&str] =
    &["", "", "", "ETag: x\r\n", "A: b\r\nC: d\r\n", "Content-Length: 5\r\n", "A : b\r\n", "host: x\r\n", " a\r\n"];

/// Those that mean something, and some that never do.
const BYTES: &[u8] = b"\r\n\0 \t:;,0159afAFGx-_/?#\\\"\x01\x7f\x80\xff";
