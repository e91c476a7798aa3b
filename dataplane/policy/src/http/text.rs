//! Texts with placeholders: what an edit writes into a header, where a redirect leads.
//!
//! Owns the syntax (`{name}`; `{{` and `}}` are braces) and the guarantee that whatever a client sends, no expanded
//! text ends a line. Refuses to know what a text is for.

use super::path::push_escape;
use crate::meaning::Words;
use std::net::IpAddr;
use std::ops::Range;

/// A compiled text.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Text(Box<[Piece]>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    Literal(Box<[u8]>),
    Fact(Fact),
    /// In [`Captures`].
    Capture(usize),
}

/// What is known of every request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fact {
    ClientIp,
    Host,
    Method,
    Path,
    Query,
    Uri,
    RequestId,
    Scheme,
}

impl Fact {
    pub const ALL: [Fact; 8] =
        [Fact::ClientIp, Fact::Host, Fact::Method, Fact::Path, Fact::Query, Fact::Uri, Fact::RequestId, Fact::Scheme];

    /// As it stands between braces.
    pub fn name(self) -> &'static str {
        match self {
            Fact::ClientIp => "client_ip",
            Fact::Host => "host",
            Fact::Method => "method",
            Fact::Path => "path",
            Fact::Query => "query",
            Fact::Uri => "uri",
            Fact::RequestId => "request_id",
            Fact::Scheme => "scheme",
        }
    }
}

/// What the placeholders of one request stand for. All as sent, not as matched.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// `None`: the client has no address, and `{client_ip}` is `unix`.
    pub client: Option<IpAddr>,
    /// `http` or `https`, as the client sees it.
    pub scheme: &'a str,
    /// With its port, if the client sent one.
    pub authority: &'a [u8],
    pub method: &'a [u8],
    pub path: &'a [u8],
    pub query: Option<&'a [u8]>,
    pub request_id: &'a [u8],
    pub captures: Captures<'a>,
}

impl<'a> Facts<'a> {
    /// For texts that ask captures only: of everything else there is nothing.
    pub fn of_captures(captures: Captures<'a>) -> Facts<'a> {
        Facts {
            client: None,
            scheme: "",
            authority: b"",
            method: b"",
            path: b"",
            query: None,
            request_id: b"",
            captures,
        }
    }
}

/// What the path test of the rule that matched has captured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Captures<'a> {
    /// The path as matched.
    pub(super) path: &'a [u8],
    pub(super) ranges: &'a [Option<Range<usize>>],
}

impl<'a> Captures<'a> {
    /// Empty where nothing was captured.
    pub(super) fn at(self, capture: usize) -> &'a [u8] {
        self.ranges.get(capture).cloned().flatten().map_or(b"", |range| &self.path[range])
    }
}

/// A text grew beyond its bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Oversized;

/// Why a text is none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TextError {
    TooLong {
        bytes: usize,
    },
    /// A brace that is neither doubled nor part of a placeholder.
    LoneBrace,
    Unknown(String),
    /// It may not stand where this text goes.
    Byte(u8),
}

impl Text {
    /// As the operator writes it.
    pub const TEXT_BYTES_MAX: usize = 4_096;
    /// Of what one text becomes.
    pub const EXPANDED_BYTES_MAX: usize = 16 << 10;

