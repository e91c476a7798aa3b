//! The folder: who has it, what its files are called, and how a file appears in it whole or not at all.
//!
//! Owns names, modes, the lock and the order of syncs. Does not know what is in the files.

use crate::disk;
use crate::error::{Failure, OpenError, Phase};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const FOLDER_MODE: u32 = 0o750;
const FILE_MODE: u32 = 0o640;

const LOCK: &str = "lock";
const BLOBS: &str = "blobs";
const SEGMENT: &str = ".segment";
/// Behind the name of a file that is not complete. What has it when a journal opens is what a crash left.
const UNFINISHED: &str = ".new";
/// As many as `u64::MAX` has, so that names sort as numbers do.
const NUMBER_DIGITS: usize = 20;
/// More than will ever be written, and always one more is a number too. What is above is no segment of ours.
const NUMBER_MAX: u64 = u64::MAX / 2;

/// The folder while it is ours.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// The lock ends when this is closed, also by a kill. Children do not inherit it.
    _lock: File,
}

impl Folder {
    /// Makes the folder if need be, takes it, and removes what a crash left unfinished.
    pub fn open(path: &Path) -> Result<Folder, OpenError> {
        make_folder(path)?;
        let lock = take_lock(path)?;
        let folder = Folder { path: path.to_owned(), _lock: lock };
        make_folder(&folder.blobs())?;
        folder.remove_unfinished(path)?;
        folder.remove_unfinished(&folder.blobs())?;
        Ok(folder)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn segment(&self, number: NonZeroU64) -> PathBuf {
        self.path.join(format!("{number:0NUMBER_DIGITS$}{SEGMENT}"))
    }

    pub fn blobs(&self) -> PathBuf {
        self.path.join(BLOBS)
    }

    /// Ascending. Files with other names are nobody's here and left alone.
    pub fn segments(&self) -> Result<Vec<NonZeroU64>, Failure> {
        let mut numbers: Vec<_> = names(&self.path)?.iter().filter_map(|name| segment_number(name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn remove_unfinished(&self, folder: &Path) -> Result<(), Failure> {
        for name in names(folder)?.iter().filter(|name| name.ends_with(UNFINISHED)) {
            let path = folder.join(name);
            disk::remove(&path).map_err(Failure::of(Phase::Remove, &path))?;
        }
        Ok(())
    }
}

/// `7` of `00000000000000000007.segment`.
fn segment_number(name: &str) -> Option<NonZeroU64> {
    let digits = name.strip_suffix(SEGMENT)?;
    let sound = digits.len() == NUMBER_DIGITS && digits.bytes().all(|digit| digit.is_ascii_digit());
    digits.parse().ok().filter(|number: &NonZeroU64| sound && number.get() <= NUMBER_MAX)
}

/// Names that are no text are not ours.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>, Failure> {
    let failed = || Failure::of(Phase::List, folder);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed())? {
        names.extend(entry.map_err(failed())?.file_name().into_string());
    }
    Ok(names)
}

/// With those that it lies in. A folder that is there keeps its mode.
fn make_folder(path: &Path) -> Result<(), Failure> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_folder(parent)?;
    match DirBuilder::new().mode(FOLDER_MODE).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made.map_err(Failure::of(Phase::Create, path))?,
    }
    sync_folder(parent)
}

fn take_lock(folder: &Path) -> Result<File, OpenError> {
    let path = folder.join(LOCK);
    let mut options = OpenOptions::new();
    let open = options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
    let mut lock = open.open(&path).map_err(Failure::of(Phase::Open, &path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // Only to name it: whatever stands there, the folder is held.
            let _ = lock.read_to_string(&mut pid);
            return Err(OpenError::Held { folder: folder.to_owned(), pid: pid.trim().parse().ok() });
        }
        Err(TryLockError::Error(error)) => return Err(Failure::of(Phase::Lock, &path)(error).into()),
    }
    let noted = lock.set_len(0).and_then(|()| lock.write_all(format!("{}\n", std::process::id()).as_bytes()));
    noted.map_err(Failure::of(Phase::Write, &path))?;
    Ok(lock)
}

/// After this a file that was made, renamed or removed in the folder stays so.
pub(crate) fn sync_folder(path: &Path) -> Result<(), Failure> {
    File::open(path).and_then(|folder| disk::sync_all(&folder)).map_err(Failure::of(Phase::Sync, path))
}

/// A file that has its name only when all of it is on the disk. Dropped before, it is removed.
#[derive(Debug)]
pub(crate) struct Unfinished {
    file: File,
    path: PathBuf,
    /// What it will be called.
    name: PathBuf,
    /// Whether there is something to remove.
    present: bool,
}

