//! What orders changed, written back into the operator's files.
//!
//! ```text
//! files ── read, must be base ──▶ texts that keep comments and order (texts)
//!                                    │ base ─▶ running: object by object, key by key (objects, rules)
//!                                    ▼
//!                                 rewritten ── read again, must be running ──▶ given out
//! ```
//!
//! Owns where in the files something is written, and what belongs to it: the comments right above it and behind it.
//! What orders did not change stays as it is, byte for byte, variables included. Refuses to write to a disk, to rewrite
//! list files, and to give out a text of which it has not seen that it says what runs.

mod array;
mod lists;
mod objects;
mod rules;
mod texts;

use crate::document::Config;
use crate::load::{self, FILE_BYTES_MAX};
use crate::page;
use crate::plan::diff;
use crate::problem::{Code, Problem, Problems};
use crate::source::Source;
use crate::{Parsed, Surroundings, parse};
use objects::Fold;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use texts::Texts;

/// A file of the document, as it is to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rewritten {
    /// As the document names it: relative to nothing but what `main` was relative to.
    pub path: PathBuf,
    pub text: String,
}

/// The files of the document at `main`, changed so that they say `running`; those that stay as they are left out. The files
/// must say `base`. Nothing is written: the bytes come through `around.source`.
///
/// Error: the files cannot be read, or say something else than `base`; or what came of the changes does not say `running`,
/// as when a list file has to change. Both name the first difference.
pub fn fold(
    main: &Path,
    base: &Config,
    running: &Config,
    around: &Surroundings<'_>,
) -> Result<Vec<Rewritten>, Problems> {
    let text = around.source.read(main, FILE_BYTES_MAX).map_err(|error| {
        let message = format!("cannot read `{}`: {error}", main.display());
        only(Problem::error(Code::File, "", None, message))
    })?;
    let Parsed { config, .. } = parse(main, &text, around)?;
    same(&config, base, "the files say something else than the document that was given last")?;
    let mut problems = Problems::default();
    let load::Loaded { mut tree, files } = load::load(main, &text, around.source, around.variables, &mut problems);
    page::read_files(&mut tree, &files, around.source, &mut problems);
    let texts = Texts::read(&files)?;
    let rewritten = Fold::new(texts, &tree, base, running, around).folded();
    let overlay = Overlay {
        texts: rewritten.iter().map(|file| (file.path.as_path(), file.text.as_bytes())).collect(),
        below: around.source,
    };
    let again = Surroundings { source: &overlay, variables: around.variables, shards_auto: around.shards_auto };
    let text = overlay.texts.get(main).map_or(text, |text| text.to_vec());
    let Parsed { config, .. } = parse(main, &text, &again).map_err(|problems| {
        // Its places are in texts that nobody has.
        let first = problems.errors().first().map(|problem| (problem.path.clone(), problem.message.clone()));
        let (path, message) = first.unwrap_or_default();
        only(Problem::error(
            Code::Clash,
            path,
            None,
            format!("what runs cannot be written into these files: {message}"),
        ))
    })?;
    same(&config, running, "what runs cannot be written into these files")?;
    Ok(rewritten)
}

/// Entries of lists that have expired are in files, and are not what runs.
fn same(read: &Config, wanted: &Config, message: &str) -> Result<(), Problems> {
    let expired = read.lists.iter().filter_map(|(id, list)| {
        let wanted = wanted.lists.get(id)?;
        let gone = list.in_force().diff(wanted.in_force()).filter_map(|difference| match difference {
            policy::http::ListDifference::Gone(_, note) => note.as_ref().and_then(|note| note.expires),
            _ => None,
        });
        gone.max()
    });
    let read = expired.max().map_or_else(|| read.clone(), |now| read.at(now));
    if read.hash() == wanted.hash() {
        return Ok(());
    }
    let plan = diff(wanted, &read);
    let first = plan.changes.first().map(|change| (change.path.clone(), change.old.clone(), change.new.clone()));
    let (path, wanted, found) = first.unwrap_or_default();
    let problem = Problem::error(Code::Clash, path, None, message).found(found.to_string());
    Err(only(problem.accepted(wanted.to_string())))
}

fn only(problem: Problem) -> Problems {
    let mut problems = Problems::default();
    problems.push(problem);
    problems
}

/// The files as they would be.
struct Overlay<'a> {
    texts: BTreeMap<&'a Path, &'a [u8]>,
    below: &'a dyn Source,
}

impl Source for Overlay<'_> {
    fn read(&self, path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
        match self.texts.get(path) {
            Some(text) => crate::source::within(text.to_vec(), bytes_max),
            None => self.below.read(path, bytes_max),
        }
    }

    fn open(&self, path: &Path, bytes_max: u64) -> io::Result<Box<dyn io::Read>> {
        self.below.open(path, bytes_max)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        self.below.list(folder)
    }
}
