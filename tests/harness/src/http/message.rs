//! Heads of messages, and the framing of the body that follows from them (RFC 9112, section 6).

use crate::http::failure::Malformed;
use serde_json::{Value, json};
use std::fmt;

/// Fields in the order and the case in which they came or will be sent, values without the white space around them.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Fields(pub Vec<(String, String)>);

impl Fields {
    pub fn of(fields: &[(&str, &str)]) -> Fields {
        Fields(fields.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect())
    }

    pub fn push(&mut self, name: &str, value: impl fmt::Display) {
        self.0.push((name.to_owned(), value.to_string()));
    }

    /// The values of all fields of this name, in whatever case it is written.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn first(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn has(&self, name: &str) -> bool {
        self.first(name).is_some()
    }

    /// Whether a field of this name, read as a list, has this member.
    pub fn lists(&self, name: &str, member: &str) -> bool {
        self.all(name).flat_map(|value| value.split(',')).any(|listed| listed.trim().eq_ignore_ascii_case(member))
    }

    /// The lines of a head, without the empty one.
    pub fn lines(&self) -> Vec<u8> {
        self.0.iter().flat_map(|(name, value)| bytes_of(&format!("{name}: {value}\r\n"))).collect()
    }

    pub fn to_json(&self) -> Value {
        self.0.iter().map(|(name, value)| json!([name, value])).collect()
    }

    /// `None`: not a list of pairs of strings.
    pub fn from_json(value: &Value) -> Option<Fields> {
        let pair = |pair: &Value| Some((pair.get(0)?.as_str()?.to_owned(), pair.get(1)?.as_str()?.to_owned()));
        value.as_array()?.iter().map(pair).collect::<Option<_>>().map(Fields)
    }
}

/// Each byte as the character of the same number.
pub fn text_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// The reverse of [`text_of`]. Panics for a character that no byte stands for.
pub fn bytes_of(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(c).unwrap_or_else(|_| panic!("{c:?} is no byte of a head"))).collect()
}

/// What says where a body ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// There is none.
    None,
    Length(u64),
    Chunked,
    /// It goes on to the end of the connection.
    UntilEnd,
}

/// The head of a request as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestHead {
    pub method: String,
    pub target: String,
    pub version: Version,
    pub fields: Fields,
    /// Byte for byte, with the empty line.
    pub raw: Vec<u8>,
}

/// The head of an answer as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StatusHead {
    pub version: Version,
    pub status: u16,
    pub reason: String,
    pub fields: Fields,
    /// Byte for byte, with the empty line.
    pub raw: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Version {
    Http10,
    Http11,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
        })
    }
}

impl Version {
    pub fn read(text: &str) -> Option<Version> {
        match text {
            "HTTP/1.0" => Some(Version::Http10),
            "HTTP/1.1" => Some(Version::Http11),
            _ => None,
        }
    }
}

impl RequestHead {
    /// `lines` are those of the head, without their ends and without the empty one.
    pub fn read(lines: &[Vec<u8>], raw: Vec<u8>) -> Result<RequestHead, Malformed> {
        let (first, rest) = lines.split_first().ok_or(Malformed::StartLine(String::new()))?;
        let first = text_of(first);
        let malformed = || Malformed::StartLine(first.clone());
        let [method, target, version] = first.split(' ').collect::<Vec<_>>()[..] else {
            return Err(malformed());
        };
        let version = Version::read(version).ok_or_else(malformed)?;
        if !is_token(method) || target.is_empty() || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(malformed());
        }
        Ok(RequestHead { method: method.into(), target: target.into(), version, fields: fields_of(rest)?, raw })
    }

    pub fn framing(&self) -> Result<Framing, Malformed> {
        Ok(said_framing(self.version, &self.fields)?.unwrap_or(Framing::None))
    }

    /// Whether the connection can carry another request afterwards.
    pub fn persists(&self) -> bool {
        persists(self.version, &self.fields)
    }
}

