//! Killed in the middle of orders, again and again: what runs afterwards is what was answered, and perhaps what was on its way.
//!
//! Three pools are changed side by side, each over a connection of its own with several orders under way, so that one
//! sync writes down the orders of several. What a pool is after so many orders is known beforehand ([`After`]).

use api::order::{OnDrift, Reload};
use api::receipt::JobOutcome;
use api::{Answer, ErrorCode, Order, Reply};
use e2e::{Pool, document_of, give};
use harness::appliance::{Appliance, Launch, tell};
use harness::net::Target;
use harness::pattern::Dice;
use harness::wait::PATIENCE;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::{BTreeSet, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicI64, Ordering};
use tempfile::TempDir;

const SEED: u64 = 20261122;

const LANES: usize = 3;
/// Orders of one lane that are under way.
const DEPTH: usize = 4;

const KILLS: usize = 40;
const ORDERS: u64 = 1_000;
/// Rounds in which orders are so large that segments of the journal end and begin.
const BULKY: [usize; 2] = [10, 25];
/// Bytes of the list that such an order replaces; a segment has 16 MiB.
const BULK_BYTES: usize = 2 << 20;

/// A pool after so many orders.
#[derive(Clone, PartialEq, Debug, Default)]
struct After {
    weight: u64,
    max_connections: Option<u64>,
    rules: Vec<String>,
    entries: BTreeSet<String>,
}

impl After {
    fn start() -> After {
        After { weight: 1, rules: vec!["bots".to_owned()], ..After::default() }
    }

    /// The order of this number, from 1 on, and what is so when it has been carried out. One in four changes three
    /// things at once.
    fn next(&mut self, lane: usize, number: u64) -> Value {
        let (pool, list) = (format!("p{lane}"), format!("l{lane}"));
        let weigh = json!({"order": "backend.set", "pool": pool, "backend": "a", "weight": number + 1});
        match number % 4 {
            1 => {
                self.weight = number + 1;
                weigh
            }
            2 => {
                let entry = format!("bot {number}");
                self.entries.insert(entry.clone());
                json!({"order": "list.add", "list": list, "entry": entry, "reason": format!("order {number}")})
            }
            3 => {
                let rule = format!("r{number}");
                self.rules.push(rule.clone());
                let set = json!({"path": format!("/{number}"), "respond": format!("{number}")});
                json!({"order": "rule.add", "pool": pool, "rule": rule, "set": set})
            }
            _ => {
                let (rule, entry) = (format!("r{}", number - 1), format!("bot {}", number - 2));
                self.rules.retain(|kept| *kept != rule);
                self.entries.remove(&entry);
                self.weight = number + 1;
                self.max_connections = Some(1_000 + number);
                json!({"order": "transaction", "orders": [
                    weigh,
                    {"order": "rule.remove", "pool": pool, "rule": rule},
                    {"order": "list.remove", "list": list, "entry": entry},
                    {"order": "limit.set", "pool": pool, "set": {"max_connections": 1_000 + number}},
                ]})
            }
        }
    }

    /// As the document that runs has it.
    fn found(document: &toml::Table, lane: usize) -> After {
        let pool = &document["pool"][format!("p{lane}")];
        let number = |value: &toml::Value| value.as_integer().and_then(|number| u64::try_from(number).ok());
        let backend = &pool["group"]["main"]["backend"][0];
        let rules = pool["rule"].as_array().expect("rules are a list").iter();
        let entries = document["list"][format!("l{lane}")].get("entries");
        let entries = entries.and_then(toml::Value::as_array).into_iter().flatten();
        let text = |value: &toml::Value| value.as_str().expect("it is a text").to_owned();
        After {
            weight: backend.get("weight").map_or(Some(1), number).expect("a weight is a number"),
            max_connections: pool.get("limits").and_then(|limits| number(limits.get("max_connections")?)),
            rules: rules.map(|rule| text(&rule["id"])).collect(),
            entries: entries.map(|entry| text(entry.get("entry").unwrap_or(entry))).collect(),
        }
    }
}

/// The orders of one pool, and what is known of them.
struct Lane {
    lane: usize,
    /// After the orders that are known to be in force.
    after: After,
    in_force: u64,
    /// Orders that were sent beyond those.
    under_way: VecDeque<u64>,
    /// Jobs of this round that were answered, with what was ordered.
    answered: Vec<(u64, String)>,
}

impl Lane {
    fn new(lane: usize) -> Lane {
        Lane { lane, after: After::start(), in_force: 0, under_way: VecDeque::new(), answered: Vec::new() }
    }

