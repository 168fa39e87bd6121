//! Properties of the scheduler under virtual time, with agents that answer by a seed.

use delivery::{EpochMs, QueueId};
use proptest::prelude::*;
use scheduler::{
    Disposition, Entry, EntryId, Feedback, Limits, Next, Outcome, Report, Rule, Scheduler, SenderId,
};
use smtp::client::HopStatus;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::time::Duration;

const START: EpochMs = EpochMs(1_800_000_000_000);

#[derive(Clone, Debug)]
struct World {
    seed: u64,
    agents: usize,
    destinations: u64,
    /// (destination, delay before it is due in ms)
    mail: Vec<(u64, u64)>,
    concurrency: u32,
    initial: u32,
    /// Shares in percent; the rest is delivered.
    deferred: u8,
    throttled: u8,
    lost_agents: u8,
    removed: u8,
    /// In percent of the steps: the operator does something to some message.
    operator: u8,
    postfix: bool,
    feedback: Feedback,
    /// Deliveries a second to each destination.
    rate: Option<u32>,
    /// The wall clock is set back by this much a few times.
    set_back_ms: u64,
}

fn world() -> impl Strategy<Value = World> {
    let mail = prop::collection::vec((0..6u64, prop_oneof![Just(0), 0..5_000u64, 0..20_000_000u64]), 1..120);
    let shares = (0..=100u8, 0..=100u8, 0..10u8, 0..10u8, prop_oneof![Just(0), 0..30u8]);
    let set_back_ms = prop_oneof![3 => Just(0), 1 => 1..100_000_000u64];
    // from 31 on a destination can die before its window is down to one
    let (concurrency, initial) = (prop_oneof![1..10u32, 10..60u32], prop_oneof![0..10u32, 10..80u32]);
    let feedback = [Feedback::Fixed(1.0), Feedback::Inverse(1.0), Feedback::InverseRoot(0.5)];
    let rules = (
        any::<bool>(),
        prop::sample::select(feedback.to_vec()),
        prop_oneof![Just(None), (1..30u32).prop_map(Some)],
    );
    let sizes = (1..20usize, 1..6u64, concurrency, initial);
    (any::<u64>(), sizes, mail, rules, shares, set_back_ms).prop_map(
        |(seed, (agents, destinations, concurrency, initial), mail, rules, shares, set_back_ms)| {
            let (postfix, feedback, rate) = rules;
            let (deferred, throttled, lost_agents, removed, operator) = shares;
            World {
                seed,
                agents,
                destinations,
                mail,
                concurrency,
                initial,
                deferred,
                throttled,
                lost_agents,
                removed,
                operator,
                postfix,
                feedback,
                rate,
                set_back_ms,
            }
        },
    )
}

fn limits(world: &World) -> Limits {
    Limits {
        destination_concurrency: world.concurrency,
        initial_destination_concurrency: world.initial,
        positive_feedback: world.feedback,
        negative_feedback: world.feedback,
        lifetime: Duration::from_secs(24 * 3600),
        slots: world.agents as u32,
        slow_after: Duration::from_secs(20),
        seed: world.seed,
        ..if world.postfix { Limits::postfix() } else { Limits::default() }
    }
}

