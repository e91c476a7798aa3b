//! The control socket: clients, their messages, their answers.
//!
//! One session a client, at most [`SESSIONS_MAX`]; within a session orders are answered in turn. Owns the
//! socket's file and the framing; what an order does is in [`crate::orders`].

use crate::orders::{Audience, Left, carry_out};
use crate::publish::Shared;
use api::answer::{Failure, Progress};
use api::framing::{Decoder, End, Frame, encode};
use api::receipt::Author;
use api::{Answer, Body, ErrorCode, Request};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Timespec;
use serde_json::Value;
use std::cell::Cell;
use std::convert::Infallible;
use std::fmt;
use std::fs::Permissions;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

/// Clients at the same time. One more is told so and let go.
pub const SESSIONS_MAX: usize = 64;

/// A message longer than this is read on another thread.
const QUICK_BYTES: usize = 64 << 10;

/// How often a session that waits for its job looks whether its client is still there.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The socket's place in the file system. Dropped, it is gone, if it still is ours.
#[derive(Debug)]
pub struct Socket {
    listener: std::os::unix::net::UnixListener,
    path: PathBuf,
    inode: (u64, u64),
}

/// Why the control socket could not be opened.
#[derive(Debug)]
pub enum SocketTaken {
    /// Another appliance answers there.
    Alive {
        path: PathBuf,
    },
    /// Something is there that is no socket.
    NoSocket {
        path: PathBuf,
    },
    Failed {
        path: PathBuf,
        error: io::Error,
    },
}

impl fmt::Display for SocketTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SocketTaken::Alive { path } => {
                let path = path.display();
                write!(f, "another appliance listens on the control socket {path}; give this one another")
            }
            SocketTaken::NoSocket { path } => {
                write!(f, "{} is in the way of the control socket and is no socket", path.display())
            }
            SocketTaken::Failed { path, error } => {
                write!(f, "the control socket {} cannot be opened: {error}", path.display())
            }
        }
    }
}

impl std::error::Error for SocketTaken {}

impl Socket {
    /// Opens it with this file mode. One that a dead process has left is replaced.
    pub fn open(path: &Path, mode: u32) -> Result<Socket, SocketTaken> {
        let failed = |error| SocketTaken::Failed { path: path.into(), error };
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
            Ok(there) if !there.file_type().is_socket() => return Err(SocketTaken::NoSocket { path: path.into() }),
            Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
                Ok(_) => return Err(SocketTaken::Alive { path: path.into() }),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(failed(error)),
            },
        }
        // Made beside its place and moved there with the right mode: nobody can connect before.
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}", std::process::id()));
        let beside = PathBuf::from(beside);
        let _ = std::fs::remove_file(&beside);
        let open = || {
            let listener = std::os::unix::net::UnixListener::bind(&beside)?;
            listener.set_nonblocking(true)?;
            std::fs::set_permissions(&beside, Permissions::from_mode(mode))?;
            let made = std::fs::metadata(&beside)?;
            std::fs::rename(&beside, path)?;
            Ok((listener, (made.dev(), made.ino())))
        };
        let (listener, inode) = open().map_err(|error| {
            let _ = std::fs::remove_file(&beside);
            failed(error)
        })?;
        Ok(Socket { listener, path: path.into(), inode })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let ours = self.path.symlink_metadata().is_ok_and(|there| (there.dev(), there.ino()) == self.inode);
        if ours {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Lets clients in, for as long as it is polled.
pub async fn serve(socket: &Socket, shared: Arc<Shared>) -> io::Result<Infallible> {
    let listener = UnixListener::from_std(socket.listener.try_clone()?)?;
    let lobby = Rc::new(Lobby::new());
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (lobby, shared) = (Rc::clone(&lobby), Arc::clone(&shared));
                tokio::task::spawn_local(async move {
                    match Place::wait(&lobby).await {
                        Some(_place) => drop(Session::new(stream, shared, lobby).run().await),
                        None => turn_away(stream).await,
                    }
                });
            }
            // No descriptor is free, most likely. Clients wait in the queue meanwhile.
            Err(_) => tokio::time::sleep(ACCEPT_RETRY).await,
        }
    }
}

const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Who is in, and who makes room: one that only sits there does for one that comes, so that nobody can lock the
/// operator out by sitting.
struct Lobby {
    places: Cell<usize>,
    /// Sessions that wait for their client to say something.
    idle: Cell<usize>,
    /// Asks the one that has been idle the longest to leave.
    wanted: Notify,
    freed: Notify,
}

