//! `sluicegate`: the appliance. Wiring only: what a command means is in the crates below.

#![forbid(unsafe_code)]

mod check;
mod cli;
mod demo;
mod embedded;
mod reference;
mod run;

use clap::Parser;
use cli::{Cli, Command};
use std::process::ExitCode;

// Measured choice of DESIGN's dependency table; one line to take back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.wanted() {
        Command::Run(run) => run::run(run),
        Command::Check { file, json } => check::check(&file, json),
        Command::Plan { old, new, json } => check::plan(&old, &new, json),
        Command::ExplainKey { key, json } => reference::explain_key(&key, json),
        Command::Schema { piece } => reference::schema(piece),
        Command::Completions { shell } => reference::completions(shell),
        Command::Man { folder } => reference::manual(folder.as_deref()),
        Command::Version => {
            println!("sluicegate {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
    }
}
