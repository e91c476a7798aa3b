//! The adopter's addresses through their lives: what [`Listener`] says becomes deeds here.

use super::roots::LetGo;
use super::{Adopter, Deed};
use crate::generation::{Change, Listen};
use crate::ids::{JobId, ListenerSlot};
use crate::reload::Report;
use crate::reload::listener::{Listener, Step};
use crate::reload::planted::{Mistake, is};

impl Adopter {
    /// The accept that [`Deed::CancelAccept`] cancelled is over, and the queue is empty.
    pub fn accept_ended(&mut self, listener: ListenerSlot, deeds: &mut Vec<Deed>) {
        let address = self.addresses.remove(listener);
        deeds.push(deed(listener, address.life.drained()));
        deeds.push(Deed::Report(Report::ListenerClosed { listener }));
        let mut gone = LetGo::default();
        if let Some(last) = address.last {
            self.roots.give_back(last, &mut gone);
        }
        self.let_go(gone, deeds);
        self.check_stopped(deeds);
    }

    /// The addresses that a change brings, behind the filter.
    pub(super) fn bind_all(&mut self, job: JobId, change: &Change, deeds: &mut Vec<Deed>) {
        let shard = self.shard;
        for listen in change.listen.iter().filter(|listen| listen.shards.contains(shard)) {
            let listener = listen.listener;
            match self.life(listener) {
                None => {
                    self.addresses.insert(listen, Listener::Bound { by: job });
                    if is(Mistake::OpenAtPrepare) {
                        deeds.push(Deed::Open(listener));
                    }
                }
                // It will lead to another pool, no more.
                Some(life) => assert_eq!(life, Listener::Listening, "listener {listener}"),
            }
        }
    }

    /// Gives back the addresses that a change has bound and nothing else names.
    pub(super) fn unbind_all(&mut self, job: JobId, change: &Change, deeds: &mut Vec<Deed>) {
        for listen in &change.listen {
            let listener = listen.listener;
            if self.life(listener) == Some(Listener::Bound { by: job }) {
                let address = self.addresses.remove(listener);
                deeds.push(deed(listener, address.life.abort()));
            }
        }
    }

    /// The addresses that the new root names: bound by the change or, in a Sync, in any state but closing.
    pub(super) fn open_all(&mut self, listens: &[Listen], gone: &mut LetGo, deeds: &mut Vec<Deed>) {
        let shard = self.shard;
        for listen in listens.iter().filter(|listen| listen.shards.contains(shard)) {
            let listener = listen.listener;
            let (life, step) = match self.life(listener) {
                None => {
                    self.addresses.insert(listen, Listener::Listening);
                    (Listener::Listening, Some(Step::Open))
                }
                Some(Listener::Listening) => (Listener::Listening, None),
                Some(life @ Listener::Bound { .. }) => some(life.open()),
                Some(life @ (Listener::Leaving | Listener::Draining)) => some(life.come_back()),
            };
            self.addresses.set(listener, life);
            deeds.extend(step.map(|step| deed(listener, step)));
            if let Some(last) = self.addresses.lead(listener, listen.pool) {
                self.roots.give_back(last, gone);
            }
        }
    }

    pub(super) fn leave(&mut self, listener: ListenerSlot, deeds: &mut Vec<Deed>) {
        if let Some(life) = self.life(listener) {
            let (life, step) = life.leave();
            self.addresses.set(listener, life);
            deeds.push(deed(listener, step));
        }
    }

    pub(super) fn close(&mut self, listener: ListenerSlot, deeds: &mut Vec<Deed>) {
        if let Some(life) = self.life(listener) {
            let (life, step) = life.close();
            self.addresses.set(listener, life);
            deeds.extend(step.map(|step| deed(listener, step)));
            if is(Mistake::CloseWithoutDraining) {
                self.accept_ended(listener, deeds);
            }
        }
    }

    fn life(&self, listener: ListenerSlot) -> Option<Listener> {
        self.addresses.find(listener).map(|address| address.life)
    }
}

fn some((life, step): (Listener, Step)) -> (Listener, Option<Step>) {
    (life, Some(step))
}

fn deed(listener: ListenerSlot, step: Step) -> Deed {
    match step {
        Step::Open => Deed::Open(listener),
        Step::DropSyns => Deed::DropSyns(listener),
        Step::CancelAccept => Deed::CancelAccept(listener),
        Step::GiveBack => Deed::GiveBack(listener),
    }
}
