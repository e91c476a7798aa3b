//! The inputs that are kept: `corpus/<target>/<why>`, each for a reason that its name says.

use std::path::PathBuf;

/// Every kept input of a target, sorted by name. Panics if there is none: a replay of nothing proves nothing.
pub fn of(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = folder().join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut inputs: Vec<(String, Vec<u8>)> = entries
        .map(|entry| {
            let path = entry.expect("a folder that can be read").path();
            let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
            let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (name, bytes)
        })
        .collect();
    assert!(!inputs.is_empty(), "{}: no input is kept", folder.display());
    inputs.sort();
    inputs
}

/// Where the targets' folders are.
pub fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus"))
}
