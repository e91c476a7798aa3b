//! How many shards, and which.

use super::{Count, Describe, Form, Shown, Wrong};
use crate::problem::Code;
use crate::tree::{Node, Value};
use policy::{ShardId, ShardSet};
use serde_json::json;

/// How many shards: a number, or as many as there are cores.
pub(crate) struct ShardCount;

/// Number of shards as the operator asked for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shards {
    /// One for each core that the process may use.
    Auto,
    Count(u32),
}

const SHARD_COUNT: Count = Count::between(1, ShardSet::MAX as u32);

impl Describe for ShardCount {
    fn kind(&self) -> &'static str {
        "integer"
    }
    fn accepted(&self) -> String {
        format!("{}, or \"auto\"", SHARD_COUNT.accepted())
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "anyOf": [SHARD_COUNT.schema(), { "const": "auto" }] })
    }
}

impl Form for ShardCount {
    type Value = Shards;

    fn read(&self, node: &Node) -> Result<Shards, Vec<Wrong>> {
        match &node.value {
            Value::Text { text, .. } if text == "auto" => Ok(Shards::Auto),
            _ => SHARD_COUNT.read(node).map(Shards::Count),
        }
    }

    fn show(&self, shards: &Shards) -> Shown {
        match shards {
            Shards::Auto => Shown::Text("auto".into()),
            Shards::Count(count) => SHARD_COUNT.show(count),
        }
    }
}

/// Some of the shards, or nothing for all.
pub(crate) struct ShardList;

const SHARD_NUMBER: Count = Count::between(0, ShardSet::MAX as u32 - 1);

impl Describe for ShardList {
    fn kind(&self) -> &'static str {
        "list of integers"
    }
    fn accepted(&self) -> String {
        "a list of shard numbers, such as [0, 1]; each less than appliance.shards".into()
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "array", "items": SHARD_NUMBER.schema(), "minItems": 1, "uniqueItems": true })
    }
}

impl Form for ShardList {
    type Value = Option<ShardSet>;

    fn read(&self, node: &Node) -> Result<Self::Value, Vec<Wrong>> {
        let Some(list) = node.list() else {
            return Err(vec![Wrong::kind(node, "a list of shard numbers")]);
        };
        if list.is_empty() {
            return Err(vec![Wrong::value(node, "no shard at all").help("leave `shards` out to use all of them")]);
        }
        let mut set = ShardSet::empty();
        let mut wrong = Vec::new();
        for node in list {
            match SHARD_NUMBER.read(node) {
                Ok(number) if set.contains(ShardId(number as u16)) => {
                    wrong.push(Wrong {
                        code: Code::Duplicate,
                        ..Wrong::value(node, format!("shard {number} is named twice"))
                    });
                }
                Ok(number) => set.insert(ShardId(number as u16)),
                Err(more) => wrong.extend(more),
            }
        }
        if wrong.is_empty() { Ok(Some(set)) } else { Err(wrong) }
    }

    fn show(&self, shards: &Self::Value) -> Shown {
        let Some(set) = shards else {
            return Shown::Absent;
        };
        Shown::List(set.iter().map(|shard| Shown::Integer(u64::from(shard.0))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::testing::check;

    #[test]
    fn shards() {
        check(&ShardCount, "\"auto\"", "\"auto\"");
        check(&ShardCount, "64", "64");
        check(&ShardCount, "65", "error: more than 64");
        check(&ShardCount, "0", "error: less than 1");
        check(&ShardList, "[1, 0]", "[0, 1]");
        check(&ShardList, "[63]", "[63]");
        check(&ShardList, "[64]", "error: more than 63");
        check(&ShardList, "[0, 0]", "error: shard 0 is named twice");
        check(&ShardList, "[]", "error: no shard at all");
        check(&ShardList, "0", "error: expected a list of shard numbers, found an integer");
    }
}
