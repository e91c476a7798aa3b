//! The reader and the naive model say the same: what is a message, where it ends, whether the connection stays.

use crate::messages;
use crate::model::{self, End, Read};
use crate::{request, response};
use proptest::prelude::*;
use wire::h1::{Asked, Body, Content, Fields, Framing, Kind, Limits, Persistence};

fn end(framing: Framing) -> End {
    match framing {
        Framing::None => End::Nothing,
        Framing::Length(length) => End::Length(length),
        Framing::Chunked => End::Chunked,
        Framing::UntilClose => End::Close,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests(bytes in messages::bent(messages::requests())) {
        let read = request(&bytes).ok().flatten().map(|head| Read {
            bytes: head.bytes,
            end: end(head.framing),
            keep: head.persistence == Persistence::Keep,
            host: head.host.map(|host| String::from_utf8(host.whole.of(&bytes).to_vec()).unwrap()),
        });
        prop_assert_eq!(read, model::request(&bytes));
    }

    #[test]
    fn responses(bytes in messages::bent(messages::responses()), to_head in any::<bool>()) {
        let content = if to_head { Content::Withheld } else { Content::Framed };
        let read = response(&bytes, Asked { content, upgrade: false }).ok().flatten().map(|head| Read {
            bytes: head.bytes,
            end: end(head.framing),
            keep: head.persistence == Persistence::Keep,
            host: None,
        });
        prop_assert_eq!(read, model::response(&bytes, to_head));
    }

    #[test]
    fn chunked_bodies(bytes in messages::bent(messages::chunked())) {
        let limits = Limits { body_bytes: u64::MAX, ..Limits::REQUEST };
        let mut body = Body::new(Framing::Chunked, &limits);
        let (mut content, mut at, mut spare) = (Vec::new(), 0, Fields::new());
        let read = loop {
            let input = &bytes[at..];
            match body.feed(input, &limits, &mut spare) {
                Err(_) => break None,
                Ok(step) => {
                    content.extend_from_slice(&input[step.data]);
                    at += step.consumed;
                    if step.over {
                        break Some((content, at));
                    }
                    if step.consumed == 0 {
                        break None;
                    }
                }
            }
        };
        prop_assert_eq!(read, model::chunked(&bytes));
    }
}

/// The properties above say something only if both sides take enough of what is made.
#[test]
fn many_messages_are_right_and_many_are_wrong() {
    use proptest::strategy::{Strategy, ValueTree};
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (mut requests, mut responses, mut bodies) = (0, 0, 0);
    const OF: usize = 1_000;
    for _ in 0..OF {
        let mut make = |messages: BoxedStrategy<Vec<u8>>| messages.new_tree(&mut runner).unwrap().current();
        requests += usize::from(model::request(&make(messages::bent(messages::requests()).boxed())).is_some());
        responses +=
            usize::from(model::response(&make(messages::bent(messages::responses()).boxed()), false).is_some());
        bodies += usize::from(model::chunked(&make(messages::bent(messages::chunked()).boxed())).is_some());
    }
    for right in [requests, responses, bodies] {
        assert!((OF / 20..OF * 19 / 20).contains(&right), "{requests}, {responses}, {bodies} of {OF}");
    }
    let interim = response(b"HTTP/1.1 100 \r\n\r\n", Asked { content: Content::Framed, upgrade: false });
    assert_eq!(interim.unwrap().unwrap().kind, Kind::Interim);
}