impl Unfinished {
    pub fn create(name: PathBuf) -> Result<Unfinished, Failure> {
        /// Tells apart those that are written for one name at the same time, or could not be removed.
        static TURN: AtomicU64 = AtomicU64::new(0);
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        let mut path = name.clone().into_os_string();
        path.push(format!(".{turn}{UNFINISHED}"));
        let path = PathBuf::from(path);
        let mut options = OpenOptions::new();
        let file = disk::create(options.write(true).create_new(true).mode(FILE_MODE), &path);
        let file = file.map_err(Failure::of(Phase::Create, &path))?;
        Ok(Unfinished { file, path, name, present: true })
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        disk::write(&mut self.file, bytes).map_err(Failure::of(Phase::Write, &self.path))
    }

    pub fn sync(&self) -> Result<(), Failure> {
        disk::sync_all(&self.file).map_err(Failure::of(Phase::Sync, &self.path))
    }

    /// Gives it its name for good. Call [`Unfinished::sync`] first. After an error it may have its name or not.
    pub fn finish(mut self) -> Result<(), Failure> {
        disk::rename(&self.path, &self.name).map_err(Failure::of(Phase::Rename, &self.path))?;
        self.present = false;
        sync_folder(self.name.parent().expect("it lies in a folder"))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.present {
            // If this fails too, the next start removes it.
            let _ = disk::remove(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn names_are_numbers_and_nothing_else() {
        let check = |name: &str, number: Option<u64>| {
            assert_eq!(segment_number(name).map(NonZeroU64::get), number, "of {name}");
        };
        check("00000000000000000007.segment", Some(7));
        check("09223372036854775807.segment", Some(NUMBER_MAX));
        check("09223372036854775808.segment", None);
        check("18446744073709551616.segment", None);
        check("00000000000000000000.segment", None);
        check("7.segment", None);
        check("+0000000000000000007.segment", None);
        check("00000000000000000007.segment.0.new", None);
        check("00000000000000000007", None);
    }

    #[test]
    fn names_sort_by_number() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = Folder::open(place.path()).expect("it is free");
        let name = |number: u64| folder.segment(NonZeroU64::new(number).expect("not 0"));
        assert!(name(9) < name(10) && name(99_999) < name(100_000) && name(10) < name(u64::MAX));
        let file_name = name(10).file_name().and_then(|name| name.to_str()).map(str::to_owned);
        assert_eq!(file_name.and_then(|name| segment_number(&name)), NonZeroU64::new(10));
    }

    #[test]
    fn a_folder_is_made_with_all_above_it_and_nobody_else_may_write_there() {
        let place = tempfile::tempdir().expect("a folder");
        let path = place.path().join("a/b/journal");
        let folder = Folder::open(&path).expect("it can be made");
        let mut file = Unfinished::create(path.join("file")).expect("it can be made");
        file.write(b"content").and_then(|()| file.sync()).and_then(|()| file.finish()).expect("it can be written");
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        // The umask may take more away.
        for path in [&path, path.parent().expect("a"), &folder.blobs()] {
            assert_eq!(mode(path) & !FOLDER_MODE, 0, "{}", path.display());
        }
        for name in ["lock", "file"] {
            assert_eq!(mode(&path.join(name)) & !FILE_MODE, 0, "{name}");
        }
    }

    #[test]
    fn a_folder_has_one_holder_and_a_second_is_told_who() {
        let place = tempfile::tempdir().expect("a folder");
        let first = Folder::open(place.path()).expect("it is free");
        let error = Folder::open(place.path()).expect_err("it is held");
        assert!(error.to_string().contains(&format!("in use by process {};", std::process::id())), "{error}");
        drop(first);
        Folder::open(place.path()).expect("it is free again");
    }

    #[test]
    fn what_was_not_finished_is_gone_and_strangers_stay() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = Folder::open(place.path()).expect("it is free");
        let name = folder.segment(NonZeroU64::MIN);
        drop(Unfinished::create(name.clone()).expect("it can be made"));
        assert_eq!(names(place.path()).unwrap().len(), 2, "only `lock` and `blobs`");
        // As a kill leaves it.
        for stray in [place.path().join("00000000000000000001.segment.0.new"), folder.blobs().join("ab.7.new")] {
            fs::write(stray, b"half").unwrap();
        }
        fs::write(place.path().join("notes.txt"), b"an operator's").unwrap();
        drop(folder);
        let folder = Folder::open(place.path()).expect("it is free");
        let mut left = names(place.path()).unwrap();
        left.sort();
        assert_eq!(left, ["blobs", "lock", "notes.txt"]);
        assert!(names(&folder.blobs()).unwrap().is_empty());
    }
}
