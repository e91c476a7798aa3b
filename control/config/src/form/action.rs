//! What a rule does: redirect, respond, deny, and what the backend is asked for instead.

use super::{Count, Describe, Fields, Form, Plain, Shown, Wrong};
use crate::tree::{Node, Value};
use serde_json::json;
use std::sync::Arc;

/// Where a client is sent, and how.
#[derive(Clone, PartialEq, Debug)]
pub struct Redirect {
    /// A text with placeholders.
    pub to: String,
    pub status: u16,
}

impl Redirect {
    /// Not cached, and right for a page that is elsewhere for now.
    const STATUS: u16 = 302;
}

/// An answer of our own.
#[derive(Clone, PartialEq, Debug)]
pub struct Respond {
    pub status: u16,
    pub content_type: Arc<str>,
    pub body: Arc<str>,
}

impl Respond {
    pub(crate) const CONTENT_TYPE: &'static str = "text/plain; charset=utf-8";
}

/// What the backend is asked for instead of what the client asked for.
#[derive(Clone, PartialEq, Debug)]
pub struct Rewrite {
    pub path: Option<RewritePath>,
    /// A text with placeholders.
    pub host: Option<String>,
}

#[derive(Clone, PartialEq, Debug)]
pub enum RewritePath {
    Whole { to: String },
    Prefix { prefix: String, to: String },
    Regex { regex: String, to: String },
}

/// See [`Redirect`].
pub(crate) struct RedirectTo;

impl Describe for RedirectTo {
    fn kind(&self) -> &'static str {
        "redirect"
    }
    fn accepted(&self) -> String {
        "where to, such as \"https://{host}{uri}\", or { to = \"…\", status = 301 }; 301, 302, 303, 307 and 308".into()
    }
    fn schema(&self) -> serde_json::Value {
        let properties = json!({ "to": { "type": "string" }, "status": RedirectStatus.schema() });
        let table =
            json!({ "type": "object", "properties": properties, "required": ["to"], "additionalProperties": false });
        json!({ "anyOf": [{ "type": "string" }, table] })
    }
}

impl Form for RedirectTo {
    type Value = Redirect;

    fn read(&self, node: &Node) -> Result<Redirect, Vec<Wrong>> {
        if let Value::Text { text, .. } = &node.value {
            return Ok(Redirect { to: text.clone(), status: Redirect::STATUS });
        }
        let Some(mut fields) = Fields::of(node, &["to", "status"]) else {
            return Err(vec![Wrong::kind(node, "a string or a table")]);
        };
        let status = fields.read("status", &RedirectStatus).unwrap_or(Redirect::STATUS);
        let to = fields.text("to");
        fields.end(to.map(|to| Redirect { to, status }), "`to` is missing")
    }

    fn show(&self, Redirect { to, status }: &Redirect) -> Shown {
        match *status {
            Redirect::STATUS => Shown::Text(to.clone()),
            status => Shown::Table(vec![
                ("to".into(), Shown::Text(to.clone())),
                ("status".into(), Shown::Integer(status.into())),
            ]),
        }
    }
}

/// A status that sends clients elsewhere.
struct RedirectStatus;

impl RedirectStatus {
    const STATUSES: [u16; 5] = [301, 302, 303, 307, 308];
}

impl Describe for RedirectStatus {
    fn kind(&self) -> &'static str {
        "status"
    }
    fn accepted(&self) -> String {
        "301, 302, 303, 307 and 308".into()
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "enum": RedirectStatus::STATUSES })
    }
}

impl Form for RedirectStatus {
    type Value = u16;

    fn read(&self, node: &Node) -> Result<u16, Vec<Wrong>> {
        let status = Count::between(100, 599).read(node)? as u16;
        match RedirectStatus::STATUSES.contains(&status) {
            true => Ok(status),
            false => Err(vec![Wrong::value(node, "not a status that sends clients elsewhere")]),
        }
    }

    fn show(&self, status: &u16) -> Shown {
        Shown::Integer((*status).into())
    }
}

/// See [`Respond`].
pub(crate) struct Response;

impl Response {
    const STATUSES: Count = Count::between(200, 599);
}

