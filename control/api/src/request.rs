//! One message from a client.
//!
//! Reading happens in two passes over the text: first who asks for what, so that even a mistaken message
//! gets an answer with its own `id`, then the order's fields, with the place of every mistake.

use crate::answer::{Answer, ErrorCode, Failure};
use crate::edit::Edit;
use crate::order::Order;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An order and the mark that its answers will carry.
///
/// ```
/// let request = api::Request::decode(br#"{"id":1,"order":"receipt","job":41}"#).unwrap();
/// assert_eq!(request.id, 1);
/// assert_eq!(request.order.name(), "receipt");
/// ```
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Request {
    /// Text, number, boolean or null; echoed in every answer. Absent: null.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub id: Value,
    #[serde(flatten)]
    pub order: Order,
}

/// Bytes that an `id` of text may have.
pub const ID_BYTES_MAX: usize = 256;

impl Request {
    pub fn new(id: impl Into<Value>, order: Order) -> Request {
        Request { id: id.into(), order }
    }

    /// Reads one message, without its end.
    pub fn decode(text: &[u8]) -> Result<Request, Box<Rejected>> {
        let envelope: Envelope =
            serde_json::from_slice(text).map_err(|error| Rejected::unreadable(Value::Null, &error))?;
        let id = checked_id(envelope.id)?;
        let Value::String(name) = envelope.order else {
            return Err(Rejected::new(
                id,
                ErrorCode::InvalidRequest,
                format!("the message has no `order`, a text; accepted are `{}`", all_names().join("`, `")),
            ));
        };
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        match Order::read(&name, &mut deserializer) {
            Ok(order) => Ok(Request { id, order }),
            Err(error) if !all_names().contains(&name.as_str()) => {
                Err(Rejected::new(id, ErrorCode::UnknownOrder, error.to_string()))
            }
            Err(error) => Err(Rejected::new(id, ErrorCode::InvalidRequest, format!("order `{name}`: {error}"))),
        }
    }
}

/// Of every order.
fn all_names() -> Vec<&'static str> {
    let more = Edit::NAMES.iter().filter(|name| !Order::NAMES.contains(name));
    Order::NAMES.iter().chain(more).copied().collect()
}

/// A message that is no request, and what to answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Rejected {
    /// The message's own, as far as it could be read.
    pub id: Value,
    pub failure: Failure,
}

impl Rejected {
    fn new(id: Value, code: ErrorCode, message: String) -> Box<Rejected> {
        let failure = Failure::new(code, shortened(message));
        Box::new(Rejected { id, failure })
    }

    fn unreadable(id: Value, error: &serde_json::Error) -> Box<Rejected> {
        let hint = if error.is_eof() { "; a message is one line, a newline or NUL byte ends it" } else { "" };
        let message =
            format!(r#"not a message: {error}{hint}; accepted is one JSON object such as {{"id":1,"order":"status"}}"#);
        Rejected::new(id, ErrorCode::InvalidRequest, message)
    }

    pub fn answer(self) -> Answer {
        Answer::error(self.id, self.failure)
    }
}

/// Longest message of a rejection. Room for what is accepted, which stands at the end of it.
const MESSAGE_BYTES_MAX: usize = 2 << 10;

/// A message quotes what it is about, which may be as long as the request: the middle of that is left out.
fn shortened(message: String) -> String {
    if message.len() <= MESSAGE_BYTES_MAX {
        return message;
    }
    const GAP: &str = " … ";
    const HALF: usize = (MESSAGE_BYTES_MAX - GAP.len()) / 2;
    let (head, tail) = (message.floor_char_boundary(HALF), message.ceil_char_boundary(message.len() - HALF));
    format!("{}{GAP}{}", &message[..head], &message[tail..])
}

/// What belongs to the message and not to the order.
#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    order: Value,
}

