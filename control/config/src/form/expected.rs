//! What a test of the configuration asks, and what it expects.

use super::http::is_token;
use super::{Count, Describe, Fields, Flag, Form, Shown, Wrong};
use crate::tree::{Node, Value};
use serde_json::json;
use std::net::IpAddr;

/// Longest text of a test. Heads of requests are not longer either, by default.
pub(crate) const TEST_TEXT_BYTES_MAX: usize = 16 << 10;

/// What is expected of one request. What is not said may be anything.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Expect {
    pub group: Option<String>,
    /// The rule that takes it.
    pub rule: Option<String>,
    /// Of an answer of our own.
    pub status: Option<u16>,
    /// Where a redirect leads.
    pub location: Option<String>,
    /// Whether it is refused, by a rule or because no rule takes it.
    pub deny: Option<bool>,
    pub sent: ExpectSent,
    /// Of the answer.
    pub headers: Vec<(String, ExpectHeader)>,
}

/// What the backend is asked for.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ExpectSent {
    /// Path and query.
    pub target: Option<String>,
    pub host: Option<String>,
    pub headers: Vec<(String, ExpectHeader)>,
}

#[derive(Clone, PartialEq, Debug)]
pub enum ExpectHeader {
    /// One of its fields says this.
    Value(String),
    Present,
    Absent,
}

/// See [`Expect`].
pub(crate) struct Expected;

impl Describe for Expected {
    fn kind(&self) -> &'static str {
        "expectation"
    }
    fn accepted(&self) -> String {
        "{ group = \"…\", rule = \"…\", status = 301, location = \"…\", deny = true, headers = { NAME = \"…\" }, sent = { target = \
         \"…\", host = \"…\", headers = { NAME = \"…\" } } }, at least one of them; in place of a header's value, true (there is \
         one) or false (there is none)"
            .into()
    }
    fn schema(&self) -> serde_json::Value {
        let text = json!({ "type": "string" });
        let headers = json!({ "type": "object", "additionalProperties": { "type": ["string", "boolean"] } });
        let sent = json!({ "target": text, "host": text, "headers": headers });
        json!({ "type": "object", "minProperties": 1, "additionalProperties": false, "properties": {
            "group": text, "rule": text, "status": { "type": "integer" }, "location": text, "deny": { "type": "boolean" },
            "sent": { "type": "object", "properties": sent, "additionalProperties": false }, "headers": headers,
        } })
    }
}

impl Form for Expected {
    type Value = Expect;

    fn read(&self, node: &Node) -> Result<Expect, Vec<Wrong>> {
        let known = ["group", "rule", "status", "location", "deny", "sent", "headers"];
        let Some(mut fields) = Fields::of(node, &known) else {
            return Err(vec![Wrong::kind(node, "a table")]);
        };
        let expect = Expect {
            group: fields.text("group"),
            rule: fields.text("rule"),
            status: fields.read("status", &Count::between(200, 599)).map(|status| status as u16),
            location: fields.text("location"),
            deny: fields.read("deny", &Flag),
            sent: fields.read("sent", &Sent).unwrap_or_default(),
            headers: fields.read("headers", &Headers).unwrap_or_default(),
        };
        let says = expect != Expect::default();
        fields.end(says.then_some(expect), "nothing is expected")
    }

    fn show(&self, expect: &Expect) -> Shown {
        let Expect { group, rule, status, location, deny, sent, headers } = expect;
        let text = |text: &Option<String>| text.clone().map(Shown::Text);
        let sent = (*sent != ExpectSent::default()).then(|| Sent.show(sent));
        table([
            ("group", text(group)),
            ("rule", text(rule)),
            ("status", status.map(|status| Shown::Integer(status.into()))),
            ("location", text(location)),
            ("deny", deny.map(Shown::Boolean)),
            ("sent", sent),
            ("headers", (!headers.is_empty()).then(|| Headers.show(headers))),
        ])
    }
}

fn table<const N: usize>(fields: [(&str, Option<Shown>); N]) -> Shown {
    Shown::Table(fields.into_iter().filter_map(|(name, shown)| Some((name.into(), shown?))).collect())
}

/// See [`ExpectSent`].
struct Sent;

impl Describe for Sent {
    fn kind(&self) -> &'static str {
        "expectation"
    }
    fn accepted(&self) -> String {
        "{ target = \"/path?query\", host = \"…\", headers = { NAME = \"…\" } }, at least one of them".into()
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "object" })
    }
}

impl Form for Sent {
    type Value = ExpectSent;

    fn read(&self, node: &Node) -> Result<ExpectSent, Vec<Wrong>> {
        let Some(mut fields) = Fields::of(node, &["target", "host", "headers"]) else {
            return Err(vec![Wrong::kind(node, "a table")]);
        };
        let sent = ExpectSent {
            target: fields.text("target"),
            host: fields.text("host"),
            headers: fields.read("headers", &SentHeaders).unwrap_or_default(),
        };
        let says = sent != ExpectSent::default();
        fields.end(says.then_some(sent), "nothing is expected")
    }

