//! One line for each event.

use super::receipt::{micros, outcome_style};
use super::status::health_style;
use super::{BAD, DIM, GOOD, WARN, joined, size};
use api::order::StopMode;
use api::{Event, Happening};
use std::time::Duration;

pub fn event(event: &Event) -> String {
    // The date is in the JSON; who follows events knows the day.
    let clock = event.time.get(11..23).unwrap_or(&event.time);
    format!("{DIM}{clock} {:>5}{DIM:#}  {}", event.number, happening(&event.happening))
}

fn happening(happening: &Happening) -> String {
    match happening {
        Happening::JobSubmitted { job, source } => format!("job {job} submitted by {source}"),
        Happening::JobStage { job, stage } => format!("job {job} {stage}"),
        Happening::JobEnded { job, outcome, generation } => {
            let style = outcome_style(*outcome);
            let running = generation.map(|number| format!(", generation {number} runs"));
            let running = running.unwrap_or_default();
            format!("job {job} {style}{outcome}{style:#}{running}")
        }
        Happening::Adopted { job, shard, adopted_micros, pause_micros } => format!(
            "job {job} adopted by shard {shard} after {}, pause {}",
            micros(*adopted_micros),
            micros(*pause_micros)
        ),
        Happening::ShardLost { shard, job } => {
            format!("{BAD}shard {shard} lost{BAD:#}: did not adopt job {job} in time, accepts nothing until it has")
        }
        Happening::ShardDied { shard } => format!("{BAD}shard {shard} died{BAD:#}"),
        Happening::ShardBack { shard } => format!("{GOOD}shard {shard} is back{GOOD:#}"),
        Happening::Drained { pool, group, backend } => format!("{pool}/{group}/{backend} drained"),
        Happening::Released { pool, generation, part, bytes } => {
            format!("{pool}@{generation} {part} released, {}", size(*bytes))
        }
        Happening::Miscompiled { pool, generation, runs, says } => {
            format!("{BAD}{pool}@{generation} is not what its document says{BAD:#}: it means {runs}, not {says}")
        }
        Happening::Listener { pool, address, state } => format!("{pool} {address} {state}"),
        Happening::Health { pool, group, backend, health, cause } => {
            let style = health_style(*health);
            let cause = cause.as_ref().map(|cause| format!(": {cause}"));
            let cause = cause.unwrap_or_default();
            format!("{pool}/{group}/{backend} {style}{health}{style:#}{cause}")
        }
        Happening::Resolved { pool, group, backend, addresses } => {
            format!("{pool}/{group}/{backend} resolves to {}", joined(addresses))
        }
        Happening::Stopping { mode: StopMode::Graceful, deadline_millis: Some(millis) } => format!(
            "{WARN}stopping{WARN:#}, connections may end within {}",
            crate::duration::shown(Duration::from_millis(*millis))
        ),
        Happening::Stopping { .. } => format!("{WARN}stopping{WARN:#}"),
        Happening::Missed { events } => format!("{WARN}{events} events are left out here{WARN:#}"),
    }
}
