//! What outlives the process: which document was in force, what orders have changed of it, and what became of each job.
//!
//! Owns the thread `sluice-journal` and what it writes. A generation is written down when the shards have adopted it, and
//! its submitter is answered when the disk has it: so what was answered is there after a crash, and a generation that
//! no shard survives is not what the next start begins with. Everything that waits is written with one sync.
//!
//! ```text
//! control ── Note ──▶ Scribe: blobs, append … append, one commit ── Event::Saved ──▶ control answers
//! start   ◀── resume: base, what ran, generations to go back to, accounts ── journal
//! ```
//!
//! Cost: an order is written as itself; a whole document as a blob, O(n).

mod entry;
mod resume;
mod trail;

pub use resume::{Found, Resumed, open};

use crate::ask::Edits;
use crate::clock;
use crate::names::Name;
use api::receipt::Receipt;
use api::status::ConfigSource;
use config::{Config, ListFile};
use entry::{Change, Document, Entry, Files, Moment, Written};
use journal::{Hash, Journal, Record};
use policy::JobId;
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use trail::{Made, Step, Trail};

/// How much there may be. Bytes on disk are at most `segments_kept` times twice `segment_bytes`, and blobs.
pub const BOUNDS: journal::Bounds = journal::Bounds {
    record_bytes_max: 64 << 20,
    commit_bytes_max: 128 << 20,
    segment_bytes: 16 << 20,
    segments_kept: 4,
    blob_bytes_max: 1 << 30,
};

/// Notes that are written with one sync.
const TOGETHER_MAX: usize = 1024;

/// What is to be written down.
#[derive(Debug)]
pub enum Note {
    /// Answered by [`Saved`].
    Adopted(Box<Adopted>),
    /// An account of a job that changed nothing, or one that has grown.
    Receipt(Arc<Receipt>),
    /// What runs is as the job wants it, and all before this is to be on the disk when it is told so. Answered by [`Saved`].
    Unchanged {
        job: JobId,
        /// Drift is measured from this one now.
        based: Option<Base>,
        receipt: Arc<Receipt>,
    },
}

/// A generation that all shards have.
#[derive(Debug)]
pub struct Adopted {
    pub job: JobId,
    pub generation: u64,
    pub since: String,
    pub made_by: MadeBy,
    /// Drift is measured from this one now.
    pub based: Option<Base>,
    /// All that runs.
    pub config: Arc<Config>,
    pub source: ConfigSource,
    pub receipt: Arc<Receipt>,
}

#[derive(Debug)]
pub enum MadeBy {
    Edits(Edits),
    Document,
    Rollback { to: u64 },
}

/// The document that drift is measured from, and where it is from.
#[derive(Clone, Debug)]
pub struct Base {
    pub source: ConfigSource,
    pub config: Arc<Config>,
}

/// What became of notes.
#[derive(Debug)]
pub struct Saved {
    pub jobs: Vec<JobId>,
    /// It is in force and not on the disk: why.
    pub failure: Option<String>,
}

/// Where notes are handed in.
#[derive(Debug)]
pub struct Durable {
    sender: mpsc::Sender<Note>,
    /// `None`: a simulation writes.
    thread: Option<JoinHandle<()>>,
}

impl Durable {
    /// Starts the thread. What runs, and its base, are written down first unless they are what was found.
    pub fn start(
        resumed: Resumed,
        base: Base,
        running: &Adopted,
        saved: impl Fn(Saved) + Send + 'static,
    ) -> io::Result<Durable> {
        let (sender, notes) = mpsc::channel();
        let mut scribe = Scribe::new(resumed, base, running);
        let thread = std::thread::Builder::new().name(Name::Journal.to_string()).spawn(move || {
            scribe.begin(std::process::id(), &saved);
            scribe.write_all(&notes, &saved);
        })?;
        Ok(Durable { sender, thread: Some(thread) })
    }

    /// Unbounded, and bounded by who writes: a job has one generation, and an account that grows a few times.
    pub fn note(&self, note: Note) {
        let noted = self.sender.send(note);
        assert!(noted.is_ok(), "the journal's thread is gone");
    }

    /// Waits until all is written, and that this was the end.
    pub fn end(self) {
        drop(self.sender);
        let _ = self.thread.map(JoinHandle::join);
    }

    /// Notes are left to whoever has the other end.
    #[cfg(feature = "sim")]
    pub fn unmanned() -> (Durable, mpsc::Receiver<Note>) {
        let (sender, notes) = mpsc::channel();
        (Durable { sender, thread: None }, notes)
    }
}

