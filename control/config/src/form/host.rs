//! Hosts that a pool takes. What a host is, and how it is written, is `policy`'s to say.

use super::{Describe, Form, Shown, Wrong};
use crate::problem::Code;
use crate::tree::{Node, Value};
use policy::http::HostTest;
use serde_json::json;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Hosts, each once. None at all is said by leaving them out.
pub(crate) struct HostList;

impl HostList {
    /// Hosts of one pool.
    pub(crate) const HOSTS_MAX: usize = 10_000;

    /// Each host with its node, in the order of the document.
    pub(crate) fn items(node: &Node) -> impl Iterator<Item = (HostTest, &Node)> {
        let list = node.list().unwrap_or(std::slice::from_ref(node));
        list.iter().filter_map(|node| match &node.value {
            Value::Text { text, .. } => Some((HostTest::parse(text)?, node)),
            _ => None,
        })
    }
}

impl Describe for HostList {
    fn kind(&self) -> &'static str {
        "list of hosts"
    }
    fn accepted(&self) -> String {
        let max = HostList::HOSTS_MAX;
        format!("a list of hosts such as \"example.com\" or \"*.example.com\", without ports; at most {max}")
    }
    fn schema(&self) -> serde_json::Value {
        let host = json!({ "type": "string", "minLength": 1 });
        let list = json!({ "type": "array", "items": host, "minItems": 1, "maxItems": HostList::HOSTS_MAX, "uniqueItems": true });
        json!({ "anyOf": [host, list] })
    }
}

impl Form for HostList {
    type Value = Vec<HostTest>;

    fn read(&self, node: &Node) -> Result<Vec<HostTest>, Vec<Wrong>> {
        let list = node.list().unwrap_or(std::slice::from_ref(node));
        if list.is_empty() {
            let wrong = Wrong::value(node, "an empty list: no request would be the pool's");
            return Err(vec![wrong.help("leave it out to take what no other pool takes")]);
        }
        if list.len() > HostList::HOSTS_MAX {
            let message = format!("{} hosts, at most {}", list.len(), HostList::HOSTS_MAX);
            return Err(vec![Wrong { code: Code::TooMany, ..Wrong::value(node, message) }]);
        }
        let mut wrong = Vec::new();
        for node in list {
            match &node.value {
                Value::Text { text, .. } if HostTest::parse(text).is_some() => {}
                Value::Text { text, .. } => wrong.push(Wrong::value(node, format!("`{text}` is no host"))),
                _ => wrong.push(Wrong::kind(node, "a host")),
            }
        }
        let mut firsts: HashMap<HostTest, &Node> = HashMap::new();
        for (host, node) in HostList::items(node) {
            match firsts.entry(host) {
                Entry::Vacant(entry) => drop(entry.insert(node)),
                Entry::Occupied(first) => {
                    let twice = Wrong::value(node, format!("`{}` is listed twice", first.key()));
                    let also = Some(("first listed here".to_string(), first.get().span));
                    wrong.push(Wrong { code: Code::Duplicate, also, ..twice });
                }
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let mut hosts: Vec<HostTest> = firsts.into_keys().collect();
        hosts.sort();
        Ok(hosts)
    }

    fn show(&self, hosts: &Vec<HostTest>) -> Shown {
        match hosts.is_empty() {
            true => Shown::Absent,
            false => Shown::List(hosts.iter().map(|host| Shown::Text(host.to_string())).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::testing::check;

    #[test]
    fn hosts_have_one_spelling_and_one_order() {
        check(&HostList, "[\"B.example.\", \"*.A.Example\", \"[::1]\"]", "[\"[::1]\", \"b.example\", \"*.a.example\"]");
        check(&HostList, "\"a.example\"", "[\"a.example\"]");
        for wrong in ["a.example:80", "*", "*.", "a..b", "a/b", "", "a.*.b", "http://a"] {
            check(&HostList, &format!("[\"{wrong}\"]"), &format!("error: `{wrong}` is no host"));
        }
        check(&HostList, "[]", "error: an empty list: no request would be the pool's");
        check(&HostList, "[7]", "error: expected a host, found an integer");
        check(&HostList, "[\"a\", \"A.\"]", "error: `a` is listed twice");
    }
}
