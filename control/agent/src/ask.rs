//! A submission: who wants what, before it is a job.
//!
//! Reading a document costs what its size costs, so it happens here, on a thread of its own, before control
//! hears of it.

use crate::clock::seconds_now;
use crate::job::View;
use crate::{tell, tell_edits};
use api::Problem;
use api::edit::{Entries, ListReplace};
use api::receipt::{Author, Source as Way};
use config::{Config, Disk, Edit, ListFile, NoFiles, RulePlaces, Source, Surroundings};
use policy::PoolId;
use policy::http::ListKind;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

/// What is wanted, by whom.
#[derive(Clone)]
pub struct Ask {
    /// `None`: nobody, as at start or by a signal.
    pub author: Option<Author>,
    pub source: Way,
    /// The order that it came with over the socket.
    pub order: Option<&'static str>,
    /// Only if this generation runs.
    pub if_generation: Option<u64>,
    pub what: What,
}

#[derive(Clone)]
pub enum What {
    Document {
        config: Arc<Config>,
        warnings: Vec<Problem>,
        origin: api::status::ConfigSource,
        rule_places: Arc<RulePlaces>,
        role: Role,
        /// Pools that were not in order. In `config` they are as they ran when it was read.
        left_out: Arc<BTreeSet<PoolId>>,
    },
    /// A document that is not in order: it still is an attempt, with a number and a receipt.
    Invalid { message: String, problems: Vec<Problem> },
    /// All or none.
    Edits(Edits),
    /// What its riders want.
    Together,
}

/// Orders that edit, and what they come to.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    pub orders: Arc<[api::Edit]>,
    pub made: Arc<[Edit]>,
    /// Files of lists that the orders name, as they were read.
    pub files: Arc<[ListFile]>,
}

impl Edits {
    /// Reads the files that they name, which may block for as long as a file takes.
    ///
    /// `kind`: that of a list. `main`: the document that paths are relative to.
    pub fn read(
        orders: Vec<api::Edit>,
        kind: &dyn Fn(&str) -> ListKind,
        main: &Path,
        source: &dyn Source,
    ) -> Result<Edits, Unreadable> {
        let (mut made, mut files) = (Vec::with_capacity(orders.len()), Vec::new());
        for (ix, order) in orders.iter().enumerate() {
            let file = match named_file(order) {
                None => None,
                Some((list, file)) => {
                    let read = config::read_list_file(main, Path::new(file), kind(list), source);
                    let read = read.map_err(|problems| {
                        let which = if orders.len() == 1 { String::new() } else { format!("orders[{ix}]: ") };
                        let first = problems.errors().first().map_or_else(String::new, |first| first.message.clone());
                        Unreadable { message: format!("{which}{first}"), problems: tell::problems(&problems) }
                    })?;
                    files.push(read.clone());
                    Some(read)
                }
            };
            made.push(tell_edits::edit(order, file));
        }
        Ok(Edits { orders: orders.into(), made: made.into(), files: files.into() })
    }

    /// One after the other.
    pub fn concat(all: &[&Edits]) -> Edits {
        if let [one] = all {
            return (*one).clone();
        }
        Edits {
            orders: all.iter().flat_map(|edits| edits.orders.iter().cloned()).collect(),
            made: all.iter().flat_map(|edits| edits.made.iter().cloned()).collect(),
            files: all.iter().flat_map(|edits| edits.files.iter().cloned()).collect(),
        }
    }

    /// The orders, with files called as the document would call them: whoever reads these finds in `files` what they name,
    /// wherever the document stands.
    pub fn orders_by_the_document(&self) -> Vec<api::Edit> {
        let mut orders = self.orders.to_vec();
        let named = orders.iter_mut().filter_map(|order| match order {
            api::Edit::ListReplace(ListReplace { with: Entries::File(file), .. }) => Some(file),
            _ => None,
        });
        for (name, file) in named.zip(self.files.iter()) {
            *name = file.path.to_string_lossy().into_owned();
        }
        orders
    }

