//! The method of a request, as far as it changes what a proxy does.

use crate::h1::span::Span;

/// Methods are compared with case (RFC 9110 section 9.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    /// Any other token, and where it stands.
    Other(Span),
}

impl Method {
    pub(crate) fn of(bytes: &[u8], span: Span) -> Method {
        match span.of(bytes) {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            b"CONNECT" => Method::Connect,
            b"OPTIONS" => Method::Options,
            b"TRACE" => Method::Trace,
            b"PATCH" => Method::Patch,
            _ => Method::Other(span),
        }
    }

    /// As it is written. `bytes` are those that were parsed.
    pub fn text(self, bytes: &[u8]) -> &[u8] {
        match self {
            Method::Get => b"GET",
            Method::Head => b"HEAD",
            Method::Post => b"POST",
            Method::Put => b"PUT",
            Method::Delete => b"DELETE",
            Method::Connect => b"CONNECT",
            Method::Options => b"OPTIONS",
            Method::Trace => b"TRACE",
            Method::Patch => b"PATCH",
            Method::Other(span) => span.of(bytes),
        }
    }

    /// Whether doing it twice is doing it once (RFC 9110 section 9.2.2), so that it may be tried again.
    pub fn is_idempotent(self) -> bool {
        match self {
            Method::Get | Method::Head | Method::Put | Method::Delete | Method::Options | Method::Trace => true,
            Method::Post | Method::Patch | Method::Connect | Method::Other(_) => false,
        }
    }
}
