//! Forms of settings that only HTTP has: names, statuses, what requests are hashed by.

use super::{Describe, Form, Shown, Word, Wrong};
use crate::tree::{Node, Value};
use policy::http::affinity::HashOn;
use policy::http::retry::RetryPolicy;
use policy::http::{Chain, EscapedSlash, Upgrades};
use serde_json::json;
use std::sync::Arc;

/// Words of enums that belong to `policy`.
macro_rules! foreign_words {
    ($($name:ident { $($variant:ident = $word:literal,)* })*) => {
        $(impl Word for $name {
            const ALL: &'static [$name] = &[$($name::$variant,)*];

            fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        })*
    };
}

foreign_words! {
    Chain { Pass = "pass", Remove = "remove", Replace = "replace", Append = "append", }
    Upgrades { None = "none", WebSocket = "websocket", Any = "any", }
    EscapedSlash { Refuse = "refuse", Keep = "keep", }
}

/// Longest text that goes into a head as it is.
const HEAD_TEXT_BYTES_MAX: usize = 1_024;

/// A text of one kind of characters, or nothing.
pub(crate) struct Plain {
    kind: &'static str,
    accepted: &'static str,
    fits: fn(&str) -> bool,
    /// How to write "nothing"; empty: by leaving the key out only.
    off: &'static str,
}

impl Plain {
    /// The name of a proxy in `Via`: RFC 9110 section 7.6.3.
    pub(crate) const PSEUDONYM: Plain = Plain {
        kind: "name",
        accepted: "a name such as \"edge-1\" or \"proxy.example.com\", or \"off\"",
        fits: |text| is_token(text) && text != "off",
        off: "off",
    };

    /// `Host` of a health check.
    pub(crate) const HOST: Plain = Plain {
        kind: "host",
        accepted: "a host, with a port if need be, such as \"app.internal\" or \"app.internal:8080\"",
        fits: |text| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:[]".contains(&byte)),
        off: "",
    };

    /// What a test is called.
    pub(crate) const TEST: Plain =
        Plain { kind: "name", accepted: "a text that is not empty", fits: |_| true, off: "" };

    /// What a body is searched for.
    pub(crate) const PART: Plain =
        Plain { kind: "text", accepted: "a text that is not empty", fits: |_| true, off: "" };
}

impl Describe for Plain {
    fn kind(&self) -> &'static str {
        self.kind
    }
    fn accepted(&self) -> String {
        format!("{}; at most {HEAD_TEXT_BYTES_MAX} bytes", self.accepted)
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "string", "minLength": 1, "maxLength": HEAD_TEXT_BYTES_MAX })
    }
}

impl Form for Plain {
    type Value = Option<Arc<str>>;

    fn read(&self, node: &Node) -> Result<Self::Value, Vec<Wrong>> {
        let text = text(node, "a string")?;
        match text {
            off if !self.off.is_empty() && off == self.off => Ok(None),
            _ if text.is_empty() => Err(vec![Wrong::value(node, "an empty text")]),
            _ if text.len() > HEAD_TEXT_BYTES_MAX => Err(vec![Wrong::value(node, "too long")]),
            _ if !(self.fits)(text) || text.contains('\0') => {
                Err(vec![Wrong::value(node, format!("not a {}", self.kind))])
            }
            _ => Ok(Some(text.into())),
        }
    }

    fn show(&self, value: &Self::Value) -> Shown {
        match value {
            Some(text) => Shown::Text(text.to_string()),
            None if self.off.is_empty() => Shown::Absent,
            None => Shown::Text(self.off.into()),
        }
    }
}

/// A method, such as a check's.
pub(crate) struct MethodName;

impl Describe for MethodName {
    fn kind(&self) -> &'static str {
        "method"
    }
    fn accepted(&self) -> String {
        "a method such as \"GET\" or \"HEAD\"".into()
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "string", "minLength": 1 })
    }
}

impl Form for MethodName {
    type Value = Arc<str>;

    fn read(&self, node: &Node) -> Result<Arc<str>, Vec<Wrong>> {
        match text(node, "a method")? {
            method if is_token(method) && method.len() <= HEAD_TEXT_BYTES_MAX => Ok(method.into()),
            _ => Err(vec![Wrong::value(node, "not a method")]),
        }
    }

    fn show(&self, method: &Arc<str>) -> Shown {
        Shown::Text(method.to_string())
    }
}

/// The target of a request of ours: a path, with a query if need be.
pub(crate) struct Target;

impl Describe for Target {
    fn kind(&self) -> &'static str {
        "path"
    }
    fn accepted(&self) -> String {
        format!("a path that begins with `/`, such as \"/health?full=1\"; at most {HEAD_TEXT_BYTES_MAX} bytes of ASCII")
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "string", "pattern": "^/", "maxLength": HEAD_TEXT_BYTES_MAX })
    }
}

impl Form for Target {
    type Value = Arc<str>;