/// What the thread knows: what it takes to begin a segment.
pub(crate) struct Scribe {
    journal: Journal,
    segments_kept: usize,
    /// Of the newest record.
    number: u64,
    base: Base,
    generation: u64,
    since: String,
    source: ConfigSource,
    running: Arc<Config>,
    /// Generations that the segment tells.
    told: BTreeSet<u64>,
    /// Those of them that the next one tells too.
    trail: Trail,
    /// Blobs that each segment names, the newest last; of those of an earlier process nothing is known.
    named: VecDeque<Vec<Hash>>,
    /// The journal says already what base and what runs are.
    is_known: bool,
}

impl Scribe {
    pub(crate) fn new(resumed: Resumed, base: Base, running: &Adopted) -> Scribe {
        let Resumed { journal, bounds, number, found, .. } = resumed;
        let is_known = found.as_ref().is_some_and(|found| {
            found.running.hash() == running.config.hash()
                && found.base.config.hash() == base.config.hash()
                && found.base.source == base.source
        });
        let (kept, trail) = found.map_or_else(Default::default, |found| (found.kept, found.trail));
        Scribe {
            journal,
            segments_kept: bounds.segments_kept,
            number,
            base,
            generation: running.generation,
            since: running.since.clone(),
            source: running.source.clone(),
            running: Arc::clone(&running.config),
            told: kept.into_iter().map(|kept| kept.number.0).collect(),
            trail,
            named: VecDeque::new(),
            is_known,
        }
    }

    pub(crate) fn begin(&mut self, pid: u32, saved: &dyn Fn(Saved)) {
        let started = Entry::Started { at: clock::date(), pid, moment: moment(&self.running) };
        let written = match self.is_known && self.journal.halted().is_none() {
            true => self.append(entry::entry(&started)).and_then(|()| self.commit()),
            false => self.begin_segment(),
        };
        if let Err(failure) = written {
            saved(Saved { jobs: Vec::new(), failure: Some(failure) });
        }
    }

    fn write_all(&mut self, notes: &mpsc::Receiver<Note>, saved: &dyn Fn(Saved)) {
        while let Ok(first) = notes.recv() {
            let mut together = vec![first];
            together.extend(notes.try_iter().take(TOGETHER_MAX - 1));
            self.write_together(together, saved);
        }
        self.end(saved);
    }

    /// One after the other, with one sync.
    pub(crate) fn write_together(&mut self, together: Vec<Note>, saved: &dyn Fn(Saved)) {
        let jobs = together.iter().filter_map(|note| match note {
            Note::Adopted(adopted) => Some(adopted.job),
            Note::Unchanged { job, .. } => Some(*job),
            Note::Receipt(_) => None,
        });
        let jobs: Vec<JobId> = jobs.collect();
        let failure = self.write(together).err();
        if failure.is_some() || !jobs.is_empty() {
            saved(Saved { jobs, failure });
        }
    }

    /// The last that is written.
    pub(crate) fn end(&mut self, saved: &dyn Fn(Saved)) {
        let stopped = Entry::Stopped { at: clock::date() };
        // What could not be written until now, and no later note has brought with it.
        let begun = if self.journal.halted().is_some() { self.begin_segment() } else { Ok(()) };
        if let Err(failure) = begun.and_then(|()| self.append(entry::entry(&stopped))).and_then(|()| self.commit()) {
            saved(Saved { jobs: Vec::new(), failure: Some(failure) });
        }
    }

    /// All of it with one sync. When that fails, a new segment with what runs now is as good, but for accounts.
    fn write(&mut self, notes: Vec<Note>) -> Result<(), String> {
        let mut written = Ok(());
        for note in notes {
            // What runs is known here even if nothing can be written.
            let records = self.records(note);
            written = written.and_then(|()| records?.into_iter().try_for_each(|record| self.append(record)));
        }
        let written = written.and_then(|()| self.commit());
        match written {
            Ok(()) if !self.journal.should_begin_segment() => Ok(()),
            _ => self.begin_segment().map_err(|error| match written {
                Ok(()) => error,
                Err(first) => format!("{first}; {error}"),
            }),
        }
    }

