//! One order, from the first byte to the final answer: progress while it lasts, the answer at the end.

use crate::document::InputError;
use crate::show::{self, Account};
use anstream::AutoStream;
use api::{Answer, Client, ClientError, Order, Progress, Reply};
use indicatif::ProgressBar;
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::time::Duration;

/// The appliance's last word.
pub enum Ending {
    Ok,
    Error,
}

/// No last word, or nowhere to say it.
#[derive(Debug)]
pub enum Trouble {
    Input(InputError),
    Client(ClientError),
    Output(io::Error),
}

pub fn talk(mut client: Client, order: Order, json: bool) -> Result<Ending, Trouble> {
    let account = account_of(&order);
    let silence = client.silence(&order);
    client.send(order)?;
    let mut under_way = UnderWay::new(json);
    let received = loop {
        let received = client.receive(silence)?;
        match &received.answer.reply {
            Reply::Processing { progress: Progress::Event { event } } => {
                let line = if json {
                    serde_json::to_string(event).expect("an event has text keys only")
                } else {
                    show::event(event)
                };
                if !print(&format!("{line}\n"))? {
                    return Ok(Ending::Ok);
                }
            }
            Reply::Processing { progress: Progress::Stage { .. } } if under_way.is_plain() => {}
            Reply::Processing { progress } => under_way.tell(show::progress(progress)),
            Reply::Ok { .. } | Reply::Error { .. } => break received,
        }
    };
    under_way.end();
    let ending = match &received.answer.reply {
        Reply::Error { .. } => Ending::Error,
        Reply::Ok { .. } | Reply::Processing { .. } => Ending::Ok,
    };
    if json {
        print(&format!("{}\n", received.text))?;
    } else {
        print_for_people(&received.answer, account)?;
    }
    Ok(ending)
}

fn account_of(order: &Order) -> Account {
    match order {
        Order::Receipt(_) => Account::Full,
        Order::BackendRemove(removal) if removal.wait => Account::Drained,
        _ => Account::Outcome,
    }
}

fn print_for_people(answer: &Answer, account: Account) -> Result<(), Trouble> {
    match &answer.reply {
        Reply::Ok { result } => print(&show::body(result, account)).map(|_| ()),
        Reply::Error { error } => {
            complain(show::failure(error).trim_end());
            Ok(())
        }
        Reply::Processing { .. } => Ok(()),
    }
}

/// To standard error, and whether anybody reads it does not matter.
pub fn complain(text: impl fmt::Display) {
    let bad = show::BAD;
    let _ = writeln!(anstream::stderr(), "{bad}error{bad:#}: {text}");
}

/// False: nobody reads any more, and that is no error.
fn print(text: &str) -> Result<bool, Trouble> {
    let mut out = AutoStream::auto(io::stdout().lock());
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Trouble::Output(error)),
    }
}

/// What an order waits for: a moving line on a terminal, else a line whenever it changes (without the stages,
/// which mostly take less than a millisecond each), and nothing beside JSON.
struct UnderWay {
    bar: Option<ProgressBar>,
    last: String,
}

impl UnderWay {
    fn new(json: bool) -> UnderWay {
        let bar = (!json).then(ProgressBar::new_spinner);
        UnderWay { bar, last: String::new() }
    }

    /// Lines go to a file or a pipe.
    fn is_plain(&self) -> bool {
        self.bar.as_ref().is_none_or(ProgressBar::is_hidden)
    }

    fn tell(&mut self, news: String) {
        let Some(bar) = &self.bar else { return };
        if news == self.last {
            return;
        }
        if bar.is_hidden() {
            // As `complain`: nobody needs to read it.
            let _ = writeln!(anstream::stderr(), "{news}");
        } else {
            bar.enable_steady_tick(Duration::from_millis(100));
            bar.set_message(news.clone());
        }
        self.last = news;
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl From<ClientError> for Trouble {
    fn from(error: ClientError) -> Trouble {
        Trouble::Client(error)
    }
}

impl From<InputError> for Trouble {
    fn from(error: InputError) -> Trouble {
        Trouble::Input(error)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Input(error) => error.fmt(f),
            Trouble::Client(error) => error.fmt(f),
            Trouble::Output(error) => write!(f, "the output could not be written: {error}"),
        }
    }
}
