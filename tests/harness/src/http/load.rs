//! Many clients of each kind, going until told otherwise, and every answer checked to its last byte.
//!
//! They must be led to origins that are [`Conduct::Good`](crate::http::Conduct::Good). An answer is good when its status is
//! 200, its body is the account of the very request that was sent, the origin named in its head is the one named in
//! its body, and its [`Marks`] agree. A connection may end between two requests if the answer before said so.

use crate::churn::Doors;
use crate::http::client::{After, Client, Response};
use crate::http::failure::Failure;
use crate::http::marks::{Marks, Newest};
use crate::http::received::{Account, FILLER, ORIGIN, Received};
use crate::http::request::{Content, Request};
use crate::http::websocket::WebSocket;
use crate::outcome::Tally;
use crate::pattern::Dice;
use crate::wait::{Deadline, PATIENCE, Watched};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// What one client does again and again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// One request after the other on one connection.
    KeepAlive,
    /// A connection for each request.
    Fresh,
    /// Several requests at once on one connection.
    Pipelining,
    /// Long bodies sent slowly.
    Upload,
    /// Long answers taken slowly.
    Download,
    /// A WebSocket that stays open.
    WebSocket,
}

pub struct Plan {
    /// The addresses that clients know.
    pub doors: Doors,
    pub host: String,
    pub path: String,
    /// How many clients of each kind.
    pub clients: Vec<(Kind, usize)>,
    pub marks: Marks,
    pub seed: u64,
}

impl Plan {
    /// Two clients of each kind.
    pub fn of_every_kind(doors: &Doors, host: &str) -> Plan {
        Plan {
            doors: doors.clone(),
            host: host.to_owned(),
            path: "/".to_owned(),
            clients: Kind::ALL.map(|kind| (kind, 2)).to_vec(),
            marks: Marks::default(),
            seed: 1,
        }
    }
}

/// Clients at work.
pub struct Load {
    log: Watched<Log>,
    workers: Vec<JoinHandle<()>>,
}

/// What became of all exchanges, by kind of client.
#[derive(Clone, Default, Debug)]
pub struct Outcome {
    pub tallies: BTreeMap<Kind, Tally>,
    /// Connections that the other side ended after having said so in an answer, unasked.
    pub retired: u64,
}

#[derive(Default)]
struct Log {
    stopping: bool,
    outcome: Outcome,
    /// Turns that each client has finished, well or not.
    turns: Vec<u64>,
}

impl Load {
    /// The least time between two turns of one client. It bounds the load; nothing waits for it.
    const PACE: Duration = Duration::from_millis(3);

    pub fn start(plan: Plan) -> Load {
        let kinds: Vec<Kind> = plan.clients.iter().flat_map(|(kind, count)| vec![*kind; *count]).collect();
        let tallies = kinds.iter().map(|kind| (*kind, Tally::default())).collect();
        let outcome = Outcome { tallies, retired: 0 };
        let log = Watched::new(Log { stopping: false, outcome, turns: vec![0; kinds.len()] });
        let plan = Arc::new(plan);
        let workers = kinds.into_iter().enumerate().map(|(number, kind)| {
            let dice = Dice::new(plan.seed ^ (number as u64) << 32);
            let worker = Worker { kind, number, plan: plan.clone(), log: log.clone(), dice, asked: 0, held: None };
            std::thread::Builder::new()
                .name(format!("{kind} {number}"))
                .spawn(move || worker.work())
                .expect("a thread can be started")
        });
        let workers = workers.collect();
        Load { log, workers }
    }

    /// Waits until each client has gone through a turn that began after this call.
    #[track_caller]
    pub fn all_again(&self) {
        // The turn under way may have begun before.
        let enough: Vec<u64> = self.log.look().turns.iter().map(|turns| turns + 2).collect();
        let through = |log: &mut Log| log.turns.iter().zip(&enough).all(|(turns, enough)| turns >= enough);
        let again = self.log.wait(Deadline::patient(), |log| through(log).then_some(()));
        assert!(again.is_some(), "clients do not get through within {PATIENCE:?}: {}", self.outcome());
    }

    pub fn outcome(&self) -> Outcome {
        self.log.look().outcome.clone()
    }

    /// Waits for the first failure of any client.
    #[track_caller]
    pub fn wait_failure(&self, class: &str) {
        let found = self.log.wait(Deadline::patient(), |log| (log.outcome.count(class) > 0).then_some(()));
        assert!(found.is_some(), "nobody saw `{class}` within {PATIENCE:?}: {}", self.outcome());
    }

    /// Lets each client finish what it began and leave properly.
    pub fn finish(mut self) -> Outcome {
        self.end_workers();
        self.outcome()
    }

