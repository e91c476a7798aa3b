//! The architecture and the habits of the project as failing tests.
//!
//! This crate reads the tree; what it finds out is in `tests/`: [`graph`] serves the arrows between the
//! crates, [`source`] what stands in the files. It builds nothing and runs nothing but `cargo metadata`.

#![forbid(unsafe_code)]

pub mod graph;
pub mod source;

use std::path::{Path, PathBuf};

/// The root of the workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this crate lies in tests/tidy").to_owned()
}

/// A text file of the tree, by its path from the root.
pub fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