    fn read(&self, node: &Node) -> Result<Arc<str>, Vec<Wrong>> {
        let text = text(node, "a path")?;
        let fits =
            text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') && text.len() <= HEAD_TEXT_BYTES_MAX;
        match text.starts_with('/') && fits {
            true => Ok(text.into()),
            false => Err(vec![Wrong::value(node, "not a path that can be asked for")]),
        }
    }

    fn show(&self, path: &Arc<str>) -> Shown {
        Shown::Text(path.to_string())
    }
}

/// Statuses, each by itself.
pub(crate) struct Statuses;

impl Statuses {
    const FIRST: u16 = 400;
    const LAST: u16 = 599;
}

impl Describe for Statuses {
    fn kind(&self) -> &'static str {
        "list of statuses"
    }
    fn accepted(&self) -> String {
        let (first, last, max) = (Statuses::FIRST, Statuses::LAST, RetryPolicy::STATUSES_MAX);
        format!("a list of at most {max} statuses from {first} to {last}, such as [502, 503]")
    }
    fn schema(&self) -> serde_json::Value {
        let item = json!({ "type": "integer", "minimum": Statuses::FIRST, "maximum": Statuses::LAST });
        json!({ "type": "array", "maxItems": RetryPolicy::STATUSES_MAX, "items": item })
    }
}

impl Form for Statuses {
    type Value = Vec<u16>;

    fn read(&self, node: &Node) -> Result<Vec<u16>, Vec<Wrong>> {
        let Some(list) = node.list() else {
            return Err(vec![Wrong::kind(node, "a list of statuses")]);
        };
        let (mut statuses, mut wrong) = (Vec::new(), Vec::new());
        for node in list {
            match node.value {
                Value::Integer(status) => match u16::try_from(status) {
                    Ok(status) if (Statuses::FIRST..=Statuses::LAST).contains(&status) => statuses.push(status),
                    _ => wrong.push(Wrong::value(node, "not a status that an error has")),
                },
                _ => wrong.push(Wrong::kind(node, "a status")),
            }
        }
        statuses.sort_unstable();
        statuses.dedup();
        if statuses.len() > RetryPolicy::STATUSES_MAX {
            wrong.push(Wrong::value(node, format!("{} statuses", statuses.len())));
        }
        if wrong.is_empty() { Ok(statuses) } else { Err(wrong) }
    }

    fn show(&self, statuses: &Vec<u16>) -> Shown {
        Shown::List(statuses.iter().map(|status| Shown::Integer((*status).into())).collect())
    }
}

/// Ranges of statuses. In order, and none meets the next: there is one way to write a set.
pub(crate) struct StatusRanges;

impl Describe for StatusRanges {
    fn kind(&self) -> &'static str {
        "statuses"
    }
    fn accepted(&self) -> String {
        "a status, a range such as \"200-399\", or a list of both such as [200, \"300-308\"]; from 100 to 599".into()
    }
    fn schema(&self) -> serde_json::Value {
        let range = json!({ "type": "string", "pattern": "^[1-5][0-9]{2}(-[1-5][0-9]{2})?$" });
        let status = json!({ "type": "integer", "minimum": 100, "maximum": 599 });
        let one = json!({ "anyOf": [status, range] });
        json!({ "anyOf": [one, { "type": "array", "minItems": 1, "items": one }] })
    }
}

impl Form for StatusRanges {
    type Value = Vec<(u16, u16)>;

    fn read(&self, node: &Node) -> Result<Self::Value, Vec<Wrong>> {
        let list = node.list().unwrap_or(std::slice::from_ref(node));
        if list.is_empty() {
            return Err(vec![Wrong::value(node, "no status at all")]);
        }
        let (mut ranges, mut wrong) = (Vec::new(), Vec::new());
        for node in list {
            match status_range(node) {
                Some(range) => ranges.push(range),
                None => wrong.push(Wrong::value(node, "not a status or a range of them")),
            }
        }
        if wrong.is_empty() { Ok(joined(ranges)) } else { Err(wrong) }
    }

    fn show(&self, ranges: &Self::Value) -> Shown {
        let one = |(first, last): &(u16, u16)| match first == last {
            true => Shown::Integer((*first).into()),
            false => Shown::Text(format!("{first}-{last}")),
        };
        match &ranges[..] {
            [range] => one(range),
            _ => Shown::List(ranges.iter().map(one).collect()),
        }
    }
}

fn status_range(node: &Node) -> Option<(u16, u16)> {
    let (first, last) = match &node.value {
        Value::Integer(status) => u16::try_from(*status).ok().map(|status| (status, status))?,
        Value::Text { text, .. } => {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            (first.parse().ok()?, last.parse().ok()?)
        }
        _ => return None,
    };
    (100 <= first && first <= last && last <= 599).then_some((first, last))
}