impl Describe for Response {
    fn kind(&self) -> &'static str {
        "answer"
    }
    fn accepted(&self) -> String {
        "a text, or { status = 200, body = \"…\", content_type = \"text/plain\" }; file = \"…\" in place of `body` is \
         read with the document"
            .into()
    }
    fn schema(&self) -> serde_json::Value {
        let text = json!({ "type": "string" });
        let status = Response::STATUSES.schema();
        let properties = json!({ "status": status, "body": text, "file": text, "content_type": ContentType.schema() });
        let table = json!({ "type": "object", "properties": properties, "additionalProperties": false });
        json!({ "anyOf": [text, table] })
    }
}

impl Form for Response {
    type Value = Respond;

    fn read(&self, node: &Node) -> Result<Respond, Vec<Wrong>> {
        if let Value::Text { text, .. } = &node.value {
            let content_type = Respond::CONTENT_TYPE.into();
            return Ok(Respond { status: 200, content_type, body: text.as_str().into() });
        }
        let Some(mut fields) = Fields::of(node, &["status", "body", "file", "content_type"]) else {
            return Err(vec![Wrong::kind(node, "a string or a table")]);
        };
        let respond = Respond {
            status: fields.read("status", &Response::STATUSES).map_or(200, |status| status as u16),
            content_type: fields.read("content_type", &ContentType).unwrap_or_else(|| Respond::CONTENT_TYPE.into()),
            body: fields.text("body").unwrap_or_default().into(),
        };
        fields.end(Some(respond), "")
    }

    fn show(&self, Respond { status, content_type, body }: &Respond) -> Shown {
        let text = Shown::Text(body.to_string());
        if *status == 200 && &**content_type == Respond::CONTENT_TYPE {
            return text;
        }
        let mut fields = vec![("status".into(), Shown::Integer((*status).into()))];
        if &**content_type != Respond::CONTENT_TYPE {
            fields.push(("content_type".into(), Shown::Text(content_type.to_string())));
        }
        if !body.is_empty() {
            fields.push(("body".into(), text));
        }
        Shown::Table(fields)
    }
}

/// `Content-Type` of an answer of ours.
pub(crate) struct ContentType;

impl Describe for ContentType {
    fn kind(&self) -> &'static str {
        "content type"
    }
    fn accepted(&self) -> String {
        "a content type such as \"text/html; charset=utf-8\"".into()
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "string", "minLength": 1 })
    }
}

impl Form for ContentType {
    type Value = Arc<str>;

    fn read(&self, node: &Node) -> Result<Arc<str>, Vec<Wrong>> {
        let Some(text) = Plain::PART.read(node)? else {
            return Err(vec![Wrong::value(node, "not a content type")]);
        };
        let printable = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        if printable { Ok(text) } else { Err(vec![Wrong::value(node, "not a content type")]) }
    }

    fn show(&self, text: &Arc<str>) -> Shown {
        Shown::Text(text.to_string())
    }
}

/// The status of a refusal.
pub(crate) struct Denial;

impl Denial {
    const STATUSES: Count = Count::between(400, 599);
}

impl Describe for Denial {
    fn kind(&self) -> &'static str {
        "status"
    }
    fn accepted(&self) -> String {
        "a status from 400 to 599, such as 403".into()
    }
    fn schema(&self) -> serde_json::Value {
        Denial::STATUSES.schema()
    }
}

impl Form for Denial {
    type Value = u16;

    fn read(&self, node: &Node) -> Result<u16, Vec<Wrong>> {
        Denial::STATUSES.read(node).map(|status| status as u16)
    }

    fn show(&self, status: &u16) -> Shown {
        Shown::Integer((*status).into())
    }
}

/// See [`Rewrite`].
pub(crate) struct Rewriting;

impl Rewriting {
    const FIELDS: [&str; 5] = ["to", "prefix", "strip_prefix", "regex", "host"];
}

impl Describe for Rewriting {
    fn kind(&self) -> &'static str {
        "rewrite"
    }
    fn accepted(&self) -> String {
        "the new path, { strip_prefix = \"/api\" }, { prefix = \"/api\", to = \"/v2\" } or { regex = \"…\", to = \"/{1}\" }; \
         with host = \"…\" another host, or that alone"
            .into()
    }
    fn schema(&self) -> serde_json::Value {
        let texts: serde_json::Map<String, serde_json::Value> =
            Rewriting::FIELDS.iter().map(|name| ((*name).into(), json!({ "type": "string" }))).collect();
        let table = json!({ "type": "object", "properties": texts, "additionalProperties": false, "minProperties": 1 });
        json!({ "anyOf": [{ "type": "string" }, table] })
    }
}

