//! Says when a removed backend is empty, or a superseded part is released: `watch_drains [COUNT]` ends after so many.
//!
//! `cargo run -p api --example watch_drains`

use api::order::Events;
use api::{Client, ClientError, Event, Happening, Order, Patience, Progress, Reply};
use std::process::ExitCode;

fn main() -> ExitCode {
    let count = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(usize::MAX);
    match watch(count) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn watch(mut count: usize) -> Result<(), ClientError> {
    // Nothing may happen for days.
    let mut client = Client::connect(&api::find_socket()?)?.with_patience(Patience::Endless);
    // From the oldest event that the appliance remembers.
    client.send(Order::Events(Events { from: Some(1) }))?;
    while count > 0 {
        match client.receive(None)?.answer.reply {
            Reply::Processing { progress: Progress::Event { event } } => {
                if let Some(line) = line(&event) {
                    println!("{line}");
                    count -= 1;
                }
            }
            Reply::Error { error } => eprintln!("error: {error}"),
            Reply::Processing { .. } | Reply::Ok { .. } => {}
        }
    }
    Ok(())
}

fn line(event: &Event) -> Option<String> {
    match &event.happening {
        Happening::Drained { pool, group, backend } => Some(format!("{pool}/{group}/{backend} is empty")),
        Happening::Released { pool, generation, part, .. } => Some(format!("{pool}@{generation} {part} is released")),
        Happening::Missed { events } => Some(format!("{events} events were missed; `status` tells how things are")),
        _ => None,
    }
}
