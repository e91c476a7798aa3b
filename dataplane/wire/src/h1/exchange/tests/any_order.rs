//! Two peers that behave, and an owner that does one step of either direction at a time, of any size. Whatever the
//! order, each peer gets what the other meant, in the framing it was told, and the end is the same.

use super::*;
use crate::h1::Body;
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::VecDeque;

/// One direction: what its source has still to send, and what its sink got behind the head.
struct Line {
    source: VecDeque<u8>,
    sink: Vec<u8>,
    /// In the owner's hands.
    held: VecDeque<u8>,
    /// In the pipe.
    pipe: VecDeque<u8>,
    /// Received and not consumed.
    kept: Vec<u8>,
    told_end: bool,
}

impl Line {
    fn new(source: Vec<u8>) -> Line {
        let (sink, kept, held, pipe) = (Vec::new(), Vec::new(), VecDeque::new(), VecDeque::new());
        Line { source: source.into(), sink, held, pipe, kept, told_end: false }
    }
}

fn take(from: &mut VecDeque<u8>, at_most: usize) -> Vec<u8> {
    from.drain(..at_most.min(from.len())).collect()
}

/// Content in a framing, with chunks of these sizes.
fn framed(framing: Framing, content: &[u8], chunk: usize) -> Vec<u8> {
    match framing {
        Framing::Chunked => {
            let mut out = Vec::new();
            for data in content.chunks(chunk.max(1)) {
                write::chunk_begin(&mut out, data.len() as u64);
                out.extend_from_slice(data);
                out.extend_from_slice(write::CHUNK_END);
            }
            write::last_chunk(&mut out, b"", &Fields::new());
            out
        }
        Framing::None => Vec::new(),
        Framing::Length(_) | Framing::UntilClose => content.to_vec(),
    }
}

/// What a peer reads that was told this framing. The end of the bytes is the end of the connection if it `closes`.
fn unframed(framing: Framing, bytes: &[u8]) -> Option<Vec<u8>> {
    let limits = Limits { body_bytes: u64::MAX, ..LIMITS };
    let mut body = Body::new(framing, &limits);
    let (mut content, mut at, mut spare) = (Vec::new(), 0, Fields::new());
    while !body.is_over() {
        let step = body.feed(&bytes[at..], &limits, &mut spare).expect("we write no violation");
        content.extend_from_slice(&bytes[at..][step.data]);
        at += step.consumed;
        if step.consumed == 0 {
            body.ended().ok()?;
        }
    }
    (at == bytes.len()).then_some(content)
}

#[derive(Clone, Debug)]
struct Play {
    request: (Framing, usize),
    response: (Framing, usize),
    /// Sizes of the chunks that the peers make.
    chunk: usize,
    old_client: bool,
    interims: usize,
    pipes: bool,
    /// Which way moves, and how many bytes at most.
    moves: Vec<(bool, usize)>,
}

fn plays() -> impl Strategy<Value = Play> {
    let sizes = select(vec![0, 1, 5, 100, 70_000, 200_000]);
    let request = (select(vec![Framing::None, Framing::Length(0), Framing::Chunked]), sizes.clone());
    let response = (select(vec![Framing::Length(0), Framing::Chunked, Framing::UntilClose]), sizes);
    let moves =
        prop::collection::vec((any::<bool>(), select(vec![1, 2, 3, 17, 1_000, 16_384, 65_536, 100_000])), 1..40);
    (request, response, select(vec![1_000, 65_536, 150_000]), any::<(bool, bool)>(), 0..3_usize, moves).prop_map(
        |(request, response, chunk, (old_client, pipes), interims, moves)| {
            let said = |(framing, bytes): (Framing, usize)| match framing {
                Framing::None => (Framing::None, 0),
                Framing::Length(_) => (Framing::Length(bytes as u64), bytes),
                other => (other, bytes),
            };
            let request = match said(request) {
                (Framing::Chunked, bytes) if old_client => (Framing::Length(bytes as u64), bytes),
                other => other,
            };
            Play { request, response: said(response), chunk, old_client, interims, pipes, moves }
        },
    )
}

fn lines_of(framing: Framing) -> String {
    match framing {
        Framing::None | Framing::UntilClose => String::new(),
        Framing::Length(length) => format!("Content-Length: {length}\r\n"),
        Framing::Chunked => "Transfer-Encoding: chunked\r\n".to_owned(),
    }
}

