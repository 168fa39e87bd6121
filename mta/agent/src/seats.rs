//! Which threads have nothing to do, and to whom each still has a connection.

use delivery::NextHop;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A thread by the order in which it was started.
pub type Seat = usize;

/// One time that a seat became free; later ones are larger.
pub type Turn = u64;

#[derive(Default)]
pub struct FreeSeats {
    free: BTreeMap<Turn, (Seat, Option<NextHop>)>,
    unconnected: BTreeSet<Turn>,
    connected: HashMap<NextHop, BTreeSet<Turn>>,
    next_turn: Turn,
}

impl FreeSeats {
    pub fn put(&mut self, seat: Seat, connected_to: Option<NextHop>) -> Turn {
        let turn = self.next_turn;
        self.next_turn += 1;
        match &connected_to {
            Some(next_hop) => self.connected.entry(next_hop.clone()).or_default().insert(turn),
            None => self.unconnected.insert(turn),
        };
        self.free.insert(turn, (seat, connected_to));
        turn
    }

    /// One that needs no new thread and gives up no connection: to `next_hop`, or to nobody. The last freed, whose
    /// memory is still warm.
    pub fn take(&mut self, next_hop: &NextHop) -> Option<Seat> {
        let connected = self.connected.get(next_hop).and_then(BTreeSet::last);
        let turn = *connected.or_else(|| self.unconnected.last())?;
        self.remove(turn).map(|(seat, _)| seat)
    }

    /// The one that has waited longest, whose connection is to somebody else.
    pub fn take_oldest(&mut self) -> Option<Seat> {
        let turn = *self.free.first_key_value()?.0;
        self.remove(turn).map(|(seat, _)| seat)
    }

    /// Its connection is about to be closed. False when it was taken: a request is on its way to it.
    pub fn disconnect(&mut self, turn: Turn) -> bool {
        let Some((seat, _)) = self.remove(turn) else { return false };
        self.unconnected.insert(turn);
        self.free.insert(turn, (seat, None));
        true
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Seat> {
        self.free.values().map(|(seat, _)| *seat)
    }

    fn remove(&mut self, turn: Turn) -> Option<(Seat, Option<NextHop>)> {
        let (seat, connected_to) = self.free.remove(&turn)?;
        match &connected_to {
            None => drop(self.unconnected.remove(&turn)),
            Some(next_hop) => {
                if let Some(turns) = self.connected.get_mut(next_hop) {
                    turns.remove(&turn);
                    if turns.is_empty() {
                        self.connected.remove(next_hop);
                    }
                }
            }
        }
        Some((seat, connected_to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_to_the_next_hop_is_used_and_others_are_given_up_last() {
        let hop = |text| NextHop::parse(text).unwrap();
        let (a, b, c) = (hop("a.test:25"), hop("b.test:25"), hop("c.test:25"));
        let mut free = FreeSeats::default();
        free.put(0, None);
        free.put(1, Some(a.clone()));
        let second = free.put(2, Some(a.clone()));
        let third = free.put(3, Some(b.clone()));
        free.put(4, Some(b.clone()));
        assert_eq!(free.take(&a), Some(2), "the last freed of those connected to it");
        assert_eq!(free.take(&c), Some(0), "nobody's connection is given up while there is another way");
        assert_eq!(free.take(&c), None);
        assert!(free.disconnect(third) && !free.disconnect(second), "2 was taken");
        assert_eq!((free.take(&b), free.take(&b)), (Some(4), Some(3)), "3 without a connection now");
        assert_eq!((free.take_oldest(), free.take_oldest(), free.iter().count()), (Some(1), None, 0));
        assert!(free.connected.is_empty() && free.unconnected.is_empty());
    }
}
