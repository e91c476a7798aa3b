//! The form of a path that rules are matched on.
//!
//! Owns the one reading of a request's path that every rule shares, and says which paths have no reading that
//! all servers agree on. Refuses to know rules, and what the origin is sent.
//!
//! A rule is bypassed when the proxy and the origin read one path in two ways. So the rules see what an origin
//! is likely to make of it, and what origins are known to disagree about is refused:
//!
//! | sent | matched as | why |
//! |---|---|---|
//! | `%61`, `%7E`, `%40`, `%3a` | `a`, `~`, `@`, `:` | whatever may stand in a segment as itself is decoded: unreserved characters (RFC 3986 section 6.2.2.2), and further those that section 2.2 would let differ, because servers that decode a path decode them too |
//! | `%3b` | `%3B` | the exception: servlet containers cut a segment at `;` before they decode |
//! | `%e4`, `ä`, `"`, `{` | `%E4`, `%C3%A4`, `%22`, `%7B` | what may not stand as itself is escaped, in capitals (section 6.2.2.1) |
//! | `%252e` | `%252E` | decoded once and never again |
//! | `/a/./b/../c` | `/a/c` | section 5.2.4 |
//! | `//a///b` | `/a/b` | most origins merge them, and none serves two things at the two |
//! | `/a//../b` | refused | merged first it is `/b`, by section 5.2.4 alone it is `/a/b` |
//! | `/..`, `/a/../../b` | refused | above the root |
//! | `/a/..;/b` | refused | servlet containers take `..;` for `..` |
//! | `%2F`, `%5C`, `\` | refused, or with [`EscapedSlash::Keep`] `%2F`, `%5C` | some origins decode them and then see another segment |
//! | `%00`, `%0d`, `%zz`, `%4` | refused | a control character, or no escape at all |
//!
//! What is left to the operator: `/admin;x` is a segment of its own and not `/admin`; letters' case matters
//! though a file system behind the origin may ignore it; and an origin that decodes twice reads `%252e` as a dot.
//! The origin is sent the path as it came, unless a rule rewrites it: then it is sent a path in this form.

/// A path in the form that rules are matched on: `*`, or a slash and what follows. Made by [`normalise`] only.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NormalPath<'a>(&'a [u8]);

impl<'a> NormalPath<'a> {
    /// The request's whole server, `OPTIONS *`: only rules that ask for no path match it.
    pub const ASTERISK: NormalPath<'static> = NormalPath(b"*");

    pub const ROOT: NormalPath<'static> = NormalPath(b"/");

    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

/// What becomes of an escaped slash or backslash, and of a bare backslash.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum EscapedSlash {
    #[default]
    Refuse,
    /// It stays escaped: a character of its segment that divides nothing. For origins that do the same, such
    /// as registries whose package names contain one.
    Keep,
}

/// Why a path is refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PathViolation {
    /// It does not begin with a slash.
    NotAbsolute,
    /// A percent sign without two hexadecimal digits (RFC 3986 section 2.1).
    BadEscape,
    /// `%00`.
    EscapedNul,
    /// `%01` to `%1F`, `%7F`.
    EscapedControl,
    /// A control character, space, `?` or `#` as itself.
    BadByte,
    /// See [`EscapedSlash::Refuse`].
    EscapedSlash,
    /// More `..` than there are segments to leave.
    AboveRoot,
    /// `..` behind an empty segment: what it leaves depends on who reads it.
    AmbiguousDots,
    /// `.;` or `..;` at the beginning of a segment.
    DotsWithParameters,
}

impl PathViolation {
    /// The status that the client gets. No `_` arm: a new violation must choose its answer.
    pub fn answer(self) -> u16 {
        use PathViolation::*;
        match self {
            NotAbsolute | BadEscape | EscapedNul | EscapedControl | BadByte => 400,
            EscapedSlash | AboveRoot | AmbiguousDots | DotsWithParameters => 400,
        }
    }

    /// The word in logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            PathViolation::NotAbsolute => "path-not-absolute",
            PathViolation::BadEscape => "path-bad-escape",
            PathViolation::EscapedNul => "path-escaped-nul",
            PathViolation::EscapedControl => "path-escaped-control",
            PathViolation::BadByte => "path-bad-byte",
            PathViolation::EscapedSlash => "path-escaped-slash",
            PathViolation::AboveRoot => "path-above-root",
            PathViolation::AmbiguousDots => "path-ambiguous-dots",
            PathViolation::DotsWithParameters => "path-dots-with-parameters",
        }
    }
}

