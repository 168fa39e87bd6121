//! Which threads have nothing to do, and to whom each still has a connection.

use delivery::NextHop;
use std::collections::HashMap;

/// A thread by the order in which it was started.
pub type Seat = usize;

/// Of each kind the last freed is taken first, so that the memory it used is still warm.
#[derive(Default)]
pub struct FreeSeats {
    unconnected: Vec<Seat>,
    connected: HashMap<NextHop, Vec<Seat>>,
}

impl FreeSeats {
    pub fn put(&mut self, seat: Seat, connected_to: Option<NextHop>) {
        match connected_to {
            Some(next_hop) => self.connected.entry(next_hop).or_default().push(seat),
            None => self.unconnected.push(seat),
        }
    }

    /// One that needs no new thread and gives up no connection: to `next_hop`, or to nobody.
    pub fn take(&mut self, next_hop: &NextHop) -> Option<Seat> {
        self.take_connected(next_hop).or_else(|| self.unconnected.pop())
    }

    /// Any; its connection is to somebody else.
    pub fn take_any(&mut self) -> Option<Seat> {
        let next_hop = self.connected.keys().next()?.clone();
        self.take_connected(&next_hop)
    }

    fn take_connected(&mut self, next_hop: &NextHop) -> Option<Seat> {
        let seats = self.connected.get_mut(next_hop)?;
        let seat = seats.pop();
        if seats.is_empty() {
            self.connected.remove(next_hop);
        }
        seat
    }

    /// The seat is about to close its connection. False when it was taken: a request is on its way to it.
    pub fn disconnect(&mut self, seat: Seat, next_hop: &NextHop) -> bool {
        let Some(seats) = self.connected.get_mut(next_hop) else { return false };
        let Some(place) = seats.iter().position(|free| *free == seat) else { return false };
        seats.remove(place);
        if seats.is_empty() {
            self.connected.remove(next_hop);
        }
        self.unconnected.push(seat);
        true
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Seat> {
        self.unconnected.iter().chain(self.connected.values().flatten()).copied()
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
        free.put(2, Some(a.clone()));
        free.put(3, Some(b.clone()));
        assert_eq!(free.take(&a), Some(2), "the last freed of those connected to it");
        assert_eq!(free.take(&c), Some(0), "nobody's connection is given up while there is another way");
        assert_eq!(free.take(&c), None);
        assert!(free.disconnect(3, &b) && !free.disconnect(2, &a), "2 was taken");
        assert_eq!(free.take(&b), Some(3), "without a connection now");
        assert_eq!((free.take_any(), free.take_any(), free.iter().count()), (Some(1), None, 0));
    }
}