impl Form for Rewriting {
    type Value = Rewrite;

    fn read(&self, node: &Node) -> Result<Rewrite, Vec<Wrong>> {
        if let Value::Text { text, .. } = &node.value {
            return Ok(Rewrite { path: Some(RewritePath::Whole { to: text.clone() }), host: None });
        }
        let Some(mut fields) = Fields::of(node, &Rewriting::FIELDS) else {
            return Err(vec![Wrong::kind(node, "a string or a table")]);
        };
        let [to, prefix, strip, regex, host] = Rewriting::FIELDS.map(|name| fields.text(name));
        let path = match (to, prefix, strip, regex) {
            (None, None, None, None) => None,
            (Some(to), None, None, None) => Some(RewritePath::Whole { to }),
            (Some(to), Some(prefix), None, None) => Some(RewritePath::Prefix { prefix, to }),
            (None, None, Some(prefix), None) => Some(RewritePath::Prefix { prefix, to: "/".into() }),
            (Some(to), None, None, Some(regex)) => Some(RewritePath::Regex { regex, to }),
            (None, Some(_), None, None) | (None, None, None, Some(_)) => {
                fields.wrong("`to` is missing: what becomes of it");
                None
            }
            _ => {
                fields.wrong("more than one way to change the path");
                None
            }
        };
        let rewrite = Rewrite { path, host };
        let says = rewrite.path.is_some() || rewrite.host.is_some();
        fields.end(says.then_some(rewrite), "nothing to change")
    }

    fn show(&self, Rewrite { path, host }: &Rewrite) -> Shown {
        let mut fields = match (path, host) {
            (Some(RewritePath::Whole { to }), None) => return Shown::Text(to.clone()),
            (None, _) => Vec::new(),
            (Some(RewritePath::Whole { to }), Some(_)) => vec![("to", to)],
            (Some(RewritePath::Prefix { prefix, to }), _) if to == "/" => vec![("strip_prefix", prefix)],
            (Some(RewritePath::Prefix { prefix, to }), _) => vec![("prefix", prefix), ("to", to)],
            (Some(RewritePath::Regex { regex, to }), _) => vec![("regex", regex), ("to", to)],
        };
        fields.extend(host.as_ref().map(|host| ("host", host)));
        Shown::Table(fields.into_iter().map(|(name, text)| (name.into(), Shown::Text(text.clone()))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::testing::check;

    #[test]
    fn actions() {
        check(&RedirectTo, "\"https://{host}{uri}\"", "\"https://{host}{uri}\"");
        check(&RedirectTo, "{ to = \"/a\", status = 301 }", "{ to = \"/a\", status = 301 }");
        check(&RedirectTo, "{ to = \"/a\", status = 302 }", "\"/a\"");
        check(&RedirectTo, "{ status = 301 }", "error: `to` is missing");
        check(&RedirectTo, "{ to = \"/a\", stauts = 301 }", "error: there is no `stauts` here");
        check(&RedirectTo, "7", "error: expected a string or a table, found an integer");
        check(&Response, "\"ok\"", "\"ok\"");
        check(&Response, "{ status = 99 }", "error: less than 200");
        check(&Response, "{ content_type = \"\" }", "error: an empty text");
        check(&Denial, "403", "403");
        check(&Denial, "302", "error: less than 400");
    }

    #[test]
    fn rewrites() {
        check(&Rewriting, "\"/new\"", "\"/new\"");
        check(&Rewriting, "{ to = \"/new\" }", "\"/new\"");
        check(&Rewriting, "{ strip_prefix = \"/api\" }", "{ strip_prefix = \"/api\" }");
        check(&Rewriting, "{ prefix = \"/api\", to = \"/\" }", "{ strip_prefix = \"/api\" }");
        check(
            &Rewriting,
            "{ prefix = \"/a\", to = \"/b\", host = \"h\" }",
            "{ prefix = \"/a\", to = \"/b\", host = \"h\" }",
        );
        check(&Rewriting, "{ host = \"h\" }", "{ host = \"h\" }");
        check(&Rewriting, "{ regex = \"a\" }", "error: `to` is missing: what becomes of it");
        check(&Rewriting, "{ regex = \"a\", strip_prefix = \"/b\" }", "error: more than one way to change the path");
        check(&Rewriting, "{}", "error: nothing to change");
    }
}