    /// Sends orders and reads answers until the appliance is no more. Each answer shortens the fuse.
    fn drive(&mut self, appliance: &Appliance, fuse: &Fuse) {
        let stream = UnixStream::connect(appliance.control_socket()).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("it can be told");
        let (mut ahead, mut sent) = (self.after.clone(), self.in_force);
        let mut names = VecDeque::new();
        let mut answers = BufReader::new(&stream);
        loop {
            while self.under_way.len() < DEPTH {
                sent += 1;
                let mut order = ahead.next(self.lane, sent);
                order["id"] = sent.into();
                names.push_back(order["order"].as_str().expect("an order has a name").to_owned());
                self.under_way.push_back(sent);
                if (&stream).write_all(format!("{order}\n").as_bytes()).is_err() {
                    break;
                }
            }
            let mut line = String::new();
            match answers.read_line(&mut line) {
                // It may have died in the middle of a line.
                Ok(_) if line.ends_with('\n') => {}
                Ok(_) | Err(_) if fuse.has_burnt() => return,
                other => panic!("lane {}: the appliance is silent or gone: {other:?} {line:?}", self.lane),
            }
            let answer = Answer::decode(line.trim_end().as_bytes()).expect("it answers in its language");
            match answer.reply {
                Reply::Processing { .. } => {}
                Reply::Error { error } => panic!("lane {}: {}: {}", self.lane, answer.id, tell(&error)),
                Reply::Ok { result } => {
                    let api::Body::Receipt(receipt) = result else { panic!("no receipt: {result:?}") };
                    let number = self.under_way.pop_front().expect("an order is under way");
                    assert_eq!((answer.id, receipt.outcome), (number.into(), JobOutcome::Applied), "in turn");
                    assert_eq!(receipt.not_saved, None);
                    self.in_force = number;
                    self.after.next(self.lane, number);
                    self.answered.push((receipt.job, names.pop_front().expect("each was named")));
                }
            }
            fuse.burn(appliance);
        }
    }

    /// What runs is what was answered, or some of what was under way besides, in its order.
    fn compare(&mut self, document: &toml::Table) {
        let found = After::found(document, self.lane);
        let answered = self.in_force;
        while self.after != found {
            let number = self.under_way.pop_front().unwrap_or_else(|| {
                panic!("lane {}: after order {answered}, which was answered, and what was sent: {found:?}", self.lane)
            });
            self.after.next(self.lane, number);
            self.in_force = number;
        }
        self.under_way.clear();
    }
}

/// When it has burnt down, the appliance is killed.
struct Fuse(AtomicI64);

impl Fuse {
    fn burn(&self, appliance: &Appliance) {
        if self.0.fetch_sub(1, Ordering::Relaxed) == 1 {
            appliance.signal(Signal::KILL);
        }
    }

    fn has_burnt(&self) -> bool {
        self.0.load(Ordering::Relaxed) <= 0
    }
}

/// Where it is started, again and again.
struct Site {
    pools: String,
    lists: String,
}

impl Site {
    fn new() -> Site {
        let pool = |lane: usize| {
            let bots = format!("id = \"bots\"\nheader = {{ User-Agent = {{ list = \"l{lane}\" }} }}\ndeny = 403");
            Pool::http(&format!("p{lane}")).listen(&Target::fresh()).backend("a", &Target::fresh()).rule(&bots)
        };
        let lists = (0..LANES).map(|lane| format!("[list.l{lane}]\nkind = \"text\"\nentries = []\n"));
        Site {
            pools: (0..LANES).map(|lane| pool(lane).to_string()).collect(),
            lists: lists.chain(["[list.bulk]\nkind = \"text\"\nentries = []\n".to_owned()]).collect(),
        }
    }

    fn start(&self, folder: Option<TempDir>) -> Appliance {
        let launch = Launch::new(&self.pools).shards(2).other_tables(&self.lists);
        match folder {
            Some(folder) => launch.in_folder(folder).start(),
            None => launch.start(),
        }
    }
}

/// Replaces a list that no pool asks, until a segment of the journal is full and the next one begins.
fn fill_a_segment(appliance: &Appliance) {
    let newest = || segments(appliance).pop();
    let before = newest();
    for round in 0..100 {
        let entries: Vec<String> = (0..BULK_BYTES / 1_000).map(|n| format!("{round} {n:0>990}")).collect();
        let replace = json!({"order": "list.replace", "list": "bulk", "entries": entries});
        assert_eq!(give(appliance, &replace).not_saved, None);
        if newest() != before {
            return;
        }
    }
    panic!("no segment has begun: {:?}", segments(appliance));
}

