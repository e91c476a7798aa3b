//! HTTP/1.1 as plainly as it can be read: the second reader, which shares nothing with `wire`.
//!
//! Accepts what RFC 9112 lets a sender write and nothing beyond: one message from the front of some bytes, line by line.
//! Slow and meant to be obvious. Bytes that end inside a message are no mistake, they are [`Reading::Part`].

/// What some bytes begin with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reading {
    /// A message, so many bytes long.
    Whole { message: Message, bytes: usize },
    /// The beginning of one, with as much of it as has come. `None`: its head is not complete.
    Part(Option<Message>),
    /// No message.
    Wrong(String),
}

/// Method, target and version; or version, status and reason.
pub type Start = [String; 3];

/// A name and its value.
pub type Field = (String, String);

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    pub start: Start,
    /// Names in lower case.
    pub fields: Vec<Field>,
    pub framing: Framing,
    pub content: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    Nothing,
    Length(usize),
    Chunked,
    /// To the end of the connection: never whole by itself.
    UntilEnd,
}

pub fn request(bytes: &[u8]) -> Reading {
    read(bytes, &|start, fields| {
        let [method, target, version] = start;
        if !is_token(method) || target.is_empty() || version != "HTTP/1.1" {
            return Err(format!("{start:?} begins no request"));
        }
        match fields.iter().filter(|(name, _)| name == "host").count() {
            1 => Ok(said(fields)?.unwrap_or(Framing::Nothing)),
            hosts => Err(format!("{hosts} hosts")),
        }
    })
}

/// `bodiless`: the request was a HEAD.
pub fn response(bytes: &[u8], bodiless: bool) -> Reading {
    read(bytes, &|start, fields| {
        let [version, status, _] = start;
        let known = ["HTTP/1.1", "HTTP/1.0"].contains(&version.as_str());
        if !known || status.len() != 3 || !status.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(format!("{start:?} begins no response"));
        }
        let framing = said(fields)?;
        Ok(match status.as_bytes() {
            [b'1', ..] | b"204" if framing.is_some() => return Err(format!("{status} with content")),
            [b'1', ..] | b"204" | b"304" => Framing::Nothing,
            _ if bodiless => Framing::Nothing,
            _ => framing.unwrap_or(Framing::UntilEnd),
        })
    })
}

/// What the head makes of what is behind it.
type Judge<'a> = &'a dyn Fn(&Start, &[Field]) -> Result<Framing, String>;

fn read(bytes: &[u8], framing: Judge<'_>) -> Reading {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Reading::Part(None) };
    let head = head(&bytes[..end]).and_then(|(start, fields)| {
        let framing = framing(&start, &fields)?;
        Ok(Message { start, fields, framing, content: Vec::new() })
    });
    let mut message = match head {
        Ok(message) => message,
        Err(wrong) => return Reading::Wrong(wrong),
    };
    let begin = end + 4;
    let behind = &bytes[begin..];
    let whole = match message.framing {
        Framing::Nothing => Ok(Some(0)),
        Framing::Length(length) => {
            message.content = behind[..length.min(behind.len())].to_vec();
            Ok((behind.len() >= length).then_some(length))
        }
        Framing::Chunked => chunks(behind, &mut message.content),
        Framing::UntilEnd => {
            message.content = behind.to_vec();
            Ok(None)
        }
    };
    match whole {
        Ok(Some(bytes)) => Reading::Whole { message, bytes: begin + bytes },
        Ok(None) => Reading::Part(Some(message)),
        Err(wrong) => Reading::Wrong(wrong),
    }
}

