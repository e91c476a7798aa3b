//! `wire::h1::exchange` between a client and an origin that do what a script says, and say what they like.
//!
//! The driver is the owner of the sockets, as a shard is. What both peers were sent is read by the second reader
//! ([`crate::reader`]) at the end.

mod verdict;

use crate::script::Script;
use wire::h1::exchange::{Exchange, Outcome, Retry, Standing, Step};
use wire::h1::write::{self, Chain, ToClient, ToOrigin, Told, Upgrades};
use wire::h1::{
    Asked, Fields, Kind, Limits, Peer, RequestHead, ResponseHead, Scheme, Search, parse_request, parse_response,
};
use wire::tunnel::Way;

/// A line of script, then what the client sends, a line `===`, then what the origin sends. `@70000@` in what they send
/// stands for so many bytes.
///
/// | event | |
/// |---|---|
/// | `i` n, `o` n | a step of the way in, or out, moving no more than n |
/// | `p` | pipes are to be had, or not any more |
/// | `t` | empty pipes are taken back |
/// | `e`, `f` | the client's end is seen as soon as it has said all, or the origin's |
/// | `b`, `d` | the client is reset, or the origin |
/// | `w`, `c` | the origin takes no more, or the client |
/// | `k` | from here on content is kept so that it can be said again, or not any more |
/// | `a` | what may safely be sent again is sent again |
///
/// After the script both say all they have to say, end, and take what comes. Then: nothing was consumed that was not
/// given, and what is held is what the machine says is held, within a bound; the origin has one request, or the
/// beginning of one; the client has one answer, and a cut one does not look whole; a connection that is kept stands
/// where the second reader finds the end of the message.
pub fn exchange(data: &[u8]) {
    if let Some(play) = played(data) {
        verdict::judge(&play);
    }
}

fn played(data: &[u8]) -> Option<Play> {
    let mut sections = data.splitn(2, |byte| *byte == b'\n');
    let (script, said) = (sections.next().unwrap_or_default(), sections.next().unwrap_or_default());
    let divided = said.windows(DIVIDER.len()).position(|window| window == DIVIDER);
    let (client, origin) = divided.map_or((said, &b""[..]), |at| (&said[..at], &said[at + DIVIDER.len()..]));
    let (client, origin) = (expanded(client), expanded(origin));
    let mut play = Play::begin(client, origin)?;
    let mut script = Script::new(script);
    while let Some(event) = script.event(b"ioptefbdwcka") {
        match event {
            b'i' => play.step(Way::In, SIZES[script.digit()]),
            b'o' => play.step(Way::Out, SIZES[script.digit()]),
            b'p' => play.pipes = !play.pipes,
            b't' => Way::BOTH.iter().for_each(|way| play.take_pipe_back(*way)),
            b'e' => play.lines[Way::In.ix()].ends = true,
            b'f' => play.lines[Way::Out.ix()].ends = true,
            b'b' => play.break_source(Way::In),
            b'd' => play.break_source(Way::Out),
            b'w' => play.break_sink(Way::In),
            b'c' => play.break_sink(Way::Out),
            b'k' => play.keeps = !play.keeps,
            _ => play.send_again(),
        }
        play.check();
    }
    play.come_to_the_end();
    Some(play)
}

const DIVIDER: &[u8] = b"\n===\n";

const SIZES: [usize; 10] = [1, 2, 3, 7, 20, 100, 1_000, 16_384, 65_536, 200_000];

/// What one peer sends at most. Unit: bytes.
const SENT_MAX: usize = 300_000;

/// Small, so that bounds are met.
const LIMITS: Limits = Limits {
    head_bytes: 2_000,
    line_bytes: 500,
    fields: 30,
    name_bytes: 60,
    value_bytes: 600,
    trailer_bytes: 300,
    body_bytes: 1 << 20,
};

/// Requests that are sent again, in one play.
const AGAIN_MAX: usize = 2;

pub(super) struct Play {
    pub exchange: Exchange,
    /// The client's bytes, head and all.
    pub client: Vec<u8>,
    pub request: RequestHead,
    pub lines: [Line; 2],
    pub origin: Vec<u8>,
    pub answer: Option<ResponseHead>,
    /// Where in `origin` its content begins.
    pub content_at: usize,
    search: Search,
    pipes: bool,
    pipes_given: usize,
    agains: usize,
    keeps: bool,
    /// All that was put for the origin, if it was all kept.
    replay: Option<Vec<u8>>,
}

