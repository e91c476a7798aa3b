//! What must be true of a play that is over.
//!
//! Both peers' bytes are read again by the second reader. It says where a message ends and what its content is; the
//! machine must have meant the same.

use super::Play;
use crate::reader::{self, Framing, Message, Reading};
use wire::h1::exchange::{Ended, Front, Outcome, Standing, Upstream};
use wire::h1::{Method, Version};
use wire::tunnel::Way;

pub fn judge(play: &Play) {
    match play.exchange.standing() {
        Standing::Open => unreachable!("played to the end"),
        Standing::Switched => {
            let asked = play.request.upgrade.is_some() || play.request.method == Method::Connect;
            assert!(asked, "a switch that nobody asked for");
            to_origin(play, false);
            let heads = answers(play);
            assert!(heads.last().is_some(), "a switch without its head");
        }
        Standing::Over(ended) => {
            to_origin(play, ended.upstream == Upstream::Reuse);
            to_client(play, ended);
            kept_front(play, ended.front);
        }
    }
}

/// One request or the beginning of one, and never a byte behind it.
fn to_origin(play: &Play, whole: bool) {
    let sink = &play.lines[Way::In.ix()].sink;
    match reader::request(sink) {
        Reading::Wrong(wrong) => panic!("the origin was sent no request: {wrong}: {}", sink.escape_ascii()),
        Reading::Whole { message, bytes } => {
            assert_eq!(bytes, sink.len(), "bytes behind the request: {}", sink.escape_ascii());
            same_request(play, &message);
            assert_eq!(Some(&message.content), meant(play).as_ref().map(|(content, _)| content));
        }
        Reading::Part(part) => {
            assert!(!whole, "a connection is kept inside a request: {}", sink.escape_ascii());
            if let Some(message) = part {
                same_request(play, &message);
            }
        }
    }
}

fn same_request(play: &Play, message: &Message) {
    let method = String::from_utf8_lossy(play.request.method.text(&play.client));
    assert_eq!(message.start[0], method);
    if let Some((content, _)) = meant(play) {
        assert!(content.starts_with(&message.content), "other content than the client's");
    }
}

/// The content that the client has sent whole, and where its request ends.
fn meant(play: &Play) -> Option<(Vec<u8>, usize)> {
    let begin = play.request.bytes;
    let behind = &play.client[begin..];
    match play.request.framing {
        wire::h1::Framing::None => Some((Vec::new(), begin)),
        wire::h1::Framing::Length(length) => {
            let length = usize::try_from(length).ok()?;
            Some((behind.get(..length)?.to_vec(), begin + length))
        }
        wire::h1::Framing::Chunked => {
            let (content, bytes) = plain_chunks(behind)?;
            Some((content, begin + bytes))
        }
        wire::h1::Framing::UntilClose => unreachable!("no request ends with its connection"),
    }
}

/// As the second reader reads chunks, but for what senders may write behind a size.
fn plain_chunks(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut plain, mut at) = (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(), 0);
    loop {
        let length = bytes[at..].windows(2).position(|two| two == b"\r\n")?;
        let line = &bytes[at..at + length];
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = usize::from_str_radix(std::str::from_utf8(&line[..digits]).ok()?, 16).ok()?;
        plain.extend_from_slice(&line[..digits]);
        at += length;
        if size == 0 {
            break;
        }
        let end = at.checked_add(size)?.checked_add(4)?;
        plain.extend_from_slice(bytes.get(at..end)?);
        at = end;
    }
    let head = plain.len();
    plain.extend_from_slice(&bytes[at..]);
    match reader::response(&plain, false) {
        Reading::Whole { message, bytes } => Some((message.content, at + bytes - head)),
        Reading::Part(_) | Reading::Wrong(_) => None,
    }
}

/// Messages that the client was sent, in order.
fn answers(play: &Play) -> Vec<Reading> {
    let mut rest = &play.lines[Way::Out.ix()].sink[..];
    let mut readings = Vec::new();
    while !rest.is_empty() {
        let reading = reader::response(rest, play.request.method == Method::Head);
        let (interim, bytes) = match &reading {
            Reading::Wrong(wrong) => panic!("the client was sent no answer: {wrong}: {}", rest.escape_ascii()),
            Reading::Whole { message, bytes } => (message.start[1].starts_with('1'), *bytes),
            Reading::Part(_) => (false, rest.len()),
        };
        readings.push(reading);
        rest = &rest[bytes..];
        if !interim {
            assert!(rest.is_empty() || is_switch(play), "bytes behind the answer: {}", rest.escape_ascii());
            break;
        }
    }
    readings
}

fn is_switch(play: &Play) -> bool {
    play.answer.as_ref().is_some_and(|head| head.kind == wire::h1::Kind::Switch)
}

fn to_client(play: &Play, ended: Ended) {
    if is_switch(play) {
        return;
    }
    let answers = answers(play);
    let is_final = |message: &Message| !message.start[1].starts_with('1');
    let last = match answers.last() {
        Some(Reading::Whole { message, .. }) if is_final(message) => Some((message, true)),
        Some(Reading::Part(Some(message))) if is_final(message) => {
            // What ends with the connection is whole if the connection ends as it should.
            Some((message, message.framing == Framing::UntilEnd && ended.front != Front::Abort))
        }
        _ => None,
    };
    match ended.outcome {
        Outcome::Answered => {
            let (message, whole) = last.expect("an answer");
            assert!(whole, "half an answer, told as a whole one");
            let until_end = message.framing == Framing::UntilEnd;
            assert!(!until_end || ended.front != Front::Reuse, "an end that does not come");
            assert!(
                play.request.version != Version::Http10 || message.framing != Framing::Chunked,
                "chunks for an old client"
            );
            same_content(play, message);
        }
        Outcome::Cut => {
            assert_eq!(ended.front, Front::Abort);
            assert!(last.is_none_or(|(_, whole)| !whole), "a cut answer looks whole");
        }
        Outcome::Unanswered(_) | Outcome::Refused(..) => {
            assert_eq!(last, None, "an answer, where none was given");
            assert!(!answers.iter().any(|reading| matches!(reading, Reading::Part(_))), "half an interim answer");
        }
        Outcome::ClientLeft => {}
    }
}

/// What the client has is what the origin has said.
fn same_content(play: &Play, message: &Message) {
    let said = &play.origin[play.content_at..];
    let head = play.answer.as_ref().expect("an answer came");
    assert_eq!(message.start[1], head.status.to_string());
    let meant = match head.framing {
        wire::h1::Framing::None => Some(Vec::new()),
        wire::h1::Framing::Length(length) => said.get(..length as usize).map(<[u8]>::to_vec),
        wire::h1::Framing::UntilClose => Some(said.to_vec()),
        wire::h1::Framing::Chunked => plain_chunks(said).map(|(content, _)| content),
    };
    assert_eq!(Some(&message.content), meant.as_ref(), "content that the origin did not send");
}

/// A connection that is kept stands at the end of its request, wherever the reading went.
fn kept_front(play: &Play, front: Front) {
    if front != Front::Reuse {
        return;
    }
    let inward = &play.lines[Way::In.ix()];
    let consumed = inward.received - inward.kept.len();
    let (_, end) = meant(play).expect("a request that is over is whole");
    assert_eq!(consumed, end, "the next request begins elsewhere");
}
