//! The one request that clients send and the one answer that the origin has for it.
//!
//! Both are fixed bytes. Only the heads change on their way, by what a proxy adds, removes and writes otherwise.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// On a connection that is kept.
pub const REQUEST: &[u8] = b"GET /bench HTTP/1.1\r\nHost: bench.example\r\nAccept: */*\r\n\r\n";
/// On a connection that ends with its answer.
pub const LAST_REQUEST: &[u8] =
    b"GET /bench HTTP/1.1\r\nHost: bench.example\r\nAccept: */*\r\nConnection: close\r\n\r\n";
/// What ends a head.
pub const HEAD_END: &[u8] = b"\r\n\r\n";
/// How every answer begins.
pub const STATUS: &[u8] = b"HTTP/1.1 200 ";

/// The head of an answer with so many bytes of content.
fn head(body_bytes: usize, connection: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {body_bytes}\r\n{connection}\r\n")
}

/// The content of every answer of this length. A shift by a byte shows.
pub fn body(body_bytes: usize) -> Vec<u8> {
    (0..body_bytes).map(|ix| b'a' + (ix % 23) as u8).collect()
}

/// Head and content.
pub fn answer(body_bytes: usize) -> Vec<u8> {
    [head(body_bytes, "").into_bytes(), body(body_bytes)].concat()
}

/// Longest wait for the next byte of [`accept_first`] and [`hear_first`].
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest head, or answer, of the first request.
const FIRST_BYTES_MAX: usize = 4096;

/// The first request through a proxy, before there is any load: it has found its origin.
pub fn send_first(mut client: &TcpStream) -> io::Result<()> {
    client.write_all(LAST_REQUEST)
}

/// Answers the first request. Its connection is not for keeping, so that the load meets none that is left.
pub fn accept_first(origin: &TcpListener) -> io::Result<()> {
    let (mut upstream, _) = origin.accept()?;
    upstream.set_read_timeout(Some(PATIENCE))?;
    let mut request = Vec::new();
    while !request.ends_with(HEAD_END) {
        let mut buffer = [0; FIRST_BYTES_MAX];
        match upstream.read(&mut buffer)? {
            0 => return Err(io::Error::other("the first request ended early")),
            received => request.extend_from_slice(&buffer[..received]),
        }
        if request.len() > FIRST_BYTES_MAX {
            return Err(io::Error::other(format!("the first request is larger than {FIRST_BYTES_MAX} bytes")));
        }
    }
    upstream.write_all(head(0, "Connection: close\r\n").as_bytes())
}

/// What became of the first request.
pub fn hear_first(client: &TcpStream) -> io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    let mut answer = Vec::new();
    client.take(FIRST_BYTES_MAX as u64).read_to_end(&mut answer)?;
    match answer.starts_with(STATUS) {
        true => Ok(()),
        false => Err(io::Error::other(format!("the first answer is {:?}", String::from_utf8_lossy(&answer)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_its_length_and_has_it() {
        let answer = answer(200);
        let head = answer.len() - 200;
        assert!(answer.starts_with(STATUS));
        assert!(answer[..head].ends_with(HEAD_END));
        assert!(answer[..head].windows(19).any(|line| line == b"Content-Length: 200"));
        assert_eq!(answer[head..], body(200));
    }

    #[test]
    fn the_first_request_needs_an_answer_with_the_right_status() {
        let origin = TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || TcpStream::connect(origin.local_addr().unwrap()).unwrap();
        let client = connect();
        send_first(&client).unwrap();
        accept_first(&origin).unwrap();
        hear_first(&client).unwrap();

        let client = connect();
        origin.accept().unwrap().0.write_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").unwrap();
        let error = hear_first(&client).unwrap_err().to_string();
        assert!(error.contains("503"), "{error}");
    }
}