/// One direction.
#[derive(Default)]
pub(super) struct Line {
    /// Of what the source says, how much was received.
    pub received: usize,
    /// Received and not consumed.
    pub kept: Vec<u8>,
    pub held: Vec<u8>,
    pipe: Vec<u8>,
    pub sink: Vec<u8>,
    /// Its end follows what it says.
    ends: bool,
    end_told: bool,
    pub source_broken: bool,
    pub sink_broken: bool,
}

/// `@n@` as n bytes; each side no more than [`SENT_MAX`].
fn expanded(said: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut pieces = said.split(|byte| *byte == b'@').peekable();
    let mut between = false;
    while let Some(piece) = pieces.next() {
        let number = std::str::from_utf8(piece).ok().and_then(|digits| digits.parse::<usize>().ok());
        match number.filter(|_| between && pieces.peek().is_some()) {
            Some(count) => {
                out.extend((0..count.min(SENT_MAX)).map(|ix| b'a' + (ix % 23) as u8));
                between = false;
            }
            None => {
                if between {
                    out.push(b'@');
                }
                out.extend_from_slice(piece);
                between = true;
            }
        }
        out.truncate(SENT_MAX);
    }
    out
}

impl Play {
    /// `None`: the client sends no request.
    fn begin(client: Vec<u8>, origin: Vec<u8>) -> Option<Play> {
        let parsed = parse_request(&client, &mut Search::default(), &LIMITS, &mut Fields::new());
        let request = parsed.ok().flatten()?;
        let told = Told {
            client: [127, 0, 0, 1].into(),
            scheme: Scheme::Http,
            x_forwarded: Chain::Append,
            forwarded: Chain::Remove,
            via: None,
            request_id: None,
        };
        let upgrades = Upgrades::Any;
        let to = ToOrigin { target: None, host: None, host_default: b"d", upgrades, expect: true, close: false, told };
        let mut head_out = Vec::new();
        write::request(&mut head_out, &client, &request, &to, [].into_iter());
        let inward = Line { received: request.bytes, held: head_out.clone(), ..Line::default() };
        let exchange = Exchange::new(&request, head_out.len() as u64, &LIMITS);
        Some(Play {
            exchange,
            client,
            request,
            lines: [inward, Line::default()],
            origin,
            answer: None,
            content_at: 0,
            search: Search::default(),
            pipes: true,
            pipes_given: 0,
            agains: 0,
            keeps: false,
            replay: Some(head_out),
        })
    }

    fn is_open(&self) -> bool {
        self.exchange.standing() == Standing::Open
    }

    /// At most `limit` bytes that the source has said, and takes them.
    fn take(&mut self, way: Way, limit: usize) -> Vec<u8> {
        let said = if way == Way::In { &self.client } else { &self.origin };
        let line = &mut self.lines[way.ix()];
        let rest = &said[line.received..];
        let taken = rest[..limit.min(rest.len())].to_vec();
        line.received += taken.len();
        taken
    }

    fn step(&mut self, way: Way, limit: usize) {
        if !self.is_open() {
            return;
        }
        if self.pipes && self.lines[way.ix()].kept.is_empty() && self.exchange.wants_pipe(way).is_some() {
            self.exchange.pipe_given(way);
            self.pipes_given += 1;
        }
        match self.exchange.next(way) {
            Step::Send | Step::Drain if self.lines[way.ix()].sink_broken => self.exchange.broke_sink(way),
            Step::Send => {
                let line = &mut self.lines[way.ix()];
                let sent: Vec<u8> = line.held.drain(..limit.min(line.held.len())).collect();
                line.sink.extend_from_slice(&sent);
                self.exchange.taken(way, sent.len() as u64);
            }
            Step::Drain => {
                let line = &mut self.lines[way.ix()];
                let sent: Vec<u8> = line.pipe.drain(..limit.min(line.pipe.len())).collect();
                line.sink.extend_from_slice(&sent);
                self.exchange.drained(way, sent.len() as u64);
            }
            Step::Frame => {
                let held = &mut self.lines[way.ix()].held;
                let before = held.len();
                self.exchange.frame(way, |bytes| held.extend_from_slice(bytes));
                if let (Way::In, Some(replay)) = (way, &mut self.replay) {
                    replay.extend_from_slice(&held[before..]);
                }
            }
            Step::Fill { at_most } => match self.receive(way, limit.min(at_most as usize)) {
                Some(bytes) if bytes.is_empty() => self.exchange.ended(way),
                Some(bytes) => {
                    self.lines[way.ix()].pipe.extend_from_slice(&bytes);
                    self.exchange.filled(way, bytes.len() as u64);
                    self.replay = self.replay.take().filter(|_| way == Way::Out);
                }
                None => {}
            },
            Step::Receive | Step::Discard => match self.receive(way, limit) {
                Some(bytes) if bytes.is_empty() => self.exchange.ended(way),
                Some(bytes) => {
                    self.lines[way.ix()].kept.extend_from_slice(&bytes);
                    self.look(way);
                }
                None => {}
            },
            Step::Wait | Step::Rest => self.see_the_end(way),
        }
        self.settle();
    }

