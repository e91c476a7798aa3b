//! Requests that belong to another pool than their connection: guests there.
//!
//! A connection comes in for one pool, whose session it is. Where that pool shares an address, each request's host says
//! whose it is ([`policy::http::Sites`]). While another pool's is under way, `Conn::pool` is that pool's slot: its rules,
//! backends, lines, permits, memory and counters of requests are the request's, whatever happens to either pool. What
//! counts connections stays with the session's pool.
//!
//! A guest holds a lease on its pool from its first decision to its end, so the slot stays that pool's as long.

use crate::conn::{Conn, Lease};
use crate::conns::ConnId;
use crate::listeners::Listeners;
use crate::serve::Shard;
use link::counters::PoolCounter;
use policy::close::CloseReason;
use policy::generation::{PoolGeneration, Service, TunnelPolicy};
use policy::http::Whose;
use policy::ids::PoolSlot;
use policy::reload::{Adopter, Session};

/// Where a request goes whose head is complete.
pub(super) enum Goes {
    Home,
    To(PoolSlot),
    Nowhere {
        /// The client does well to ask on another connection.
        moved: bool,
    },
}

/// By the newest root of the session's pool.
pub(super) fn goes(conn: &Conn, adopter: &Adopter, listeners: &Listeners) -> Goes {
    let (Some(session), Some(request)) = (&conn.session, &conn.request) else { return Goes::Home };
    let root = adopter.newest(session);
    let Service::Http(service) = &root.service else { unreachable!("a session's pool is one of HTTP") };
    if service.sites.is_empty() {
        return Goes::Home;
    }
    let host = request.head.as_ref().and_then(|head| head.host);
    let host = host.map_or(&b""[..], |host| host.host.of(&request.input));
    match service.sites.whose(root.slot, listeners.slot_of(conn.came_by), host) {
        Whose::Ours => Goes::Home,
        Whose::Theirs(member) => {
            // Where the session's pool is gone, its last root names pools that may be gone too, or be others.
            let is_it = |root: &PoolGeneration| root.id == member.id && matches!(root.service, Service::Http(_));
            match adopter.pool(member.slot) {
                Some(root) if is_it(root) => Goes::To(member.slot),
                _ => Goes::Nowhere { moved: true },
            }
        }
        Whose::Nobodys { moved } => Goes::Nowhere { moved },
    }
}

/// The policy that a request under way goes by: what it leases, to its end. Between two requests and while a head is read, the
/// newest of the session's pool.
pub(super) fn policy_of<'a>(conn: &'a Conn, adopter: &'a Adopter) -> Option<&'a TunnelPolicy> {
    let session = conn.session.as_ref()?;
    Some(match &conn.lease {
        Lease::Root(lease) => &adopter.root(lease).policy,
        Lease::Policy(lease) => adopter.policy(lease),
        Lease::None => &adopter.newest(session).policy,
    })
}

/// As [`policy_of`], of roots; of a request that leases no root any more, its pool's newest. `None`: that is gone.
pub(super) fn root_of<'a>(
    lease: &'a Lease,
    session: Option<&'a Session>,
    pool: PoolSlot,
    adopter: &'a Adopter,
) -> Option<&'a PoolGeneration> {
    if let Lease::Root(lease) = lease {
        return Some(adopter.root(lease));
    }
    let home = adopter.newest(session?);
    if home.slot == pool { Some(home) } else { adopter.pool(pool).map(|root| &**root) }
}

impl Shard<'_> {
    /// The request is over, or its connection is: that is its session's pool's again, which is `home`. To be called while
    /// the request's lease is held: what is kept by its pool's slot is forgotten before the slot is free.
    pub(crate) fn go_home(&mut self, id: ConnId, home: PoolSlot) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let at = std::mem::replace(&mut conn.pool, home);
        if at != home {
            self.pool_mut(at).guests -= 1;
            self.drop_pool_if_over(at);
        }
    }

    /// A guest's connection goes on as a tunnel, and so for good as one of the pool that it is at: to `home` it has ended,
    /// and there it has come in.
    pub(super) fn settle_down(&mut self, id: ConnId, home: PoolSlot) {
        let Some(at) = self.conns.get_mut(id).map(|conn| conn.pool) else { return };
        if at == home {
            return;
        }
        self.count_end(home, CloseReason::Finished);
        let pool = self.pool_mut(home);
        pool.connections -= 1;
        pool.undecided -= 1;
        self.drop_pool_if_over(home);
        self.count_pool(at, PoolCounter::Accepted, 1);
        self.count_pool(at, PoolCounter::Connections, 1);
        let pool = self.pool_mut(at);
        pool.guests -= 1;
        pool.connections += 1;
        pool.undecided += 1;
    }
}
