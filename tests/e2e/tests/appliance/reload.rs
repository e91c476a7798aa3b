//! The promise of the product: the configuration changes under load, and nobody outside can tell.
//!
//! It happens in a network namespace of its own, so that the kernel's counters are a second witness beside the
//! clients. Before the first change both witnesses are shown what they must be able to see; a run in which they
//! do not see it is void and fails.

use api::order::{BackendAdd, BackendRemove};
use api::receipt::JobOutcome;
use api::{ErrorCode, Order};
use e2e::Pool;
use harness::appliance::{Appliance, tell};
use harness::backend::{Backend, Deaf, Vice};
use harness::churn::{Churn, Doors};
use harness::client::Tunnel;
use harness::fleet::Fleet;
use harness::kernel::Counters;
use harness::net::{Stream, Target};
use harness::netns;
use harness::outcome::Tally;
use harness::pattern::Dice;
use harness::wait::{Deadline, until};
use rustix::process::Signal;
use std::net::TcpListener;
use std::time::Duration;

const RELOADS: usize = 1000;
const TUNNELS: usize = 200;
const SEED: u64 = 20261121;

#[test]
fn a_thousand_reloads_under_load_are_noticed_by_nobody() {
    netns::isolated_appliance(|| {
        let mut site = Site::start();
        show_the_witnesses_what_failure_is(&site);
        site.change_under_load();
    });
}

/// Refusals and resets of every kind, at the client and in the counters.
fn show_the_witnesses_what_failure_is(site: &Site) {
    let resets = Backend::start(Vice::ResetsAfter { bytes: 100 });
    let front = Target::fresh();
    let bad = Pool::new("bad").listen(&front).backend("resets", resets.target());
    site.appliance.apply(&format!("{}{bad}", site.document()));

    let before = Counters::read();
    let mut tally = Tally::default();
    // A closed port.
    tally.add(Tunnel::open(&Target::fresh()));
    // A reset through the appliance, with bytes before it.
    let mut tunnel = Tunnel::open(&front).expect("64 of 100 bytes");
    tally.add(tunnel.ping(36).and_then(|()| tunnel.wait_end(Deadline::patient())));
    // The case that `TCPAbort*` does not see: a listener is closed with connections in its queue.
    let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let queued = Target::Ip(listener.local_addr().expect("it is bound"));
    let mut client = Tunnel::connect(&queued).expect("the kernel lets it in");
    let aborts_before = Counters::read();
    drop(listener);
    tally.add(client.wait_end(Deadline::patient()));
    let by_closing = Counters::read().resets_since(&aborts_before);
    // A queue that is full.
    let deaf = Deaf::start();
    tally.add(Stream::connect(deaf.target(), Deadline::after(Duration::from_millis(100))));

    let moved = Counters::read().resets_since(&before);
    let void = "VOID: a witness does not see what it is there for";
    let classes = ["refused", "reset mid-stream", "reset before a byte", "timed out"];
    assert!(classes.iter().all(|class| tally.count(class) == 1), "{void}: {tally}");
    for witness in
        ["Tcp.OutRsts", "Tcp.EstabResets", "Tcp.AttemptFails", "TcpExt.ListenOverflows", "TcpExt.ListenDrops"]
    {
        assert!(moved.by(witness) > 0, "{void}: {witness}: {moved}");
    }
    assert!(by_closing.by("Tcp.OutRsts") > 0, "{void}: a closed queue: {by_closing}");

    site.appliance.apply(&site.document());
}

/// What the document says now, and the clients' knowledge of it.
struct Site {
    appliance: Appliance,
    /// Serve for ever; which of them are in the document changes.
    echoes: Vec<Backend>,
    in_use: Vec<(usize, u32)>,
    /// Never leave.
    steady: Vec<Target>,
    /// Come and go.
    passing: Vec<Target>,
    balance: &'static str,
    idle_minutes: usize,
    doors: Doors,
    dice: Dice,
}

impl Site {
    fn start() -> Site {
        let echoes: Vec<Backend> = (0..5).map(|_| Backend::echo()).collect();
        let steady = vec![Target::fresh(), Target::fresh(), Target::fresh_v6()];
        let first =
            Pool::new("web").listen(&steady[0]).listen(&steady[1]).listen(&steady[2]).backend("b0", echoes[0].target());
        Site {
            appliance: Appliance::start(&first.to_string()),
            echoes,
            in_use: vec![(0, 1)],
            doors: Doors::new(&steady),
            steady,
            passing: Vec::new(),
            balance: "round-robin",
            idle_minutes: 60,
            dice: Dice::new(SEED),
        }
    }

