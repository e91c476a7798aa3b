//! The lists that the rules of one pool name.

use super::List;
use crate::ids::ListSlot;
use std::sync::Arc;

/// Lists by their slots: a rule names the slot, and the generation says what is in it.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    /// Sorted, no slot twice.
    lists: Vec<(ListSlot, Arc<List>)>,
}

impl Lists {
    /// For rules that name none.
    pub const NONE: &Lists = &Lists { lists: Vec::new() };

    /// No slot twice.
    pub fn new(lists: impl IntoIterator<Item = (ListSlot, Arc<List>)>) -> Lists {
        let mut lists: Vec<_> = lists.into_iter().collect();
        lists.sort_by_key(|(slot, _)| *slot);
        debug_assert!(lists.windows(2).all(|pair| pair[0].0 != pair[1].0), "a slot has one list");
        Lists { lists }
    }

    /// `None`: no rule of the pool names it.
    pub fn find(&self, slot: ListSlot) -> Option<&Arc<List>> {
        let at = self.lists.binary_search_by_key(&slot, |(other, _)| *other).ok()?;
        Some(&self.lists[at].1)
    }

    pub fn iter(&self) -> impl Iterator<Item = (ListSlot, &Arc<List>)> {
        self.lists.iter().map(|(slot, list)| (*slot, list))
    }

    /// Whether both have the very same lists.
    pub fn same(&self, other: &Lists) -> bool {
        let pairs = || self.lists.iter().zip(&other.lists);
        self.lists.len() == other.lists.len()
            && pairs().all(|(one, other)| one.0 == other.0 && Arc::ptr_eq(&one.1, &other.1))
    }

    /// Heap bytes, about, if nobody else has them.
    pub fn bytes(&self) -> u64 {
        size_of_val(&*self.lists) as u64 + self.lists.iter().map(|(_, list)| list.bytes()).sum::<u64>()
    }
}
