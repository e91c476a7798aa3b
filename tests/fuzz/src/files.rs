//! A document of several files in one input, and everything it is read in.
//!
//! The input is the main file. A line `#### NAME` ends it and begins the file of that name, which the main
//! one may include; to TOML the line is a comment, so the same input is also one file of any length.

use config::{Parsed, Problems, Source, Surroundings, parse};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

/// What the main file is called.
pub(crate) const MAIN: &str = "site.toml";

/// Shards that `"auto"` stands for.
pub(crate) const SHARDS: usize = 4;

/// The files of one input, by the one spelling of their names.
pub(crate) struct Files {
    main: Vec<u8>,
    others: BTreeMap<PathBuf, Vec<u8>>,
}

impl Files {
    pub(crate) fn split(data: &[u8]) -> Files {
        let mut main = Vec::new();
        let mut others: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
        let mut current = &mut main;
        for line in data.split_inclusive(|byte| *byte == b'\n') {
            match name(line) {
                Some(name) => {
                    current = others.entry(one_spelling(Path::new(name))).or_default();
                    current.clear();
                }
                None => current.extend(line),
            }
        }
        Files { main, others }
    }

    pub(crate) fn parse(&self) -> Result<Parsed, Problems> {
        self.parse_main(&self.main)
    }

    /// The same with something more at the end of the main file.
    pub(crate) fn parse_with(&self, more: &str) -> Result<Parsed, Problems> {
        self.parse_main(&[&self.main, more.as_bytes()].concat())
    }

    fn parse_main(&self, main: &[u8]) -> Result<Parsed, Problems> {
        parse(Path::new(MAIN), main, &Surroundings { source: self, variables: &variable, shards_auto: SHARDS })
    }

    /// The file that a problem names.
    pub(crate) fn find(&self, name: &str) -> Option<&[u8]> {
        match name == MAIN {
            true => Some(&self.main),
            false => self.others.get(&one_spelling(Path::new(name))).map(Vec::as_slice),
        }
    }
}

/// A document that has no files beside it and uses no variables, such as one that was written by `to_toml`.
pub(crate) fn parse_alone(text: &str) -> Result<Parsed, Problems> {
    let around = Surroundings { source: &config::NoFiles, variables: &|_| None, shards_auto: SHARDS };
    parse(Path::new(MAIN), text.as_bytes(), &around)
}

/// The environment.
fn variable(name: &str) -> Option<String> {
    let value = match name {
        "HOST" => "127.0.0.1",
        "PORT" => "9001",
        "COUNT" => "2",
        "NO" => "false",
        "EMPTY" => "",
        "DOLLAR" => "${HOST}",
        "ODD" => "\"\n\u{1b}[31m\u{e9}\u{202e}",
        "LONG" => return Some("x".repeat(30_000)),
        _ => return None,
    };
    Some(value.into())
}

fn name(line: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(line.strip_prefix(b"#### ")?).ok()?.trim();
    (!name.is_empty()).then_some(name)
}

impl Source for Files {
    fn read(&self, path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
        let bytes = self.others.get(&one_spelling(path)).ok_or(io::ErrorKind::NotFound)?;
        match bytes.len() <= bytes_max {
            true => Ok(bytes.clone()),
            false => Err(io::ErrorKind::FileTooLarge.into()),
        }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        let folder = one_spelling(folder);
        let inside = self.others.keys().filter_map(|path| path.strip_prefix(&folder).ok()?.components().next());
        let mut names: Vec<OsString> = inside.map(|part| part.as_os_str().to_owned()).collect();
        names.dedup();
        // No order is promised, so the worst one is given.
        names.reverse();
        match names.is_empty() {
            true => Err(io::ErrorKind::NotFound.into()),
            false => Ok(names),
        }
    }
}

/// A document, and what stands behind the first line `----`.
pub(crate) fn divided(data: &[u8]) -> (&[u8], &[u8]) {
    const MARK: &[u8] = b"\n----\n";
    match data.windows(MARK.len()).position(|window| window == MARK) {
        Some(at) => (&data[..at + 1], &data[at + MARK.len()..]),
        None => (data, b""),
    }
}

fn one_spelling(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_divided_by_its_marks() {
        let files = Files::split(b"a\n#### b/c.toml\nd\n#### ./e/../f\n#### \n");
        assert_eq!(files.find(MAIN), Some(&b"a\n"[..]));
        assert_eq!(files.find("b/./c.toml"), Some(&b"d\n"[..]));
        assert_eq!(files.find("f"), Some(&b"#### \n"[..]));
        assert_eq!(files.list(Path::new("")).unwrap(), ["f", "b"]);
        assert_eq!(files.list(Path::new("b")).unwrap(), ["c.toml"]);
        assert!(files.list(Path::new("x")).is_err());
    }
}
