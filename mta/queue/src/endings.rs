//! How agents end, told apart and counted: died, hung, out of memory.
//!
//! An agent's end shows twice, on its socket and when the starter has reaped it, in either order. The first
//! of them gives its deliveries back; what the end was is known when both are in. Knows no socket.

use std::collections::HashMap;
use std::time::{Duration, Instant};
use supervisor::link::AgentNumber;
use supervisor::recency::Recency;

/// An agent that was told to go, or closed its socket, is killed when it has not ended after this.
const LEAVE_BOUND: Duration = Duration::from_secs(10);

/// SIGABRT: how a Rust program ends when it gets no memory.
const ABORTED: i32 = 6;

/// Ends that nobody asked for, since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Losses {
    /// Crashed, was killed by others, could not be started, or answered nonsense.
    pub died: u64,
    /// Had a delivery too long without a report, or did not end when told to; killed for it.
    pub hung: u64,
    /// Asked for more memory than it may have.
    pub out_of_memory: u64,
}

/// Why an agent that still lives or has just ended is no longer the queue manager's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Farewell {
    /// It was told to go.
    Told,
    /// Its socket closed, and why is to be seen.
    Unexplained,
    /// It is counted already, and killed.
    Counted,
}

/// How the kernel says a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct End {
    pub status: i32,
    /// 0 for an ordinary exit.
    pub signal: i32,
}

pub struct Endings {
    pub losses: Losses,
    leaving: HashMap<AgentNumber, Farewell>,
    /// Those of `leaving` that may still have to be killed.
    bounded: Recency<AgentNumber>,
    leave_bound: Duration,
    /// Agents have a limit of memory.
    memory_limit: bool,
}

impl Endings {
    /// `watchdog` is how long a delivery may take.
    pub fn new(watchdog: Duration, memory_limit: bool) -> Endings {
        Endings {
            losses: Losses::default(),
            leaving: HashMap::new(),
            bounded: Recency::default(),
            leave_bound: watchdog.min(LEAVE_BOUND),
            memory_limit,
        }
    }

    /// As in [`Endings::new`].
    pub fn watch(&mut self, watchdog: Duration, memory_limit: bool) {
        (self.leave_bound, self.memory_limit) = (watchdog.min(LEAVE_BOUND), memory_limit);
    }

    /// It was told to go.
    pub fn told(&mut self, agent: AgentNumber, now: Instant) {
        self.leave(agent, Farewell::Told, now);
    }

    /// It closed its socket; the starter will tell why.
    pub fn closed(&mut self, agent: AgentNumber, now: Instant) {
        self.leave(agent, Farewell::Unexplained, now);
    }

    fn leave(&mut self, agent: AgentNumber, farewell: Farewell, now: Instant) {
        self.leaving.insert(agent, farewell);
        self.bounded.touch(agent, now);
    }

    /// It never was.
    pub fn not_started(&mut self) {
        self.losses.died += 1;
    }

    /// It answered nonsense; the caller has it killed.
    pub fn confused(&mut self, agent: AgentNumber) {
        self.losses.died += 1;
        self.leaving.insert(agent, Farewell::Counted);
    }

    /// It did not answer in time; the caller has it killed.
    pub fn hung(&mut self, agent: AgentNumber) {
        self.losses.hung += 1;
        self.leaving.insert(agent, Farewell::Counted);
        self.bounded.remove(agent);
    }

    /// The starter has reaped it. Returns what the log says of it, if anything.
    pub fn ended(&mut self, agent: AgentNumber, end: End) -> Option<String> {
        self.bounded.remove(agent);
        let clean = end == End { status: 0, signal: 0 };
        match self.leaving.remove(&agent) {
            Some(Farewell::Counted) => return None,
            Some(Farewell::Told) if clean => return None,
            Some(Farewell::Told | Farewell::Unexplained) | None => {}
        }
        let out_of_memory = self.memory_limit && end.signal == ABORTED;
        if out_of_memory {
            self.losses.out_of_memory += 1;
        } else {
            self.losses.died += 1;
        }
        let why = if out_of_memory { ": it asked for more memory than memory_max" } else { "" };
        Some(match end {
            End { status, signal: 0 } => format!("agent {} exited with status {status}", agent.0),
            End { signal, .. } => format!("agent {} was ended by signal {signal}{why}", agent.0),
        })
    }

    /// An agent that should have ended by now; the caller has it killed and asks again.
    pub fn overdue(&mut self, now: Instant) -> Option<AgentNumber> {
        let (agent, since) = self.bounded.oldest()?;
        (now >= since + self.leave_bound).then(|| {
            self.hung(agent);
            agent
        })
    }

    /// When [`Endings::overdue`] next has something to say.
    pub fn deadline(&self) -> Option<Instant> {
        let (_, since) = self.bounded.oldest()?;
        Some(since + self.leave_bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAN: End = End { status: 0, signal: 0 };
    const KILLED: End = End { status: 0, signal: 9 };

    #[test]
    fn tells_apart_what_ended_and_counts_each_once() {
        let now = Instant::now();
        let mut endings = Endings::new(Duration::from_secs(3), true);
        let agents: Vec<_> = (1..=7).map(AgentNumber).collect();
        endings.told(agents[0], now);
        assert_eq!(endings.ended(agents[0], CLEAN), None);
        // the socket first, or the starter first
        endings.closed(agents[1], now);
        assert!(endings.ended(agents[1], KILLED).unwrap().ends_with("ended by signal 9"));
        assert!(endings.ended(agents[2], CLEAN).unwrap().ends_with("exited with status 0"));
        endings.confused(agents[3]);
        endings.hung(agents[4]);
        assert_eq!((endings.ended(agents[3], KILLED), endings.ended(agents[4], KILLED)), (None, None));
        assert!(endings.ended(agents[5], End { status: 0, signal: 6 }).unwrap().contains("memory_max"));
        assert_eq!(endings.losses, Losses { died: 3, hung: 1, out_of_memory: 1 });
        // told to go, and it stays
        endings.told(agents[6], now);
        assert_eq!(endings.deadline(), Some(now + Duration::from_secs(3)));
        assert_eq!(endings.overdue(now + Duration::from_millis(2999)), None);
        assert_eq!(endings.overdue(now + Duration::from_secs(3)), Some(agents[6]));
        assert_eq!((endings.overdue(now + Duration::from_secs(9)), endings.deadline()), (None, None));
        assert_eq!((endings.ended(agents[6], KILLED), endings.losses.hung), (None, 2));
    }
}
