//! The head of a response: understood, or refused (RFC 9112 sections 4 and 6.3).

use crate::h1::field::Fields;
use crate::h1::limits::Limits;
use crate::h1::meaning::{self, Framing, Meaning, Persistence};
use crate::h1::method::Method;
use crate::h1::request::RequestHead;
use crate::h1::search::{Search, Section};
use crate::h1::span::Span;
use crate::h1::tokens;
use crate::h1::version::Version;
use crate::h1::violation::{Peer, Violation};

/// What must be known of a request to understand its response (RFC 9112 section 6.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asked {
    pub content: Content,
    /// The request asked for another protocol, and that was passed on.
    pub upgrade: bool,
}

/// What a method makes of the content of its response.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Content {
    /// As the fields say.
    Framed,
    /// HEAD: none, whatever the fields say.
    Withheld,
    /// CONNECT: a success is a tunnel.
    Tunnel,
}

impl Asked {
    /// `upgrade`: whether the request's wish for another protocol was passed on.
    pub fn by(request: &RequestHead, upgrade: bool) -> Asked {
        let content = match request.method {
            Method::Head => Content::Withheld,
            Method::Connect => Content::Tunnel,
            _ => Content::Framed,
        };
        Asked { content, upgrade: upgrade && request.upgrade.is_some() }
    }
}

/// A response without its content. All spans are places in the bytes that were parsed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResponseHead {
    pub version: Version,
    /// 100 to 999 (RFC 9110 section 15).
    pub status: u16,
    /// As the origin put it; may be empty.
    pub reason: Span,
    pub kind: Kind,
    pub fields: Fields,
    pub framing: Framing,
    /// The length that was said, were it of content that does not follow: HEAD and 304 (RFC 9110 section 8.6).
    pub length: Option<u64>,
    pub persistence: Persistence,
    /// With [`Kind::Switch`] after an upgrade: the protocol that the connection speaks from here.
    pub upgrade: Option<Span>,
    /// Length of the head: where the content begins.
    pub bytes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// 1xx: another response to the same request follows (RFC 9110 section 15.2).
    Interim,
    /// From here the connection is a tunnel: 101, or success of a CONNECT.
    Switch,
    Final,
}

/// Reads a response's head from the front of `bytes`; see [`parse_request`](crate::h1::parse_request).
pub fn parse_response(
    bytes: &[u8],
    asked: Asked,
    search: &mut Search,
    limits: &Limits,
    spare: &mut Fields,
) -> Result<Option<ResponseHead>, Violation> {
    let Some(found) = search.find(bytes, Section::Response, limits)? else {
        return Ok(None);
    };
    let (version, status, reason) = tokens::response(bytes, found, limits, spare)?;
    let meaning = meaning::read(bytes, Peer::Origin, version, spare)?;
    let kind = kind(status, asked, &meaning)?;
    let framing = framing(kind, status, asked, limits, &meaning)?;
    // Statuses that never have content have no length of it either (RFC 9110 section 8.6).
    let has_length = kind == Kind::Final && status != 204;
    Ok(Some(ResponseHead {
        version,
        status,
        reason,
        kind,
        fields: std::mem::take(spare),
        framing,
        length: meaning.length.filter(|_| has_length),
        persistence: match framing {
            Framing::UntilClose => Persistence::Close,
            _ if kind == Kind::Switch => Persistence::Close,
            Framing::None | Framing::Length(_) | Framing::Chunked => meaning.persistence,
        },
        upgrade: meaning.upgrade.filter(|_| status == 101),
        bytes: found.end,
    }))
}

fn kind(status: u16, asked: Asked, meaning: &Meaning) -> Result<Kind, Violation> {
    match status {
        // RFC 9110 section 7.8: the protocol must be named, and only if it was asked for.
        101 if asked.upgrade && meaning.upgrade.is_some() => Ok(Kind::Switch),
        101 => Err(Violation::UnaskedSwitch),
        100..=199 => Ok(Kind::Interim),
        200..=299 if asked.content == Content::Tunnel => Ok(Kind::Switch),
        _ => Ok(Kind::Final),
    }
}

/// In the order of RFC 9112 section 6.3.
fn framing(kind: Kind, status: u16, asked: Asked, limits: &Limits, meaning: &Meaning) -> Result<Framing, Violation> {
    let announced = meaning.chunked || meaning.length.is_some_and(|length| length > 0);
    match kind {
        Kind::Final if status == 204 && announced => Err(Violation::FramedBodiless),
        Kind::Interim | Kind::Switch if announced => Err(Violation::FramedBodiless),
        Kind::Interim | Kind::Switch => Ok(Framing::None),
        Kind::Final if matches!(status, 204 | 304) || asked.content == Content::Withheld => Ok(Framing::None),
        Kind::Final => match (meaning.chunked, meaning.length) {
            (true, _) => Ok(Framing::Chunked),
            (false, None) => Ok(Framing::UntilClose),
            (false, Some(length)) if length > limits.body_bytes => Err(Violation::BodyTooLarge),
            (false, Some(length)) => Ok(Framing::Length(length)),
        },
    }
}
