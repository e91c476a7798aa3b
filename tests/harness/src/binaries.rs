//! The binaries under test and the client library's examples, built when they are not up to date.
//!
//! The tests live in another package than the binaries, so Cargo neither builds them for us nor tells
//! where they are. Once per test process Cargo is asked to build them, which costs a moment when they are
//! fresh; its own lock makes processes that ask at the same time take turns.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Names a folder that holds the binaries already; nothing is built then.
pub const FOLDER: &str = "SLUICEGATE_TEST_BINARIES";

const NAMES: [&str; 2] = ["sluicegate", "sluicectl"];

/// Where this binary is.
pub fn path(name: &str) -> PathBuf {
    assert!(NAMES.contains(&name), "{name} is not one of {NAMES:?}");
    folder().join(name)
}

/// Where this example of the client library is.
pub fn example(name: &str) -> PathBuf {
    folder().join("examples").join(name)
}

/// The folder with all binaries, built with the profile of this test binary.
pub fn folder() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| match std::env::var_os(FOLDER) {
        Some(folder) => folder.into(),
        None => build(),
    })
}

fn build() -> PathBuf {
    // target/<profile>/deps/<this test>
    let this_binary = std::env::current_exe().expect("a process knows its executable");
    let folder = this_binary.parent().and_then(Path::parent).expect("test binaries lie in target/<profile>/deps");
    let target_dir = folder.parent().expect("a profile's folder lies in the target folder");
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let mut cargo = Command::new(env!("CARGO"));
    cargo.arg("build").args(["--quiet", "--profile", profile]).arg("--target-dir").arg(target_dir);
    NAMES.iter().for_each(|name| _ = cargo.args(["--package", name]));
    cargo.args(["--package", "api", "--bins", "--examples"]);
    // What Cargo told this test process about its own package would only confuse another Cargo.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&*name);
        }
    }
    let built =
        cargo.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null()).output().expect("cargo can be started");
    assert!(built.status.success(), "the binaries cannot be built:\n{}", String::from_utf8_lossy(&built.stderr));
    folder.to_owned()
}
