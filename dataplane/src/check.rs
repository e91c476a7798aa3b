//! Commands that need no appliance: `check` and `plan`.

use anstream::{eprint, println};
use config::{ChangeKind, Colour, Config, Disk, Parsed, PlannedChange, Problems, Surroundings};
use std::io::{IsTerminal, Read};
use std::path::Path;
use std::process::ExitCode;

/// The cores that this process may use: what `appliance.shards = "auto"` stands for.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Colours only for people.
pub fn colour(to_terminal: bool) -> Colour {
    if to_terminal { Colour::Terminal } else { Colour::Plain }
}

/// Reads and checks a document from a file, or from standard input if it is named `-`.
pub fn read(file: &Path) -> Result<Parsed, Failed> {
    let unread = |error| Failed::Unread(format!("{}: {error}", file.display()));
    let text = if file == Path::new("-") {
        let mut text = Vec::new();
        let limit = config::DOCUMENT_BYTES_MAX as u64 + 1;
        std::io::stdin().take(limit).read_to_end(&mut text).map_err(unread)?;
        text
    } else {
        config::Source::read(&Disk, file, config::FILE_BYTES_MAX).map_err(unread)?
    };
    let around = Surroundings { source: &Disk, variables: &|name| std::env::var(name).ok(), shards_auto: cores() };
    config::parse(file, &text, &around).map_err(Failed::Invalid)
}

/// Why a document cannot be used.
pub enum Failed {
    Unread(String),
    Invalid(Problems),
}

impl Failed {
    /// Says it on standard error.
    pub fn tell(&self) {
        match self {
            Failed::Unread(why) => eprint!("error: {why}\n"),
            Failed::Invalid(problems) => tell(problems),
        }
    }
}

/// Says them on standard error, if there are any.
fn tell(problems: &Problems) {
    let drawn = problems.draw(colour(std::io::stderr().is_terminal()));
    if !drawn.is_empty() {
        eprint!("{drawn}\n");
    }
}

pub fn check(file: &Path, json: bool) -> ExitCode {
    let outcome = read(file);
    if json {
        let problems = match &outcome {
            Ok(parsed) => parsed.warnings.iter().collect::<Vec<_>>(),
            Err(Failed::Invalid(problems)) => problems.iter().collect(),
            Err(failed @ Failed::Unread(_)) => {
                failed.tell();
                return ExitCode::FAILURE;
            }
        };
        println!("{}", serde_json::json!({ "valid": outcome.is_ok(), "problems": problems }));
    }
    match outcome {
        Ok(parsed) if !json => {
            tell(&parsed.warnings);
            println!("{}: in order, {}", file.display(), summary(&parsed.config));
            ExitCode::SUCCESS
        }
        Ok(_) => ExitCode::SUCCESS,
        Err(failed) => {
            if !json {
                failed.tell();
            }
            ExitCode::FAILURE
        }
    }
}

/// What a document defines, in a few words.
fn summary(config: &Config) -> String {
    let backends: usize =
        config.pools.values().flat_map(|pool| pool.groups.values()).map(|group| group.backends.len()).sum();
    let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    format!("{}, {}", plural(config.pools.len(), "pool"), plural(backends, "backend"))
}

pub fn plan(old: &Path, new: &Path, json: bool) -> ExitCode {
    let (old, new) = match (read(old), read(new)) {
        (Ok(old), Ok(new)) => (old, new),
        (old, new) => {
            [old.err(), new.err()].into_iter().flatten().for_each(|failed| failed.tell());
            return ExitCode::FAILURE;
        }
    };
    let plan = config::diff(&old.config, &new.config);
    if json {
        println!("{}", serde_json::json!(plan));
        return ExitCode::SUCCESS;
    }
    if plan.changes.is_empty() {
        println!("nothing would change");
    }
    for change in &plan.changes {
        println!("{}", line(change));
    }
    for reason in &plan.restart_reasons {
        println!("{} needs a restart: {}", reason.path, reason.reason.sentence);
    }
    for warning in &plan.warnings {
        println!("warning: {}: {}", warning.path, warning.message);
    }
    ExitCode::SUCCESS
}

fn line(change: &PlannedChange) -> String {
    let reason = &change.reason;
    let what = match change.kind {
        ChangeKind::Added => "added".to_owned(),
        ChangeKind::Removed => "removed".to_owned(),
        ChangeKind::Set => format!("{} -> {}", change.old, change.new),
    };
    format!("{}: {what}\n    {} · {} · {}", change.path, reason.class, reason.reach, reason.sentence)
}