    /// `capture`: where what the name stands for is found in [`Captures`], if the rule captures it. It is asked
    /// first, so a capture hides a fact. `allowed`: bytes that may stand in this text.
    pub fn new(
        text: &str,
        allowed: impl Fn(u8) -> bool,
        mut capture: impl FnMut(&str) -> Option<usize>,
    ) -> Result<Text, TextError> {
        if text.len() > Text::TEXT_BYTES_MAX {
            return Err(TextError::TooLong { bytes: text.len() });
        }
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.bytes().next() {
            if rest.starts_with("{{") || rest.starts_with("}}") {
                literal.push(first);
                rest = &rest[2..];
            } else if first == b'{' {
                let end = rest.find('}').ok_or(TextError::LoneBrace)?;
                let name = &rest[1..end];
                let fact = || Fact::ALL.into_iter().find(|fact| fact.name() == name).map(Piece::Fact);
                let piece = capture(name).map(Piece::Capture).or_else(fact);
                let piece = piece.ok_or_else(|| TextError::Unknown(name.to_owned()))?;
                if !literal.is_empty() {
                    pieces.push(Piece::Literal(std::mem::take(&mut literal).into()));
                }
                pieces.push(piece);
                rest = &rest[end + 1..];
            } else if first == b'}' {
                return Err(TextError::LoneBrace);
            } else {
                let end = rest.find(['{', '}']).unwrap_or(rest.len());
                literal.extend_from_slice(&rest.as_bytes()[..end]);
                rest = &rest[end..];
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal.into()));
        }
        let bytes = pieces.iter().flat_map(|piece| match piece {
            Piece::Literal(bytes) => &bytes[..],
            Piece::Fact(_) | Piece::Capture(_) => b"",
        });
        match bytes.copied().find(|byte| is_control(*byte) || !allowed(*byte)) {
            Some(byte) => Err(TextError::Byte(byte)),
            None => Ok(Text(pieces.into())),
        }
    }

    /// What it begins with whatever the request; empty if that is a placeholder.
    pub fn literal_start(&self) -> &[u8] {
        match self.0.first() {
            Some(Piece::Literal(bytes)) => bytes,
            Some(Piece::Fact(_) | Piece::Capture(_)) | None => b"",
        }
    }

    /// For [`crate::meaning`].
    pub(super) fn say(&self, words: &mut Words) {
        let Text(pieces) = self;
        words.each(&**pieces, |words, piece| match piece {
            Piece::Literal(bytes) => {
                words.kind(0);
                words.bytes(bytes);
            }
            Piece::Fact(fact) => {
                words.kind(1);
                words.kind(*fact as u8);
            }
            Piece::Capture(capture) => {
                words.kind(2);
                words.count(*capture as u64);
            }
        });
    }

    /// Whether it asks nothing but captures.
    pub fn has_facts(&self) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Fact(_)))
    }

    /// Appends what the text becomes. Control characters of the request's bytes are escaped (`%0D`): `wire` lets
    /// none through, and this does not rely on it.
    pub fn expand(&self, facts: &Facts, out: &mut Vec<u8>) -> Result<(), Oversized> {
        let begin = out.len();
        for piece in &self.0 {
            match piece {
                Piece::Literal(bytes) => out.extend_from_slice(bytes),
                Piece::Fact(fact) => push_fact(*fact, facts, out),
                Piece::Capture(capture) => push(facts.captures.at(*capture), out),
            }
            if out.len() - begin > Text::EXPANDED_BYTES_MAX {
                out.truncate(begin);
                return Err(Oversized);
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for TextError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TextError::TooLong { bytes } => {
                write!(f, "the text has {bytes} bytes, at most {} are accepted", Text::TEXT_BYTES_MAX)
            }
            TextError::LoneBrace => f.write_str("a brace stands alone; `{name}`, `{{` and `}}` are accepted"),
            TextError::Unknown(name) => {
                write!(f, "`{{{name}}}` is neither captured by this rule's path nor one of")?;
                Fact::ALL.iter().try_for_each(|fact| write!(f, " `{{{}}}`", fact.name()))
            }
            TextError::Byte(byte) => write!(f, "`{}` may not stand here", byte.escape_ascii()),
        }
    }
}

fn push_fact(fact: Fact, facts: &Facts, out: &mut Vec<u8>) {
    match fact {
        Fact::ClientIp => match facts.client {
            Some(address) => push_display(address.to_canonical(), out),
            None => out.extend_from_slice(b"unix"),
        },
        Fact::Host => push(facts.authority, out),
        Fact::Method => push(facts.method, out),
        Fact::Path => push(facts.path, out),
        Fact::Query => push(facts.query.unwrap_or_default(), out),
        Fact::Uri => {
            push(facts.path, out);
            if let Some(query) = facts.query {
                out.push(b'?');
                push(query, out);
            }
        }
        Fact::RequestId => push(facts.request_id, out),
        Fact::Scheme => push(facts.scheme.as_bytes(), out),
    }
}

