//! How a peer breaks the protocol, and what it is answered. Log field, metric label and answer come from here.

macro_rules! violations {
    ($($(#[$doc:meta])* $name:ident = $label:literal, $status:literal;)*) => {
        /// A message that is not understood in one way only, or is larger than a bound allows. The connection it
        /// came on is closed: where the next message would begin is not known.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum Violation { $($(#[$doc])* $name,)* }

        impl Violation {
            /// All of them, in the order of their discriminants.
            pub const ALL: &[Violation] = &[$(Violation::$name,)*];

            /// The word in logs, metrics and on screens.
            pub fn label(self) -> &'static str {
                match self { $(Violation::$name => $label,)* }
            }

            /// What the client is answered. A client is never told what its origin did wrong.
            pub fn answer(self, by: Peer) -> u16 {
                match (by, self) {
                    (Peer::Origin, _) => 502,
                    $((Peer::Client, Violation::$name) => $status,)*
                }
            }
        }
    };
}

/// Whose message it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Peer {
    Client,
    Origin,
}

violations! {
    /// The first byte begins no message: another protocol, such as TLS, or what is left of a body.
    NotHttp = "not-http", 400;
    /// More than one empty line before a request (RFC 9112 section 2.2), or one before a response.
    EmptyLine = "empty-line", 400;
    /// Not a method, a target and a version with one space between (RFC 9112 section 3).
    RequestLine = "request-line", 400;
    /// Longer than `Limits::line_bytes` (RFC 9112 section 3).
    RequestLineTooLong = "request-line-too-long", 414;
    /// A byte that no target holds, or a form that cannot be read (RFC 9112 section 3.2).
    Target = "target", 400;
    /// A form of target that does not go with the method (RFC 9112 section 3.2).
    TargetForm = "target-form", 400;
    /// A target with a scheme other than `http` or `https`.
    Scheme = "scheme", 400;
    /// Not `HTTP/` digit `.` digit (RFC 9112 section 2.3).
    Version = "version", 400;
    /// A version other than 1.0 and 1.1 (RFC 9110 section 15.6.6).
    UnsupportedVersion = "unsupported-version", 505;
    /// Not a version, three digits and a reason (RFC 9112 section 4).
    StatusLine = "status-line", 502;
    /// A carriage return without a line feed (RFC 9112 section 2.2).
    BareCr = "bare-cr", 400;
    /// A line feed without a carriage return. RFC 9112 section 2.2 would let it pass; others read such a line
    /// as none, and so two messages as one.
    BareLf = "bare-lf", 400;
    /// A NUL byte (RFC 9110 section 5.5).
    Nul = "nul", 400;
    /// A line that begins with a blank (RFC 9112 sections 2.2 and 5.2).
    ObsFold = "obs-fold", 400;
    /// A blank between name and colon (RFC 9112 section 5.1).
    SpaceBeforeColon = "space-before-colon", 400;
    /// A colon without a name (RFC 9112 section 5).
    EmptyName = "empty-name", 400;
    /// A name that is no token, or a line without a colon (RFC 9110 section 5.1).
    FieldName = "field-name", 400;
    /// A control character in a value (RFC 9110 section 5.5).
    FieldValue = "field-value", 400;
    /// Longer than `Limits::head_bytes` (RFC 6585 section 5).
    HeadTooLarge = "head-too-large", 431;
    /// More than `Limits::fields`.
    TooManyFields = "too-many-fields", 431;
    /// A name longer than `Limits::name_bytes`.
    NameTooLong = "name-too-long", 431;
    /// A value longer than `Limits::value_bytes`.
    ValueTooLong = "value-too-long", 431;
    /// An HTTP/1.1 request without `Host` (RFC 9112 section 3.2).
    MissingHost = "missing-host", 400;
    /// More than one `Host` (RFC 9112 section 3.2).
    RepeatedHost = "repeated-host", 400;
    /// A host that is empty, or no name or address with at most a port (RFC 9112 section 3.2).
    BadHost = "bad-host", 400;
    /// More than one `Content-Length`, were they equal (RFC 9112 section 6.3 lets equal ones pass).
    RepeatedLength = "repeated-length", 400;
    /// A `Content-Length` with a comma (RFC 9110 section 8.6 lets equal members pass).
    LengthList = "length-list", 400;
    /// A `Content-Length` that is not digits alone (RFC 9110 section 8.6).
    BadLength = "bad-length", 400;
    /// A `Content-Length` of 2⁶⁴ or more.
    LengthOverflow = "length-overflow", 400;
    /// `Content-Length` beside `Transfer-Encoding` (RFC 9112 section 6.1).
    LengthWithCoding = "length-with-coding", 400;
    /// `Transfer-Encoding` in HTTP/1.0 (RFC 9112 section 6.1).
    CodingInOldVersion = "coding-in-old-version", 400;
    /// `chunked` is not the last transfer coding, or not there once (RFC 9112 section 6.3).
    BadCoding = "bad-coding", 400;
    /// A transfer coding beside `chunked` (RFC 9112 section 6.1).
    UnknownCoding = "unknown-coding", 501;
    /// CONNECT with content (RFC 9110 section 9.3.6 gives it no meaning).
    FramedConnect = "framed-connect", 400;
    /// Content announced by a status that has none (RFC 9110 section 8.6, RFC 9112 section 6.1).
    FramedBodiless = "framed-bodiless", 502;
    /// More content than `Limits::body_bytes`.
    BodyTooLarge = "body-too-large", 413;
    /// A `Connection` that is no list of tokens (RFC 9110 section 7.6.1).
    BadConnection = "bad-connection", 400;
    /// More connection options than `CONNECTION_OPTIONS_MAX`.
    TooManyOptions = "too-many-options", 400;
    /// An expectation other than `100-continue` (RFC 9110 section 10.1.1).
    Expectation = "expectation", 417;
    /// 101 to a request that asked for no other protocol (RFC 9110 section 15.2.2).
    UnaskedSwitch = "unasked-switch", 502;
    /// More interim responses than `INTERIMS_MAX`.
    TooManyInterims = "too-many-interims", 502;
    /// A chunk's size line that is not hexadecimal digits and extensions (RFC 9112 section 7.1).
    ChunkSize = "chunk-size", 400;
    /// A chunk of 2⁶⁴ bytes or more, or more than 16 digits (RFC 9112 section 7.1).
    ChunkSizeOverflow = "chunk-size-overflow", 400;
    /// More bytes of chunk extensions than `EXTENSION_BYTES_MAX` (RFC 9112 section 7.1.1).
    ExtensionsTooLong = "extensions-too-long", 400;
    /// No CRLF after a chunk's data (RFC 9112 section 7.1).
    ChunkEnd = "chunk-end", 400;
    /// A trailer that says how the message is framed or routed (RFC 9110 section 6.5.1).
    ForbiddenTrailer = "forbidden-trailer", 400;
    /// More bytes of trailers than `Limits::trailer_bytes`.
    TrailersTooLarge = "trailers-too-large", 431;
    /// The connection ended inside a message (RFC 9112 section 8).
    Truncated = "truncated", 400;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn labels_are_distinct_and_answers_are_errors() {
        let mut seen = HashSet::new();
        for (ix, violation) in Violation::ALL.iter().enumerate() {
            assert_eq!(*violation as usize, ix);
            assert!(seen.insert(violation.label()), "label {} is used twice", violation.label());
            assert!((400..600).contains(&violation.answer(Peer::Client)), "{violation:?}");
            assert_eq!(violation.answer(Peer::Origin), 502);
        }
    }
}