    fn show(&self, ExpectSent { target, host, headers }: &ExpectSent) -> Shown {
        table([
            ("target", target.clone().map(Shown::Text)),
            ("host", host.clone().map(Shown::Text)),
            ("headers", (!headers.is_empty()).then(|| Headers.show(headers))),
        ])
    }
}

/// Names with what is expected of each; case does not matter in them.
struct Headers;

impl Describe for Headers {
    fn kind(&self) -> &'static str {
        "headers"
    }
    fn accepted(&self) -> String {
        "{ NAME = \"value\", … }; true in place of the value: there is one, false: there is none".into()
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "object" })
    }
}

impl Form for Headers {
    type Value = Vec<(String, ExpectHeader)>;

    fn read(&self, node: &Node) -> Result<Self::Value, Vec<Wrong>> {
        headers(node, |_| Ok(()))
    }

    fn show(&self, headers: &Self::Value) -> Shown {
        let shown = |expected: &ExpectHeader| match expected {
            ExpectHeader::Value(text) => Shown::Text(text.clone()),
            ExpectHeader::Present => Shown::Boolean(true),
            ExpectHeader::Absent => Shown::Boolean(false),
        };
        Shown::Table(headers.iter().map(|(name, expected)| (name.clone(), shown(expected))).collect())
    }
}

/// As [`Headers`], but for those that are not what rules make of the request.
struct SentHeaders;

impl Describe for SentHeaders {
    fn kind(&self) -> &'static str {
        Headers.kind()
    }
    fn accepted(&self) -> String {
        format!("{}; what we write ourselves (Host, framing, the way of the request) is not tested", Headers.accepted())
    }
    fn schema(&self) -> serde_json::Value {
        Headers.schema()
    }
}

/// What tells of the way of a request depends on more than its rule.
const OF_THE_WAY: [&str; 8] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-real-ip",
    "forwarded",
    "via",
    "x-request-id",
];

impl Form for SentHeaders {
    type Value = Vec<(String, ExpectHeader)>;

    fn read(&self, node: &Node) -> Result<Self::Value, Vec<Wrong>> {
        headers(node, |name| {
            let ours = !policy::http::may_edit(name.as_bytes()) || OF_THE_WAY.contains(&name);
            if ours { Err("this header is written by us, whatever the rule") } else { Ok(()) }
        })
    }

    fn show(&self, headers: &Self::Value) -> Shown {
        Headers.show(headers)
    }
}

fn headers(
    node: &Node,
    fits: impl Fn(&str) -> Result<(), &'static str>,
) -> Result<Vec<(String, ExpectHeader)>, Vec<Wrong>> {
    let Some(table) = node.table() else {
        return Err(vec![Wrong::kind(node, "a table of names and values")]);
    };
    let (mut all, mut wrong) = (Vec::<(String, ExpectHeader)>::new(), Vec::new());
    for (name, entry) in &table.entries {
        let spelling = name.to_ascii_lowercase();
        let on_name = |message| Wrong { span: entry.key_span, ..Wrong::value(&entry.node, message) };
        let expected = match &entry.node.value {
            _ if !is_token(name) => Err(on_name("not the name of a header")),
            _ if all.iter().any(|(other, _)| *other == spelling) => {
                Err(on_name("said twice: case does not matter in names of headers"))
            }
            Value::Boolean(true) => Ok(ExpectHeader::Present),
            Value::Boolean(false) => Ok(ExpectHeader::Absent),
            Value::Text { text, .. } if text.contains('\0') => Err(Wrong::value(&entry.node, "a NUL byte")),
            Value::Text { text, .. } => Ok(ExpectHeader::Value(text.clone())),
            _ => Err(Wrong::kind(&entry.node, "a string, true or false")),
        };
        match (expected, fits(&spelling)) {
            (Ok(expected), Ok(())) => all.push((spelling, expected)),
            (Ok(_), Err(message)) => wrong.push(on_name(message).within(&format!(".{name}"))),
            (Err(told), _) => {
                wrong.push(Wrong { span: told.span.or(entry.node.span), ..told }.within(&format!(".{name}")))
            }
        }
    }
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    if wrong.is_empty() { Ok(all) } else { Err(wrong) }
}

/// The method and URL of a request: `GET https://shop.example/`.
pub(crate) struct RequestLine;

impl Describe for RequestLine {
    fn kind(&self) -> &'static str {
        "request"
    }
    fn accepted(&self) -> String {
        format!("a method and a URL, such as \"GET http://example.com/path?x=1\"; at most {TEST_TEXT_BYTES_MAX} bytes")
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "string", "pattern": "^[^ ]+ [^ ]+$", "maxLength": TEST_TEXT_BYTES_MAX })
    }
}

