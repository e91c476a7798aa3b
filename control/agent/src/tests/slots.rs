//! However a job ends, each slot is in use once: while somebody can name it, and no longer.

use super::fake::Do;
use super::*;
use crate::compile::Look;
use api::Stage;
use api::order::{BackendAdd, BackendRemove};
use api::receipt::JobOutcome;
use api::status::ListenerState;
use std::sync::mpsc;

/// Pools, endpoints, listeners.
type InUse = (usize, usize, usize);

impl Rig {
    pub fn look(&self, look: Look) {
        self.agent.as_ref().unwrap().handle().send(Event::Look(look));
    }

    pub fn slots_in_use(&self) -> InUse {
        let (tell, told) = mpsc::channel();
        self.look(Box::new(move |slots| tell.send(slots.in_use()).expect("the test waits")));
        told.recv_timeout(PATIENCE).expect("the compiler thread is there")
    }

    pub fn wait_slots(&self, what: &str, expected: InUse) {
        self.until(what, |rig| {
            let in_use = rig.slots_in_use();
            if in_use == expected { Ok(()) } else { Err(format!("{in_use:?} are in use, not {expected:?}")) }
        });
    }

    /// The compiler thread does nothing until this is dropped.
    fn hold_compiler(&self) -> mpsc::Sender<()> {
        let (hold, held) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        self.look(Box::new(move |_| {
            tell.send(()).expect("the test waits");
            let _ = held.recv_timeout(PATIENCE);
        }));
        told.recv_timeout(PATIENCE).expect("the compiler thread is there");
        hold
    }
}

const A: (&str, u16, &str) = ("a", 9001, "");
const B: (&str, u16, &str) = ("b", 9002, "");

/// Two pools where one was, with a backend and an address more than before.
struct Site {
    one: [String; 1],
    two: [String; 2],
}

impl Site {
    fn new() -> Site {
        Site { one: [free_address()], two: [free_address(), free_address()] }
    }

    fn small(&self) -> String {
        pool("one", &self.one, &[A])
    }

    fn large(&self) -> String {
        pool("one", &self.one, &[A, B]) + &pool("two", &self.two, &[A])
    }
}

const SMALL: InUse = (1, 1, 1);
const LARGE: InUse = (2, 3, 3);

#[test]
fn what_is_applied_and_taken_away_again_is_free() {
    let site = Site::new();
    let rig = Rig::new(&site.small());
    for _ in 0..3 {
        rig.apply(&site.large()).unwrap();
        assert_eq!(rig.slots_in_use(), LARGE);
        rig.apply(&site.small()).unwrap();
        rig.wait_slots("everything that came has gone", SMALL);
    }
}

#[test]
fn a_refused_change_keeps_nothing() {
    let site = Site::new();
    let rig = Rig::new(&site.small());
    for shard in &rig.shards {
        shard.tell(Do::Refuse);
        rig.apply(&site.large()).unwrap_err();
        rig.wait_slots("the refusal gives all back", SMALL);
    }
    rig.apply(&site.large()).unwrap();
    assert_eq!(rig.slots_in_use(), LARGE);
}

/// A lost shard may still hold what it was asked to prepare, its sockets above all.
#[test]
fn what_a_lost_shard_may_hold_is_in_use_until_it_is_back() {
    let head = "[reload]\nprepare_timeout = \"100ms\"\n";
    let site = Site::new();
    let rig = Rig::with(2, head, &site.small());
    rig.shards[1].tell(Do::Stall);
    rig.apply_with(head, &site.large()).unwrap_err();
    rig.wait_slots("addresses and the pool's root are held", (2, 1, 3));
    rig.shards[1].tell(Do::Go);
    rig.wait_slots("it is back and has forgotten", SMALL);
}

/// The next job names what the shards have not forgotten yet: it keeps its slots.
#[test]
fn what_is_named_again_at_once_is_in_use_once() {
    let site = Site::new();
    let rig = Rig::new(&site.small());
    for _ in 0..5 {
        rig.shards[0].tell(Do::Refuse);
        rig.apply(&site.large()).unwrap_err();
        rig.apply(&site.large()).unwrap();
        assert_eq!(rig.slots_in_use(), LARGE);
        rig.apply(&site.small()).unwrap();
    }
    rig.wait_slots("nothing is left of any of them", SMALL);
}

#[test]
fn what_cannot_be_bound_or_has_no_room_keeps_nothing() {
    let site = Site::new();
    let rig = Rig::new(&site.small());
    let stranger = TcpListener::bind(&site.two[1]).unwrap();
    assert_eq!(rig.apply(&site.large()).unwrap_err().stage, Some(Stage::Bind));
    rig.wait_slots("not all could be bound", SMALL);
    drop(stranger);
    // One more than there are rows for.
    let ids: Vec<String> = (0..10_001).map(|ix| format!("b{ix}")).collect();
    let many: Vec<(&str, u16, &str)> = ids.iter().zip(10_000u16..).map(|(id, port)| (id.as_str(), port, "")).collect();
    let failure = rig.apply(&(site.small() + &pool("many", &site.two, &many))).unwrap_err();
    assert_eq!(failure.stage, Some(Stage::Compile), "{}", failure.message);
    rig.wait_slots("there are no rows for all", SMALL);
    rig.apply(&site.large()).unwrap();
}