/// Segments of the journal, the newest last.
fn segments(appliance: &Appliance) -> Vec<String> {
    let names = std::fs::read_dir(appliance.folder().join("state")).expect("it has a folder for its state");
    let names = names.map(|entry| entry.expect("it can be listed").file_name().into_string().expect("names are text"));
    let mut segments: Vec<String> = names.filter(|name| name.ends_with(".segment")).collect();
    segments.sort_unstable();
    segments
}

#[test]
fn what_was_answered_outlives_forty_kills_and_nothing_is_mixed() {
    println!("seed {SEED}");
    let mut dice = Dice::new(SEED);
    let site = Site::new();
    let mut appliance = site.start(None);
    let mut lanes: Vec<Lane> = (0..LANES).map(Lane::new).collect();
    let (mut kills, mut answered, mut newest_job) = (0, 0, appliance.status().generation);
    while kills < KILLS || answered < ORDERS {
        assert!(kills < 3 * KILLS, "only {answered} orders in {kills} rounds");
        if BULKY.contains(&kills) {
            fill_a_segment(&appliance);
        }
        let fuse = Fuse(AtomicI64::new(dice.between(40, 180) as i64));
        std::thread::scope(|scope| {
            lanes.iter_mut().for_each(|lane| {
                let (appliance, fuse) = (&appliance, &fuse);
                scope.spawn(move || lane.drive(appliance, fuse));
            });
        });
        // It is dead already.
        let folder = appliance.kill();
        appliance = site.start(Some(folder));
        kills += 1;

        let document = document_of(&appliance, None).document.parse().expect("the document is TOML");
        lanes.iter_mut().for_each(|lane| lane.compare(&document));
        let generation = appliance.status().generation;
        let jobs = lanes.iter_mut().flat_map(|lane| std::mem::take(&mut lane.answered));
        for (job, order) in jobs {
            assert!(job < generation, "kill {kills}: job {job}, and {generation} runs");
            let receipt = appliance.receipt(job);
            let told = (receipt.outcome, receipt.order.as_deref());
            assert_eq!(told, (JobOutcome::Applied, Some(&*order)), "kill {kills}: job {job}");
            // Its own number, or a newer one if another job has overtaken it.
            let after = receipt.generation_after.expect("it was applied");
            assert!((job..generation).contains(&after), "kill {kills}: job {job} made {after}, and {generation} runs");
            answered += 1;
        }
        assert!(generation > newest_job, "kill {kills}: numbers go on: {generation} after {newest_job}");
        newest_job = generation;
        assert_eq!(appliance.generations().kept[0].generation, generation);
    }
    println!("{kills} kills, {answered} orders answered");
    assert!(segments(&appliance).last().expect("it has one") > segments(&appliance).first().expect("it has one"));

    // And an end in order changes nothing of it.
    let hash = appliance.status().hash;
    let appliance = site.start(Some(appliance.stop()));
    assert_eq!(appliance.status().hash, hash);
}

/// Somebody was writing the file when the machine died: it must not decide what runs.
#[test]
fn after_a_crash_what_ran_goes_on_whatever_the_file_says() {
    let front = Target::fresh();
    let backend = Target::fresh();
    let pool = |keys: &str| Pool::new("db").listen(&front).backend_with("a", &backend, keys).to_string();
    let appliance = Appliance::start(&pool("weight = 1"));
    let receipt = give(&appliance, &json!({"order": "backend.set", "pool": "db", "backend": "a", "weight": 7}));
    let before = appliance.status();

    let appliance = Launch::new(&pool("weight = 3\nbackup = true")).in_folder(appliance.kill()).start();
    let status = appliance.status();
    assert_eq!((e2e::backend(&status, "a").weight, &status.hash), (7, &before.hash));
    assert!(status.generation > receipt.job);
    let told = appliance.wait_line("did not end in order");
    assert!(told.contains(&format!("generation {}", receipt.job)), "{told}");
    assert!(told.contains("site.toml") && told.contains("`reload`"), "{told}");
    assert!(!told.contains("  "), "{told}");

    // The file, when it is asked for.
    let reload = |drift| appliance.change(Order::Reload(Reload { drift, ..Reload::default() }));
    assert_eq!(reload(None).expect_err("an order has changed the same").code, ErrorCode::Conflict);
    let receipt = reload(Some(OnDrift::Undo)).expect("the file is right");
    assert_eq!(receipt.outcome, JobOutcome::Applied);
    let backend = e2e::backend(&appliance.status(), "a").clone();
    assert_eq!((backend.weight, backend.backup), (3, true));
    // And from then on it is the file that counts.
    let appliance = Launch::new(&pool("weight = 3\nbackup = true")).in_folder(appliance.kill()).start();
    assert_eq!(e2e::backend(&appliance.status(), "a").weight, 3);
    assert!(!appliance.output().join("\n").contains("did not end in order"), "nothing differs");
}