impl Form for RequestLine {
    type Value = String;

    fn read(&self, node: &Node) -> Result<String, Vec<Wrong>> {
        match &node.value {
            Value::Text { text, .. } if text.len() > TEST_TEXT_BYTES_MAX => Err(vec![Wrong::value(node, "too long")]),
            Value::Text { text, .. } => match text.split_once(' ') {
                Some((method, url)) if is_token(method) && !url.is_empty() && !url.contains(char::is_whitespace) => {
                    Ok(text.clone())
                }
                _ => Err(vec![Wrong::value(node, "not a method and a URL")]),
            },
            _ => Err(vec![Wrong::kind(node, "a string")]),
        }
    }

    fn show(&self, text: &String) -> Shown {
        Shown::Text(text.clone())
    }
}

/// Headers of a request, each with its value.
pub(crate) struct SaidHeaders;

impl Describe for SaidHeaders {
    fn kind(&self) -> &'static str {
        "headers"
    }
    fn accepted(&self) -> String {
        "{ NAME = \"value\", … }".into()
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "object", "additionalProperties": { "type": "string" } })
    }
}

impl Form for SaidHeaders {
    type Value = Vec<(String, String)>;

    fn read(&self, node: &Node) -> Result<Self::Value, Vec<Wrong>> {
        let mut said = Vec::new();
        for (name, expected) in headers(node, |_| Ok(()))? {
            match expected {
                ExpectHeader::Value(value) if value.len() <= TEST_TEXT_BYTES_MAX => said.push((name, value)),
                ExpectHeader::Value(_) => return Err(vec![Wrong::value(node, format!("`{name}` is too long"))]),
                ExpectHeader::Present | ExpectHeader::Absent => {
                    return Err(vec![Wrong::value(node, format!("`{name}` has no value"))]);
                }
            }
        }
        Ok(said)
    }

    fn show(&self, said: &Self::Value) -> Shown {
        Shown::Table(said.iter().map(|(name, value)| (name.clone(), Shown::Text(value.clone()))).collect())
    }
}

/// The address of a client.
pub(crate) struct ClientAddress;

impl Describe for ClientAddress {
    fn kind(&self) -> &'static str {
        "address"
    }
    fn accepted(&self) -> String {
        "an IP address such as \"192.0.2.7\"".into()
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "string" })
    }
}

impl Form for ClientAddress {
    type Value = IpAddr;

    fn read(&self, node: &Node) -> Result<IpAddr, Vec<Wrong>> {
        match &node.value {
            Value::Text { text, .. } => text.parse().map_err(|_| vec![Wrong::value(node, "not an address")]),
            _ => Err(vec![Wrong::kind(node, "a string")]),
        }
    }

    fn show(&self, address: &IpAddr) -> Shown {
        Shown::Text(address.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::testing::check;

    #[test]
    fn expectations() {
        check(&Expected, "{ group = \"api\", deny = false }", "{ group = \"api\", deny = false }");
        check(
            &Expected,
            "{ headers = { X-B = false, X-A = \"1\" }, sent = { target = \"/a\", headers = { X-C = true } }, status = 301 }",
            "{ status = 301, sent = { target = \"/a\", headers = { x-c = true } }, headers = { x-a = \"1\", x-b = false } }",
        );
        check(&Expected, "{}", "error: nothing is expected");
        check(&Expected, "{ sent = {} }", "error: nothing is expected");
        check(&Expected, "{ gruop = \"a\" }", "error: there is no `gruop` here");
        check(&Expected, "{ status = 99 }", "error: less than 200");
        check(&Expected, "{ headers = { X-A = 1 } }", "error: expected a string, true or false, found an integer");
        check(
            &Expected,
            "{ headers = { X-A = true, x-a = true } }",
            "error: said twice: case does not matter in names of headers",
        );
        for ours in ["Host", "Content-Length", "Via", "X-Forwarded-For"] {
            let written = format!("{{ sent = {{ headers = {{ {ours} = true }} }} }}");
            check(&Expected, &written, "error: this header is written by us, whatever the rule");
        }
    }

    #[test]
    fn requests() {
        check(&RequestLine, "\"GET http://a/b?c\"", "\"GET http://a/b?c\"");
        for wrong in ["", "GET", "GET ", "http://a/", "GET http://a/ b", "G,T http://a/"] {
            check(&RequestLine, &format!("{wrong:?}"), "error: not a method and a URL");
        }
        check(&SaidHeaders, "{ X-A = \"1\" }", "{ x-a = \"1\" }");
        check(&SaidHeaders, "{ X-A = true }", "error: `x-a` has no value");
        check(&ClientAddress, "\"2001:DB8::1\"", "\"2001:db8::1\"");
        check(&ClientAddress, "\"10.0.0.0/8\"", "error: not an address");
    }
}
