//! WebSockets (RFC 6455): a client that checks everything it gets, and the echo at the origin's side.

use crate::http::client::{Client, Response};
use crate::http::failure::{Failure, Malformed};
use crate::http::incoming::Incoming;
use crate::http::message::{RequestHead, text_of};
use crate::http::received::ORIGIN;
use crate::http::request::Request;
use crate::net::{Stream, Target};
use crate::pattern::{Dice, Pattern};
use crate::wait::Deadline;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha1::{Digest, Sha1};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The client's side of an open WebSocket.
pub struct WebSocket {
    incoming: Incoming,
    dice: Dice,
    /// The answer that made it one.
    pub response: Response,
    /// Bytes of [`Pattern`] that were echoed.
    echoed: u64,
    seed: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// With its status code, if it says one.
    Close(Option<u16>),
}

/// Who sends: a client masks its frames, a server does not (RFC 6455, section 5.1).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

impl WebSocket {
    /// Most bytes of a message.
    pub const MESSAGE_BYTES_MAX: u64 = 16 << 20;

    pub fn open(target: &Target, host: &str, path: &str) -> Result<WebSocket, Failure> {
        WebSocket::open_with(target, Request::get(host, path))
    }

    /// The fields of the handshake are added to this request.
    pub fn open_with(target: &Target, request: Request) -> Result<WebSocket, Failure> {
        WebSocket::over(Stream::connect(target, Deadline::patient())?, request)
    }

    /// As [`WebSocket::open_with`], on a connection that is there already.
    pub fn over(stream: Stream, request: Request) -> Result<WebSocket, Failure> {
        static SEED: AtomicU64 = AtomicU64::new(1);
        let seed = SEED.fetch_add(1, Ordering::Relaxed);
        let mut dice = Dice::new(seed);
        let key = BASE64_STANDARD.encode([dice.roll().to_be_bytes(), dice.roll().to_be_bytes()].concat());
        let request = request
            .field("Connection", "Upgrade")
            .field("Upgrade", "websocket")
            .field("Sec-WebSocket-Version", "13")
            .field("Sec-WebSocket-Key", &key);
        let mut client = Client::over(stream);
        let response = client.exchange(&request)?.with_status(101)?;
        let wrong = |what: &str| Failure::from(Malformed::WebSocket(format!("{what}: {:?}", response.fields)));
        if !response.fields.lists("Upgrade", "websocket") || !response.fields.lists("Connection", "Upgrade") {
            return Err(wrong("no upgrade to websocket"));
        }
        if response.fields.first("Sec-WebSocket-Accept") != Some(&accept_of(&key)) {
            return Err(wrong("another Sec-WebSocket-Accept"));
        }
        Ok(WebSocket { incoming: client.into_incoming(), dice, response, echoed: 0, seed })
    }

    pub fn patience(&mut self, patience: Duration) {
        self.incoming.patience = patience;
    }

    pub fn send(&mut self, message: &Message) -> Result<(), Failure> {
        let (opcode, payload) = message.frame();
        send_frame(&mut self.incoming, Side::Client, &mut self.dice, true, opcode, &payload)
    }

    /// Sends a binary message in fragments of at most so many bytes.
    pub fn send_in_fragments(&mut self, payload: &[u8], bytes: usize) -> Result<(), Failure> {
        let pieces: Vec<&[u8]> = payload.chunks(bytes).collect();
        for (ix, piece) in pieces.iter().enumerate() {
            let (opcode, last) = (if ix == 0 { BINARY } else { CONTINUATION }, ix + 1 == pieces.len());
            send_frame(&mut self.incoming, Side::Client, &mut self.dice, last, opcode, piece)?;
        }
        Ok(())
    }

    pub fn receive(&mut self) -> Result<Message, Failure> {
        receive(&mut self.incoming, Side::Server)
    }

    /// Sends so many bytes and takes the same back.
    pub fn echo(&mut self, bytes: usize) -> Result<(), Failure> {
        let mut payload = vec![0; bytes];
        Pattern::new(self.seed).fill(self.echoed, &mut payload);
        self.echoed += bytes as u64;
        let message = Message::Binary(payload);
        self.send(&message)?;
        self.expect(&message)
    }

    /// A ping and its pong.
    pub fn ping(&mut self) -> Result<(), Failure> {
        let payload = self.dice.roll().to_be_bytes().to_vec();
        self.send(&Message::Ping(payload.clone()))?;
        self.expect(&Message::Pong(payload))
    }

    /// The closing handshake, and the other side's end.
    pub fn close(mut self) -> Result<(), Failure> {
        const NORMAL: u16 = 1000;
        self.send(&Message::Close(Some(NORMAL)))?;
        self.expect(&Message::Close(Some(NORMAL)))?;
        self.incoming.begin();
        match self.incoming.receive()? {
            false => Ok(()),
            true => Err(Failure::Surplus { bytes: self.incoming.waiting().len() as u64 }),
        }
    }

