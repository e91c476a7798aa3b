//! One request and its response: both windows, and the order of things.
//!
//! Owns what may be read, sent or moved next in each direction, what an end or a break means at every moment, and
//! what may be done afterwards with both connections and with the request. Refuses to know sockets, buffers, time,
//! and whether a retry is wise: it says whether it is safe.
//!
//! ```text
//!  request   head held ─▶ content: receive ⇄ send, or pipe ────────────────▶ done
//!                            └ the origin takes no more ─▶ (answer) ─▶ discard, to a bound ─▶ done
//!
//!  response  Waiting ⇄ interim held (1xx, to HTTP/1.1 clients, INTERIMS_MAX)
//!               ├ final head ─▶ Final: content: receive ⇄ send, or pipe ──▶ done
//!               ├ 101, or CONNECT taken ─▶ Switch: head sent ────────────▶ Standing::Switched
//!               └ end, break, violation ─▶ Over: answered by ourselves, or tried again
//! ```
//!
//! **An early answer** does not stop the request: an origin may answer while it reads. When the answer is done and
//! the request is not, it depends on what the client was told with the head: if the connection is to be kept
//! ([`Exchange::may_keep`] said that little is left), the rest goes to the origin, or nowhere if that does not listen
//! any more; otherwise the exchange is over, and the owner drains to a bound and closes (RFC 9112 section 9.6).
//!
//! **A cut answer** (an end or a break before the content is complete) must not look whole: what had come is
//! delivered, then the client's connection is aborted. A last chunk is never written for it.

mod flow;

pub use flow::SPLICE_BYTES_MIN;

use crate::h1::field::Fields;
use crate::h1::limits::Limits;
use crate::h1::meaning::{Framing, Persistence};
use crate::h1::request::RequestHead;
use crate::h1::response::{Kind, ResponseHead};
use crate::h1::version::Version;
use crate::h1::violation::{Peer, Violation};
use crate::h1::write::Said;
use crate::tunnel::Way;
use flow::Flow;

/// Interim responses to one request. An origin that sends more sends them for ever.
pub const INTERIMS_MAX: u8 = 16;

/// Bytes of a request that are read for nothing after its answer, so that the connection can be kept. More costs
/// more than a new connection.
pub const DISCARD_BYTES_MAX: u64 = 64 << 10;

/// What the owner of the sockets does next for one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Receive from the source. What comes is content, for `forward`; or it is an answer's head as long as
    /// `Exchange::awaits_head`. Else `ended` or `broke_source`.
    Receive,
    /// Send what is held to the sink; answer with `taken` or `broke_sink`.
    Send,
    /// Write the framing that is owed: call `frame`.
    Frame,
    /// Move at most so many bytes from the source into the pipe; answer with `filled`, `ended` or `broke_source`.
    Fill { at_most: u64 },
    /// Move bytes from the pipe to the sink; answer with `drained` or `broke_sink`.
    Drain,
    /// Receive from the source and give it to `discard`.
    Discard,
    /// Nothing before the other direction has moved.
    Wait,
    /// Nothing to do in this direction, ever again.
    Rest,
}

/// How the exchange as a whole stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    Open,
    /// The head that switches is with the client: from here both connections are one tunnel.
    Switched,
    Over(Ended),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended {
    pub outcome: Outcome,
    pub front: Front,
    pub upstream: Upstream,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// The client has the whole answer.
    Answered,
    /// The client left, or broke.
    ClientLeft,
    /// The origin gave no answer. The client has got nothing yet but interim responses: try again, or answer it.
    Unanswered(Retry),
    /// What the named peer sent cannot be understood, and the client has got nothing of an answer: answer it.
    Refused(Peer, Violation),
    /// The client has a part of an answer that cannot be completed.
    Cut,
}

/// Whether the same request may be sent again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Retry {
    /// It may have been acted on, or we have not got all of it any more.
    Unsafe,
    /// It may have been acted on, and acting twice is acting once.
    Idempotent,
    /// No byte of it has left.
    Untouched,
}

/// What may be done with the client's connection, once it has an answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Front {
    Reuse,
    Close,
    /// The client may be sending still: read on to a bound before closing, or the answer is lost to a reset.
    DrainThenClose,
    /// Closed so that the client cannot take what it has for the whole.
    Abort,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Upstream {
    Reuse,
    Close,
}

