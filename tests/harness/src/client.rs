//! What one client does, and what it saw.
//!
//! [`Tunnel`] is for tests that look at a connection step by step: open it, change something, see that it
//! still carries bytes. The functions are whole exchanges.

use crate::net::{Stream, Target};
use crate::outcome::{Failure, Tally};
use crate::pattern::{Dice, Pattern};
use crate::wait::Deadline;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

/// Most bytes in one send or one receive of an exchange. Odd, so that nothing fits evenly.
const CHUNK_MAX: usize = 65_537;

/// A connection to something that sends back what it gets, and the account of what it must send back.
pub struct Tunnel {
    stream: Stream,
    pattern: Pattern,
    /// Bytes that have been sent; all of them have come back.
    echoed: u64,
}

impl Tunnel {
    /// Opens a connection and proves that it leads somewhere: a few bytes went there and back.
    pub fn open(target: &Target) -> Result<Tunnel, Failure> {
        let mut tunnel = Tunnel::connect(target)?;
        tunnel.ping(64)?;
        Ok(tunnel)
    }

    pub fn open_from(source: IpAddr, target: &Target) -> Result<Tunnel, Failure> {
        let mut tunnel = Tunnel::over(Stream::connect_from(Some(source), target, Deadline::patient())?);
        tunnel.ping(64)?;
        Ok(tunnel)
    }

    /// Opens a connection and sends nothing.
    pub fn connect(target: &Target) -> Result<Tunnel, Failure> {
        Ok(Tunnel::over(Stream::connect(target, Deadline::patient())?))
    }

    fn over(stream: Stream) -> Tunnel {
        static SEED: AtomicU64 = AtomicU64::new(1);
        Tunnel { stream, pattern: Pattern::new(SEED.fetch_add(1, Ordering::Relaxed)), echoed: 0 }
    }

    /// Sends this many bytes and takes the same back. At most 64 KiB: sender and receiver are one thread.
    pub fn ping(&mut self, bytes: usize) -> Result<(), Failure> {
        assert!(bytes <= 65_536, "{bytes} bytes may not fit into the buffers on the way");
        self.stream.deadline = Deadline::patient();
        let mut buffer = vec![0; bytes];
        self.pattern.fill(self.echoed, &mut buffer);
        self.stream.send(&buffer)?;
        self.stream.receive_all(&mut buffer)?;
        self.pattern.check(self.echoed, &buffer).map_err(|at| Failure::WrongData { at })?;
        self.echoed += bytes as u64;
        Ok(())
    }

    /// Ends politely: says the end, and sees the other side's.
    pub fn close(mut self) -> Result<(), Failure> {
        self.stream.deadline = Deadline::patient();
        self.stream.finish()?;
        self.stream.receive_end()
    }

    /// Waits for the other side to end the connection without having been asked.
    pub fn wait_end(&mut self, deadline: Deadline) -> Result<(), Failure> {
        self.stream.deadline = deadline;
        self.stream.receive_end()
    }

    /// Ends with a reset.
    pub fn abort(self) {
        self.stream.abort();
    }

    pub fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }
}

/// Opens a connection, has `bytes` come back from an echo while sending, in pieces of random size, says the
/// end first and sees the other side's end last.
pub fn echo(target: &Target, seed: u64, bytes: u64, deadline: Deadline) -> Result<(), Failure> {
    let mut stream = Stream::connect(target, deadline)?;
    let mut sender = stream.twin();
    let pattern = Pattern::new(seed);
    std::thread::scope(|scope| {
        let sending = scope.spawn(move || -> Result<(), Failure> {
            send_pattern(&mut sender, pattern, &mut Dice::new(seed), bytes)?;
            sender.finish()
        });
        let received = receive_pattern(&mut stream, pattern, bytes);
        if received.is_err() {
            stream.break_off();
        }
        let sent = sending.join().expect("the sender does not panic");
        // The receiver's failure is the cause when both failed: it says how far the exchange came.
        received.and(sent)
    })
}

/// So many clients at once, each of which does [`echo`].
pub fn crowd(target: &Target, clients: u64, bytes: u64) -> Tally {
    let mut tally = Tally::default();
    std::thread::scope(|scope| {
        let visit = |seed| move || echo(target, seed, bytes, Deadline::patient());
        let clients: Vec<_> = (0..clients).map(|seed| scope.spawn(visit(seed))).collect();
        for client in clients {
            tally.add(client.join().expect("a client does not panic"));
        }
    });
    tally
}

