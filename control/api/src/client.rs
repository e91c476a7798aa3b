//! A blocking client: one connection, one order at a time.

use crate::answer::{Answer, Progress, Reply};
use crate::framing::{self, Decoder, End};
use crate::order::Order;
use crate::request::Request;
use crate::socket::SocketError;
use serde_json::Value;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// ```no_run
/// use api::{Client, Order, Reply};
/// let mut client = Client::connect(&api::find_socket()?)?;
/// let answer = client.call(Order::Reload(api::order::Reload::default()), |progress| eprintln!("{progress:?}"))?;
/// if let Reply::Error { error } = answer.reply {
///     eprintln!("{error}");
/// }
/// # Ok::<(), api::ClientError>(())
/// ```
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    path: PathBuf,
    decoder: Decoder,
    /// Number of the last request sent, and its `id`.
    last_id: u64,
    /// That request was to change something.
    changing: bool,
    patience: Patience,
}

/// How long the appliance may be silent before the client gives up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Patience {
    /// As the order needs: [`Order::patience`].
    #[default]
    ByOrder,
    Fixed(Duration),
    Endless,
}

/// An answer, and the very text that came.
#[derive(Clone, PartialEq, Debug)]
pub struct Received {
    pub answer: Answer,
    /// One line of JSON without its end. Holds also what a newer appliance says and this client does not know.
    pub text: String,
}

/// Bytes that one answer may have. Larger than a request's bound: the running document comes back escaped.
pub const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Time in which the appliance must take what is sent: it reads before it works.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

impl Client {
    pub fn connect(path: &Path) -> Result<Client, ClientError> {
        let stream =
            UnixStream::connect(path).map_err(|error| ClientError::Unreachable { path: path.to_owned(), error })?;
        let path = path.to_owned();
        let client = Client {
            stream,
            path,
            decoder: Decoder::new(ANSWER_BYTES_MAX),
            last_id: 0,
            changing: false,
            patience: Patience::default(),
        };
        client.stream.set_write_timeout(Some(SEND_TIMEOUT)).map_err(|error| client.lost(Some(error)))?;
        Ok(client)
    }

    pub fn with_patience(self, patience: Patience) -> Client {
        Client { patience, ..self }
    }

    /// Sends one order and waits for its final answer, which may be an `error`.
    pub fn call(&mut self, order: Order, mut on_progress: impl FnMut(&Progress)) -> Result<Answer, ClientError> {
        let silence = self.silence(&order);
        self.send(order)?;
        loop {
            let Received { answer, .. } = self.receive(silence)?;
            match &answer.reply {
                Reply::Processing { progress } => on_progress(progress),
                Reply::Ok { .. } | Reply::Error { .. } => return Ok(answer),
            }
        }
    }

    /// How long this client waits for each answer to this order; `None`: for ever.
    pub fn silence(&self, order: &Order) -> Option<Duration> {
        match self.patience {
            Patience::ByOrder => order.patience(),
            Patience::Fixed(silence) => Some(silence),
            Patience::Endless => None,
        }
    }

    /// The first half of [`Client::call`], for who wants each answer by itself.
    pub fn send(&mut self, order: Order) -> Result<(), ClientError> {
        let changing = order.is_change();
        let bytes = framing::encode(&Request::new(self.last_id + 1, order), End::Newline);
        if bytes.len() > framing::MESSAGE_BYTES_MAX {
            return Err(ClientError::TooLong { bytes: bytes.len() });
        }
        self.last_id += 1;
        self.changing = changing;
        self.stream.write_all(&bytes).map_err(|error| self.lost(Some(error)))
    }

    /// The next answer to the order sent last. `silence`: as [`Client::silence`] gives.
    pub fn receive(&mut self, silence: Option<Duration>) -> Result<Received, ClientError> {
        // The standard library refuses zero.
        let silence = silence.map(|silence| silence.max(Duration::from_millis(1)));
        self.stream.set_read_timeout(silence).map_err(|error| self.lost(Some(error)))?;
        loop {
            match self.decoder.decode() {
                Some(Ok(frame)) => return self.understand(frame.text),
                Some(Err(too_long)) => return Err(self.garbled(too_long.to_string())),
                None => self.read_more(silence)?,
            }
        }
    }

    fn read_more(&mut self, silence: Option<Duration>) -> Result<(), ClientError> {
        let mut chunk = [0; 16 << 10];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(self.lost(None)),
            Ok(count) => {
                self.decoder.feed(&chunk[..count]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(ClientError::Silent {
                    path: self.path.clone(),
                    silence: silence.unwrap_or_default(),
                    changing: self.changing,
                })
            }
            Err(error) => Err(self.lost(Some(error))),
        }
    }

