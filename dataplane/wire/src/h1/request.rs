//! The head of a request: understood, or refused (RFC 9112 sections 3, 5 to 7 and 9).

use crate::h1::authority::Authority;
use crate::h1::field::Fields;
use crate::h1::limits::Limits;
use crate::h1::meaning::{self, Framing, Meaning, Persistence};
use crate::h1::method::Method;
use crate::h1::search::{Search, Section};
use crate::h1::span::Span;
use crate::h1::target::{Form, Target};
use crate::h1::tokens;
use crate::h1::version::Version;
use crate::h1::violation::{Peer, Violation};

/// A request without its content. All spans are places in the bytes that were parsed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestHead {
    pub method: Method,
    pub target: Target,
    pub version: Version,
    pub fields: Fields,
    /// Whom the request is for: the target says so before `Host` does (RFC 9112 section 3.2.2). `None`: an
    /// HTTP/1.0 client that did not say.
    pub host: Option<Authority>,
    /// Never `UntilClose`.
    pub framing: Framing,
    pub persistence: Persistence,
    pub upgrade: Option<Upgrade>,
    /// The client waits for 100 before it sends content, and there is content to be sent.
    pub expects_continue: bool,
    /// Trailers of the response may be sent to this client.
    pub accepts_trailers: bool,
    /// Length of the head: where the content begins.
    pub bytes: usize,
}

/// Another protocol that the client would like to speak on this connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Upgrade {
    /// The value of the field: one protocol, or several in the client's order.
    pub protocols: Span,
    /// It is WebSocket alone (RFC 6455), which can be passed on without a second thought. Anything else, HTTP/2
    /// before all, speaks past whoever only looks at HTTP/1.1.
    pub websocket: bool,
}

/// Reads a request's head from the front of `bytes`. `None`: it is not complete; call again with the same `search`
/// when there are more bytes behind these.
///
/// The memory for the fields is taken from `spare`; give it back from [`RequestHead::fields`].
pub fn parse_request(
    bytes: &[u8],
    search: &mut Search,
    limits: &Limits,
    spare: &mut Fields,
) -> Result<Option<RequestHead>, Violation> {
    let Some(found) = search.find(bytes, Section::Request, limits)? else {
        return Ok(None);
    };
    let (method, target, version) = tokens::request(bytes, found, limits, spare)?;
    let method = Method::of(bytes, method);
    let target = Target::parse(bytes, target, method)?;
    let meaning = meaning::read(bytes, Peer::Client, version, spare)?;
    let host = host(bytes, &target, version, &meaning)?;
    let framing = framing(method, limits, &meaning)?;
    let content = framing == Framing::Chunked || matches!(framing, Framing::Length(1..));
    Ok(Some(RequestHead {
        method,
        target,
        version,
        fields: std::mem::take(spare),
        host,
        framing,
        persistence: meaning.persistence,
        // With content it would have to be sent first. RFC 9110 section 7.8 lets a server ignore the wish.
        upgrade: meaning
            .upgrade
            .filter(|_| !content && method != Method::Connect)
            .map(|protocols| Upgrade { protocols, websocket: protocols.of(bytes).eq_ignore_ascii_case(b"websocket") }),
        expects_continue: meaning.expects_continue && content,
        accepts_trailers: meaning.accepts_trailers,
        bytes: found.end,
    }))
}

fn host(bytes: &[u8], target: &Target, version: Version, meaning: &Meaning) -> Result<Option<Authority>, Violation> {
    let named = match meaning.host {
        None if version == Version::Http11 => return Err(Violation::MissingHost),
        None => None,
        // Also where the target goes before it: RFC 9112 section 3.2 has an invalid one refused.
        Some(value) => Some(Authority::parse(bytes, value)?),
    };
    Ok(match target.form {
        Form::Absolute { authority, .. } | Form::Authority(authority) => Some(authority),
        Form::Origin | Form::Asterisk => named,
    })
}

fn framing(method: Method, limits: &Limits, meaning: &Meaning) -> Result<Framing, Violation> {
    match (meaning.chunked, meaning.length) {
        (false, None) => Ok(Framing::None),
        _ if method == Method::Connect => Err(Violation::FramedConnect),
        (true, _) => Ok(Framing::Chunked),
        (false, Some(length)) if length > limits.body_bytes => Err(Violation::BodyTooLarge),
        (false, Some(length)) => Ok(Framing::Length(length)),
    }
}

impl RequestHead {
    /// The path that is meant; see [`Target::path`].
    pub fn path<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        self.target.path(bytes, self.method)
    }

    /// Behind the `?`, if there is one.
    pub fn query<'b>(&self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        self.target.query.map(|query| query.of(bytes))
    }
}
