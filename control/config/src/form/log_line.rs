//! A line of the access log as the operator writes it: text with `{placeholders}`.
//!
//! Owns the placeholders' names; what they stand for is filled in by whoever writes the log.

use super::http::text;
use super::{Describe, Form, Shown, Wrong};
use crate::tree::Node;
use serde_json::json;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A template that was read. Equal texts are equal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogTemplate {
    text: Arc<str>,
    pieces: Arc<[LogPiece]>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogPiece {
    Text(Box<str>),
    Field(LogField),
}

macro_rules! fields {
    ($($(#[doc = $doc:literal])* $name:ident = $word:literal;)*) => {
        /// What a line can say of a request or a tunnel.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum LogField { $($(#[doc = $doc])* $name,)* }

        impl LogField {
            pub const ALL: &[LogField] = &[$(LogField::$name,)*];

            /// As it stands between braces.
            pub fn word(self) -> &'static str {
                match self { $(LogField::$name => $word,)* }
            }
        }
    };
}

fields! {
    /// When it began, RFC 3339 with microseconds.
    Time = "time";
    /// As the common log format writes it.
    ClfTime = "clf_time";
    /// Address and port.
    Client = "client";
    ClientIp = "client_ip";
    Method = "method";
    /// The target as sent.
    Uri = "uri";
    Host = "host";
    Version = "version";
    /// 0: the client was answered nothing.
    Status = "status";
    BytesIn = "bytes_in";
    BytesOut = "bytes_out";
    Reason = "reason";
    /// What could not be understood.
    Violation = "violation";
    Pool = "pool";
    Generation = "generation";
    Rule = "rule";
    Group = "group";
    Backend = "backend";
    ConnectMicros = "connect_micros";
    FirstByteMicros = "first_byte_micros";
    DurationMicros = "duration_micros";
    Attempts = "attempts";
    /// `true`: over a connection that had served a request before.
    Reused = "reused";
    RequestId = "request_id";
    Referer = "referer";
    UserAgent = "user_agent";
    Shard = "shard";
}

/// Bytes of a template.
const TEMPLATE_BYTES_MAX: usize = 4_096;

impl LogTemplate {
    pub fn pieces(&self) -> &[LogPiece] {
        &self.pieces
    }
}

impl FromStr for LogTemplate {
    /// What is wrong with it.
    type Err = String;

    fn from_str(text: &str) -> Result<LogTemplate, String> {
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(format!("longer than {TEMPLATE_BYTES_MAX} bytes"));
        }
        if text.chars().any(char::is_control) {
            return Err("a control character: a record is one line".into());
        }
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let tail = &rest[at..];
            if tail.starts_with("{{") || tail.starts_with("}}") {
                literal.push_str(&tail[..1]);
                rest = &tail[2..];
                continue;
            }
            let end = tail.find('}').filter(|_| tail.starts_with('{'));
            let Some(end) = end else { return Err("a brace without its other; `{{` and `}}` are braces".into()) };
            let word = &tail[1..end];
            let field = LogField::ALL.iter().find(|field| field.word() == word);
            let Some(field) = field else { return Err(format!("there is no `{{{word}}}`")) };
            if !literal.is_empty() {
                pieces.push(LogPiece::Text(std::mem::take(&mut literal).into()));
            }
            pieces.push(LogPiece::Field(*field));
            rest = &tail[end + 1..];
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(LogPiece::Text(literal.into()));
        }
        match pieces.is_empty() {
            true => Err("an empty text".into()),
            false => Ok(LogTemplate { text: text.into(), pieces: pieces.into() }),
        }
    }
}

impl fmt::Display for LogTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The form of a template.
pub(crate) struct LogLine;

impl Describe for LogLine {
    fn kind(&self) -> &'static str {
        "text with placeholders"
    }
    fn accepted(&self) -> String {
        let words: Vec<String> = LogField::ALL.iter().map(|field| format!("{{{}}}", field.word())).collect();
        format!("a line of text with {}", words.join(", "))
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "string", "minLength": 1, "maxLength": TEMPLATE_BYTES_MAX })
    }
}

impl Form for LogLine {
    type Value = Option<LogTemplate>;

    fn read(&self, node: &Node) -> Result<Self::Value, Vec<Wrong>> {
        let read: Result<LogTemplate, String> = text(node, "a string")?.parse();
        read.map(Some).map_err(|why| vec![Wrong::value(node, why)])
    }

    fn show(&self, value: &Self::Value) -> Shown {
        value.as_ref().map_or(Shown::Absent, |template| Shown::Text(template.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_read() {
        let pieces = |text: &str| text.parse().map(|template: LogTemplate| template.pieces.to_vec());
        let field = LogPiece::Field;
        let literal = |text: &str| LogPiece::Text(text.into());
        assert_eq!(pieces("{method}{uri}"), Ok(vec![field(LogField::Method), field(LogField::Uri)]));
        assert_eq!(pieces("a {{{status}}} b"), Ok(vec![literal("a {"), field(LogField::Status), literal("} b")]),);
        for (text, why) in
            [("", "empty"), ("{nobody}", "no `{nobody}`"), ("{status", "brace"), ("}", "brace"), ("a\nb", "control")]
        {
            assert!(pieces(text).unwrap_err().contains(why), "{text:?}");
        }
    }

    #[test]
    fn words_are_distinct() {
        for (ix, field) in LogField::ALL.iter().enumerate() {
            assert!(LogField::ALL[..ix].iter().all(|other| other.word() != field.word()));
        }
    }
}
