//! Connections that wait for the next message to the same next hop.

use crate::connection::Connection;
use delivery::NextHop;
use std::collections::HashMap;
use std::time::{Duration, Instant};

#[derive(Default)]
pub struct IdleConnections {
    waiting: HashMap<NextHop, Vec<(Instant, Connection)>>,
}

impl IdleConnections {
    pub fn put(&mut self, next_hop: NextHop, connection: Connection) {
        self.waiting.entry(next_hop).or_default().push((Instant::now(), connection));
    }

    /// The one that became idle last and that the peer has left open.
    pub fn take(&mut self, next_hop: &NextHop) -> Option<Connection> {
        let waiting = self.waiting.get_mut(next_hop)?;
        while let Some((_, connection)) = waiting.pop() {
            if connection.quiet() {
                return Some(connection);
            }
        }
        None
    }

    /// Closes those that have waited longer than `patience`.
    pub fn expire(&mut self, patience: Duration) {
        self.waiting.retain(|_, waiting| {
            let old = waiting.iter().take_while(|(since, _)| since.elapsed() >= patience).count();
            waiting.drain(..old).for_each(|(_, connection)| connection.quit());
            !waiting.is_empty()
        });
    }
}
