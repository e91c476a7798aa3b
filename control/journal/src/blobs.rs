//! Mass data by the hash of its content.
//!
//! Owns the files in `blobs/` and the proof that what is read is what was put. Does not know which record names
//! a blob: whoever commits such a record has put the blob before, and says what is still named when it cleans up.

use crate::disk;
use crate::error::{Failure, Phase};
use crate::folder::{Folder, Unfinished, names, sync_folder};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

/// The first 16 bytes of BLAKE3.
pub type Hash = [u8; 16];

/// Read and hashed at a time. Unit: bytes.
const PIECE_BYTES: usize = 64 << 10;

/// The blobs of one folder. The folder is held as long as one of these is.
#[derive(Clone, Debug)]
pub struct Blobs {
    folder: Arc<Folder>,
    bytes_max: u64,
}

/// What a put came to. Either way the blob is on the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Put {
    Written,
    /// It was there, and is what it should be. The source was not read.
    Present,
}

#[derive(Debug)]
pub enum BlobError {
    Absent(Hash),
    /// What was given has another hash. Nothing was kept.
    OtherContent {
        wanted: Hash,
        found: Hash,
    },
    /// Unit: bytes.
    TooLarge {
        bound: u64,
    },
    /// What was to be put could not be read.
    Source(io::Error),
    Failed(Failure),
}

impl fmt::Display for BlobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BlobError::Absent(hash) => write!(f, "there is no blob {}", hex(hash)),
            BlobError::OtherContent { wanted, found } => {
                write!(f, "the content has the hash {}; accepted is only what has {}", hex(found), hex(wanted))
            }
            BlobError::TooLarge { bound } => {
                write!(f, "the blob is larger than {bound} bytes, which is what is accepted")
            }
            BlobError::Source(error) => write!(f, "cannot read what is to be a blob: {error}"),
            BlobError::Failed(failure) => failure.fmt(f),
        }
    }
}

impl std::error::Error for BlobError {}

impl From<Failure> for BlobError {
    fn from(failure: Failure) -> BlobError {
        BlobError::Failed(failure)
    }
}

impl Blobs {
    pub(crate) fn new(folder: Arc<Folder>, bytes_max: u64) -> Blobs {
        Blobs { folder, bytes_max }
    }

    /// What names this content.
    pub fn hash(content: &[u8]) -> Hash {
        shortened(&blake3::Hasher::new().update(content).finalize())
    }

    /// Puts a blob on the disk, for good when this returns `Ok`. A blob that is there is read through first, and
    /// replaced if it is not what it should be.
    ///
    /// At most [`crate::Bounds::blob_bytes_max`] are read of the source, and a piece at a time is held.
    pub fn put(&self, hash: Hash, mut source: impl Read) -> Result<Put, BlobError> {
        if self.is_sound(hash)? {
            // Whoever put it may have been killed between its name and the sync of the folder.
            sync_folder(&self.folder.blobs())?;
            return Ok(Put::Present);
        }
        let mut file = Unfinished::create(self.path(hash))?;
        let mut piece = vec![0; PIECE_BYTES];
        let (mut hasher, mut total) = (blake3::Hasher::new(), 0);
        loop {
            let length = match source.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(BlobError::Source(error)),
            };
            total += length as u64;
            if total > self.bytes_max {
                return Err(BlobError::TooLarge { bound: self.bytes_max });
            }
            hasher.update(&piece[..length]);
            file.write(&piece[..length])?;
        }
        let found = shortened(&hasher.finalize());
        if found != hash {
            return Err(BlobError::OtherContent { wanted: hash, found });
        }
        file.sync()?;
        file.finish()?;
        Ok(Put::Written)
    }

    /// Opens a blob. Its content counts once the reader has said its end: see [`BlobReader`].
    pub fn open(&self, hash: Hash) -> Result<BlobReader, BlobError> {
        let path = self.path(hash);
        match File::open(&path) {
            Ok(file) => Ok(BlobReader { file, hash, hasher: blake3::Hasher::new() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(BlobError::Absent(hash)),
            Err(error) => Err(Failure::of(Phase::Open, &path)(error).into()),
        }
    }

    /// Removes all blobs but these, and says how many.
    ///
    /// Name those of every record that may be read again, also of older segments, and those that were put for a
    /// record which is not committed yet. Blobs that are open go on being read.
    pub fn retain(&self, is_named: impl Fn(&Hash) -> bool) -> Result<usize, BlobError> {
        let mut removed = 0;
        // Unfinished files have other names: somebody may be writing them.
        for hash in names(&self.folder.blobs())?.iter().filter_map(|name| from_hex(name)) {
            if !is_named(&hash) {
                let path = self.path(hash);
                disk::remove(&path).map_err(Failure::of(Phase::Remove, &path))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn is_sound(&self, hash: Hash) -> Result<bool, BlobError> {
        let mut reader = match self.open(hash) {
            Ok(reader) => reader,
            Err(BlobError::Absent(_)) => return Ok(false),
            Err(error) => return Err(error),
        };
        // What cannot be read is replaced as well.
        Ok(io::copy(&mut reader, &mut io::sink()).is_ok())
    }

    fn path(&self, hash: Hash) -> PathBuf {
        self.folder.blobs().join(hex(&hash))
    }
}

/// Reads a blob and hashes what it reads.
///
/// At its end it says so (`Ok(0)`) only if the content was what the name says; otherwise the last read is an error of
/// the kind `InvalidData`. Whoever stops reading before knows nothing of what it has read.
#[derive(Debug)]
pub struct BlobReader {
    file: File,
    hash: Hash,
    hasher: blake3::Hasher,
}

impl Read for BlobReader {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(room)?;
        self.hasher.update(&room[..length]);
        if length == 0 && !room.is_empty() && shortened(&self.hasher.finalize()) != self.hash {
            let text = format!("the blob {} is damaged: its content has another hash", hex(&self.hash));
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(length)
    }
}

fn shortened(hash: &blake3::Hash) -> Hash {
    *hash.as_bytes().first_chunk().expect("32 bytes have 16")
}

fn hex(hash: &Hash) -> String {
    format!("{:032x}", u128::from_be_bytes(*hash))
}

fn from_hex(name: &str) -> Option<Hash> {
    let hash = u128::from_str_radix(name, 16).ok()?.to_be_bytes();
    (hex(&hash) == name).then_some(hash)
}
