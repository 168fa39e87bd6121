//! Destinations: one queue and one concurrency window for each next hop.
//!
//! Owns the names and the numbers of destinations, forgets idle ones (mail to a million made-up domains must
//! not fill the memory), and knows which ones are to be served next. Knows no time but what it is told.

use crate::entry::List;
use crate::window::{Bounds, Window};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// How many destinations without mail are remembered, with the window that they had earned.
pub(crate) const IDLE_DESTINATIONS_MAX: usize = 4096;

pub(crate) struct Destination {
    name: Arc<str>,
    /// Entries that may be delivered now, oldest first; `ready_count` of them.
    pub(crate) ready: List,
    pub(crate) ready_count: u32,
    /// Deliveries under way.
    pub(crate) busy: u32,
    /// Entries in any state but removed ones.
    pub(crate) entries: u32,
    pub(crate) window: Window,
    pub(crate) bounds: Bounds,
    /// It has a place in the round.
    pub(crate) in_round: bool,
    /// A timer waits for the end of its death.
    pub(crate) in_timer: bool,
    /// Its valid place among the idle destinations; older places of it mean nothing.
    idle_stamp: u64,
}

pub(crate) struct Destinations {
    by_name: HashMap<Arc<str>, u32>,
    all: Vec<Destination>,
    /// Destinations without entries, in the order in which they became idle or were last asked for.
    idle: VecDeque<(u32, u64)>,
    stamp: u64,
    /// Numbers that can be given to new destinations.
    forgotten: Vec<u32>,
    bounds: Bounds,
    /// Of destinations that have a limit of their own.
    own_limits: HashMap<Arc<str>, u32>,
}

impl Destinations {
    pub(crate) fn new(bounds: Bounds) -> Destinations {
        Destinations {
            by_name: HashMap::new(),
            all: Vec::new(),
            idle: VecDeque::new(),
            stamp: 0,
            forgotten: Vec::new(),
            bounds,
            own_limits: HashMap::new(),
        }
    }

    /// At least 1 is used. For destinations that are not there yet.
    pub(crate) fn limit(&mut self, next_hop: &str, concurrency: u32) {
        self.own_limits.insert(next_hop.into(), concurrency.max(1));
    }

    pub(crate) fn intern(&mut self, next_hop: &str) -> u32 {
        let known = self.by_name.get(next_hop).copied();
        let index = known.unwrap_or_else(|| self.insert(next_hop.into()));
        self.note_if_idle(index);
        index
    }

    /// To be called whenever `entries` may have become zero. May forget another destination.
    pub(crate) fn note_if_idle(&mut self, index: u32) {
        if self.get(index).entries > 0 {
            return;
        }
        self.put_last(index);
        while self.idle.len() > IDLE_DESTINATIONS_MAX {
            let Some((oldest, stamp)) = self.idle.pop_front() else { break };
            let destination = self.get(oldest);
            if destination.entries > 0 || destination.idle_stamp != stamp {
                continue;
            }
            if destination.busy > 0 || destination.in_round {
                // its entries were removed while an agent or a turn in the round was theirs
                self.put_last(oldest);
                break;
            }
            self.by_name.remove(&self.all[oldest as usize].name);
            self.forgotten.push(oldest);
        }
    }

    pub(crate) fn name(&self, index: u32) -> &str {
        &self.all[index as usize].name
    }

    pub(crate) fn get(&self, index: u32) -> &Destination {
        &self.all[index as usize]
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> &mut Destination {
        &mut self.all[index as usize]
    }

    /// All numbers are below it.
    pub(crate) fn count(&self) -> u32 {
        self.all.len() as u32
    }

    fn insert(&mut self, name: Arc<str>) -> u32 {
        let own_limit = self.own_limits.get(&name).copied();
        let bounds =
            own_limit.map_or(self.bounds, |limit| Bounds { limit, initial: self.bounds.initial.min(limit) });
        let destination = Destination {
            name: name.clone(),
            ready: List::EMPTY,
            ready_count: 0,
            busy: 0,
            entries: 0,
            window: Window::new(bounds),
            bounds,
            in_round: false,
            in_timer: false,
            idle_stamp: 0,
        };
        let index = self.forgotten.pop().unwrap_or_else(|| {
            u32::try_from(self.all.len()).expect("fewer than 2^32 destinations fit in memory")
        });
        match self.all.get_mut(index as usize) {
            Some(forgotten) => *forgotten = destination,
            None => self.all.push(destination),
        }
        self.by_name.insert(name, index);
        index
    }

    fn put_last(&mut self, index: u32) {
        self.stamp += 1;
        self.all[index as usize].idle_stamp = self.stamp;
        self.idle.push_back((index, self.stamp));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_only_what_was_idle_longest() {
        let mut destinations = Destinations::new(Bounds { initial: 1, limit: 1 });
        let with_mail = destinations.intern("mail.test:25");
        destinations.get_mut(with_mail).entries = 1;
        let named_often = destinations.intern("often.test:25");
        for n in 0..3 * IDLE_DESTINATIONS_MAX {
            destinations.intern(&format!("made-up-{n}.test:25"));
            if n % 100 == 0 {
                assert_eq!(destinations.intern("often.test:25"), named_often);
            }
        }
        assert_eq!(destinations.intern("mail.test:25"), with_mail);
        assert_eq!(destinations.name(named_often), "often.test:25");
        assert!(destinations.all.len() <= IDLE_DESTINATIONS_MAX + 3, "{}", destinations.all.len());
        assert_eq!(destinations.by_name.len(), destinations.all.len() - destinations.forgotten.len());
    }
}
