//! What a folder says about the process before: what it ran, what drift is measured from, what became of its jobs.
//!
//! Owns the reading. What a start makes of it is `setup`'s affair.

use super::Base;
use super::entry::{self, Change, Document, Entry, Files, Moment, Said, read};
use super::trail::{Made, Step, Trail};
use crate::ask::Edits;
use crate::clock;
use crate::kept::{Kept, KeptGeneration};
use crate::planted::{Mistake, is};
use api::receipt::Receipt;
use api::status::ConfigSource;
use config::{Config, Source, Surroundings};
use journal::{BlobReader, Blobs, Bounds, Journal, Recovered};
use policy::GenerationId;
use policy::http::ListKind;
use std::collections::{BTreeMap, btree_map};
use std::ffi::OsString;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

/// A folder that this process has.
#[derive(Debug)]
pub struct Resumed {
    pub journal: Journal,
    /// Those that it has.
    pub bounds: Bounds,
    /// Of the newest record.
    pub number: u64,
    /// `None`: nothing has run yet, or what was written about it cannot be read.
    pub found: Option<Found>,
    /// Accounts of jobs, ascending.
    pub receipts: Vec<Receipt>,
    /// What is wrong with the folder, for the log.
    pub complaints: Vec<String>,
    /// The highest number of a job that was ever written down.
    pub last_job: u64,
}

/// What ran last.
#[derive(Debug)]
pub struct Found {
    pub base: Base,
    pub running: Arc<Config>,
    pub source: ConfigSource,
    pub generation: u64,
    /// The newest that can be gone back to, what ran last included.
    pub kept: Vec<KeptGeneration>,
    /// What the next segment tells again.
    pub trail: Trail,
    /// The process ended in order.
    pub stopped: bool,
}

/// Takes the folder and reads it.
pub fn open(folder: &Path, bounds: Bounds, shards_auto: usize, keep_receipts: usize) -> Result<Resumed, String> {
    let (journal, recovered) = Journal::open(folder, bounds).map_err(|error| error.to_string())?;
    let mut complaints = told(&recovered);
    let reader = Reader { blobs: journal.blobs(), shards_auto };
    let mut replay = Replay::new();
    let read_to =
        if is(Mistake::LastEntryForgotten) { recovered.records().count().saturating_sub(1) } else { usize::MAX };
    for record in recovered.records().take(read_to) {
        let step = match read(&record) {
            Ok(Said::Entry(entry)) => replay.step(entry, record.payload, &reader),
            Ok(Said::Receipt(_)) => Ok(()),
            Err(unreadable) => Err(unreadable),
        };
        if let Err(complaint) = step {
            // What ran until then is what is known.
            complaints.push(format!("what the journal says ends here: {complaint}"));
            break;
        }
    }
    let (last_generation, number) = (replay.generation, recovered.last_number());
    let found = replay.found();
    drop(recovered);
    let receipts = receipts(&journal, keep_receipts, &mut complaints);
    let last_job = receipts.last().map_or(0, |receipt| receipt.job).max(last_generation);
    Ok(Resumed { journal, bounds, number, found, receipts, complaints, last_job })
}

fn told(recovered: &Recovered) -> Vec<String> {
    let cut = recovered.cut.iter().map(ToString::to_string);
    cut.chain(recovered.damage.iter().map(ToString::to_string)).collect()
}

/// The newest, each as it was last.
fn receipts(journal: &Journal, keep: usize, complaints: &mut Vec<String>) -> Vec<Receipt> {
    let mut receipts = BTreeMap::new();
    for past in journal.records_before(u64::MAX) {
        let past = match past {
            Ok(past) => past,
            Err(gap) => {
                complaints.push(gap.to_string());
                continue;
            }
        };
        let record = journal::Record { kind: past.kind, number: past.number, payload: &past.payload };
        if let Ok(Said::Receipt(receipt)) = read(&record) {
            if receipt.job > NUMBER_MAX {
                complaints.push(format!("record {}: job {} is beyond all numbers", record.number, receipt.job));
                continue;
            }
            if let btree_map::Entry::Vacant(place) = receipts.entry(receipt.job) {
                place.insert(*receipt);
            }
            if receipts.len() >= keep {
                break;
            }
        }
    }
    receipts.into_values().collect()
}

/// Jobs that there may ever be, as many as are told exactly in any JSON. A higher number is no number of ours, and after it
/// would come no other.
const NUMBER_MAX: u64 = 1 << 53;

struct Reader {
    blobs: Blobs,
    shards_auto: usize,
}

impl Reader {
    fn document(&self, document: &Document) -> Result<Arc<Config>, String> {
        let name = document.source.to_string();
        let mut text = Vec::new();
        let read = self.open(&document.blob).and_then(|mut reader| reader.read_to_end(&mut text));
        read.map_err(|error| format!("{name}: {error}"))?;
        let around = Surroundings {
            source: &Remembered { reader: self, files: &document.files },
            variables: &|_| None,
            shards_auto: self.shards_auto,
        };
        let parsed = config::parse(Path::new(MAIN), &text, &around);
        parsed.map(|parsed| Arc::new(parsed.config)).map_err(|problems| format!("{name}: {problems}"))
    }

