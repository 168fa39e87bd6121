//! The pool of agents under virtual time, held against a model that is slow and plain.

use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use supervisor::link::AgentNumber;
use supervisor::pool::{
    AfterUse, Death, Limits, Pool, Readiness, SPAWN_BURST, STARTING_MAX, THROTTLE_FIRST, THROTTLE_LAST,
};

const LIMITS: Limits = Limits {
    agents_max: 3,
    connections_per_agent: 1,
    max_use: 0,
    max_idle: Duration::from_secs(100),
    spawn_rate: 0,
    preforked: false,
};

const SECOND: Duration = Duration::from_secs(1);

fn ready(pool: &mut Pool, now: Instant) -> AgentNumber {
    let number = pool.start(now);
    assert_eq!(pool.ready(number, now), Readiness::Welcome);
    number
}

#[derive(Clone, Debug)]
enum Happens {
    /// So many deliveries wait.
    Demand(usize),
    Ready(usize),
    Take,
    Release(usize),
    Die(usize),
    Reload,
    Change(Limits),
    Pass(u64),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        4 => (0..40usize).prop_map(Happens::Demand),
        4 => any::<usize>().prop_map(Happens::Ready),
        8 => Just(Happens::Take),
        7 => any::<usize>().prop_map(Happens::Release),
        1 => any::<usize>().prop_map(Happens::Die),
        1 => Just(Happens::Reload),
        1 => limits().prop_map(Happens::Change),
        4 => (0..30_000u64).prop_map(Happens::Pass),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let numbers = (1..6usize, 1..5usize, prop_oneof![Just(0), 1..8u64], 0..20u32, any::<bool>());
    numbers.prop_map(|(agents_max, connections_per_agent, max_use, spawn_rate, preforked)| Limits {
        agents_max,
        connections_per_agent,
        max_use,
        max_idle: Duration::from_secs(20),
        spawn_rate,
        preforked,
    })
}

/// What is known of a living agent; `touched` orders them by their last use.
#[derive(Clone, Debug)]
struct Known {
    /// Those under which it was asked for.
    limits: Limits,
    ready: bool,
    outdated: bool,
    busy: usize,
    uses: u64,
    finished: u64,
    touched: u64,
    idle_since: Instant,
}

struct Model {
    limits: Limits,
    pool: Pool,
    living: BTreeMap<AgentNumber, Known>,
    now: Instant,
    ticks: u64,
    starts: Vec<Instant>,
    deaths_in_a_row: u32,
    throttled_until: Option<Instant>,
    /// What limits that came later found: deliveries, and agents that count. It may shrink and not grow.
    found: (usize, usize),
    /// The most agents that there could be since the last time that none drained.
    largest: usize,
}

impl Model {
    fn drains(&self, known: &Known) -> bool {
        known.busy > 0 && (known.outdated || self.spent(known))
    }

    fn spent(&self, known: &Known) -> bool {
        known.limits.max_use != 0 && known.uses >= known.limits.max_use
    }

    fn in_flight(&self) -> usize {
        self.living.values().map(|known| known.busy).sum()
    }

    fn draining(&self) -> usize {
        self.living.values().filter(|known| self.drains(known)).count()
    }

    /// Agents that count among the `agents_max`.
    fn counted(&self) -> usize {
        let successors_have_work = self.limits.connections_per_agent > 1;
        self.living.len() - if successors_have_work { self.draining().min(self.largest) } else { 0 }
    }

    /// The rule of the choice, by looking at all of them.
    fn expected(&self) -> Option<AgentNumber> {
        if self.in_flight() >= self.limits.agents_max * self.limits.connections_per_agent {
            return None;
        }
        let free = self.living.iter().filter(|(_, known)| {
            known.ready
                && known.busy < self.limits.connections_per_agent
                && !known.outdated
                && !self.spent(known)
        });
        free.max_by_key(|(_, known)| (known.busy > 0, known.touched)).map(|(number, _)| *number)
    }

    /// A living agent of a kind, picked by an arbitrary number.
    fn pick(&self, which: usize, kind: impl Fn(&Known) -> bool) -> Option<AgentNumber> {
        let of_kind: Vec<_> = self.living.iter().filter(|(_, known)| kind(known)).collect();
        (!of_kind.is_empty()).then(|| *of_kind[which % of_kind.len()].0)
    }

    fn touch(&mut self, number: AgentNumber) -> &mut Known {
        self.ticks += 1;
        let (ticks, now) = (self.ticks, self.now);
        let known = self.living.get_mut(&number).expect("the pool names living agents only");
        (known.touched, known.idle_since) = (ticks, now);
        known
    }

