//! The pool of delivery agents as a state machine: no process, socket or clock in it.
//!
//! The queue manager tells it what happened and asks which agent gets the next delivery. An agent has
//! `connections_per_agent` slots. The most recently used agent with a free slot is taken first, so that the
//! surplus grows old and is retired. No step looks at every agent.
//!
//! An agent that dies before it finished anything throttles its service, longer each time; one that dies
//! later is simply replaced (the rule of Postfix's master(8)).

use crate::link::AgentNumber;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// First pause after an agent died on its first use; doubled for each further one in a row.
const THROTTLE_FIRST: Duration = Duration::from_secs(1);
/// Longest such pause (Postfix: 60 s always).
const THROTTLE_LAST: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub agents_max: usize,
    /// Deliveries that one agent runs at a time.
    pub connections_per_agent: usize,
    /// Deliveries in an agent's life; 0 = no limit.
    pub max_use: u64,
    /// An agent that had nothing to do for so long is retired.
    pub max_idle: Duration,
}

#[derive(Debug)]
struct Agent {
    state: State,
    busy: usize,
    uses: u64,
    finished: u64,
    /// Has an entry in `partly_free`, valid only while its state says so.
    stacked: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Starting,
    /// Nothing in flight since then; in `idle`.
    Idle(Instant),
    /// Something in flight and a slot free; in `partly_free`.
    PartlyFree,
    /// Every slot taken, or the reuse limit reached.
    Closed,
}

/// What to do with an agent whose delivery has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum AfterUse {
    Keep,
    /// Its reuse limit is reached and nothing is in flight: close its socket.
    Retire,
}

/// What an agent's end says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Death {
    /// It was told to go, or is unknown.
    Expected,
    /// It had finished deliveries before: replaced when needed.
    InUse,
    /// It never finished one: no new agent before this moment.
    FirstUse { throttled_until: Instant },
}

/// How many agents are in which state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    pub idle: usize,
    pub busy: usize,
    pub starting: usize,
    pub spawned: u64,
    pub died: u64,
}

pub struct Pool {
    limits: Limits,
    agents: HashMap<AgentNumber, Agent>,
    /// The back became idle last. May hold numbers of agents that are gone.
    idle: VecDeque<AgentNumber>,
    /// The back was used last. May hold numbers of agents that are gone or in another state.
    partly_free: Vec<AgentNumber>,
    next_number: u64,
    starting: usize,
    idle_count: usize,
    spawned: u64,
    died: u64,
    first_use_deaths: u32,
    throttled_until: Option<Instant>,
}

impl Pool {
    pub fn new(limits: Limits) -> Pool {
        Pool {
            limits,
            agents: HashMap::new(),
            idle: VecDeque::new(),
            partly_free: Vec::new(),
            next_number: 1,
            starting: 0,
            idle_count: 0,
            spawned: 0,
            died: 0,
            first_use_deaths: 0,
            throttled_until: None,
        }
    }

    /// Whether another agent may be started now.
    pub fn may_start(&self, now: Instant) -> bool {
        self.agents.len() < self.limits.agents_max && self.throttled_until.is_none_or(|until| now >= until)
    }

    /// When [`Pool::may_start`] may turn true by time alone.
    pub fn throttled_until(&self) -> Option<Instant> {
        self.throttled_until
    }

    /// Counts a new agent in; the caller asks the starter for it. Only when [`Pool::may_start`].
    pub fn start(&mut self) -> AgentNumber {
        let number = AgentNumber(self.next_number);
        self.next_number += 1;
        self.starting += 1;
        self.spawned += 1;
        self.agents
            .insert(number, Agent { state: State::Starting, busy: 0, uses: 0, finished: 0, stacked: false });
        number
    }

    /// The agent said that it is ready. False when it is unknown or said so twice: it is confused.
    pub fn ready(&mut self, number: AgentNumber, now: Instant) -> bool {
        let Some(agent) = self.agents.get_mut(&number) else { return false };
        if agent.state != State::Starting {
            return false;
        }
        agent.state = State::Idle(now);
        self.idle.push_back(number);
        self.starting -= 1;
        self.idle_count += 1;
        true
    }

    /// Slots that agents which are being started will bring.
    pub fn slots_starting(&self) -> usize {
        self.starting * self.limits.connections_per_agent
    }

    /// Whether [`Pool::take`] would find a slot.
    pub fn has_slot(&mut self) -> bool {
        self.idle_count > 0 || self.top_partly_free().is_some()
    }