    fn edits(&self, orders: Vec<api::Edit>, files: &Files, running: &Config) -> Result<Edits, String> {
        let kind = |list: &str| running.lists.get(list).map_or(ListKind::Addresses, |list| list.kind());
        let read = Edits::read(orders, &kind, Path::new(MAIN), &Remembered { reader: self, files });
        read.map_err(|wrong| wrong.message)
    }

    fn open(&self, blob: &str) -> io::Result<BlobReader> {
        let none = || io::Error::new(io::ErrorKind::InvalidData, format!("{blob:?} names no blob"));
        self.blobs.open(entry::blob(blob).ok_or_else(none)?).map_err(io::Error::other)
    }
}

/// Where the document of the journal would stand. Paths of lists in it are as the document named them, so what they are
/// relative to does not matter.
const MAIN: &str = "/document";

/// Files of lists, as they were.
struct Remembered<'r> {
    reader: &'r Reader,
    files: &'r Files,
}

impl Source for Remembered<'_> {
    fn read(&self, path: &Path, _: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(path, 0)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn open(&self, path: &Path, _: u64) -> io::Result<Box<dyn Read>> {
        let is_it = |named: &Path| Path::new("/").join(named) == path;
        let blob = self.files.iter().find(|(named, _)| is_it(named)).map(|(_, blob)| blob);
        let blob = blob.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the journal does not have it"))?;
        Ok(Box::new(self.reader.open(blob)?))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        self.read(folder, 0).map(|_| Vec::new())
    }
}

struct Replay {
    base: Option<Base>,
    running: Option<(ConfigSource, Arc<Config>)>,
    generation: u64,
    kept: Kept,
    trail: Trail,
    stopped: bool,
}

impl Replay {
    fn new() -> Replay {
        Replay { base: None, running: None, generation: 0, kept: Kept::new(0), trail: Trail::default(), stopped: false }
    }

    fn step(&mut self, entry: Entry, record: &[u8], reader: &Reader) -> Result<(), String> {
        self.stopped = false;
        match entry {
            Entry::Base(document) => {
                let config = reader.document(&document)?;
                self.base = Some(Base { source: document.source, config });
            }
            Entry::Running { generation, since, document } => {
                let config = reader.document(&document)?;
                self.runs(generation, since, document.source, config, Made::Whole)?;
            }
            Entry::Adopted { generation, since, change, moment } => {
                let (source, running) = self.running.clone().ok_or("an order, and nothing that it was given to")?;
                let mut made = Made::Whole;
                let (source, config) = match change {
                    Change::Document(document) => {
                        let config = reader.document(&document)?;
                        (document.source, config)
                    }
                    Change::Back(to) => {
                        let kept = self.kept.find(to).ok_or_else(|| format!("generation {to} is not told"))?;
                        (ConfigSource::Generation(to), Arc::clone(&kept.config))
                    }
                    Change::Edits { orders, files } => {
                        let blobs = files.values().filter_map(|name| entry::blob(name)).collect();
                        made = Made::Again { record: record.to_vec(), blobs };
                        let edits = reader.edits(orders, &files, &running)?;
                        let edited = running.edit(&edits.made, reader.shards_auto);
                        let edited = edited.map_err(|problems| format!("generation {generation}: {problems}"))?;
                        (source, Arc::new(edited.config))
                    }
                };
                let config = at(config, moment);
                self.runs(generation, since, source, config, made)?;
            }
            Entry::Stopped { .. } => self.stopped = true,
            Entry::Started { moment, .. } => {
                self.running = self.running.take().map(|(source, config)| (source, at(config, moment)));
            }
        }
        Ok(())
    }

    fn runs(
        &mut self,
        generation: u64,
        since: String,
        source: ConfigSource,
        config: Arc<Config>,
        made: Made,
    ) -> Result<(), String> {
        if generation > NUMBER_MAX {
            return Err(format!("generation {generation} is beyond all numbers"));
        }
        self.generation = self.generation.max(generation);
        self.running = Some((source.clone(), Arc::clone(&config)));
        // As many as were kept when this was written, whatever the document says by now: what was gone back to is among them.
        let keep = config.reload.keep_generations as usize;
        let step = Step { generation, since: since.clone(), source, config: Arc::clone(&config), made };
        self.trail.push(step, keep);
        drop(self.kept.push(KeptGeneration { number: GenerationId(generation), config, since }));
        drop(self.kept.keep(keep));
        Ok(())
    }

    fn found(self) -> Option<Found> {
        let (source, running) = self.running?;
        let now = clock::seconds_now();
        let running = Arc::new(running.at(now));
        let base = self.base?;
        let base = Base { config: Arc::new(base.config.at(now)), ..base };
        let mut kept: Vec<KeptGeneration> = self.kept.iter().cloned().collect();
        kept.reverse();
        Some(Found {
            base,
            running,
            source,
            generation: self.generation,
            kept,
            trail: self.trail,
            stopped: self.stopped,
        })
    }
}

/// As it was for the orders that came later: a patch counts the entries of a list, and those that had expired were gone.
fn at(config: Arc<Config>, moment: Moment) -> Arc<Config> {
    let has_expired = config.expired_lists(moment).next().is_some();
    if has_expired { Arc::new(config.at(moment)) } else { config }
}