    fn end_workers(&mut self) {
        self.log.change(|log| log.stopping = true);
        for worker in self.workers.drain(..) {
            if worker.join().is_err() {
                self.log.change(|log| {
                    let tally = log.outcome.tallies.values_mut().next().expect("a worker has a kind");
                    tally.count_failure("panic", "a client panicked".to_owned());
                });
            }
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end_workers();
    }
}

impl Outcome {
    pub fn of(&self, kind: Kind) -> &Tally {
        &self.tallies[&kind]
    }

    pub fn complete(&self) -> u64 {
        self.tallies.values().map(|tally| tally.complete).sum()
    }

    pub fn failed(&self) -> u64 {
        self.tallies.values().map(Tally::failed).sum()
    }

    /// How often this class of [`Failure::class`] was seen.
    pub fn count(&self, class: &str) -> u64 {
        self.tallies.values().map(|tally| tally.count(class)).sum()
    }

    /// Panics unless every exchange of every client was good, and each kind had at least one.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(self.failed() == 0, "clients saw failures: {self}");
        let idle: Vec<_> = self.tallies.iter().filter(|(_, tally)| tally.complete == 0).map(|(kind, _)| kind).collect();
        assert!(idle.is_empty() && !self.tallies.is_empty(), "no exchange by {idle:?}: nothing was shown");
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, tally) in &self.tallies {
            write!(f, "{kind}: {tally}; ")?;
        }
        write!(f, "{} connections retired", self.retired)
    }
}

impl Kind {
    pub const ALL: [Kind; 6] =
        [Kind::KeepAlive, Kind::Fresh, Kind::Pipelining, Kind::Upload, Kind::Download, Kind::WebSocket];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::KeepAlive => "keep-alive",
            Kind::Fresh => "fresh",
            Kind::Pipelining => "pipelining",
            Kind::Upload => "upload",
            Kind::Download => "download",
            Kind::WebSocket => "websocket",
        })
    }
}

struct Worker {
    kind: Kind,
    number: usize,
    plan: Arc<Plan>,
    log: Watched<Log>,
    dice: Dice,
    /// Requests so far.
    asked: u64,
    held: Option<Held>,
}

/// A connection that is kept from one turn to the next.
enum Held {
    Http(Client, Newest),
    WebSocket(Box<WebSocket>),
}

/// Names each request, so that an answer to another is seen.
const LOAD_ID: &str = "X-Load-Id";

impl Worker {
    fn work(mut self) {
        while !self.log.look().stopping {
            let outcome = self.turn();
            self.write_down(outcome, 1);
            self.rest(Load::PACE);
        }
        let left = match self.held.take() {
            None => Ok(()),
            Some(Held::Http(client, _)) => client.close(),
            Some(Held::WebSocket(socket)) => socket.close(),
        };
        if left.is_err() {
            self.write_down(left, 0);
        }
    }

    fn write_down(&mut self, outcome: Result<(), Failure>, turns: u64) {
        let (kind, number) = (self.kind, self.number);
        if outcome.is_err() {
            // Whatever it was, the connection is not to be trusted.
            self.held = None;
        }
        self.log.change(|log| {
            log.turns[number] += turns;
            let tally = log.outcome.tallies.get_mut(&kind).expect("each kind has a tally");
            match outcome {
                Ok(()) => tally.complete += 1,
                Err(failure) => tally.count_failure(failure.class(), format!("client {number}: {failure}")),
            }
        });
    }

    /// Shorter when the load is to end.
    fn rest(&self, gap: Duration) {
        self.log.wait(Deadline::after(gap), |log| log.stopping.then_some(()));
    }

    fn turn(&mut self) -> Result<(), Failure> {
        match self.kind {
            Kind::KeepAlive => {
                let mut request = self.request("GET");
                if self.dice.below(4) == 0 {
                    request.method = "POST".to_owned();
                    let bytes = self.dice.between(0, 10_000) as u64;
                    request = request.body(Content::Pattern { seed: self.asked, bytes });
                }
                self.exchange(&request)
            }
            Kind::Fresh => {
                let mut request = self.request("GET");
                let says_close = self.dice.below(2) == 0;
                if says_close {
                    request = request.field("Connection", "close");
                }
                self.exchange(&request)?;
                match self.held.take() {
                    Some(Held::Http(..)) if says_close => Err(Failure::TimedOut { doing: "close", received: 0 }),
                    Some(Held::Http(client, _)) => client.close(),
                    _ => Ok(()),
                }
            }
            Kind::Pipelining => self.pipeline(),
            Kind::Upload => {
                let bytes = self.dice.between(20_000, 200_000) as u64;
                let mut request = self.request("PUT").body(Content::Pattern { seed: self.asked, bytes });
                if self.dice.below(2) == 0 {
                    request = request.chunked(self.dice.between(1000, 10_000));
                }
                let piece_bytes = self.dice.between(2000, 9000);
                self.exchange(&request.slow(piece_bytes, Duration::from_millis(2)))
            }
            Kind::Download => {
                let bytes = self.dice.between(100_000, 1_000_000);
                let request = self.request("GET").field(FILLER, bytes);
                self.exchange(&request)
            }
            Kind::WebSocket => self.talk(),
        }
    }

