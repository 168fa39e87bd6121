//! Destinations: the queues, the concurrency window and the pace of each next hop.
//!
//! Owns the names and the numbers of destinations, and forgets idle ones (mail to a million made-up domains must not
//! fill the memory). Knows no time but what it is told.

use crate::Limits;
use crate::gate::Gates;
use crate::lanes::{Kind, Lane, Pace};
use crate::limits::{Rule, Rules};
use crate::turns::Line;
use crate::window::{Bounds, Window};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// How many destinations without mail are remembered, with the window that they had earned.
pub(crate) const IDLE_DESTINATIONS_MAX: usize = 4096;

/// A slot time is averaged over about so many deliveries.
const PACE_WEIGHT: f64 = 1.0 / 4.0;

pub(crate) struct Destination {
    name: Arc<str>,
    /// Entries that may be delivered now: new ones, retries.
    lines: [Line; 2],
    /// Where each line has its place; other places of it mean nothing.
    placed: [Option<Lane>; 2],
    /// Deliveries under way.
    pub(crate) busy: u32,
    /// Of these, retries that count against the retries' share.
    pub(crate) busy_retries: u32,
    /// Entries in any state but removed ones.
    pub(crate) entries: u32,
    pub(crate) window: Window,
    pub(crate) bounds: Bounds,
    pub(crate) recipients: u16,
    /// Of rates of messages, and of connections.
    pub(crate) gates: [Option<u32>; 2],
    own_gates: bool,
    /// It waits at a gate.
    pub(crate) at_gate: bool,
    /// It has waited at a gate, and need not wait behind those that still do.
    pub(crate) let_through: bool,
    /// A timer waits for the end of its death.
    pub(crate) in_timer: bool,
    pub(crate) pace: Pace,
    slot_time_ms: f64,
    /// It is counted among those with something ready or under way.
    pub(crate) stirring: bool,
    /// The last delivery that ended went well.
    pub(crate) well: bool,
    /// No ready entry was born earlier.
    pub(crate) oldest_born_ms: u64,
    /// Its valid place among the idle destinations; older places of it mean nothing.
    idle_stamp: u64,
}

impl Destination {
    pub(crate) fn line(&self, kind: Kind) -> &Line {
        &self.lines[kind as usize]
    }

    pub(crate) fn line_mut(&mut self, kind: Kind) -> &mut Line {
        &mut self.lines[kind as usize]
    }

    pub(crate) fn placed_mut(&mut self, kind: Kind) -> &mut Option<Lane> {
        &mut self.placed[kind as usize]
    }

    pub(crate) fn ready(&self) -> u32 {
        self.lines[0].len() + self.lines[1].len()
    }

    pub(crate) fn lane(&self, kind: Kind) -> Lane {
        Lane { bounded_retry: kind == Kind::Retry && !self.well, pace: self.pace }
    }

    pub(crate) fn has_slot(&self) -> bool {
        self.busy < self.window.size()
    }

    /// A delivery took so long.
    pub(crate) fn took(&mut self, slot_time_ms: u64, slow_after_ms: u64) {
        // what is beyond slow is just slow, so that a site that has recovered is believed soon
        let slot_time_ms = slot_time_ms.min(slow_after_ms.saturating_mul(4)) as f64;
        if self.pace == Pace::Unproven {
            self.slot_time_ms = slot_time_ms;
        } else {
            self.slot_time_ms += (slot_time_ms - self.slot_time_ms) * PACE_WEIGHT;
        }
        self.pace = if self.slot_time_ms > slow_after_ms as f64 { Pace::Slow } else { Pace::Quick };
    }

    /// A delivery is taking longer than that.
    pub(crate) fn is_taking(&mut self, slow_after_ms: u64) {
        self.slot_time_ms = self.slot_time_ms.max(2.0 * slow_after_ms as f64);
        self.pace = Pace::Slow;
    }
}

