//! Moves a world's mail through the scheduler, event by event.

use crate::world::{Answer, World};
use delivery::{EpochMs, QueueId};
use distribution::unit_exponential;
use fastrand::Rng;
use measure::{AgeRow, SimulationRow};
use scheduler::{DestinationId, Disposition, Entry, EntryId, Next, Outcome, Report, Scheduler, SenderId};
use smtp::client::HopStatus;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// The wall clock at the beginning.
const START: EpochMs = EpochMs(1_800_000_000_000);

/// Good mail's delays that are kept between two samples; of more, each second one is left out, and so on.
const DELAYS_MAX: usize = 1 << 20;

/// A world under way.
pub struct Simulation {
    world: World,
    scheduler: Scheduler,
    random: Rng,
    /// Of the first site, then of the second ...
    destinations: Vec<DestinationId>,
    /// Site by destination.
    site_of: Vec<u16>,
    first_destination: Vec<usize>,
    share_total: f64,
    now_ms: u64,
    next_arrival_ms: f64,
    /// (end, entry, site), earliest first.
    under_way: BinaryHeap<Reverse<(u64, EntryId, u16)>>,
    next_id: u64,
    deliveries: u64,
    counted: SimulationRow,
    /// Of good mail since the last sample, in ms.
    delays_ms: Vec<u64>,
    delays_stride: u64,
    good: u64,
    stuck: Option<Stuck>,
}

/// A site whose queue is kept at one depth: what leaves it is replaced at once.
struct Stuck {
    site: usize,
    attempts: u64,
}

impl Simulation {
    pub fn new(world: World) -> Simulation {
        let mut scheduler = Scheduler::new(world.limits.clone());
        let (mut destinations, mut site_of, mut first_destination) = (Vec::new(), Vec::new(), Vec::new());
        for (number, site) in world.sites.iter().enumerate() {
            first_destination.push(destinations.len());
            for n in 0..site.destinations.max(1) {
                let destination = scheduler.destination(&format!("{n}.{}.test:25", site.name));
                destinations.push(destination);
                site_of.push(number as u16);
            }
        }
        let mut random = Rng::with_seed(world.seed);
        let next_arrival_ms = if world.arrivals_per_s > 0.0 {
            unit_exponential(&mut random) * 1000.0 / world.arrivals_per_s
        } else {
            f64::INFINITY
        };
        Simulation {
            share_total: world.sites.iter().map(|site| site.share).sum(),
            world,
            scheduler,
            random,
            destinations,
            site_of,
            first_destination,
            now_ms: 0,
            next_arrival_ms,
            under_way: BinaryHeap::new(),
            next_id: 0,
            deliveries: 0,
            counted: SimulationRow::default(),
            delays_ms: Vec::new(),
            delays_stride: 1,
            good: 0,
            stuck: None,
        }
    }

    /// Puts `messages` of a site into the queue that have been tried and deferred for some time, as old as they are when
    /// as many come in as get too old; and keeps their number.
    pub fn keep_deferred(&mut self, site: usize, messages: u64) {
        self.stuck = Some(Stuck { site, attempts: 0 });
        for _ in 0..messages {
            let (age_ms, due_ms, attempts) = self.some_time_in_the_queue(site);
            let due = EpochMs(START.0 + self.now_ms + due_ms);
            let born = EpochMs(START.0 + self.now_ms - age_ms.min(START.0));
            self.enqueue(site, born, due, attempts);
        }
    }

    /// Age, time until the next attempt and attempts of a message that a look at the queue finds.
    fn some_time_in_the_queue(&mut self, site: usize) -> (u64, u64, u16) {
        let lifetime_ms = self.world.limits.lifetime.as_millis() as u64;
        loop {
            let age_ms = self.random.u64(0..lifetime_ms);
            let born_ms = START.0 - age_ms;
            let (mut at_ms, mut attempts) = (0, 0u16);
            loop {
                at_ms += self.world.sites[site].latency.draw(&mut self.random).as_millis() as u64;
                attempts += 1;
                let (now_ms, age) = (born_ms + at_ms, Duration::from_millis(at_ms));
                let random = self.random.f64();
                let Some(due_ms) = self.world.limits.next_attempt_ms(now_ms, age, attempts, random) else {
                    break;
                };
                at_ms = due_ms - born_ms;
                if at_ms > age_ms {
                    return (age_ms, at_ms - age_ms, attempts);
                }
            }
            // one that was given up before it came to this age: another is found
        }
    }

