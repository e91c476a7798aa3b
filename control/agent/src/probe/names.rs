//! Which name to ask for, and when: by its time to live, sooner after a failure.
//!
//! Owns the last good answer of every name, which stays in use while asking fails. Asks nobody: that is
//! [`crate::resolve`].

use crate::resolve::{Answer, retry_after};
use policy::{EndpointSlot, Tick};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// Questions that may be open at the same time.
pub const ASKING_MAX: usize = 32;

#[derive(Debug, Default)]
pub struct Names {
    hosts: HashMap<Arc<str>, Host>,
    /// May hold entries that are out of date: a host knows its own time.
    timeline: BinaryHeap<Reverse<(Tick, Arc<str>)>>,
    asking: usize,
}

#[derive(Debug)]
struct Host {
    users: BTreeSet<EndpointSlot>,
    /// The last good answer. Empty: there was none yet.
    addresses: Vec<IpAddr>,
    failures: u32,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Due(Tick),
    Asking,
}

/// What an answer changed.
#[derive(PartialEq, Eq, Debug)]
pub struct Moved {
    pub users: Vec<EndpointSlot>,
    pub addresses: Vec<IpAddr>,
}

impl Names {
    /// The endpoint's name is asked for from now on. Answers what is known of it already.
    pub fn watch(&mut self, host: &Arc<str>, user: EndpointSlot, now: Tick) -> &[IpAddr] {
        let timeline = &mut self.timeline;
        let entry = self.hosts.entry(Arc::clone(host)).or_insert_with(|| {
            timeline.push(Reverse((now, Arc::clone(host))));
            Host { users: BTreeSet::new(), addresses: Vec::new(), failures: 0, state: State::Due(now) }
        });
        entry.users.insert(user);
        &entry.addresses
    }

    pub fn forget(&mut self, host: &str, user: EndpointSlot) {
        if let Some(entry) = self.hosts.get_mut(host) {
            entry.users.remove(&user);
            if entry.users.is_empty() {
                self.hosts.remove(host);
            }
        }
    }

    /// A name to ask for now; to be asked again until it answers `None`. Every one comes back to
    /// [`Names::on_answer`].
    pub fn due(&mut self, now: Tick) -> Option<Arc<str>> {
        if self.asking == ASKING_MAX || self.skip_stale()? > now {
            return None;
        }
        let Reverse((_, host)) = self.timeline.pop()?;
        self.hosts.get_mut(&host)?.state = State::Asking;
        self.asking += 1;
        Some(host)
    }

    /// When to call [`Names::due`] next. `None`: after the next answer, or when another name is watched.
    pub fn next_due(&mut self) -> Option<Tick> {
        if self.asking == ASKING_MAX {
            return None;
        }
        self.skip_stale()
    }

    /// The time of the first entry that its host agrees with.
    fn skip_stale(&mut self) -> Option<Tick> {
        loop {
            let Reverse((at, host)) = self.timeline.peek()?;
            if self.hosts.get(host).is_some_and(|entry| entry.state == State::Due(*at)) {
                return Some(*at);
            }
            self.timeline.pop();
        }
    }

