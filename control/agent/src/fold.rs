//! What orders have changed, written into the operator's files.
//!
//! Owns how the files are replaced: each as a whole, in its place, with the rights it had. What stands in them is made by
//! [`config::fold()`], which proves that they say what runs before anything is written.

use crate::ask::Text;
use crate::publish::Shared;
use crate::tell;
use api::answer::Failure;
use api::{ErrorCode, FoldedFile, Stage};
use config::{Disk, Rewritten, Surroundings};
use rustix::fs::{Gid, Uid, fchown};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The files that have to change, as they would be. Blocks for as long as reading takes.
pub fn rewritten(shared: &Shared) -> Result<Vec<Rewritten>, Box<Failure>> {
    let Text::File(main) = &shared.document else {
        let message = "the appliance runs its embedded default, so there is no file to write into; \
                       `config.get` has all that runs, as a document to start with";
        return Err(Box::new(Failure::new(ErrorCode::Refused, message)));
    };
    let base = shared.overlay().base().clone();
    let running = shared.published.load().running.config.clone();
    let variables = |name: &str| std::env::var(name).ok();
    let around = Surroundings { source: &Disk, variables: &variables, shards_auto: shared.shards_auto };
    config::fold(main, &base.config, &running, &around).map_err(|problems| {
        let first = problems.errors().first().map_or_else(String::new, |problem| problem.message.clone());
        let mut failure = Failure::new(ErrorCode::InvalidConfiguration, format!("nothing was written: {first}"));
        failure.problems = tell::problems(&problems);
        failure.stage = Some(Stage::Check);
        Box::new(failure)
    })
}

/// What answers say of the files. `texts`: also what stands in them.
pub fn told(files: &[Rewritten], texts: bool) -> Vec<FoldedFile> {
    let told =
        |file: &Rewritten| FoldedFile { path: file.path.display().to_string(), text: texts.then(|| file.text.clone()) };
    files.iter().map(told).collect()
}

/// Puts them in their places. All are on the disk before the first is in its place; an error before that has changed nothing.
pub fn write(files: &[Rewritten]) -> Result<(), Box<Failure>> {
    let failed = |path: &Path, error: &dyn std::fmt::Display| {
        let message = format!("cannot write {}: {error}", path.display());
        Box::new(Failure::new(ErrorCode::Refused, message))
    };
    let mut written = Vec::with_capacity(files.len());
    for file in files {
        written.push(write_beside(file).map_err(|error| failed(&file.path, &error))?);
    }
    for (ix, (file, (new, place))) in files.iter().zip(written).enumerate() {
        new.persist(&place).map_err(|error| {
            let mut failure = failed(&file.path, &error.error);
            if ix > 0 {
                failure.message += "; the files before it are written";
            }
            failure
        })?;
        // The name is in the folder after a loss of power too.
        if let Some(folder) = place.parent() {
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
    }
    Ok(())
}

/// A new file in the same folder, and where it belongs: behind a link, where that leads.
fn write_beside(file: &Rewritten) -> io::Result<(tempfile::NamedTempFile, std::path::PathBuf)> {
    let place = fs::canonicalize(&file.path)?;
    let old = fs::metadata(&place)?;
    let folder = place.parent().ok_or(io::ErrorKind::NotFound)?;
    let mut new = tempfile::Builder::new().prefix(".sluicegate-").suffix(".new").tempfile_in(folder)?;
    new.write_all(file.text.as_bytes())?;
    new.as_file().set_permissions(old.permissions())?;
    let (owner, group) = (Uid::from_raw(old.uid()), Gid::from_raw(old.gid()));
    if (old.uid(), old.gid()) != (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()) {
        fchown(new.as_file(), Some(owner), Some(group))?;
    }
    new.as_file().sync_all()?;
    Ok((new, place))
}