    fn step(&mut self, what: Happens) {
        match what {
            Happens::Demand(waiting) => {
                while self.pool.wants_agent(waiting, self.now) {
                    assert!(self.throttled_until.is_none_or(|until| self.now >= until), "started in a pause");
                    let number = self.pool.start(self.now);
                    self.starts.push(self.now);
                    let known = Known {
                        limits: self.limits.clone(),
                        ready: false,
                        outdated: false,
                        busy: 0,
                        uses: 0,
                        finished: 0,
                        touched: 0,
                        idle_since: self.now,
                    };
                    assert!(self.living.insert(number, known).is_none(), "a number twice");
                }
            }
            Happens::Ready(which) => {
                let Some(number) = self.pick(which, |known| !known.ready) else { return };
                let readiness = self.pool.ready(number, self.now);
                let known = self.touch(number);
                known.ready = true;
                let outdated = known.outdated;
                assert_eq!(readiness, if outdated { Readiness::Retire } else { Readiness::Welcome });
                if outdated {
                    self.living.remove(&number);
                }
                assert_eq!(self.pool.ready(number, self.now), Readiness::Confused, "ready twice");
            }
            Happens::Take => {
                let expected = self.expected();
                assert_eq!(self.pool.has_slot(), expected.is_some());
                assert_eq!(self.pool.take(self.now), expected);
                if let Some(number) = expected {
                    let known = self.touch(number);
                    (known.busy, known.uses) = (known.busy + 1, known.uses + 1);
                }
            }
            Happens::Release(which) => {
                let Some(number) = self.pick(which, |known| known.busy > 0) else { return };
                let known = self.touch(number);
                (known.busy, known.finished) = (known.busy - 1, known.finished + 1);
                let known = known.clone();
                let leaves = known.busy == 0 && (known.outdated || self.spent(&known));
                let after = self.pool.release(number, self.now);
                assert_eq!(after, if leaves { AfterUse::Retire } else { AfterUse::Keep });
                if leaves {
                    self.living.remove(&number);
                }
                (self.deaths_in_a_row, self.throttled_until) = (0, None);
            }
            Happens::Die(which) => {
                let Some(number) = self.pick(which, |_| true) else { return };
                let known = self.living.remove(&number).expect("just picked");
                let death = self.pool.died(number, self.now);
                let is_outdated = known.outdated && !known.ready;
                if known.finished > 0 || is_outdated {
                    assert_eq!(death, Death::InUse);
                } else {
                    let pause = (THROTTLE_FIRST * 2u32.pow(self.deaths_in_a_row.min(6))).min(THROTTLE_LAST);
                    self.deaths_in_a_row += 1;
                    let until = self.now + pause;
                    assert_eq!(death, Death::FirstUse { throttled_until: until });
                    self.throttled_until = Some(until);
                }
                assert_eq!(self.pool.died(number, self.now), Death::Expected, "died twice");
            }
            Happens::Reload | Happens::Change(_) => {
                let mut retired = match &what {
                    Happens::Change(limits) => self.pool.change(limits.clone()),
                    _ => self.pool.reload(),
                };
                retired.sort();
                let is_idle = |known: &Known| known.ready && known.busy == 0;
                let idle: Vec<_> = self
                    .living
                    .iter()
                    .filter(|(_, known)| is_idle(known))
                    .map(|(number, _)| *number)
                    .collect();
                assert_eq!(retired, idle);
                self.living.retain(|_, known| !is_idle(known));
                self.living.values_mut().for_each(|known| known.outdated = true);
                if let Happens::Change(limits) = what {
                    (self.deaths_in_a_row, self.throttled_until) = (0, None);
                    self.largest = self.largest.max(limits.agents_max);
                    self.limits = limits;
                    self.starts.clear();
                    if self.draining() == 0 {
                        self.largest = self.limits.agents_max;
                    }
                    self.found = (self.in_flight(), self.counted());
                }
            }
            Happens::Pass(ms) => {
                self.now += Duration::from_millis(ms);
                while let Some(number) = self.pool.retire_idle(self.now) {
                    let known = self.living.remove(&number).expect("a living agent is retired");
                    let mut others = self.living.values().filter(|other| other.ready && other.busy == 0);
                    assert!(others.all(|other| other.touched > known.touched));
                    assert!(known.busy == 0 && self.now - known.idle_since >= self.limits.max_idle);
                    assert!(!self.limits.preforked, "what is kept was retired");
                }
                let too_long = |known: &&Known| {
                    known.ready && known.busy == 0 && self.now - known.idle_since >= self.limits.max_idle
                };
                assert!(self.limits.preforked || !self.living.values().any(|known| too_long(&known)));
            }
        }
        self.check();
    }

