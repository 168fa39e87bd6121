//! The pool of delivery agents as a state machine: no process, socket or clock in it.
//!
//! The queue manager tells it what happened and asks which agent gets the next delivery. An agent has
//! `connections_per_agent` slots. A busy agent with a free slot is taken before an idle one, and of each kind
//! the one used last, so that the surplus grows old and is retired. No step looks at every agent but
//! [`Pool::reload`].
//!
//! An agent that dies before it finished anything throttles its service, longer each time; one that dies
//! later is simply replaced (the rule of Postfix's master(8)).
//!
//! At its reuse limit, or after a reload, an agent *drains*: it gets nothing more and leaves when what it has
//! is finished. One with many connections does not count among the `agents_max` while it drains, so that its
//! successor can work; the deliveries of all together stay within `agents_max * connections_per_agent`. When limits
//! change, the agents of before drain as after a reload: what they have may be more than the new limits allow, and
//! nothing is added before it is less.

use crate::link::AgentNumber;
use crate::recency::Recency;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// First pause after an agent died on its first use; doubled for each further one in a row.
pub const THROTTLE_FIRST: Duration = Duration::from_secs(1);
/// Longest such pause (Postfix: 60 s always).
pub const THROTTLE_LAST: Duration = Duration::from_secs(60);

/// Agents that are asked for and not ready yet: no more at a time, so that the starter keeps answering.
pub const STARTING_MAX: usize = 100;

/// How far the spawn rate may be run ahead of: a quiet service starts so much of a second's agents at once.
pub const SPAWN_BURST: Duration = Duration::from_millis(100);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub agents_max: usize,
    /// Deliveries that one agent runs at a time.
    pub connections_per_agent: usize,
    /// Deliveries in an agent's life; 0 = no limit.
    pub max_use: u64,
    /// An agent that had nothing to do for so long is retired.
    pub max_idle: Duration,
    /// Agents started in a second; 0 = no limit.
    pub spawn_rate: u32,
    /// `agents_max` agents are kept whether there is mail or not; `max_idle` has no effect.
    pub preforked: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Starting,
    /// As `Starting`, but from before a reload: it retires as soon as it is ready.
    StartingOutdated,
    /// Nothing in flight; in `idle`.
    Idle,
    /// Something in flight and a slot free; in `open`.
    Open,
    /// Every slot taken.
    Full,
    /// Gets nothing more and has something in flight.
    Draining,
}

#[derive(Debug)]
struct Agent {
    phase: Phase,
    busy: usize,
    uses: u64,
    finished: u64,
}

/// What to do with an agent that said that it is ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Readiness {
    Welcome,
    /// There was a reload since it was asked for: close its socket.
    Retire,
    /// It said so before, or is unknown: it is confused.
    Confused,
}

/// What to do with an agent whose delivery has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum AfterUse {
    Keep,
    /// It has drained: close its socket.
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
    pub starting: usize,
    pub idle: usize,
    /// With something in flight; those that drain among them.
    pub busy: usize,
    pub draining: usize,
    /// Since the start.
    pub spawned: u64,
}

pub struct Pool {
    limits: Limits,
    agents: HashMap<AgentNumber, Agent>,
    idle: Recency<AgentNumber>,
    open: Recency<AgentNumber>,
    next_number: u64,
    starting: usize,
    draining: usize,
    /// So many of those that drain do not count: the most agents that the limits allowed under which they came.
    draining_beside: usize,
    /// Deliveries of all agents.
    in_flight: usize,
    /// So many agents are started without mail for them.
    floor: usize,
    spawned: u64,
    first_use_deaths: u32,
    throttled_until: Option<Instant>,
    /// When the next agent would start if they came evenly.
    even_start: Option<Instant>,
}

impl Pool {
    pub fn new(limits: Limits) -> Pool {
        let (floor, draining_beside) = (floor(&limits), limits.agents_max);
        Pool {
            limits,
            agents: HashMap::new(),
            idle: Recency::default(),
            open: Recency::default(),
            next_number: 1,
            starting: 0,
            draining: 0,
            draining_beside,
            in_flight: 0,
            floor,
            spawned: 0,
            first_use_deaths: 0,
            throttled_until: None,
            even_start: None,
        }
    }