    /// Whether [`Edits::read`] would read a file.
    pub fn name_files(orders: &[api::Edit]) -> bool {
        orders.iter().any(|order| named_file(order).is_some())
    }
}

/// The list and the path.
fn named_file(order: &api::Edit) -> Option<(&str, &str)> {
    match order {
        api::Edit::ListReplace(ListReplace { list, with: Entries::File(file) }) => Some((list, file)),
        _ => None,
    }
}

/// What a document is to what runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// All that runs, and what drift is measured from.
    Whole,
    /// What drift is measured from; what orders have changed stays changed.
    Merged,
    /// What ran as this generation.
    Past(u64),
}

/// An ask and whoever waits for its outcome.
pub struct Wish {
    pub ask: Ask,
    pub voice: watch::Sender<View>,
    pub submitted: SystemTime,
    /// What reading it took.
    pub check: Duration,
}

impl What {
    pub fn as_edits(&self) -> Option<&Edits> {
        match self {
            What::Edits(edits) => Some(edits),
            What::Document { .. } | What::Invalid { .. } | What::Together => None,
        }
    }

    /// Where the rules and tests of a document stand.
    pub fn rule_places(&self) -> Option<&RulePlaces> {
        match self {
            What::Document { rule_places, .. } => Some(rule_places),
            What::Edits(_) | What::Invalid { .. } | What::Together => None,
        }
    }

    pub fn edits(&self) -> &[Edit] {
        match self {
            What::Edits(edits) => &edits.made,
            What::Document { .. } | What::Invalid { .. } | What::Together => &[],
        }
    }
}

/// A document and where it was found.
#[derive(Clone, Debug)]
pub enum Text {
    /// A file to be read now.
    File(PathBuf),
    /// Text that somebody sent. Includes are relative to the folder; without one there are none.
    Sent { text: String, name: Option<String>, folder: Option<PathBuf> },
    /// The default that is built in.
    Embedded(String),
}

impl From<&api::order::Document> for Text {
    fn from(document: &api::order::Document) -> Text {
        Text::Sent {
            text: document.document.clone(),
            name: document.name.clone(),
            folder: document.base.clone().map(PathBuf::from),
        }
    }
}

/// A document that was read.
#[derive(Debug)]
pub struct Reading {
    pub config: Config,
    pub warnings: Vec<Problem>,
    pub rule_places: RulePlaces,
    /// Pools that are as they run, because they are not in order.
    pub left_out: BTreeSet<PoolId>,
}

/// What becomes of a document of which some pools are not in order.
#[derive(Clone, Copy)]
pub enum Broken<'a> {
    /// Nothing of it is taken.
    Refused,
    /// These pools are left as they are in what runs, and the rest is taken.
    LeftAs(&'a Config),
}

/// Why it could not be: what is wrong in one sentence, and all of it.
#[derive(Debug)]
pub struct Unreadable {
    pub message: String,
    pub problems: Vec<Problem>,
}

impl Text {
    /// What answers, receipts and problems call it.
    pub fn origin(&self) -> api::status::ConfigSource {
        use api::status::ConfigSource;
        match self {
            Text::File(_) => ConfigSource::File(self.name()),
            Text::Sent { .. } => ConfigSource::Submitted(self.name()),
            Text::Embedded(_) => ConfigSource::Embedded,
        }
    }

    fn name(&self) -> String {
        match self {
            Text::File(path) => path.display().to_string(),
            Text::Sent { name, .. } => name.clone().unwrap_or_else(|| UNNAMED.into()),
            Text::Embedded(_) => "the embedded default".into(),
        }
    }

    /// Reads and validates it. Blocks for as long as files and parsing take.
    pub fn read(&self, shards_auto: usize, broken: Broken<'_>) -> Result<Reading, Unreadable> {
        match self.parse(shards_auto, broken) {
            Ok(Ok(config::Parsed { config, warnings, files: _, rule_places, left_out })) => {
                Ok(Reading { warnings: tell::problems(&warnings), config, rule_places, left_out })
            }
            Ok(Err(problems)) => {
                let count = problems.errors().len() + problems.more();
                let plural = if count == 1 { "" } else { "s" };
                let message = format!("{} has {count} problem{plural}", self.name());
                Err(Unreadable { message, problems: tell::problems(&problems) })
            }
            Err(error) => Err(Unreadable { message: error, problems: Vec::new() }),
        }
    }

