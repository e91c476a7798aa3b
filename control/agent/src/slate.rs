//! Words between two threads of control of which only the newest counts, key by key.
//!
//! Neither side ever waits for the other and nothing overflows: a word that was not taken yet is replaced
//! by the next one for the same key, so the bound is the number of keys. Not for traffic: there is a lock.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

#[derive(Debug)]
pub struct Slate<K, V> {
    words: Mutex<BTreeMap<K, V>>,
    written: Notify,
}

impl<K: Ord, V> Default for Slate<K, V> {
    fn default() -> Slate<K, V> {
        Slate { words: Mutex::default(), written: Notify::new() }
    }
}

impl<K: Ord, V> Slate<K, V> {
    pub fn write(&self, words: impl IntoIterator<Item = (K, V)>) {
        self.words.lock().unwrap_or_else(PoisonError::into_inner).extend(words);
        self.written.notify_one();
    }

    /// Writes one word, made of the one that it replaces if that was not taken yet.
    pub fn rewrite(&self, key: K, word: impl FnOnce(Option<&V>) -> V) {
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        let word = word(words.get(&key));
        words.insert(key, word);
        drop(words);
        self.written.notify_one();
    }

    /// Everything that was written since the last time; waits until there is something. One taker only.
    pub async fn take(&self) -> BTreeMap<K, V> {
        loop {
            let words = std::mem::take(&mut *self.words.lock().unwrap_or_else(PoisonError::into_inner));
            if !words.is_empty() {
                return words;
            }
            self.written.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::tests::block_on;
    use std::sync::Arc;

    #[test]
    fn the_newest_word_for_a_key_counts() {
        let slate = Slate::default();
        slate.write([(1, "a"), (2, "b")]);
        slate.write([(1, "c")]);
        assert_eq!(block_on(slate.take()), BTreeMap::from([(1, "c"), (2, "b")]));
    }

    #[test]
    fn a_word_can_take_over_what_nobody_has_read() {
        let slate = Slate::default();
        for word in [1, 10] {
            slate.rewrite("sum", |old| old.unwrap_or(&0) + word);
        }
        assert_eq!(block_on(slate.take()), BTreeMap::from([("sum", 11)]));
        slate.rewrite("sum", |old| old.unwrap_or(&0) + 5);
        assert_eq!(block_on(slate.take()), BTreeMap::from([("sum", 5)]));
    }

    #[test]
    fn the_taker_wakes() {
        let slate = Arc::new(Slate::default());
        let writer = Arc::clone(&slate);
        let thread = std::thread::spawn(move || writer.write([(7, ())]));
        assert_eq!(block_on(slate.take()), BTreeMap::from([(7, ())]));
        thread.join().unwrap();
    }
}