/// Where the response is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// For the final head. `begun`: something has come, be it interim.
    Waiting {
        begun: bool,
    },
    /// The client was told `said`.
    Final {
        said: Persistence,
    },
    Switch,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Exchange {
    request: Flow,
    response: Flow,
    stage: Stage,
    client: Version,
    idempotent: bool,
    /// Of the client's connection, as far as the client wants it.
    front: Persistence,
    upstream: Persistence,
    interims: u8,
    /// The client waits for 100 before it sends content.
    client_waits: bool,
    /// A byte of the request is with the origin.
    touched: bool,
    /// Content of the request was taken from the client, and the owner has not kept it.
    let_go: bool,
    /// The origin takes no more of the request.
    deaf: bool,
    /// Read for nothing.
    discarded: u64,
    /// The answer ends where it is, incomplete.
    cut: bool,
    over: Option<Outcome>,
}

impl Exchange {
    /// `head_bytes`: the request's head as it was written for the origin, held and not sent.
    pub fn new(head: &RequestHead, head_bytes: u64, limits: &Limits) -> Exchange {
        let mut request = Flow::new(head.framing, limits);
        request.held = head_bytes;
        Exchange {
            request,
            response: Flow::new(Framing::None, limits),
            stage: Stage::Waiting { begun: false },
            client: head.version,
            idempotent: head.method.is_idempotent(),
            front: head.persistence,
            upstream: Persistence::Keep,
            interims: 0,
            client_waits: head.expects_continue,
            touched: false,
            let_go: false,
            deaf: false,
            discarded: 0,
            cut: false,
            over: None,
        }
    }

    /// The next step of one direction.
    pub fn next(&self, way: Way) -> Step {
        if self.over.is_some() {
            return Step::Rest;
        }
        match way {
            Way::In if self.deaf => match self.stage {
                _ if self.request.body.is_over() => Step::Rest,
                // Whether its rest is wanted is not known before the answer.
                Stage::Waiting { .. } => Step::Wait,
                Stage::Final { said: Persistence::Keep } => Step::Discard,
                Stage::Final { said: Persistence::Close } | Stage::Switch => Step::Rest,
            },
            Way::In => step(&self.request),
            Way::Out => match self.stage {
                Stage::Waiting { .. } if self.response.held > 0 => Step::Send,
                Stage::Waiting { .. } => Step::Receive,
                Stage::Final { .. } | Stage::Switch => step(&self.response),
            },
        }
    }

    /// Whether what is received from the origin is an answer's head, and no content.
    pub fn awaits_head(&self) -> bool {
        matches!(self.stage, Stage::Waiting { .. })
    }

    /// Whether it is the client that keeps us waiting.
    pub fn awaits_content(&self) -> bool {
        matches!(self.next(Way::In), Step::Receive | Step::Fill { .. } | Step::Discard)
    }

    /// Whether all of the answer's content has come.
    pub fn answer_is_over(&self) -> bool {
        self.response.body.is_over()
    }

    /// Whether all of the request's content has come.
    pub fn request_is_over(&self) -> bool {
        self.request.body.is_over()
    }

    /// Whether nothing of a final answer has been written, so that one of our own can be.
    pub fn may_answer(&self) -> bool {
        self.awaits_head()
    }

    /// Whether the exchange is over, and how.
    pub fn standing(&self) -> Standing {
        match self.over {
            None if self.stage == Stage::Switch && self.response.is_clear() && self.request.is_clear() => {
                Standing::Switched
            }
            None => Standing::Open,
            Some(outcome) => Standing::Over(Ended {
                outcome,
                front: self.front_after(outcome),
                upstream: self.upstream_after(outcome),
            }),
        }
    }

    fn front_after(&self, outcome: Outcome) -> Front {
        let persistence = match (outcome, self.stage) {
            (Outcome::ClientLeft, _) => return Front::Close,
            (Outcome::Cut, _) => return Front::Abort,
            // Where a broken message ends is not known.
            (Outcome::Refused(Peer::Client, _), _) => return Front::DrainThenClose,
            (_, Stage::Final { said }) if self.front == Persistence::Keep => said,
            _ => self.front,
        };
        match (self.request.body.is_over(), persistence) {
            (true, Persistence::Keep) => Front::Reuse,
            (true, Persistence::Close) => Front::Close,
            (false, _) => Front::DrainThenClose,
        }
    }

