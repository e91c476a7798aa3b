//! What an origin does with a connection and with a request: well, and in every bad way that has a name.

use crate::http::answer::{Answer, Said, Sizes};
use crate::http::failure::Failure;
use crate::http::incoming::{Incoming, pause};
use crate::http::message::{Fields, Framing, RequestHead, Version};
use crate::http::origin::{House, Log, Manner, Origin};
use crate::http::received::{ORIGIN, Received};
use crate::http::websocket;
use crate::net::Stream;
use crate::outcome;
use crate::pattern::Pattern;
use crate::wait::Deadline;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::time::Duration;

/// How an origin behaves. Unless it says otherwise, an answer carries the account of [`Received`], comes after the whole
/// request was read, and leaves the connection open if the request does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Conduct {
    // Good, each in its way.
    /// Answers with its length, goes on when asked with `Expect`, becomes a WebSocket when asked to.
    Good,
    /// Answers with another status.
    Answers {
        status: u16,
    },
    /// Answers with these fields beside its own.
    Adds(Fields),
    /// Answers in chunks of so many bytes, the sum of the body in a trailer.
    Chunks {
        bytes: usize,
    },
    /// Answers in chunks of 1, 2, 3 … bytes, up to so many, whatever filler was asked for.
    EveryChunkSize {
        up_to: usize,
    },
    /// Sends so many bytes after the account, whatever was asked for; in chunks, or with its length.
    Generates {
        bytes: u64,
        chunk_bytes: Option<usize>,
    },
    /// Sends these trailers.
    Trailers(Fields),
    /// Answers in HTTP/1.0, without a length: the body goes on to the end of the connection.
    UntilEnd,
    /// Sends so many interim answers of this status first.
    Interim {
        status: u16,
        count: usize,
    },
    /// Sends 100 first, whether it was asked to or not.
    Continues,
    /// Never says 100: waits for the body that somebody holds back.
    IgnoresExpect,
    /// Answers before it reads the body, which it reads afterwards.
    AnswersEarly,
    /// Says `Connection: close` in each answer, and does so.
    ClosesAfterEach,
    /// Sends the answer one byte at a time.
    Trickles {
        gap: Duration,
    },
    /// Becomes a tunnel of the protocol that the request's `Upgrade` names, and echoes in it.
    Upgrades,
    /// Sends these bytes in place of an answer, then its end if told so.
    Sends {
        bytes: Vec<u8>,
        ends: bool,
    },

    // Bad from the beginning of a connection.
    /// Does not listen.
    Refuses,
    /// Resets each connection as soon as it has it.
    ResetsAtOnce,
    /// Accepts and never reads.
    NeverReads,

    // Bad in an answer that begins well.
    /// Resets when it has the request.
    ResetsBeforeHead,
    ResetsMidHead,
    /// Resets after so many bytes of the body.
    ResetsMidBody {
        after: u64,
    },
    EndsBeforeHead,
    EndsMidHead,
    StallsBeforeHead,
    StallsMidHead,
    /// Stalls after so many bytes of the body.
    StallsMidBody {
        after: u64,
    },
    /// Answers before it reads the body, and closes with the body unread. The kernel turns that into a reset.
    AnswersEarlyAndCloses,
    /// Ends the connection after each answer without having said so.
    ClosesSilently,
    /// Ends the connection when the first bytes of a second request arrive.
    ClosesOnReuse,
    /// As [`Conduct::ClosesOnReuse`], with a reset.
    ResetsOnReuse,

    // Bad HTTP.
    /// The body is so much longer than Content-Length says.
    SaysTooLittle {
        by: u64,
    },
    /// The connection ends so much before the length that Content-Length says.
    SaysTooMuch {
        by: u64,
    },
    /// Content-Length twice, with two values.
    TwoLengths,
    /// Content-Length beside chunks.
    LengthAndChunks,
    /// Chunks in HTTP/1.0.
    ChunksInHttp10,
    /// A good chunk, then one whose size is said by this text.
    ChunkSize(&'static str),
    /// Chunks that are longer than their sizes say.
    ChunkTooLong,
    /// The connection ends before the last chunk.
    EndsBeforeLastChunk,
    InterimForEver,
    /// 101 to somebody who asked for nothing of the kind.
    UpgradesUnasked,
    /// Answers HEAD with a body.
    HeadWithBody,
    /// A body where there can be none: 204.
    NoContentWithBody,
    /// A body where there can be none: 304.
    NotModifiedWithBody,
    /// The whole answer a second time, which nobody asked for.
    AnswersTwice,
    FieldFlood {
        fields: usize,
    },
    GiantField {
        bytes: usize,
    },
    /// Lines that end in a line feed alone.
    BareLineFeeds,
    /// So many bytes of [`Pattern`] in place of an answer.
    Garbage {
        bytes: usize,
    },
}

