//! One client on one connection, with every step in the hand of the test, and everything seen written down.

use crate::http::failure::{Failure, Malformed};
use crate::http::incoming::{BodyEnd, Incoming};
use crate::http::message::{Fields, Framing, StatusHead, Version, persists};
use crate::http::request::Request;
use crate::net::{Stream, Target};
use crate::wait::Deadline;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A connection to something that speaks HTTP/1.1.
///
/// No step waits longer than [`Client::patience`] without anything happening.
pub struct Client {
    incoming: Incoming,
    /// Methods of the requests whose answers are outstanding.
    asked: VecDeque<String>,
}

/// An answer as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// 1xx answers that came before, in order.
    pub interim: Vec<StatusHead>,
    pub version: Version,
    pub status: u16,
    pub reason: String,
    pub fields: Fields,
    /// The head byte for byte.
    pub raw_head: Vec<u8>,
    pub framing: Framing,
    /// Its first [`Client::BODY_BYTES_KEPT`] bytes; nothing when it was shown piece by piece.
    pub body: Vec<u8>,
    pub end: BodyEnd,
    pub upload: Upload,
    pub after: After,
    /// What came beyond the answer while no other was outstanding.
    pub beyond: Vec<u8>,
}

/// What became of the body of the request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Upload {
    /// All of it was handed to the kernel, or there was none.
    Whole,
    /// The answer was there before we were told to go on, and nothing was sent.
    Withheld,
    /// Sending it failed, or was given up because the answer said that the connection ends.
    Cut(crate::outcome::Failure),
}

/// What followed the answer on its connection, at the moment when the answer was complete. When the answer had said
/// that the connection ends, the end was waited for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum After {
    /// Nothing: it can be used further, as far as anybody knows.
    Open,
    /// Its end.
    Ended,
    /// A reset.
    Reset,
    /// Nothing, although its end had been announced.
    Overdue,
}

impl Client {
    /// Most bytes of a body that are kept. Of a longer one there is the length and the sum.
    pub const BODY_BYTES_KEPT: usize = 16 << 20;
    /// Most interim answers before the final one.
    pub const INTERIM_MAX: usize = 1000;
    /// Most bytes beyond an answer that are looked at.
    pub const BEYOND_BYTES_MAX: usize = 1 << 20;
    /// A body up to this length fits into the buffers on the way: it is sent before the answer is looked for.
    const SENT_AHEAD_BYTES_MAX: u64 = 16_384;

    pub fn connect(target: &Target) -> Result<Client, Failure> {
        Ok(Client::over(Stream::connect(target, Deadline::patient())?))
    }

    /// With this client address.
    pub fn connect_from(source: IpAddr, target: &Target) -> Result<Client, Failure> {
        Ok(Client::over(Stream::connect_from(Some(source), target, Deadline::patient())?))
    }

    pub fn over(stream: Stream) -> Client {
        Client { incoming: Incoming::over(stream), asked: VecDeque::new() }
    }

    /// How long nothing may happen in any step from here on. [`PATIENCE`](crate::wait::PATIENCE) unless told.
    pub fn patience(&mut self, patience: Duration) -> &mut Client {
        self.incoming.patience = patience;
        self
    }

    /// Receives at most so many bytes at a time.
    pub fn sip(&mut self, bytes: usize) -> &mut Client {
        self.incoming.piece_bytes_max = bytes;
        self
    }

    /// One request, one answer. A long body is sent while the answer is read.
    pub fn exchange(&mut self, request: &Request) -> Result<Response, Failure> {
        let mut kept = Vec::new();
        let mut response = self.exchange_showing(request, &mut |piece| keep(&mut kept, piece))?;
        response.body = kept;
        Ok(response)
    }