    /// As [`Text::read`], with problems that can be drawn in colour.
    pub fn parse(
        &self,
        shards_auto: usize,
        broken: Broken<'_>,
    ) -> Result<Result<config::Parsed, config::Problems>, String> {
        let variables = |name: &str| std::env::var(name).ok();
        let parse = |path: &Path, text: &[u8], source: &dyn Source| {
            let around = Surroundings { source, variables: &variables, shards_auto };
            match broken {
                Broken::Refused => config::parse(path, text, &around),
                Broken::LeftAs(running) => config::parse_partial(path, text, &around, running),
            }
        };
        let parsed = match self {
            Text::File(path) => {
                let text = Disk
                    .read(path, config::FILE_BYTES_MAX)
                    .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
                parse(path, &text, &Disk)
            }
            Text::Sent { text, name, folder: Some(folder) } => {
                // The name is what the sender typed, seen from where he stood.
                let name = name.as_deref().and_then(|name| Path::new(name).file_name());
                let path = folder.join(name.unwrap_or(UNNAMED.as_ref()));
                parse(&path, text.as_bytes(), &Disk)
            }
            Text::Sent { text, name, folder: None } => {
                let name = name.as_deref().unwrap_or(UNNAMED);
                parse(Path::new(name), text.as_bytes(), &NoFiles)
            }
            Text::Embedded(text) => parse(Path::new("embedded default"), text.as_bytes(), &NoFiles),
        };
        // What has expired is not put in force.
        Ok(parsed.map(|parsed| config::Parsed { config: parsed.config.at(seconds_now()), ..parsed }))
    }
}

const UNNAMED: &str = "document";

#[cfg(test)]
mod tests {
    use super::*;

    const DB: &str = "[pool.db.create]\nservice = \"tcp\"\nlisten = [\"127.0.0.1:7000\"]\n\
                      [[pool.db.group.main.backend]]\naddress = \"127.0.0.1:9001\"\n";

    fn sent(text: &str, name: Option<&str>, folder: Option<&Path>) -> Text {
        Text::Sent { text: text.into(), name: name.map(Into::into), folder: folder.map(Into::into) }
    }

    #[test]
    fn a_file_and_the_same_text_are_the_same_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("site.toml");
        std::fs::write(&path, DB).unwrap();
        let by_file = Text::File(path).read(2, Broken::Refused).unwrap().config;
        let by_text = sent(DB, None, None).read(2, Broken::Refused).unwrap().config;
        assert_eq!(by_file.hash(), by_text.hash());
    }

    #[test]
    fn problems_name_the_document_as_the_sender_does() {
        let wrong = sent("[pool.db]\nnonsense = 1\n", Some("site.toml"), None).read(2, Broken::Refused).unwrap_err();
        assert!(wrong.message.starts_with("site.toml has"), "{}", wrong.message);
        assert!(wrong.problems.iter().any(|problem| problem.place.as_ref().is_some_and(|at| at.file == "site.toml")));
        assert!(
            Text::File("/no/such/file.toml".into())
                .read(2, Broken::Refused)
                .unwrap_err()
                .message
                .contains("/no/such/file.toml")
        );
    }

    #[test]
    fn includes_are_found_from_the_senders_folder_only() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("db.toml"), DB).unwrap();
        let text = "include = [\"db.toml\"]\n";
        let read = sent(text, Some("../elsewhere/site.toml"), Some(folder.path())).read(2, Broken::Refused).unwrap();
        assert_eq!(read.config.pools.len(), 1);
        assert!(sent(text, None, None).read(2, Broken::Refused).is_err());
    }
}
