//! The kernel's side of listening, as far as a reload can hurt somebody there.
//!
//! One socket for each address and shard. A client's SYN reaches one of them, unless a filter drops it;
//! its handshake takes a while; then it stands in that socket's queue until it is accepted. Closing a socket
//! resets whoever is in a handshake or in the queue: that is the violation this model exists to see.

use crate::dice::Dice;
use policy::{ListenerSlot, ShardId, ShardSet};
use std::collections::{BTreeMap, VecDeque};

/// A client that knocks, for the log.
pub type Client = u64;

#[derive(Default)]
pub struct Kernel {
    groups: BTreeMap<ListenerSlot, BTreeMap<ShardId, Socket>>,
    /// Shards that get new connections, on every address. `None`: all.
    steered: Option<ShardSet>,
    clients: Client,
}

#[derive(Default)]
struct Socket {
    drops_syns: bool,
    handshakes: u32,
    queue: VecDeque<Client>,
    /// Its shard died and no other has taken it: who waits there shares the fate of the shard's connections.
    orphaned: bool,
}

/// Clients that were in a socket when it was closed.
#[derive(Default, PartialEq, Eq, Debug)]
pub struct Reset {
    pub by_us: u64,
    pub with_a_dead_shard: u64,
}

impl Kernel {
    /// Sockets for an address, behind the filter.
    pub fn bind(&mut self, listener: ListenerSlot, shards: ShardSet) {
        let socket = |shard| (shard, Socket { drops_syns: true, ..Socket::default() });
        let twice = self.groups.insert(listener, shards.iter().map(socket).collect());
        assert!(twice.is_none(), "listener {listener} is bound twice");
    }

    pub fn is_bound(&self, listener: ListenerSlot) -> bool {
        self.groups.contains_key(&listener)
    }

    /// Closes all sockets of an address, and resets who is in them.
    pub fn close(&mut self, listener: ListenerSlot) -> Reset {
        let mut reset = Reset::default();
        for socket in self.groups.remove(&listener).expect("bound").values() {
            let clients = u64::from(socket.handshakes) + socket.queue.len() as u64;
            match socket.orphaned {
                true => reset.with_a_dead_shard += clients,
                false => reset.by_us += clients,
            }
        }
        reset
    }

    pub fn open(&mut self, listener: ListenerSlot, shard: ShardId) {
        let socket = self.socket(listener, shard);
        socket.drops_syns = false;
        socket.orphaned = false;
    }

    pub fn drop_syns(&mut self, listener: ListenerSlot, shard: ShardId) {
        self.socket(listener, shard).drops_syns = true;
    }

    pub fn steer(&mut self, live: ShardSet) {
        self.steered = Some(live);
    }

    pub fn shard_died(&mut self, shard: ShardId) {
        for group in self.groups.values_mut() {
            if let Some(socket) = group.get_mut(&shard) {
                socket.orphaned = true;
            }
        }
    }

    /// A client tries some address. Answers with the socket in which its handshake began.
    pub fn syn(&mut self, dice: &mut Dice) -> Option<(ListenerSlot, ShardId)> {
        let listener = dice.pick(&self.groups.keys().copied().collect::<Vec<_>>())?;
        let steered = self.steered;
        let group = self.groups.get_mut(&listener)?;
        let all: Vec<ShardId> = group.keys().copied().collect();
        let live: Vec<ShardId> = all.iter().copied().filter(|s| steered.is_none_or(|live| live.contains(*s))).collect();
        let shard = dice.pick(if live.is_empty() { &all } else { &live })?;
        let socket = group.get_mut(&shard)?;
        if socket.drops_syns {
            return None; // it tries again later, and somebody else is as good
        }
        socket.handshakes += 1;
        Some((listener, shard))
    }

    /// Some handshake ends: in the queue, or because the client went away.
    pub fn handshake(&mut self, dice: &mut Dice) -> Option<(ListenerSlot, ShardId)> {
        let begun: Vec<(ListenerSlot, ShardId)> = self
            .groups
            .iter()
            .flat_map(|(listener, group)| group.iter().map(move |(shard, socket)| (*listener, *shard, socket)))
            .filter(|(_, _, socket)| socket.handshakes > 0)
            .map(|(listener, shard, _)| (listener, shard))
            .collect();
        let (listener, shard) = dice.pick(&begun)?;
        self.clients += 1;
        let client = self.clients;
        let gone = dice.chance(10);
        let socket = self.socket(listener, shard);
        socket.handshakes -= 1;
        if !gone {
            socket.queue.push_back(client);
        }
        Some((listener, shard))
    }

    pub fn accept(&mut self, listener: ListenerSlot, shard: ShardId) -> Option<Client> {
        self.socket(listener, shard).queue.pop_front()
    }

    pub fn queued(&self, listener: ListenerSlot, shard: ShardId) -> usize {
        self.groups.get(&listener).and_then(|group| group.get(&shard)).map_or(0, |socket| socket.queue.len())
    }

    /// What the kernel's table of handshakes shows for an address, whichever socket they are in.
    pub fn pending(&self, listener: ListenerSlot) -> u32 {
        self.groups.get(&listener).map_or(0, |group| group.values().map(|socket| socket.handshakes).sum())
    }

    pub fn is_idle(&self) -> bool {
        self.groups.values().flat_map(BTreeMap::values).all(|socket| socket.handshakes == 0 && socket.queue.is_empty())
    }

    pub fn has_handshakes(&self) -> bool {
        self.groups.values().flat_map(BTreeMap::values).any(|socket| socket.handshakes > 0)
    }

    fn socket(&mut self, listener: ListenerSlot, shard: ShardId) -> &mut Socket {
        let group = self.groups.get_mut(&listener).unwrap_or_else(|| panic!("listener {listener} has no sockets"));
        group.get_mut(&shard).expect("a socket for each shard of the address")
    }
}
