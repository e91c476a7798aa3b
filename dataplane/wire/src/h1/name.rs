//! The names of fields that mean something to a proxy, and what it does with each.

macro_rules! names {
    ($($name:ident = $text:literal, $onward:ident, $trailing:ident;)*) => {
        /// A field's name as a small number, told when the head is read. Names are compared without case (RFC
        /// 9110 section 5.1).
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum Name {
            $($name,)*
            /// Any other name.
            Other,
        }

        impl Name {
            /// All of them but `Other`, in the order of their discriminants.
            pub const ALL: &[Name] = &[$(Name::$name,)*];

            const TEXTS: &[&str] = &[$($text,)*];

            /// What becomes of such a field when the message is passed on.
            pub fn onward(self) -> Onward {
                match self { $(Name::$name => Onward::$onward,)* Name::Other => Onward::Passed }
            }

            /// What becomes of such a field in a trailer section.
            pub fn trailing(self) -> Trailing {
                match self { $(Name::$name => Trailing::$trailing,)* Name::Other => Trailing::Passed }
            }
        }
    };
}

/// What becomes of a received field when its message is passed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Onward {
    /// It is as it was, unless `Connection` nominates it.
    Passed,
    /// It ends here: it is about this connection or this proxy (RFC 9110 section 7.6.1).
    Ends,
    /// We write it ourselves, from what was understood.
    Understood,
    /// Each proxy adds to it or replaces it, as the operator says.
    Chain,
}

/// What becomes of a field in a trailer section (RFC 9110 section 6.5.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trailing {
    Passed,
    /// Left out: whoever merged it into the head would be told something else than we were.
    Dropped,
    /// A reason to refuse the message: it says how it is framed or where it goes.
    Refused,
}

names! {
    Host = "Host", Understood, Refused;
    ContentLength = "Content-Length", Understood, Refused;
    TransferEncoding = "Transfer-Encoding", Understood, Refused;
    Connection = "Connection", Understood, Refused;
    Upgrade = "Upgrade", Understood, Refused;
    Expect = "Expect", Understood, Refused;
    Te = "TE", Understood, Refused;
    Trailer = "Trailer", Understood, Refused;
    KeepAlive = "Keep-Alive", Ends, Refused;
    ProxyConnection = "Proxy-Connection", Ends, Refused;
    // Credentials for the next proxy, which is us (RFC 9110 section 11.7).
    ProxyAuthenticate = "Proxy-Authenticate", Ends, Dropped;
    ProxyAuthorization = "Proxy-Authorization", Ends, Dropped;
    ProxyAuthenticationInfo = "Proxy-Authentication-Info", Ends, Dropped;
    // A CGI program finds it as HTTP_PROXY and sends its own requests there.
    Proxy = "Proxy", Ends, Dropped;
    // Of an upgrade to HTTP/2, which is never passed on (RFC 9113 section 3.1).
    Http2Settings = "HTTP2-Settings", Ends, Dropped;
    Via = "Via", Chain, Dropped;
    Forwarded = "Forwarded", Chain, Dropped;
    XForwardedFor = "X-Forwarded-For", Chain, Dropped;
    XForwardedProto = "X-Forwarded-Proto", Chain, Dropped;
    XForwardedHost = "X-Forwarded-Host", Chain, Dropped;
    XForwardedPort = "X-Forwarded-Port", Chain, Dropped;
    XRealIp = "X-Real-IP", Chain, Dropped;
    XRequestId = "X-Request-Id", Chain, Dropped;
    MaxForwards = "Max-Forwards", Passed, Dropped;
    Range = "Range", Passed, Dropped;
    IfMatch = "If-Match", Passed, Dropped;
    IfNoneMatch = "If-None-Match", Passed, Dropped;
    IfModifiedSince = "If-Modified-Since", Passed, Dropped;
    IfUnmodifiedSince = "If-Unmodified-Since", Passed, Dropped;
    IfRange = "If-Range", Passed, Dropped;
    Cookie = "Cookie", Passed, Dropped;
    SetCookie = "Set-Cookie", Passed, Dropped;
    Authorization = "Authorization", Passed, Dropped;
    WwwAuthenticate = "WWW-Authenticate", Passed, Dropped;
    ContentType = "Content-Type", Passed, Dropped;
    ContentEncoding = "Content-Encoding", Passed, Dropped;
    ContentRange = "Content-Range", Passed, Dropped;
    AcceptEncoding = "Accept-Encoding", Passed, Dropped;
    CacheControl = "Cache-Control", Passed, Dropped;
    Age = "Age", Passed, Dropped;
    Expires = "Expires", Passed, Dropped;
    Date = "Date", Passed, Dropped;
    Vary = "Vary", Passed, Dropped;
    Location = "Location", Passed, Dropped;
    RetryAfter = "Retry-After", Passed, Dropped;
    Etag = "ETag", Passed, Passed;
    LastModified = "Last-Modified", Passed, Dropped;
    Server = "Server", Passed, Passed;
    UserAgent = "User-Agent", Passed, Passed;
    Referer = "Referer", Passed, Passed;
}

