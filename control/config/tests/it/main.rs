//! Documents from text to change, through the public interface only.

mod appliance;
mod arbitrary;
mod arbitrary_rules;
mod changes;
mod compile;
mod documents;
mod drawings;
mod editor;
mod edits;
mod folds;
mod hostile;
mod includes;
mod lists;
mod meanings;
mod merges;
mod partial;
mod patches;
mod plans;
mod rules;
mod shares;
mod trials;

use config::{Config, NoFiles, Parsed, Problems, Source, Surroundings, parse};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Shards that `"auto"` stands for in these tests.
const SHARDS: usize = 4;

fn parse_text(text: &str) -> Result<Parsed, Problems> {
    parse_from(text.as_bytes(), &NoFiles)
}

fn parse_from(text: &[u8], source: &dyn Source) -> Result<Parsed, Problems> {
    let variables = |name: &str| match name {
        "HOST" => Some("db.internal".to_string()),
        "WEIGHT" => Some("7".to_string()),
        "YES" => Some("true".to_string()),
        _ => None,
    };
    let parsed =
        parse(Path::new("site.toml"), text, &Surroundings { source, variables: &variables, shards_auto: SHARDS });
    if parsed.is_ok() {
        editor::assert_pleases(text);
    }
    parsed
}

/// A document that must be in order.
fn config(text: &str) -> Arc<Config> {
    match parse_text(text) {
        Ok(parsed) => Arc::new(parsed.config),
        Err(problems) => panic!("{}", problems.draw(config::Colour::Plain)),
    }
}

/// Files in memory.
#[derive(Default)]
struct Files(BTreeMap<PathBuf, Vec<u8>>);

impl Files {
    fn with<const N: usize>(files: [(&str, &str); N]) -> Files {
        Files(files.into_iter().map(|(path, text)| (path.into(), text.into())).collect())
    }
}

impl Source for Files {
    fn read(&self, path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
        match self.0.get(path) {
            Some(bytes) if bytes.len() > bytes_max => Err(io::ErrorKind::FileTooLarge.into()),
            Some(bytes) => Ok(bytes.clone()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        let inside = self.0.keys().filter(|path| path.parent() == Some(folder));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_os_string())).collect())
    }
}