    fn records(&mut self, note: Note) -> Result<Vec<Written>, String> {
        match note {
            Note::Receipt(receipt) => Ok(vec![entry::receipt(&receipt)]),
            Note::Unchanged { job: _, based, receipt } => {
                let based = based.map(|base| self.rebase(base)).transpose()?;
                Ok(based.into_iter().chain([entry::receipt(&receipt)]).collect())
            }
            Note::Adopted(adopted) => {
                let Adopted { job: _, generation, since, made_by, based, config, source, receipt } = *adopted;
                (self.generation, self.since) = (generation, since.clone());
                (self.running, self.source) = (config, source.clone());
                let based = based.map(|base| self.rebase(base));
                let mut blobs = None;
                let change = match made_by {
                    MadeBy::Edits(edits) => {
                        let files = self.files(edits.files.iter())?;
                        blobs = Some(files.values().filter_map(|name| entry::blob(name)).collect());
                        Change::Edits { orders: edits.orders_by_the_document(), files }
                    }
                    MadeBy::Rollback { to } if self.told.contains(&to) => Change::Back(to),
                    MadeBy::Document | MadeBy::Rollback { .. } => {
                        Change::Document(self.document(&source, &Arc::clone(&self.running))?)
                    }
                };
                self.told.insert(generation);
                let moment = moment(&self.running);
                let adopted = entry::entry(&Entry::Adopted { generation, since, change, moment });
                self.follow(blobs.map_or(Made::Whole, |blobs| Made::again(&adopted, blobs)));
                Ok([Some(adopted), based.transpose()?, Some(entry::receipt(&receipt))].into_iter().flatten().collect())
            }
        }
    }

    /// What runs now goes on the trail.
    fn follow(&mut self, made: Made) {
        let keep = self.running.reload.keep_generations as usize;
        let (since, source, config) = (self.since.clone(), self.source.clone(), Arc::clone(&self.running));
        self.trail.push(Step { generation: self.generation, since, source, config, made }, keep);
    }

    fn rebase(&mut self, base: Base) -> Result<Written, String> {
        let made = self.document(&base.source, &base.config);
        self.base = base;
        Ok(entry::entry(&Entry::Base(made?)))
    }

    fn append(&mut self, written: Written) -> Result<(), String> {
        self.number += 1;
        let record = Record { kind: written.kind, number: self.number, payload: &written.payload };
        self.journal.append(record).map_err(|error| error.to_string())
    }

    fn commit(&mut self) -> Result<(), String> {
        self.journal.commit().map_err(|error| error.to_string())
    }

    /// Puts a document where records can name it.
    fn document(&mut self, source: &ConfigSource, config: &Config) -> Result<Document, String> {
        let files = self.files(config.lists.values().filter_map(|list| list.file()))?;
        let blob = self.put(&config.to_whole_toml())?;
        Ok(Document::new(source.clone(), blob, config, files))
    }

    /// Puts what was read of files where records can name it: the files may be others by then.
    fn files<'f>(&mut self, files: impl Iterator<Item = &'f ListFile>) -> Result<Files, String> {
        files.map(|file| Ok((file.path.clone(), entry::named(self.put(&file.text())?)))).collect()
    }

    fn put(&mut self, text: &str) -> Result<Hash, String> {
        let blob = journal::Blobs::hash(text.as_bytes());
        self.journal.blobs().put(blob, text.as_bytes()).map_err(|error| error.to_string())?;
        if let Some(named) = self.named.back_mut() {
            named.push(blob);
        }
        Ok(blob)
    }

    /// Writes down what it takes to begin with, so that all before is history: what drift is measured from, and the trail.
    pub(crate) fn begin_segment(&mut self) -> Result<(), String> {
        self.journal.discard();
        self.named.push_back(Vec::new());
        if self.trail.newest() != Some(self.generation) {
            self.follow(Made::Whole);
        }
        let base = self.base.clone();
        let mut snapshot = vec![entry::entry(&Entry::Base(self.document(&base.source, &base.config)?))];
        let trail: Vec<Step> = self.trail.steps().cloned().collect();
        for (ix, Step { generation, since, source, config, made }) in trail.iter().enumerate() {
            let (generation, since) = (*generation, since.clone());
            snapshot.push(match made {
                _ if ix == 0 => {
                    let document = self.document(source, config)?;
                    entry::entry(&Entry::Running { generation, since, document })
                }
                Made::Whole => {
                    let change = Change::Document(self.document(source, config)?);
                    entry::entry(&Entry::Adopted { generation, since, change, moment: moment(config) })
                }
                Made::Again { record, blobs } => {
                    self.named.back_mut().expect("pushed above").extend(blobs);
                    entry::again(record.clone())
                }
            });
        }
        self.number += 1;
        let number = self.number;
        let records = snapshot.iter().map(|written| Record { kind: written.kind, number, payload: &written.payload });
        self.journal.begin_segment(records).map_err(|error| error.to_string())?;
        self.told = trail.iter().map(|step| step.generation).collect();
        if self.named.len() > self.segments_kept {
            self.named.pop_front();
            let named: BTreeSet<&Hash> = self.named.iter().flatten().collect();
            self.journal.blobs().retain(|blob| named.contains(blob)).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// Now, or before: a moment when nothing had expired that this still has.
fn moment(config: &Config) -> Moment {
    let now = clock::seconds_now();
    config.next_expiry().map_or(now, |next| now.min(next.saturating_sub(1)))
}
