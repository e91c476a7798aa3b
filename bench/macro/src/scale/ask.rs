//! A client that asks one request at a time and looks at the answer: is the program there, does a change show, and how
//! long does nobody answer.

use super::document::{VERSION_HOST, VERSION_PATH};
use crate::cpu;
use crate::process::Process;
use serde::Serialize;
use socket2::{Domain, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// An answer that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);
/// To be let in. An address that is bound and not served yet may drop a SYN unseen, and the kernel sends the next one after a
/// second: whoever waits for that measures the kernel.
const CONNECT_MAX: Duration = Duration::from_millis(20);
/// Between two looks at a program that does not answer yet.
const PROBE_EVERY: Duration = Duration::from_millis(2);
/// An answer's head and content; the programs' own texts have a few hundred.
const ANSWER_BYTES_MAX: usize = 8 << 10;

/// Who asks from here is in the list once it is added, and nobody else is.
pub const LISTED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

#[derive(PartialEq, Eq, Debug)]
pub struct Answered {
    pub status: u16,
    pub content: String,
}

/// A connection that is kept.
pub struct Asker {
    stream: TcpStream,
}

impl Asker {
    pub fn connect(front: SocketAddr, from: Ipv4Addr) -> io::Result<Asker> {
        let socket = Socket::new(Domain::for_address(front), Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        socket.connect_timeout(&front.into(), CONNECT_MAX)?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Asker { stream })
    }

    pub fn ask(&mut self) -> io::Result<Answered> {
        let request = format!("GET {VERSION_PATH} HTTP/1.1\r\nHost: {VERSION_HOST}\r\n\r\n");
        self.stream.write_all(request.as_bytes())?;
        let mut text = Vec::new();
        let mut chunk = [0; ANSWER_BYTES_MAX];
        loop {
            match self.stream.read(&mut chunk)? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                count => text.extend_from_slice(&chunk[..count]),
            }
            if let Some(answered) = parse(&text)? {
                return Ok(answered);
            }
            if text.len() > ANSWER_BYTES_MAX {
                return Err(io::Error::other("an answer of more than 8 KiB"));
            }
        }
    }
}

/// One request on a connection of its own.
pub fn once(front: SocketAddr, from: Ipv4Addr) -> io::Result<Answered> {
    Asker::connect(front, from)?.ask()
}

/// Asks until the answer has `version` as its content, at most until `deadline`. What fails meanwhile is asked again.
pub fn until(version: &str, front: SocketAddr, process: &Process, deadline: Instant) -> Result<(), String> {
    loop {
        let found = once(front, Ipv4Addr::LOCALHOST);
        if found.as_ref().is_ok_and(|answered| answered.status == 200 && answered.content == version) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("no answer {version:?} in time, last {found:?}; it said:\n{}", process.last_words()));
        }
        if process.ended_within(PROBE_EVERY) {
            return Err(format!("it ended and said:\n{}", process.last_words()));
        }
    }
}

/// What a client noticed that asks one request after the other.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Gap {
    /// From one answer to the next, the longest.
    pub micros: u64,
    pub answers: u64,
}

/// Asks on `cpu`, one request after the other, while `work` goes on.
pub fn meanwhile<T>(front: SocketAddr, cpu: usize, work: impl FnOnce() -> T) -> Result<(T, Gap), String> {
    let over = AtomicBool::new(false);
    let (begun, has_begun) = mpsc::channel();
    let asking = || -> io::Result<Gap> {
        cpu::pin_to(cpu)?;
        let mut asker = Asker::connect(front, Ipv4Addr::LOCALHOST)?;
        let mut gap = Gap::default();
        asker.ask()?;
        let _ = begun.send(());
        let mut last = Instant::now();
        loop {
            // Looked at before the request, so that one more is asked after the end.
            let is_last = over.load(Ordering::Relaxed);
            let answered = asker.ask()?;
            if answered.status != 200 {
                return Err(io::Error::other(format!("answered {answered:?}")));
            }
            let now = Instant::now();
            gap.micros = gap.micros.max((now - last).as_micros() as u64);
            gap.answers += 1;
            last = now;
            if is_last {
                return Ok(gap);
            }
        }
    };
    thread::scope(|scope| {
        let asking = scope.spawn(asking);
        // An error instead means that it could not even begin: it is told below.
        let _ = has_begun.recv_timeout(PATIENCE);
        let done = work();
        over.store(true, Ordering::Relaxed);
        let gap = asking.join().expect("the client does not panic");
        gap.map(|gap| (done, gap)).map_err(|error| format!("a client that asked meanwhile: {error}"))
    })
}

/// `None`: more is to come.
fn parse(text: &[u8]) -> io::Result<Option<Answered>> {
    let Some(end) = memchr::memmem::find(text, b"\r\n\r\n") else { return Ok(None) };
    let wrong = || io::Error::other(format!("not an answer: {:?}", String::from_utf8_lossy(text)));
    let head = std::str::from_utf8(&text[..end]).map_err(|_| wrong())?;
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).ok_or_else(wrong)?;
    let length: usize = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .ok_or_else(wrong)?;
    let content = &text[end + 4..];
    if content.len() < length {
        return Ok(None);
    }
    Ok(Some(Answered { status, content: String::from_utf8_lossy(&content[..length]).into_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(u16, &str)>) {
        let found = parse(text.as_bytes()).unwrap();
        let expected = expected.map(|(status, content)| Answered { status, content: content.to_owned() });
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn an_answer_is_whole_when_its_content_is() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", None);
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n1", None);
        check("HTTP/1.1 200 OK\r\nserver: x\r\ncontent-length:2\r\n\r\n17", Some((200, "17")));
        check("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", Some((403, "")));
    }

    #[test]
    fn what_is_no_answer_is_told() {
        for text in ["ICY 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 x\r\nContent-Length: 0\r\n\r\n"] {
            assert!(parse(text.as_bytes()).unwrap_err().to_string().contains("not an answer"), "{text:?}");
        }
    }
}