impl Lobby {
    fn new() -> Lobby {
        Lobby { places: Cell::new(SESSIONS_MAX), idle: Cell::new(0), wanted: Notify::new(), freed: Notify::new() }
    }
}

/// One of the places for clients.
struct Place(Rc<Lobby>);

impl Place {
    fn take(lobby: &Rc<Lobby>) -> Option<Place> {
        let left = lobby.places.get().checked_sub(1)?;
        lobby.places.set(left);
        Some(Place(Rc::clone(lobby)))
    }

    /// Takes a place, of one that is idle if need be. `None`: everybody is busy.
    async fn wait(lobby: &Rc<Lobby>) -> Option<Place> {
        if let Some(place) = Place::take(lobby) {
            return Some(place);
        }
        if lobby.idle.get() == 0 {
            return None;
        }
        // Said only while somebody listens, so it cannot be left for one that comes to rest later.
        lobby.idle.set(lobby.idle.get() - 1);
        lobby.wanted.notify_one();
        let _ = tokio::time::timeout(ACCEPT_RETRY, lobby.freed.notified()).await;
        Place::take(lobby)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.places.set(self.0.places.get() + 1);
        self.0.freed.notify_one();
    }
}

async fn turn_away(mut stream: UnixStream) {
    let message = format!("{SESSIONS_MAX} clients are connected, which is the most; try again later");
    let answer = Answer::error(Value::Null, Failure::new(ErrorCode::Busy, message));
    let _ = stream.write_all(&encode(&answer, End::Newline)).await;
}

/// One client.
struct Session {
    stream: UnixStream,
    shared: Arc<Shared>,
    decoder: Decoder,
    lobby: Rc<Lobby>,
}

impl Session {
    fn new(stream: UnixStream, shared: Arc<Shared>, lobby: Rc<Lobby>) -> Session {
        Session { stream, shared, decoder: Decoder::default(), lobby }
    }

    async fn run(mut self) -> Result<(), Left> {
        let author = author(&self.stream).await;
        let mut bytes = vec![0; 16 << 10];
        let mut over = self.shared.over.subscribe();
        loop {
            while let Some(decoded) = self.decoder.decode() {
                match decoded {
                    Ok(frame) => self.answer(frame, author.as_ref()).await?,
                    Err(too_long) => {
                        let failure = Failure::new(ErrorCode::TooLarge, too_long.to_string());
                        self.write(Answer::error(Value::Null, failure), End::Newline).await?;
                    }
                }
            }
            self.lobby.idle.set(self.lobby.idle.get() + 1);
            let read = tokio::select! {
                // First, or whoever was asked would stay, and be counted out twice: who asked has done it already.
                biased;
                () = self.lobby.wanted.notified() => return Err(Left),
                _ = over.wait_for(|over| *over) => return Err(Left),
                read = self.stream.read(&mut bytes) => read,
            };
            self.lobby.idle.set(self.lobby.idle.get() - 1);
            match read {
                Ok(0) | Err(_) => break,
                Ok(count) => self.decoder.feed(&bytes[..count]),
            }
        }
        let last = std::mem::take(&mut self.decoder).finish();
        match last {
            Some(frame) => self.answer(frame, author.as_ref()).await,
            None => Ok(()),
        }
    }

    async fn answer(&mut self, frame: Frame, author: Option<&Author>) -> Result<(), Left> {
        let end = frame.end;
        let Request { id, order } = match decode(frame).await {
            Ok(request) => request,
            Err(rejected) => return self.write(rejected, end).await,
        };
        let shared = Arc::clone(&self.shared);
        let hung_up = hung_up(&self.stream)?;
        let mut audience = Client { stream: &mut self.stream, id: id.clone(), end };
        let answered = tokio::select! {
            answered = carry_out(&shared, order, author.cloned(), &mut audience) => answered?,
            () = hung_up => return Err(Left),
        };
        let answer = match answered {
            Ok(body) => Answer::ok(id, body),
            Err(failure) => Answer::error(id, *failure),
        };
        self.write(answer, end).await
    }

    async fn write(&mut self, answer: Answer, end: End) -> Result<(), Left> {
        let bytes = if is_short(&answer) {
            encode(&answer, end)
        } else {
            tokio::task::spawn_blocking(move || encode(&answer, end)).await.map_err(|_| Left)?
        };
        self.stream.write_all(&bytes).await.map_err(|_| Left)
    }
}

