//! The real control side under a seed: submitters, compiler, journal, shards and the disk, one small step at a time.
//!
//! Links what `sluice-control`, `sluice-compile`, `sluice-journal` and the readers of documents run, through
//! [`agent::sim`], and the shards' end of the conversation. Chance decides who does what next, what is wanted, who refuses,
//! who is slow, at which byte the disk fails and when the process dies and begins again. A witness who computes what should
//! run from what was said judges every step; at the end the load ceases, everything must come to rest, and the next
//! process must begin with what ran.

mod model;
mod shard;
mod wishes;
mod witness;

use crate::dice::Dice;
use agent::sim::{Bounds, Delivered, Machine, Submission, say_time};
use config::Config;
use journal::faults::{self, Fate};
use model::{Ask, State};
use policy::ShardId;
use shard::Shard;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use wishes::Wishes;
use witness::Witness;

/// Small, so that segments begin every few commits.
const BOUNDS: Bounds = Bounds {
    record_bytes_max: 1 << 20,
    commit_bytes_max: 4 << 20,
    segment_bytes: 6 << 10,
    segments_kept: 2,
    blob_bytes_max: 1 << 20,
};

/// Submissions under way at most: a burst, and some behind it.
const UNDER_WAY_MAX: usize = 12;

/// Steps in which everything must have come to rest: an address that is left is watched for a while.
const REST_MAX: usize = 4_000;

/// What goes wrong in this world, in percent of the occasions; and what has gone wrong.
pub struct Trouble {
    pub refusals: u32,
    stalls: u32,
    deaths: u32,
    bind_failures: u32,
    crashes: u32,
    disk_failures: u32,
    /// Someone has refused, or has died.
    pub refused: bool,
    /// Somebody was slow.
    pub was_slow: bool,
    pub disk_failed: bool,
    pub stops: bool,
}

impl Trouble {
    /// In some worlds all is well: then nobody may fail without a reason of his own.
    fn any(dice: &mut Dice) -> Trouble {
        let mut some = |most: usize| if dice.chance(40) { dice.between(1, most) as u32 } else { 0 };
        Trouble {
            refusals: some(20),
            stalls: some(3),
            deaths: some(1),
            bind_failures: some(30),
            crashes: some(2),
            disk_failures: some(3),
            refused: false,
            was_slow: false,
            disk_failed: false,
            stops: false,
        }
    }
}

pub struct Site {
    pub step: u64,
    pub last: Vec<String>,
    pub hash: u64,
    dice: Dice,
    now: Duration,
    shards: usize,
    folder: tempfile::TempDir,
    /// What stands in the document's file.
    file: String,
    trouble: Trouble,
    pub witness: Witness,
    life: Option<Life>,
    /// Read, and not handed in.
    drafts: Vec<(Ask, Option<u64>, String, Submission)>,
}

/// One process.
struct Life {
    machine: Machine,
    shards: Vec<Shard>,
}

impl Site {
    pub fn new(seed: u64) -> Site {
        let mut dice = Dice::new(seed ^ 0x5106_ce9a_0000_0000);
        let shards = dice.between(1, 3);
        let trouble = Trouble::any(&mut dice);
        let folder = folder();
        Site {
            step: 0,
            last: Vec::new(),
            hash: 0xcbf2_9ce4_8422_2325,
            dice,
            now: Duration::from_secs(1),
            shards,
            folder,
            file: String::new(),
            trouble,
            witness: Witness::new(shards),
            life: None,
            drafts: Vec::new(),
        }
    }

    pub fn run(&mut self) {
        say_time(Some(self.now));
        faults::plan(Fate::Well);
        self.write_file();
        let config = self.sound_file();
        self.start(&[State { generation: 0, base: config.clone(), config, is_whole: true }]);
        for _ in 0..self.dice.between(150, 500) {
            self.step += 1;
            self.take_step();
        }
        self.rest();
        let expected = self.witness.survivable();
        // All is written now, so nothing less than the last will do, unless the disk has failed.
        let least = if self.trouble.disk_failed { 0 } else { expected.len() - 1 };
        self.crash();
        self.sound_file();
        self.start(&expected[least..]);
        self.rest();
        self.end_in_order();
    }