pub(crate) struct Destinations {
    by_name: HashMap<Arc<str>, u32>,
    all: Vec<Destination>,
    /// Destinations without entries, in the order in which they became idle or were last asked for.
    idle: VecDeque<(u32, u64)>,
    stamp: u64,
    /// Numbers that can be given to new destinations.
    forgotten: Vec<u32>,
    bounds: Bounds,
    recipients: u16,
    /// What is known of a destination before it has answered.
    pace: Pace,
    rules: Vec<SetRule>,
    /// Rules of exactly these next hops.
    by_exact_name: HashMap<Arc<str>, usize>,
    pub(crate) gates: Gates,
}

/// What is said of one destination.
struct Terms {
    bounds: Bounds,
    recipients: u16,
    gates: [Option<u32>; 2],
    own_gates: bool,
}

struct SetRule {
    rule: Rule,
    gates: [Option<u32>; 2],
}

impl Destinations {
    pub(crate) fn new(limits: &Limits) -> Destinations {
        Destinations {
            by_name: HashMap::new(),
            all: Vec::new(),
            idle: VecDeque::new(),
            stamp: 0,
            forgotten: Vec::new(),
            bounds: Bounds::of(limits),
            recipients: limits.destination_recipients.max(1),
            pace: if limits.rules == Rules::Mailrig { Pace::Unproven } else { Pace::Quick },
            rules: Vec::new(),
            by_exact_name: HashMap::new(),
            gates: Gates::default(),
        }
    }

    /// For destinations that are not there yet; of several rules for a next hop the first counts.
    pub(crate) fn add_rule(&mut self, rule: Rule) {
        let mut gates = [None; 2];
        if rule.together {
            let rates = [rule.messages_per_second, rule.connections_per_second];
            gates = rates.map(|rate| rate.map(|rate| self.gates.add(rate)));
        }
        for name in rule.next_hops.iter().filter(|name| !name.starts_with('*')) {
            self.by_exact_name.entry(name.as_str().into()).or_insert(self.rules.len());
        }
        self.rules.push(SetRule { rule, gates });
    }

    pub(crate) fn intern(&mut self, next_hop: &str) -> u32 {
        let known = self.by_name.get(next_hop).copied();
        let index = known.unwrap_or_else(|| self.insert(next_hop.into()));
        self.note_if_idle(index);
        index
    }

    /// To be called whenever `entries` may have become zero. May forget another destination.
    pub(crate) fn note_if_idle(&mut self, index: u32) {
        if self.get(index).entries > 0 {
            return;
        }
        self.put_last(index);
        while self.idle.len() > IDLE_DESTINATIONS_MAX {
            let Some((oldest, stamp)) = self.idle.pop_front() else { break };
            let destination = self.get(oldest);
            if destination.entries > 0 || destination.idle_stamp != stamp {
                continue;
            }
            if destination.busy > 0 || destination.placed != [None; 2] || destination.at_gate {
                // its entries were removed while an agent or a turn was theirs
                self.put_last(oldest);
                break;
            }
            if destination.own_gates {
                let gates = destination.gates;
                gates.into_iter().flatten().for_each(|gate| self.gates.remove(gate));
            }
            self.by_name.remove(&self.all[oldest as usize].name);
            self.forgotten.push(oldest);
        }
    }

    pub(crate) fn name(&self, index: u32) -> &str {
        &self.all[index as usize].name
    }

