//! Connections that wait for the next message to the same next hop.

use crate::connection::Connection;
use delivery::NextHop;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

#[derive(Default)]
pub struct IdleConnections {
    /// The back became idle last.
    waiting: HashMap<NextHop, VecDeque<(u64, Box<Connection>)>>,
    /// In the order in which they became idle; those that were taken since are still in it.
    order: VecDeque<(u64, Instant, NextHop)>,
    next_number: u64,
    count: usize,
}

impl IdleConnections {
    pub fn put(&mut self, next_hop: NextHop, connection: Box<Connection>) {
        let number = self.next_number;
        self.next_number += 1;
        self.count += 1;
        self.order.push_back((number, Instant::now(), next_hop.clone()));
        self.waiting.entry(next_hop).or_default().push_back((number, connection));
    }

    /// The one that became idle last and that the peer has left open.
    pub fn take(&mut self, next_hop: &NextHop) -> Option<Box<Connection>> {
        let waiting = self.waiting.get_mut(next_hop)?;
        let mut found = None;
        while found.is_none()
            && let Some((_, connection)) = waiting.pop_back()
        {
            self.count -= 1;
            found = connection.quiet().then_some(connection);
        }
        if waiting.is_empty() {
            self.waiting.remove(next_hop);
        }
        found
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// Closes the one that has waited longest.
    pub fn close_oldest(&mut self) {
        while let Some((number, _, next_hop)) = self.order.pop_front() {
            if self.close(number, &next_hop) {
                return;
            }
        }
    }

    /// Closes those that have waited for `patience`, and looks at no other.
    pub fn expire(&mut self, patience: Duration) {
        while let Some((_, since, _)) = self.order.front()
            && since.elapsed() >= patience
            && let Some((number, _, next_hop)) = self.order.pop_front()
        {
            self.close(number, &next_hop);
        }
    }

    /// False when it was taken since.
    fn close(&mut self, number: u64, next_hop: &NextHop) -> bool {
        let Some(waiting) = self.waiting.get_mut(next_hop) else { return false };
        // the oldest of all is the oldest of its next hop
        if waiting.front().is_none_or(|(front, _)| *front != number) {
            return false;
        }
        if let Some((_, connection)) = waiting.pop_front() {
            self.count -= 1;
            connection.quit();
        }
        if waiting.is_empty() {
            self.waiting.remove(next_hop);
        }
        true
    }
}
