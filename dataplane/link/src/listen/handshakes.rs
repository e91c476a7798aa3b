//! How many handshakes have begun on an address and not completed.
//!
//! A leaving socket may be closed when there are none: the client of a handshake that completes after the
//! close would be reset. While the kernel answers a flood with SYN cookies it remembers no handshake, and a
//! client that completes one after the close is reset; nobody can count those. Read from `/proc`, because it works without privilege and without netlink.

use super::BindAddress;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Connections in SYN_RECV on this local address, of the network namespace of the calling thread. A wildcard
/// address counts those to any local address at its port. Always 0 for a Unix address: connecting is one step.
///
/// Reads one line per TCP socket of the namespace: not for a thread that must not pause.
pub fn pending_handshakes(address: &BindAddress) -> io::Result<usize> {
    let BindAddress::Ip(address) = address else {
        return Ok(0);
    };
    // `thread-self`: a thread may be in another namespace than the process's first one.
    let table = match address {
        SocketAddr::V4(_) => "/proc/thread-self/net/tcp",
        SocketAddr::V6(_) => "/proc/thread-self/net/tcp6",
    };
    count(BufReader::with_capacity(64 << 10, File::open(table)?), address)
}

fn count(mut table: impl BufRead, address: &SocketAddr) -> io::Result<usize> {
    /// `TCP_SYN_RECV` in the kernel's `tcp_states.h`.
    const SYN_RECV: &[u8] = b"03";

    let mut line = Vec::with_capacity(256);
    let mut pending = 0;
    // The first line is the heading; it has no socket in its second column and is skipped like any other stranger.
    while table.read_until(b'\n', &mut line)? > 0 {
        let mut columns = line.split(u8::is_ascii_whitespace).filter(|column| !column.is_empty());
        if let (Some(_), Some(local), Some(_), Some(SYN_RECV)) =
            (columns.next(), columns.next(), columns.next(), columns.next())
            && let Some(local) = local_address(local)
            && local.port() == address.port()
            && (address.ip().is_unspecified() || local.ip() == address.ip())
        {
            pending += 1;
        }
        line.clear();
    }
    Ok(pending)
}

/// `0100007F:1F90`: the address as 32-bit words in the machine's byte order, the port as a number.
fn local_address(column: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = std::str::from_utf8(column).ok()?.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |from: usize| Some(u32::from_str_radix(ip.get(from..from + 8)?, 16).ok()?.to_ne_bytes());
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut octets = [0; 16];
            for (ix, part) in octets.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(ix * 8)?);
            }
            IpAddr::V6(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 101 1 0 100 0 0 10 0
   1: 0100007F:1F90 0100007F:D431 03 00000000:00000000 01:00000062 00000000     0        0 0 1 0
   2: 0200007F:1F90 0100007F:D432 03 00000000:00000000 01:00000062 00000000     0        0 0 1 0
   3: 0100007F:1F91 0100007F:D433 03 00000000:00000000 01:00000062 00000000     0        0 0 1 0
   4: 0100007F:1F90 0100007F:D434 01 00000000:00000000 00:00000000 00000000     0        0 102 1 0 20 4 30 10 -1
";
    const TCP6: &str = "\
  sl  local_address                         remote_address                        st
   0: 00000000000000000000000001000000:1F90 00000000000000000000000001000000:D431 03 0
   1: B80D0120000000000000000001000000:1F90 00000000000000000000000001000000:D431 03 0
";

    fn check(table: &str, address: &str, expected: usize) {
        assert_eq!(count(table.as_bytes(), &address.parse().unwrap()).unwrap(), expected, "{address}");
    }

    #[test]
    fn only_handshakes_of_the_address_count() {
        check(TCP, "127.0.0.1:8080", 1);
        check(TCP, "127.0.0.2:8080", 1);
        check(TCP, "127.0.0.3:8080", 0);
        check(TCP, "127.0.0.1:8081", 1);
        check(TCP, "0.0.0.0:8080", 2);
        check(TCP, "0.0.0.0:8082", 0);
        check(TCP6, "[::1]:8080", 1);
        check(TCP6, "[2001:db8::1]:8080", 1);
        check(TCP6, "[::]:8080", 2);
    }

    #[test]
    fn lines_that_make_no_sense_are_skipped() {
        check("", "127.0.0.1:8080", 0);
        check("\n\n 1: zz:1F90 x 03\n 1: 0100007F:1F90\n 2: 0100007F:1F90 0100007F:D431 03", "127.0.0.1:8080", 1);
    }
}
