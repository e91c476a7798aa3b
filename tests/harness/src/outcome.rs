//! What a client saw: an exchange was complete, or it ended in one of these ways.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

/// How an exchange ended that was not complete.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// Nobody took the connection.
    Refused,
    /// Taken, then reset before the first byte came back.
    ResetBeforeByte,
    /// Reset after `received` bytes had come back.
    ResetMidStream { received: u64 },
    /// The other side ended properly, but too early.
    EarlyEnd { received: u64, expected: u64 },
    /// More came than was expected.
    Surplus { expected: u64 },
    /// The byte at this offset of the answer is not the one that was expected.
    WrongData { at: u64 },
    /// Nothing happened for as long as the client would wait.
    TimedOut { doing: &'static str, received: u64 },
    /// None of these: the system's own words.
    Other { doing: &'static str, error: String },
}

impl Failure {
    /// Names an error of the system. `received` is how much had come back before it.
    pub fn of(doing: &'static str, error: &io::Error, received: u64) -> Failure {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Failure::Refused,
            // A unix socket whose file is not there has nobody behind it either.
            io::ErrorKind::NotFound if doing == "connect" => Failure::Refused,
            // A broken pipe is the same reset, met while writing.
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe if received == 0 => Failure::ResetBeforeByte,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Failure::ResetMidStream { received },
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Failure::TimedOut { doing, received },
            _ => Failure::Other { doing, error: error.to_string() },
        }
    }

    /// The word under which failures of this kind are counted.
    pub fn class(&self) -> &'static str {
        match self {
            Failure::Refused => "refused",
            Failure::ResetBeforeByte => "reset before a byte",
            Failure::ResetMidStream { .. } => "reset mid-stream",
            Failure::EarlyEnd { .. } => "early end",
            Failure::Surplus { .. } => "surplus data",
            Failure::WrongData { .. } => "wrong data",
            Failure::TimedOut { .. } => "timed out",
            Failure::Other { .. } => "other",
        }
    }

    /// A reset, before or after the first byte.
    pub fn is_reset(&self) -> bool {
        matches!(self, Failure::ResetBeforeByte | Failure::ResetMidStream { .. })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.class())?;
        match self {
            Failure::Refused | Failure::ResetBeforeByte => Ok(()),
            Failure::ResetMidStream { received } => write!(f, " after {received} bytes"),
            Failure::EarlyEnd { received, expected } => {
                write!(f, " after {received} of {expected} bytes")
            }
            Failure::Surplus { expected } => write!(f, " after the expected {expected} bytes"),
            Failure::WrongData { at } => write!(f, " at offset {at}"),
            Failure::TimedOut { doing, received } => {
                write!(f, " in {doing} after {received} bytes")
            }
            Failure::Other { doing, error } => write!(f, ": {doing}: {error}"),
        }
    }
}

impl std::error::Error for Failure {}

/// Outcomes counted by class, with the first few kept whole.
#[derive(Clone, Default, Debug)]
pub struct Tally {
    pub complete: u64,
    failed: BTreeMap<&'static str, u64>,
    examples: Vec<String>,
}

impl Tally {
    /// Examples that are kept: enough to see a pattern, few enough to read.
    const EXAMPLES: usize = 10;

    pub fn add<T>(&mut self, outcome: Result<T, Failure>) {
        match outcome {
            Ok(_) => self.complete += 1,
            Err(failure) => self.add_failure("", &failure),
        }
    }

    /// Counts a failure; `whose` says of which client, for the reader.
    pub fn add_failure(&mut self, whose: &str, failure: &Failure) {
        self.count_failure(failure.class(), format!("{whose}{failure}"));
    }

    /// Counts a failure of this class, told in the words of `example`.
    pub fn count_failure(&mut self, class: &'static str, example: String) {
        *self.failed.entry(class).or_default() += 1;
        if self.examples.len() < Tally::EXAMPLES {
            self.examples.push(example);
        }
    }

    pub fn merge(&mut self, other: Tally) {
        self.complete += other.complete;
        for (class, count) in other.failed {
            *self.failed.entry(class).or_default() += count;
        }
        let room = Tally::EXAMPLES - self.examples.len();
        self.examples.extend(other.examples.into_iter().take(room));
    }

    pub fn failed(&self) -> u64 {
        self.failed.values().sum()
    }

    /// How often this class of [`Failure::class`] was seen.
    pub fn count(&self, class: &str) -> u64 {
        self.failed.get(class).copied().unwrap_or(0)
    }

    /// Panics unless every exchange was complete, and there was at least one.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(self.failed() == 0, "clients saw failures: {self}");
        assert!(self.complete > 0, "no exchange took place: nothing was shown");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} complete", self.complete)?;
        for (class, count) in &self.failed {
            write!(f, ", {count} {class}")?;
        }
        if !self.examples.is_empty() {
            write!(f, " (such as: {})", self.examples.join("; "))?;
        }
        Ok(())
    }
}
