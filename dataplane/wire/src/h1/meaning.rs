//! What the fields of a head say about the message itself: its framing, its connection, its expectations.
//!
//! The same for both directions. Owns the rules against ambiguity: whatever two readers could read in two ways is
//! a violation. Who may send what is decided by `request` and `response`.

use crate::h1::bytes::{decimal, is_token, members, trim};
use crate::h1::field::Fields;
use crate::h1::limits::CONNECTION_OPTIONS_MAX;
use crate::h1::name::Name;
use crate::h1::span::Span;
use crate::h1::version::Version;
use crate::h1::violation::{Peer, Violation};

/// Where a message's content ends (RFC 9112 section 6.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Framing {
    /// There is none.
    None,
    /// So many bytes, and 0 is a number that was said.
    Length(u64),
    Chunked,
    /// With the connection. Responses only.
    UntilClose,
}

/// Whether the connection may carry another message after this one (RFC 9112 section 9.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Persistence {
    Keep,
    Close,
}

/// All that the fields say, before it is known who says it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meaning {
    pub(crate) host: Option<Span>,
    pub(crate) length: Option<u64>,
    pub(crate) chunked: bool,
    pub(crate) persistence: Persistence,
    /// The one `Upgrade`, if `Connection` names it too (RFC 9110 section 7.8).
    pub(crate) upgrade: Option<Span>,
    pub(crate) expects_continue: bool,
    /// `TE: trailers`, nominated as it must be (RFC 9110 section 10.1.4).
    pub(crate) accepts_trailers: bool,
}

/// Reads all fields once and marks the nominated ones.
pub(crate) fn read(bytes: &[u8], by: Peer, version: Version, fields: &mut Fields) -> Result<Meaning, Violation> {
    let mut host = None;
    let mut length = None;
    let mut codings = Codings::default();
    let mut options = Options::new();
    let mut upgrades = 0_usize;
    let mut upgrade = None;
    let mut expects_continue = false;
    let mut trailers = false;
    for field in &fields.0 {
        let value = field.value.of(bytes);
        match field.id {
            Name::Host if by == Peer::Client && host.replace(field.value).is_some() => {
                return Err(Violation::RepeatedHost);
            }
            Name::ContentLength if length.is_some() => return Err(Violation::RepeatedLength),
            Name::ContentLength => length = Some(read_length(value)?),
            Name::TransferEncoding => codings.add(value),
            Name::Connection => options.add(bytes, field.value)?,
            Name::Upgrade => {
                upgrades += 1;
                upgrade = Some(field.value);
            }
            // RFC 9110 section 10.1.1: one from an HTTP/1.0 client means nothing.
            Name::Expect if by == Peer::Client && version == Version::Http11 => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Violation::Expectation);
                }
                expects_continue = true;
            }
            Name::Te => trailers |= members(value).any(|member| member.eq_ignore_ascii_case(b"trailers")),
            _ => {}
        }
    }
    let chunked = codings.are_chunked()?;
    if codings.fields > 0 && version == Version::Http10 {
        return Err(Violation::CodingInOldVersion);
    }
    if chunked && length.is_some() {
        return Err(Violation::LengthWithCoding);
    }
    options.mark(bytes, fields);
    let one_upgrade = upgrades == 1 && options.upgrade && version == Version::Http11;
    Ok(Meaning {
        host,
        length,
        chunked,
        persistence: match version {
            _ if options.close => Persistence::Close,
            Version::Http10 if !options.keep_alive => Persistence::Close,
            Version::Http10 | Version::Http11 => Persistence::Keep,
        },
        upgrade: upgrade.filter(|value| one_upgrade && is_protocol_list(value.of(bytes))),
        expects_continue,
        accepts_trailers: trailers && options.te,
    })
}

/// RFC 9110 section 8.6 allows a list of equal numbers; we do not.
fn read_length(value: &[u8]) -> Result<u64, Violation> {
    decimal(value).map_err(|too_large| match too_large {
        true => Violation::LengthOverflow,
        false if value.contains(&b',') => Violation::LengthList,
        false => Violation::BadLength,
    })
}

/// The transfer codings of all fields together.
#[derive(Clone, Copy, Default, Debug)]
struct Codings {
    fields: usize,
    chunked: usize,
    /// One that is not `chunked`, which is last so far.
    other: bool,
    chunked_last: bool,
    /// A member that is empty: a list that somebody may read differently.
    hole: bool,
}

impl Codings {
    fn add(&mut self, value: &[u8]) {
        self.fields += 1;
        for coding in value.split(|byte| *byte == b',').map(trim) {
            self.hole |= coding.is_empty();
            self.chunked_last = coding.eq_ignore_ascii_case(b"chunked");
            self.chunked += usize::from(self.chunked_last);
            self.other |= !self.chunked_last;
        }
    }

    fn are_chunked(&self) -> Result<bool, Violation> {
        match self {
            Codings { fields: 0, .. } => Ok(false),
            Codings { chunked: 1, chunked_last: true, hole: false, other: false, .. } => Ok(true),
            Codings { chunked: 1, chunked_last: true, hole: false, other: true, .. } => Err(Violation::UnknownCoding),
            _ => Err(Violation::BadCoding),
        }
    }
}

/// The options of all `Connection` fields.
struct Options {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    te: bool,
    nominated: [Span; CONNECTION_OPTIONS_MAX],
    count: usize,
}

impl Options {
    fn new() -> Options {
        let nominated = [Span::default(); CONNECTION_OPTIONS_MAX];
        Options { close: false, keep_alive: false, upgrade: false, te: false, nominated, count: 0 }
    }

    fn add(&mut self, bytes: &[u8], value: Span) -> Result<(), Violation> {
        for option in members(value.of(bytes)) {
            if !is_token(option) {
                return Err(Violation::BadConnection);
            }
            let place = self.nominated.get_mut(self.count).ok_or(Violation::TooManyOptions)?;
            *place = Span::within(bytes, option);
            self.count += 1;
            let is = |text: &[u8]| option.eq_ignore_ascii_case(text);
            self.close |= is(b"close");
            self.keep_alive |= is(b"keep-alive");
            self.upgrade |= is(b"upgrade");
            self.te |= is(b"te");
        }
        Ok(())
    }

    fn mark(&self, bytes: &[u8], fields: &mut Fields) {
        for option in &self.nominated[..self.count] {
            let option = option.of(bytes);
            for field in &mut fields.0 {
                field.nominated |= field.name.of(bytes).eq_ignore_ascii_case(option);
            }
        }
    }
}

/// RFC 9110 section 7.8: names of protocols, each perhaps with a version.
fn is_protocol_list(value: &[u8]) -> bool {
    let is_protocol = |protocol: &[u8]| {
        let mut parts = protocol.splitn(2, |byte| *byte == b'/');
        parts.all(is_token)
    };
    members(value).next().is_some() && members(value).all(is_protocol)
}