    fn understand(&self, text: Vec<u8>) -> Result<Received, ClientError> {
        let answer = Answer::decode(&text).map_err(|error| self.garbled(error.to_string()))?;
        // An appliance that could not read the request could not read its id either.
        let ours =
            answer.id == self.last_id || (answer.id == Value::Null && matches!(answer.reply, Reply::Error { .. }));
        if !ours {
            let found = answer.id;
            return Err(self.garbled(format!("an answer to {found} instead of {}", self.last_id)));
        }
        let text = String::from_utf8(text).map_err(|error| self.garbled(error.to_string()))?;
        Ok(Received { answer, text })
    }

    fn lost(&self, error: Option<io::Error>) -> ClientError {
        ClientError::Lost { path: self.path.clone(), error, changing: self.changing }
    }

    fn garbled(&self, found: String) -> ClientError {
        ClientError::Garbled { path: self.path.clone(), found, changing: self.changing }
    }
}

/// Grouped by what it means for the order. `changing`: it was to change something, and perhaps has.
#[derive(Debug)]
pub enum ClientError {
    /// Not sent: no socket to send it to.
    NoSocket(SocketError),
    /// Not sent: nobody answers at the socket.
    Unreachable { path: PathBuf, error: io::Error },
    /// Not sent: longer than the appliance takes.
    TooLong { bytes: usize },
    /// The connection ended before the final answer.
    Lost {
        path: PathBuf,
        /// `None`: it ended in an orderly way.
        error: Option<io::Error>,
        changing: bool,
    },
    /// No answer within the client's patience.
    Silent { path: PathBuf, silence: Duration, changing: bool },
    /// The answer makes no sense to this client.
    Garbled { path: PathBuf, found: String, changing: bool },
}

impl ClientError {
    /// The order may have been carried out all the same.
    pub fn is_uncertain(&self) -> bool {
        match self {
            ClientError::Lost { changing, .. }
            | ClientError::Silent { changing, .. }
            | ClientError::Garbled { changing, .. } => *changing,
            ClientError::NoSocket(_) | ClientError::Unreachable { .. } | ClientError::TooLong { .. } => false,
        }
    }
}

impl From<SocketError> for ClientError {
    fn from(error: SocketError) -> ClientError {
        ClientError::NoSocket(error)
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::NoSocket(error) => error.fmt(f),
            ClientError::Unreachable { path, error } => unreachable_at(f, path, error),
            ClientError::TooLong { bytes } => write!(
                f,
                "the order has {bytes} bytes; accepted are at most {}. Put mass data in files of its own and name them",
                framing::MESSAGE_BYTES_MAX
            ),
            ClientError::Lost { path, error, .. } => {
                let path = path.display();
                write!(f, "the connection to {path} ended before the final answer")?;
                match error {
                    Some(error) => write!(f, " ({error})"),
                    None => Ok(()),
                }
            }
            ClientError::Silent { path, silence, .. } => {
                let (path, seconds) = (path.display(), silence.as_secs_f64());
                write!(f, "no answer from {path} for {seconds} s")
            }
            ClientError::Garbled { path, found, .. } => write!(
                f,
                "{} answers, but not in a language known here ({found}): is that sluicegate, and not newer than this program?",
                path.display()
            ),
        }?;
        if self.is_uncertain() {
            f.write_str(". The order may have been carried out: `sluicectl history` tells")?;
        }
        Ok(())
    }
}

