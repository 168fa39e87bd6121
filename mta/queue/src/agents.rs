//! The delivery agents as the queue manager sees them: their sockets, what each has in flight and what it asks for.

use crate::endings::Endings;
use crate::poller::{Poller, Token};
use crate::stream::Stream;
use delivery::EpochMs;
use scheduler::EntryId;
use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use supervisor::link::AgentNumber;
use supervisor::pool::{Limits, Pool};
use supervisor::recency::Recency;

/// An agent that is not ready so long after it was asked for hangs.
const READY_BOUND: Duration = Duration::from_secs(60);

/// Messages that are read again at a time for one agent: what one that takes nothing can have waiting for it.
const READING_MAX: usize = 4;

/// One delivery with an agent.
pub struct InFlight {
    pub entry: EntryId,
    /// Its message went inline, and its agent has not asked for it again.
    pub may_ask: bool,
    pub agent: AgentNumber,
    pub handed: EpochMs,
    pub handed_ns: u64,
}

pub struct Agent {
    /// `None`: it is threads of this process.
    pid: Option<u32>,
    stream: Stream,
    deliveries: HashSet<u64>,
    /// Requests whose message it needs again, and how many of those are being read for it.
    asked: VecDeque<u64>,
    reading: usize,
}

pub struct Agents {
    pub pool: Pool,
    pub endings: Endings,
    living: HashMap<AgentNumber, Agent>,
    in_flight: HashMap<u64, InFlight>,
    next_request: u64,
    /// Requests by the time at which they were handed out.
    handed: Recency<u64>,
    /// Agents by the time at which they were asked for; they are not ready yet.
    asked: Recency<AgentNumber>,
    watchdog: Duration,
}

impl Agents {
    /// `watchdog` is how long an agent may have a delivery.
    pub fn new(limits: Limits, watchdog: Duration, memory_limit: bool) -> Agents {
        Agents {
            pool: Pool::new(limits),
            endings: Endings::new(watchdog, memory_limit),
            living: HashMap::new(),
            in_flight: HashMap::new(),
            next_request: 1,
            handed: Recency::default(),
            asked: Recency::default(),
            watchdog,
        }
    }

    /// As in [`Agents::new`]; for deliveries in flight, too.
    pub fn watch(&mut self, watchdog: Duration, memory_limit: bool) {
        self.watchdog = watchdog;
        self.endings.watch(watchdog, memory_limit);
    }

    /// Counts a new agent in; the caller asks the starter for it.
    pub fn ask(&mut self, now: Instant) -> AgentNumber {
        let number = self.pool.start(now);
        self.asked.touch(number, now);
        number
    }

    /// There is this agent now; `socket` is our end of its socket.
    pub fn started(
        &mut self,
        number: AgentNumber,
        pid: Option<u32>,
        socket: UnixStream,
        poller: &Poller,
    ) -> io::Result<()> {
        if !self.asked_for(number) {
            // given up meanwhile: without its socket it leaves
            return Ok(());
        }
        let stream = Stream::new(socket, Token::Agent(number.0), poller)?;
        let (deliveries, asked) = (HashSet::new(), VecDeque::new());
        self.living.insert(number, Agent { pid, stream, deliveries, asked, reading: 0 });
        Ok(())
    }

    fn asked_for(&self, number: AgentNumber) -> bool {
        self.asked.contains(number)
    }

    /// It said that it is ready.
    pub fn is_ready(&mut self, number: AgentNumber) {
        self.asked.remove(number);
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
        self.handed.touch(request, Instant::now());
        let Some(agent) = self.living.get_mut(&number) else {
            return Err(io::Error::other("the agent is gone"));
        };
        agent.deliveries.insert(request);
        agent.stream.send(bytes, file, poller)
    }