impl Name {
    /// Which name this is.
    pub fn of(name: &[u8]) -> Name {
        if name.is_empty() || name.len() > LONGEST {
            return Name::Other;
        }
        match TABLE[place(name, FACTOR)] {
            VACANT => Name::Other,
            ix if Name::TEXTS[ix as usize].as_bytes().eq_ignore_ascii_case(name) => Name::ALL[ix as usize],
            _ => Name::Other,
        }
    }

    /// Which name a program would take this for that reads `_` and `-` as the same, as all do that get their
    /// fields by way of CGI variables. `Other` if that is no name of ours, or if there is no `_`.
    pub fn disguised(name: &[u8]) -> Name {
        if name.len() > LONGEST || !name.contains(&b'_') {
            return Name::Other;
        }
        let mut plain = [0; LONGEST];
        for (plain, byte) in plain.iter_mut().zip(name) {
            *plain = if *byte == b'_' { b'-' } else { *byte };
        }
        Name::of(&plain[..name.len()])
    }

    /// As it is written. Empty for `Other`.
    pub fn text(self) -> &'static str {
        Name::TEXTS.get(self as usize).copied().unwrap_or_default()
    }
}

const LONGEST: usize = {
    let (mut longest, mut ix) = (0, 0);
    while ix < Name::TEXTS.len() {
        if Name::TEXTS[ix].len() > longest {
            longest = Name::TEXTS[ix].len();
        }
        ix += 1;
    }
    longest
};

const PLACES: usize = 512;
const VACANT: u8 = u8::MAX;
const _: () = assert!(Name::TEXTS.len() < VACANT as usize);

/// A factor for [`place`] that gives each name a place of its own, so that one look and one comparison tell a name.
const FACTOR: u32 = {
    let mut factor = 0x9e37_79b1;
    while table(factor).is_none() {
        factor += 2;
    }
    factor
};

const TABLE: [u8; PLACES] = table(FACTOR).expect("that is what the factor was chosen for");

const fn table(factor: u32) -> Option<[u8; PLACES]> {
    let mut table = [VACANT; PLACES];
    let mut ix = 0;
    while ix < Name::TEXTS.len() {
        let place = place(Name::TEXTS[ix].as_bytes(), factor);
        if table[place] != VACANT {
            return None;
        }
        table[place] = ix as u8;
        ix += 1;
    }
    Some(table)
}

/// Where a name stands in the table: length and three of its letters, without case.
const fn place(name: &[u8], factor: u32) -> usize {
    let length = name.len();
    let first = (name[0] | 0x20) as u32;
    let fourth_last = (name[length.saturating_sub(4)] | 0x20) as u32;
    let last = (name[length - 1] | 0x20) as u32;
    let mixed = (length as u32) | first << 8 | fourth_last << 16 | last << 24;
    (mixed.wrapping_mul(factor) >> (u32::BITS - PLACES.trailing_zeros())) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_without_case() {
        for (ix, name) in Name::ALL.iter().enumerate() {
            assert_eq!(*name as usize, ix);
            let text = name.text();
            for text in [text.to_owned(), text.to_lowercase(), text.to_uppercase()] {
                assert_eq!(Name::of(text.as_bytes()), *name, "{text}");
            }
            assert_eq!(Name::of(format!("{text}x").as_bytes()), Name::Other);
            assert_eq!(Name::of(&text.as_bytes()[1..]), Name::Other, "{text}");
        }
        assert_eq!(Name::of(b""), Name::Other);
        assert_eq!(Name::of(&[b'x'; 1000]), Name::Other);
    }

    /// `|0x20` folds more than letters together: `-` and CR are one place, and only one of them is the name.
    #[test]
    fn a_name_with_other_bytes_is_another() {
        assert_eq!(Name::of(b"content\rlength"), Name::Other);
        assert_eq!(Name::of(b"Host\0"), Name::Other);
        assert_eq!(Name::of(b"hos\x54"), Name::Host);
        assert_eq!(Name::of(b"hos\x14"), Name::Other);
    }

    #[test]
    fn a_name_in_disguise() {
        assert_eq!(Name::disguised(b"X_Forwarded-For"), Name::XForwardedFor);
        assert_eq!(Name::disguised(b"content_length"), Name::ContentLength);
        assert_eq!(Name::disguised(b"Content-Length"), Name::Other, "that is no disguise");
        assert_eq!(Name::disguised(b"x_y"), Name::Other);
        assert_eq!(Name::disguised(&[b'_'; 100]), Name::Other);
    }

    #[test]
    fn what_says_how_a_message_is_framed_or_routed_never_trails() {
        for name in Name::ALL.iter().filter(|name| name.onward() == Onward::Understood) {
            assert_eq!(name.trailing(), Trailing::Refused, "{name:?}");
        }
        for name in Name::ALL.iter().filter(|name| name.trailing() == Trailing::Passed) {
            assert_eq!(name.onward(), Onward::Passed, "{name:?}");
        }
    }
}