fn rate_rule(rate: u32) -> Rule {
    Rule {
        next_hops: vec!["*.test:25".to_owned()],
        messages_per_second: Some(f64::from(rate)),
        ..Rule::default()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Finished,
    Expired,
    Removed,
}

/// A running simulation. `elapsed_ms` is true time; the wall clock may have been set back.
struct Simulation {
    world: World,
    scheduler: Scheduler,
    random: fastrand::Rng,
    elapsed_ms: u64,
    set_back_ms: u64,
    set_backs_left: u32,
    /// (when, entry, message), earliest first.
    under_way: BinaryHeap<std::cmp::Reverse<(u64, EntryId, u64)>>,
    busy: HashMap<u64, u32>,
    /// Moment in true time before which the message must not be delivered.
    not_before_ms: HashMap<u64, u64>,
    ends: BTreeMap<u64, End>,
    entries: Vec<EntryId>,
    held: BTreeSet<u64>,
    /// True times of the deliveries to each destination.
    begun_ms: BTreeMap<u64, Vec<u64>>,
    history: Vec<String>,
}

impl Simulation {
    fn new(world: World) -> Simulation {
        let mut simulation = Simulation {
            scheduler: Scheduler::new(limits(&world)),
            random: fastrand::Rng::with_seed(world.seed ^ 0x5eed),
            world,
            elapsed_ms: 0,
            set_back_ms: 0,
            set_backs_left: 5,
            under_way: BinaryHeap::new(),
            busy: HashMap::new(),
            not_before_ms: HashMap::new(),
            ends: BTreeMap::new(),
            entries: Vec::new(),
            held: BTreeSet::new(),
            begun_ms: BTreeMap::new(),
            history: Vec::new(),
        };
        if let Some(rate) = simulation.world.rate {
            simulation.scheduler.add_rule(rate_rule(rate));
        }
        for (message, (destination, delay_ms)) in simulation.world.mail.clone().into_iter().enumerate() {
            let destination = simulation.destination(destination);
            let due = EpochMs(START.0 + delay_ms);
            let entry = Entry {
                id: QueueId(message as u64),
                destination,
                sender: SenderId(0),
                born: START,
                due,
                attempts: 0,
            };
            let entry = simulation.scheduler.enqueue(entry);
            simulation.entries.push(entry);
            simulation.not_before_ms.insert(message as u64, delay_ms);
        }
        simulation
    }

    fn destination(&mut self, number: u64) -> scheduler::DestinationId {
        let name = format!("mx{}.test:25", number % self.world.destinations);
        self.scheduler.destination(&name)
    }

    fn now(&self) -> EpochMs {
        EpochMs(START.0 + self.elapsed_ms - self.set_back_ms)
    }

    fn destination_of(&self, message: u64) -> u64 {
        self.world.mail[message as usize].0 % self.world.destinations
    }

    fn start(&mut self, entry: EntryId, message: u64, window: u32) {
        let destination = self.destination_of(message);
        let busy = self.busy.entry(destination).or_default();
        *busy += 1;
        assert!(
            *busy <= window && window <= self.world.concurrency,
            "destination {destination} has {busy} deliveries under way in a window of {window}"
        );
        assert!(
            self.elapsed_ms >= self.not_before_ms[&message],
            "message {message} was delivered before it was due"
        );
        assert!(!self.held.contains(&message), "message {message} was delivered while held");
        assert!(!self.ends.contains_key(&message), "message {message} came back after its end");
        assert!(
            self.under_way.iter().all(|r| r.0.2 != message),
            "message {message} is delivered twice at a time"
        );
        self.check_rate(destination);
        self.history.push(format!("{} {message}", self.elapsed_ms));
        let end_ms = self.elapsed_ms + self.random.u64(1..60_000);
        self.under_way.push(std::cmp::Reverse((end_ms, entry, message)));
        if self.random.u8(0..100) < self.world.removed {
            self.remove(message);
        }
    }

    /// Whatever came before: in no stretch of time more than its rate, one, and a tenth of a second's worth.
    fn check_rate(&mut self, destination: u64) {
        let Some(rate) = self.world.rate else { return };
        let begun_ms = self.begun_ms.entry(destination).or_default();
        begun_ms.push(self.elapsed_ms);
        for (n, began_ms) in begun_ms.iter().rev().enumerate() {
            let allowed = (self.elapsed_ms - began_ms + 100) as f64 / 1000.0 * f64::from(rate) + 1.0 + 1e-9;
            assert!(
                (n + 1) as f64 <= allowed,
                "{} deliveries in {} ms at {rate}/s",
                n + 1,
                self.elapsed_ms - began_ms
            );
        }
    }

    fn remove(&mut self, message: u64) {
        let entry = self.entries[message as usize];
        assert!(self.scheduler.remove(entry) && !self.scheduler.remove(entry));
        self.end(message, End::Removed);
    }

    fn finish(&mut self, entry: EntryId, message: u64) {
        *self.busy.get_mut(&self.destination_of(message)).expect("it was started") -= 1;
        let now = self.now();
        let dice = self.random.u8(0..100);
        let removed = self.ends.contains_key(&message);
        if dice < self.world.lost_agents {
            return self.scheduler.put_back(now, entry);
        }
        let hop =
            if self.random.u8(0..100) < self.world.throttled { HopStatus::Throttle } else { HopStatus::Up };
        let retry = hop == HopStatus::Throttle || self.random.u8(0..100) < self.world.deferred;
        let outcome = if retry { Outcome::Retry } else { Outcome::Finished };
        let age = now.since(START);
        match self.scheduler.report(now, entry, Report { outcome, hop }) {
            Disposition::Gone if removed => {}
            Disposition::Gone => {
                assert_eq!(outcome, Outcome::Finished);
                self.end(message, End::Finished);
            }
            Disposition::Expired => {
                assert!(outcome == Outcome::Retry && age >= limits(&self.world).lifetime);
                self.end(message, End::Expired);
            }
            Disposition::Retry { due, .. } => {
                assert!(outcome == Outcome::Retry && age < limits(&self.world).lifetime);
                let delay_ms = due.since(now).as_millis() as u64;
                let plain_ms = (age.as_millis() as u64).clamp(300_000, 4_000_000);
                let bounds = match self.world.postfix {
                    true => plain_ms..=plain_ms + 300_000,
                    false => plain_ms * 9 / 10..=plain_ms * 11 / 10,
                };
                assert!(bounds.contains(&delay_ms), "delay of {delay_ms} ms at an age of {age:?}");
                self.not_before_ms.insert(message, self.elapsed_ms + delay_ms);
            }
        }
    }

    fn end(&mut self, message: u64, end: End) {
        assert!(self.ends.insert(message, end).is_none(), "message {message} ended twice");
        self.held.remove(&message);
    }

    fn is_under_way(&self, message: u64) -> bool {
        self.under_way.iter().any(|r| r.0.2 == message)
    }

    /// The operator does one thing, and is told the truth about whether it was done.
    fn operate(&mut self) {
        let message = self.random.u64(0..self.world.mail.len() as u64);
        let (now, entry) = (self.now(), self.entries[message as usize]);
        let (gone, under_way) = (self.ends.contains_key(&message), self.is_under_way(message));
        match self.random.u8(0..7) {
            6 => self.change(),
            0 => {
                let held = self.scheduler.hold(entry);
                assert_eq!(held, !gone && self.held.insert(message), "hold of message {message}");
            }
            1 => {
                assert_eq!(self.scheduler.release(now, entry), self.held.remove(&message));
            }
            2 => {
                let requeued = self.scheduler.requeue(now, entry);
                assert_eq!(requeued, !gone && !under_way, "requeue of message {message}");
                if requeued {
                    self.held.remove(&message);
                    self.not_before_ms.insert(message, 0);
                }
            }
            3 if !gone => self.remove(message),
            4 => {
                self.scheduler.flush(now);
                for message in 0..self.world.mail.len() as u64 {
                    if !self.held.contains(&message) && !self.is_under_way(message) {
                        self.not_before_ms.insert(message, 0);
                    }
                }
                let counts = self.scheduler.counts(now);
                assert_eq!(counts.deferred, 0, "after a flush nothing is deferred");
            }
            _ => {
                let number = self.random.u64(0..6);
                let destination = self.destination(number);
                self.scheduler.flush_destination(now, destination);
                // to its end: what is deferred before that may be flushed too
                self.scheduler.counts(now);
                for message in 0..self.world.mail.len() as u64 {
                    let its = self.destination_of(message) == number % self.world.destinations;
                    if its && !self.held.contains(&message) && !self.is_under_way(message) {
                        self.not_before_ms.insert(message, 0);
                    }
                }
            }
        }
    }

    /// Other limits, and the rate kept or changed; what was queued stays under the new ones.
    fn change(&mut self) {
        (self.world.concurrency, self.world.initial) = (self.random.u32(1..60), self.random.u32(0..80));
        if self.random.bool() && self.world.rate.is_some() {
            self.world.rate = Some(self.random.u32(1..30));
            self.begun_ms.clear();
        }
        let rules = self.world.rate.map(rate_rule).into_iter().collect();
        self.scheduler.change(self.now(), limits(&self.world), rules);
    }

    fn check_counts(&mut self) {
        let counts = self.scheduler.counts(self.now());
        let held_active = self.held.iter().filter(|message| self.is_under_way(**message)).count();
        assert_eq!(counts.held as usize, self.held.len() - held_active);
        assert_eq!(counts.active as usize, self.under_way.len());
        let queued = self.world.mail.len() - self.ends.len();
        let removed_active = self.under_way.iter().filter(|r| self.ends.contains_key(&r.0.2)).count();
        let all = counts.active + counts.due + counts.deferred + counts.held;
        assert_eq!(all as usize, queued + removed_active);
    }

    /// Runs until nothing is left; the bound on steps is what makes starvation a failure.
    fn run(&mut self) {
        for step in 0..1_000_000 {
            if step % 64 == 0 {
                self.check_counts();
            }
            if self.set_backs_left > 0 && self.random.u8(0..50) == 0 {
                self.set_backs_left -= 1;
                self.set_back_ms += self.world.set_back_ms.min(self.elapsed_ms - self.set_back_ms);
            }
            if self.random.u8(0..100) < self.world.operator {
                self.operate();
            }
            let wake_ms = if self.under_way.len() < self.world.agents {
                match self.scheduler.poll(self.now()) {
                    Next::Deliver(entry, id, destination) => {
                        let name = format!("mx{}.test:25", self.destination_of(id.0));
                        assert_eq!(self.scheduler.next_hop(destination), name);
                        let window = self.scheduler.window(destination);
                        self.start(entry, id.0, window);
                        continue;
                    }
                    Next::Expired(_, id, _) => {
                        assert!(self.now().since(START) >= limits(&self.world).lifetime);
                        self.end(id.0, End::Expired);
                        continue;
                    }
                    Next::Suspended { id, due, .. } => {
                        assert!(self.world.postfix, "only Postfix defers without trying");
                        let due_ms = self.elapsed_ms + due.since(self.now()).as_millis() as u64;
                        self.not_before_ms.insert(id.0, due_ms);
                        continue;
                    }
                    Next::Sleep(at) => {
                        assert!(at > self.now(), "asked to sleep until the past");
                        Some(self.elapsed_ms + at.since(self.now()).as_millis() as u64)
                    }
                    Next::Blocked => {
                        assert!(!self.under_way.is_empty(), "blocked with nothing under way");
                        None
                    }
                    Next::Empty if !self.held.is_empty() => {
                        for message in std::mem::take(&mut self.held) {
                            assert!(self.scheduler.release(self.now(), self.entries[message as usize]));
                        }
                        continue;
                    }
                    Next::Empty => {
                        assert!(self.under_way.is_empty());
                        return self.check_counts();
                    }
                }
            } else {
                None
            };
            let result_ms = self.under_way.peek().map(|r| r.0.0);
            if result_ms.is_some_and(|result_ms| wake_ms.is_none_or(|wake_ms| result_ms <= wake_ms)) {
                let std::cmp::Reverse((end_ms, entry, message)) = self.under_way.pop().expect("peeked");
                self.elapsed_ms = end_ms;
                self.finish(entry, message);
            } else {
                self.elapsed_ms = wake_ms.expect("asleep or something under way");
            }
        }
        panic!("not empty after a million steps: {} of {} ended", self.ends.len(), self.world.mail.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_message_ends_once_within_the_limits_and_no_retry_is_early(world in world()) {
        let mut simulation = Simulation::new(world);
        simulation.run();
        prop_assert_eq!(simulation.ends.len(), simulation.world.mail.len());
    }

    #[test]
    fn the_same_seed_makes_the_same_history(world in world()) {
        let histories = [(); 2].map(|()| {
            let mut simulation = Simulation::new(world.clone());
            simulation.run();
            simulation.history
        });
        prop_assert_eq!(&histories[0], &histories[1]);
    }

    #[test]
    fn entries_come_out_in_order_of_their_due_times(
        dues in prop::collection::vec(prop_oneof![0..300u64, 0..100_000u64, 0..1u64 << 40, Just(u64::MAX)], 1..200),
        steps in prop::collection::vec(prop_oneof![0..10u64, 0..70_000u64, 0..1u64 << 41], 1..60),
    ) {
        let mut scheduler = Scheduler::new(Limits { destination_concurrency: u32::MAX, initial_destination_concurrency: u32::MAX, ..Limits::default() });
        let destination = scheduler.destination("mx.test:25");
        let mut now = START;
        let mut queued: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        let mut dues = dues.into_iter().enumerate();
        let mut last = 0;
        for step in steps {
            // a few new ones between the steps, so that they meet a wheel that has turned
            for (n, delay) in dues.by_ref().take(4) {
                let due = now.0.saturating_add(delay);
                scheduler.enqueue(Entry { id: QueueId(n as u64), destination, sender: SenderId(0), born: now, due: EpochMs(due), attempts: 0 });
                queued.entry(due.min((1 << 48) - 1)).or_default().push(n as u64);
            }
            now.0 += step;
            loop {
                let first = queued.first_key_value().map(|(due, _)| *due);
                match scheduler.poll(now) {
                    Next::Deliver(_, id, _) => {
                        let (due, ids) = queued.iter_mut().find(|(_, ids)| ids.contains(&id.0)).expect("queued");
                        prop_assert!(*due <= now.0 && *due >= last, "{} came at {} after {}", due, now.0, last);
                        last = *due;
                        ids.retain(|other| *other != id.0);
                        queued.retain(|_, ids| !ids.is_empty());
                    }
                    Next::Sleep(at) => {
                        prop_assert_eq!(Some(at.0), first);
                        prop_assert!(at > now);
                        break;
                    }
                    Next::Blocked | Next::Empty => {
                        prop_assert_eq!(first, None);
                        break;
                    }
                    other => prop_assert!(false, "{:?}", other),
                }
            }
            last = 0;
        }
    }
}