    fn document(&self) -> String {
        let mut pool = Pool::new("web")
            .keys(".group.main", &format!("balance = {:?}", self.balance))
            .keys(".timeouts", &format!("idle = \"{}m\"", self.idle_minutes));
        for address in self.steady.iter().chain(&self.passing) {
            pool = pool.listen(address);
        }
        for (number, weight) in &self.in_use {
            pool =
                pool.backend_with(&format!("b{number}"), self.echoes[*number].target(), &format!("weight = {weight}"));
        }
        // The files of this site say all, orders' changes with other things that have changed since.
        format!("[reload]\ndrift = \"undo\"\n{pool}")
    }

    fn change_under_load(&mut self) {
        // Some of the tunnels come in through an address that will have left long before they end.
        let passing = Target::fresh();
        self.passing.push(passing.clone());
        self.appliance.apply(&self.document());
        self.doors.open(&passing);

        let before = Counters::read();
        let pid = self.appliance.status().pid;
        let entrances: Vec<Target> = self.steady.iter().chain([&passing]).cloned().collect();
        let fleet = Fleet::start(&entrances, TUNNELS, SEED);
        let churn = Churn::start(&self.doors, 3, SEED);
        fleet.all_again();
        let mut counts = [0; Step::ALL.len()];
        for round in 0..RELOADS {
            let step = Step::ALL[self.dice.below(Step::ALL.len())];
            counts[step as usize] += 1;
            self.take(step);
            churn.wait_more(3);
            let failed = fleet.failed() + churn.tally().failed();
            assert_eq!(
                failed,
                0,
                "after round {round}, {step:?}: {}; resets: {}",
                churn.tally(),
                Counters::read().resets_since(&before)
            );
            if round % 50 == 49 {
                fleet.all_again();
            }
        }
        assert!(counts.iter().all(|count| *count >= 10), "some steps were hardly taken: {counts:?}");
        let (moved_bytes, churned) = (fleet.exchanged(), churn.finish());
        let tunnels = fleet.finish();
        churned.assert_clean();
        tunnels.assert_clean();
        assert_eq!(tunnels.complete, TUNNELS as u64);
        let moved = Counters::read().resets_since(&before);
        assert!(moved.is_empty(), "clients saw nothing, but the kernel did: {moved}");
        assert_eq!(self.appliance.status().pid, pid);
        until("nothing of the past is held", || {
            let generations = self.appliance.generations();
            if generations.retained_bytes == 0 { Ok(()) } else { Err(format!("{generations:?}")) }
        });
        println!("{RELOADS} reloads ({counts:?}) under {TUNNELS} tunnels with {moved_bytes} bytes and {churned}");
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Weights => {
                for (_, weight) in &mut self.in_use {
                    *weight = self.dice.between(1, 9) as u32;
                }
                self.submit();
            }
            Step::Policies => {
                self.balance = ["round-robin", "least-connections", "random-two", "source-hash"][self.dice.below(4)];
                self.idle_minutes = self.dice.between(30, 90);
                self.submit();
            }
            Step::Backends => {
                let number = self.dice.below(self.echoes.len());
                match self.in_use.iter().position(|(used, _)| *used == number) {
                    Some(ix) if self.in_use.len() > 1 => _ = self.in_use.remove(ix),
                    Some(_) => {}
                    None => self.in_use.push((number, 1)),
                }
                self.submit();
            }
            Step::TypedOrders => self.order_backend(),
            Step::OpenAddress => {
                // Up to a bound, else one leaves first.
                if self.passing.len() == 6 {
                    self.close_address();
                }
                let address = Target::fresh();
                self.passing.push(address.clone());
                self.submit();
                self.doors.open(&address);
            }
            Step::CloseAddress => self.close_address(),
            Step::Nothing => {
                let receipt =
                    self.appliance.try_apply(&self.document()).unwrap_or_else(|failure| panic!("{}", tell(&failure)));
                assert_eq!(receipt.outcome, JobOutcome::Unchanged);
            }
            Step::Mistake => {
                let mistakes = [
                    "[pool.web",
                    "x = 1\n",
                    "[pool.web.create]\nservice = \"tcp\"\n",
                    "[pool.web.timeouts]\nidle = \"fast\"\n",
                ];
                let failure =
                    self.appliance.try_apply(mistakes[self.dice.below(mistakes.len())]).expect_err("it is wrong");
                assert_eq!(failure.code, ErrorCode::InvalidConfiguration);
            }
        }
    }

    /// Over the socket, from the file, or from the file by a signal.
    fn submit(&mut self) {
        let document = self.document();
        match self.dice.below(3) {
            0 => _ = self.appliance.try_apply(&document).unwrap_or_else(|failure| panic!("{}", tell(&failure))),
            1 => {
                self.appliance.write_document(&document);
                _ = self
                    .appliance
                    .change(Order::Reload(api::order::Reload::default()))
                    .unwrap_or_else(|failure| panic!("{}", tell(&failure)));
            }
            _ => {
                self.appliance.write_document(&document);
                self.appliance.signal(Signal::HUP);
                // A plan of what was just signalled is empty when it runs.
                until("the signal's change runs", || {
                    let plan = self.appliance.plan(&document).unwrap_or_else(|failure| panic!("{}", tell(&failure)));
                    if plan.unchanged { Ok(()) } else { Err(format!("{plan:?}")) }
                });
            }
        }
    }

    fn close_address(&mut self) {
        if !self.passing.is_empty() {
            let address = self.passing.remove(self.dice.below(self.passing.len()));
            // Clients whose SYN follows the removal are outside the promise: they hear of it first.
            self.doors.close(&address);
            self.submit();
        }
    }

    fn order_backend(&mut self) {
        let (pool, number) = ("web".to_owned(), self.dice.below(self.echoes.len()));
        let order = match self.in_use.iter().position(|(used, _)| *used == number) {
            Some(ix) if self.in_use.len() > 1 => {
                self.in_use.remove(ix);
                Order::BackendRemove(BackendRemove {
                    pool,
                    group: None,
                    backend: format!("b{number}"),
                    now: false,
                    wait: false,
                })
            }
            Some(_) => return,
            None => {
                self.in_use.push((number, 1));
                let address = self.echoes[number].target().to_string();
                Order::BackendAdd(BackendAdd {
                    pool,
                    backend: Some(format!("b{number}")),
                    address,
                    weight: Some(1),
                    ..Default::default()
                })
            }
        };
        let receipt = self.appliance.change(order).unwrap_or_else(|failure| panic!("{}", tell(&failure)));
        assert_eq!(receipt.outcome, JobOutcome::Applied);
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Step {
    Weights,
    Policies,
    Backends,
    TypedOrders,
    OpenAddress,
    CloseAddress,
    Nothing,
    Mistake,
}

impl Step {
    const ALL: [Step; 8] = [
        Step::Weights,
        Step::Policies,
        Step::Backends,
        Step::TypedOrders,
        Step::OpenAddress,
        Step::CloseAddress,
        Step::Nothing,
        Step::Mistake,
    ];
}

/// A new connection made after the answer uses what was answered for, on every shard.
#[test]
fn every_connection_after_the_answer_uses_the_new_generation() {
    let (old, new, front) = (Backend::start(Vice::Greets(b'o')), Backend::start(Vice::Greets(b'n')), Target::fresh());
    let pool = |backend: &Backend| Pool::new("db").listen(&front).backend("x", backend.target()).to_string();
    let appliance = Appliance::start(&pool(&old));
    for round in 0..30 {
        let (backend, name) = if round % 2 == 0 { (&new, b'n') } else { (&old, b'o') };
        appliance.apply(&pool(backend));
        for _ in 0..8 {
            let mut tunnel = Tunnel::connect(&front).expect("it connects");
            let mut greeting = [0];
            tunnel.stream().receive_all(&mut greeting).expect("a backend greets");
            assert_eq!(greeting[0], name, "round {round}: a connection used what had been replaced");
        }
    }
}

/// Process and configuration have lives of their own.
#[test]
fn ten_thousand_generations_are_one_process() {
    const GENERATIONS: u32 = 10_000;
    let (echo, front) = (Backend::echo(), Target::fresh());
    let appliance = Appliance::start(&Pool::new("db").listen(&front).backend("a", echo.target()).to_string());
    let mut tunnel = Tunnel::open(&front).expect("it opens");
    let before = appliance.status();
    let mut client = appliance.client();
    for weight in (2..).take(GENERATIONS as usize) {
        let set = api::order::BackendSet {
            pool: "db".into(),
            backend: "a".into(),
            weight: Some(weight),
            ..Default::default()
        };
        let answer = client.call(Order::BackendSet(set), |_| {}).unwrap_or_else(|error| panic!("{error}"));
        assert!(matches!(answer.reply, api::Reply::Ok { .. }), "{answer:?}");
        if weight % 500 == 0 {
            assert_eq!(tunnel.ping(100), Ok(()));
        }
    }
    let after = appliance.status();
    assert_eq!((after.pid, after.generation), (before.pid, before.generation + u64::from(GENERATIONS)));
    assert!(after.uptime_seconds >= before.uptime_seconds);
    assert_eq!(tunnel.close(), Ok(()));
    assert_eq!(echo.seen().reset, 0);
    until("nothing of the past is held", || {
        let generations = appliance.generations();
        if generations.retained_bytes == 0 { Ok(()) } else { Err(format!("{generations:?}")) }
    });
}