    /// Whether another agent is to be started now, when `waiting` deliveries have no slot.
    pub fn wants_agent(&self, waiting: usize, now: Instant) -> bool {
        if !self.has_place() || self.start_at().is_some_and(|at| at > now) {
            return false;
        }
        let needed = waiting > self.slots_starting() && self.in_flight + self.slots_starting() < self.slots();
        needed || self.below_floor()
    }

    /// When the throttle or the spawn rate lets the next agent start; may have passed.
    pub fn start_at(&self) -> Option<Instant> {
        let even = self.even_start.and_then(|at| at.checked_sub(SPAWN_BURST));
        self.throttled_until.max(even)
    }

    /// The limits on numbers leave a place for one more.
    fn has_place(&self) -> bool {
        let beside = if self.limits.connections_per_agent == 1 {
            // with one connection there is nothing for a successor to do meanwhile
            0
        } else {
            self.draining.min(self.draining_beside)
        };
        self.agents.len() - beside < self.limits.agents_max && self.starting < STARTING_MAX
    }

    fn below_floor(&self) -> bool {
        self.agents.len() - self.draining < self.floor
    }

    /// Deliveries that may be in flight at a time.
    fn slots(&self) -> usize {
        self.limits.agents_max.saturating_mul(self.limits.connections_per_agent)
    }

    /// Slots that agents which are being started will bring.
    pub fn slots_starting(&self) -> usize {
        self.starting * self.limits.connections_per_agent
    }

    /// Asks for agents that serve `deliveries` at a time, before there is a use for them.
    pub fn ramp(&mut self, deliveries: usize) {
        let agents = deliveries.div_ceil(self.limits.connections_per_agent).min(self.limits.agents_max);
        self.floor = self.floor.max(agents);
    }

    /// Whether every agent that was asked for by [`Pool::ramp`] is ready, or can't be had now.
    pub fn ramped(&self, now: Instant) -> bool {
        let throttled = self.throttled_until.is_some_and(|until| until > now);
        self.starting == 0 && !(self.below_floor() && self.has_place() && !throttled)
    }

    /// No agent is started any more without mail for it, but those that are kept always.
    pub fn end_ramp(&mut self) {
        self.floor = floor(&self.limits);
    }

    /// Counts a new agent in; the caller asks the starter for it. Only when [`Pool::wants_agent`].
    pub fn start(&mut self, now: Instant) -> AgentNumber {
        let number = AgentNumber(self.next_number);
        self.next_number += 1;
        self.starting += 1;
        self.spawned += 1;
        if self.limits.spawn_rate > 0 {
            let from = self.even_start.map_or(now, |at| at.max(now));
            self.even_start = Some(from + Duration::from_secs(1) / self.limits.spawn_rate);
        }
        self.agents.insert(number, Agent { phase: Phase::Starting, busy: 0, uses: 0, finished: 0 });
        number
    }

    /// The agent said that it is ready.
    pub fn ready(&mut self, number: AgentNumber, now: Instant) -> Readiness {
        match self.agents.get_mut(&number) {
            Some(agent) if agent.phase == Phase::Starting => {
                agent.phase = Phase::Idle;
                self.idle.touch(number, now);
                self.starting -= 1;
                Readiness::Welcome
            }
            Some(agent) if agent.phase == Phase::StartingOutdated => {
                self.agents.remove(&number);
                self.starting -= 1;
                Readiness::Retire
            }
            _ => Readiness::Confused,
        }
    }

    /// Whether [`Pool::take`] would find a slot.
    pub fn has_slot(&self) -> bool {
        self.in_flight < self.slots() && !(self.open.is_empty() && self.idle.is_empty())
    }

    /// Takes a slot: of the busy agent with a free one that was used last, else of the last one to become idle.
    pub fn take(&mut self, now: Instant) -> Option<AgentNumber> {
        if !self.has_slot() {
            return None;
        }
        let number = self.open.newest().or_else(|| self.idle.newest())?;
        let Limits { connections_per_agent, max_use, .. } = self.limits;
        let agent = self.agents.get_mut(&number).expect("both lists hold living agents only");
        agent.busy += 1;
        agent.uses += 1;
        self.in_flight += 1;
        self.idle.remove(number);
        self.open.remove(number);
        if max_use != 0 && agent.uses >= max_use {
            agent.phase = Phase::Draining;
            self.draining += 1;
        } else if agent.busy >= connections_per_agent {
            agent.phase = Phase::Full;
        } else {
            agent.phase = Phase::Open;
            self.open.touch(number, now);
        }
        Some(number)
    }

