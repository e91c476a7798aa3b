//! `policy::reload::Adopter`, the shard's end of a reload, under any legal order and any connection.
//!
//! `control` sends what a control may send, `connection` does what a shard may do with a client, and `account`
//! knows from that alone what the shard must hold. After every event the adopter is compared with the account.

use crate::script::Script;
use account::{Account, Said};
use control::{Control, Job, POOLS, SHARD, What, Wish, state};
use policy::generation::Change;
use policy::reload::{Adopter, Deed, Order, Refusal};
use policy::{EndpointSlot, ListenerSlot, PoolSlot, Tick};
use std::sync::Arc;

mod account;
mod connection;
mod control;

/// Orders to one shard, and the clients that come to it:
///
/// | event | |
/// |---|---|
/// | `p` pool what endpoints policy | a change is prepared; what: 0 replaced, 1 an address more, 2 one less, 3 all others, 4 takes another pool's, 5 removed |
/// | `f` | there will be no room for the next change |
/// | `c` n, `a` n | a change that is prepared is committed, or aborted |
/// | `s` | the shard is suspended |
/// | `o` pool what endpoints policy | a suspended shard misses a change |
/// | `y` n | it takes the whole root; jobs under way were committed elsewhere, or withdrawn if n is odd |
/// | `z` | the same, and control has died: what it had committed here only is void |
/// | `r` | it may accept again |
/// | `t` | it tells what it holds |
/// | `e` n, `v` n | news of an endpoint; its tunnels are to end |
/// | `k` n | no handshake is pending on an address that it leaves |
/// | `q`, `j` | the process stops; the stop's deadline has come |
/// | `l` n | a client comes to an address |
/// | `w` l pool | a client comes to an address, and its connection carries requests; the first is this pool's, if it is there |
/// | `n` n | a connection turns to the newest root |
/// | `b` n m, `u` n | it chooses a backend; it is done with it |
/// | `x` n, `g` n | its decisions are taken; it ends |
/// | `d` n | a cancelled accept has ended |
pub fn adopter(data: &[u8]) {
    let mut shard = Shard::start();
    let mut script = Script::new(data);
    while let Some(event) = script.event(b"pfcasoyzrtevkqjlwnbuxgd") {
        shard.on(event, &mut script);
    }
    shard.end();
}

/// The shard and its two sides.
struct Shard {
    adopter: Adopter,
    control: Control,
    account: Account,
    connections: Vec<connection::Connection>,
    standing: Standing,
    room: bool,
    epoch: u64,
}

/// Where the shard stands with control.
#[derive(Clone, Copy, PartialEq)]
enum Standing {
    Live,
    Suspended,
    /// It has taken the newest root and waits for its Resume.
    Synced,
    Stopping,
}

impl Shard {
    /// Started, and let in with an empty root.
    fn start() -> Shard {
        let mut shard = Shard {
            adopter: Adopter::new(SHARD),
            control: Control::default(),
            account: Account::default(),
            connections: Vec::new(),
            standing: Standing::Suspended,
            room: true,
            epoch: 0,
        };
        shard.sync();
        shard.resume();
        shard
    }

    fn on(&mut self, event: u8, script: &mut Script<'_>) {
        match event {
            b'p' => self.prepare(wish(script)),
            b'f' => self.room = false,
            b'c' => self.commit(script.digit()),
            b'a' => self.abort(script.digit()),
            b's' => self.suspend(),
            b'o' => self.miss(wish(script)),
            b'y' => self.sync_after(script.digit() % 2 == 1),
            b'z' => {
                self.forget_jobs(true);
                self.control.go_back();
                self.sync();
            }
            b'r' => self.resume(),
            b't' => {
                self.epoch += 1;
                let said = self.order(Order::Tell { epoch: self.epoch });
                assert_eq!(said.synced, Some(self.epoch));
            }
            b'e' => drop(self.order(Order::Endpoint(state(EndpointSlot(script.digit() as u32))))),
            b'v' => drop(self.order(Order::Retire { endpoint: EndpointSlot(script.digit() as u32) })),
            b'k' => {
                if let Some(listener) = script.choose(&self.account.leaving()).copied() {
                    // Closed by all or by none: whatever took the address away is known to everybody.
                    self.control.settle();
                    self.order(Order::Close { listener });
                }
            }
            b'q' => self.stop(),
            b'j' if self.standing == Standing::Stopping => {
                self.control.settle();
                self.event(|adopter, deeds| adopter.deadline_reached(deeds));
            }
            b'j' => {}
            b'l' => self.accept(ListenerSlot(script.digit() as u32)),
            b'w' => {
                let listener = ListenerSlot(script.digit() as u32);
                self.converse(listener, PoolSlot(script.digit() as u32 % POOLS));
            }
            b'd' => {
                if let Some(listener) = script.choose(&self.account.draining()).copied() {
                    self.accept_ended(listener);
                }
            }
            _ => self.on_connection(event, script),
        }
    }

    fn prepare(&mut self, wish: Wish) {
        let Some((id, change)) = self.control.change(wish) else { return };
        let room = std::mem::replace(&mut self.room, true);
        let fits = room && self.standing == Standing::Live;
        if fits {
            self.account.prepare(id, &change);
            self.control.jobs.push(Job { id, change: change.clone() });
        }
        let said = self.order_with(Order::Prepare { job: id, change }, room);
        assert_eq!((said.prepared, said.refused), if fits { (Some(id), None) } else { (None, Some(id)) });
    }

