//! `api::Answer` as a client reads it: from an appliance that may be newer, or no appliance at all.

use api::framing::{self, End};
use api::{Answer, Reply};

/// One message from the other end of a control socket, without its end.
///
/// It is an answer or an error, never a panic; an answer written and read again is the same answer; and what
/// a client does not know is ignored.
pub fn answer(data: &[u8]) {
    let read = Answer::decode(data);
    match (&read, Answer::decode(data)) {
        (Ok(once), Ok(twice)) => assert_eq!(*once, twice, "read twice"),
        (Err(once), Err(twice)) => assert_eq!(once.to_string(), twice.to_string(), "read twice"),
        (once, twice) => panic!("read twice: {once:?}, then {twice:?}"),
    }
    let Ok(answer) = read else { return };
    let bytes = framing::encode(&answer, End::Newline);
    assert_eq!(bytes.iter().position(|byte| matches!(byte, 0 | b'\n')), Some(bytes.len() - 1), "one line");
    let again = Answer::decode(&bytes[..bytes.len() - 1]).expect("an answer that was written");
    assert_eq!(again, answer, "written and read again");
    assert_eq!(framing::encode(&again, End::Newline), bytes, "written again");
    assert_eq!(answer.is_final(), !matches!(answer.reply, Reply::Processing { .. }));

    // A field of tomorrow, where the fields of today are.
    let mut newer: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON that was written");
    newer.as_object_mut().expect("an answer is an object").insert("of tomorrow".into(), [1].into());
    let text = newer.to_string();
    assert_eq!(Answer::decode(text.as_bytes()).expect("ignored by clients"), answer, "{text}");
}