    fn enqueue(&mut self, site: usize, born: EpochMs, due: EpochMs, attempts: u16) {
        let first = self.first_destination[site];
        let destination = first + self.random.usize(0..self.world.sites[site].destinations.max(1) as usize);
        let sender = SenderId(self.random.u32(0..self.world.senders.max(1)));
        let id = QueueId(self.next_id);
        self.next_id += 1;
        let destination = self.destinations[destination];
        self.scheduler.enqueue(Entry { id, destination, sender, born, due, attempts });
    }

    fn now(&self) -> EpochMs {
        EpochMs(START.0 + self.now_ms)
    }

    /// Runs until this moment since the beginning.
    pub fn run_until(&mut self, until: Duration) {
        let until_ms = until.as_millis() as u64;
        loop {
            let wake_ms = self.hand_out();
            let arrival_ms =
                if self.next_arrival_ms < u64::MAX as f64 { self.next_arrival_ms as u64 } else { u64::MAX };
            let result_ms = self.under_way.peek().map_or(u64::MAX, |Reverse((at_ms, ..))| *at_ms);
            let next_ms = arrival_ms.min(result_ms).min(wake_ms);
            if next_ms > until_ms {
                self.now_ms = until_ms;
                return;
            }
            self.now_ms = self.now_ms.max(next_ms);
            if result_ms <= self.now_ms {
                self.take_result();
            } else if arrival_ms <= self.now_ms {
                self.arrive();
            }
        }
    }

    /// Gives out deliveries while there are slots; says when the scheduler wants to be asked again.
    fn hand_out(&mut self) -> u64 {
        while self.under_way.len() < self.world.limits.slots as usize {
            match self.scheduler.poll(self.now()) {
                Next::Deliver(entry, _, destination) => self.deliver(entry, destination),
                Next::Suspended { .. } => {}
                Next::Expired(_, _, destination) => {
                    self.counted.bounced += 1;
                    self.replace(usize::from(self.site_of(destination)));
                }
                Next::Sleep(at) => return at.0 - START.0,
                Next::Blocked | Next::Empty => break,
            }
        }
        u64::MAX
    }

    fn deliver(&mut self, entry: EntryId, destination: DestinationId) {
        let number = self.site_of(destination);
        let site = &self.world.sites[usize::from(number)];
        let mut takes_ms = site.latency.draw(&mut self.random).as_millis() as u64;
        self.deliveries += 1;
        if self.world.agent_max_use > 0 && self.deliveries.is_multiple_of(u64::from(self.world.agent_max_use))
        {
            takes_ms += self.world.agent_start.as_millis() as u64;
        }
        self.counted.attempts += 1;
        if let Some(stuck) = &mut self.stuck
            && stuck.site == usize::from(number)
        {
            stuck.attempts += 1;
        }
        self.under_way.push(Reverse((self.now_ms + takes_ms.max(1), entry, number)));
    }

    fn take_result(&mut self) {
        let Some(Reverse((_, entry, number))) = self.under_way.pop() else { return };
        let queued = self.scheduler.entry(entry).expect("what is under way is queued");
        let age = self.now().since(queued.born);
        let since_start = Duration::from_millis(self.now_ms);
        let (outcome, hop) = match self.world.sites[usize::from(number)].answer {
            Answer::Delivered => (Outcome::Finished, HopStatus::Up),
            Answer::Deferred => (Outcome::Retry, HopStatus::Up),
            Answer::Greylisted(until) if age >= until => (Outcome::Finished, HopStatus::Up),
            Answer::Greylisted(_) => (Outcome::Retry, HopStatus::Up),
            Answer::Down(until) if since_start >= until => (Outcome::Finished, HopStatus::Up),
            Answer::Unreachable | Answer::Down(_) => (Outcome::Retry, HopStatus::Throttle),
        };
        match self.scheduler.report(self.now(), entry, Report { outcome, hop }) {
            Disposition::Retry { .. } => self.counted.deferred_attempts += 1,
            Disposition::Expired => {
                self.counted.deferred_attempts += 1;
                self.counted.bounced += 1;
                self.replace(usize::from(number));
            }
            Disposition::Gone => {
                self.counted.delivered += 1;
                if number == 0 {
                    self.note_delay(age.as_millis() as u64);
                }
            }
        }
    }

