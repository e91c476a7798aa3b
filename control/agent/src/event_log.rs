//! What the appliance says of itself on stderr: one line an event, for people or as JSON.
//!
//! Owns the words. Writing is the log thread's, so nobody waits for a terminal.

use crate::clock;
use crate::log::Speaker;
use api::receipt::JobOutcome;
use api::status::{Health, ListenerState};
use api::{Event, Happening};
use config::{EventFormat, EventLevel};
use serde_json::json;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// How much an event matters, the most important first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    Error,
    Warning,
    Info,
    Debug,
}

impl Level {
    fn label(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Info => "info",
            Level::Debug => "debug",
        }
    }
}

/// Cheap to clone; all clones are the same log.
#[derive(Clone, Debug)]
pub struct EventLog {
    speaker: Option<Speaker>,
    /// Level and format in one, so that both change at once: `level * 2 + json`.
    settings: Arc<AtomicU8>,
}

impl EventLog {
    pub fn new(speaker: Speaker, settings: &config::EventLog) -> EventLog {
        let log = EventLog { speaker: Some(speaker), settings: Arc::default() };
        log.set(settings);
        log
    }

    /// Says nothing to nobody.
    #[cfg(test)]
    pub fn silent() -> EventLog {
        EventLog { speaker: None, settings: Arc::default() }
    }

    pub fn set(&self, settings: &config::EventLog) {
        let level = match settings.level {
            EventLevel::Error => Level::Error,
            EventLevel::Warning => Level::Warning,
            EventLevel::Info => Level::Info,
            EventLevel::Debug => Level::Debug,
        };
        let json = settings.format == EventFormat::Json;
        // Relaxed: the next line may still be in the old form.
        self.settings.store(level as u8 * 2 + u8::from(json), Ordering::Relaxed);
    }

    pub fn event(&self, event: &Event) {
        let level = level(&event.happening);
        if let Some(json) = self.wants(level) {
            let text = if json {
                let mut line = serde_json::to_value(event).expect("events have string keys");
                line["level"] = level.label().into();
                line.to_string()
            } else {
                format!("{} {} {}", event.time, level.label(), words(&event.happening))
            };
            self.write(&text);
        }
    }

    /// Something that is no event of the protocol. May have several lines.
    pub fn say(&self, level: Level, text: &str) {
        if let Some(json) = self.wants(level) {
            let time = clock::date();
            let line = if json {
                json!({ "time": time, "level": level.label(), "message": text }).to_string()
            } else {
                format!("{time} {} {text}", level.label())
            };
            self.write(&line);
        }
    }

    /// Whether a line of this level is written, and then whether as JSON.
    fn wants(&self, level: Level) -> Option<bool> {
        let settings = self.settings.load(Ordering::Relaxed);
        (level as u8 <= settings / 2).then_some(settings % 2 == 1)
    }

    fn write(&self, line: &str) {
        if let Some(speaker) = &self.speaker {
            speaker.say(line);
        }
    }
}

fn level(happening: &Happening) -> Level {
    match happening {
        Happening::ShardLost { .. } | Happening::ShardDied { .. } | Happening::Miscompiled { .. } => Level::Error,
        // The reason is said beside it.
        Happening::JobEnded { .. } => Level::Info,
        Happening::Health { health: Health::Down, .. } => Level::Warning,
        Happening::Health { .. }
        | Happening::Resolved { .. }
        | Happening::ShardBack { .. }
        | Happening::Drained { .. }
        | Happening::Stopping { .. } => Level::Info,
        Happening::Listener { state, .. } => match state {
            ListenerState::Listening | ListenerState::Closed => Level::Info,
            ListenerState::Bound | ListenerState::Leaving | ListenerState::Draining => Level::Debug,
        },
        Happening::JobSubmitted { .. }
        | Happening::JobStage { .. }
        | Happening::Adopted { .. }
        | Happening::Released { .. }
        | Happening::Missed { .. } => Level::Debug,
    }
}

fn words(happening: &Happening) -> String {
    match happening {
        Happening::JobSubmitted { job, source } => format!("job {job} submitted by {source}"),
        Happening::JobStage { job, stage } => format!("job {job}: {stage}"),
        Happening::JobEnded { job, outcome, generation } => {
            let mut text = format!("job {job} {outcome}");
            match (outcome, generation) {
                (JobOutcome::Applied, Some(generation)) => write!(text, ": generation {generation} runs"),
                (_, Some(generation)) => write!(text, ": generation {generation} still runs"),
                (_, None) => Ok(()),
            }
            .expect("writing to memory cannot fail");
            text
        }
        Happening::Adopted { job, shard, adopted_micros, pause_micros } => {
            format!("job {job} adopted by shard {shard} after {adopted_micros} µs, pause {pause_micros} µs")
        }
        Happening::ShardLost { shard, job } => format!("shard {shard} lost: it did not adopt job {job} in time"),
        Happening::ShardDied { shard } => format!("shard {shard} died, with its connections; another is started"),
        Happening::ShardBack { shard } => format!("shard {shard} serves"),
        Happening::Drained { pool, group, backend } => format!("pool {pool}: backend {group}/{backend} drained"),
        Happening::Released { pool, generation, part, bytes } => {
            format!("pool {pool}: {part} of generation {generation} released, {bytes} bytes")
        }
        Happening::Miscompiled { pool, generation, runs, says } => format!(
            "pool {pool}: generation {generation} means {runs}, and its document, compiled from nothing, {says}: please report it"
        ),
        Happening::Listener { pool, address, state } => format!("pool {pool}: {address} {state}"),
        Happening::Health { pool, group, backend, health, cause } => {
            let cause = cause.as_ref().map_or_else(String::new, |cause| format!(": {cause}"));
            format!("pool {pool}: backend {group}/{backend} {health}{cause}")
        }
        Happening::Resolved { pool, group, backend, addresses } => {
            format!("pool {pool}: backend {group}/{backend} resolved to {}", addresses.join(", "))
        }
        Happening::Stopping { deadline_millis, .. } => match deadline_millis {
            Some(millis) => format!("stopping, at the latest in {millis} ms"),
            None => "stopping".into(),
        },
        Happening::Missed { events } => format!("{events} events missed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(format: EventFormat, level: EventLevel) -> config::EventLog {
        config::EventLog { format, level }
    }

    #[test]
    fn the_level_decides_and_the_format_shows() {
        let log = EventLog::silent();
        for (level, wanted) in [
            (EventLevel::Error, [true, false, false, false]),
            (EventLevel::Warning, [true, true, false, false]),
            (EventLevel::Debug, [true, true, true, true]),
        ] {
            for (format, json) in [(EventFormat::Text, false), (EventFormat::Json, true)] {
                log.set(&settings(format, level));
                let got = [Level::Error, Level::Warning, Level::Info, Level::Debug].map(|level| log.wants(level));
                assert_eq!(got, wanted.map(|wanted| wanted.then_some(json)));
            }
        }
    }

    #[test]
    fn events_read_as_sentences() {
        let ended = Happening::JobEnded { job: 4, outcome: JobOutcome::KeptOld, generation: Some(3) };
        assert_eq!(words(&ended), "job 4 kept-old: generation 3 still runs");
        let down = Happening::Health {
            pool: "db".into(),
            group: "main".into(),
            backend: "a".into(),
            health: Health::Down,
            cause: Some("connection refused".into()),
        };
        assert_eq!(words(&down), "pool db: backend main/a down: connection refused");
        assert_eq!(level(&down), Level::Warning);
    }
}
