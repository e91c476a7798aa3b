//! What requests stay together by: those with the same key go to the same backend.
//!
//! Owns the key of a request. The table that maps keys to backends is [`maglev`](crate::balance::maglev)'s, asked
//! with [`Ask::source`](crate::balance::Ask::source).
//!
//! Keys that clients write are hashed with SipHash-2-4 under a key that they do not know: otherwise they could write many
//! keys that all meet one backend. The same key must be used by every shard and kept over restarts, or clients move.

use super::request::Request;
use crate::balance::hash_source;
use siphasher::sip::SipHasher24;

/// A part of the request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HashOn {
    Source,
    /// The first field of this name.
    Header(Box<str>),
    /// The first cookie of this name.
    Cookie(Box<str>),
    /// As matched, without the query.
    Path,
}

/// The secret of the hash.
#[derive(Clone, Copy)]
pub struct HashKey(pub [u8; 16]);

impl HashOn {
    /// A request without the header or cookie stays with its source, one without a source with all such.
    pub fn hash(&self, request: &Request, key: &HashKey) -> u64 {
        let hasher = SipHasher24::new_with_key(&key.0);
        let of_a_header = |name: &str, part: &dyn Fn(&[u8]) -> Option<u64>| {
            let mut found = None;
            request.headers.any(name.as_bytes(), &mut |value| {
                found = part(value);
                found.is_some()
            });
            found
        };
        let found = match self {
            HashOn::Source => None,
            HashOn::Path => Some(hasher.hash(request.path.as_bytes())),
            HashOn::Header(name) => of_a_header(name, &|value| Some(hasher.hash(value))),
            HashOn::Cookie(name) => of_a_header("cookie", &|value| cookie(value, name).map(|value| hasher.hash(value))),
        };
        found.unwrap_or_else(|| request.source.map_or(0, hash_source))
    }
}

/// RFC 6265 section 4.2.1.
fn cookie<'v>(value: &'v [u8], name: &str) -> Option<&'v [u8]> {
    let mut pairs = value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    pairs.find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use super::super::path::NormalPath;
    use super::super::request::Pairs;
    use super::*;

    fn hash(on: HashOn, headers: &[(&[u8], &[u8])], source: &str, key: u8) -> u64 {
        let request = Request {
            method: b"GET",
            host: b"h",
            path: NormalPath::ROOT,
            query: None,
            headers: &Pairs(headers),
            source: source.parse().ok(),
        };
        on.hash(&request, &HashKey([key; 16]))
    }

    #[test]
    fn the_same_part_has_the_same_hash_whatever_else_differs() {
        let header = |value: &[u8], source| hash(HashOn::Header("x-user".into()), &[(b"X-User", value)], source, 1);
        assert_eq!(header(b"ann", "10.0.0.1"), header(b"ann", "10.0.0.2"));
        assert_ne!(header(b"ann", "10.0.0.1"), header(b"bob", "10.0.0.1"));
        let cookie = |value: &[u8], key| hash(HashOn::Cookie("sid".into()), &[(b"Cookie", value)], "10.0.0.1", key);
        assert_eq!(cookie(b"a=1; sid=7; b=2", 1), cookie(b"sid=7", 1));
        assert_ne!(cookie(b"sid=7", 1), cookie(b"sid=8", 1));
        assert_ne!(cookie(b"sid=7", 1), cookie(b"sid=7", 2));
        assert_eq!(hash(HashOn::Path, &[], "10.0.0.1", 1), hash(HashOn::Path, &[], "10.0.0.2", 1));
    }

    #[test]
    fn whoever_has_no_key_stays_with_its_source() {
        let source = hash(HashOn::Source, &[], "10.0.0.1", 1);
        assert_eq!(source, hash_source("10.0.0.1".parse().unwrap()));
        assert_eq!(hash(HashOn::Header("x".into()), &[(b"y", b"1")], "10.0.0.1", 1), source);
        assert_eq!(hash(HashOn::Cookie("sid".into()), &[(b"cookie", b"xsid=1; sid")], "10.0.0.1", 1), source);
        assert_eq!(hash(HashOn::Source, &[], "-", 1), 0);
    }

    /// Written down: a session finds its backend after an upgrade of the appliance.
    #[test]
    fn the_hash_is_siphash_2_4() {
        let key = std::array::from_fn(|n| n as u8);
        let input: Vec<u8> = (0..15).collect();
        // The example of appendix A of the SipHash paper.
        assert_eq!(SipHasher24::new_with_key(&key).hash(&input), 0xa129_ca61_49be_45e5);
    }
}