/// It waits for a name and fails then, and behind it stands another that names the same new pool.
#[test]
fn a_job_that_fails_late_leaves_the_next_its_slots() {
    let site = Site::new();
    let server = crate::resolve::tests::Server::start();
    server.keeps_silent_about("mute.test");
    let rig = Rig::asleep(2, "", &site.small(), server.source()).woken();
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = stranger.local_addr().unwrap().to_string();
    let mut events = rig.events();
    std::thread::scope(|scope| {
        let mute = site.large().replace("127.0.0.1:9002", "mute.test:9002").replace(&site.two[1], &taken);
        let rig = &rig;
        let first = scope.spawn(move || rig.apply(&mute));
        events.wait("the first is compiled", |event| {
            matches!(event, Happening::JobStage { job: 2, stage: Stage::Compile })
        });
        let second = rig.apply(&site.large());
        assert_eq!(first.join().unwrap().unwrap_err().stage, Some(Stage::Bind));
        assert_eq!(second.unwrap().outcome, JobOutcome::Applied);
    });
    rig.wait_slots("only the second's are in use", LARGE);
    rig.apply(&site.small()).unwrap();
    rig.wait_slots("and they are given back", SMALL);
}

/// It has ended before it is compiled; what that has given out nobody else waits for.
#[test]
fn a_job_that_ends_while_it_is_compiled_keeps_nothing() {
    let head = "[reload]\njob_timeout = \"1s\"\n";
    let site = Site::new();
    let rig = Rig::with(2, head, &site.small());
    let hold = rig.hold_compiler();
    let failure = rig.apply_with(head, &site.large()).unwrap_err();
    assert_eq!(failure.code, api::ErrorCode::TimedOut, "{}", failure.message);
    drop(hold);
    rig.wait_slots("what was compiled for nobody is given back", SMALL);
    rig.apply_with(head, &site.large()).unwrap();
    assert_eq!(rig.slots_in_use(), LARGE);
}

/// As the one before, with a control that has forgotten that anything was asked.
#[test]
fn what_was_compiled_for_a_control_that_panicked_is_given_back() {
    let site = Site::new();
    let rig = Rig::new(&site.small());
    let mut events = rig.events();
    let hold = rig.hold_compiler();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| rig.apply(&site.large()));
        events.wait("the first is being compiled", |event| {
            matches!(event, Happening::JobStage { job: 2, stage: Stage::Plan })
        });
        rig.plant(Fault::Submit);
        rig.apply(&site.small()).unwrap_err();
        first.join().unwrap().unwrap_err();
    });
    drop(hold);
    rig.wait_slots("what was compiled for nobody is given back", SMALL);
    rig.apply(&site.large()).unwrap();
    assert_eq!(rig.slots_in_use(), LARGE);
}

/// A backend that comes back while connections still use it is the same as before, and freed once.
#[test]
fn a_backend_that_comes_back_keeps_its_slot_while_it_is_used() {
    let listen = [free_address()];
    let rig = Rig::new(&db(&listen, &[A, B]));
    let kept = rig.shards[0].open("db", "b");
    let remove = || {
        let remove = BackendRemove { pool: "db".into(), group: None, backend: "b".into(), now: false, wait: false };
        rig.change(Order::BackendRemove(remove)).unwrap();
    };
    for _ in 0..3 {
        remove();
        let address = "127.0.0.1:9002".into();
        let add = BackendAdd { pool: "db".into(), backend: Some("b".into()), address, ..BackendAdd::default() };
        rig.change(Order::BackendAdd(add)).unwrap();
        assert_eq!(rig.slots_in_use(), (1, 2, 1));
    }
    remove();
    assert_eq!(rig.slots_in_use(), (1, 2, 1));
    rig.shards[0].tell(Do::Close(kept));
    rig.wait_slots("its last connection has ended", (1, 1, 1));
}

/// Its sockets stay open and its slot is its own, whichever pool it leads to, and however the job ends.
#[test]
fn an_address_that_moves_keeps_its_slot_and_its_sockets() {
    let site = Site::new();
    let [x, y] = &site.two;
    let moving = |one: &[&String], two: &[&String]| {
        let listen = |own: &String, more: &[&String]| -> Vec<String> {
            [own].into_iter().chain(more.iter().copied()).cloned().collect()
        };
        pool("one", &listen(&site.one[0], one), &[A]) + &pool("two", &listen(y, two), &[B])
    };
    let rig = Rig::new(&moving(&[x], &[]));
    let mut events = rig.events();
    let leads_to = |wanted: &'static str| {
        move |event: &Happening| {
            let listening = ListenerState::Listening;
            matches!(event, Happening::Listener { pool, address, state } if pool == wanted && address == x && *state == listening)
        }
    };
    rig.shards[1].tell(Do::Refuse);
    rig.apply(&moving(&[], &[x])).unwrap_err();
    for _ in 0..2 {
        let receipt = rig.apply(&moving(&[], &[x])).unwrap();
        let plan = receipt.plan.unwrap();
        assert!(plan.changes.iter().all(|change| change.reason_code == "listen_moved"), "{plan:?}");
        assert!(plan.warnings.iter().any(|warning| warning.code == "address_moved"), "{plan:?}");
        events.wait("it leads to the second", leads_to("two"));
        assert_eq!((rig.status().pools[0].listeners.len(), rig.status().pools[1].listeners.len()), (1, 2));
        rig.apply(&moving(&[x], &[])).unwrap();
        events.wait("it leads to the first", leads_to("one"));
        std::net::TcpStream::connect(x).expect("its sockets are open");
    }
    assert_eq!(rig.slots_in_use(), (2, 2, 3));
    let closing = |event: &&Happening| matches!(event, Happening::Listener { address, state, .. } if address == x && *state != ListenerState::Listening);
    assert_eq!(events.seen.iter().find(closing), None, "its sockets were touched");
    rig.apply(&moving(&[], &[])).unwrap();
    rig.wait_slots("it is left", (2, 2, 2));
    // Under another pool, when nobody has it.
    rig.apply(&moving(&[], &[x])).unwrap();
    assert_eq!(rig.slots_in_use(), (2, 2, 3));
}