    /// As [`Client::exchange`]; the answer's body is shown piece by piece and not kept.
    pub fn exchange_showing(
        &mut self,
        request: &Request,
        each: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<Response, Failure> {
        // When it cannot be sent, the answer says why, if there is one; if not, how the connection ended does.
        let head_sent = self.send_raw(&request.head()).is_ok();
        self.asked.push_back(request.method.clone());
        let mut interim = Vec::new();
        if request.expects_continue
            && head_sent
            && let Some(head) = self.next_head(&mut interim, true)?
        {
            let mut response = self.rest(interim, head, each)?;
            response.upload = Upload::Withheld;
            return Ok(response);
        }
        let Some(body) = request.body.as_ref().filter(|_| head_sent) else {
            let head = self.final_head(&mut interim)?;
            return self.rest(interim, head, each);
        };
        let patience = self.incoming.patience;
        let mut sender = self.incoming.stream.twin();
        if body.content.len() <= Client::SENT_AHEAD_BYTES_MAX && body.pace.is_none() {
            let sent = request.send_body(&mut sender, patience);
            let head = self.final_head(&mut interim)?;
            let mut response = self.rest(interim, head, each)?;
            response.upload = sent.map_or_else(Upload::Cut, |()| Upload::Whole);
            return Ok(response);
        }
        std::thread::scope(|scope| {
            let sending = scope.spawn(move || request.send_body(&mut sender, patience));
            let outcome = self.final_head(&mut interim).and_then(|head| self.rest(interim, head, each));
            if outcome.as_ref().map_or(true, |response| response.after != After::Open) {
                // Nobody takes any more of the body. Already broken is as good.
                let _ = self.incoming.finish();
            }
            let sent = sending.join().expect("the sender does not panic");
            let mut response = outcome?;
            response.upload = sent.map_or_else(Upload::Cut, |()| Upload::Whole);
            Ok(response)
        })
    }

    /// Sends a whole request and looks for nothing: its answer is outstanding.
    pub fn send(&mut self, request: &Request) -> Result<(), Failure> {
        self.send_raw(&request.head())?;
        request.send_body(&mut self.incoming.stream, self.incoming.patience)?;
        self.asked.push_back(request.method.clone());
        Ok(())
    }

    /// Sends all requests in one piece, without their waiting for anything.
    pub fn send_together(&mut self, requests: &[Request]) -> Result<(), Failure> {
        assert!(requests.iter().all(|request| request.body.is_none()), "only heads are sent together");
        self.send_raw(&requests.iter().flat_map(Request::head).collect::<Vec<u8>>())?;
        self.asked.extend(requests.iter().map(|request| request.method.clone()));
        Ok(())
    }

    /// Sends these bytes. What they ask is not known here: an answer is read as one to GET unless
    /// [`Client::expect`] says otherwise.
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.incoming.stream.deadline = Deadline::after(self.incoming.patience);
        Ok(self.incoming.stream.send(bytes)?)
    }

    /// The raw bytes that were sent ask for an answer to this method.
    pub fn expect(&mut self, method: &str) {
        self.asked.push_back(method.to_owned());
    }

    /// Reads the next answer.
    pub fn read(&mut self) -> Result<Response, Failure> {
        let mut kept = Vec::new();
        let mut response = self.read_showing(&mut |piece| keep(&mut kept, piece))?;
        response.body = kept;
        Ok(response)
    }

    /// As [`Client::read`]; the body is shown piece by piece and not kept.
    pub fn read_showing(&mut self, each: &mut dyn FnMut(&[u8]) -> Result<(), Failure>) -> Result<Response, Failure> {
        let mut interim = Vec::new();
        let head = self.final_head(&mut interim)?;
        self.rest(interim, head, each)
    }

    /// Reads one head, interim or final. The body of a final one is left: [`Client::read_body`] takes it.
    pub fn read_head(&mut self) -> Result<StatusHead, Failure> {
        self.incoming.status_head(true)
    }

    /// Reads the body that follows a head from [`Client::read_head`], and forgets what was asked.
    pub fn read_body(&mut self, head: StatusHead) -> Result<Response, Failure> {
        let mut kept = Vec::new();
        let mut response = self.rest(Vec::new(), head, &mut |piece| keep(&mut kept, piece))?;
        response.body = kept;
        Ok(response)
    }

    /// Says that nothing more will be sent.
    pub fn finish(&mut self) -> Result<(), Failure> {
        self.incoming.finish()
    }

    /// Waits for the other side's end; anything else that comes is a failure.
    pub fn wait_end(&mut self) -> Result<(), Failure> {
        self.incoming.begin();
        while self.incoming.receive()? {}
        match self.incoming.waiting().len() as u64 {
            0 => Ok(()),
            bytes => Err(Failure::Surplus { bytes }),
        }
    }

    /// Says the end and waits for the other side's.
    pub fn close(mut self) -> Result<(), Failure> {
        self.finish()?;
        self.wait_end()
    }

    /// Ends with a reset.
    pub fn abort(self) {
        self.incoming.stream.abort();
    }

    /// Whether anything came that nobody asked for: bytes, an end, or a reset.
    pub fn is_disturbed(&self) -> bool {
        !self.incoming.waiting().is_empty() || self.incoming.has_news()
    }

    /// Bounds what the kernel takes in for us while we do not read. Unit: bytes.
    pub fn shrink_receive_buffer(&self, bytes: usize) {
        self.incoming.stream.shrink_receive_buffer(bytes);
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.incoming.stream.local_addr()
    }

    /// The connection itself, with what has come beyond the last answer: for another protocol, or for raw bytes.
    pub fn into_incoming(self) -> Incoming {
        self.incoming
    }