    pub(crate) fn get(&self, index: u32) -> &Destination {
        &self.all[index as usize]
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> &mut Destination {
        &mut self.all[index as usize]
    }

    /// All numbers are below it.
    pub(crate) fn count(&self) -> u32 {
        self.all.len() as u32
    }

    /// Holds other limits, and these rules in the place of those before. Nobody waits at a gate after that.
    pub(crate) fn change(&mut self, limits: &Limits, rules: Vec<Rule>, now_ms: u64) {
        (self.bounds, self.recipients) = (Bounds::of(limits), limits.destination_recipients.max(1));
        self.rules.clear();
        self.by_exact_name.clear();
        let before = std::mem::take(&mut self.gates);
        rules.into_iter().for_each(|rule| self.add_rule(rule));
        for index in 0..self.all.len() {
            let name = self.all[index].name.clone();
            if self.by_name.get(&name) != Some(&(index as u32)) {
                // forgotten: its place waits for another
                continue;
            }
            let terms = self.terms(&name);
            let destination = &mut self.all[index];
            for (then, now) in destination.gates.into_iter().zip(terms.gates) {
                if let (Some(then), Some(now)) = (then, now) {
                    self.gates.get_mut(now).succeed(before.get(then).due_us, now_ms);
                }
            }
            (destination.at_gate, destination.let_through) = (false, false);
            destination.window.keep_within(terms.bounds);
            (destination.bounds, destination.recipients) = (terms.bounds, terms.recipients);
            (destination.gates, destination.own_gates) = (terms.gates, terms.own_gates);
        }
    }

    /// What the limits and rules say of a next hop; gates of its own are made.
    fn terms(&mut self, name: &str) -> Terms {
        let set = self.by_exact_name.get(name).map(|number| &self.rules[*number]);
        let set = set.or_else(|| self.rules.iter().find(|set| set.rule.matches(name)));
        let (mut bounds, mut recipients, mut gates) = (self.bounds, self.recipients, [None; 2]);
        let mut own_gates = false;
        if let Some(SetRule { rule, gates: shared }) = set {
            if let Some(limit) = rule.concurrency {
                bounds.limit = limit.max(1);
                bounds.initial = bounds.initial.min(bounds.limit);
            }
            recipients = rule.recipients.unwrap_or(recipients).max(1);
            own_gates = !rule.together;
            gates = *shared;
            if own_gates {
                let rates = [rule.messages_per_second, rule.connections_per_second];
                gates = rates.map(|rate| rate.map(|rate| self.gates.add(rate)));
            }
        }
        Terms { bounds, recipients, gates, own_gates }
    }

    fn insert(&mut self, name: Arc<str>) -> u32 {
        let Terms { bounds, recipients, gates, own_gates } = self.terms(&name);
        let destination = Destination {
            name: name.clone(),
            lines: [Line::EMPTY; 2],
            placed: [None; 2],
            busy: 0,
            busy_retries: 0,
            entries: 0,
            window: Window::new(bounds),
            bounds,
            recipients,
            gates,
            own_gates,
            at_gate: false,
            let_through: false,
            in_timer: false,
            pace: self.pace,
            slot_time_ms: 0.0,
            stirring: false,
            well: false,
            oldest_born_ms: u64::MAX,
            idle_stamp: 0,
        };
        let index = self.forgotten.pop().unwrap_or_else(|| {
            u32::try_from(self.all.len()).expect("fewer than 2^32 destinations fit in memory")
        });
        match self.all.get_mut(index as usize) {
            Some(forgotten) => *forgotten = destination,
            None => self.all.push(destination),
        }
        self.by_name.insert(name, index);
        index
    }

    fn put_last(&mut self, index: u32) {
        self.stamp += 1;
        self.all[index as usize].idle_stamp = self.stamp;
        self.idle.push_back((index, self.stamp));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_only_what_was_idle_longest() {
        let mut destinations = Destinations::new(&Limits::default());
        destinations.add_rule(Rule {
            next_hops: vec!["*.test:25".to_owned()],
            messages_per_second: Some(1.0),
            ..Rule::default()
        });
        let with_mail = destinations.intern("mail.test:25");
        destinations.get_mut(with_mail).entries = 1;
        let named_often = destinations.intern("often.test:25");
        for n in 0..3 * IDLE_DESTINATIONS_MAX {
            destinations.intern(&format!("made-up-{n}.test:25"));
            if n % 100 == 0 {
                assert_eq!(destinations.intern("often.test:25"), named_often);
            }
        }
        assert_eq!(destinations.intern("mail.test:25"), with_mail);
        assert_eq!(destinations.name(named_often), "often.test:25");
        assert!(destinations.all.len() <= IDLE_DESTINATIONS_MAX + 3, "{}", destinations.all.len());
        assert_eq!(destinations.by_name.len(), destinations.all.len() - destinations.forgotten.len());
        assert!(destinations.gates.count() <= IDLE_DESTINATIONS_MAX + 3, "gates go with their destinations");
    }
}