    /// A delivery of this agent ended with a report.
    pub fn release(&mut self, number: AgentNumber, now: Instant) -> AfterUse {
        let Some(agent) = self.agents.get_mut(&number) else { return AfterUse::Keep };
        agent.busy -= 1;
        agent.finished += 1;
        self.in_flight -= 1;
        self.first_use_deaths = 0;
        self.throttled_until = None;
        match (agent.phase, agent.busy) {
            (Phase::Draining, 0) => {
                self.agents.remove(&number);
                self.drained();
                return AfterUse::Retire;
            }
            (Phase::Draining, _) => {}
            (_, 0) => {
                agent.phase = Phase::Idle;
                self.open.remove(number);
                self.idle.touch(number, now);
            }
            (_, _) => {
                agent.phase = Phase::Open;
                self.open.touch(number, now);
            }
        }
        AfterUse::Keep
    }

    /// Takes out an agent that was idle too long; the caller closes its socket and asks again.
    pub fn retire_idle(&mut self, now: Instant) -> Option<AgentNumber> {
        self.idle_deadline().filter(|deadline| now >= *deadline)?;
        let (number, _) = self.idle.oldest()?;
        self.idle.remove(number);
        self.agents.remove(&number);
        Some(number)
    }

    /// When [`Pool::retire_idle`] next has something to do.
    pub fn idle_deadline(&self) -> Option<Instant> {
        if self.limits.preforked {
            return None;
        }
        let (_, since) = self.idle.oldest()?;
        Some(since + self.limits.max_idle)
    }

    /// Every agent of now is replaced: the idle ones are taken out, and the caller closes their sockets; the
    /// others drain.
    pub fn reload(&mut self) -> Vec<AgentNumber> {
        let mut retired = Vec::with_capacity(self.idle.len());
        for (number, agent) in &mut self.agents {
            match agent.phase {
                Phase::Starting => agent.phase = Phase::StartingOutdated,
                Phase::Idle => retired.push(*number),
                Phase::Open | Phase::Full => {
                    agent.phase = Phase::Draining;
                    self.draining += 1;
                }
                Phase::StartingOutdated | Phase::Draining => {}
            }
        }
        for number in &retired {
            self.agents.remove(number);
        }
        self.idle = Recency::default();
        self.open = Recency::default();
        retired
    }

    /// As [`Pool::reload`], and from now on other limits hold. A ramp ends.
    pub fn change(&mut self, limits: Limits) -> Vec<AgentNumber> {
        let retired = self.reload();
        self.draining_beside = match self.draining {
            0 => limits.agents_max,
            _ => self.draining_beside.max(limits.agents_max),
        };
        self.floor = floor(&limits);
        self.limits = limits;
        // what ended agents of the kind before says nothing of the new ones
        (self.first_use_deaths, self.throttled_until) = (0, None);
        retired
    }

    /// One that drained is gone.
    fn drained(&mut self) {
        self.draining -= 1;
        if self.draining == 0 {
            self.draining_beside = self.limits.agents_max;
        }
    }

    /// The agent is gone, with all that it had: its socket closed, it could not be started, it hung, or it
    /// answered nonsense.
    pub fn died(&mut self, number: AgentNumber, now: Instant) -> Death {
        let Some(agent) = self.agents.remove(&number) else { return Death::Expected };
        self.in_flight -= agent.busy;
        match agent.phase {
            Phase::Starting | Phase::StartingOutdated => self.starting -= 1,
            Phase::Idle => drop(self.idle.remove(number)),
            Phase::Open => drop(self.open.remove(number)),
            Phase::Full => {}
            Phase::Draining => self.drained(),
        }
        if agent.finished > 0 || agent.phase == Phase::StartingOutdated {
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
            starting: self.starting,
            idle: self.idle.len(),
            busy: self.agents.len() - self.idle.len() - self.starting,
            draining: self.draining,
            spawned: self.spawned,
        }
    }
}

/// Agents that are kept whether there is mail or not.
fn floor(limits: &Limits) -> usize {
    if limits.preforked { limits.agents_max } else { 0 }
}
