//! The life of one listen address on one shard.
//!
//! Owns the order in which a socket gains and loses its meaning, so that no client is refused and no
//! connection that began is reset. Knows no descriptor: the shard performs the [`Step`]s.
//!
//! ```text
//!          bind ──▶ Bound ─── open ──▶ Listening ─── leave ──▶ Leaving ─── close ──▶ Draining ── drained ──▶ (closed)
//!  (SYNs are dropped) │                                (SYNs are dropped,             (the accept is cancelled;
//!                   abort                               what is queued                 what raced with that and what
//!                     ▼                                 is accepted)                   is still queued is served)
//!                  (closed)
//! ```
//!
//! A leaving address can come back to `Listening`. `close` is ordered by control when the kernel shows no handshake pending on the address; before that,
//! a client that has our SYN-ACK would find nobody.

use crate::ids::JobId;

/// Where one address stands on this shard. Closed is the absence of a `Listener`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listener {
    /// Behind a filter that drops SYNs; nobody can be connected.
    Bound { by: JobId },
    /// Accepting.
    Listening,
    /// No handshake can begin; those that have begun finish and are accepted.
    Leaving,
    /// Nothing can join the queue any more; what is in it is accepted.
    Draining,
}

/// What the shard does to the socket now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Take the filter off and accept.
    Open,
    /// Put the filter on; go on accepting.
    DropSyns,
    /// Cancel the accept; then take what is queued until the queue is empty.
    CancelAccept,
    /// The socket is not used here any more.
    GiveBack,
}

impl Listener {
    /// The change that brought the address is in force.
    pub fn open(self) -> (Listener, Step) {
        assert!(matches!(self, Listener::Bound { .. }), "opened while {self:?}");
        (Listener::Listening, Step::Open)
    }

    /// No generation names the address any more.
    pub fn leave(self) -> (Listener, Step) {
        assert_eq!(self, Listener::Listening, "only a listening address can leave");
        (Listener::Leaving, Step::DropSyns)
    }

    /// It is to listen after all: control has restarted, and what took the address away was never told to
    /// anybody. A `Close` has not been ordered then.
    pub fn come_back(self) -> (Listener, Step) {
        assert_eq!(self, Listener::Leaving, "only a leaving address comes back");
        (Listener::Listening, Step::Open)
    }

    /// No handshake is pending. Ordered twice it changes nothing: a control that has restarted cannot know.
    pub fn close(self) -> (Listener, Option<Step>) {
        match self {
            Listener::Leaving => (Listener::Draining, Some(Step::CancelAccept)),
            Listener::Draining => (Listener::Draining, None),
            Listener::Bound { .. } | Listener::Listening => {
                panic!("closed while {self:?}: clients would be reset")
            }
        }
    }

    /// The cancelled accept has ended, what raced with it is served and the queue is empty.
    pub fn drained(self) -> Step {
        assert_eq!(self, Listener::Draining, "an accept ends only where it was cancelled");
        Step::GiveBack
    }

    /// The change that would have brought the address was aborted.
    pub fn abort(self) -> Step {
        assert!(matches!(self, Listener::Bound { .. }), "aborted while {self:?}");
        Step::GiveBack
    }

    /// Whether connections can come out of it.
    pub fn accepts(self) -> bool {
        !matches!(self, Listener::Bound { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_life() {
        let listener = Listener::Bound { by: JobId(1) };
        assert!(!listener.accepts());
        let (listener, step) = listener.open();
        assert_eq!((listener, step), (Listener::Listening, Step::Open));
        let (listener, step) = listener.leave();
        assert_eq!((listener, step), (Listener::Leaving, Step::DropSyns));
        assert!(listener.accepts(), "what is queued is served");
        let (listener, step) = listener.close();
        assert_eq!((listener, step), (Listener::Draining, Some(Step::CancelAccept)));
        assert!(listener.accepts(), "what raced with the cancel is served");
        assert_eq!(listener.close(), (Listener::Draining, None));
        assert_eq!(listener.drained(), Step::GiveBack);
    }

    #[test]
    fn an_aborted_address_is_given_back_unseen() {
        assert_eq!(Listener::Bound { by: JobId(1) }.abort(), Step::GiveBack);
    }

    #[test]
    fn an_address_comes_back_while_it_is_leaving_and_not_later() {
        assert_eq!(Listener::Leaving.come_back(), (Listener::Listening, Step::Open));
        let late = std::panic::catch_unwind(|| Listener::Draining.come_back());
        assert!(late.is_err(), "its accept is cancelled, and others may have closed theirs");
    }

    #[test]
    fn nothing_is_closed_before_it_has_left() {
        for early in [Listener::Bound { by: JobId(1) }, Listener::Listening] {
            assert!(std::panic::catch_unwind(|| early.close()).is_err(), "{early:?}");
        }
        for early in [Listener::Listening, Listener::Leaving] {
            assert!(std::panic::catch_unwind(|| early.drained()).is_err(), "{early:?}");
        }
        for late in [Listener::Listening, Listener::Leaving, Listener::Draining] {
            assert!(std::panic::catch_unwind(|| late.abort()).is_err(), "{late:?}");
        }
    }
}