impl Conduct {
    /// Answers without having read the body.
    fn is_early(&self) -> bool {
        matches!(self, Conduct::AnswersEarly | Conduct::AnswersEarlyAndCloses)
    }
}

/// How the origin's side of a connection came to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// The client said its end.
    Ended,
    /// The client's side reset it, or broke.
    Reset,
    /// We close it, whatever is still to be read.
    Close,
    /// We reset it.
    Abort,
}

impl From<Failure> for End {
    fn from(_: Failure) -> End {
        End::Reset
    }
}

impl From<outcome::Failure> for End {
    fn from(_: outcome::Failure) -> End {
        End::Reset
    }
}

/// One connection to an origin.
pub(crate) struct Visit<'a> {
    house: &'a House,
    incoming: Incoming,
    connection: u64,
}

impl<'a> Visit<'a> {
    /// Most bytes of answers that would otherwise have no end.
    const ENDLESS_BYTES_MAX: usize = 64 << 20;

    pub fn new(house: &'a House, stream: Stream, connection: u64) -> Visit<'a> {
        let mut incoming = Incoming::over(stream);
        incoming.patience = Origin::LIFE;
        Visit { house, incoming, connection }
    }

    /// Serves the connection to its end.
    pub fn receive(mut self) -> (Stream, End) {
        let end = match self.house.manner() {
            Manner::Always(Conduct::ResetsAtOnce) => End::Abort,
            Manner::Always(Conduct::NeverReads) => {
                self.wait_gone();
                End::Close
            }
            _ => (1..).find_map(|request| self.serve(request).err()).expect("a connection ends"),
        };
        (self.incoming.stream, end)
    }

    /// One request. `Err`: it was the connection's last.
    fn serve(&mut self, request: u64) -> Result<(), End> {
        self.incoming.begin();
        if request > 1 {
            self.close_on_reuse()?;
        }
        let read = self.incoming.request_head().and_then(|head| Ok((head.framing()?, head)));
        let (framing, head) = match read {
            Ok(read) => read,
            Err(Failure::EndBeforeByte) => return Err(End::Ended),
            Err(Failure::ResetBeforeByte) => return Err(End::Reset),
            Err(Failure::Malformed(how)) => return Err(self.refuse(&format!("{how:?}"))),
            Err(failure) => return Err(self.cut(failure)),
        };
        self.count(|log| log.seen.requests += 1);
        let mut received = Received::of(&self.house.name, self.connection, request, &head, framing);
        let conduct = match self.house.manner() {
            Manner::Always(conduct) => conduct,
            Manner::Chosen(choose) => choose(&received),
        };
        if conduct.is_early() {
            self.answer_early(&conduct, &head, received)
        } else {
            self.read_body(&conduct, &head, framing, &mut received)?;
            self.keep(&received);
            self.answer(conduct, &head, received)
        }
    }

    fn close_on_reuse(&mut self) -> Result<(), End> {
        let Manner::Always(conduct @ (Conduct::ClosesOnReuse | Conduct::ResetsOnReuse)) = self.house.manner() else {
            return Ok(());
        };
        if self.incoming.waiting().is_empty() && !self.incoming.receive()? {
            return Err(End::Ended);
        }
        Err(if conduct == Conduct::ClosesOnReuse { End::Close } else { End::Abort })
    }

    fn read_body(
        &mut self,
        conduct: &Conduct,
        head: &RequestHead,
        framing: Framing,
        received: &mut Received,
    ) -> Result<(), End> {
        let held_back = framing != Framing::None && head.fields.lists("Expect", "100-continue");
        if held_back && *conduct != Conduct::IgnoresExpect {
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let mut begin = Vec::new();
        let log = &self.house.log;
        let read = self.incoming.body(framing, &mut |piece| {
            let room = Received::BODY_BYTES_KEPT - begin.len();
            begin.extend(&piece[..piece.len().min(room)]);
            log.change(|log| log.seen.received += piece.len() as u64);
            Ok(())
        });
        match read {
            Ok(end) => {
                received.add_body(&begin, end);
                Ok(())
            }
            Err(Failure::Malformed(how)) => Err(self.refuse(&format!("{how:?}"))),
            Err(failure) => {
                self.keep(received);
                Err(self.cut(failure))
            }
        }
    }

    fn answer_early(&mut self, conduct: &Conduct, head: &RequestHead, mut received: Received) -> Result<(), End> {
        let framing = received.framing;
        let mut answer = Answer::new(200, received.clone());
        if *conduct == Conduct::AnswersEarlyAndCloses {
            answer.fields.push("Connection", "close");
            answer.send(self)?;
            self.keep(&received);
            return Err(End::Close);
        }
        self.finish_answer(answer, head)?;
        self.read_body(conduct, head, framing, &mut received)?;
        self.keep(&received);
        Ok(())
    }

    /// One function holds the `match`: each arm is one conduct, read to its end.
    fn answer(&mut self, conduct: Conduct, head: &RequestHead, received: Received) -> Result<(), End> {
        let mut answer = Answer::new(200, received);
        match conduct {
            Conduct::Good if websocket::is_asked(head) => {
                self.count(|log| log.seen.upgraded += 1);
                Err(self.be_a_websocket(head))
            }
            Conduct::Good | Conduct::IgnoresExpect => self.finish_answer(answer, head),
            Conduct::Answers { status } => {
                answer.status = status;
                self.finish_answer(answer, head)
            }
            Conduct::Adds(fields) => {
                answer.fields.0.extend(fields.0);
                self.finish_answer(answer, head)
            }
            Conduct::Chunks { bytes } => {
                answer.framing = Said::Chunks(Sizes::Each(bytes));
                self.finish_answer(answer, head)
            }
            Conduct::EveryChunkSize { up_to } => {
                answer.framing = Said::Chunks(Sizes::Growing { next: 1, up_to });
                answer.received.filler = (up_to * (up_to + 1) / 2) as u64;
                self.finish_answer(answer, head)
            }
            Conduct::Generates { bytes, chunk_bytes } => {
                answer.framing = chunk_bytes.map_or(Said::Length, |bytes| Said::Chunks(Sizes::Each(bytes)));
                answer.received.filler = bytes;
                self.finish_answer(answer, head)
            }
            Conduct::Trailers(trailers) => {
                answer.framing = Said::Chunks(Sizes::Each(100));
                answer.trailers = trailers;
                self.finish_answer(answer, head)
            }
            Conduct::UntilEnd => {
                answer.version = "HTTP/1.0";
                answer.framing = Said::Nothing;
                answer.send(self)?;
                Err(self.end())
            }
            Conduct::Interim { status, count } => {
                for number in 0..count {
                    self.send(format!("HTTP/1.1 {status} Wait\r\nX-Number: {number}\r\n\r\n").as_bytes())?;
                }
                self.finish_answer(answer, head)
            }
            Conduct::Continues => {
                self.send(b"HTTP/1.1 100 Continue\r\n\r\n")?;
                self.finish_answer(answer, head)
            }
            Conduct::ClosesAfterEach => {
                answer.fields.push("Connection", "close");
                answer.send(self)?;
                Err(self.end())
            }
            Conduct::Trickles { gap } => {
                for byte in answer.whole() {
                    self.send(&[byte])?;
                    pause(&self.incoming.stream, gap);
                }
                self.count(|log| log.seen.answered += 1);
                self.end_unless_kept(head)
            }
            Conduct::Upgrades => match head.fields.first("Upgrade") {
                None => self.finish_answer(answer, head),
                Some(protocol) => {
                    let switch = format!(
                        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n{ORIGIN}: {}\r\n\r\n",
                        self.house.name
                    );
                    self.send(switch.as_bytes())?;
                    self.count(|log| log.seen.upgraded += 1);
                    Err(self.be_a_tunnel())
                }
            },
            Conduct::Sends { bytes, ends } => {
                self.send(&bytes)?;
                self.count(|log| log.seen.answered += 1);
                if ends { Err(self.end()) } else { Ok(()) }
            }
            // Reached when a conduct was chosen for a request: the connection is there already.
            Conduct::Refuses | Conduct::ResetsAtOnce | Conduct::ResetsBeforeHead => Err(End::Abort),
            Conduct::NeverReads | Conduct::StallsBeforeHead => Err(self.stall()),
            Conduct::ResetsMidHead => {
                answer.send_half_of_head(self)?;
                Err(End::Abort)
            }
            Conduct::ResetsMidBody { after } => {
                answer.send_up_to(self, after)?;
                Err(End::Abort)
            }
            Conduct::EndsBeforeHead => Err(self.end()),
            Conduct::EndsMidHead => {
                answer.send_half_of_head(self)?;
                Err(self.end())
            }
            Conduct::StallsMidHead => {
                answer.send_half_of_head(self)?;
                Err(self.stall())
            }
            Conduct::StallsMidBody { after } => {
                answer.send_up_to(self, after)?;
                Err(self.stall())
            }
            Conduct::ClosesSilently => {
                answer.send(self)?;
                Err(self.end())
            }
            // On a connection's first request; see `close_on_reuse`.
            Conduct::ClosesOnReuse | Conduct::ResetsOnReuse => self.finish_answer(answer, head),
            Conduct::AnswersEarly | Conduct::AnswersEarlyAndCloses => unreachable!("answered before the body"),
            Conduct::SaysTooLittle { by } => {
                answer.framing = Said::OtherLength(answer.body_bytes().saturating_sub(by));
                self.finish_answer(answer, head)
            }
            Conduct::SaysTooMuch { by } => {
                answer.framing = Said::OtherLength(answer.body_bytes() + by);
                answer.send(self)?;
                Err(self.end())
            }
            Conduct::TwoLengths => {
                answer.fields.push("Content-Length", answer.body_bytes() + 1);
                self.finish_answer(answer, head)
            }
            Conduct::LengthAndChunks => {
                answer.fields.push("Content-Length", answer.body_bytes());
                answer.framing = Said::Chunks(Sizes::Each(100));
                self.finish_answer(answer, head)
            }
            Conduct::ChunksInHttp10 => {
                answer.version = "HTTP/1.0";
                answer.framing = Said::Chunks(Sizes::Each(100));
                answer.send(self)?;
                Err(self.end())
            }
            Conduct::ChunkSize(size) => {
                let tail = format!("3\r\nabc\r\n{size}\r\nabc\r\n0\r\n\r\n");
                answer.send_chunked_tail(self, tail.as_bytes())?;
                Err(self.end())
            }
            Conduct::ChunkTooLong => {
                answer.send_chunked_tail(self, b"3\r\nabcd\r\n0\r\n\r\n")?;
                Err(self.end())
            }
            Conduct::EndsBeforeLastChunk => {
                answer.send_chunked_tail(self, b"3\r\nabc\r\n")?;
                Err(self.end())
            }
            Conduct::InterimForEver => {
                let some = b"HTTP/1.1 102 Processing\r\n\r\n".repeat(100);
                for _ in 0..Visit::ENDLESS_BYTES_MAX / some.len() {
                    self.send(&some)?;
                }
                Err(self.end())
            }
            Conduct::UpgradesUnasked => {
                self.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")?;
                Err(self.be_a_tunnel())
            }
            Conduct::HeadWithBody => {
                answer.has_body = true;
                self.finish_answer(answer, head)
            }
            Conduct::NoContentWithBody => {
                answer.status = 204;
                self.finish_answer(answer, head)
            }
            Conduct::NotModifiedWithBody => {
                answer.status = 304;
                self.finish_answer(answer, head)
            }
            Conduct::AnswersTwice => {
                let twice = answer.whole().repeat(2);
                self.send(&twice)?;
                self.count(|log| log.seen.answered += 1);
                self.end_unless_kept(head)
            }
            Conduct::FieldFlood { fields } => {
                (0..fields).for_each(|number| answer.fields.push(&format!("X-Flood-{number}"), "more"));
                self.finish_answer(answer, head)
            }
            Conduct::GiantField { bytes } => {
                answer.fields.push("X-Giant", "g".repeat(bytes));
                self.finish_answer(answer, head)
            }
            Conduct::BareLineFeeds => {
                let whole = answer.whole();
                self.send(&whole.into_iter().filter(|byte| *byte != b'\r').collect::<Vec<u8>>())?;
                Err(self.end())
            }
            Conduct::Garbage { bytes } => {
                let mut garbage = vec![0; bytes];
                Pattern::new(self.connection).fill(0, &mut garbage);
                self.send(&garbage)?;
                Err(self.end())
            }
        }
    }

    fn finish_answer(&mut self, mut answer: Answer, head: &RequestHead) -> Result<(), End> {
        if !head.persists() {
            answer.fields.push("Connection", "close");
        } else if head.version == Version::Http10 {
            answer.fields.push("Connection", "keep-alive");
        }
        answer.send(self)?;
        self.end_unless_kept(head)
    }

    fn end_unless_kept(&mut self, head: &RequestHead) -> Result<(), End> {
        if head.persists() { Ok(()) } else { Err(self.end()) }
    }

    /// Says our end, then reads to the client's, so that nothing of the answer is lost to a reset.
    fn end(&mut self) -> End {
        let drained = self.incoming.finish().and_then(|()| self.incoming.body(Framing::UntilEnd, &mut |_| Ok(())));
        drained.map_or(End::Reset, |_| End::Ended)
    }

    /// Waits for the client to go away, without reading or sending.
    fn stall(&mut self) -> End {
        self.wait_gone();
        End::Close
    }

    fn wait_gone(&self) {
        let life = Timespec::try_from(Origin::LIFE).expect("a life is short");
        let _ = poll(&mut [PollFd::new(&self.incoming.stream, PollFlags::RDHUP)], Some(&life));
    }

    /// Answers what is no request, and tells of it.
    fn refuse(&mut self, how: &str) -> End {
        self.count(|log| {
            log.seen.malformed += 1;
            if log.malformed.len() < Log::KEPT {
                log.malformed.push(how.to_owned());
            }
        });
        match self.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n") {
            Ok(()) => self.end(),
            Err(end) => end,
        }
    }

    fn cut(&mut self, failure: Failure) -> End {
        self.count(|log| log.seen.cut += 1);
        match failure {
            Failure::EarlyEnd { .. } | Failure::WrongLength { .. } => End::Ended,
            _ => End::Reset,
        }
    }

    fn be_a_tunnel(&mut self) -> End {
        let mut twin = self.incoming.stream.twin();
        let log = self.house.log.clone();
        let echoed = self.incoming.body(Framing::UntilEnd, &mut |piece| {
            log.change(|log| log.seen.received += piece.len() as u64);
            twin.deadline = Deadline::after(Origin::LIFE);
            Ok(twin.send(piece)?)
        });
        match echoed {
            // The client's end reached us; ours follows when the connection is dropped.
            Ok(_) => End::Ended,
            Err(_) => End::Reset,
        }
    }

    fn be_a_websocket(&mut self, head: &RequestHead) -> End {
        let log = self.house.log.clone();
        let origin = self.house.name.clone();
        let outcome = websocket::serve(&mut self.incoming, head, &origin, |bytes| {
            log.change(|log| log.seen.received += bytes as u64);
        });
        match outcome {
            Ok(()) => self.end(),
            Err(Failure::Malformed(how)) => self.refuse_frame(&format!("{how:?}")),
            Err(Failure::EndBeforeByte | Failure::EarlyEnd { .. }) => End::Ended,
            Err(_) => End::Reset,
        }
    }

    fn refuse_frame(&mut self, how: &str) -> End {
        self.count(|log| {
            log.seen.malformed += 1;
            log.malformed.push(how.to_owned());
        });
        End::Close
    }

    fn keep(&mut self, received: &Received) {
        self.count(|log| {
            log.seen.whole += u64::from(received.whole);
            if log.requests.len() < Log::KEPT {
                log.requests.push(received.clone());
            }
        });
    }

    pub fn count(&self, change: impl FnOnce(&mut Log)) {
        self.house.log.change(change);
    }

    pub fn send(&mut self, bytes: &[u8]) -> Result<(), End> {
        self.incoming.stream.deadline = Deadline::after(Origin::LIFE);
        Ok(self.incoming.stream.send(bytes)?)
    }
}