    fn final_head(&mut self, interim: &mut Vec<StatusHead>) -> Result<StatusHead, Failure> {
        Ok(self.next_head(interim, false)?.expect("only a 100 that is waited for ends the search"))
    }

    /// Collects interim heads until the final one. `None`: with `until_continue`, a 100 came before it.
    fn next_head(
        &mut self,
        interim: &mut Vec<StatusHead>,
        until_continue: bool,
    ) -> Result<Option<StatusHead>, Failure> {
        loop {
            let head = self.incoming.status_head(interim.is_empty())?;
            if !head.is_interim() {
                return Ok(Some(head));
            }
            head.framing("GET")?;
            let goes_on = head.status == 100;
            interim.push(head);
            if interim.len() > Client::INTERIM_MAX {
                return Err(Malformed::TooManyInterim.into());
            }
            if until_continue && goes_on {
                return Ok(None);
            }
        }
    }

    /// Everything after the final head.
    fn rest(
        &mut self,
        interim: Vec<StatusHead>,
        head: StatusHead,
        each: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<Response, Failure> {
        let method = self.asked.pop_front().unwrap_or_else(|| "GET".to_owned());
        let framing = head.framing(&method)?;
        let end = self.incoming.body(framing, each)?;
        let after = match framing {
            Framing::UntilEnd => After::Ended,
            // What follows is another protocol's.
            _ if head.status == 101 => After::Open,
            _ if !head.persists() => self.announced_end(),
            _ if !self.asked.is_empty() => After::Open,
            _ => self.look_after(),
        };
        let nothing_due = self.asked.is_empty() || after != After::Open;
        let beyond = if nothing_due && head.status != 101 { self.incoming.waiting().to_vec() } else { Vec::new() };
        let StatusHead { version, status, reason, fields, raw: raw_head } = head;
        let (body, upload) = (Vec::new(), Upload::Whole);
        Ok(Response { interim, version, status, reason, fields, raw_head, framing, body, end, upload, after, beyond })
    }

    fn announced_end(&mut self) -> After {
        self.incoming.begin();
        while self.incoming.waiting().len() < Client::BEYOND_BYTES_MAX {
            match self.incoming.receive() {
                Ok(true) => {}
                Ok(false) => return After::Ended,
                Err(Failure::TimedOut { .. }) => return After::Overdue,
                Err(_) => return After::Reset,
            }
        }
        After::Overdue
    }

    /// What is there already; nothing is waited for.
    fn look_after(&mut self) -> After {
        self.incoming.begin();
        while self.incoming.has_news() && self.incoming.waiting().len() < Client::BEYOND_BYTES_MAX {
            match self.incoming.receive() {
                Ok(true) => {}
                Ok(false) => return After::Ended,
                Err(_) => return After::Reset,
            }
        }
        After::Open
    }
}

impl Response {
    /// The body as text. Panics when it is none.
    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    /// Whether the connection can be used for another exchange.
    pub fn leaves_open(&self) -> bool {
        self.after == After::Open && self.beyond.is_empty()
    }

    /// Whether the answer itself says that its connection ends with it.
    pub fn announces_end(&self) -> bool {
        self.framing == Framing::UntilEnd || !persists(self.version, &self.fields)
    }

    pub fn with_status(self, expected: u16) -> Result<Response, Failure> {
        match self.status {
            status if status == expected => Ok(self),
            status => Err(Failure::WrongStatus { status, expected }),
        }
    }
}

/// One connection, one request, one answer.
pub fn ask(target: &Target, request: &Request) -> Result<Response, Failure> {
    Client::connect(target)?.exchange(request)
}

/// As [`ask`], with a GET.
pub fn fetch(target: &Target, host: &str, path: &str) -> Result<Response, Failure> {
    ask(target, &Request::get(host, path))
}

/// One connection, these bytes, then the answers that come until the connection ends: at most `answers` of them. For
/// messages that no [`Request`] can say.
pub fn ask_raw(target: &Target, bytes: &[u8], answers: usize) -> Result<Vec<Response>, Failure> {
    let mut client = Client::connect(target)?;
    client.send_raw(bytes)?;
    let mut seen = Vec::new();
    while seen.len() < answers {
        let response = client.read()?;
        let last = response.after != After::Open && response.beyond.is_empty();
        seen.push(response);
        if last {
            break;
        }
    }
    Ok(seen)
}

fn keep(kept: &mut Vec<u8>, piece: &[u8]) -> Result<(), Failure> {
    let room = Client::BODY_BYTES_KEPT - kept.len();
    kept.extend(&piece[..piece.len().min(room)]);
    Ok(())
}
