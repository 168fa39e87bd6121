//! The starter process, and the decisions about delivery agents: how many, which one next, when one retires.
//!
//! [`starter`] is the small parent that forks every other process and reaps it; [`pool`] decides, as a state
//! machine without processes or clock, what the queue manager asks the starter for; [`link`] is what the two
//! say to each other. Nothing here parses what comes from the network or touches mail.

pub mod link;
mod outbox;
pub mod pool;
pub mod recency;
mod roster;
pub mod starter;
