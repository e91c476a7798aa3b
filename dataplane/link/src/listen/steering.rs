//! Which socket of a `SO_REUSEPORT` group gets a new connection.
//!
//! By default the kernel hashes addresses and ports over all sockets of the group, those of dead shards
//! included. A classic BPF program on the group returns the index of the socket instead; no privilege is
//! needed. It draws at random among the live ones, because a classic program cannot see the kernel's hash;
//! a retransmitted SYN finds the handshake that it belongs to before the program is asked.
//!
//! An index is the order in which the sockets began to listen. It stays true because sockets of a group
//! are only ever closed together.

use super::{ListenSocket, options};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

pub(super) fn steer(sockets: &[(u16, Arc<ListenSocket>)], live: u64) -> io::Result<()> {
    let chosen: Vec<u32> =
        (0..).zip(sockets).filter(|(_, (shard, _))| live >> shard & 1 == 1).map(|(index, _)| index).collect();
    let (_, any) = sockets.first().expect("a group has at least one socket");
    if chosen.is_empty() || sockets.len() == 1 {
        return Ok(());
    }
    if chosen.len() == sockets.len() {
        return match options::detach_reuseport_program(any.as_fd()) {
            // ENOENT: there is no program, which is what was wanted.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            result => result,
        };
    }
    options::attach_reuseport_program(any.as_fd(), &random_of(&chosen))
}

/// `return chosen[random() % chosen.len()]`.
fn random_of(chosen: &[u32]) -> Vec<libc::sock_filter> {
    use libc::{BPF_ABS, BPF_ALU, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_MOD, BPF_RET, BPF_W};
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let random = (libc::SKF_AD_OFF + libc::SKF_AD_RANDOM) as u32;
    let mut program =
        vec![statement(BPF_LD | BPF_W | BPF_ABS, random), statement(BPF_ALU | BPF_MOD | BPF_K, chosen.len() as u32)];
    for (draw, index) in (0..).zip(chosen) {
        program.push(libc::sock_filter { jf: 1, ..statement(BPF_JMP | BPF_JEQ | BPF_K, draw) });
        program.push(statement(BPF_RET | BPF_K, *index));
    }
    // Never reached, but the kernel wants every path to end in a return.
    program.push(statement(BPF_RET | BPF_K, chosen[0]));
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_fits_for_the_most_shards() {
        let all: Vec<u32> = (0..63).collect();
        let program = random_of(&all);
        assert!(program.len() <= libc::BPF_MAXINSNS as usize);
        assert_eq!(program[1].k, 63);
    }
}
