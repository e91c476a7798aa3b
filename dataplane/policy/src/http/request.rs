//! A request as rules see it: borrowed views of what was parsed, nothing copied.
//!
//! Owns no bytes. Refuses to know how a head is parsed; whoever parsed it fills this in.

use super::path::NormalPath;
use std::net::IpAddr;

/// What a rule can ask about a request.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// As sent; methods are told apart by case (RFC 9110 section 9.1).
    pub method: &'a [u8],
    /// The validated authority without its port, in any case. IPv6 addresses with their brackets.
    pub host: &'a [u8],
    pub path: NormalPath<'a>,
    /// What stands behind the first `?`, as sent.
    pub query: Option<&'a [u8]>,
    pub headers: &'a dyn Headers,
    /// The client's address. `None`: it has none (a Unix socket), so no condition on a source holds.
    pub source: Option<IpAddr>,
}

/// The fields of a head. Two kinds ship: a parsed head on a shard, and [`Pairs`] where there is none, as
/// in `explain` of a request that an operator describes.
pub trait Headers {
    /// Whether a field of this name (without regard to case) has a value for which `holds`. Values are without
    /// the white space around them. Asks `holds` in the order of the fields until one does.
    fn any(&self, name: &[u8], holds: &mut dyn FnMut(&[u8]) -> bool) -> bool;

    /// The value of the first field of this name, likewise.
    fn first(&self, name: &[u8]) -> Option<&[u8]>;
}

/// Names and values.
#[derive(Clone, Copy, Debug)]
pub struct Pairs<'a>(pub &'a [(&'a [u8], &'a [u8])]);

impl Headers for Pairs<'_> {
    fn any(&self, name: &[u8], holds: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.0.iter().any(|(field, value)| field.eq_ignore_ascii_case(name) && holds(value))
    }

    fn first(&self, name: &[u8]) -> Option<&[u8]> {
        self.0.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }
}

/// Names and values of a query, in order. `&` divides, the first `=` of each begins its value; a name alone has
/// the empty value; what is empty is nobody. As sent: see [`decode_query`].
pub(super) fn parameters(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let parts = query.split(|byte| *byte == b'&').filter(|part| !part.is_empty());
    parts.map(|part| match part.iter().position(|byte| *byte == b'=') {
        Some(at) => (&part[..at], &part[at + 1..]),
        None => (part, &b""[..]),
    })
}

/// A name or value of a query as forms mean it (WHATWG URL section 5.1): `+` is a space, escapes are decoded, and
/// a percent sign that begins none is itself. Written to `buffer` if that changes anything.
pub(super) fn decode_query<'a>(sent: &'a [u8], buffer: &'a mut Vec<u8>) -> &'a [u8] {
    if !sent.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return sent;
    }
    buffer.clear();
    let mut at = 0;
    while at < sent.len() {
        let digit = |at: usize| sent.get(at).copied().and_then(super::path::hex_digit);
        let escape = digit(at + 1).zip(digit(at + 2)).filter(|_| sent[at] == b'%');
        match (sent[at], escape) {
            (_, Some((high, low))) => {
                buffer.push(high << 4 | low);
                at += 2;
            }
            (b'+', None) => buffer.push(b' '),
            (byte, None) => buffer.push(byte),
        }
        at += 1;
    }
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_divided_and_then_decoded() {
        let check = |query: &str, expected: &[(&str, &str)]| {
            let decoded = |sent: &[u8]| String::from_utf8_lossy(decode_query(sent, &mut Vec::new())).into_owned();
            let found: Vec<_> = parameters(query.as_bytes()).map(|(n, v)| (decoded(n), decoded(v))).collect();
            let expected: Vec<_> = expected.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
            assert_eq!(found, expected, "of {query}");
        };
        check("", &[]);
        check("&&", &[]);
        check("a", &[("a", "")]);
        check("a=1&b=2&a=3", &[("a", "1"), ("b", "2"), ("a", "3")]);
        check("a=b=c", &[("a", "b=c")]);
        check("=x", &[("", "x")]);
        check("a+b=%41%4&c=%zz%", &[("a b", "A%4"), ("c", "%zz%")]);
        check("a%26b=1%3d;x", &[("a&b", "1=;x")]);
    }

    #[test]
    fn header_names_have_no_case() {
        let pairs: [(&[u8], &[u8]); 3] = [(b"X-A", b"1"), (b"x-a", b"2"), (b"X-B", b"3")];
        let asked = |name: &[u8], value: &[u8]| Pairs(&pairs).any(name, &mut |found| found == value);
        assert!(asked(b"x-A", b"2") && asked(b"X-B", b"3"));
        assert!(!asked(b"x-b", b"2") && !asked(b"x", b"1"));
        let first = |name: &[u8]| Pairs(&pairs).first(name).map(<[u8]>::to_vec);
        assert_eq!((first(b"x-a"), first(b"X-b"), first(b"x")), (Some(b"1".to_vec()), Some(b"3".to_vec()), None));
    }
}