/// Whether writing it as JSON is a matter of microseconds.
fn is_short(answer: &Answer) -> bool {
    const CHANGES: usize = 100;
    match &answer.reply {
        api::Reply::Processing { .. } => true,
        api::Reply::Error { error } => error.problems.len() + error.restart_reasons.len() < CHANGES,
        api::Reply::Ok { result } => match result {
            Body::Receipt(receipt) => receipt.plan.as_ref().is_none_or(|plan| plan.changes.len() < CHANGES),
            Body::Version(_) | Body::Stopped(_) | Body::Checked(_) => true,
            Body::Status(_)
            | Body::Config(_)
            | Body::Plan(_)
            | Body::Generations(_)
            | Body::History(_)
            | Body::Jobs(_)
            | Body::Metrics(_)
            | Body::Keys(_)
            | Body::Drift(_)
            | Body::Folded(_)
            | Body::Explanation(_) => false,
        },
    }
}

async fn decode(frame: Frame) -> Result<Request, Answer> {
    let decoded = if frame.text.len() < QUICK_BYTES {
        Request::decode(&frame.text)
    } else {
        match tokio::task::spawn_blocking(move || Request::decode(&frame.text)).await {
            Ok(decoded) => decoded,
            Err(died) => std::panic::resume_unwind(died.into_panic()),
        }
    };
    decoded.map_err(|rejected| rejected.answer())
}

/// Where progress goes.
struct Client<'a> {
    stream: &'a mut UnixStream,
    id: Value,
    end: End,
}

impl Audience for Client<'_> {
    async fn progress(&mut self, progress: Progress) -> Result<(), Left> {
        let answer = Answer::processing(self.id.clone(), progress);
        self.stream.write_all(&encode(&answer, self.end)).await.map_err(|_| Left)
    }
}

/// Ends when the client has closed both ways. One that has only said all it has to say still listens.
fn hung_up(stream: &UnixStream) -> Result<impl Future<Output = ()> + use<>, Left> {
    let watched = rustix::io::fcntl_dupfd_cloexec(stream, 3).map_err(|_| Left)?;
    Ok(async move {
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let mut polled = [PollFd::new(&watched, PollFlags::empty())];
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            let _ = poll(&mut polled, Some(&at_once));
            if polled[0].revents().intersects(PollFlags::HUP | PollFlags::ERR) {
                return;
            }
        }
    })
}

/// Who is at the other end, as the kernel says.
async fn author(stream: &UnixStream) -> Option<Author> {
    let credentials = stream.peer_cred().ok()?;
    let uid = credentials.uid();
    let user = tokio::task::spawn_blocking(move || user_name(uid)).await.ok().flatten();
    Some(Author {
        uid,
        gid: credentials.gid(),
        pid: credentials.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0),
        user,
    })
}

/// The name in the system's list of users. Only the file is asked: a directory service could take long.
fn user_name(uid: u32) -> Option<String> {
    let mut text = String::new();
    std::fs::File::open("/etc/passwd").ok()?.take(PASSWD_BYTES_MAX).read_to_string(&mut text).ok()?;
    let fields = text.lines().map(|line| line.split(':'));
    fields
        .filter_map(|mut fields| Some((fields.next()?, fields.nth(1)?)))
        .find_map(|(name, found)| (found.parse() == Ok(uid)).then(|| name.to_owned()))
}

const PASSWD_BYTES_MAX: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        // A killed process leaves its socket behind.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let socket = Socket::open(&path, 0o600).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(Socket::open(&path, 0o600), Err(SocketTaken::Alive { .. })));
        drop(socket);
        assert!(!path.exists());
        std::fs::write(&path, "a file").unwrap();
        assert!(matches!(Socket::open(&path, 0o600), Err(SocketTaken::NoSocket { .. })));
        assert_eq!(folder.path().read_dir().unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_socket_that_another_has_replaced_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let socket = Socket::open(&path, 0o600).unwrap();
        std::fs::remove_file(&path).unwrap();
        let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(socket);
        assert!(path.exists());
    }

    #[test]
    fn a_folder_that_is_not_there_is_told() {
        let error = Socket::open(Path::new("/no/such/folder/control.sock"), 0o600).unwrap_err();
        assert!(error.to_string().contains("/no/such/folder/control.sock"), "{error}");
    }

    #[test]
    fn users_have_names() {
        assert_eq!(user_name(0).as_deref(), Some("root"));
        assert_eq!(user_name(u32::MAX), None);
    }
}