    fn upstream_after(&self, outcome: Outcome) -> Upstream {
        let whole = outcome == Outcome::Answered && self.request.is_done() && !self.deaf;
        if whole && self.upstream == Persistence::Keep { Upstream::Reuse } else { Upstream::Close }
    }

    // What was sent and moved.

    /// `bytes` more are held for the sink, written by the owner: an interim head, or 100 of our own.
    pub fn holds(&mut self, way: Way, bytes: u64) {
        self.flow(way).held += bytes;
    }

    /// The sink took `bytes` of what is held.
    pub fn taken(&mut self, way: Way, bytes: u64) {
        self.touched |= way == Way::In && bytes > 0;
        let flow = self.flow(way);
        flow.held = flow.held.checked_sub(bytes).expect("a sink takes no more than it was given");
        self.settle();
    }

    /// Bytes held for the sink of this direction. If it is 0 the owner throws away whatever it still holds: it was
    /// for an origin that listens no more.
    pub fn held(&self, way: Way) -> u64 {
        match way {
            Way::In => self.request.held,
            Way::Out => self.response.held,
        }
    }

    /// Content came: it is put for the sink, in its framing, piece by piece, and is held from then on. Answers how
    /// much was consumed; what is left of a request belongs to the next, or is to be presented again with more
    /// behind it; `spare` is memory for trailers.
    ///
    /// For [`Step::Receive`]; and once for [`Step::Send`], with what came behind a head that is still held, so that both
    /// leave together.
    pub fn forward(
        &mut self,
        way: Way,
        input: &[u8],
        limits: &Limits,
        spare: &mut Fields,
        mut put: impl FnMut(&[u8]),
    ) -> usize {
        debug_assert!(matches!(self.next(way), Step::Receive | Step::Send), "{:?}", self.next(way));
        if way == Way::In && !input.is_empty() {
            self.client_waits = false;
            self.let_go = true;
        }
        match self.flow(way).forward(input, limits, spare, &mut put) {
            Ok(consumed) => {
                // Bytes behind an answer that nobody asked for: whose they are is not known.
                if way == Way::Out && self.response.body.is_over() && consumed < input.len() {
                    self.upstream = Persistence::Close;
                }
                self.settle();
                consumed
            }
            Err(violation) => {
                self.refused(if way == Way::In { Peer::Client } else { Peer::Origin }, violation);
                0
            }
        }
    }

    /// Content came that goes nowhere. Answers how much was consumed.
    pub fn discard(&mut self, input: &[u8], limits: &Limits, spare: &mut Fields) -> usize {
        debug_assert_eq!(self.next(Way::In), Step::Discard);
        let mut consumed = 0;
        while !self.request.body.is_over() {
            match self.request.body.feed(&input[consumed..], limits, spare) {
                Ok(step) if step.consumed == 0 && !step.over => break,
                Ok(step) => consumed += step.consumed,
                Err(violation) => {
                    self.refused(Peer::Client, violation);
                    break;
                }
            }
        }
        self.discarded += consumed as u64;
        if self.discarded > DISCARD_BYTES_MAX {
            self.stop_discarding();
        }
        self.settle();
        consumed
    }

    /// The client's connection is lost, its answer is not.
    fn stop_discarding(&mut self) {
        if let Stage::Final { said } = &mut self.stage {
            *said = Persistence::Close;
        }
    }

    /// How many of the next bytes may go through a pipe, if it is worth one. The owner may refuse by not calling
    /// [`Exchange::pipe_given`].
    pub fn wants_pipe(&self, way: Way) -> Option<u64> {
        match (self.next(way), way) {
            (Step::Receive, Way::In) => self.request.spliceable(),
            (Step::Receive, Way::Out) if !self.awaits_head() => self.response.spliceable(),
            _ => None,
        }
    }

    pub fn pipe_given(&mut self, way: Way) {
        debug_assert!(self.wants_pipe(way).is_some());
        self.flow(way).pipe_given();
    }

    /// The owner wants the empty pipe of a quiet direction back. `false`: not now.
    pub fn pipe_taken_back(&mut self, way: Way) -> bool {
        self.flow(way).pipe_taken_back()
    }

