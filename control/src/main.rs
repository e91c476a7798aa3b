//! The operator's console of a running appliance: one command, one order, one answer.
//!
//! Knows the appliance only as any other program could, through `api`. What it prints for people may
//! change; programs use `--json` or the protocol itself.
//!
//! `cli` turns the command line into an order, `talk` brings it to its final answer, `show` says it to people.
//! `candidates` and `manual` help with the command line itself.

#![forbid(unsafe_code)]

mod candidates;
mod cli;
mod document;
mod duration;
mod manual;
mod show;
mod talk;

use api::{Client, ClientError, Patience};
use clap::{CommandFactory, Parser};
use clap_complete::CompleteEnv;
use clap_complete::env::Shells;
use cli::{Cli, Command, Task};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use talk::{Ending, Trouble};

/// A shell that completes a command line runs this program with this variable.
const COMPLETING: &str = "SLUICECTL_COMPLETE";

fn main() -> ExitCode {
    CompleteEnv::with_factory(Cli::command).var(COMPLETING).complete();
    let cli = Cli::parse();
    let exit = match run(cli) {
        Ok(Ending::Ok) => Exit::Ok,
        Ok(Ending::Error) => Exit::Error,
        Err(trouble) => {
            talk::complain(&trouble);
            Exit::of(&trouble)
        }
    };
    ExitCode::from(exit as u8)
}

fn run(cli: Cli) -> Result<Ending, Trouble> {
    match cli.task {
        Task::Order(command) => give(command, cli.socket, cli.json, cli.timeout),
        Task::Completions { shell } => {
            let mut script = Vec::new();
            let shells = Shells::builtins();
            let completer = shells.completer(&shell.to_string()).expect("each shell that is accepted has one");
            let name = "sluicectl";
            completer.write_registration(COMPLETING, name, name, name, &mut script).map_err(Trouble::Output)?;
            io::stdout().write_all(&script).map_err(Trouble::Output)?;
            Ok(Ending::Ok)
        }
        Task::Man { folder } => manual::write(folder.as_deref()).map(|()| Ending::Ok).map_err(Trouble::Output),
    }
}

/// Brings an order to its final answer.
fn give(command: Command, socket: Option<PathBuf>, json: bool, timeout: Option<Duration>) -> Result<Ending, Trouble> {
    let order = command.order()?;
    let path = match socket {
        Some(path) => path,
        None => api::find_socket().map_err(ClientError::from)?,
    };
    let patience = timeout.map_or(Patience::ByOrder, Patience::Fixed);
    let client = Client::connect(&path)?.with_patience(patience);
    talk::talk(client, order, json)
}

/// What [`cli::AFTER_HELP`] promises.
enum Exit {
    Ok = 0,
    Error = 1,
    Usage = 2,
    Unreachable = 3,
    Uncertain = 4,
    Output = 5,
}

impl Exit {
    fn of(trouble: &Trouble) -> Exit {
        match trouble {
            Trouble::Input(_) | Trouble::Client(ClientError::TooLong { .. }) => Exit::Usage,
            Trouble::Client(ClientError::NoSocket(_) | ClientError::Unreachable { .. }) => Exit::Unreachable,
            Trouble::Client(ClientError::Lost { .. } | ClientError::Silent { .. } | ClientError::Garbled { .. }) => {
                Exit::Uncertain
            }
            Trouble::Output(_) => Exit::Output,
        }
    }
}