    /// Takes a slot on the most recently used agent that has one: a busy one first, so that idle ones may age.
    pub fn take(&mut self) -> Option<AgentNumber> {
        let number = self.top_partly_free().or_else(|| self.pop_idle())?;
        let limits = &self.limits;
        let agent = self.agents.get_mut(&number).expect("both lists were checked against the living");
        agent.busy += 1;
        agent.uses += 1;
        if agent.busy >= limits.connections_per_agent || (limits.max_use != 0 && agent.uses >= limits.max_use)
        {
            agent.state = State::Closed;
        } else {
            agent.state = State::PartlyFree;
            if !agent.stacked {
                agent.stacked = true;
                self.partly_free.push(number);
            }
        }
        Some(number)
    }

    fn top_partly_free(&mut self) -> Option<AgentNumber> {
        while let Some(number) = self.partly_free.last().copied() {
            match self.agents.get_mut(&number) {
                Some(agent) if agent.state == State::PartlyFree => return Some(number),
                Some(agent) => agent.stacked = false,
                None => {}
            }
            self.partly_free.pop();
        }
        None
    }

    fn pop_idle(&mut self) -> Option<AgentNumber> {
        while let Some(number) = self.idle.pop_back() {
            if self.agents.contains_key(&number) {
                self.idle_count -= 1;
                return Some(number);
            }
        }
        None
    }

    /// A delivery of this agent ended with a report.
    pub fn release(&mut self, number: AgentNumber, now: Instant) -> AfterUse {
        let Some(agent) = self.agents.get_mut(&number) else { return AfterUse::Keep };
        agent.busy -= 1;
        agent.finished += 1;
        self.first_use_deaths = 0;
        self.throttled_until = None;
        if self.limits.max_use != 0 && agent.uses >= self.limits.max_use {
            if agent.busy > 0 {
                return AfterUse::Keep;
            }
            self.agents.remove(&number);
            return AfterUse::Retire;
        }
        if agent.busy == 0 {
            agent.state = State::Idle(now);
            self.idle.push_back(number);
            self.idle_count += 1;
        } else {
            agent.state = State::PartlyFree;
            if !agent.stacked {
                agent.stacked = true;
                self.partly_free.push(number);
            }
        }
        AfterUse::Keep
    }

    /// Takes out the agents that were idle too long; the caller closes their sockets.
    pub fn retire_idle(&mut self, now: Instant) -> Vec<AgentNumber> {
        let mut retired = Vec::new();
        while let Some(since) = self.longest_idle() {
            if now.saturating_duration_since(since) < self.limits.max_idle {
                break;
            }
            let number = self.idle.pop_front().expect("longest_idle saw it");
            self.agents.remove(&number);
            self.idle_count -= 1;
            retired.push(number);
        }
        retired
    }

    /// When [`Pool::retire_idle`] next has something to do.
    pub fn idle_deadline(&mut self) -> Option<Instant> {
        Some(self.longest_idle()? + self.limits.max_idle)
    }

    fn longest_idle(&mut self) -> Option<Instant> {
        while let Some(number) = self.idle.front() {
            match self.agents.get(number) {
                Some(Agent { state: State::Idle(since), .. }) => return Some(*since),
                _ => drop(self.idle.pop_front()),
            }
        }
        None
    }

    /// The agent is gone: its socket closed, it could not be started, or it answered nonsense.
    pub fn died(&mut self, number: AgentNumber, now: Instant) -> Death {
        let Some(agent) = self.agents.remove(&number) else { return Death::Expected };
        self.died += 1;
        match agent.state {
            State::Starting => self.starting -= 1,
            State::Idle(_) => self.idle_count -= 1,
            State::PartlyFree | State::Closed => {}
        }
        if agent.finished > 0 {
            return Death::InUse;
        }
        let pause = THROTTLE_FIRST.saturating_mul(1 << self.first_use_deaths.min(6)).min(THROTTLE_LAST);
        self.first_use_deaths = self.first_use_deaths.saturating_add(1);
        let until = now + pause;
        self.throttled_until = Some(until);
        Death::FirstUse { throttled_until: until }
    }