    /// Some bytes, or none: the end. `None`: there is nothing to be received, or the source is reset, which was told.
    fn receive(&mut self, way: Way, limit: usize) -> Option<Vec<u8>> {
        if self.lines[way.ix()].source_broken {
            self.exchange.broke_source(way);
            return None;
        }
        let bytes = self.take(way, limit);
        let line = &mut self.lines[way.ix()];
        if bytes.is_empty() {
            let first = line.ends && !std::mem::replace(&mut line.end_told, true);
            return first.then_some(bytes);
        }
        Some(bytes)
    }

    /// A client that is done with asking may be seen to end at any time.
    fn see_the_end(&mut self, way: Way) {
        let said = if way == Way::In { self.client.len() } else { self.origin.len() };
        let line = &mut self.lines[way.ix()];
        if way == Way::In && line.ends && line.received == said && !std::mem::replace(&mut line.end_told, true) {
            self.exchange.ended(way);
        }
    }

    /// What was received and not consumed is looked at.
    fn look(&mut self, way: Way) {
        if way == Way::Out && self.exchange.awaits_head() {
            return self.look_for_heads();
        }
        let Line { kept, held, .. } = &mut self.lines[way.ix()];
        let before = held.len();
        let consumed = match self.exchange.next(way) {
            Step::Discard => self.exchange.discard(kept, &LIMITS, &mut Fields::new()),
            _ => self.exchange.forward(way, kept, &LIMITS, &mut Fields::new(), |bytes| held.extend_from_slice(bytes)),
        };
        assert!(consumed <= kept.len(), "{way:?}: {consumed} of {} consumed", kept.len());
        kept.drain(..consumed);
        if way == Way::In && consumed > 0 {
            self.replay = self.replay.take().filter(|_| self.keeps);
        }
        if let (Way::In, Some(replay)) = (way, &mut self.replay) {
            replay.extend_from_slice(&held[before..]);
            self.exchange.kept();
        }
    }

    fn look_for_heads(&mut self) {
        while self.is_open() && self.exchange.awaits_head() && !self.lines[Way::Out.ix()].kept.is_empty() {
            self.exchange.answer_begun();
            let Line { kept, held, .. } = &mut self.lines[Way::Out.ix()];
            let asked = Asked::by(&self.request, true);
            let head = match parse_response(kept, asked, &mut self.search, &LIMITS, &mut Fields::new()) {
                Ok(Some(head)) => head,
                Ok(None) => return,
                Err(violation) => return self.exchange.refused(Peer::Origin, violation),
            };
            self.search = Search::default();
            let to = ToClient { client: self.request.version, persistence: self.exchange.may_keep(), via: None };
            if head.kind == Kind::Interim {
                if self.exchange.interim(&head) {
                    let before = held.len();
                    write::response(held, kept, &head, &to, [].into_iter());
                    self.exchange.holds(Way::Out, (held.len() - before) as u64);
                }
                kept.drain(..head.bytes);
                continue;
            }
            let before = held.len();
            let said = write::response(held, kept, &head, &to, [].into_iter());
            let behind = kept.len() - head.bytes;
            self.exchange.answered(&head, said, (held.len() - before) as u64, behind, &LIMITS);
            kept.drain(..head.bytes);
            self.content_at = self.lines[Way::Out.ix()].received - behind;
            let more = behind > 0 && head.kind == Kind::Final && !self.exchange.answer_is_over();
            self.answer = Some(head);
            if more && self.is_open() {
                self.look(Way::Out);
            }
        }
    }

    fn take_pipe_back(&mut self, way: Way) {
        if self.is_open() && self.exchange.piped(way) {
            self.exchange.pipe_taken_back(way);
        }
    }

    fn break_source(&mut self, way: Way) {
        self.lines[way.ix()].source_broken = true;
        if self.is_open() {
            self.exchange.broke_source(way);
            self.settle();
        }
    }

    fn break_sink(&mut self, way: Way) {
        self.lines[way.ix()].sink_broken = true;
    }

