//! A bridge from a file to a pool: `file_bridge FILE POOL [GROUP]` keeps the group's backends as the file says, one address
//! a line. Where addresses come from is the file's writer's business: a scheduler, a script, an editor.
//!
//! It asks the appliance what is there, so it may be stopped and started at any time, and orders only what differs. A file
//! that cannot be read, is empty or has too many lines changes nothing: the likeliest reason is a writer that died.
//!
//! `cargo run -p api --example file_bridge -- addresses.txt web`

use api::order::{BackendAdd, BackendRemove, Transaction};
use api::{Body, Client, ClientError, Edit, Failure, Order, Reply};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// How often the file is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Addresses that are believed. More are a mistake of the writer's.
const ADDRESSES_MAX: usize = 1_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (file, place) = match &arguments[..] {
        [file, pool] => (file, Place { pool: pool.clone(), group: None }),
        [file, pool, group] => (file, Place { pool: pool.clone(), group: Some(group.clone()) }),
        _ => {
            eprintln!("usage: file_bridge FILE POOL [GROUP]");
            return ExitCode::from(2);
        }
    };
    let mut told = String::new();
    loop {
        let outcome = match bring_together(Path::new(file), &place) {
            Ok(outcome) => outcome,
            // The next look tries again, also if the appliance was away.
            Err(trouble) => format!("error: {trouble}"),
        };
        if outcome != told {
            println!("{outcome}");
            told = outcome;
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// Where the backends belong.
struct Place {
    pool: String,
    /// `None`: the pool's only group.
    group: Option<String>,
}

/// One look. Says what there is afterwards.
fn bring_together(file: &Path, place: &Place) -> Result<String, Trouble> {
    let wanted = addresses(file)?;
    let mut client = Client::connect(&api::find_socket().map_err(ClientError::from)?)?;
    let present = present(&mut client, place)?;
    let add = wanted.difference(&present).map(|address| {
        let (pool, group) = (place.pool.clone(), place.group.clone());
        Edit::BackendAdd(BackendAdd { pool, group, address: address.clone(), ..BackendAdd::default() })
    });
    let remove = present.difference(&wanted).map(|address| {
        let (pool, group) = (place.pool.clone(), place.group.clone());
        // A backend is known by its address too. Its connections go on until they end.
        Edit::BackendRemove(BackendRemove { pool, group, backend: address.clone(), now: false, wait: false })
    });
    let orders: Vec<Edit> = add.chain(remove).collect();
    if !orders.is_empty() {
        // All in one generation, so that there is no moment without backends.
        result(&mut client, Order::Transaction(Transaction { orders, ..Transaction::default() }))?;
    }
    Ok(format!("{} has {}", place.pool, wanted.into_iter().collect::<Vec<_>>().join(", ")))
}

fn addresses(file: &Path) -> Result<BTreeSet<String>, Trouble> {
    let text = std::fs::read_to_string(file).map_err(|error| Trouble::File(error.to_string()))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let addresses: BTreeSet<String> = lines.map(str::to_owned).collect();
    match addresses.len() {
        0 => Err(Trouble::File("it names no address".into())),
        count if count > ADDRESSES_MAX => Err(Trouble::File(format!("{count} addresses, at most {ADDRESSES_MAX}"))),
        _ => Ok(addresses),
    }
}

/// Addresses of the backends that are there and not on their way out.
fn present(client: &mut Client, place: &Place) -> Result<BTreeSet<String>, Trouble> {
    let Body::Status(status) = result(client, Order::Status)? else { return Err(Trouble::Unexpected) };
    let pool = status.pools.into_iter().find(|pool| pool.pool == place.pool).ok_or(Trouble::NoPool)?;
    let ours = pool
        .backends
        .into_iter()
        .filter(|backend| !backend.removed && place.group.as_ref().is_none_or(|group| *group == backend.group));
    Ok(ours.map(|backend| backend.address).collect())
}

fn result(client: &mut Client, order: Order) -> Result<Body, Trouble> {
    match client.call(order, |_| ())?.reply {
        Reply::Ok { result } => Ok(result),
        Reply::Error { error } => Err(Trouble::Refused(error)),
        Reply::Processing { .. } => Err(Trouble::Unexpected),
    }
}

enum Trouble {
    File(String),
    NoPool,
    Refused(Box<Failure>),
    Client(ClientError),
    Unexpected,
}

impl From<ClientError> for Trouble {
    fn from(error: ClientError) -> Trouble {
        Trouble::Client(error)
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::File(why) => write!(f, "the file changes nothing: {why}"),
            Trouble::NoPool => f.write_str("there is no such pool"),
            Trouble::Refused(failure) => write!(f, "refused: {}", failure.message),
            Trouble::Client(error) => error.fmt(f),
            Trouble::Unexpected => f.write_str("the answer is of another kind than the order"),
        }
    }
}