fn push_display(value: impl std::fmt::Display, out: &mut Vec<u8>) {
    use std::io::Write;
    write!(out, "{value}").expect("a vector takes what is written");
}

fn push(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        match is_control(*byte) {
            true => push_escape(*byte, out),
            false => out.push(*byte),
        }
    }
}

fn is_control(byte: u8) -> bool {
    byte < 0x20 || byte == 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FACTS: Facts = Facts {
        client: Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)),
        scheme: "https",
        authority: b"example.com:8443",
        method: b"GET",
        path: b"/a%20b",
        query: Some(b"c=d"),
        request_id: b"7f",
        captures: Captures { path: b"", ranges: &[] },
    };

    fn anything(_: u8) -> bool {
        true
    }

    fn expanded(text: &str, facts: &Facts) -> String {
        let mut out = Vec::new();
        let capture = |name: &str| name.strip_prefix('c').and_then(|number| number.parse().ok());
        Text::new(text, anything, capture).unwrap().expand(facts, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn placeholders_stand_for_the_request() {
        let check = |text: &str, expected: &str| assert_eq!(expanded(text, &FACTS), expected);
        check("", "");
        check("plain", "plain");
        check("{scheme}://{host}{uri}", "https://example.com:8443/a%20b?c=d");
        check("{client_ip} {method} {path} {query} {request_id}", "127.0.0.1 GET /a%20b c=d 7f");
        check("{{{method}}}", "{GET}");
        check("a{{b}}", "a{b}");
        let unix = Facts { client: None, query: None, ..FACTS };
        assert_eq!(expanded("{client_ip} {uri}", &unix), "unix /a%20b");
    }

    #[test]
    fn captures_are_of_the_path_as_matched() {
        let captures = Captures { path: b"/users/7/x", ranges: &[Some(7..8), None] };
        assert_eq!(expanded("{c0}-{c1}-{c2}", &Facts { captures, ..FACTS }), "7--");
    }

    #[test]
    fn what_is_no_text_says_why() {
        let refused = |text: &str| Text::new(text, |byte| byte != b'#', |_| None).unwrap_err();
        assert_eq!(refused("{"), TextError::LoneBrace);
        assert_eq!(refused("a}"), TextError::LoneBrace);
        assert_eq!(refused("{nobody}"), TextError::Unknown("nobody".into()));
        assert_eq!(refused("a\r\nb"), TextError::Byte(b'\r'));
        assert_eq!(refused("a{host}#"), TextError::Byte(b'#'));
        assert_eq!(refused(&"a".repeat(5_000)), TextError::TooLong { bytes: 5_000 });
    }

    #[test]
    fn a_text_that_grows_too_long_leaves_nothing() {
        let path = vec![b'a'; Text::EXPANDED_BYTES_MAX];
        let text = Text::new("x{path}", anything, |_| None).unwrap();
        let mut out = b"before".to_vec();
        assert_eq!(text.expand(&Facts { path: &path, ..FACTS }, &mut out), Err(Oversized));
        assert_eq!(out, b"before");
    }

    proptest! {
        /// Whatever the bytes, nothing that ends a line comes out.
        #[test]
        fn no_expanded_text_ends_a_line(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let facts = Facts {
                authority: &bytes, method: &bytes, path: &bytes, query: Some(&bytes), request_id: &bytes,
                captures: Captures { path: &bytes, ranges: &[Some(0..bytes.len())] }, ..FACTS
            };
            let capture = |name: &str| (name == "c").then_some(0);
            let text = Text::new("{host}{method}{path}{query}{uri}{request_id}{c}", anything, capture).unwrap();
            let mut out = Vec::new();
            text.expand(&facts, &mut out).unwrap();
            prop_assert!(!out.iter().any(|byte| is_control(*byte)));
        }
    }
}
