//! The command line.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Reverse proxy and load balancer whose configuration changes under load.
///
/// Without a command it runs the embedded default: loopback only, an HTTP pool on 127.0.0.1:8080, a TCP pool on
/// 127.0.0.1:7000 and two built-in origins.
#[derive(Parser)]
#[command(name = "sluicegate", version, max_term_width = 100, args_conflicts_with_subcommands = true)]
#[command(after_help = "Exit status: 0 it did what was asked, 1 it could not (the reason is on standard error), \
                        2 the command line was not understood.\n\
                        Signals: SIGHUP applies the file again, SIGTERM stops when all connections have ended or after \
                        appliance.stop_grace, a second SIGTERM or SIGINT stops at once.")]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

impl Cli {
    pub fn command(self) -> Command {
        self.command.unwrap_or(Command::Run(self.run))
    }
}

#[derive(Subcommand)]
pub enum Command {
    /// Run a document, or the embedded default if none is named.
    Run(Run),
    /// Validate a document: exit status 0 if it could be applied, 1 with all problems drawn if not.
    Check {
        /// The document; `-` reads standard input.
        file: PathBuf,
        /// Problems as one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Show what going from one document to another would change, without an appliance.
    Plan {
        old: PathBuf,
        new: PathBuf,
        /// The plan as one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Print the version.
    Version,
}

#[derive(Args)]
pub struct Run {
    /// The document. Without one the embedded default runs.
    pub file: Option<PathBuf>,
    /// Where the embedded default's HTTP pool listens [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDRESS", conflicts_with = "file")]
    pub http: Option<String>,
    /// Where the embedded default's TCP pool listens [default: 127.0.0.1:7000].
    #[arg(long, value_name = "ADDRESS", conflicts_with = "file")]
    pub tcp: Option<String>,
    /// The socket for orders [default: appliance.control_socket; else sluicegate.sock in $XDG_RUNTIME_DIR or in a
    /// private folder under the temporary one].
    #[arg(long, value_name = "PATH")]
    pub control_socket: Option<PathBuf>,
    /// Executors of the embedded default [default: one for each core].
    #[arg(long, value_name = "N", conflicts_with = "file")]
    pub shards: Option<usize>,
}