fn head(head: &[u8]) -> Result<(Start, Vec<Field>), String> {
    // Each byte as the character of the same number.
    let text: String = head.iter().map(|byte| char::from(*byte)).collect();
    if text.replace("\r\n", "").contains(['\r', '\n', '\0']) {
        return Err("a line that ends in two ways, or NUL".into());
    }
    let mut lines = text.split("\r\n");
    let start: Vec<String> = lines.next().unwrap_or("").splitn(3, ' ').map(str::to_owned).collect();
    let start = Start::try_from(start).map_err(|start| format!("{start:?} is no first line"))?;
    let field = |line: &str| {
        let (name, value) = line.split_once(':').ok_or_else(|| format!("{line:?} is no field"))?;
        if !is_token(name) {
            return Err(format!("{name:?} is no name"));
        }
        Ok((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
    };
    Ok((start, lines.map(field).collect::<Result<_, _>>()?))
}

fn said(fields: &[Field]) -> Result<Option<Framing>, String> {
    let values = |wanted: &str| -> Vec<&str> {
        fields.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value.as_str()).collect()
    };
    match (&values("content-length")[..], &values("transfer-encoding")[..]) {
        ([], []) => Ok(None),
        ([length], []) if length.bytes().all(|digit| digit.is_ascii_digit()) => {
            length.parse().map(Framing::Length).map(Some).map_err(|error| format!("{length:?}: {error}"))
        }
        ([], ["chunked"]) => Ok(Some(Framing::Chunked)),
        (lengths, codings) => Err(format!("lengths {lengths:?} and codings {codings:?}")),
    }
}

/// How long they are, with the last one and the trailers; `None`: not all are there.
fn chunks(bytes: &[u8], content: &mut Vec<u8>) -> Result<Option<usize>, String> {
    let mut at = 0;
    let line = |at: usize| {
        let length = bytes[at..].windows(2).position(|two| two == b"\r\n")?;
        Some(&bytes[at..at + length])
    };
    loop {
        let Some(size) = line(at) else { return Ok(None) };
        at += size.len() + 2;
        let digits = !size.is_empty() && size.iter().all(u8::is_ascii_hexdigit);
        let size = std::str::from_utf8(size).ok().filter(|_| digits);
        let size = size.and_then(|size| usize::from_str_radix(size, 16).ok()).ok_or("no size of a chunk")?;
        if size == 0 {
            break;
        }
        let rest = &bytes[at..];
        content.extend_from_slice(&rest[..size.min(rest.len())]);
        match rest.get(size..size + 2) {
            Some(b"\r\n") => at += size + 2,
            Some(_) => return Err("a chunk that does not end where it should".into()),
            None => return Ok(None),
        }
    }
    loop {
        match line(at) {
            None => return Ok(None),
            Some(b"") => return Ok(Some(at + 2)),
            Some(trailer) => at += trailer.len() + 2,
        }
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(reading: Reading) -> Result<(String, Option<usize>), String> {
        let text = |message: Message| String::from_utf8_lossy(&message.content).into_owned();
        match reading {
            Reading::Whole { message, bytes } => Ok((text(message), Some(bytes))),
            Reading::Part(message) => Ok((message.map_or("no head".into(), text), None)),
            Reading::Wrong(wrong) => Err(wrong),
        }
    }

    #[test]
    fn messages_whole_and_not() {
        let check = |bytes: &str, expected: (&str, Option<usize>)| {
            let read = content(request(bytes.as_bytes())).unwrap_or_else(|wrong| panic!("{wrong}: {bytes}"));
            assert_eq!(read, (expected.0.to_owned(), expected.1), "{bytes}");
        };
        check("GET / HTTP/1.1\r\nHost: a\r\n", ("no head", None));
        check("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET", ("", Some(27)));
        check("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcd", ("abc", Some(49)));
        check("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab", ("ab", None));
        let chunked = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        check(&format!("{chunked}3\r\nabc\r\n0\r\nA: b\r\n\r\nx"), ("abc", Some(chunked.len() + 19)));
        check(&format!("{chunked}3\r\nabc\r\n0\r\n"), ("abc", None));
        check(&format!("{chunked}a\r\nabc"), ("abc", None));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_wrong() {
        for head in [
            "GET /  HTTP/1.1\r\nHost: a",
            "GET / HTTP/1.1",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a",
            "GET / HTTP/1.1\r\nHost : a",
            "GET / HTTP/1.1\r\nHost: a\r\n b",
            "GET / HTTP/1.1\r\nHost: a\nX: b",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1",
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked",
        ] {
            assert!(matches!(request(format!("{head}\r\n\r\n").as_bytes()), Reading::Wrong(_)), "{head:?}");
        }
        for body in ["3;x\r\nabc\r\n", "0x3\r\nabc\r\n", "2\r\nabc\r\n", "\r\n"] {
            let bytes = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
            assert!(matches!(response(bytes.as_bytes(), false), Reading::Wrong(_)), "{body:?}");
        }
        assert!(matches!(response(b"HTTP/1.1 204 \r\nContent-Length: 0\r\n\r\n", false), Reading::Wrong(_)));
    }

    #[test]
    fn answers_without_content_end_with_their_heads() {
        for (start, bodiless) in [("HTTP/1.1 304 Not Modified", false), ("HTTP/1.1 200 OK", true)] {
            let bytes = format!("{start}\r\nContent-Length: 9\r\n\r\nx");
            let expected = Ok((String::new(), Some(bytes.len() - 1)));
            assert_eq!(content(response(bytes.as_bytes(), bodiless)), expected, "{start}");
        }
        assert_eq!(content(response(b"HTTP/1.1 200 OK\r\n\r\nall", false)), Ok(("all".into(), None)));
    }
}
