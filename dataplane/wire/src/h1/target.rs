//! What a request is about: the four forms of a target (RFC 9112 section 3.2).

use crate::h1::authority::Authority;
use crate::h1::bytes::{is_path, is_query};
use crate::h1::method::Method;
use crate::h1::span::Span;
use crate::h1::violation::Violation;

/// A target as it was sent. See [`Target::path`] for what it means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    pub whole: Span,
    pub form: Form,
    /// Empty in authority-form, and perhaps in absolute-form; `*` in asterisk-form.
    path: Span,
    /// Behind the `?`. `Some` and empty: there is a `?` and nothing behind it.
    pub query: Option<Span>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// A path: what clients send to a server.
    Origin,
    /// A whole URI: what clients send to a proxy, and every server must understand.
    Absolute { scheme: Scheme, authority: Authority },
    /// `host:port`, of CONNECT.
    Authority(Authority),
    /// `*`, of OPTIONS: the server as a whole.
    Asterisk,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub fn text(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

impl Target {
    pub(crate) fn parse(bytes: &[u8], whole: Span, method: Method) -> Result<Target, Violation> {
        if method == Method::Connect {
            return Target::authority(bytes, whole);
        }
        let start = whole.range().start;
        match whole.of(bytes) {
            [b'/', ..] => Target::path_and_query(bytes, whole, whole, Form::Origin),
            b"*" if method == Method::Options => Ok(Target { whole, form: Form::Asterisk, path: whole, query: None }),
            b"*" => Err(Violation::TargetForm),
            text => {
                let colon = text.iter().position(|byte| *byte == b':').ok_or(Violation::Target)?;
                if !text[colon..].starts_with(b"://") {
                    // `a:80` is for CONNECT; the rest is no target.
                    return Err(Violation::TargetForm);
                }
                let scheme = match &text[..colon] {
                    scheme if scheme.eq_ignore_ascii_case(b"http") => Scheme::Http,
                    scheme if scheme.eq_ignore_ascii_case(b"https") => Scheme::Https,
                    _ => return Err(Violation::Scheme),
                };
                let begin = colon + "://".len();
                let end = text[begin..].iter().position(|byte| matches!(byte, b'/' | b'?'));
                let end = end.map_or(text.len(), |end| begin + end);
                let authority = Authority::parse(bytes, Span::new(start + begin, start + end))?;
                let rest = Span::new(start + end, start + text.len());
                Target::path_and_query(bytes, whole, rest, Form::Absolute { scheme, authority })
            }
        }
    }

    /// RFC 9110 section 9.3.6: the port must be there.
    fn authority(bytes: &[u8], whole: Span) -> Result<Target, Violation> {
        let authority = Authority::parse(bytes, whole).map_err(|_| Violation::TargetForm)?;
        match authority.port {
            Some(1..) => {
                let path = Span::new(whole.range().start, whole.range().start);
                Ok(Target { whole, form: Form::Authority(authority), path, query: None })
            }
            _ => Err(Violation::TargetForm),
        }
    }

    fn path_and_query(bytes: &[u8], whole: Span, rest: Span, form: Form) -> Result<Target, Violation> {
        let (text, start, end) = (rest.of(bytes), rest.range().start, rest.range().end);
        let mark = memchr::memchr(b'?', text).map(|mark| start + mark);
        let path = Span::new(start, mark.unwrap_or(end));
        let query = mark.map(|mark| Span::new(mark + 1, end));
        let fine = path.of(bytes).iter().all(|byte| is_path(*byte))
            && query.is_none_or(|query| query.of(bytes).iter().all(|byte| is_query(*byte)));
        if fine { Ok(Target { whole, form, path, query }) } else { Err(Violation::Target) }
    }

    /// The path that is meant: `/` where an absolute-form has none, `*` if the whole server is meant, nothing for
    /// CONNECT. `bytes` are those that were parsed.
    pub fn path<'b>(&self, bytes: &'b [u8], method: Method) -> &'b [u8] {
        match self.form {
            Form::Origin | Form::Asterisk | Form::Authority(_) => self.path.of(bytes),
            Form::Absolute { .. } if !self.path.is_empty() => self.path.of(bytes),
            // RFC 9112 section 3.2.4: what an OPTIONS without path becomes.
            Form::Absolute { .. } if method == Method::Options && self.query.is_none() => b"*",
            Form::Absolute { .. } => b"/",
        }
    }
}