    /// The origin goes on with what it has not said yet, over a new connection.
    fn send_again(&mut self) {
        let Standing::Over(ended) = self.exchange.standing() else { return };
        let safe = matches!(ended.outcome, Outcome::Unanswered(Retry::Untouched | Retry::Idempotent));
        if !safe || self.agains == AGAIN_MAX {
            return;
        }
        self.agains += 1;
        let replay = self.replay.clone().expect("content was taken that cannot be said again");
        let again = replay.len() as u64;
        let [inward, outward] = &mut self.lines;
        let (received, kept) = (inward.received, std::mem::take(&mut inward.kept));
        let (ends, end_told) = (inward.ends, inward.end_told);
        *inward = Line { received, kept, held: replay, ends, end_told, ..Line::default() };
        let (received, sink) = (outward.received, std::mem::take(&mut outward.sink));
        *outward = Line { received, sink, ends: outward.ends, ..Line::default() };
        self.search = Search::default();
        self.exchange.again(again);
    }

    /// What belongs to nobody any more is thrown away, as the machine asks.
    fn settle(&mut self) {
        for way in Way::BOTH {
            let line = &mut self.lines[way.ix()];
            if self.exchange.held(way) == 0 {
                line.held.clear();
            }
            if !self.exchange.piped(way) {
                line.pipe.clear();
            }
        }
    }

    fn check(&self) {
        for way in Way::BOTH {
            let line = &self.lines[way.ix()];
            assert_eq!(self.exchange.held(way), line.held.len() as u64, "{way:?}: held");
            // A chunk of one byte is six on its way, and a head is held beside what came behind it.
            let held_max = 4 * LIMITS.head_bytes + 6 * SIZES[9];
            assert!(line.held.len() <= held_max, "{way:?}: {} bytes held", line.held.len());
            let waits = LIMITS.head_bytes + LIMITS.trailer_bytes + SIZES[9];
            assert!(line.kept.len() <= waits + usize::from(wire::h1::EXTENSION_BYTES_MAX), "{way:?}: waits for ever");
        }
    }

    fn come_to_the_end(&mut self) {
        // Every byte is received, framed and sent, in steps of thousands of bytes; interim answers take a step each.
        const STEPS_MAX: usize = 10_000;
        self.lines.iter_mut().for_each(|line| line.ends = true);
        let mut steps = 0;
        while self.is_open() {
            for way in Way::BOTH {
                self.step(way, SIZES[8]);
                self.check();
            }
            steps += 1;
            assert!(steps <= STEPS_MAX, "it comes to no end: {:?}", self.exchange);
        }
        // Interim answers that are held when it ends go out before whatever is said instead.
        if self.exchange.may_answer() {
            let outward = &mut self.lines[Way::Out.ix()];
            let rest = std::mem::take(&mut outward.held);
            outward.sink.extend_from_slice(&rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus;
    use std::collections::BTreeSet;

    /// A corpus that ends in one way only would show nothing of the others.
    #[test]
    fn kept_plays_end_in_every_way() {
        let (mut ends, mut pipes, mut agains, mut contents) = (BTreeSet::new(), 0, 0, 0);
        for (name, bytes) in corpus::of("exchange") {
            let play = played(&bytes).unwrap_or_else(|| panic!("{name} is no play: its client sends no request"));
            pipes += play.pipes_given;
            agains += play.agains;
            contents += usize::from(play.agains > 0 && play.lines[Way::In.ix()].received > play.request.bytes);
            ends.insert(match play.exchange.standing() {
                Standing::Open => "open",
                Standing::Switched => "switched",
                Standing::Over(ended) => match ended.outcome {
                    Outcome::Answered => "answered",
                    Outcome::ClientLeft => "client-left",
                    Outcome::Unanswered(_) => "unanswered",
                    Outcome::Refused(Peer::Client, _) => "refused-client",
                    Outcome::Refused(Peer::Origin, _) => "refused-origin",
                    Outcome::Cut => "cut",
                },
            });
        }
        let all = ["answered", "client-left", "cut", "refused-client", "refused-origin", "switched", "unanswered"];
        assert_eq!(ends, all.into());
        assert!(
            pipes >= 3 && agains >= 4 && contents >= 2,
            "{pipes} pipes, {agains} sent again, {contents} with content"
        );
    }

    #[test]
    fn numbers_between_signs_are_so_many_bytes() {
        assert_eq!(expanded(b"a@3@b"), b"aabcb");
        assert_eq!(expanded(b"@2@@2@"), b"abab");
        assert_eq!(expanded(b"u@h, 5@"), b"u@h, 5@");
        assert_eq!(expanded(b"@x@3@"), b"@xabc");
        assert_eq!(expanded(b"@999999999@").len(), SENT_MAX);
    }
}