    fn replace(&mut self, site: usize) {
        if self.stuck.as_ref().is_some_and(|stuck| stuck.site == site) {
            self.enqueue(site, self.now(), self.now(), 0);
        }
    }

    fn note_delay(&mut self, delay_ms: u64) {
        self.good += 1;
        if !self.good.is_multiple_of(self.delays_stride) {
            return;
        }
        if self.delays_ms.len() >= DELAYS_MAX {
            let mut number = 0u32;
            self.delays_ms.retain(|_| {
                number += 1;
                number.is_multiple_of(2)
            });
            self.delays_stride *= 2;
        }
        self.delays_ms.push(delay_ms);
    }

    fn arrive(&mut self) {
        let pause_ms = unit_exponential(&mut self.random) * 1000.0 / self.world.arrivals_per_s;
        self.next_arrival_ms += pause_ms;
        self.counted.arrivals += 1;
        let mut place = self.random.f64() * self.share_total;
        let mut site = 0;
        for (number, kind) in self.world.sites.iter().enumerate().filter(|(_, kind)| kind.share > 0.0) {
            site = number;
            place -= kind.share;
            if place < 0.0 {
                break;
            }
        }
        self.enqueue(site, self.now(), self.now(), 0);
    }

    fn site_of(&self, destination: DestinationId) -> u16 {
        // numbered as they were made, which is in this order
        let at = self.destinations.binary_search(&destination).expect("made at the beginning");
        self.site_of[at]
    }

    /// The queue now. Good mail's delays are those since the last time.
    pub fn sample(&mut self, point: &str) -> SimulationRow {
        let counts = self.scheduler.counts(self.now());
        let delays = self.take_delays();
        SimulationRow {
            point: point.to_owned(),
            time_s: Some(self.now_ms as f64 / 1000.0),
            queue_depth: counts.active + counts.due + counts.deferred,
            active: counts.active + counts.due,
            deferred: counts.deferred,
            agents_busy: counts.active,
            good_mail_p50_s: quantile(&delays, 0.5),
            good_mail_p99_s: quantile(&delays, 0.99),
            ..self.counted.clone()
        }
    }

    /// Sorted, in ms.
    fn take_delays(&mut self) -> Vec<u64> {
        self.delays_stride = 1;
        let mut delays = std::mem::take(&mut self.delays_ms);
        delays.sort_unstable();
        delays
    }

    /// Attempts on the site that is kept deep, and good mail delivered, so far.
    pub(crate) fn progress(&self) -> (u64, u64) {
        (self.stuck.as_ref().map_or(0, |stuck| stuck.attempts), self.good)
    }

    /// How old what is queued is, in all and by kind of site.
    pub fn ages(&self, point: &str) -> Vec<AgeRow> {
        let row =
            |domain: &str| AgeRow { point: point.to_owned(), domain: domain.to_owned(), ..AgeRow::default() };
        let mut rows = vec![row("TOTAL")];
        rows.extend(self.world.sites.iter().map(|site| row(&site.name)));
        for (_, entry) in self.scheduler.entries() {
            let minutes = self.now().since(entry.born).as_secs_f64() / 60.0;
            rows[0].count(minutes);
            rows[1 + usize::from(self.site_of(entry.destination))].count(minutes);
        }
        rows.retain(|row| row.total > 0 || row.domain == "TOTAL");
        rows
    }
}

/// Of sorted values in ms, in s.
fn quantile(sorted_ms: &[u64], share: f64) -> Option<f64> {
    let at = ((sorted_ms.len() as f64 * share).ceil() as usize).max(1) - 1;
    sorted_ms.get(at).map(|ms| *ms as f64 / 1000.0)
}
