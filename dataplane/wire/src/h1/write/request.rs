//! A request as its origin gets it.

use super::chain::Told;
use super::edit::{Edit, Edits};
use super::line::{self, CRLF};
use crate::h1::meaning::Framing;
use crate::h1::name::{Name, Onward};
use crate::h1::request::RequestHead;
use crate::h1::target::Form;

/// How a request goes to its origin.
#[derive(Clone, Copy, Debug)]
pub struct ToOrigin<'a> {
    /// Path and query instead of those that were received. A path begins with `/`, and gets one if it does not.
    pub target: Option<&'a [u8]>,
    /// Instead of the host that the client named.
    pub host: Option<&'a [u8]>,
    /// Where the client named none: HTTP/1.1 must have one (RFC 9112 section 3.2).
    pub host_default: &'a [u8],
    /// Which wishes for another protocol are passed on.
    pub upgrades: Upgrades,
    /// The origin may be asked whether it wants the content before the client sends it.
    pub expect: bool,
    /// The origin is told not to keep the connection.
    pub close: bool,
    pub told: Told<'a>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Upgrades {
    None,
    /// Only WebSocket.
    WebSocket,
    /// Whatever a client asks for, HTTP/2 included: its requests then pass unseen.
    Any,
}

impl Upgrades {
    /// Whether this request's wish is passed on.
    pub fn pass(self, head: &RequestHead) -> bool {
        match (self, head.upgrade) {
            (Upgrades::None, _) | (_, None) => false,
            (Upgrades::WebSocket, Some(upgrade)) => upgrade.websocket,
            (Upgrades::Any, Some(_)) => true,
        }
    }
}

/// Writes the head. `bytes` are those that `head` was parsed from. The content follows in the framing of `head`.
pub fn request<'e>(
    out: &mut Vec<u8>,
    bytes: &[u8],
    head: &RequestHead,
    to: &ToOrigin<'_>,
    edits: impl Iterator<Item = Edit<'e>> + Clone,
) {
    let edits = Edits::new(edits);
    out.extend_from_slice(head.method.text(bytes));
    out.push(b' ');
    target(out, bytes, head, to);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    host(out, bytes, head, to);
    for field in &head.fields {
        let name = field.name.of(bytes);
        let goes = match field.id.onward() {
            _ if field.nominated => false,
            Onward::Ends => false,
            // Trailers are announced only where there can be some.
            Onward::Understood => field.id == Name::Trailer && head.framing == Framing::Chunked,
            Onward::Chain => to.told.passes(field.id),
            // Under another spelling it would be none of the above, and yet be read as one of them.
            Onward::Passed => Name::disguised(name).onward() == Onward::Passed,
        };
        if goes && !edits.remove(name) {
            line::received(out, bytes, field);
        }
    }
    to.told.write(out, bytes, head, &edits);
    edits.write(out);
    about_the_message(out, bytes, head, to);
    out.extend_from_slice(CRLF);
}

fn target(out: &mut Vec<u8>, bytes: &[u8], head: &RequestHead, to: &ToOrigin<'_>) {
    match (to.target, head.target.form) {
        // Of a CONNECT there is no path to be rewritten.
        (_, Form::Authority(authority)) => out.extend_from_slice(authority.whole.of(bytes)),
        (Some(target), _) => line::target(out, target),
        (None, Form::Origin | Form::Absolute { .. } | Form::Asterisk) => {
            out.extend_from_slice(head.path(bytes));
            if let Some(query) = head.query(bytes) {
                out.push(b'?');
                out.extend_from_slice(query);
            }
        }
    }
}

/// Once, and first (RFC 9110 section 7.2).
fn host(out: &mut Vec<u8>, bytes: &[u8], head: &RequestHead, to: &ToOrigin<'_>) {
    let named = head.host.map(|host| host.whole.of(bytes));
    line::field(out, b"Host", to.host.or(named).unwrap_or(to.host_default));
}

/// Framing, connection and expectation, from what was understood.
fn about_the_message(out: &mut Vec<u8>, bytes: &[u8], head: &RequestHead, to: &ToOrigin<'_>) {
    match head.framing {
        Framing::None => {}
        Framing::Length(length) => line::number(out, b"Content-Length", length),
        Framing::Chunked => line::checked(out, b"Transfer-Encoding", b"chunked"),
        Framing::UntilClose => unreachable!("a request does not end with its connection"),
    }
    if head.expects_continue && to.expect {
        line::checked(out, b"Expect", b"100-continue");
    }
    let upgrade = head.upgrade.filter(|_| to.upgrades.pass(head));
    if let Some(upgrade) = upgrade {
        line::checked(out, b"Upgrade", upgrade.protocols.of(bytes));
    }
    if head.accepts_trailers {
        line::checked(out, b"TE", b"trailers");
    }
    let options: [(bool, &[u8]); 3] =
        [(to.close, b"close"), (upgrade.is_some(), b"upgrade"), (head.accepts_trailers, b"TE")];
    let mut options = options.iter().filter(|(said, _)| *said).map(|(_, option)| *option);
    if let Some(first) = options.next() {
        line::begin(out, b"Connection");
        out.extend_from_slice(first);
        for option in options {
            out.extend_from_slice(b", ");
            out.extend_from_slice(option);
        }
        out.extend_from_slice(CRLF);
    }
}
