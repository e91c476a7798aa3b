//! What is written down, as records of the journal.
//!
//! Owns their form: JSON, because what reads them may be another version. What they mean for a start is decided in
//! `resume`.

use api::receipt::Receipt;
use api::status::ConfigSource;
use config::Config;
use journal::{Hash, Record};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Kinds of records.
const ENTRY: u8 = 1;
const RECEIPT: u8 = 2;

/// What the state of things follows from, in the order in which it happened.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entry {
    /// The document that drift is measured from.
    Base(Document),
    /// What ran when the segment began.
    Running { generation: u64, since: String, document: Document },
    /// A generation that the shards have adopted.
    Adopted {
        generation: u64,
        since: String,
        change: Change,
        #[serde(default)]
        moment: Moment,
    },
    /// The appliance has ended in order.
    Stopped { at: String },
    /// It has begun again; what it runs follows as `Running`, if it is not what ran.
    Started {
        at: String,
        pid: u32,
        #[serde(default)]
        moment: Moment,
    },
}

/// By when all had expired of the lists that was gone, and nothing that was still there. Unit: seconds since 1970, UTC.
pub type Moment = u64;

/// What a generation was made by.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Typed orders and patches, on top of what ran. They call files as the document would.
    Edits {
        orders: Vec<api::Edit>,
        #[serde(default, skip_serializing_if = "Files::is_empty")]
        files: Files,
    },
    /// All that ran from then on.
    Document(Document),
    /// What this generation was, which the same segment tells.
    Back(u64),
}

/// A whole document, kept as a blob.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Document {
    pub source: ConfigSource,
    /// Of the blob. It holds the canonical text.
    pub blob: String,
    /// Of the configuration.
    pub hash: String,
    #[serde(default, skip_serializing_if = "Files::is_empty")]
    pub files: Files,
}

/// Files of lists as they were read: by the paths that name them, the blobs that hold their entries.
pub type Files = BTreeMap<PathBuf, String>;

impl Document {
    pub fn new(source: ConfigSource, blob: Hash, config: &Config, files: Files) -> Document {
        Document { source, blob: named(blob), hash: config.hash().to_string(), files }
    }
}

/// A blob's name.
pub fn named(blob: Hash) -> String {
    format!("{:032x}", u128::from_be_bytes(blob))
}

/// The blob that has this name. `None`: it is no name.
pub fn blob(name: &str) -> Option<Hash> {
    u128::from_str_radix(name, 16).ok().map(u128::to_be_bytes)
}

/// A record's payload, and its kind.
pub struct Written {
    pub kind: u8,
    pub payload: Vec<u8>,
}

pub fn entry(entry: &Entry) -> Written {
    Written { kind: ENTRY, payload: serde_json::to_vec(entry).expect("it has names for keys") }
}

/// An entry that was written before.
pub fn again(payload: Vec<u8>) -> Written {
    Written { kind: ENTRY, payload }
}

pub fn receipt(receipt: &Receipt) -> Written {
    Written { kind: RECEIPT, payload: serde_json::to_vec(receipt).expect("it has names for keys") }
}

/// What a record says.
#[derive(Debug)]
pub enum Said {
    Entry(Entry),
    Receipt(Box<Receipt>),
}

/// Why a record says nothing: it is of a newer version, or not ours.
pub fn read(record: &Record<'_>) -> Result<Said, String> {
    let wrong = |error: serde_json::Error| format!("record {}: {error}", record.number);
    match record.kind {
        ENTRY => serde_json::from_slice(record.payload).map(Said::Entry).map_err(wrong),
        RECEIPT => serde_json::from_slice(record.payload).map(Said::Receipt).map_err(wrong),
        kind => Err(format!("record {}: its kind {kind} is not known", record.number)),
    }
}
