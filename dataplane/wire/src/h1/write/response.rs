//! A response as its client gets it: the origin's, or our own.

use super::chain;
use super::edit::{Edit, Edits};
use super::line::{self, CRLF};
use super::reason::reason;
use crate::h1::field::Field;
use crate::h1::meaning::{Framing, Persistence};
use crate::h1::name::{Name, Onward};
use crate::h1::response::{Kind, ResponseHead};
use crate::h1::version::Version;
use std::io::Write;

/// How a response goes to its client.
#[derive(Clone, Copy, Debug)]
pub struct ToClient<'a> {
    /// Of the request. An HTTP/1.0 client is sent no chunks and no interim responses.
    pub client: Version,
    /// Whether we would keep the connection. It may still have to close: see [`Said::persistence`].
    pub persistence: Persistence,
    /// The name under which we stand in `Via`; `None`: not at all.
    pub via: Option<&'a [u8]>,
}

/// What was said of the message that was begun, and so must be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Said {
    /// How the content is to be sent.
    pub framing: Framing,
    /// Of the client's connection.
    pub persistence: Persistence,
}

/// What a client that waits with its content is told where the origin is not asked.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

impl ToClient<'_> {
    /// What will be said of this response.
    pub fn says(&self, head: &ResponseHead) -> Said {
        let framing = match (head.framing, self.client) {
            (Framing::None, _) => Framing::None,
            (Framing::Length(length), _) => Framing::Length(length),
            // Where the origin's content ends with its connection, the client's need not.
            (Framing::Chunked | Framing::UntilClose, Version::Http11) => Framing::Chunked,
            (Framing::Chunked | Framing::UntilClose, Version::Http10) => Framing::UntilClose,
        };
        let ends = framing == Framing::UntilClose || head.kind == Kind::Switch;
        Said { framing, persistence: if ends { Persistence::Close } else { self.persistence } }
    }
}

/// Writes the head. `bytes` are those that `head` was parsed from.
///
/// An interim response is not for HTTP/1.0 clients (RFC 9110 section 15.2): do not write it for one.
pub fn response<'e>(
    out: &mut Vec<u8>,
    bytes: &[u8],
    head: &ResponseHead,
    to: &ToClient<'_>,
    edits: impl Iterator<Item = Edit<'e>> + Clone,
) -> Said {
    debug_assert!(head.kind != Kind::Interim || to.client == Version::Http11);
    let said = to.says(head);
    let edits = Edits::new(edits);
    status_line(out, head.status, head.reason.of(bytes));
    for field in &head.fields {
        let goes = match field.id.onward() {
            _ if field.nominated => false,
            Onward::Ends => false,
            Onward::Understood => field.id == Name::Trailer && said.framing == Framing::Chunked,
            Onward::Chain => field.id != Name::Via || to.via.is_none(),
            Onward::Passed => true,
        };
        if goes && !edits.remove(field.name.of(bytes)) {
            line::received(out, bytes, field);
        }
    }
    if let Some(name) = to.via
        && !edits.remove(b"Via")
    {
        let before = head.fields.all(Name::Via).filter(|field: &&Field| !field.nominated);
        chain::via(out, bytes, before, head.version, name);
    }
    edits.write(out);
    match head.kind {
        Kind::Interim => {}
        Kind::Switch => {
            if let Some(protocol) = head.upgrade {
                line::checked(out, b"Upgrade", protocol.of(bytes));
                line::checked(out, b"Connection", b"upgrade");
            }
        }
        Kind::Final => {
            // Without content: the length that it would have had.
            let length = head.length.filter(|_| said.framing == Framing::None);
            about_the_message(out, length.map_or(said.framing, Framing::Length), said.persistence, to.client);
        }
    }
    out.extend_from_slice(CRLF);
    said
}

/// Writes the head of an answer of our own, with `length` bytes of content to follow unless the request was HEAD.
pub fn answer<'f>(
    out: &mut Vec<u8>,
    status: u16,
    length: u64,
    client: Version,
    persistence: Persistence,
    fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
) {
    status_line(out, status, reason(status).as_bytes());
    for (name, value) in fields {
        line::field(out, name, value);
    }
    // RFC 9110 section 8.6.
    let framing = if matches!(status, 204 | 304) { Framing::None } else { Framing::Length(length) };
    about_the_message(out, framing, persistence, client);
    out.extend_from_slice(CRLF);
}

/// Our own version, whatever the other side's (RFC 9110 section 6.2).
fn status_line(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    write!(out, "HTTP/1.1 {status:03} ").expect("memory takes all that is written");
    out.extend_from_slice(reason);
    out.extend_from_slice(CRLF);
}

fn about_the_message(out: &mut Vec<u8>, framing: Framing, persistence: Persistence, client: Version) {
    match framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Length(length) => line::number(out, b"Content-Length", length),
        Framing::Chunked => line::checked(out, b"Transfer-Encoding", b"chunked"),
    }
    match (persistence, client) {
        (Persistence::Close, _) => line::checked(out, b"Connection", b"close"),
        // Older clients keep a connection only if they are told (RFC 9112 section 9.3).
        (Persistence::Keep, Version::Http10) => line::checked(out, b"Connection", b"keep-alive"),
        (Persistence::Keep, Version::Http11) => {}
    }
}