/// Reads what a [`crate::backend::Vice::Source`] sends, to its end.
pub fn fetch(target: &Target, seed: u64, bytes: u64, deadline: Deadline) -> Result<(), Failure> {
    receive_pattern(&mut Stream::connect(target, deadline)?, Pattern::new(seed), bytes)
}

/// As [`fetch`], on a connection that is there already.
pub fn take(stream: &mut Stream, seed: u64, bytes: u64) -> Result<(), Failure> {
    stream.deadline = Deadline::patient();
    receive_pattern(stream, Pattern::new(seed), bytes)
}

/// Sends so many bytes and takes nothing.
pub fn pour(stream: &mut Stream, seed: u64, bytes: u64) -> Result<(), Failure> {
    send_pattern(stream, Pattern::new(seed), &mut Dice::new(seed), bytes)
}

/// Takes whatever comes until the other side's end; how much that was.
pub fn drain(stream: &mut Stream) -> Result<u64, Failure> {
    let mut buffer = vec![0; CHUNK_MAX];
    let mut total = 0;
    loop {
        match stream.receive(&mut buffer)? {
            0 => return Ok(total),
            count => total += count as u64,
        }
    }
}

/// Sends to a [`crate::backend::Vice::Sink`], half-closes, and compares what the sink says it got.
pub fn push(target: &Target, seed: u64, bytes: u64, deadline: Deadline) -> Result<(), Failure> {
    let mut stream = Stream::connect(target, deadline)?;
    send_pattern(&mut stream, Pattern::new(seed), &mut Dice::new(seed), bytes)?;
    stream.finish()?;
    let mut receipt = [0; 16];
    stream.receive_all(&mut receipt)?;
    if receipt != sink_receipt(bytes, pattern_sum(seed, bytes)) {
        return Err(Failure::WrongData { at: 0 });
    }
    stream.receive_end()
}

/// What a sink answers: how many bytes it got, and their [`Sum`].
pub fn sink_receipt(bytes: u64, sum: u64) -> [u8; 16] {
    let mut receipt = [0; 16];
    receipt[..8].copy_from_slice(&bytes.to_be_bytes());
    receipt[8..].copy_from_slice(&sum.to_be_bytes());
    receipt
}

/// A running sum that depends on each byte and its place (FNV-1a, 64 bits).
#[derive(Clone, Copy)]
pub struct Sum(pub u64);

impl Default for Sum {
    fn default() -> Sum {
        Sum(0xcbf2_9ce4_8422_2325)
    }
}

impl Sum {
    pub fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

fn pattern_sum(seed: u64, bytes: u64) -> u64 {
    let mut sum = Sum::default();
    let mut buffer = vec![0; CHUNK_MAX];
    let mut at = 0;
    while at < bytes {
        let count = (bytes - at).min(CHUNK_MAX as u64) as usize;
        Pattern::new(seed).fill(at, &mut buffer[..count]);
        sum.add(&buffer[..count]);
        at += count as u64;
    }
    sum.0
}

pub(crate) fn send_pattern(stream: &mut Stream, pattern: Pattern, dice: &mut Dice, bytes: u64) -> Result<(), Failure> {
    let mut buffer = vec![0; CHUNK_MAX];
    let mut at = 0;
    while at < bytes {
        let count = (dice.between(1, CHUNK_MAX) as u64).min(bytes - at) as usize;
        pattern.fill(at, &mut buffer[..count]);
        stream.send(&buffer[..count])?;
        at += count as u64;
    }
    Ok(())
}

/// Takes exactly `bytes` of the pattern, then the end.
fn receive_pattern(stream: &mut Stream, pattern: Pattern, bytes: u64) -> Result<(), Failure> {
    let mut buffer = vec![0; CHUNK_MAX];
    let mut at = 0;
    loop {
        match stream.receive(&mut buffer)? {
            0 if at == bytes => return Ok(()),
            0 => {
                return Err(Failure::EarlyEnd { received: at, expected: bytes });
            }
            count => {
                let room = (bytes - at).min(count as u64) as usize;
                pattern.check(at, &buffer[..room]).map_err(|at| Failure::WrongData { at })?;
                if room < count {
                    return Err(Failure::Surplus { expected: bytes });
                }
                at += count as u64;
            }
        }
    }
}
