//! `policy::reload::lease` against the plainest account there could be.
//!
//! Each part is a number; beside it stand how many leases are out and whether it was superseded. From that
//! alone follows when a part must be released, and that it is released once.

use crate::script::Script;
use policy::reload::lease::{Hold, Lease, Leases, Released};
use std::collections::BTreeMap;

/// Holds, leases and releases in the order of a script:
///
/// | event | |
/// |---|---|
/// | `h` | a new part is held |
/// | `l` n | a lease of a part that is held |
/// | `a` n | one more lease of what is leased |
/// | `g` n | a lease is given back |
/// | `s` n | a part is superseded |
/// | `r` n | a superseded part is current again, or one that there is not |
pub fn leases(data: &[u8]) {
    let mut account = Account::default();
    let mut script = Script::new(data);
    while let Some(event) = script.event(b"hlagsr") {
        match event {
            b'h' => account.hold(),
            b'l' => account.lease(script.digit()),
            b'a' => account.again(script.digit()),
            b'g' => account.give_back(script.digit()),
            b's' => account.supersede(script.digit()),
            _ => account.revive(script.digit()),
        }
        account.check();
    }
    account.end();
}

#[derive(Default)]
struct Account {
    leases: Leases<u32>,
    /// Parts that are alive.
    parts: BTreeMap<u32, Part>,
    holds: Vec<(u32, Hold<u32>)>,
    out: Vec<(u32, Lease<u32>)>,
    next: u32,
}

#[derive(Default)]
struct Part {
    leases: u32,
    superseded: bool,
}

impl Account {
    fn hold(&mut self) {
        let part = self.next;
        self.next += 1;
        self.parts.insert(part, Part::default());
        self.holds.push((part, self.leases.hold(part)));
    }

    fn lease(&mut self, which: usize) {
        if let Some(ix) = which.checked_rem(self.holds.len()) {
            let (part, hold) = &self.holds[ix];
            self.out.push((*part, self.leases.lease(hold)));
            self.part(self.out[self.out.len() - 1].0).leases += 1;
        }
    }

    fn again(&mut self, which: usize) {
        if let Some(ix) = which.checked_rem(self.out.len()) {
            let (part, lease) = &self.out[ix];
            let (part, lease) = (*part, self.leases.again(lease));
            self.out.push((part, lease));
            self.part(part).leases += 1;
        }
    }

    fn give_back(&mut self, which: usize) {
        if let Some(ix) = which.checked_rem(self.out.len()) {
            let (part, lease) = self.out.swap_remove(ix);
            self.part(part).leases -= 1;
            let released = self.leases.give_back(lease);
            self.settle(part, released);
        }
    }

    fn supersede(&mut self, which: usize) {
        if let Some(ix) = which.checked_rem(self.holds.len()) {
            let (part, hold) = self.holds.swap_remove(ix);
            self.part(part).superseded = true;
            let released = self.leases.supersede(hold);
            self.settle(part, released);
        }
    }

    /// `which` counts the parts from the first one; most of them are gone or current, and then nothing may happen.
    fn revive(&mut self, which: usize) {
        let wanted = which as u32;
        let can = self.parts.get(&wanted).is_some_and(|part| part.superseded);
        let hold = self.leases.revive(|part| *part == wanted);
        assert_eq!(hold.is_some(), can, "part {wanted} comes back exactly if it is superseded and alive");
        if let Some(hold) = hold {
            self.part(wanted).superseded = false;
            self.holds.push((wanted, hold));
        }
    }

    /// The part goes with the event that took the last thing that kept it, and with no other.
    fn settle(&mut self, part: u32, released: Option<Released<u32>>) {
        let Part { leases, superseded } = *self.part(part);
        let expected = (superseded && leases == 0).then_some(part);
        assert_eq!(released.map(|Released(part)| part), expected);
        if expected.is_some() {
            self.parts.remove(&part);
        }
    }

    fn part(&mut self, part: u32) -> &mut Part {
        self.parts.get_mut(&part).expect("held or leased, so alive")
    }

    fn check(&self) {
        self.leases.check_invariants();
        for (part, hold) in &self.holds {
            assert_eq!(self.leases.held(hold), part);
        }
        for (part, lease) in &self.out {
            assert_eq!(self.leases.leased(lease), part);
        }
        let pinned: BTreeMap<u32, u32> = self.leases.pinned().map(|(part, leases)| (*part, leases)).collect();
        let superseded = self.parts.iter().filter(|(_, part)| part.superseded);
        assert_eq!(pinned, superseded.map(|(id, part)| (*id, part.leases)).collect());
        assert_eq!(self.leases.leases(), self.out.len() as u64);
    }

    /// When everybody is done, nothing is left.
    fn end(mut self) {
        while !self.out.is_empty() {
            self.give_back(0);
        }
        while !self.holds.is_empty() {
            self.supersede(0);
        }
        self.check();
        assert!(self.parts.is_empty());
    }
}
