//! The delivery agents as the queue manager sees them: their sockets and what each has in flight.

use crate::poller::{Poller, Token};
use crate::stream::Stream;
use delivery::EpochMs;
use scheduler::EntryId;
use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use supervisor::link::AgentNumber;
use supervisor::pool::Pool;

/// One delivery with an agent.
pub struct InFlight {
    pub entry: EntryId,
    pub agent: AgentNumber,
    pub handed: EpochMs,
    pub handed_ns: u64,
}

pub struct Agent {
    /// `None`: it is threads of this process.
    pid: Option<u32>,
    stream: Stream,
    deliveries: HashSet<u64>,
}

pub struct Agents {
    pub pool: Pool,
    living: HashMap<AgentNumber, Agent>,
    in_flight: HashMap<u64, InFlight>,
    next_request: u64,
}

impl Agents {
    pub fn new(pool: Pool) -> Agents {
        Agents { pool, living: HashMap::new(), in_flight: HashMap::new(), next_request: 1 }
    }

    /// There is this agent now; `socket` is our end of its socket.
    pub fn started(
        &mut self,
        number: AgentNumber,
        pid: Option<u32>,
        socket: UnixStream,
        poller: &Poller,
    ) -> io::Result<()> {
        let stream = Stream::new(socket, Token::Agent(number.0), poller)?;
        self.living.insert(number, Agent { pid, stream, deliveries: HashSet::new() });
        Ok(())
    }

    pub fn stream(&mut self, number: AgentNumber) -> Option<&mut Stream> {
        self.living.get_mut(&number).map(|agent| &mut agent.stream)
    }

    pub fn pids(&self) -> impl Iterator<Item = u32> {
        self.living.values().filter_map(|agent| agent.pid)
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// A name for the next request.
    pub fn next_request(&mut self) -> u64 {
        self.next_request += 1;
        self.next_request
    }

    /// Hands a request over. An error means that the agent is gone.
    pub fn send(
        &mut self,
        request: u64,
        delivery: InFlight,
        bytes: Vec<u8>,
        file: Option<OwnedFd>,
        poller: &Poller,
    ) -> io::Result<()> {
        let number = delivery.agent;
        self.in_flight.insert(request, delivery);
        let Some(agent) = self.living.get_mut(&number) else {
            return Err(io::Error::other("the agent is gone"));
        };
        agent.deliveries.insert(request);
        agent.stream.send(bytes, file, poller)
    }

    /// The delivery that this agent reports on; `None` when it never had it.
    pub fn reported(&mut self, number: AgentNumber, request: u64) -> Option<InFlight> {
        self.living.get_mut(&number)?.deliveries.remove(&request).then(|| self.in_flight.remove(&request))?
    }

    /// Drops the agent and its socket, which makes it leave. Returns what it had.
    pub fn drop_agent(&mut self, number: AgentNumber) -> Vec<InFlight> {
        let Some(agent) = self.living.remove(&number) else { return Vec::new() };
        let mut requests: Vec<u64> = agent.deliveries.into_iter().collect();
        requests.sort_unstable();
        requests.iter().filter_map(|request| self.in_flight.remove(request)).collect()
    }

    /// Closes every socket: the agents finish what they have and leave.
    pub fn drop_all(&mut self) {
        self.living.clear();
        self.in_flight.clear();
    }
}
