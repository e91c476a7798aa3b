//! One connection after the other, as the shard leads them through the conversation.

use super::account::Said;
use super::{Script, Shard};
use policy::reload::{Deed, PolicyLease, RootLease, Session};
use policy::{EndpointSlot, ListenerSlot, PartId, PoolSlot, RootVersion};

/// A connection and what it may rely on.
pub(super) struct Connection {
    /// It carries requests, one of which is under way.
    pub(super) session: Option<Session>,
    pub(super) lease: Lease,
    pub(super) endpoint: Option<EndpointSlot>,
}

/// A lease, and the part that it must stand for.
pub(super) enum Lease {
    Root(RootLease, PartId),
    Policy(PolicyLease, PartId),
}

impl Shard {
    /// A client comes to the address, if it is open here.
    pub(super) fn accept(&mut self, listener: ListenerSlot) {
        let version = self.adopter.version();
        let listening = self.account.is_listening(listener);
        assert_eq!(self.adopter.may_hand_over(listener, version), listening, "listener {listener}");
        assert!(!self.adopter.may_hand_over(listener, RootVersion(version.0 + 1)), "another root");
        if let Some(part) = self.account.serves(listener).filter(|_| self.adopter.accepts()) {
            let lease = self.adopter.accept(listener);
            assert_eq!(self.adopter.root(&lease).part, part, "the root that serves listener {listener}");
            self.connections.push(Connection { session: None, lease: Lease::Root(lease, part), endpoint: None });
            self.check();
        }
    }

    /// A client comes to the address, if it is open here, and asks something of this pool; of its connection's own where
    /// that pool is not there.
    pub(super) fn converse(&mut self, listener: ListenerSlot, pool: PoolSlot) {
        let Some(part) = self.account.serves(listener).filter(|_| self.adopter.accepts()) else { return };
        let mut deeds = Vec::new();
        let lease = self.adopter.accept(listener);
        let home = self.adopter.root(&lease).slot;
        let session = self.adopter.converse(lease, &mut deeds);
        self.account.session_begins(home, part);
        let there = self.account.current(pool);
        let lease = self.adopter.begin_at(pool);
        assert_eq!(lease.as_ref().map(|lease| self.adopter.root(lease).part), there, "the newest root of pool {pool}");
        let lease = lease.unwrap_or_else(|| self.adopter.begin(&session));
        let part = self.adopter.root(&lease).part;
        assert_eq!(part, there.unwrap_or_else(|| self.account.read_by_sessions(home)), "what a request reads");
        self.connections.push(Connection { session: Some(session), lease: Lease::Root(lease, part), endpoint: None });
        self.settle(deeds);
    }

    pub(super) fn accept_ended(&mut self, listener: ListenerSlot) -> Said {
        self.account.accept_ended(listener);
        self.event(|adopter, deeds| adopter.accept_ended(listener, deeds)).1
    }

    /// Of the events that are about a connection.
    pub(super) fn on_connection(&mut self, event: u8, script: &mut Script<'_>) {
        let Some(ix) = script.digit().checked_rem(self.connections.len()) else { return };
        let mut connection = self.connections.swap_remove(ix);
        let mut deeds = Vec::new();
        match event {
            b'g' => return self.end_of(connection),
            b'n' => connection = self.renew(connection, &mut deeds),
            b'b' => self.choose(&mut connection, script),
            b'u' => self.done_with_endpoint(&mut connection, &mut deeds),
            _ => connection = self.decide(connection, &mut deeds),
        }
        self.connections.push(connection);
        self.settle(deeds);
    }

    pub(super) fn end_of(&mut self, mut connection: Connection) {
        let mut deeds = Vec::new();
        self.done_with_endpoint(&mut connection, &mut deeds);
        match (connection.lease, connection.session) {
            (Lease::Root(lease, _), None) => self.adopter.give_back(lease, &mut deeds),
            (Lease::Policy(lease, _), None) => self.adopter.give_back_policy(lease, &mut deeds),
            (lease, Some(session)) => {
                match lease {
                    Lease::Root(lease, _) => self.adopter.end(lease, &mut deeds),
                    Lease::Policy(lease, _) => self.adopter.end_policy(lease, &mut deeds),
                }
                self.account.session_ends(session.pool());
                self.adopter.part(session, &mut deeds);
            }
        }
        self.settle(deeds);
    }

    /// To the newest root of its pool, if it has one.
    fn renew(&mut self, connection: Connection, deeds: &mut Vec<Deed>) -> Connection {
        let Connection { session, lease: Lease::Root(lease, part), endpoint: None } = connection else {
            return connection;
        };
        let newest = self.account.current(self.adopter.root(&lease).slot).unwrap_or(part);
        let lease = self.adopter.renew(lease, deeds);
        assert_eq!(self.adopter.root(&lease).part, newest);
        Connection { session, lease: Lease::Root(lease, newest), endpoint: None }
    }

    /// One of the endpoints of the root that it leases.
    fn choose(&mut self, connection: &mut Connection, script: &mut Script<'_>) {
        let Lease::Root(lease, part) = &connection.lease else { return };
        let root = self.adopter.root(lease);
        assert_eq!(root.part, *part, "a lease stands for what was leased");
        let Some(endpoint) =
            script.choose(&root.only_group().expect("a pool of streams").endpoints).map(|endpoint| endpoint.slot)
        else {
            return;
        };
        if connection.endpoint.is_none() {
            connection.endpoint = Some(endpoint);
            self.adopter.endpoint_opened(endpoint);
        }
    }

    fn done_with_endpoint(&mut self, connection: &mut Connection, deeds: &mut Vec<Deed>) {
        if let Some(endpoint) = connection.endpoint.take() {
            self.adopter.endpoint_closed(endpoint, deeds);
        }
    }

    /// From the root to its own policy, whatever is newest.
    fn decide(&mut self, connection: Connection, deeds: &mut Vec<Deed>) -> Connection {
        let Connection { session, lease: Lease::Root(lease, part), endpoint } = connection else { return connection };
        let lease = self.adopter.exchange(lease, deeds);
        let policy = self.adopter.policy(&lease).part;
        assert_eq!(policy, self.account.policy_of(part), "a decision goes with the policy of its own root");
        Connection { session, lease: Lease::Policy(lease, policy), endpoint }
    }
}