    /// Ends with a reset.
    pub fn abort(self) {
        self.incoming.stream.abort();
    }

    /// The connection itself, for frames that no message can say.
    pub fn incoming(&mut self) -> &mut Incoming {
        &mut self.incoming
    }

    fn expect(&mut self, expected: &Message) -> Result<(), Failure> {
        let message = self.receive()?;
        match &message == expected {
            true => Ok(()),
            false => Err(Failure::WrongBody(format!("{} in place of {}", message.told(), expected.told()))),
        }
    }
}

/// Whether this asks for a WebSocket.
pub fn is_asked(head: &RequestHead) -> bool {
    head.fields.lists("Upgrade", "websocket") && head.fields.lists("Connection", "Upgrade")
}

/// Sec-WebSocket-Accept for this key (RFC 6455, section 4.2.2).
pub fn accept_of(key: &str) -> String {
    const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    BASE64_STANDARD.encode(Sha1::digest(format!("{key}{GUID}")))
}

/// The origin's side: accepts, echoes messages and answers pings until the closing handshake. `count` is told the
/// length of each message.
pub(crate) fn serve(
    incoming: &mut Incoming,
    head: &RequestHead,
    origin: &str,
    count: impl Fn(usize),
) -> Result<(), Failure> {
    let asked = |name| head.fields.first(name).ok_or_else(|| Malformed::WebSocket(format!("no {name}")));
    let (key, version) = (asked("Sec-WebSocket-Key")?, asked("Sec-WebSocket-Version")?);
    if version != "13" || BASE64_STANDARD.decode(key).map_or(true, |key| key.len() != 16) {
        return Err(Malformed::WebSocket(format!("key {key:?}, version {version:?}")).into());
    }
    let accept = accept_of(key);
    let switch = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{ORIGIN}: {origin}\r\n\r\n"
    );
    incoming.stream.send(switch.as_bytes())?;
    // A server's frames carry no mask, so nothing is rolled.
    let mut dice = Dice::new(0);
    loop {
        let message = receive(incoming, Side::Client)?;
        let reply = match &message {
            Message::Ping(payload) => Message::Pong(payload.clone()),
            Message::Pong(_) => continue,
            Message::Text(_) | Message::Binary(_) | Message::Close(_) => message.clone(),
        };
        let (opcode, payload) = reply.frame();
        count(payload.len());
        send_frame(incoming, Side::Server, &mut dice, true, opcode, &payload)?;
        if let Message::Close(_) = message {
            return Ok(());
        }
    }
}

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

impl Message {
    fn frame(&self) -> (u8, Vec<u8>) {
        match self {
            Message::Text(payload) => (TEXT, payload.clone()),
            Message::Binary(payload) => (BINARY, payload.clone()),
            Message::Ping(payload) => (PING, payload.clone()),
            Message::Pong(payload) => (PONG, payload.clone()),
            Message::Close(code) => (CLOSE, code.map_or(Vec::new(), |code| code.to_be_bytes().to_vec())),
        }
    }

    fn read(opcode: u8, payload: Vec<u8>) -> Result<Message, Malformed> {
        match opcode {
            TEXT if std::str::from_utf8(&payload).is_err() => Err(Malformed::WebSocket("text is not UTF-8".into())),
            TEXT => Ok(Message::Text(payload)),
            BINARY => Ok(Message::Binary(payload)),
            PING => Ok(Message::Ping(payload)),
            PONG => Ok(Message::Pong(payload)),
            CLOSE => match payload[..] {
                [] => Ok(Message::Close(None)),
                [high, low, ..] => Ok(Message::Close(Some(u16::from_be_bytes([high, low])))),
                [_] => Err(Malformed::WebSocket("half a status code".into())),
            },
            other => Err(Malformed::WebSocket(format!("opcode {other}"))),
        }
    }

    /// Short, for a reader.
    fn told(&self) -> String {
        let (opcode, payload) = self.frame();
        let begin = text_of(&payload[..payload.len().min(20)]);
        format!("a frame of opcode {opcode} with {} bytes ({begin:?})", payload.len())
    }
}

