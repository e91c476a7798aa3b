//! Commands that tell about the program itself: keys, schema, completions and manual pages. Nothing runs for them.

use crate::cli::Cli;
use clap::CommandFactory;
use clap_complete::Shell;
use config::SchemaOf;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

/// As `sluicectl explain-key`, from this program's own table of keys.
pub fn explain_key(key: &str, json: bool) -> ExitCode {
    match agent::keys(Some(key)) {
        Ok(keys) if json => printed(format!("{}\n", serde_json::json!(keys)).as_bytes()),
        Ok(keys) => printed(keys.to_string().as_bytes()),
        Err(failure) => {
            anstream::eprintln!("error: {}", failure.message);
            ExitCode::FAILURE
        }
    }
}

pub fn schema(piece: bool) -> ExitCode {
    let of = if piece { SchemaOf::Piece } else { SchemaOf::Document };
    printed(format!("{:#}\n", config::json_schema(of)).as_bytes())
}

pub fn completions(shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "sluicegate", &mut script);
    printed(&script)
}

/// Without a folder the program's page is printed. Into a folder go `sluicegate.1`, the pages of its commands, and
/// `sluicegate.toml.5`.
pub fn manual(folder: Option<&Path>) -> ExitCode {
    match folder {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page).expect("memory takes all that is written");
            printed(&page)
        }
        Some(folder) => match pages(folder) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                anstream::eprintln!("error: {}: {error}", folder.display());
                ExitCode::FAILURE
            }
        },
    }
}

fn pages(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Cli::command(), folder)?;
    fs::write(folder.join("sluicegate.toml.5"), config::keys_manual(env!("CARGO_PKG_VERSION")))
}

/// To standard output. That nobody reads any more is no failure.
fn printed(text: &[u8]) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            anstream::eprintln!("error: the output could not be written: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}
