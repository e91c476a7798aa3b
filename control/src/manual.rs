//! Manual pages, made from the command line's own definition.

use crate::cli::Cli;
use clap::CommandFactory;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// The page of the program to standard output, or those of all commands into the folder: `sluicectl.1`,
/// `sluicectl-backend-add.1` and so on.
pub fn write(folder: Option<&Path>) -> io::Result<()> {
    let command = Cli::command();
    match folder {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            io::stdout().write_all(&page)
        }
        Some(folder) => {
            fs::create_dir_all(folder)?;
            clap_mangen::generate_to(command, folder)
        }
    }
}
