//! `api::Request` as the appliance reads it: from anybody who may open the socket.

use api::framing::{self, End};
use api::request::ID_BYTES_MAX;
use api::{Answer, Edit, ErrorCode, Order, Rejected, Reply, Request};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::fmt;

/// One message to a control socket, without its end.
///
/// It is a request or is rejected with an answer, never a panic. A request means what the JSON says and
/// nothing else, so whoever reads the message with another reader reads the same; and written and read again
/// it is the same request.
pub fn request(data: &[u8]) {
    let read = Request::decode(data);
    assert_eq!(read, Request::decode(data), "read twice");
    match read {
        Ok(request) => understood(data, &request),
        Err(rejected) => refused(*rejected),
    }
}

fn understood(data: &[u8], request: &Request) {
    let bytes = framing::encode(request, End::Nul);
    assert_eq!(bytes.iter().position(|byte| matches!(byte, 0 | b'\n')), Some(bytes.len() - 1), "one line");
    let again = Request::decode(&bytes[..bytes.len() - 1]).expect("a request that was written");
    assert_eq!(again, *request, "written and read again");

    assert!(Order::NAMES.iter().chain(Edit::NAMES).any(|name| *name == request.order.name()));
    // Whoever changes something is waited for longer, or for ever, never shorter.
    if let Some(patience) = request.order.patience() {
        assert!(patience.as_secs() >= if request.order.is_change() { 300 } else { 1 });
    }

    let Plain::Object(said) = serde_json::from_slice(data).expect("a request is JSON, every field said once") else {
        panic!("a request is an object");
    };
    let meant: Value = serde_json::from_slice(&bytes[..bytes.len() - 1]).expect("JSON that was written");
    assert_same(&said.into_iter().collect(), meant.as_object().expect("a request is an object"));
}

/// What was said and what was understood agree field by field.
fn assert_same(said: &Map<String, Value>, meant: &Map<String, Value>) {
    for (field, value) in meant {
        match (said.get(field), value) {
            (Some(Value::Array(said)), Value::Array(meant)) if LISTS.contains(&field.as_str()) => {
                assert_eq!(said.len(), meant.len(), "`{field}`");
                for (said, meant) in said.iter().zip(meant) {
                    assert_same(said.as_object().expect("a table"), meant.as_object().expect("a table"));
                }
            }
            (Some(said), meant) => assert_eq!(said, meant, "`{field}`"),
            (None, meant) => assert!(is_default(field, meant), "`{field}` was not said and is understood as {meant}"),
        }
    }
    for (field, value) in said.iter().filter(|(field, _)| !meant.contains_key(*field)) {
        // An edit within a transaction has no `id` of its own.
        assert!(is_default(field, value) || field == "id", "`{field}` was {value} and is gone");
    }
}

/// Fields with lists of tables that the protocol knows. What other lists hold is taken as it is.
const LISTS: [&str; 3] = ["orders", "patch", "headers"];

/// What a field means when it is not there.
fn is_default(field: &str, value: &Value) -> bool {
    let default = match field {
        "now" | "dry_run" | "missing_ok" => Value::from(false),
        "wait" => Value::from(true),
        "mode" => Value::from("graceful"),
        "head" => Value::from("request"),
        "set" => Value::Object(Map::new()),
        _ => Value::Null,
    };
    *value == default
}

fn refused(rejected: Rejected) {
    let failure = &rejected.failure;
    assert!(matches!(failure.code, ErrorCode::InvalidRequest | ErrorCode::UnknownOrder), "{failure:?}");
    assert!(!failure.message.is_empty());
    assert!(failure.message.len() <= REFUSAL_BYTES_MAX, "{} bytes: {failure}", failure.message.len());
    let id = match &rejected.id {
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => text.len() <= ID_BYTES_MAX,
        Value::Array(_) | Value::Object(_) => false,
    };
    assert!(id, "an answer to {}", rejected.id);
    let expected = failure.clone();
    let bytes = framing::encode(&rejected.answer(), End::Newline);
    match Answer::decode(&bytes[..bytes.len() - 1]).expect("an answer").reply {
        Reply::Error { error } => assert_eq!(*error, expected),
        other => panic!("a rejected message is answered {other:?}"),
    }
}

/// Room for what is accepted (names of all orders, or all fields of one) and for quoting what was found; a
/// message of megabytes is not worth an answer of megabytes.
const REFUSAL_BYTES_MAX: usize = 4 << 10;

/// JSON in which no object has a field twice. Readers differ in which of the two they take.
enum Plain {
    Object(Vec<(String, Value)>),
    Other(Value),
}

impl Plain {
    fn value(self) -> Value {
        match self {
            Plain::Object(fields) => Value::Object(fields.into_iter().collect()),
            Plain::Other(value) => value,
        }
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Plain, D::Error> {
        deserializer.deserialize_any(PlainVisitor)
    }
}

struct PlainVisitor;

impl<'de> Visitor<'de> for PlainVisitor {
    type Value = Plain;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Plain, A::Error> {
        let mut fields = Vec::new();
        let mut seen = HashSet::new();
        while let Some((field, value)) = map.next_entry::<String, Plain>()? {
            assert!(seen.insert(field.clone()), "`{field}` was said twice and accepted");
            fields.push((field, value.value()));
        }
        Ok(Plain::Object(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Plain, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element::<Plain>()? {
            values.push(value.value());
        }
        Ok(Plain::Other(values.into()))
    }

    fn visit_unit<E>(self) -> Result<Plain, E> {
        Ok(Plain::Other(Value::Null))
    }
    fn visit_bool<E>(self, value: bool) -> Result<Plain, E> {
        Ok(Plain::Other(value.into()))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Plain, E> {
        Ok(Plain::Other(value.into()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Plain, E> {
        Ok(Plain::Other(value.into()))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Plain, E> {
        Ok(Plain::Other(value.into()))
    }
    fn visit_str<E>(self, value: &str) -> Result<Plain, E> {
        Ok(Plain::Other(value.into()))
    }
}