    fn request(&mut self, method: &str) -> Request {
        self.asked += 1;
        Request::new(method, &self.plan.host, &self.plan.path).field(LOAD_ID, self.load_id(self.asked))
    }

    fn load_id(&self, asked: u64) -> String {
        format!("{}-{}-{asked}", self.kind, self.number)
    }

    /// The connection that is held, or a new one.
    fn client(&mut self) -> Result<(Client, Newest), Failure> {
        match self.held.take() {
            Some(Held::Http(client, newest)) => Ok((client, newest)),
            _ => {
                let mut client = Client::over(self.plan.doors.knock(&mut self.dice).1?);
                if self.kind == Kind::Download {
                    client.sip(20_000).shrink_receive_buffer(16_384);
                }
                Ok((client, Newest::default()))
            }
        }
    }

    fn exchange(&mut self, request: &Request) -> Result<(), Failure> {
        let (mut client, mut newest) = self.client()?;
        let mut account = Account::default();
        let mut slowly = |piece: &[u8]| {
            if self.kind == Kind::Download {
                self.rest(Duration::from_millis(1));
            }
            account.take(piece)
        };
        let response = client.exchange_showing(request, &mut slowly)?.with_status(200)?;
        let received = account.finish()?;
        if let Some(body) = &request.body {
            let (sent, got) = (body.content.len(), received.body_bytes);
            if sent != got {
                return Err(Failure::WrongLength { said: sent, received: got });
            }
            if body.content.sum() != received.body_sum {
                return Err(Failure::WrongBody(format!("the origin got another body of {got} bytes")));
            }
        }
        self.judge(&response, &received, self.asked, &mut newest)?;
        self.keep(client, newest, &response)
    }

    fn pipeline(&mut self) -> Result<(), Failure> {
        const DEPTH: u64 = 4;
        let (mut client, mut newest) = self.client()?;
        let first = self.asked + 1;
        let requests: Vec<Request> = (0..DEPTH).map(|_| self.request("GET")).collect();
        client.send_together(&requests)?;
        for asked in first..first + DEPTH {
            let response = client.read()?.with_status(200)?;
            let received = response.received()?;
            self.judge(&response, &received, asked, &mut newest)?;
            // Those that follow an announced end are not answered, and may be asked again elsewhere.
            if asked + 1 == first + DEPTH || response.after != After::Open {
                return self.keep(client, newest, &response);
            }
        }
        Ok(())
    }

    fn talk(&mut self) -> Result<(), Failure> {
        const MESSAGE_BYTES_MAX: usize = 20_000;
        let mut socket = match self.held.take() {
            Some(Held::WebSocket(socket)) => socket,
            _ => {
                let request = self.request("GET");
                let socket = WebSocket::over(self.plan.doors.knock(&mut self.dice).1?, request)?;
                self.plan.marks.check(&socket.response, None, &mut Newest::default())?;
                Box::new(socket)
            }
        };
        socket.echo(self.dice.below(MESSAGE_BYTES_MAX))?;
        socket.ping()?;
        self.held = Some(Held::WebSocket(socket));
        Ok(())
    }

    /// Whether this is the answer to that request, and all of one piece.
    fn judge(&self, response: &Response, received: &Received, asked: u64, newest: &mut Newest) -> Result<(), Failure> {
        response.check_sum()?;
        let (asked, answered) = (self.load_id(asked), received.fields.first(LOAD_ID).unwrap_or("nothing"));
        if asked != answered {
            return Err(Failure::WrongAnswer { asked, answered: answered.to_owned() });
        }
        let origin = response.fields.first(ORIGIN);
        if origin != Some(&received.origin) {
            let how = format!("the head is from {origin:?}, the body from {:?}", received.origin);
            return Err(Failure::WrongBody(how));
        }
        self.plan.marks.check(response, Some(received), newest)
    }

    fn keep(&mut self, client: Client, newest: Newest, response: &Response) -> Result<(), Failure> {
        match (&response.after, response.announces_end()) {
            (_, _) if !response.beyond.is_empty() => Err(Failure::Surplus { bytes: response.beyond.len() as u64 }),
            (After::Open, _) => {
                self.held = Some(Held::Http(client, newest));
                Ok(())
            }
            // It asked for that itself.
            (After::Ended, true) if self.kind == Kind::Fresh => Ok(()),
            (After::Ended, true) => {
                self.log.change(|log| log.outcome.retired += 1);
                Ok(())
            }
            (After::Ended, false) => Err(Failure::UnannouncedEnd),
            (After::Reset, _) => Err(Failure::ResetBeforeByte),
            (After::Overdue, _) => Err(Failure::TimedOut { doing: "close", received: 0 }),
        }
    }
}
