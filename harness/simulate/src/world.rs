//! What is simulated: mail, sites, agents and the queue manager's rules.

use behaviour::Delay;
use scheduler::Limits;
use std::time::Duration;

/// A kind of sites that answer alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Site {
    pub name: String,
    /// Next hops of this kind; mail is spread over them evenly.
    pub destinations: u32,
    /// Weight of its mail among all that arrives.
    pub share: f64,
    /// How long a delivery keeps an agent.
    pub latency: Delay,
    pub answer: Answer,
}

/// How a site ends a delivery.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Answer {
    Delivered,
    /// 4xx for the recipient: the host is well.
    Deferred,
    /// 4xx until the message is so old, then delivered.
    Greylisted(Duration),
    /// 421, or no connection at all: the host is to blame.
    Unreachable,
    /// As `Unreachable` until this moment since the beginning, then delivered.
    Down(Duration),
}

#[derive(Debug, Clone)]
pub struct World {
    /// The first is where good mail goes.
    pub sites: Vec<Site>,
    /// Messages a second, at random moments.
    pub arrivals_per_s: f64,
    /// People or programs that send them.
    pub senders: u32,
    /// `slots` are the deliveries that can be under way.
    pub limits: Limits,
    /// What an agent takes to start, and after how many deliveries another one must; 0 is never.
    pub agent_start: Duration,
    pub agent_max_use: u32,
    pub seed: u64,
}

impl World {
    /// Without mail and sites.
    pub fn new(limits: Limits) -> World {
        let seed = limits.seed;
        World {
            sites: Vec::new(),
            arrivals_per_s: 0.0,
            senders: 1000,
            limits,
            agent_start: Duration::ZERO,
            agent_max_use: 0,
            seed,
        }
    }
}