fn joined(mut ranges: Vec<(u16, u16)>) -> Vec<(u16, u16)> {
    ranges.sort_unstable();
    let mut joined: Vec<(u16, u16)> = Vec::new();
    for (first, last) in ranges {
        match joined.last_mut() {
            Some((_, end)) if first <= *end + 1 => *end = last.max(*end),
            _ => joined.push((first, last)),
        }
    }
    joined
}

/// What requests are hashed by.
pub(crate) struct HashedBy;

impl Describe for HashedBy {
    fn kind(&self) -> &'static str {
        "part of a request"
    }
    fn accepted(&self) -> String {
        "\"source\", \"path\", \"header:NAME\" or \"cookie:NAME\"".into()
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "string", "pattern": "^(source|path|header:.+|cookie:.+)$" })
    }
}

impl Form for HashedBy {
    type Value = HashOn;

    fn read(&self, node: &Node) -> Result<HashOn, Vec<Wrong>> {
        let text = text(node, "a string")?;
        let named = |name: &str| is_token(name) && name.len() <= HEAD_TEXT_BYTES_MAX;
        match text.split_once(':') {
            None if text == "source" => Ok(HashOn::Source),
            None if text == "path" => Ok(HashOn::Path),
            // Case does not matter in names of headers, so there is one spelling here; in those of cookies it does.
            Some(("header", name)) if named(name) => Ok(HashOn::Header(name.to_ascii_lowercase().into())),
            Some(("cookie", name)) if named(name) => Ok(HashOn::Cookie(name.into())),
            _ => Err(vec![Wrong::value(node, "not a part of a request that can be hashed")]),
        }
    }

    fn show(&self, on: &HashOn) -> Shown {
        Shown::Text(match on {
            HashOn::Source => "source".into(),
            HashOn::Path => "path".into(),
            HashOn::Header(name) => format!("header:{name}"),
            HashOn::Cookie(name) => format!("cookie:{name}"),
        })
    }
}

/// RFC 9110 section 5.6.2.
pub(crate) fn is_token(text: &str) -> bool {
    let of_a_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(of_a_token)
}

pub(super) fn text<'n>(node: &'n Node, expected: &str) -> Result<&'n str, Vec<Wrong>> {
    match &node.value {
        Value::Text { text, .. } => Ok(text),
        _ => Err(vec![Wrong::kind(node, expected)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::OneOf;
    use crate::form::testing::check;

    #[test]
    fn texts() {
        check(&Plain::PSEUDONYM, "\"edge-1\"", "\"edge-1\"");
        check(&Plain::PSEUDONYM, "\"off\"", "\"off\"");
        check(&Plain::PSEUDONYM, "\"a b\"", "error: not a name");
        check(&Plain::PSEUDONYM, "\"\"", "error: an empty text");
        check(&Plain::HOST, "\"a.b:80\"", "\"a.b:80\"");
        check(&Plain::HOST, "\"a\\r\\nx\"", "error: not a host");
        check(&Plain::PART, "\"all is well\"", "\"all is well\"");
        check(&MethodName, "\"GET\"", "\"GET\"");
        check(&MethodName, "\"GET \"", "error: not a method");
        check(&Target, "\"/a?b\"", "\"/a?b\"");
        check(&Target, "\"a\"", "error: not a path that can be asked for");
        check(&Target, "\"/a b\"", "error: not a path that can be asked for");
        check(&OneOf::<Chain>::words(), "\"append\"", "\"append\"");
        check(&OneOf::<Upgrades>::words(), "\"websockets\"", "error: not one of the words that are accepted here");
        check(&OneOf::<EscapedSlash>::words(), "\"keep\"", "\"keep\"");
    }

    #[test]
    fn statuses() {
        check(&Statuses, "[503, 502, 503]", "[502, 503]");
        check(&Statuses, "[]", "[]");
        check(&Statuses, "[200]", "error: not a status that an error has");
        check(&Statuses, "503", "error: expected a list of statuses, found an integer");
        check(&StatusRanges, "200", "200");
        check(&StatusRanges, "\"200-399\"", "\"200-399\"");
        check(&StatusRanges, "[\"300-308\", 200, \"201-299\"]", "\"200-308\"");
        check(&StatusRanges, "[404, \"200-204\"]", "[\"200-204\", 404]");
        check(&StatusRanges, "\"399-200\"", "error: not a status or a range of them");
        check(&StatusRanges, "99", "error: not a status or a range of them");
        check(&StatusRanges, "[]", "error: no status at all");
        check(&StatusRanges, "true", "error: not a status or a range of them");
    }

    #[test]
    fn parts_to_hash_by() {
        check(&HashedBy, "\"source\"", "\"source\"");
        check(&HashedBy, "\"path\"", "\"path\"");
        check(&HashedBy, "\"header:X-User\"", "\"header:x-user\"");
        check(&HashedBy, "\"cookie:Sid\"", "\"cookie:Sid\"");
        for wrong in ["\"header\"", "\"header:\"", "\"header:a b\"", "\"uri\"", "\"\""] {
            check(&HashedBy, wrong, "error: not a part of a request that can be hashed");
        }
    }
}
