//! Every step that changes what is on the disk, one function each.
//!
//! Owns nothing but the list of these steps. So a simulation that links this crate with the feature `faults` can let
//! any of them fail, or be the last that the process does; without it each is the system call and nothing else.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

pub fn create(options: &OpenOptions, path: &Path) -> io::Result<File> {
    fate::step()?;
    options.open(path)
}

pub fn write(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let (taken, then) = fate::write(bytes);
    file.write_all(taken)?;
    then
}

pub fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let (taken, then) = fate::write(bytes);
    file.write_all_at(taken, offset)?;
    then
}

pub fn sync_data(file: &File) -> io::Result<()> {
    if fate::sync()? { Ok(()) } else { file.sync_data() }
}

pub fn sync_all(file: &File) -> io::Result<()> {
    if fate::sync()? { Ok(()) } else { file.sync_all() }
}

pub fn set_len(file: &File, length: u64) -> io::Result<()> {
    fate::step()?;
    file.set_len(length)
}

pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fate::step()?;
    fs::rename(from, to)
}

pub fn remove(path: &Path) -> io::Result<()> {
    fate::step()?;
    fs::remove_file(path)
}

#[cfg(not(feature = "faults"))]
mod fate {
    use std::io;

    pub const fn step() -> io::Result<()> {
        Ok(())
    }

    pub const fn write(bytes: &[u8]) -> (&[u8], io::Result<()>) {
        (bytes, Ok(()))
    }

    /// Whether nothing needs to be synced.
    pub const fn sync() -> io::Result<bool> {
        Ok(false)
    }
}

#[cfg(feature = "faults")]
use crate::faults as fate;
