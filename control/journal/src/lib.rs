//! What outlives the process: records in the order of their commits, and blobs by their content.
//!
//! Owns bytes on disk and what is certain about them after a kill at any instruction, a power cut or a full
//! disk. What a record means is its writer's affair: here it is a kind, a number and a payload. Knows no other
//! crate of the project, reads no clock, opens no socket and keeps no thread.
//!
//! ```text
//! folder/
//!   lock                            whoever has this folder holds a lock on it; its pid is inside
//!   00000000000000000007.segment    older: history
//!   00000000000000000008.segment    newest: what counts
//!   blobs/<32 hex digits>           mass data, named by the hash of its content
//!
//! a segment:   head │ group: the snapshot │ group │ group │ …
//! a group:     head │ record │ record │ …          what one commit wrote; all of it counts, or nothing
//! ```
//!
//! **What a commit promises.** [`Journal::append`] only collects. [`Journal::commit`] writes what was collected as
//! one group, with one write and one `fdatasync`. If it returns `Ok`, the group survives whatever happens to
//! process and power afterwards; only then may anybody be told. A group that was being written when the end came
//! is found whole or not at all.
//!
//! **What a failed commit leaves.** A kernel that could not write a page may forget that it should, so a sync
//! that failed is never tried again on the same file. The group is *in doubt*: it is cut off again as well as can
//! be, but a restart may still find it, whole. The journal takes no further records ([`Halt`]) until
//! [`Journal::begin_segment`] has written everything that counts to a new file, which also settles the doubt: it
//! names where the older segment ends, so the group is neither recovered nor history.
//!
//! **What damage is.** A group is written only after the one before it was synced. So a group that is not whole,
//! with nothing behind it, is the end of a crash: it is cut off and told as [`Cut`]. With another group behind it, it was
//! once whole, and somebody else has changed it: that is told as [`Damage`], what stands before it counts, and the file
//! is left as it is. One case looks like the other and cannot be told from it: damage to the very last group.
//!
//! **What it does not help against.** A disk that says it has written when it has not; a change of the bytes by
//! somebody who can compute checksums. The checksum of a group has 32 bits, the hash of a blob 128.

#![forbid(unsafe_code)]

mod blobs;
mod disk;
mod error;
#[cfg(feature = "faults")]
pub mod faults;
mod folder;
mod group;
mod history;
mod journal;
mod recovery;
pub mod segment;

pub use blobs::{BlobError, BlobReader, Blobs, Hash, Put};
pub use error::{AppendError, BeginError, CommitError, Failure, Halt, OpenError, Phase};
pub use group::{Flaw, Record, Records};
pub use history::{Before, Gap, Past};
pub use journal::{Begun, Journal};
pub use recovery::{Cut, Damage, Recovered};

/// How much there may be of everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Payload of one record. Unit: bytes.
    pub record_bytes_max: usize,
    /// One group with all its heads, so also a snapshot; this much is held in memory. Unit: bytes. At least
    /// [`Bounds::COMMIT_OVERHEAD`] more than a record, at most 4 GiB − 1.
    pub commit_bytes_max: usize,
    /// A new segment is due when this much, or as much as the snapshot has, was written behind the snapshot.
    /// Unit: bytes.
    pub segment_bytes: u64,
    /// Segments that are left when a new one has begun, itself counted. At least 1; from 2 on there is one to fall
    /// back to when the newest is damaged.
    pub segments_kept: usize,
    /// One blob. Unit: bytes.
    pub blob_bytes_max: u64,
}

impl Bounds {
    /// What a commit of one record has beyond the record's payload. Unit: bytes.
    pub const COMMIT_OVERHEAD: usize = group::HEAD_BYTES + group::RECORD_HEAD_BYTES;

    /// They come from code or a checked configuration, so bounds that contradict each other are our mistake.
    fn assert_sound(&self) {
        let needed = self.record_bytes_max.checked_add(Bounds::COMMIT_OVERHEAD);
        assert!(needed.is_some_and(|needed| needed <= self.commit_bytes_max), "a record fits no commit: {self:?}");
        assert!(u32::try_from(self.commit_bytes_max).is_ok(), "a commit's length is told in 32 bits: {self:?}");
        assert!(self.segments_kept >= 1, "the segment in use is one that is kept: {self:?}");
    }
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            record_bytes_max: 256 << 20,
            commit_bytes_max: 272 << 20,
            segment_bytes: 64 << 20,
            segments_kept: 4,
            blob_bytes_max: 1 << 30,
        }
    }
}
