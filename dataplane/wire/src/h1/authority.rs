//! Whom a request is for: `host [":" port]` (RFC 9110 section 7.2, RFC 3986 section 3.2).
//!
//! Stricter than the grammar: a name holds letters, digits, `-`, `.`, `_` and `~`. What else RFC 3986 allows
//! (percent-encoding, `!$&'()*+,;=`) is in no host name, and two readers agree the less on it. No user
//! information (RFC 9110 section 4.2.4) and no zone of an address.

use crate::h1::bytes::decimal;
use crate::h1::span::Span;
use crate::h1::violation::Violation;
use std::net::Ipv6Addr;

/// A host as the client named it, its case included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Authority {
    /// Host and port.
    pub whole: Span,
    /// The name, the IPv4 address, or the IPv6 address with its brackets.
    pub host: Span,
    /// `None`: there is none, or it is empty (RFC 3986 section 3.2.3), so the scheme's.
    pub port: Option<u16>,
}

impl Authority {
    pub(crate) fn parse(bytes: &[u8], whole: Span) -> Result<Authority, Violation> {
        let text = whole.of(bytes);
        let start = whole.range().start;
        let (host, rest) = match text {
            [b'[', address @ ..] => {
                let end = address.iter().position(|byte| *byte == b']').ok_or(Violation::BadHost)?;
                let address = std::str::from_utf8(&address[..end]).map_err(|_| Violation::BadHost)?;
                address.parse::<Ipv6Addr>().map_err(|_| Violation::BadHost)?;
                text.split_at(end + 2)
            }
            _ => {
                let end = text.iter().position(|byte| *byte == b':').unwrap_or(text.len());
                let (host, rest) = text.split_at(end);
                if host.is_empty() || !host.iter().all(|byte| is_name(*byte)) {
                    return Err(Violation::BadHost);
                }
                (host, rest)
            }
        };
        let port = match rest {
            [] | b":" => None,
            [b':', digits @ ..] => {
                let port = decimal(digits).ok().and_then(|port| u16::try_from(port).ok());
                Some(port.ok_or(Violation::BadHost)?)
            }
            _ => return Err(Violation::BadHost),
        };
        Ok(Authority { whole, host: Span::new(start, start + host.len()), port })
    }
}

const fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<(&str, Option<u16>)>) {
        let read = Authority::parse(text.as_bytes(), Span::new(0, text.len()));
        let read = read.ok().map(|authority| (authority.host.of(text.as_bytes()), authority.port));
        assert_eq!(read, expected.map(|(host, port)| (host.as_bytes(), port)), "{text:?}");
    }

    #[test]
    fn names_and_addresses() {
        check("a", Some(("a", None)));
        check("A.example", Some(("A.example", None)));
        check("a.example.", Some(("a.example.", None)));
        check("a_b-c~d:80", Some(("a_b-c~d", Some(80))));
        check("a:", Some(("a", None)));
        check("a:0", Some(("a", Some(0))));
        check("a:65535", Some(("a", Some(65535))));
        check("a:00080", Some(("a", Some(80))));
        check("127.0.0.1:8080", Some(("127.0.0.1", Some(8080))));
        check("[::1]", Some(("[::1]", None)));
        check("[::1]:443", Some(("[::1]", Some(443))));
        check("[::ffff:127.0.0.1]", Some(("[::ffff:127.0.0.1]", None)));
    }

    #[test]
    fn neither() {
        for text in [
            "",
            ":",
            ":80",
            "a:65536",
            "a:-1",
            "a:+1",
            "a:1x",
            "a:1:2",
            "a:99999999999999999999",
            "a b",
            "a/b",
            "a@b",
            "u:p@b",
            "a?b",
            "a#b",
            "a\\b",
            "a,b",
            "a%2eb",
            "*",
            "a\tb",
            "\u{e4}",
            "[]",
            "[",
            "[::1",
            "::1",
            "[::1]x",
            "[::1]:x",
            "[::1%25eth0]",
            "[v1.x]",
            "[a]",
            "a[::1]",
            "[::1][::1]",
            "a;b",
            "(a)",
        ] {
            check(text, None);
        }
    }
}
