//! Whatever bytes come, reading them ends in a message or in an error that says what is accepted.

use api::{Answer, Decoder, End, ErrorCode, Request, framing};
use proptest::prelude::*;
use serde_json::Value;

const README: &str = include_str!("../../README.md");

/// Every message of the documentation, one line each.
fn messages() -> Vec<String> {
    let blocks = README.split("```json\n").skip(1);
    blocks
        .flat_map(|rest| {
            let block = rest.split_once("\n```").expect("a block has an end").0;
            serde_json::Deserializer::from_str(block).into_iter::<Value>()
        })
        .map(|message| message.expect("is JSON").to_string())
        .collect()
}

/// A message with some bytes replaced, doubled or taken out.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), 0..3, any::<u8>());
    let changes = prop::collection::vec(change, 0..4);
    (prop::sample::select(messages()), changes).prop_map(|(message, changes)| {
        let mut bytes = message.into_bytes();
        for (at, what, byte) in changes {
            let at = at.index(bytes.len());
            match what {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        bytes
    })
}

fn read(bytes: &[u8]) {
    let mut decoder = Decoder::new(1 << 20);
    decoder.feed(bytes);
    decoder.feed(b"\n");
    while let Some(frame) = decoder.decode() {
        let frame = frame.expect("is short");
        match Request::decode(&frame.text) {
            Ok(request) => {
                let again = framing::encode(&request, End::Nul);
                let again = Request::decode(&again[..again.len() - 1]);
                assert_eq!(again, Ok(request), "written and read again");
            }
            Err(rejected) => {
                let failure = &rejected.failure;
                assert!(matches!(failure.code, ErrorCode::InvalidRequest | ErrorCode::UnknownOrder), "{failure:?}");
                assert!(!failure.message.is_empty());
                let answer = framing::encode(&rejected.answer(), frame.end);
                assert!(Answer::decode(&answer[..answer.len() - 1]).is_ok());
            }
        }
        if let Ok(answer) = Answer::decode(&frame.text) {
            let again = framing::encode(&answer, End::Newline);
            let again = Answer::decode(&again[..again.len() - 1]).expect("is an answer");
            assert_eq!(again, answer, "written and read again");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn mutated_messages(bytes in mutated()) {
        read(&bytes);
    }

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read(&bytes);
    }
}

#[test]
fn the_messages_themselves() {
    let messages = messages();
    assert!(messages.len() > 40);
    for message in messages {
        read(message.as_bytes());
    }
}