    /// What holds at every moment.
    fn check(&mut self) {
        let Limits { agents_max, connections_per_agent, spawn_rate, .. } = self.limits;
        let draining = self.draining();
        if draining == 0 {
            self.largest = agents_max;
        }
        let (in_flight, counted) = (self.in_flight(), self.counted());
        let known = || self.living.values();
        let counts = self.pool.counts();
        assert_eq!(
            (counts.starting, counts.idle, counts.busy, counts.draining),
            (
                known().filter(|known| !known.ready).count(),
                known().filter(|known| known.ready && known.busy == 0).count(),
                known().filter(|known| known.busy > 0).count(),
                draining
            )
        );
        // nothing is added to what is beyond the limits since they changed
        assert!(in_flight <= self.found.0.max(agents_max * connections_per_agent));
        assert!(counted <= self.found.1.max(agents_max) && counts.starting <= STARTING_MAX);
        for Known { limits, busy, uses, .. } in known() {
            assert!(
                *busy <= limits.connections_per_agent && (limits.max_use == 0 || *uses <= limits.max_use)
            );
        }
        self.found = (self.found.0.min(in_flight), self.found.1.min(counted));
        if spawn_rate > 0 {
            // no window of time has more starts than the rate gives, with its burst
            for (first, from) in self.starts.iter().enumerate() {
                let time = self.now - *from + SPAWN_BURST;
                let allowed = (time.as_secs_f64() * f64::from(spawn_rate)).ceil() as usize + 1;
                assert!(self.starts.len() - first <= allowed, "{} starts", self.starts.len() - first);
            }
        }
    }

