//! However a message is cut, the same is said of it.

use crate::messages;
use proptest::prelude::*;
use proptest::sample::Index;
use wire::h1::{Asked, Body, Content, Fields, Framing, Limits, Search, Violation, parse_request, parse_response};

/// All that is seen of a body: its content, how many bytes it took, how many fields trail, whether it is over.
type Seen = (Vec<u8>, usize, usize, bool);

/// Where pieces end, the last with the message.
fn cuts() -> impl Strategy<Value = Vec<Index>> {
    prop::collection::vec(any::<Index>(), 0..6)
}

fn ends(bytes: &[u8], cuts: &[Index]) -> Vec<usize> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([bytes.len()]).collect();
    ends.sort_unstable();
    ends
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests(bytes in messages::bent(messages::requests()), cuts in cuts()) {
        let limits = Limits { head_bytes: 200, line_bytes: 30, fields: 6, ..Limits::REQUEST };
        let parse = |ends: &[usize]| {
            let (mut search, mut spare) = (Search::default(), Fields::new());
            let parse = |end: &usize| parse_request(&bytes[..*end], &mut search, &limits, &mut spare);
            ends.iter().map(parse).find(|parsed| *parsed != Ok(None)).unwrap_or(Ok(None))
        };
        prop_assert_eq!(parse(&ends(&bytes, &cuts)), parse(&[bytes.len()]));
    }

    #[test]
    fn responses(bytes in messages::bent(messages::responses()), cuts in cuts()) {
        let limits = Limits { head_bytes: 200, fields: 6, ..Limits::RESPONSE };
        let asked = Asked { content: Content::Framed, upgrade: true };
        let parse = |ends: &[usize]| {
            let (mut search, mut spare) = (Search::default(), Fields::new());
            let parse = |end: &usize| parse_response(&bytes[..*end], asked, &mut search, &limits, &mut spare);
            ends.iter().map(parse).find(|parsed| *parsed != Ok(None)).unwrap_or(Ok(None))
        };
        prop_assert_eq!(parse(&ends(&bytes, &cuts)), parse(&[bytes.len()]));
    }

    #[test]
    fn bodies(bytes in messages::bent(messages::chunked()), cuts in cuts(), length in 0..60_u64) {
        for framing in [Framing::Chunked, Framing::Length(length), Framing::UntilClose, Framing::None] {
            let limits = Limits { trailer_bytes: 30, fields: 1, body_bytes: 60, ..Limits::REQUEST };
            let whole = feed(framing, &bytes, &[bytes.len()], &limits);
            prop_assert_eq!(feed(framing, &bytes, &ends(&bytes, &cuts), &limits), whole, "{:?}", framing);
        }
    }

    /// Bytes that may be moved without a look may also be looked at, and the other way round.
    #[test]
    fn what_is_moved_is_what_would_be_fed(bytes in messages::chunked(), moves in prop::collection::vec(any::<Index>(), 20)) {
        let limits = Limits::REQUEST;
        let fed = feed(Framing::Chunked, &bytes, &[bytes.len()], &limits);
        let mut body = Body::new(Framing::Chunked, &limits);
        let (mut content, mut at, mut spare) = (Vec::new(), 0, Fields::new());
        let mut moves = moves.iter().cycle();
        let moved = loop {
            let some = moves.next().expect("a cycle").index(body.opaque() as usize + 1);
            content.extend_from_slice(&bytes[at..at + some]);
            body.moved(some as u64);
            at += some;
            // Byte by byte, so that there is something left to be moved.
            let end = bytes.len().min(at + 1 + spare_section(&body, &bytes, at));
            match body.feed(&bytes[at..end], &limits, &mut spare) {
                Err(violation) => break Err(violation),
                Ok(step) => {
                    content.extend_from_slice(&bytes[at..end][step.data]);
                    at += step.consumed;
                    if step.over {
                        break Ok((content, at, spare.len(), true));
                    }
                }
            }
        };
        prop_assert_eq!(moved, fed);
    }
}

/// A trailer section is read in one piece, so all that is left is offered where nothing else can come.
fn spare_section(body: &Body, bytes: &[u8], at: usize) -> usize {
    if body.opaque() == 0 && bytes[..at].ends_with(b"\n") { bytes.len() - at } else { 0 }
}

fn feed(framing: Framing, bytes: &[u8], ends: &[usize], limits: &Limits) -> Result<Seen, Violation> {
    let mut body = Body::new(framing, limits);
    let (mut content, mut at, mut spare) = (Vec::new(), 0, Fields::new());
    for end in ends {
        loop {
            let input = &bytes[at..*end];
            let step = body.feed(input, limits, &mut spare)?;
            content.extend_from_slice(&input[step.data]);
            at += step.consumed;
            if step.over {
                return Ok((content, at, spare.len(), true));
            }
            if step.consumed == 0 {
                break;
            }
        }
    }
    Ok((content, at, 0, false))
}