/// A thousand pieces and as many heads' bytes a way, each received, framed and sent, by one way in sixteen moves.
const STEPS_MAX: usize = 1_000_000;

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_gets_what_the_other_meant(play in plays()) {
        let content = |bytes: usize| (0..bytes).map(|ix| (ix * 7 % 251) as u8).collect::<Vec<u8>>();
        let (asked, answered) = (content(play.request.1), content(play.response.1));
        let version = if play.old_client { "HTTP/1.0\r\nConnection: keep-alive" } else { "HTTP/1.1" };
        let (mut exchange, request) =
            begun(&format!("PUT / {version}\r\nHost: a\r\n{}", lines_of(play.request.0)));
        let mut response = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(play.interims).into_bytes();
        response.extend_from_slice(format!("HTTP/1.1 200 OK\r\n{}\r\n", lines_of(play.response.0)).as_bytes());
        response.extend(framed(play.response.0, &answered, play.chunk));
        let mut lines = [Line::new(framed(play.request.0, &asked, play.chunk)), Line::new(response)];
        let head_bytes = exchange.held(Way::In) as usize;
        lines[0].held.extend(vec![b'h'; head_bytes]);
        let (mut said, mut search) = (None, Search::default());
        let mut client_head = 0;

        // Large contents move in larger pieces, so that a play has an end in sight.
        let scale = 1 + (play.request.1 + play.response.1) / 1_000;
        let mut moves = play.moves.iter().cycle();
        let mut steps = 0;
        while exchange.standing() == Standing::Open {
            steps += 1;
            prop_assert!(steps < STEPS_MAX, "it comes to no end: {exchange:?}");
            let (inward, at_most) = *moves.next().expect("a cycle");
            let at_most = at_most * scale;
            // Each has its turn at times, or a play that always moves one way would have the other wait for ever.
            let way = match steps % 16 {
                0 => Way::In,
                8 => Way::Out,
                _ if inward => Way::In,
                _ => Way::Out,
            };
            let line = &mut lines[way.ix()];
            // What was for an origin that listens no more is thrown away.
            if exchange.held(way) == 0 {
                line.held.clear();
            }
            if !exchange.piped(way) {
                line.pipe.clear();
            }
            prop_assert_eq!(exchange.held(way), line.held.len() as u64);
            if play.pipes && exchange.wants_pipe(way).is_some() && line.kept.is_empty() {
                exchange.pipe_given(way);
            }
            match exchange.next(way) {
                Step::Send => {
                    let bytes = take(&mut line.held, at_most);
                    line.sink.extend_from_slice(&bytes);
                    exchange.taken(way, bytes.len() as u64);
                }
                Step::Frame => exchange.frame(way, |bytes| line.held.extend(bytes)),
                Step::Fill { at_most: allowed } => {
                    let bytes = take(&mut line.source, at_most.min(allowed as usize));
                    line.pipe.extend(&bytes);
                    match bytes.len() {
                        0 => exchange.ended(way),
                        bytes => exchange.filled(way, bytes as u64),
                    }
                }
                Step::Drain => {
                    let bytes = take(&mut line.pipe, at_most);
                    line.sink.extend_from_slice(&bytes);
                    exchange.drained(way, bytes.len() as u64);
                }
                Step::Receive => {
                    let bytes = take(&mut line.source, at_most);
                    // Only the origin closes, and only where that says something.
                    if bytes.is_empty() && line.kept.is_empty() && way == Way::Out && !exchange.awaits_head() {
                        prop_assert!(!std::mem::replace(&mut line.told_end, true));
                        exchange.ended(way);
                        continue;
                    }
                    line.kept.extend_from_slice(&bytes);
                    if way == Way::Out && exchange.awaits_head() {
                        exchange.answer_begun();
                        let asked = Asked::by(&request, false);
                        let parsed = parse_response(&line.kept, asked, &mut search, &LIMITS, &mut Fields::new());
                        let Some(head) = parsed.expect("a response") else { continue };
                        search = Search::default();
                        let to = ToClient { client: request.version, persistence: exchange.may_keep(), via: None };
                        let mut out = Vec::new();
                        if head.kind == Kind::Interim {
                            if exchange.interim(&head) {
                                write::response(&mut out, &line.kept, &head, &to, [].into_iter());
                                exchange.holds(Way::Out, out.len() as u64);
                            }
                        } else {
                            let says = write::response(&mut out, &line.kept, &head, &to, [].into_iter());
                            let behind = line.kept.len() - head.bytes;
                            exchange.answered(&head, says, out.len() as u64, behind, &LIMITS);
                            said = Some(says);
                        }
                        client_head += out.len();
                        line.held.extend(&out);
                        line.kept.drain(..head.bytes);
                    } else {
                        let held = &mut line.held;
                        let put = |bytes: &[u8]| held.extend(bytes);
                        let consumed = exchange.forward(way, &line.kept, &LIMITS, &mut Fields::new(), put);
                        line.kept.drain(..consumed);
                    }
                }
                Step::Discard => {
                    let bytes = take(&mut line.source, at_most);
                    line.kept.extend_from_slice(&bytes);
                    let consumed = exchange.discard(&line.kept, &LIMITS, &mut Fields::new());
                    line.kept.drain(..consumed);
                }
                Step::Wait | Step::Rest => {}
            }
        }

        let said = said.expect("an answer");
        let Standing::Over(ended) = exchange.standing() else { panic!("{:?}", exchange.standing()) };
        prop_assert_eq!(ended.outcome, Outcome::Answered);
        let [inward, outward] = &lines;
        prop_assert_eq!(unframed(said.framing, &outward.sink[client_head..]), Some(answered));
        prop_assert_eq!(outward.sink.starts_with(b"HTTP/1.1 103"), play.interims > 0 && !play.old_client);
        let sent = &inward.sink[head_bytes.min(inward.sink.len())..];
        match ended.upstream {
            Upstream::Reuse => {
                prop_assert_eq!(unframed(play.request.0, sent), Some(asked));
                prop_assert!(play.response.0 != Framing::UntilClose);
            }
            // An early answer may have ended it; what came until then is a beginning of what was meant.
            Upstream::Close => {}
        }
        match ended.front {
            Front::Reuse => prop_assert!(inward.source.is_empty() && said.persistence == Persistence::Keep),
            Front::Close | Front::DrainThenClose => prop_assert_eq!(said.persistence, Persistence::Close),
            Front::Abort => prop_assert!(false, "nobody broke"),
        }
    }
}