    /// Whether this direction has a pipe. When it has none any more the owner has it back, empty unless the origin
    /// stopped listening or the exchange is over: then what is in it belongs to nobody.
    pub fn piped(&self, way: Way) -> bool {
        match way {
            Way::In => self.request.pipe.is_some(),
            Way::Out => self.response.pipe.is_some(),
        }
    }

    /// `bytes` (> 0) went into the pipe.
    pub fn filled(&mut self, way: Way, bytes: u64) {
        if way == Way::In {
            self.client_waits = false;
            self.let_go = true;
        }
        self.flow(way).filled(bytes);
    }

    /// `bytes` left the pipe for the sink.
    pub fn drained(&mut self, way: Way, bytes: u64) {
        self.touched |= way == Way::In;
        self.flow(way).drained(bytes);
        self.settle();
    }

    /// Writes the framing that is owed.
    pub fn frame(&mut self, way: Way, mut put: impl FnMut(&[u8])) {
        debug_assert_eq!(self.next(way), Step::Frame);
        self.flow(way).frame(&mut put);
    }

    // What the origin answers.

    /// Something came from the origin that is not a whole head yet.
    pub fn answer_begun(&mut self) {
        if let Stage::Waiting { begun } = &mut self.stage {
            *begun = true;
        }
    }

    /// An interim response came. Whether the client is to have it: then write it, and tell by `holds`.
    pub fn interim(&mut self, head: &ResponseHead) -> bool {
        debug_assert_eq!(head.kind, Kind::Interim);
        self.answer_begun();
        self.interims += 1;
        if self.interims > INTERIMS_MAX {
            self.refused(Peer::Origin, Violation::TooManyInterims);
            return false;
        }
        // RFC 9110 section 15.2: never to an HTTP/1.0 client.
        let forward = self.client == Version::Http11;
        self.client_waits &= !(forward && head.status == 100);
        forward
    }

    /// The client was told by ourselves to send its content.
    pub fn continue_told(&mut self) {
        self.client_waits = false;
    }

    /// Whether the client can be told, with the final head, that its connection is kept.
    pub fn may_keep(&self) -> Persistence {
        let left = self.request.body.left();
        // Who waits for 100 and gets a final answer may send its content, or not (RFC 9110 section 10.1.1).
        let waits = self.client_waits && left != Some(0);
        let little = left.is_some_and(|left| left <= DISCARD_BYTES_MAX);
        if little && !waits { self.front } else { Persistence::Close }
    }

    /// The final head came and was written for the client, which was told `said`. `head_bytes` are held; `behind`
    /// came with it and is for `forward` if there is content.
    pub fn answered(&mut self, head: &ResponseHead, said: Said, head_bytes: u64, behind: usize, limits: &Limits) {
        debug_assert!(self.awaits_head() && head.kind != Kind::Interim);
        let held = self.response.held + head_bytes;
        self.response = Flow::new(head.framing, limits);
        self.response.framing = said.framing;
        self.response.held = held;
        self.upstream = match head.kind {
            Kind::Final if self.response.body.is_over() && behind > 0 => Persistence::Close,
            _ => head.persistence,
        };
        self.stage = match head.kind {
            Kind::Switch => Stage::Switch,
            Kind::Interim | Kind::Final => Stage::Final { said: said.persistence },
        };
        self.settle();
    }

    // Ends and breaks.

    /// The source of this direction sent its end.
    pub fn ended(&mut self, way: Way) {
        match way {
            // It has asked all it wanted and listens still (half-close, RFC 9293 section 3.6).
            Way::In if self.request.body.is_over() => self.front = Persistence::Close,
            Way::In => self.client_left(),
            Way::Out if self.awaits_head() => self.unanswered(),
            Way::Out => {
                self.upstream = Persistence::Close;
                if self.response.body.is_over() {
                    self.fall_deaf();
                } else if self.response.ended().is_err() {
                    self.cut();
                }
            }
        }
        self.settle();
    }

    /// Reading the source of this direction failed: that side is gone.
    pub fn broke_source(&mut self, way: Way) {
        match way {
            Way::In => self.client_left(),
            Way::Out if self.awaits_head() => self.unanswered(),
            Way::Out => {
                self.upstream = Persistence::Close;
                // A reset is no end, not even of content that ends with its connection.
                if self.response.body.is_over() { self.fall_deaf() } else { self.cut() }
            }
        }
        self.settle();
    }