    /// The agent needs the message of a delivery again. False when it has no such delivery or can't need it.
    pub fn asks(&mut self, number: AgentNumber, request: u64) -> bool {
        let Some(agent) = self.living.get_mut(&number) else { return false };
        let delivery = self.in_flight.get_mut(&request).filter(|delivery| delivery.agent == number);
        if !delivery.is_some_and(|delivery| std::mem::take(&mut delivery.may_ask)) {
            return false;
        }
        agent.asked.push_back(request);
        true
    }

    /// The next request to read the message of, while the agent takes what it is sent.
    pub fn next_asked(&mut self, number: AgentNumber) -> Option<(u64, EntryId)> {
        let agent = self.living.get_mut(&number)?;
        if agent.reading == READING_MAX || !agent.stream.is_written() {
            return None;
        }
        let request = agent.asked.pop_front()?;
        let entry = self.in_flight.get(&request)?.entry;
        agent.reading += 1;
        Some((request, entry))
    }

    /// Whether it has this delivery.
    pub fn has(&self, number: AgentNumber, request: u64) -> bool {
        self.living.get(&number).is_some_and(|agent| agent.deliveries.contains(&request))
    }

    /// The message was read; gives whom it is for, unless the agent is gone or the delivery has ended.
    pub fn was_read(&mut self, number: AgentNumber, request: u64) -> Option<&mut Stream> {
        let agent = self.living.get_mut(&number)?;
        agent.reading -= 1;
        agent.deliveries.contains(&request).then_some(&mut agent.stream)
    }

    /// The delivery that this agent reports on; `None` when it never had it.
    pub fn reported(&mut self, number: AgentNumber, request: u64) -> Option<InFlight> {
        let agent = self.living.get_mut(&number)?;
        let had = agent.deliveries.remove(&request);
        agent.asked.retain(|asked| *asked != request);
        had.then(|| self.take(request)).flatten()
    }

    fn take(&mut self, request: u64) -> Option<InFlight> {
        self.handed.remove(request);
        self.in_flight.remove(&request)
    }

    /// Drops the agent and its socket, which makes it leave. Returns what it had.
    pub fn drop_agent(&mut self, number: AgentNumber) -> Vec<InFlight> {
        self.asked.remove(number);
        let Some(agent) = self.living.remove(&number) else { return Vec::new() };
        let mut requests: Vec<u64> = agent.deliveries.into_iter().collect();
        requests.sort_unstable();
        requests.into_iter().filter_map(|request| self.take(request)).collect()
    }

    /// The agent has nothing in flight and is to leave.
    pub fn retire(&mut self, number: AgentNumber, now: Instant) {
        let is_process = self.living.get(&number).is_some_and(|agent| agent.pid.is_some());
        let had = self.drop_agent(number);
        debug_assert!(had.is_empty(), "the pool retires idle agents only");
        if is_process {
            self.endings.told(number, now);
        }
    }

    /// An agent that has a delivery, or the order to be ready, for too long.
    pub fn overdue(&self, now: Instant) -> Option<AgentNumber> {
        let late = |since: Instant, bound: Duration| now >= since + bound;
        let delivery = self.handed.oldest().filter(|(_, since)| late(*since, self.watchdog));
        let delivery = delivery.and_then(|(request, _)| Some(self.in_flight.get(&request)?.agent));
        let asked = self.asked.oldest().filter(|(_, since)| late(*since, READY_BOUND));
        delivery.or(asked.map(|(number, _)| number))
    }

    /// When [`Agents::overdue`] or [`Endings::overdue`] next has something to say.
    pub fn deadline(&self) -> Option<Instant> {
        let delivery = self.handed.oldest().map(|(_, since)| since + self.watchdog);
        let asked = self.asked.oldest().map(|(_, since)| since + READY_BOUND);
        [delivery, asked, self.endings.deadline()].into_iter().flatten().min()
    }

    /// Closes every socket: the agents leave.
    pub fn drop_all(&mut self) {
        self.living.clear();
        self.in_flight.clear();
    }
}