    pub fn counts(&self) -> Counts {
        Counts {
            idle: self.idle_count,
            busy: self.agents.len() - self.idle_count - self.starting,
            starting: self.starting,
            spawned: self.spawned,
            died: self.died,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(agents_max: usize, connections_per_agent: usize, max_use: u64) -> Pool {
        Pool::new(Limits { agents_max, connections_per_agent, max_use, max_idle: Duration::from_secs(100) })
    }

    fn ready(pool: &mut Pool, now: Instant) -> AgentNumber {
        assert!(pool.may_start(now));
        let number = pool.start();
        assert!(pool.ready(number, now));
        number
    }

    #[test]
    fn takes_the_most_recently_used_first_and_lets_the_surplus_age_out() {
        let (mut pool, start) = (pool(3, 1, 0), Instant::now());
        let agents: Vec<_> = (0..3).map(|_| ready(&mut pool, start)).collect();
        for second in 1..=100 {
            let number = pool.take().unwrap();
            assert_eq!(number, agents[2]);
            assert_eq!(pool.release(number, start + Duration::from_secs(second)), AfterUse::Keep);
        }
        assert_eq!(pool.retire_idle(start + Duration::from_secs(100)), agents[..2]);
        assert_eq!(pool.counts().idle, 1);
        assert_eq!(pool.idle_deadline(), Some(start + Duration::from_secs(200)));
        assert_eq!(pool.retire_idle(start + Duration::from_secs(200)), agents[2..]);
        assert_eq!(pool.counts(), Counts { spawned: 3, ..Counts::default() });
    }

    #[test]
    fn retires_exactly_at_the_reuse_limit_and_drains_what_is_in_flight() {
        let (mut pool, now) = (pool(1, 2, 3), Instant::now());
        let number = ready(&mut pool, now);
        assert_eq!((pool.take(), pool.take(), pool.take()), (Some(number), Some(number), None));
        assert_eq!(pool.release(number, now), AfterUse::Keep);
        assert_eq!((pool.take(), pool.take()), (Some(number), None));
        assert_eq!(pool.release(number, now), AfterUse::Keep);
        assert_eq!(pool.take(), None);
        assert_eq!(pool.release(number, now), AfterUse::Retire);
        assert!(pool.may_start(now));
    }

    #[test]
    fn damps_a_crash_loop_and_forgives_after_a_success() {
        let (mut pool, start) = (pool(2, 1, 0), Instant::now());
        let mut now = start;
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(pool.may_start(now));
            let number = pool.start();
            let until = now + Duration::from_secs(pause);
            assert_eq!(pool.died(number, now), Death::FirstUse { throttled_until: until });
            assert!(!pool.may_start(until - Duration::from_millis(1)));
            now = until;
        }
        let number = ready(&mut pool, now);
        assert_eq!(pool.take(), Some(number));
        assert_eq!(pool.release(number, now), AfterUse::Keep);
        assert_eq!(pool.died(number, now), Death::InUse);
        assert!(pool.may_start(now));
        assert_eq!(pool.died(number, now), Death::Expected);
    }

    /// Any order of events: slots and limits hold, and every count adds up.
    #[test]
    fn holds_its_limits_under_random_events() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let limits = (random.usize(1..6), random.usize(1..4), random.u64(0..5));
            let mut pool = pool(limits.0, limits.1, limits.2);
            let mut now = Instant::now();
            let (mut starting, mut alive): (Vec<AgentNumber>, HashMap<AgentNumber, (usize, u64)>) =
                Default::default();
            for _ in 0..400 {
                now += Duration::from_millis(random.u64(0..5000));
                match random.u8(0..12) {
                    0..=2 if pool.may_start(now) => starting.push(pool.start()),
                    3..=4 if !starting.is_empty() => {
                        let number = starting.swap_remove(random.usize(0..starting.len()));
                        assert!(pool.ready(number, now));
                        assert!(!pool.ready(number, now), "ready twice");
                        alive.insert(number, (0, 0));
                    }
                    5..=7 => match pool.take() {
                        Some(number) => {
                            let (busy, uses) = alive.get_mut(&number).expect("a living agent");
                            (*busy, *uses) = (*busy + 1, *uses + 1);
                            assert!(*busy <= limits.1 && (limits.2 == 0 || *uses <= limits.2), "seed {seed}");
                        }
                        None => {
                            assert!(
                                alive
                                    .values()
                                    .all(|(busy, uses)| *busy >= limits.1
                                        || (limits.2 != 0 && *uses >= limits.2)),
                                "seed {seed}: a slot was free"
                            )
                        }
                    },
                    8..=9 => {
                        if let Some((number, (busy, uses))) =
                            alive.iter_mut().find(|(_, (busy, _))| *busy > 0)
                        {
                            *busy -= 1;
                            let (number, gone) = (*number, *busy == 0 && limits.2 != 0 && *uses >= limits.2);
                            assert_eq!(pool.release(number, now) == AfterUse::Retire, gone);
                            if gone {
                                alive.remove(&number);
                            }
                        }
                    }
                    10 => {
                        for number in pool.retire_idle(now) {
                            assert_eq!(
                                alive.remove(&number).expect("alive").0,
                                0,
                                "seed {seed}: retired in use"
                            );
                        }
                    }
                    _ => {
                        if let Some(number) = alive.keys().next().copied() {
                            alive.remove(&number);
                            assert_ne!(pool.died(number, now), Death::Expected);
                        }
                    }
                }
                let counts = pool.counts();
                let busy = alive.values().filter(|(busy, _)| *busy > 0).count();
                assert_eq!(
                    (counts.idle, counts.busy, counts.starting),
                    (alive.len() - busy, busy, starting.len())
                );
            }
        }
    }
}
