//! What every connection of an agent has in common, whichever driver runs it.

use std::sync::Arc;
use std::time::Duration;

/// Set when the agent starts; the same for all its deliveries.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    pub session: Arc<smtp::client::Options>,
    pub connect_timeout: Duration,
    /// Connections at a time, those that wait for another message included: what the agent's descriptors allow.
    pub connections: usize,
    /// Transactions on one connection; 0 = no limit.
    pub messages_per_connection: u32,
    /// How long an open connection waits for the next message to the same next hop (Postfix: 2 s).
    pub session_idle: Duration,
}

impl AgentOptions {
    /// Whether a connection that carried so many transactions may carry another.
    pub fn allows_another(&self, transactions: u32) -> bool {
        self.messages_per_connection == 0 || transactions < self.messages_per_connection
    }
}