    /// With no more mail everything in flight ends, and the idle pool shrinks to what is kept.
    fn come_to_rest(&mut self) {
        while self.living.values().any(|known| known.busy > 0 || !known.ready) {
            self.step(Happens::Ready(0));
            self.step(Happens::Release(0));
        }
        for _ in 0..100 {
            self.step(Happens::Pass(30_000));
            self.step(Happens::Demand(0));
            self.step(Happens::Ready(0));
        }
        let kept = if self.limits.preforked { self.limits.agents_max } else { 0 };
        assert_eq!((self.living.len(), self.pool.counts().idle), (kept, kept));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn keeps_every_limit_and_takes_the_last_used_first(
        limits in limits(),
        history in prop::collection::vec(happens(), 1..150),
    ) {
        let mut model = Model {
            pool: Pool::new(limits.clone()),
            largest: limits.agents_max,
            limits,
            living: BTreeMap::new(),
            now: Instant::now(),
            ticks: 0,
            starts: Vec::new(),
            deaths_in_a_row: 0,
            throttled_until: None,
            found: (0, 0),
        };
        history.into_iter().for_each(|what| model.step(what));
        model.come_to_rest();
    }
}

#[test]
fn takes_the_most_recently_used_first_and_lets_the_surplus_age_out() {
    let (mut pool, start) = (Pool::new(LIMITS), Instant::now());
    let agents: Vec<_> = (0..3).map(|_| ready(&mut pool, start)).collect();
    for second in 1..=100 {
        assert_eq!(pool.take(start + second * SECOND), Some(agents[2]));
        assert_eq!(pool.release(agents[2], start + second * SECOND), AfterUse::Keep);
    }
    let retired = |pool: &mut Pool, now| std::iter::from_fn(|| pool.retire_idle(now)).collect::<Vec<_>>();
    assert_eq!(retired(&mut pool, start + 100 * SECOND), agents[..2]);
    assert_eq!(pool.idle_deadline(), Some(start + 200 * SECOND));
    assert_eq!(retired(&mut pool, start + 200 * SECOND), agents[2..]);
    assert_eq!((pool.counts().idle, pool.counts().spawned), (0, 3));
}

#[test]
fn a_successor_works_while_an_agent_of_many_connections_drains() {
    let limits = Limits { agents_max: 1, connections_per_agent: 2, max_use: 3, ..LIMITS };
    let (mut pool, now) = (Pool::new(limits), Instant::now());
    let old = ready(&mut pool, now);
    assert_eq!((pool.take(now), pool.take(now), pool.take(now)), (Some(old), Some(old), None));
    assert!(!pool.wants_agent(9, now), "one agent is what may be");
    assert_eq!(pool.release(old, now), AfterUse::Keep);
    assert_eq!((pool.take(now), pool.take(now)), (Some(old), None));
    assert!(!pool.wants_agent(9, now), "both connections are in use");
    assert_eq!(pool.release(old, now), AfterUse::Keep);
    assert!(pool.wants_agent(1, now), "one delivery drains, one may begin");
    let new = ready(&mut pool, now);
    assert_eq!((pool.take(now), pool.take(now)), (Some(new), None));
    assert_eq!(pool.release(old, now), AfterUse::Retire);
    assert_eq!(pool.take(now), Some(new));
}

#[test]
fn other_limits_let_go_of_what_is_too_much_and_bring_in_a_successor_at_once() {
    // process per connection, every connection in use; then one process for all
    let (mut pool, now) = (Pool::new(Limits { agents_max: 4, ..LIMITS }), Instant::now());
    let old: Vec<_> = (0..4).map(|_| ready(&mut pool, now)).collect();
    for _ in 0..4 {
        assert!(pool.take(now).is_some());
    }
    assert_eq!(pool.change(Limits { agents_max: 1, connections_per_agent: 5, ..LIMITS }), []);
    assert!(pool.wants_agent(9, now), "four drain, and the fifth delivery has a place");
    let new = ready(&mut pool, now);
    assert_eq!((pool.take(now), pool.take(now)), (Some(new), None));
    assert!(!pool.wants_agent(9, now));
    // and back to less than what is in flight
    assert_eq!(pool.change(Limits { agents_max: 2, ..LIMITS }), []);
    for number in &old[..3] {
        assert!(!pool.wants_agent(9, now) && pool.take(now).is_none());
        assert_eq!(pool.release(*number, now), AfterUse::Retire);
    }
    assert!(!pool.wants_agent(9, now), "two drain, and two are what may be");
    assert_eq!(pool.release(new, now), AfterUse::Retire);
    assert!(pool.wants_agent(9, now));
}

#[test]
fn no_demand_and_no_row_of_reloads_makes_more_processes_than_there_may_be() {
    let (mut pool, now) = (Pool::new(Limits { agents_max: 1000, ..LIMITS }), Instant::now());
    let asked: Vec<_> = std::iter::from_fn(|| pool.wants_agent(1000, now).then(|| pool.start(now))).collect();
    assert_eq!(asked.len(), STARTING_MAX);
    assert_eq!(pool.ready(asked[7], now), Readiness::Welcome);
    assert!(pool.wants_agent(1000, now));

    let limits = Limits { agents_max: 2, connections_per_agent: 9, preforked: true, ..LIMITS };
    let mut pool = Pool::new(limits);
    for _ in 0..9 {
        while pool.wants_agent(0, now) {
            ready(&mut pool, now);
        }
        if pool.take(now).is_some() {
            // one drains, those that are idle leave
            pool.reload();
        }
    }
    assert_eq!(
        (pool.counts().draining, pool.counts().idle),
        (4, 0),
        "as many again as there may be, no more"
    );
}

#[test]
fn damps_a_crash_loop_and_forgives_after_a_success() {
    let (mut pool, mut now) = (Pool::new(Limits { agents_max: 2, ..LIMITS }), Instant::now());
    for pause_s in [1, 2, 4, 8, 16, 32, 60, 60] {
        assert!(pool.wants_agent(1, now));
        let number = pool.start(now);
        let until = now + pause_s * SECOND;
        assert_eq!(pool.died(number, now), Death::FirstUse { throttled_until: until });
        assert!(!pool.wants_agent(1, until - Duration::from_millis(1)));
        now = until;
    }
    let number = ready(&mut pool, now);
    assert_eq!(pool.take(now), Some(number));
    assert_eq!(pool.release(number, now), AfterUse::Keep);
    assert_eq!(pool.died(number, now), Death::InUse);
    assert!(pool.wants_agent(1, now), "one that worked is simply replaced");
    let number = pool.start(now);
    assert_eq!(pool.died(number, now), Death::FirstUse { throttled_until: now + THROTTLE_FIRST });
}

#[test]
fn preforks_at_the_spawn_rate_and_answers_a_ramp_when_it_is_there() {
    let limits = Limits { agents_max: 50, spawn_rate: 100, preforked: true, ..LIMITS };
    let (mut pool, start) = (Pool::new(limits.clone()), Instant::now());
    let (mut now, mut last) = (start, None);
    while last.is_none_or(|last: Instant| now - last < SECOND) {
        while pool.wants_agent(0, now) {
            ready(&mut pool, now);
            last = Some(now);
        }
        now += Duration::from_millis(1);
    }
    assert_eq!((pool.counts().idle, pool.idle_deadline()), (50, None));
    // 100 a second, the first ten at once
    let took = last.expect("some were started") - start;
    assert!((390..=400).contains(&took.as_millis()), "{took:?}");

    let mut pool = Pool::new(Limits { preforked: false, spawn_rate: 0, ..limits });
    assert!(!pool.wants_agent(0, now));
    pool.ramp(20);
    let asked: Vec<_> = std::iter::from_fn(|| pool.wants_agent(0, now).then(|| pool.start(now))).collect();
    assert_eq!(asked.len(), 20);
    for number in &asked[1..] {
        assert_eq!(pool.ready(*number, now), Readiness::Welcome);
        assert!(!pool.ramped(now));
    }
    pool.died(asked[0], now);
    assert!(pool.ramped(now), "what can't be had is not waited for");
}