    fn note(&mut self, what: String) {
        // FNV-1a: two runs with the same hash have had the same events.
        self.hash =
            what.bytes().fold(self.hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        if self.last.len() == EVENTS_SHOWN {
            self.last.remove(0);
        }
        self.last.push(format!("{:>5} {:>7} ms  {what}", self.step, self.now.as_millis()));
    }

    fn document(&self) -> PathBuf {
        self.folder.path().join("site.toml")
    }

    fn write_file(&mut self) {
        let state = self.folder.path().join("state");
        let wishes = Wishes { state: &state, shards: self.shards, file: "", heard_of: &[] };
        self.file = wishes.document(&mut self.dice);
        std::fs::write(self.document(), &self.file).expect("a file can be written");
    }

    /// A process begins; it may begin with any of these.
    fn start(&mut self, expected: &[State]) {
        let (machine, told) = Machine::start(&self.document(), self.shards, BOUNDS)
            .unwrap_or_else(|error| panic!("it does not begin: {error}"));
        let runs = machine.runs();
        self.note(format!("a process begins with generation {} and says {} things", runs.generation, told.len()));
        self.witness.begins(&machine, expected);
        let shards = (0..self.shards as u16).map(|id| Shard::new(ShardId(id))).collect();
        self.life = Some(Life { machine, shards });
        (self.trouble.refused, self.trouble.was_slow, self.trouble.stops) = (false, false, false);
    }

    fn life(&mut self) -> &mut Life {
        self.life.as_mut().expect("a process lives")
    }

    fn take_step(&mut self) {
        match self.dice.below(100) {
            0..=11 => self.want(),
            12..=19 => self.hand_in(),
            20..=39 => self.deliver(),
            40..=49 => self.work(),
            50..=57 => self.write(),
            58..=59 => drop(self.life().machine.forget()),
            60..=79 => self.shards_act(),
            80..=84 => self.traffic(),
            85..=92 => self.time_passes(),
            93 => self.write_file_anew(),
            94..=96 => self.trouble(),
            97 => self.disk_trouble(),
            98 if self.dice.chance(self.trouble.crashes * 15) => self.fate(Fate::Dead),
            99 if self.dice.chance(self.trouble.crashes * 10) => return self.end_and_begin(),
            _ => {}
        }
        self.look();
    }

    fn look(&mut self) {
        if faults::fate() == Fate::Dead {
            self.witness.count("crashes");
            let expected = self.after_a_crash();
            self.crash();
            self.sound_file();
            return self.start(&expected);
        }
        let life = self.life.as_ref().expect("a process lives");
        life.machine.check_invariants();
        self.witness.look(&life.machine, &self.trouble);
    }

    /// A step that was written whole before the end came may have made a state that nobody has looked at yet.
    fn after_a_crash(&mut self) -> Vec<State> {
        let life = self.life.as_ref().expect("a process lives");
        self.witness.look(&life.machine, &self.trouble);
        self.witness.survivable()
    }

    fn want(&mut self) {
        if self.witness.records.len() + self.drafts.len() >= UNDER_WAY_MAX {
            return;
        }
        let state = self.folder.path().join("state");
        let heard_of = self.witness.heard_of();
        let wishes = Wishes { state: &state, shards: self.shards, file: &self.file, heard_of: &heard_of };
        let wish = wishes.any(&mut self.dice);
        let machine = &self.life.as_ref().expect("a process lives").machine;
        let before = machine.kept().get(1).map(|(number, _)| *number);
        let ask = self.witness.model.read(&wish.meant, before);
        match machine.read(&wish.wanted) {
            Ok(submission) => {
                let ask = ask.expect("only what is not kept cannot be read");
                self.drafts.push((ask, wish.if_generation(), wish.told(&state), submission));
                if self.dice.chance(70) {
                    self.hand_in();
                }
            }
            Err(failure) => assert_eq!(failure.code, api::ErrorCode::NotFound, "{failure:?}"),
        }
    }

    fn hand_in(&mut self) {
        if self.drafts.is_empty() {
            return;
        }
        let (ask, if_generation, told, submission) = self.drafts.remove(self.dice.below(self.drafts.len()));
        let ticket = self.life().machine.hand_in(submission);
        self.witness.submitted(ask, if_generation, told, ticket);
    }

    fn deliver(&mut self) {
        match self.life().machine.deliver() {
            Some(Delivered::Submitted { job }) => {
                let told = self.witness.is_job(job);
                self.note(format!("job {job} has come: {told}"));
            }
            Some(Delivered::Answer) => self.note("control is answered".into()),
            None => {}
        }
    }

    fn work(&mut self) {
        let fails = self.dice.chance(self.trouble.bind_failures);
        self.trouble.refused |= fails;
        if self.life().machine.work(fails) {
            self.note("the compiler works".into());
        }
    }

    fn write(&mut self) {
        let together = if self.dice.chance(50) { 1 } else { 100 };
        if self.life().machine.write(together) {
            self.note(format!("the journal writes, and the disk is {:?}", faults::fate()));
        }
    }

    fn shards_act(&mut self) {
        let which = self.dice.below(self.shards);
        let Site { life, dice, trouble, .. } = self;
        let Life { machine, shards } = life.as_mut().expect("a process lives");
        let did = match dice.chance(50) {
            true => shards[which].obey(machine, dice, trouble),
            false => shards[which].tell(machine),
        };
        if did {
            self.note(format!("shard {which} acts"));
        }
    }

    fn traffic(&mut self) {
        let which = self.dice.below(self.shards);
        let Site { life, dice, .. } = self;
        life.as_mut().expect("a process lives").shards[which].traffic(dice);
    }

    /// To the next deadline, or for a while.
    fn time_passes(&mut self) {
        let next =
            self.life().machine.next_tick().map(|tick| Duration::from_millis(tick.0)).filter(|at| *at > self.now);
        let within = Duration::from_secs(3);
        match next.filter(|at| *at - self.now < within) {
            Some(at) if self.dice.chance(60) => self.now = at,
            _ => self.now += Duration::from_millis(self.dice.between(1, 60) as u64),
        }
        say_time(Some(self.now));
        // Who has not acted by a deadline was slow.
        self.trouble.was_slow = true;
        self.life().machine.on_tick();
    }

    fn write_file_anew(&mut self) {
        if self.dice.chance(30) {
            self.write_file();
        }
    }

    fn trouble(&mut self) {
        let which = self.dice.below(self.shards);
        if self.dice.chance(self.trouble.stalls * 10) {
            let shard = &mut self.life().shards[which];
            shard.is_stalled = !shard.is_stalled;
        } else if self.life().shards[which].is_stalled && self.dice.chance(50) {
            self.life().shards[which].is_stalled = false;
        } else if self.dice.chance(self.trouble.deaths * 5) {
            self.trouble.refused = true;
            self.life().shards[which].die();
            self.note(format!("shard {which} dies"));
        }
    }

    fn disk_trouble(&mut self) {
        let (after, permille) = (self.dice.below(12) as u32, self.dice.below(1001) as u32);
        if self.dice.chance(self.trouble.disk_failures * 10) {
            self.trouble.disk_failed = true;
            let times = if self.dice.chance(50) { 1 } else { self.dice.between(2, 8) as u32 };
            self.fate(Fate::Fails { after, times, permille });
        } else if self.dice.chance(self.trouble.crashes * 20) {
            self.fate(Fate::Dies { after, permille });
        }
    }

    fn fate(&mut self, fate: Fate) {
        self.note(format!("the disk: {fate:?}"));
        faults::plan(fate);
    }

    /// The process is gone, with all that it had in memory.
    fn crash(&mut self) {
        faults::plan(Fate::Dead);
        self.drafts.clear();
        self.witness.records.clear();
        self.life = None;
        faults::plan(Fate::Well);
        self.note("the process has died".into());
    }

    /// Nobody wants anything any more, and nobody is slow: then nothing is left to do.
    fn rest(&mut self) {
        faults::plan(Fate::Well);
        self.trouble.refusals = 0;
        let mut unrest = Vec::new();
        for _ in 0..REST_MAX {
            self.step += 1;
            while !self.drafts.is_empty() {
                self.hand_in();
            }
            let Life { shards, .. } = self.life();
            for shard in shards.iter_mut() {
                shard.is_stalled = false;
                shard.empty();
            }
            self.all_act();
            let life = self.life.as_ref().expect("a process lives");
            unrest = life.machine.unrest();
            if self.witness.records.is_empty() && unrest.is_empty() && life.shards.iter().all(Shard::is_quiet) {
                return self.check_shards();
            }
            self.now += Duration::from_millis(500);
            say_time(Some(self.now));
            self.life().machine.on_tick();
            self.look();
        }
        let jobs: Vec<Option<u64>> = self.witness.records.iter().map(|record| record.job).collect();
        panic!("it does not come to rest: {unrest:?}, and nobody answers {jobs:?}");
    }

    /// Whoever can do something does it, until nobody can.
    fn all_act(&mut self) {
        loop {
            let mut did = false;
            while let Some(delivered) = self.life().machine.deliver() {
                if let Delivered::Submitted { job } = delivered {
                    let told = self.witness.is_job(job);
                    self.note(format!("job {job} has come: {told}"));
                }
                did = true;
                self.look();
            }
            let Site { life, dice, trouble, .. } = self;
            let Life { machine, shards } = life.as_mut().expect("a process lives");
            did |= machine.work(false) | machine.write(100) | machine.forget();
            for shard in shards {
                did |= shard.obey(machine, dice, trouble) | shard.tell(machine);
            }
            self.look();
            if !did {
                return;
            }
        }
    }

    /// Every shard serves, and runs what control says that it runs.
    fn check_shards(&self) {
        let life = self.life.as_ref().expect("a process lives");
        for shard in &life.shards {
            assert!(life.machine.live().contains(shard.id), "shard {} does not serve", shard.id);
            for (slot, part) in life.machine.roots() {
                let runs = shard.adopter.pool(slot).map(|pool| pool.part);
                assert_eq!(runs, Some(part), "shard {} runs something else in slot {slot}", shard.id);
            }
        }
    }

    /// The appliance is stopped, and started again with the file as it is by then.
    fn end_and_begin(&mut self) {
        if faults::fate() != Fate::Well {
            return;
        }
        self.witness.count("ends in order");
        self.end_in_order();
        let last = self.witness.model.now().clone();
        let file = self.sound_file();
        let expected = match same(&file, &last.base) {
            true => last,
            false => State { base: file.clone(), config: file, ..last },
        };
        self.start(&[expected]);
    }

    /// The file, written anew until it is in order: with another no process begins.
    fn sound_file(&mut self) -> Arc<Config> {
        loop {
            if let Some(config) = self.witness.model.parse(&self.file) {
                return config;
            }
            self.write_file();
        }
    }

    fn end_in_order(&mut self) {
        self.trouble.stops = true;
        self.note("it stops".into());
        self.drafts.clear();
        self.life().machine.stop(Duration::from_millis(100));
        for _ in 0..REST_MAX {
            self.all_act();
            if self.life().machine.has_stopped() {
                break;
            }
            self.now += Duration::from_millis(50);
            say_time(Some(self.now));
            self.life().shards.iter_mut().for_each(|shard| shard.is_stalled = false);
            self.life().machine.on_tick();
            self.look();
        }
        let life = self.life.take().expect("a process lives");
        assert!(life.machine.has_stopped(), "it does not stop");
        let records = std::mem::take(&mut self.witness.records);
        life.machine.end();
        for record in records {
            assert!(record.ticket.told().is_some(), "it has stopped, and nobody has answered job {:?}", record.job);
        }
    }
}

/// In memory where there is such a place: nothing that a site writes outlives it.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    folder.expect("a folder can be made")
}

/// Events that a failure shows.
const EVENTS_SHOWN: usize = 60;

fn same(one: &Config, other: &Config) -> bool {
    one.hash() == other.hash()
}
