//! The command line.

use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
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
    /// What is wanted: without a word, to run.
    pub fn wanted(self) -> Command {
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
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Problems as one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Show what going from one document to another would change, without an appliance.
    Plan {
        #[arg(value_hint = ValueHint::FilePath)]
        old: PathBuf,
        #[arg(value_hint = ValueHint::FilePath)]
        new: PathBuf,
        /// The plan as one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Say what a configuration key sets, accepts and does: of a key, of a table, or of all keys with such an end.
    ExplainKey {
        /// Such as pool.web.timeouts.idle, pool.*.timeouts.idle, idle or timeouts.
        key: String,
        /// As one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of documents, for editors.
    Schema {
        /// Of a file that includes others or is included: what is missing in it may stand elsewhere.
        #[arg(long)]
        piece: bool,
    },
    /// Print what makes a shell complete these commands.
    Completions {
        /// To be read by the shell when it starts: source <(sluicegate completions bash)
        shell: Shell,
    },
    /// Print the manual page, or write those of all commands and of the document into a folder.
    Man {
        /// Is made if it is not there.
        #[arg(value_hint = ValueHint::DirPath)]
        folder: Option<PathBuf>,
    },
    /// Print the version.
    Version,
}

#[derive(Args)]
pub struct Run {
    /// The document. Without one the embedded default runs.
    #[arg(value_hint = ValueHint::FilePath)]
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
