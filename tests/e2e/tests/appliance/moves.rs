//! A listen address changes its pool while clients connect.

use api::status::ListenerState;
use api::{ErrorCode, Happening};
use e2e::{Pool, pool};
use harness::appliance::{Appliance, Launch, tell};
use harness::backend::{Backend, Vice};
use harness::client::Tunnel;
use harness::kernel::Counters;
use harness::net::Target;
use harness::netns;
use harness::outcome::{Failure, Tally};
use harness::wait::{Deadline, Watched};
use std::thread::JoinHandle;

/// Two pools, each with an address of its own, a backend that greets by the pool's name, and perhaps a third address.
struct Site {
    backends: [Backend; 2],
    own: [Target; 2],
}

const NAMES: [u8; 2] = *b"ab";

impl Site {
    fn new() -> Site {
        Site { backends: NAMES.map(|name| Backend::start(Vice::Greets(name))), own: [Target::fresh(), Target::fresh()] }
    }

    fn pool(&self, number: usize) -> Pool {
        Pool::new(["a", "b"][number]).listen(&self.own[number]).backend("x", self.backends[number].target())
    }

    /// The third address leads to this pool.
    fn leading(&self, address: &Target, to: usize) -> String {
        let with = |number: usize| match number == to {
            true => self.pool(number).listen(address),
            false => self.pool(number),
        };
        format!("{}{}", with(0), with(1))
    }
}

/// A tunnel, and the name of the backend at its end.
fn open(address: &Target) -> Result<(u8, Tunnel), Failure> {
    let mut tunnel = Tunnel::connect(address)?;
    let mut name = [0];
    tunnel.stream().receive_all(&mut name)?;
    Ok((name[0], tunnel))
}

/// Clients that come, ask who is there, exchange a little and go: all the time.
struct Visitors {
    log: Watched<Log>,
    workers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Log {
    stopping: bool,
    tally: Tally,
    /// Complete visits by whom they met.
    met: [u64; 2],
}

impl Visitors {
    fn start(address: &Target, workers: usize) -> Visitors {
        let log = Watched::new(Log::default());
        let workers = (0..workers).map(|_| {
            let (address, log) = (address.clone(), log.clone());
            std::thread::spawn(move || {
                while !log.look().stopping {
                    let visit = open(&address).and_then(|(name, mut tunnel)| {
                        tunnel.ping(1000)?;
                        tunnel.close()?;
                        Ok(name)
                    });
                    log.change(|log| {
                        if let Ok(name) = visit {
                            log.met[NAMES.iter().position(|known| *known == name).expect("a backend's name")] += 1;
                        }
                        log.tally.add(visit);
                    });
                }
            })
        });
        let workers = workers.collect();
        Visitors { log, workers }
    }

    /// Waits for more visits to this backend.
    fn wait_more(&self, to: usize, more: u64) {
        let enough = self.log.look().met[to] + more;
        let met = self.log.wait(Deadline::patient(), |log| {
            (log.met[to] >= enough || log.tally.failed() > 0).then_some(log.tally.failed())
        });
        assert_eq!(met, Some(0), "{}", self.log.look().tally);
    }

