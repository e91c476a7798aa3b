//! FILE, read on this side: the appliance need not be able to read it. And what is wrong with what is typed or read.

use api::framing::MESSAGE_BYTES_MAX;
use api::order::Document;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Reads a document; `-` is the standard input. Includes will be relative to the file's folder, or to the
/// current one.
pub fn read(path: &Path) -> Result<Document, InputError> {
    let standard_input = path == Path::new("-");
    let name = if standard_input { "standard input".to_owned() } else { path.display().to_string() };
    let failed = |cause| InputError { name: name.clone(), cause };
    let bytes = if standard_input {
        read_bounded(io::stdin().lock())
    } else {
        File::open(path).map_err(Cause::Unreadable).and_then(read_bounded)
    }
    .map_err(failed)?;
    let document =
        String::from_utf8(bytes).map_err(|error| failed(Cause::NotText { at: error.utf8_error().valid_up_to() }))?;
    let base = folder_of(path, standard_input).map_err(Cause::Unreadable).map_err(failed)?;
    Ok(Document {
        document,
        // A path that is no text cannot go into JSON; then there is no base.
        base: base.into_os_string().into_string().ok(),
        name: Some(name),
    })
}

/// The path of a file that the appliance reads, wherever it stands itself.
pub fn whole_path(path: &Path) -> Result<String, InputError> {
    let name = path.display().to_string();
    let whole =
        path.canonicalize().map_err(|error| InputError { name: name.clone(), cause: Cause::Unreadable(error) })?;
    let text = whole.into_os_string().into_string();
    text.map_err(|_| InputError { name, cause: Cause::NotText { at: 0 } })
}

fn read_bounded(source: impl Read) -> Result<Vec<u8>, Cause> {
    let mut bytes = Vec::new();
    source.take(MESSAGE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(Cause::Unreadable)?;
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(Cause::TooLong);
    }
    Ok(bytes)
}

fn folder_of(path: &Path, standard_input: bool) -> io::Result<PathBuf> {
    match path.parent() {
        Some(parent) if !standard_input && parent != Path::new("") => parent.canonicalize(),
        _ => std::env::current_dir(),
    }
}

/// A document or a setting that cannot be sent.
#[derive(Debug)]
pub struct InputError {
    name: String,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Unreadable(io::Error),
    TooLong,
    NotText { at: usize },
    NoPatch(serde_json::Error),
    SaidTwice,
    NoSetting(&'static str),
}

impl InputError {
    pub fn no_patch(name: String, error: serde_json::Error) -> InputError {
        InputError { name, cause: Cause::NoPatch(error) }
    }

    /// Of a key on the command line.
    pub fn said_twice(key: String) -> InputError {
        InputError { name: format!("`{key}`"), cause: Cause::SaidTwice }
    }

    /// Of a word on the command line, with what is accepted.
    pub fn no_setting(word: String, accepted: &'static str) -> InputError {
        InputError { name: format!("`{word}`"), cause: Cause::NoSetting(accepted) }
    }
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !matches!(self.cause, Cause::SaidTwice) {
            write!(f, "{}: ", self.name)?;
        }
        match &self.cause {
            Cause::Unreadable(error) => error.fmt(f),
            Cause::TooLong => {
                write!(f, "longer than {MESSAGE_BYTES_MAX} bytes; put mass data in files of its own and name them")
            }
            Cause::NotText { at } => {
                write!(f, "no UTF-8 text: byte {at} (from 0) begins no character")
            }
            Cause::NoPatch(error) => {
                write!(f, "no patch: {error}; accepted is an object (RFC 7396) or an array of operations (RFC 6902)")
            }
            Cause::SaidTwice => write!(f, "{} is said twice", self.name),
            Cause::NoSetting(accepted) => f.write_str(accepted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_sent_is_named() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("site.toml");
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("site.toml: No such file"), "{error}");
        std::fs::write(&path, b"ab\xff").unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("byte 2"), "{error}");
        let error = read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("directory"), "{error}");
    }

    #[test]
    fn too_much_is_refused_before_it_is_all_read() {
        assert!(matches!(read_bounded(io::repeat(b'x')), Err(Cause::TooLong)));
    }
}
