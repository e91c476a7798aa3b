//! Where the files of a document come from.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::Path;

/// Reads the files that a document includes. Blocks; called on the compiler thread or by a console command.
pub trait Source {
    /// The whole file; an error if it is longer than `bytes_max`.
    fn read(&self, path: &Path, bytes_max: usize) -> io::Result<Vec<u8>>;
    /// The same, for whoever reads it piece by piece. Of one that grows while it is read, more may come.
    fn open(&self, path: &Path, bytes_max: u64) -> io::Result<Box<dyn Read>> {
        let bytes = self.read(path, usize::try_from(bytes_max).unwrap_or(usize::MAX))?;
        Ok(Box::new(io::Cursor::new(bytes)))
    }
    /// Names of the entries of a folder, in any order.
    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>>;
}

/// The file system.
pub struct Disk;

impl Source for Disk {
    fn read(&self, path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
        // Opening a named pipe would wait for a writer, so the question comes first.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
        within(bytes, bytes_max)
    }

    fn open(&self, path: &Path, bytes_max: u64) -> io::Result<Box<dyn Read>> {
        let about = std::fs::metadata(path)?;
        if !about.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        if about.len() > bytes_max {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {} MiB", bytes_max >> 20)));
        }
        Ok(Box::new(std::fs::File::open(path)?))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
    }
}

/// A document that stands alone: the embedded default, or text that came over a socket without a base.
pub struct NoFiles;

impl Source for NoFiles {
    fn read(&self, _: &Path, _: usize) -> io::Result<Vec<u8>> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this document was not read from a file, so it cannot include any",
        ))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        self.read(folder, 0).map(|_| Vec::new())
    }
}

pub(crate) fn within(bytes: Vec<u8>, bytes_max: usize) -> io::Result<Vec<u8>> {
    match bytes.len() <= bytes_max {
        true => Ok(bytes),
        false => Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {} MiB", bytes_max >> 20))),
    }
}
