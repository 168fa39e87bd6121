//! Things in the order in which they were last touched, each with the moment of it.
//!
//! A doubly linked list through a hash map: putting in, taking out and both ends are O(1), so nothing ever
//! looks at all of them. Whatever waits for the same time each belongs here: the front is due first.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Instant;

struct Entry<K> {
    since: Instant,
    older: Option<K>,
    newer: Option<K>,
}

/// See the module. Keys are in it at most once.
pub struct Recency<K> {
    entries: HashMap<K, Entry<K>>,
    oldest: Option<K>,
    newest: Option<K>,
}

impl<K> Default for Recency<K> {
    fn default() -> Recency<K> {
        Recency { entries: HashMap::new(), oldest: None, newest: None }
    }
}

impl<K: Copy + Eq + Hash> Recency<K> {
    /// Makes `key` the newest, wherever it was. `now` is not before that of the others.
    pub fn touch(&mut self, key: K, now: Instant) {
        self.remove(key);
        let older = self.newest.replace(key);
        match older {
            Some(older) => self.entries.get_mut(&older).expect("an end is an entry").newer = Some(key),
            None => self.oldest = Some(key),
        }
        self.entries.insert(key, Entry { since: now, older, newer: None });
    }

    /// False when it is not there.
    pub fn remove(&mut self, key: K) -> bool {
        let Some(Entry { older, newer, .. }) = self.entries.remove(&key) else { return false };
        match older {
            Some(older) => self.entries.get_mut(&older).expect("a neighbour is an entry").newer = newer,
            None => self.oldest = newer,
        }
        match newer {
            Some(newer) => self.entries.get_mut(&newer).expect("a neighbour is an entry").older = older,
            None => self.newest = older,
        }
        true
    }

    pub fn contains(&self, key: K) -> bool {
        self.entries.contains_key(&key)
    }

    pub fn newest(&self) -> Option<K> {
        self.newest
    }

    /// The one that was touched longest ago, and when.
    pub fn oldest(&self) -> Option<(K, Instant)> {
        let oldest = self.oldest?;
        Some((oldest, self.entries[&oldest].since))
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