    /// Writing to the sink of this direction failed. An origin that takes no more may have answered all the same.
    pub fn broke_sink(&mut self, way: Way) {
        match way {
            Way::In => self.fall_deaf(),
            Way::Out => self.client_left(),
        }
        self.settle();
    }

    /// What this peer sent cannot be understood. Once the client has the beginning of an answer, it gets the rest.
    pub fn refused(&mut self, by: Peer, violation: Violation) {
        match by {
            _ if self.may_answer() => self.end(Outcome::Refused(by, violation)),
            Peer::Client => {
                self.fall_deaf();
                self.front = Persistence::Close;
                self.stop_discarding();
            }
            Peer::Origin => self.cut(),
        }
        self.settle();
    }

    /// The owner has kept all of the request that it took from the client, so it can be said again.
    pub fn kept(&mut self) {
        self.let_go = false;
    }

    /// The request is sent again, to the same or another origin, after `Outcome::Unanswered`: `bytes` of it, head
    /// and content as far as it came, are held.
    pub fn again(&mut self, bytes: u64) {
        let retry = match self.over.take() {
            Some(Outcome::Unanswered(retry)) => retry,
            other => unreachable!("a request is sent again after {other:?}"),
        };
        debug_assert_ne!(retry, Retry::Unsafe);
        self.request.drop_all();
        self.request.held = bytes;
        self.response.held = 0;
        self.stage = Stage::Waiting { begun: false };
        (self.touched, self.deaf) = (false, false);
    }

    /// A whole head came and is not passed on: as if the origin had not answered. Only where nothing was before.
    pub fn disregard_answer(&mut self) {
        debug_assert!(self.awaits_head());
        self.stage = Stage::Waiting { begun: false };
        self.unanswered();
    }

    fn unanswered(&mut self) {
        let begun = self.stage != Stage::Waiting { begun: false };
        let retry = match () {
            () if begun || self.let_go => Retry::Unsafe,
            () if !self.touched => Retry::Untouched,
            () if self.idempotent => Retry::Idempotent,
            () => Retry::Unsafe,
        };
        self.end(Outcome::Unanswered(retry));
    }

    fn client_left(&mut self) {
        let answered = matches!(self.stage, Stage::Final { .. }) && self.response.is_done();
        self.front = Persistence::Close;
        self.end(if answered { Outcome::Answered } else { Outcome::ClientLeft });
    }

    fn fall_deaf(&mut self) {
        self.deaf = true;
        self.request.drop_all();
    }

    /// What has come of the answer is all there is.
    fn cut(&mut self) {
        self.cut = true;
        self.upstream = Persistence::Close;
    }

    fn end(&mut self, outcome: Outcome) {
        self.over.get_or_insert(outcome);
    }

    fn flow(&mut self, way: Way) -> &mut Flow {
        match way {
            Way::In => &mut self.request,
            Way::Out => &mut self.response,
        }
    }

    /// Whether the last event was the last.
    fn settle(&mut self) {
        let Stage::Final { said } = self.stage else { return };
        let delivered = self.response.held == 0 && self.response.pipe.is_none_or(|pipe| pipe.inside == 0);
        if self.cut && delivered {
            self.end(Outcome::Cut);
        }
        if !self.response.is_done() {
            return;
        }
        // An origin that closes after its answer does not wait for the rest of the request.
        if self.upstream == Persistence::Close && !self.request.is_done() {
            self.fall_deaf();
        }
        let asked = self.request.is_done() || self.deaf && self.request.body.is_over();
        if asked || said == Persistence::Close {
            self.end(Outcome::Answered);
        }
    }
}

/// The next step of content on its way.
fn step(flow: &Flow) -> Step {
    match flow.pipe {
        _ if flow.held > 0 => Step::Send,
        _ if flow.pipe.is_none_or(|pipe| pipe.inside == 0) && flow.owes() => Step::Frame,
        Some(pipe) if pipe.inside > 0 => Step::Drain,
        Some(pipe) => Step::Fill { at_most: pipe.left },
        None if flow.body.is_over() => Step::Rest,
        None => Step::Receive,
    }
}

#[cfg(test)]
mod tests;