    /// Answers whom it concerns if the addresses are others than before.
    pub fn on_answer(&mut self, host: &Arc<str>, answer: Result<Answer, ()>, now: Tick) -> Option<Moved> {
        self.asking -= 1;
        let entry = self.hosts.get_mut(host)?;
        if entry.state != State::Asking {
            // Forgotten and watched again while the question was open: it has its own.
            return None;
        }
        let (wait, addresses) = match answer {
            Ok(answer) => {
                entry.failures = 0;
                (answer.valid, Some(answer.addresses))
            }
            Err(()) => {
                entry.failures = entry.failures.saturating_add(1);
                (retry_after(entry.failures), None)
            }
        };
        let at = now.after(wait);
        entry.state = State::Due(at);
        self.timeline.push(Reverse((at, Arc::clone(host))));
        let addresses = addresses.filter(|addresses| *addresses != entry.addresses)?;
        entry.addresses.clone_from(&addresses);
        Some(Moved { users: entry.users.iter().copied().collect(), addresses })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const A: EndpointSlot = EndpointSlot(1);
    const B: EndpointSlot = EndpointSlot(2);

    fn answer(last: u8, seconds: u64) -> Result<Answer, ()> {
        Ok(Answer { addresses: vec![IpAddr::from([127, 0, 0, last])], valid: Duration::from_secs(seconds) })
    }

    fn db() -> Arc<str> {
        "db.test".into()
    }

    #[test]
    fn one_question_for_all_who_use_the_name() {
        let mut names = Names::default();
        assert!(names.watch(&db(), A, Tick(0)).is_empty());
        names.watch(&db(), B, Tick(5));
        assert_eq!(names.due(Tick(5)), Some(db()));
        assert_eq!(names.due(Tick(5)), None);
        let moved = names.on_answer(&db(), answer(1, 10), Tick(5)).unwrap();
        assert_eq!(moved.users, [A, B]);
        assert_eq!(names.watch(&db(), EndpointSlot(3), Tick(6)), moved.addresses);
        assert_eq!(names.next_due(), Some(Tick(10_005)));
    }

    #[test]
    fn an_equal_answer_concerns_nobody() {
        let mut names = Names::default();
        names.watch(&db(), A, Tick(0));
        for (now, expected) in [(0, true), (10_000, false)] {
            assert!(names.due(Tick(now)).is_some());
            let moved = names.on_answer(&db(), answer(1, 10), Tick(now));
            assert_eq!(moved.is_some(), expected);
        }
    }

    #[test]
    fn the_last_good_answer_outlives_failures() {
        let mut names = Names::default();
        names.watch(&db(), A, Tick(0));
        names.due(Tick(0)).unwrap();
        names.on_answer(&db(), answer(1, 1), Tick(0));
        let mut now = Tick(1000);
        for wait in [1, 2, 4] {
            names.due(now).unwrap();
            assert_eq!(names.on_answer(&db(), Err(()), now), None);
            now = now.after(Duration::from_secs(wait));
            assert_eq!(names.next_due(), Some(now));
        }
        assert_eq!(names.watch(&db(), B, now).len(), 1);
    }

    #[test]
    fn a_forgotten_name_is_asked_for_no_more() {
        let mut names = Names::default();
        names.watch(&db(), A, Tick(0));
        names.watch(&db(), B, Tick(0));
        names.forget("db.test", A);
        assert_eq!(names.next_due(), Some(Tick(0)));
        names.forget("db.test", B);
        assert_eq!(names.next_due(), None);
        assert_eq!(names.due(Tick(99)), None);
    }

    /// The answer to the question of before must not count for the name of now.
    #[test]
    fn a_name_that_comes_back_while_it_is_asked_for() {
        let mut names = Names::default();
        names.watch(&db(), A, Tick(0));
        names.due(Tick(0)).unwrap();
        names.forget("db.test", A);
        names.watch(&db(), B, Tick(1));
        assert_eq!(names.on_answer(&db(), answer(1, 10), Tick(2)), None);
        assert_eq!(names.due(Tick(2)), Some(db()));
        assert!(names.on_answer(&db(), answer(2, 10), Tick(2)).is_some());
    }

    #[test]
    fn questions_have_a_bound() {
        let mut names = Names::default();
        let hosts: Vec<Arc<str>> = (0..100).map(|ix| format!("h{ix}.test").into()).collect();
        for (ix, host) in hosts.iter().enumerate() {
            names.watch(host, EndpointSlot(ix as u32), Tick(0));
        }
        let mut open = Vec::new();
        while let Some(host) = names.due(Tick(0)) {
            open.push(host);
        }
        assert_eq!(open.len(), ASKING_MAX);
        assert_eq!(names.next_due(), None);
        names.on_answer(&open[0], answer(1, 10), Tick(0));
        assert!(names.due(Tick(0)).is_some());
    }
}