    /// Only a live shard is asked to.
    fn commit(&mut self, which: usize) {
        let Some(ix) = which.checked_rem(self.control.jobs.len()) else { return };
        if self.standing == Standing::Live {
            let Job { id, change } = self.control.jobs.remove(ix);
            let version = self.control.commit(id, &change);
            self.account.commit(id, version, &change);
            drop(change);
            let said = self.order(Order::Commit { job: id, version });
            assert_eq!(said.adopted, Some(id));
        }
    }

    fn abort(&mut self, which: usize) {
        let Some(ix) = which.checked_rem(self.control.jobs.len()) else { return };
        let Job { id, change } = self.control.jobs.remove(ix);
        self.account.forget(id);
        let said = self.order(Order::Abort { job: id });
        assert_eq!(said.forgotten, Some(id));
        assert_eq!(Arc::strong_count(&change), 1, "forgotten, and still held");
    }

    fn suspend(&mut self) {
        if matches!(self.standing, Standing::Live | Standing::Synced) {
            self.standing = Standing::Suspended;
            self.order(Order::Suspend);
        }
    }

    fn miss(&mut self, wish: Wish) {
        if self.standing == Standing::Suspended
            && let Some((id, change)) = self.control.change(wish)
        {
            self.control.commit(id, &change);
        }
    }

    fn sync_after(&mut self, withdrawn: bool) {
        self.forget_jobs(withdrawn);
        self.sync();
    }

    /// Jobs that are prepared here end without this shard.
    fn forget_jobs(&mut self, withdrawn: bool) {
        for job in std::mem::take(&mut self.control.jobs) {
            if !withdrawn {
                self.control.commit(job.id, &job.change);
            }
        }
    }

    fn sync(&mut self) {
        self.epoch += 1;
        let to = Arc::new(self.control.snapshot());
        self.account.sync(&to);
        let said = self.order(Order::Sync { epoch: self.epoch, to });
        assert_eq!(said.synced, Some(self.epoch));
        if self.standing == Standing::Suspended {
            self.standing = Standing::Synced;
        }
    }

    fn resume(&mut self) {
        if self.standing == Standing::Synced {
            self.standing = Standing::Live;
            self.order(Order::Resume);
        }
    }

    /// May be asked again, by a control that has restarted.
    fn stop(&mut self) {
        self.forget_jobs(true);
        self.standing = Standing::Stopping;
        self.account.stop();
        let said = self.order(Order::Stop { deadline: Tick(1) });
        assert!(said.leaving, "a stop is answered at once");
        let nothing_left = self.connections.is_empty() && self.account.is_closed();
        assert_eq!(said.stopped, nothing_left, "and again when nothing is left");
    }

    fn order(&mut self, order: Order) -> Said {
        self.order_with(order, true)
    }

    fn order_with(&mut self, order: Order, room: bool) -> Said {
        let room = |_: &Change| match room {
            true => Ok(()),
            false => Err(Refusal::TableFull { table: "test", bound: 0 }),
        };
        self.event(|adopter, deeds| adopter.on_order(order, room, deeds)).1
    }

    /// Something happens to the adopter; its deeds are performed, and then everything must agree.
    fn event<R>(&mut self, event: impl FnOnce(&mut Adopter, &mut Vec<Deed>) -> R) -> (R, Said) {
        let mut deeds = Vec::new();
        let result = event(&mut self.adopter, &mut deeds);
        (result, self.settle(deeds))
    }

    fn settle(&mut self, deeds: Vec<Deed>) -> Said {
        for deed in deeds {
            self.account.on_deed(deed, &self.control);
        }
        self.check()
    }

    fn check(&mut self) -> Said {
        self.adopter.check_invariants();
        for slot in (0..POOLS).map(PoolSlot) {
            assert_eq!(self.adopter.pool(slot).map(|pool| pool.part), self.account.current(slot), "pool {slot}");
        }
        let may_accept = matches!(self.standing, Standing::Live | Standing::Stopping);
        assert_eq!(self.account.is_accepting(), may_accept, "what the shard was told to do with its addresses");
        assert_eq!(self.adopter.accepts(), may_accept && !self.account.is_stopped());
        self.control.free_listeners(|listener| self.account.is_here(listener));
        self.account.check(&self.adopter.held(), &self.connections, &self.control)
    }

    /// Everybody goes home, everything is taken away: nothing is left that would have to be released.
    fn end(mut self) {
        while let Some(connection) = self.connections.pop() {
            self.end_of(connection);
        }
        self.stop();
        let (_, mut said) = self.event(|adopter, deeds| adopter.deadline_reached(deeds));
        for listener in self.account.draining() {
            said = self.accept_ended(listener);
        }
        assert!(said.stopped || self.account.is_closed(), "nothing is left, and the shard does not say so");
        let held = self.adopter.held();
        assert!(held.pinned.is_empty() && held.endpoints_leaving.is_empty(), "{held:?}");
    }
}

fn wish(script: &mut Script<'_>) -> Wish {
    const WHAT: [What; 6] = [What::Replaced, What::Opened, What::Closed, What::Moved, What::Takes, What::Removed];
    Wish {
        pool: PoolSlot(script.digit() as u32 % POOLS),
        what: *script.choose(&WHAT).expect("there are some"),
        endpoints: script.digit(),
        new_policy: script.digit() % 2 == 1,
    }
}