fn checked_id(id: Value) -> Result<Value, Box<Rejected>> {
    let what = match &id {
        Value::Array(_) => "is an array",
        Value::Object(_) => "is an object",
        Value::String(text) if text.len() > ID_BYTES_MAX => "is too long",
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return Ok(id),
    };
    Err(Rejected::new(
        Value::Null,
        ErrorCode::InvalidRequest,
        format!("`id` {what}; accepted is text of at most {ID_BYTES_MAX} bytes, a number, true, false or null"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::{
        Apply, BackendAdd, BackendRemove, BackendSet, Check, Document, Events, History, ReceiptOf, Setting, Stop,
        StopMode, Transaction,
    };

    #[track_caller]
    fn reads(text: &str, order: Order) {
        let request = Request::decode(text.as_bytes()).expect("is a request");
        assert_eq!(request, Request::new(Value::Null, order));
    }

    fn removal(now: bool, wait: bool) -> BackendRemove {
        BackendRemove { pool: "db".into(), group: None, backend: "a".into(), now, wait }
    }

    #[test]
    fn every_order_is_read() {
        reads(r#"{"order":"status"}"#, Order::Status);
        reads(r#" {"order":"keys","id":null} "#, Order::Keys(crate::order::KeysOf::default()));
        reads(r#"{"order":"check","path":"/etc/site.toml"}"#, Order::Check(Check::Path("/etc/site.toml".into())));
        let document = Document { document: "x = 1\n".into(), name: Some("site.toml".into()), base: None };
        reads(
            r#"{"order":"check","document":"x = 1\n","name":"site.toml"}"#,
            Order::Check(Check::Document(document.clone())),
        );
        reads(r#"{"name":"site.toml","document":"x = 1\n","order":"plan"}"#, Order::Plan(document.into()));
        reads(
            r#"{"order":"apply","document":"","if_generation":41,"dry_run":true}"#,
            Order::Apply(Apply { if_generation: Some(41), dry_run: true, ..Apply::default() }),
        );
        reads(
            r#"{"order":"backend.add","pool":"db","backend":"c","address":"[::1]:1","weight":3,"backup":true,"max_connections":9}"#,
            Order::BackendAdd(BackendAdd {
                pool: "db".into(),
                backend: Some("c".into()),
                address: "[::1]:1".into(),
                weight: Some(3),
                backup: Some(true),
                max_connections: Some(9),
                ..BackendAdd::default()
            }),
        );
        reads(r#"{"order":"backend.remove","pool":"db","backend":"a"}"#, Order::BackendRemove(removal(false, true)));
        reads(
            r#"{"order":"backend.remove","pool":"db","backend":"a","now":true,"wait":false}"#,
            Order::BackendRemove(removal(true, false)),
        );
        let set = |max_connections| {
            Order::BackendSet(BackendSet {
                pool: "db".into(),
                backend: "a".into(),
                drain: Some(true),
                max_connections,
                ..BackendSet::default()
            })
        };
        reads(r#"{"order":"backend.set","pool":"db","backend":"a","drain":true}"#, set(Setting::Keep));
        reads(
            r#"{"order":"backend.set","pool":"db","backend":"a","drain":true,"max_connections":null}"#,
            set(Setting::Clear),
        );
        reads(
            r#"{"order":"backend.set","pool":"db","backend":"a","drain":true,"max_connections":7}"#,
            set(Setting::Set(7)),
        );
        reads(
            r#"{"order":"transaction","orders":[{"order":"backend.remove","pool":"db","backend":"a","wait":false}],"if_generation":7}"#,
            Order::Transaction(Transaction {
                orders: vec![Edit::BackendRemove(removal(false, false))],
                if_generation: Some(7),
                dry_run: false,
            }),
        );
        reads(
            r#"{"order":"history","limit":5,"before":9}"#,
            Order::History(History { limit: Some(5), before: Some(9) }),
        );
        reads(r#"{"order":"receipt","job":9}"#, Order::Receipt(ReceiptOf { job: 9 }));
        reads(r#"{"order":"events","from":3}"#, Order::Events(Events { from: Some(3) }));
        reads(r#"{"order":"stop"}"#, Order::Stop(Stop::default()));
        reads(r#"{"order":"stop","mode":"now"}"#, Order::Stop(Stop { mode: StopMode::Now, deadline_millis: None }));
    }

    #[test]
    fn an_order_without_fields_is_read_and_refuses_fields() {
        for name in Order::NAMES {
            let plain = format!(r#"{{"id":7,"order":"{name}"}}"#);
            match Request::decode(plain.as_bytes()) {
                Ok(request) => assert_eq!(request.order.name(), *name),
                Err(rejected) => {
                    assert_eq!(rejected.failure.code, ErrorCode::InvalidRequest, "{name}")
                }
            }
            let extra = format!(r#"{{"id":7,"order":"{name}","surprise":1}}"#);
            let rejected = Request::decode(extra.as_bytes()).expect_err(name);
            assert_eq!(rejected.id, 7);
            assert_eq!(rejected.failure.code, ErrorCode::InvalidRequest);
            assert!(rejected.failure.message.contains("`surprise`"), "{name}: {}", rejected.failure.message);
        }
    }

    #[test]
    fn the_id_is_any_scalar() {
        for id in ["1", "-1.5", r#""backup-job""#, "true", "null"] {
            let text = format!(r#"{{"id":{id},"order":"status"}}"#);
            let request = Request::decode(text.as_bytes()).expect("is a request");
            assert_eq!(request.id.to_string(), id);
        }
    }

    #[test]
    fn a_change_of_one_object_is_a_small_message() {
        // The longest names there are, and all that can be said.
        let name = "n".repeat(63);
        let host = format!("{0}.{0}.{0}", "h".repeat(63));
        for order in [
            format!(
                r#"{{"order":"backend.add","pool":"{name}","group":"{name}","backend":"{name}","address":"{host}:65535","weight":65535,"backup":true,"drain":true,"max_connections":10000000}}"#
            ),
            format!(
                r#"{{"order":"backend.set","pool":"{name}","group":"{name}","backend":"{name}","weight":65535,"backup":true,"drain":true,"max_connections":10000000}}"#
            ),
            format!(
                r#"{{"order":"backend.remove","pool":"{name}","group":"{name}","backend":"{name}","now":true,"wait":false}}"#
            ),
            format!(
                r#"{{"order":"patch","merge":{{"pool":{{"{name}":{{"group":{{"{name}":{{"backend":{{"{name}":{{"weight":3}}}}}}}}}}}}}}}}"#
            ),
        ] {
            let request = Request::decode(order.as_bytes()).unwrap_or_else(|rejected| panic!("{}", rejected.failure));
            let sent = serde_json::to_vec(&Request { id: u64::MAX.into(), ..request }).expect("it is JSON");
            assert!(sent.len() < 1_000, "{} bytes: {order}", sent.len());
        }
    }

    /// However deep, in a transaction too: what one reader takes from the first another would take from the last.
    #[test]
    fn no_key_is_said_twice() {
        for order in [
            r#"{"order":"pool.set","pool":"p","set":{"a":{"b":1,"b":2}}}"#,
            r#"{"order":"limit.set","pool":"p","set":{"b":1,"b":2}}"#,
            r#"{"order":"patch","merge":{"a":[{"b":1,"b":2}]}}"#,
            r#"{"order":"patch","patch":[{"op":"add","path":"/a","value":{"b":1,"b":2}}]}"#,
            r#"{"order":"patch","patch":[{"op":"remove","b":"/a","b":"/c"}]}"#,
        ] {
            let duplicate = ["duplicate field `b`"];
            rejects(order, Value::Null, ErrorCode::InvalidRequest, &duplicate);
            let within = format!(r#"{{"order":"transaction","orders":[{order}]}}"#);
            rejects(&within, Value::Null, ErrorCode::InvalidRequest, &duplicate);
        }
    }

    #[test]
    fn a_patch_is_of_exactly_one_kind() {
        for fields in ["", r#","merge":{},"patch":[]"#, r#","merge":null"#] {
            let text = format!(r#"{{"order":"patch"{fields}}}"#);
            rejects(&text, Value::Null, ErrorCode::InvalidRequest, &["exactly one of `merge`"]);
        }
    }

    #[test]
    fn an_id_is_echoed_as_the_number_that_it_was() {
        let text = r#"{"id":1.3804053653644075991e-27,"order":"status"}"#;
        let id = Request::decode(text.as_bytes()).expect("is a request").id;
        assert_eq!(id.as_f64(), "1.3804053653644075991e-27".parse().ok());
        assert_eq!(serde_json::from_str::<Value>(&id.to_string()).unwrap(), id);
    }

    /// `expected`: what the message says, in this order, after the id and the code.
    #[track_caller]
    fn rejects(text: &str, id: Value, code: ErrorCode, expected: &[&str]) {
        let rejected = Request::decode(text.as_bytes()).expect_err("is no request");
        assert_eq!((rejected.id, rejected.failure.code), (id, code));
        let message = rejected.failure.message;
        let mut rest = message.as_str();
        for part in expected {
            let Some((_, after)) = rest.split_once(part) else {
                panic!("`{part}` is not said, or out of turn, in: {message}");
            };
            rest = after;
        }
    }

    #[test]
    fn a_mistake_is_answered_with_its_place_and_what_is_accepted() {
        use ErrorCode::{InvalidRequest, UnknownOrder};
        let null = Value::Null;
        let accepted = r#"accepted is one JSON object such as {"id":1,"order":"status"}"#;
        rejects("status", null.clone(), InvalidRequest, &["line 1 column 1", accepted]);
        rejects(r#"{"order":"status""#, null.clone(), InvalidRequest, &["EOF", "a message is one line", accepted]);
        rejects(r#"{"order":"status"} {}"#, null.clone(), InvalidRequest, &["trailing characters", accepted]);
        rejects(r#"[1,"status"]"#, Value::from(1), InvalidRequest, &["expected an object"]);
        rejects(r#"{"id":1}"#, Value::from(1), InvalidRequest, &["no `order`", "`status`, `config.get`"]);
        rejects(r#"{"id":1,"order":5}"#, Value::from(1), InvalidRequest, &["no `order`", "`status`"]);
        rejects(r#"{"id":[1],"order":"status"}"#, null.clone(), InvalidRequest, &["`id` is an array", "accepted"]);
        rejects(
            r#"{"id":1,"order":"stop","order":"status"}"#,
            null.clone(),
            InvalidRequest,
            &["duplicate field `order`"],
        );
        rejects(
            r#"{"id":"x","order":"statsu"}"#,
            Value::from("x"),
            UnknownOrder,
            &["unknown order `statsu`", "accepted are `status`, ", "`keys`"],
        );
        rejects(
            r#"{"id":1,"order":"backend.add","pool":"db"}"#,
            Value::from(1),
            InvalidRequest,
            &["order `backend.add`", "missing field `address`"],
        );
        rejects(
            r#"{"id":1,"order":"backend.set","pool":"db","backend":"a","weight":-1}"#,
            Value::from(1),
            InvalidRequest,
            &["field `weight`", "integer `-1`", "expected u32", "at line 1 column 67"],
        );
        rejects(
            r#"{"id":1,"order":"backend.set","pool":"db","wieght":1}"#,
            Value::from(1),
            InvalidRequest,
            &["unknown field `wieght`", "`weight`", "at line 1 column 50"],
        );
        rejects(r#"{"id":1,"order":"check"}"#, Value::from(1), InvalidRequest, &["exactly one of `document`"]);
        rejects(
            r#"{"id":1,"order":"check","path":"/a","name":"b"}"#,
            Value::from(1),
            InvalidRequest,
            &["`name` and `base` go with `document`"],
        );
        rejects(
            r#"{"id":1,"order":"stop","mode":"later"}"#,
            Value::from(1),
            InvalidRequest,
            &["field `mode`", "`later`", "`graceful` or `now`"],
        );
        rejects(
            r#"{"id":1,"order":"transaction","orders":[{"order":"stop"}]}"#,
            Value::from(1),
            InvalidRequest,
            &["field `orders`", "unknown order `stop`", "`backend.add`, `backend.remove`, `backend.set`"],
        );
        rejects(
            r#"{"id":1,"order":"transaction","orders":[{"order":"backend.set","pool":"db","backend":"a","weight":"x"}]}"#,
            Value::from(1),
            InvalidRequest,
            &["field `orders`", "field `weight`", "expected u32"],
        );
        rejects(
            r#"{"id":1,"order":"transaction","orders":[7]}"#,
            Value::from(1),
            InvalidRequest,
            &["field `orders`", "expected an object"],
        );
        rejects(
            r#"{"id":1,"order":"transaction","orders":[{"pool":"db"}]}"#,
            Value::from(1),
            InvalidRequest,
            &["field `orders`", "has `order`"],
        );
        rejects(
            r#"{"id":1,"order":"transaction","orders":[{"order":"backend.set","weight":1,"weight":2}]}"#,
            Value::from(1),
            InvalidRequest,
            &["field `orders`", "duplicate field `weight`", "line 1 column"],
        );
        let deep = "[".repeat(100_000);
        rejects(&deep, null.clone(), InvalidRequest, &["not a message"]);
        let long_id = format!(r#"{{"id":"{}","order":"status"}}"#, "x".repeat(ID_BYTES_MAX + 1));
        rejects(&long_id, null, InvalidRequest, &["`id` is too long"]);
    }

    #[test]
    fn a_rejection_is_short_however_long_the_request() {
        let long = "é".repeat(100_000);
        for text in [
            format!(r#"{{"id":1,"order":"{long}"}}"#),
            format!(r#"{{"id":1,"order":"status","{long}":1}}"#),
            format!(r#"{{"id":1,"order":"stop","mode":"{long}"}}"#),
        ] {
            let message = Request::decode(text.as_bytes()).unwrap_err().failure.message;
            assert!(message.len() <= MESSAGE_BYTES_MAX, "{}", message.len());
            assert!(message.contains("éé … éé"), "{message}");
        }
        let all = Request::decode(format!(r#"{{"order":"{long}"}}"#).as_bytes()).unwrap_err();
        for name in Order::NAMES {
            assert!(all.failure.message.contains(name), "{name} is accepted");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_an_error() {
        let rejected = Request::decode(b"{\"order\":\"receipt\xff\"}").unwrap_err();
        assert_eq!(rejected.failure.code, ErrorCode::InvalidRequest);
        let rejected = Request::decode(b"{\"order\":\"apply\",\"document\":\"\xff\"}").unwrap_err();
        assert_eq!(rejected.failure.code, ErrorCode::InvalidRequest);
    }
}
