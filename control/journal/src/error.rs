//! What can go wrong, grouped by what the caller does next.
//!
//! Owns the words for it. Nothing here decides anything.

use crate::segment::FORMAT;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What was being done with a file when the system refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Create,
    Lock,
    List,
    Open,
    Read,
    Write,
    Sync,
    /// Cutting off the torn end of a segment.
    Cut,
    Rename,
    Remove,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Create => "create",
            Phase::Lock => "lock",
            Phase::List => "list",
            Phase::Open => "open",
            Phase::Read => "read",
            Phase::Write => "write",
            Phase::Sync => "sync",
            Phase::Cut => "cut",
            Phase::Rename => "rename",
            Phase::Remove => "remove",
        })
    }
}

/// The system would not.
#[derive(Clone, Debug)]
pub struct Failure {
    pub phase: Phase,
    pub path: PathBuf,
    /// Shared, because a failure that halts the journal is told again and again.
    pub error: Arc<io::Error>,
}

impl Failure {
    pub(crate) fn of(phase: Phase, path: &Path) -> impl FnOnce(io::Error) -> Failure {
        move |error| Failure { phase, path: path.to_owned(), error: Arc::new(error) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}: {}", self.phase, self.path.display(), self.error)
    }
}

impl std::error::Error for Failure {}

/// The journal cannot be used at all; nothing was changed.
#[derive(Clone, Debug)]
pub enum OpenError {
    /// Another process, or another journal of this one, has the folder.
    Held {
        folder: PathBuf,
        /// None for a moment, while the holder is only just starting.
        pid: Option<u32>,
    },
    /// The newest segment was written by another version of the program.
    Format {
        path: PathBuf,
        found: u32,
    },
    Failed(Failure),
}

impl From<Failure> for OpenError {
    fn from(failure: Failure) -> OpenError {
        OpenError::Failed(failure)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Held { folder, pid: Some(pid) } => {
                write!(f, "{} is in use by process {pid}; one journal has a folder for itself", folder.display())
            }
            OpenError::Held { folder, pid: None } => {
                write!(f, "{} is in use by another process; one journal has a folder for itself", folder.display())
            }
            OpenError::Format { path, found } => write!(
                f,
                "{} has format {found}; accepted is format {FORMAT}: use the version that wrote it, or another folder",
                path.display()
            ),
            OpenError::Failed(failure) => failure.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {}

/// Why nothing can be committed until a new segment has begun.
#[derive(Clone, Debug)]
pub enum Halt {
    /// There is no segment yet.
    Empty,
    /// What was recovered stands in a damaged segment, or in one before it.
    Damaged,
    /// Writing failed, so the end of the segment is not known for certain.
    Failed(Failure),
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Halt::Empty => f.write_str("the journal has no segment yet"),
            Halt::Damaged => f.write_str("the journal's newest segment is damaged"),
            Halt::Failed(failure) => failure.fmt(f),
        }?;
        f.write_str("; a new segment must begin first")
    }
}

impl std::error::Error for Halt {}

/// The record was not taken; those before it are.
#[derive(Clone, Debug)]
pub enum AppendError {
    Halted(Halt),
    /// Unit: bytes.
    RecordTooLarge {
        found: usize,
        bound: usize,
    },
    /// Commit first. Unit: bytes.
    CommitTooLarge {
        found: usize,
        bound: usize,
    },
    Descends {
        found: u64,
        last: u64,
    },
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AppendError::Halted(halt) => halt.fmt(f),
            AppendError::RecordTooLarge { found, bound } => {
                write!(f, "the record has {found} bytes; accepted are at most {bound}")
            }
            AppendError::CommitTooLarge { found, bound } => {
                write!(f, "the commit would have {found} bytes; accepted are at most {bound}")
            }
            AppendError::Descends { found, last } => {
                write!(f, "the record has number {found}; accepted is {last} or more, as the record before has it")
            }
        }
    }
}

impl std::error::Error for AppendError {}

/// Nothing of the commit may be told to anybody. What was appended is forgotten.
#[derive(Clone, Debug)]
pub enum CommitError {
    Halted(Halt),
    /// The commit is in doubt, and the journal is halted from now on.
    Failed(Failure),
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommitError::Halted(halt) => halt.fmt(f),
            CommitError::Failed(failure) => failure.fmt(f),
        }
    }
}

impl std::error::Error for CommitError {}

/// No new segment has begun.
#[derive(Clone, Debug)]
pub enum BeginError {
    /// Something was appended: commit or discard it first.
    Uncommitted,
    /// A record of the snapshot was not taken. Never `Halted`.
    Snapshot(AppendError),
    /// If it has no name yet nothing has changed, and the segment before goes on. If not even that is certain
    /// (phases [`Phase::Rename`], [`Phase::Sync`] of the folder), the journal is halted. Trying again is safe.
    Failed(Failure),
}

impl fmt::Display for BeginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BeginError::Uncommitted => f.write_str("records are appended that are not committed"),
            BeginError::Snapshot(error) => write!(f, "the snapshot: {error}"),
            BeginError::Failed(failure) => failure.fmt(f),
        }
    }
}

impl std::error::Error for BeginError {}
