//! The operator's console of a running appliance: one command, one order, one answer.
//!
//! Knows the appliance only as any other program could, through `api`. What it prints for people may
//! change; programs use `--json` or the protocol itself.
//!
//! `cli` turns the command line into an order, `talk` brings it to its final answer, `show` says it to people.

#![forbid(unsafe_code)]

mod cli;
mod document;
mod duration;
mod show;
mod talk;

use api::{Client, ClientError, Patience};
use clap::Parser;
use cli::Cli;
use std::process::ExitCode;
use talk::{Ending, Trouble};

fn main() -> ExitCode {
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
    let order = cli.command.order()?;
    let path = match cli.socket {
        Some(path) => path,
        None => api::find_socket().map_err(ClientError::from)?,
    };
    let patience = cli.timeout.map_or(Patience::ByOrder, Patience::Fixed);
    let client = Client::connect(&path)?.with_patience(patience);
    talk::talk(client, order, cli.json)
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