fn send_frame(
    incoming: &mut Incoming,
    side: Side,
    dice: &mut Dice,
    last: bool,
    opcode: u8,
    payload: &[u8],
) -> Result<(), Failure> {
    let mask_bit = if side == Side::Client { 0x80 } else { 0 };
    let mut frame = vec![if last { 0x80 } else { 0 } | opcode];
    match payload.len() {
        length @ 0..126 => frame.push(mask_bit | length as u8),
        length @ 126..0x1_0000 => {
            frame.push(mask_bit | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(mask_bit | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    match side {
        Side::Server => frame.extend(payload),
        Side::Client => {
            let mask = (dice.roll() as u32).to_be_bytes();
            frame.extend(mask);
            frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        }
    }
    incoming.stream.deadline = Deadline::after(incoming.patience);
    Ok(incoming.stream.send(&frame)?)
}

/// The next message that `from` sends, put together from its fragments.
fn receive(incoming: &mut Incoming, from: Side) -> Result<Message, Failure> {
    let wrong = |what: String| Failure::from(Malformed::WebSocket(what));
    incoming.begin();
    let mut begun: Option<(u8, Vec<u8>)> = None;
    loop {
        let mut first = [0; 2];
        incoming.fill(&mut first)?;
        let (last, reserved, opcode) = (first[0] & 0x80 != 0, first[0] & 0x70, first[0] & 0x0f);
        let masked = first[1] & 0x80 != 0;
        let length = match first[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes(take(incoming)?)),
            127 => u64::from_be_bytes(take(incoming)?),
            length => u64::from(length),
        };
        let mask: [u8; 4] = if masked { take(incoming)? } else { [0; 4] };
        if reserved != 0 {
            return Err(wrong(format!("reserved bits {reserved:#x}")));
        }
        if masked != (from == Side::Client) {
            return Err(wrong(format!("masked: {masked}")));
        }
        if length > WebSocket::MESSAGE_BYTES_MAX {
            return Err(wrong(format!("a frame of {length} bytes")));
        }
        let mut payload = vec![0; length as usize];
        incoming.fill(&mut payload)?;
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        match (opcode, begun.take()) {
            (CLOSE.., _) if !last || length > 125 => {
                return Err(wrong(format!("a control frame in fragments or of {length} bytes")));
            }
            // Nobody here sends one in the middle of a message of their own.
            (CLOSE.., Some(_)) => return Err(wrong("a control frame between fragments".to_owned())),
            (CONTINUATION, None) => return Err(wrong("a continuation of nothing".to_owned())),
            (CONTINUATION, Some((opcode, mut whole))) => {
                whole.extend(payload);
                if whole.len() as u64 > WebSocket::MESSAGE_BYTES_MAX {
                    return Err(wrong(format!("a message of more than {} bytes", whole.len())));
                }
                if last {
                    return Ok(Message::read(opcode, whole)?);
                }
                begun = Some((opcode, whole));
            }
            (_, Some(_)) => return Err(wrong("a message inside another".to_owned())),
            (opcode, None) if last => return Ok(Message::read(opcode, payload)?),
            (opcode, None) => begun = Some((opcode, payload)),
        }
    }
}

fn take<const N: usize>(incoming: &mut Incoming) -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    incoming.fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::failure::Part;
    use crate::http::incoming::read;

    /// A message from a server, however its bytes are cut.
    #[track_caller]
    fn check(bytes: &[u8], expected: Result<Message, Failure>) {
        for piece in [1, 2, 3, 65_536] {
            let message = read(bytes, piece, |incoming| receive(incoming, Side::Server));
            assert_eq!(message, expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn frames() {
        let early = |received| Err(Failure::EarlyEnd { within: Part::Frame, received });
        let wrong = |how: &str| Err(Malformed::WebSocket(how.to_owned()).into());
        check(b"\x82\x01x", Ok(Message::Binary(b"x".to_vec())));
        check(b"\x02\x01x\x00\x01y\x80\x00", Ok(Message::Binary(b"xy".to_vec())));
        check(b"\x88\x00", Ok(Message::Close(None)));
        check(b"\x88\x05\x03\xe8bye", Ok(Message::Close(Some(1000))));
        check(b"", Err(Failure::EndBeforeByte));
        check(b"\x82", early(1));
        check(b"\x82\x02x", early(3));
        check(b"\x02\x01x", early(3));
        check(b"\x82\x81\0\0\0\0x", wrong("masked: true"));
        check(b"\xc2\x01x", wrong("reserved bits 0x40"));
        check(b"\x80\x01x", wrong("a continuation of nothing"));
        check(b"\x02\x01x\x82\x01x", wrong("a message inside another"));
        check(b"\x02\x01x\x89\x00", wrong("a control frame between fragments"));
        check(b"\x09\x00", wrong("a control frame in fragments or of 0 bytes"));
        check(b"\x83\x00", wrong("opcode 3"));
        check(b"\x81\x01\xff", wrong("text is not UTF-8"));
        check(b"\x82\x7f\0\0\0\0\x01\0\0\x01", wrong("a frame of 16777217 bytes"));
    }

    /// RFC 6455, section 1.3.
    #[test]
    fn the_accepted_key_is_the_one_of_the_rfc() {
        assert_eq!(accept_of("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