impl StatusHead {
    /// `lines` are those of the head, without their ends and without the empty one.
    pub fn read(lines: &[Vec<u8>], raw: Vec<u8>) -> Result<StatusHead, Malformed> {
        let (first, rest) = lines.split_first().ok_or(Malformed::StartLine(String::new()))?;
        let first = text_of(first);
        let malformed = || Malformed::StartLine(first.clone());
        // The space after the status is there even when no reason follows.
        let [version, status, reason] = first.splitn(3, ' ').collect::<Vec<_>>()[..] else {
            return Err(malformed());
        };
        let version = Version::read(version).ok_or_else(malformed)?;
        let digits = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit());
        let status = status.parse().ok().filter(|status| digits && *status >= 100).ok_or_else(malformed)?;
        Ok(StatusHead { version, status, reason: reason.into(), fields: fields_of(rest)?, raw })
    }

    /// An answer that another one follows. 101 is none of them: it is the last word of HTTP on its connection.
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    /// The framing of the body of an answer to this method.
    pub fn framing(&self, method: &str) -> Result<Framing, Malformed> {
        let said = said_framing(self.version, &self.fields)?;
        match self.status {
            // RFC 9110, section 8.6, and RFC 9112, section 6.1: not even the fields may be there.
            100..200 | 204 if said.is_some() => Err(Malformed::FramingNotAllowed { status: self.status }),
            100..200 | 204 | 304 => Ok(Framing::None),
            _ if method == "HEAD" => Ok(Framing::None),
            _ => Ok(said.unwrap_or(Framing::UntilEnd)),
        }
    }

    /// Whether the connection can carry another answer afterwards, if the framing lets it.
    pub fn persists(&self) -> bool {
        persists(self.version, &self.fields)
    }
}

/// Whether a message with these fields leaves its connection open.
pub fn persists(version: Version, fields: &Fields) -> bool {
    match version {
        Version::Http10 => fields.lists("Connection", "keep-alive") && !fields.lists("Connection", "close"),
        Version::Http11 => !fields.lists("Connection", "close"),
    }
}

/// What Content-Length and Transfer-Encoding say.
fn said_framing(version: Version, fields: &Fields) -> Result<Option<Framing>, Malformed> {
    let lengths: Vec<&str> = fields.all("Content-Length").collect();
    let codings: Vec<&str> = fields.all("Transfer-Encoding").collect();
    match (&lengths[..], &codings[..]) {
        ([], []) => Ok(None),
        ([_, ..], [_, ..]) => Err(Malformed::LengthAndCoding),
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => match version {
            Version::Http10 => Err(Malformed::CodingBeforeHttp11),
            Version::Http11 => Ok(Some(Framing::Chunked)),
        },
        ([], codings) => Err(Malformed::Coding(codings.join(", "))),
        ([length], []) if !length.contains(',') => {
            let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
            let number = length.parse().ok().filter(|_| digits);
            number.map(|number| Some(Framing::Length(number))).ok_or(Malformed::Length(length.to_string()))
        }
        (lengths, []) => Err(Malformed::TwoLengths(lengths.iter().map(ToString::to_string).collect())),
    }
}

/// The fields of a head or of a trailer section.
pub fn fields_of(lines: &[Vec<u8>]) -> Result<Fields, Malformed> {
    let mut fields = Fields::default();
    for line in lines {
        let line = text_of(line);
        if line.starts_with([' ', '\t']) {
            return Err(Malformed::Folded(line));
        }
        match line.split_once(':') {
            Some((name, value)) if is_token(name) => fields.push(name, value.trim_matches([' ', '\t'])),
            _ => return Err(Malformed::FieldLine(line)),
        }
    }
    Ok(fields)
}

/// RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<Vec<u8>> {
        text.lines().map(|line| line.as_bytes().to_vec()).collect()
    }

    #[test]
    fn first_lines_of_requests() {
        let check = |line: &str, good: bool| {
            let read = RequestHead::read(&lines(line), Vec::new());
            assert_eq!(read.is_ok(), good, "{line:?}: {read:?}");
        };
        check("GET / HTTP/1.1", true);
        check("M-SEARCH * HTTP/1.0", true);
        check("GET  / HTTP/1.1", false);
        check("GET / HTTP/1.1 ", false);
        check("GET /", false);
        check("GET / HTTP/2.0", false);
        check("GET / http/1.1", false);
        check("G(T / HTTP/1.1", false);
        check("GET /\u{e9} HTTP/1.1", false);
        check("", false);
    }

    #[test]
    fn first_lines_of_answers() {
        let check = |line: &str, expected: Option<(u16, &str)>| {
            let read = StatusHead::read(&lines(line), Vec::new());
            assert_eq!(read.as_ref().ok().map(|head| (head.status, head.reason.as_str())), expected, "{line:?}");
        };
        check("HTTP/1.1 200 OK", Some((200, "OK")));
        check("HTTP/1.1 200 ", Some((200, "")));
        check("HTTP/1.0 599 Not at all", Some((599, "Not at all")));
        check("HTTP/1.1 200", None);
        check("HTTP/1.1 20 OK", None);
        check("HTTP/1.1 +20 OK", None);
        check("HTTP/1.1 099 OK", None);
        check("HTTP/1.1  200 OK", None);
        check("ICY 200 OK", None);
    }

    #[test]
    fn field_lines() {
        let check = |line: &str, expected: Result<(&str, &str), Malformed>| {
            assert_eq!(fields_of(&lines(line)), expected.map(|pair| Fields::of(&[pair])), "{line:?}");
        };
        check("A: b", Ok(("A", "b")));
        check("a:\t b c \t", Ok(("a", "b c")));
        check("A:", Ok(("A", "")));
        check("A : b", Err(Malformed::FieldLine("A : b".into())));
        check(": b", Err(Malformed::FieldLine(": b".into())));
        check("A b", Err(Malformed::FieldLine("A b".into())));
        check(" A: b", Err(Malformed::Folded(" A: b".into())));
    }

    #[test]
    fn framing_of_requests() {
        let check = |fields: &[(&str, &str)], expected: Result<Framing, Malformed>| {
            let fields = Fields::of(fields);
            let head = RequestHead {
                method: "POST".into(),
                target: "/".into(),
                version: Version::Http11,
                fields,
                raw: Vec::new(),
            };
            assert_eq!(head.framing(), expected);
        };
        check(&[], Ok(Framing::None));
        check(&[("content-length", "007")], Ok(Framing::Length(7)));
        check(&[("Transfer-Encoding", "Chunked")], Ok(Framing::Chunked));
        check(&[("Content-Length", "+7")], Err(Malformed::Length("+7".into())));
        check(&[("Content-Length", "")], Err(Malformed::Length("".into())));
        check(&[("Content-Length", "18446744073709551616")], Err(Malformed::Length("18446744073709551616".into())));
        check(&[("Content-Length", "7, 7")], Err(Malformed::TwoLengths(vec!["7, 7".into()])));
        check(
            &[("Content-Length", "7"), ("Content-Length", "7")],
            Err(Malformed::TwoLengths(vec!["7".into(), "7".into()])),
        );
        check(&[("Content-Length", "7"), ("Transfer-Encoding", "chunked")], Err(Malformed::LengthAndCoding));
        check(&[("Transfer-Encoding", "gzip, chunked")], Err(Malformed::Coding("gzip, chunked".into())));
        check(
            &[("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")],
            Err(Malformed::Coding("chunked, chunked".into())),
        );
    }

    #[test]
    fn framing_of_answers() {
        let check = |line: &str, method: &str, expected: Result<Framing, Malformed>| {
            let head = StatusHead::read(&lines(line), Vec::new()).expect("a good head");
            assert_eq!(head.framing(method), expected, "{line:?} to {method}");
        };
        check("HTTP/1.1 200 OK", "GET", Ok(Framing::UntilEnd));
        check("HTTP/1.1 200 OK\nContent-Length: 5", "GET", Ok(Framing::Length(5)));
        check("HTTP/1.1 200 OK\nContent-Length: 5", "HEAD", Ok(Framing::None));
        check("HTTP/1.1 304 OK\nContent-Length: 5", "GET", Ok(Framing::None));
        check("HTTP/1.1 204 OK", "GET", Ok(Framing::None));
        check("HTTP/1.1 204 OK\nContent-Length: 5", "GET", Err(Malformed::FramingNotAllowed { status: 204 }));
        check("HTTP/1.1 100 Go\nTransfer-Encoding: chunked", "GET", Err(Malformed::FramingNotAllowed { status: 100 }));
        check("HTTP/1.0 200 OK\nTransfer-Encoding: chunked", "GET", Err(Malformed::CodingBeforeHttp11));
    }

    #[test]
    fn any_byte_survives_as_text() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(bytes_of(&text_of(&bytes)), bytes);
    }
}
