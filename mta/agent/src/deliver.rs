//! One delivery, over the connection at hand or a new one: what a blocking agent does, and each thread of another.

use crate::connection::{Connection, connect};
use delivery::{AgentOptions, DeliveryReport, NextHop, Received, StageTimes};
use std::time::Instant;

/// A connection kept for the next message to the same next hop.
pub struct Open {
    pub next_hop: NextHop,
    connection: Box<Connection>,
}

impl Open {
    /// Says QUIT and goes.
    pub fn close(self) {
        self.connection.quit();
    }
}

/// Delivers, and gives the report with the connection if another message may follow on it.
///
/// A connection that ends does so before this returns, so that the queue manager, which counts by reports, never
/// counts one too few.
pub fn deliver(
    received: &mut Received,
    open: Option<Open>,
    options: &AgentOptions,
) -> (DeliveryReport, Option<Open>) {
    let started_ns = sys::clock::monotonic_ns();
    let request = &received.request;
    let reused = match open {
        Some(open) if open.next_hop == request.next_hop && open.connection.quiet() => Some(open.connection),
        Some(other) => {
            other.close();
            None
        }
        None => None,
    };
    let mut connection = match reused.map_or_else(|| connect(request, options), Ok) {
        Ok(connection) => connection,
        Err(error) => {
            let times = StageTimes { started_ns, ready_ns: 0, done_ns: sys::clock::monotonic_ns() };
            return (DeliveryReport::unconnected(request, options, &error, Instant::now(), times), None);
        }
    };
    let report = connection.deliver(received, started_ns);
    if connection.reusable(options) {
        return (report, Some(Open { next_hop: received.request.next_hop.clone(), connection }));
    }
    connection.quit();
    (report, None)
}
