//! One health check: a connection, and where the check is of HTTP a request and its answer.
//!
//! The request is of HTTP/1.0 and closes its connection, so an answer ends with it and is in one piece. Nothing
//! of the answer is kept but whether it is as expected.

use policy::generation::{Address, CheckKind, HttpCheck};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// Of an answer, as much is looked at.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Where the status is in `HTTP/1.x NNN`, and how long that is.
const STATUS: std::ops::Range<usize> = 9..12;

/// Makes the check. Of several addresses one is enough.
pub(super) async fn ask(
    kind: &CheckKind,
    address: &Address,
    addresses: &[SocketAddr],
    timeout: Duration,
) -> Result<(), String> {
    let attempt = async {
        match address {
            Address::Unix(path) => of(kind, address, UnixStream::connect(path).await).await,
            Address::Ip(_) | Address::Name { .. } => of(kind, address, TcpStream::connect(addresses).await).await,
        }
    };
    match tokio::time::timeout(timeout, attempt).await {
        Ok(result) => result,
        Err(_) => Err(format!("no answer within {timeout:?}")),
    }
}

async fn of<S>(kind: &CheckKind, address: &Address, stream: io::Result<S>) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let stream = stream.map_err(|error| error.to_string())?;
    match kind {
        CheckKind::Connect => Ok(()),
        CheckKind::Http(check) => exchange(stream, check, address).await,
    }
}

async fn exchange<S>(mut stream: S, check: &HttpCheck, address: &Address) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let broken = |error: io::Error| format!("asked, and then: {error}");
    stream.write_all(request(check, address).as_bytes()).await.map_err(broken)?;
    let mut answer = Vec::new();
    loop {
        let ended = answer.len() >= ANSWER_BYTES_MAX || stream.read_buf(&mut answer).await.map_err(broken)? == 0;
        if let Some(verdict) = judge(&answer, check, ended) {
            return verdict;
        }
    }
}

fn request(HttpCheck { method, path, host, .. }: &HttpCheck, address: &Address) -> String {
    let host = match (host, address) {
        (Some(host), _) => host.to_string(),
        // A socket's path is no host.
        (None, Address::Unix(_)) => "localhost".into(),
        (None, Address::Ip(_) | Address::Name { .. }) => address.to_string(),
    };
    format!("{method} {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: sluicegate-check\r\nConnection: close\r\n\r\n")
}

/// `None`: more must be read to tell.
fn judge(answer: &[u8], check: &HttpCheck, ended: bool) -> Option<Result<(), String>> {
    const BEGIN: &[u8] = b"HTTP/1.";
    if answer.len() <= STATUS.end && !ended {
        return None;
    }
    let digits = answer.get(STATUS).filter(|_| answer.starts_with(BEGIN) && answer[STATUS.start - 1] == b' ');
    let status = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u16>().ok());
    let Some(status) = status else {
        return Some(Err(if answer.is_empty() { "no answer".into() } else { "the answer is not of HTTP/1".into() }));
    };
    if !check.statuses.iter().any(|(first, last)| (*first..=*last).contains(&status)) {
        return Some(Err(format!("status {status}")));
    }
    // A backend that stops in its head serves nobody.
    let Some(head) = find(answer, b"\r\n\r\n") else {
        return ended.then(|| Err(format!("status {status}, and the head does not end")));
    };
    let Some(wanted) = &check.body else { return Some(Ok(())) };
    let body = &answer[head + 4..];
    match find(body, wanted.as_bytes()) {
        Some(_) => Some(Ok(())),
        None if ended => Some(Err(format!("status {status}, and the body is not as expected"))),
        None => None,
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: &str, body: Option<&str>, ended: bool, expected: Option<Result<(), &str>>) {
        let check = HttpCheck {
            method: "GET".into(),
            path: "/".into(),
            host: None,
            statuses: [(200, 299), (401, 401)].into(),
            body: body.map(Into::into),
        };
        let got = judge(answer.as_bytes(), &check, ended);
        let got = got.as_ref().map(|verdict| verdict.as_ref().map_err(String::as_str).copied());
        assert_eq!(got, expected, "{answer:?}");
    }

    #[test]
    fn an_answer_is_judged_as_soon_as_it_can_be() {
        check("", None, false, None);
        check("HTTP/1.1 20", None, false, None);
        check("HTTP/1.1 200 OK\r\nX: y\r\n", None, false, None);
        check("HTTP/1.1 200 OK\r\nX: y\r\n", None, true, Some(Err("status 200, and the head does not end")));
        check("HTTP/1.1 200 OK\r\nX: y\r\n\r\n", None, false, Some(Ok(())));
        check("HTTP/1.0 401 x\r\n\r\n", None, false, Some(Ok(())));
        check("HTTP/1.1 500 x", None, false, Some(Err("status 500")));
        check("", None, true, Some(Err("no answer")));
        check("HTTP/1.1 2", None, true, Some(Err("the answer is not of HTTP/1")));
        check("SSH-2.0-OpenSSH_9.2\r\n", None, false, Some(Err("the answer is not of HTTP/1")));
        check("HTTP/1.1 +20 x", None, false, Some(Err("status 20")));
    }

    #[test]
    fn a_body_is_read_until_it_is_found_or_ends() {
        let head = "HTTP/1.1 200 OK\r\nx: ready\r\n\r\n";
        check(head, Some("ready"), false, None);
        check(head, Some("ready"), true, Some(Err("status 200, and the body is not as expected")));
        check(&format!("{head}all ready"), Some("ready"), false, Some(Ok(())));
        check("HTTP/1.1 503 x\r\n\r\nready", Some("ready"), false, Some(Err("status 503")));
    }
}