fn unreachable_at(f: &mut fmt::Formatter<'_>, path: &Path, error: &io::Error) -> fmt::Result {
    let path = path.display();
    match error.kind() {
        ErrorKind::NotFound => write!(
            f,
            "there is no {path}: is sluicegate running? Start it with `sluicegate run`, or name its socket with --socket"
        ),
        ErrorKind::ConnectionRefused => write!(
            f,
            "nothing listens on {path}: is sluicegate running? Start it with `sluicegate run`; it replaces the old socket"
        ),
        ErrorKind::PermissionDenied => write!(
            f,
            "no permission for {path}: run as its owner or as a member of its group (see `ls -l {path}` and `appliance.control_mode`)"
        ),
        ErrorKind::InvalidInput => write!(f, "{path} is too long for a socket: accepted are at most 107 bytes"),
        _ => write!(f, "{path}: {error}"),
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ClientError::NoSocket(error) => Some(error),
            ClientError::Unreachable { error, .. } => Some(error),
            ClientError::Lost { error, .. } => error.as_ref().map(|error| error as &dyn std::error::Error),
            ClientError::TooLong { .. } | ClientError::Silent { .. } | ClientError::Garbled { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::{Body, ErrorCode, Failure};
    use crate::status::Version;
    use std::os::unix::net::UnixListener;
    use std::thread;
    use tempfile::TempDir;

    /// An appliance that takes one connection, answers its first message with `answers` and is silent from
    /// then on.
    fn with_appliance<T>(answers: &str, talk: impl FnOnce(Client) -> T) -> T {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let answers = answers.to_owned();
        let appliance = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut decoder = Decoder::default();
            let mut chunk = [0; 4096];
            let frame = loop {
                if let Some(frame) = decoder.decode() {
                    break frame.unwrap();
                }
                let count = stream.read(&mut chunk).unwrap();
                assert_ne!(count, 0, "the client left before it had asked");
                decoder.feed(&chunk[..count]);
            };
            let request = Request::decode(&frame.text).unwrap();
            assert_eq!(frame.end, End::Newline);
            // An impatient client may have left.
            let _ = stream.write_all(answers.as_bytes());
            (request, stream)
        });
        let result = talk(Client::connect(&path).unwrap());
        let (request, _) = appliance.join().unwrap();
        assert_eq!(request.id, 1);
        result
    }

    fn error_of(answers: &str, patience: Patience) -> ClientError {
        with_appliance(answers, |client| {
            let mut client = client.with_patience(patience);
            client.call(Order::Reload(crate::order::Reload::default()), |_| ()).unwrap_err()
        })
    }

    #[test]
    fn progress_comes_before_the_one_final_answer() {
        let answers = concat!(
            r#"{"id":1,"status":"processing","progress":{"kind":"stopping","connections":2}}"#,
            "\n\n",
            r#"{"id":1,"status":"processing","progress":{"kind":"stopping","connections":1}}"#,
            "\0",
            r#"{"id":1,"status":"ok","result":{"kind":"version","version":"1.2.3","protocol":1,"news":[]}}"#,
            "\n",
        );
        let (answer, seen) = with_appliance(answers, |mut client| {
            let mut seen = Vec::new();
            let answer = client.call(Order::Version, |progress| seen.push(progress.clone()));
            (answer.unwrap(), seen)
        });
        assert_eq!(seen, [2, 1].map(|connections| Progress::Stopping { connections }));
        let version = Version { version: "1.2.3".into(), protocol: 1 };
        assert_eq!(answer, Answer::ok(1.into(), Body::Version(version)));
    }

    #[test]
    fn an_error_without_id_is_taken_as_the_answer() {
        let answers = "{\"id\":null,\"status\":\"error\",\"error\":{\"code\":\"too_large\",\"message\":\"m\"}}\n";
        let answer = with_appliance(answers, |mut client| client.call(Order::Version, |_| ()));
        let failure = Failure::new(ErrorCode::TooLarge, "m");
        assert_eq!(answer.unwrap(), Answer::error(Value::Null, failure));
    }

    #[test]
    fn what_is_received_keeps_the_text_as_it_came() {
        let text = r#"{"id":1, "status":"ok","result":{"kind":"version","version":"","protocol":9,"news":1}}"#;
        with_appliance(&format!("{text}\n"), |mut client| {
            client.send(Order::Version).unwrap();
            assert_eq!(client.receive(None).unwrap().text, text);
        });
    }

    #[test]
    fn silence_and_nonsense_are_told_apart_and_leave_the_order_uncertain() {
        let short = Patience::Fixed(Duration::from_millis(1));
        let silent = error_of("", short);
        assert!(matches!(silent, ClientError::Silent { .. }), "{silent}");
        let half = error_of(r#"{"id":1,"#, short);
        assert!(matches!(half, ClientError::Silent { .. }), "{half}");
        for nonsense in [
            "HTTP/1.1 400 Bad Request\r\n",
            "{\"id\":2,\"status\":\"ok\",\"result\":{\"kind\":\"stopped\",\"closed_connections\":0}}\n",
            "{\"id\":1,\"status\":\"ok\",\"result\":{\"kind\":\"unheard_of\"}}\n",
        ] {
            let garbled = error_of(nonsense, Patience::Endless);
            assert!(matches!(garbled, ClientError::Garbled { .. }), "{garbled}");
            assert!(garbled.is_uncertain());
            assert!(garbled.to_string().contains("sluicectl history"));
        }
    }

    #[test]
    fn a_connection_that_ends_early_is_lost() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let mut client = Client::connect(&path).unwrap();
        drop(listener);
        let lost = client.call(Order::Version, |_| ()).unwrap_err();
        assert!(matches!(lost, ClientError::Lost { .. }), "{lost}");
        assert!(!lost.is_uncertain(), "nothing was to change");
    }

    #[track_caller]
    fn unreachable(path: &Path, expected: &str) {
        let error = Client::connect(path).unwrap_err();
        assert!(!error.is_uncertain());
        assert!(error.to_string().contains(expected), "{error}");
    }

    #[test]
    fn who_cannot_be_reached_and_what_to_do() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("socket");
        unreachable(&path, "is sluicegate running?");
        drop(UnixListener::bind(&path).unwrap());
        unreachable(&path, "nothing listens on");
        unreachable(&folder.path().join("x".repeat(108)), "at most 107 bytes");
    }
}