/// Reads a path, without its query, as it was sent.
///
/// A path that is in its normal form already is not copied, any other is written to `buffer`. The normal form
/// is at most three times as long, and itself in its normal form.
pub fn normalise<'a>(
    sent: &'a [u8],
    slash: EscapedSlash,
    buffer: &'a mut Vec<u8>,
) -> Result<NormalPath<'a>, PathViolation> {
    if is_plain(sent) {
        return Ok(NormalPath(sent));
    }
    if sent == NormalPath::ASTERISK.0 {
        return Ok(NormalPath::ASTERISK);
    }
    let Some(sent) = sent.strip_prefix(b"/") else {
        return Err(PathViolation::NotAbsolute);
    };
    buffer.clear();
    let mut merged = false;
    let mut segments = sent.split(|byte| *byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let begin = buffer.len();
        buffer.push(b'/');
        decode(segment, slash, buffer)?;
        let last = segments.peek().is_none();
        match &buffer[begin + 1..] {
            b"" if last => {}
            b"" => {
                merged = true;
                buffer.truncate(begin);
            }
            b"." => buffer.truncate(begin + usize::from(last)),
            b".." if merged => return Err(PathViolation::AmbiguousDots),
            b".." => {
                let parent = buffer[..begin].iter().rposition(|byte| *byte == b'/');
                buffer.truncate(parent.ok_or(PathViolation::AboveRoot)? + usize::from(last));
            }
            [b'.', b';', ..] | [b'.', b'.', b';', ..] => return Err(PathViolation::DotsWithParameters),
            _ => {}
        }
    }
    Ok(NormalPath(buffer))
}

/// In its normal form at a glance: most paths are.
fn is_plain(path: &[u8]) -> bool {
    let mut before = 0;
    for byte in path {
        let dubious = before == b'/' && matches!(byte, b'/' | b'.');
        if dubious || !(stands_as_itself(*byte) || matches!(byte, b'/' | b';')) {
            return false;
        }
        before = *byte;
    }
    path.first() == Some(&b'/')
}

/// One segment, each character in its one spelling.
fn decode(segment: &[u8], slash: EscapedSlash, out: &mut Vec<u8>) -> Result<(), PathViolation> {
    let mut rest = segment.iter().copied();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => {
                let mut digit = || rest.next().and_then(hex_digit);
                match digit().zip(digit()).ok_or(PathViolation::BadEscape)? {
                    (0, 0) => return Err(PathViolation::EscapedNul),
                    (0 | 1, _) | (7, 15) => return Err(PathViolation::EscapedControl),
                    (high, low) => high << 4 | low,
                }
            }
            0..=0x20 | 0x7f | b'?' | b'#' => return Err(PathViolation::BadByte),
            b';' => {
                out.push(b';');
                continue;
            }
            byte => byte,
        };
        match byte {
            b'/' | b'\\' if slash == EscapedSlash::Refuse => return Err(PathViolation::EscapedSlash),
            byte if stands_as_itself(byte) => out.push(byte),
            byte => push_escape(byte, out),
        }
    }
    Ok(())
}

/// RFC 3986 `pchar`, of which `;` is left out: see the module's documentation.
fn stands_as_itself(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~')
        || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@')
}

pub(super) fn hex_digit(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|digit| digit as u8)
}