    fn finish(mut self) -> Tally {
        self.log.change(|log| log.stopping = true);
        self.workers.drain(..).for_each(|worker| worker.join().expect("a visitor does not panic"));
        self.log.look().tally.clone()
    }
}

/// Neither who knocks at that moment nor who is inside can tell; and who comes after the answer is at the new pool.
#[test]
fn an_address_changes_its_pool_and_nobody_is_refused() {
    netns::isolated_appliance(|| {
        const MOVES: usize = 40;
        let (site, moving) = (Site::new(), Target::fresh());
        let appliance = Launch::new(&site.leading(&moving, 0)).shards(2).start();
        let mut events = appliance.events();

        let control = Counters::read();
        assert_eq!(Tunnel::open(&Target::fresh()).map(drop), Err(Failure::Refused));
        let seen = Counters::read().resets_since(&control);
        assert!(seen.by("Tcp.OutRsts") > 0, "VOID: the kernel does not count a refusal: {seen}");

        let before = Counters::read();
        let mut inside: Vec<(u8, Tunnel)> = Vec::new();
        let visitors = Visitors::start(&moving, 4);
        for round in 0..MOVES {
            let (from, to) = (round % 2, 1 - round % 2);
            inside.extend((0..4).map(|_| open(&moving).expect("it leads somewhere")));
            visitors.wait_more(from, 10);
            let plan = appliance.apply(&site.leading(&moving, to)).plan.expect("a job that was applied had a plan");
            let codes: Vec<&str> = plan.changes.iter().map(|change| change.reason_code.as_str()).collect();
            assert_eq!(codes, ["listen_moved", "listen_moved"], "{plan:?}");
            assert!(plan.warnings.iter().any(|warning| warning.code == "address_moved"), "{plan:?}");
            for _ in 0..8 {
                let (name, tunnel) = open(&moving).expect("it leads somewhere");
                assert_eq!(name, NAMES[to], "round {round}: a connection after the answer is at the old pool");
                inside.push((name, tunnel));
            }
            events.wait("it leads to the other pool", |event| {
                let wanted = ["a", "b"][to];
                matches!(&event.happening, Happening::Listener { pool, address, state: ListenerState::Listening }
                    if pool == wanted && *address == moving.to_string())
            });
        }
        for (number, name) in NAMES.iter().enumerate() {
            // The backends say the same as the greetings: tunnels stayed where they were.
            let here = inside.iter().filter(|(at, _)| at == name).count() as u64;
            assert!(here > 0 && site.backends[number].seen().open >= here, "{:?}", site.backends[number].seen());
        }
        assert_eq!(inside.iter_mut().try_for_each(|(_, tunnel)| tunnel.ping(1000)), Ok(()));
        let tally = visitors.finish();
        tally.assert_clean();
        for (_, tunnel) in inside {
            assert_eq!(tunnel.close(), Ok(()));
        }
        let moved = Counters::read().resets_since(&before);
        assert!(moved.is_empty(), "clients saw nothing, but the kernel did: {moved}");
        assert_eq!(site.backends.iter().map(|backend| backend.seen().reset).sum::<u64>(), 0);
        println!("{MOVES} moves under {tally}");
    });
}

#[test]
fn addresses_of_every_family_can_move() {
    let site = Site::new();
    let appliance = Appliance::start(&format!("{}{}", site.pool(0), site.pool(1)));
    for address in [Target::fresh_v6(), Target::Unix(appliance.folder().join("front.sock"))] {
        appliance.apply(&site.leading(&address, 0));
        let (_, mut old) = open(&address).expect("it leads to the first");
        appliance.apply(&site.leading(&address, 1));
        let (name, _) = open(&address).expect("it leads to the second");
        assert_eq!((name, old.ping(1000)), (b'b', Ok(())), "{address}");
        let status = appliance.status();
        let listens = |id: &str| {
            let listeners = &pool(&status, id).listeners;
            listeners.iter().any(|listener| listener.address == address.to_string())
        };
        assert_eq!((listens("a"), listens("b")), (false, true), "{address}");
        appliance.apply(&format!("{}{}", site.pool(0), site.pool(1)));
    }
}

/// A pool that a move is a step of: it comes with an address of another, or is left by its last but one and goes.
#[test]
fn a_pool_takes_over_from_another_in_steps() {
    let site = Site::new();
    let [kept, spare] = &site.own;
    let old = |listen: &[&Target]| {
        let pool = Pool::new("old").backend("x", site.backends[0].target());
        listen.iter().fold(pool, |pool, address| pool.listen(address)).to_string()
    };
    let new = |listen: &[&Target]| {
        let pool = Pool::new("new").backend("x", site.backends[1].target());
        listen.iter().fold(pool, |pool, address| pool.listen(address)).to_string()
    };
    let appliance = Appliance::start(&old(&[kept, spare]));
    let (_, mut inside) = open(kept).expect("it leads somewhere");
    appliance.apply(&(old(&[spare]) + &new(&[kept])));
    appliance.apply(&new(&[kept]));
    assert_eq!(open(kept).map(|(name, _)| name), Ok(b'b'));
    assert_eq!(inside.ping(1000), Ok(()), "a tunnel outlives its pool");
}

/// What cannot be moved live is refused before anything happens, and says what to do instead.
#[test]
fn what_cannot_move_is_refused_with_its_reason() {
    let (site, moving) = (Site::new(), Target::fresh());
    let appliance = Launch::new(&site.leading(&moving, 0)).shards(2).start();
    let heir = site.pool(1).listen(&moving).listen(&site.own[0]).to_string();
    let failure = appliance.try_apply(&heir).expect_err("its pool goes in the same change");
    let codes = |failure: &api::answer::Failure| {
        let mut codes: Vec<String> = failure.restart_reasons.iter().map(|reason| reason.code.clone()).collect();
        codes.dedup();
        codes
    };
    assert_eq!(failure.code, ErrorCode::RestartRequired, "{}", tell(&failure));
    assert_eq!(codes(&failure), ["create_listen_inherited"]);

    let elsewhere = |pool: Pool| pool.keys(".create", "shards = [0]").to_string();
    let third = Target::fresh();
    let on_one = |pool: Pool| elsewhere(pool.listen(&third).backend("x", site.backends[1].target()));
    let apart = format!("{}{}", site.leading(&moving, 0), on_one(Pool::new("c")));
    appliance.apply(&apart);
    let across = format!("{}{}{}", site.pool(0), site.pool(1), on_one(Pool::new("c").listen(&moving)));
    let failure = appliance.try_apply(&across).expect_err("its sockets are on other shards");
    assert_eq!(codes(&failure), ["create_listen_resharded"], "{}", tell(&failure));
    assert_eq!(open(&moving).map(|(name, _)| name), Ok(b'a'));

    // In two steps, as the reason says.
    appliance.apply(&format!("{}{}{}", site.pool(0), site.pool(1), on_one(Pool::new("c"))));
    appliance.apply(&across);
    assert_eq!(open(&moving).map(|(name, _)| name), Ok(b'b'));
}