pub(super) fn push_escape(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(sent: &[u8], slash: EscapedSlash) -> Result<Vec<u8>, PathViolation> {
        normalise(sent, slash, &mut Vec::new()).map(|path| path.as_bytes().to_vec())
    }

    #[track_caller]
    fn check(sent: &str, matched: &str) {
        let normal = read(sent.as_bytes(), EscapedSlash::Refuse);
        assert_eq!(normal.map(|path| String::from_utf8(path).unwrap()), Ok(matched.to_owned()), "of {sent}");
    }

    #[track_caller]
    fn refused(sent: &[u8], why: PathViolation) {
        assert_eq!(read(sent, EscapedSlash::Refuse), Err(why), "of {:?}", sent.escape_ascii().to_string());
    }

    #[test]
    fn one_spelling_for_each_character() {
        check("/a/b", "/a/b");
        check("/%61%2D%7e", "/a-~");
        check("/v1/users%3AbatchDelete%40x", "/v1/users:batchDelete@x");
        check("/a;b/c%3bd", "/a;b/c%3Bd");
        check("/%e4ä", "/%E4%C3%A4");
        check("/{a}\"|^`<>", "/%7Ba%7D%22%7C%5E%60%3C%3E");
        check("/%252e%252E/%25", "/%252e%252E/%25");
        check("*", "*");
    }

    #[test]
    fn dots_and_empty_segments_are_gone() {
        check("/", "/");
        check("//", "/");
        check("//a///b//", "/a/b/");
        check("/a/./b/../c", "/a/c");
        check("/a/%2e/%2E%2e/c", "/c");
        check("/a/.", "/a/");
        check("/a/..", "/");
        check("/a/b/..", "/a/");
        check("/.", "/");
        check("/..a/...", "/..a/...");
        check("/.well-known/x", "/.well-known/x");
        check("/a/../b//c", "/b/c");
    }

    #[test]
    fn what_has_no_one_reading_is_refused() {
        use PathViolation::*;
        for (sent, why) in [
            (&b""[..], NotAbsolute),
            (b"a", NotAbsolute),
            (b"**", NotAbsolute),
            (b"/%", BadEscape),
            (b"/%4", BadEscape),
            (b"/%zz", BadEscape),
            (b"/%+1", BadEscape),
            (b"/a%00", EscapedNul),
            (b"/%0d%0a", EscapedControl),
            (b"/%7F", EscapedControl),
            (b"/a b", BadByte),
            (b"/a?b", BadByte),
            (b"/a#b", BadByte),
            (b"/\r\n", BadByte),
            (b"/\0", BadByte),
            (b"/a%2fb", EscapedSlash),
            (b"/a%5Cb", EscapedSlash),
            (b"/a\\b", EscapedSlash),
            (b"/..", AboveRoot),
            (b"/a/../../b", AboveRoot),
            (b"/%2e%2e/b", AboveRoot),
            (b"/a//../b", AmbiguousDots),
            (b"/a//b/../..", AmbiguousDots),
            (b"/a/..;/b", DotsWithParameters),
            (b"/a/.;x", DotsWithParameters),
            (b"/a/%2e.;x", DotsWithParameters),
        ] {
            refused(sent, why);
            assert_eq!(why.answer(), 400);
        }
    }

    #[test]
    fn an_escaped_slash_that_is_kept_divides_nothing() {
        let kept = |sent: &str| read(sent.as_bytes(), EscapedSlash::Keep).map(|path| String::from_utf8(path).unwrap());
        assert_eq!(kept("/@scope%2fname"), Ok("/@scope%2Fname".into()));
        assert_eq!(kept("/a\\..%5c"), Ok("/a%5C..%5C".into()));
        assert_eq!(kept("/a/..%2fb"), Ok("/a/..%2Fb".into()));
    }

    proptest! {
        /// Whatever is sent, what is matched is its own normal form, has no dots, and no byte that ends a line.
        #[test]
        fn the_normal_form_is_normal(sent in "/[ab./%25;2eEfF\\\\é{]{0,24}") {
            for slash in [EscapedSlash::Refuse, EscapedSlash::Keep] {
                let Ok(normal) = read(sent.as_bytes(), slash) else { continue };
                prop_assert_eq!(read(&normal, slash), Ok(normal.clone()));
                prop_assert!(normal.len() <= 3 * sent.len());
                prop_assert!(normal.iter().all(|byte| (0x21..0x7f).contains(byte)));
                let mut segments = normal[1..].split(|byte| *byte == b'/').rev();
                prop_assert!(segments.next().is_some_and(|last| last != b"." && last != b".."));
                prop_assert!(segments.all(|segment| !matches!(segment, b"" | b"." | b"..")));
            }
        }

        /// Bypass by encoding: escaping any character that is not a slash leads to the same rules.
        #[test]
        fn another_spelling_is_the_same_path(path in "(/[a-z@:.+-]{1,6}){1,4}", choose in any::<u32>()) {
            let spelled: String = path.bytes().enumerate().map(|(at, byte)| match byte {
                byte if byte != b'/' && choose >> (at % 32) & 1 == 1 => format!("%{byte:02x}"),
                byte => (byte as char).into(),
            }).collect();
            let (one, other) = (read(path.as_bytes(), EscapedSlash::Refuse), read(spelled.as_bytes(), EscapedSlash::Refuse));
            prop_assert_eq!(one, other);
        }
    }
}
