//! How deep the deferred queue of a world can be before retries come late or good mail suffers.
//!
//! For each depth good mail arrives at nine tenths of what the slots left for it can deliver, and the deferred queue is
//! kept at that depth, each of its messages failing whenever it is tried. The limit is the greatest depth at which
//! retries are made at 95 % of the schedule's rate or more, good mail is delivered at 95 % of its rate or more, and 99
//! of 100 of it within a minute.

use crate::formula::{Formula, attempts_per_message};
use crate::simulation::Simulation;
use crate::world::World;
use measure::{AgeRow, SimulationRow};
use scheduler::Rules;
use std::time::Duration;

/// Good mail that arrives, by what the slots left for it deliver.
pub const LOAD: f64 = 0.9;
/// Least share of the scheduled retries, and of the good mail, that is made.
const KEPT: f64 = 0.95;
const GOOD_MAIL_P99_S: f64 = 60.0;
/// The limit is searched between these times the formula's, by halving.
const BRACKET: (f64, f64) = (0.1, 4.0);
const HALVINGS: u32 = 6;
/// Attempts that a judgement stands on, at least.
const ATTEMPTS_LEAST: f64 = 8000.0;
/// Messages of one simulation; larger worlds are scaled down to this ...
const MESSAGES_WANTED: f64 = 50_000.0;
/// ... but not below so many slots, as the fluctuations of a few are not those of many ...
const SLOTS_LEAST: u32 = 20;
/// ... unless there would be more messages than this.
const MESSAGES_MOST: f64 = 1_500_000.0;

/// What was found.
#[derive(Debug, Clone)]
pub struct Limit {
    /// At full scale.
    pub messages: f64,
    pub formula: Formula,
    pub attempts_per_message: f64,
    pub scale: f64,
    /// The queue at the limit, in time and by age.
    pub samples: Vec<SimulationRow>,
    pub ages: Vec<AgeRow>,
}

/// A depth that was tried.
struct Trial {
    holds: bool,
    samples: Vec<SimulationRow>,
    ages: Vec<AgeRow>,
}

/// A world as it is simulated. Points of which only the size differs may come to the same one.
#[derive(Debug, Clone)]
pub struct Scaled {
    world: World,
    formula: Formula,
    full: Formula,
    attempts: f64,
    scale: f64,
}

/// `world` has a site for good mail and one that fails; how much arrives follows from its slots. Slots, messages and
/// arrivals are divided alike, so that each slot and each message has the life that it has at full size.
pub fn scale(world: &World) -> Scaled {
    let (good, failing) = (world.sites[0].latency.mean(), world.sites[1].latency.mean());
    let attempts = attempts_per_message(&world.limits, failing, world.seed);
    let formula = |slots: u32| Formula {
        interval_s: world.limits.lifetime.as_secs_f64() / attempts,
        failure_latency_s: failing.as_secs_f64(),
        success_latency_s: good.as_secs_f64(),
        slots: f64::from(slots),
        retry_share: world.limits.retry_share,
    };
    let full = formula(world.limits.slots);
    let slots_for = |messages: f64| (full.slots * messages / full.messages()) as u32;
    let slots = slots_for(MESSAGES_WANTED).max(SLOTS_LEAST).min(slots_for(MESSAGES_MOST)).max(2);
    let slots = slots.min(world.limits.slots);
    let scale = full.slots / f64::from(slots);
    let mut world = world.clone();
    let limits = &mut world.limits;
    limits.slots = slots;
    limits.destination_concurrency = scaled_down(limits.destination_concurrency, scale);
    limits.initial_destination_concurrency = scaled_down(limits.initial_destination_concurrency, scale);
    limits.active_limit = ((limits.active_limit as f64 / scale) as u64).max(1);
    world.arrivals_per_s = LOAD * formula(slots).throughput();
    Scaled { world, formula: formula(slots), full, attempts, scale }
}

impl Scaled {
    /// Two with the same of this are simulated alike.
    pub fn key(&self) -> String {
        format!("{:?}", self.world)
    }

    /// A limit that was found for the same world at another scale.
    pub fn take_over(&self, point: &str, found: &Limit) -> Limit {
        let mut limit = Limit {
            messages: found.messages / found.scale * self.scale,
            formula: self.full,
            scale: self.scale,
            ..found.clone()
        };
        limit.samples.iter_mut().for_each(|row| row.point = point.to_owned());
        limit.ages.iter_mut().for_each(|row| row.point = point.to_owned());
        limit
    }

    pub fn search(&self, point: &str) -> Limit {
        let (mut low, mut high) = BRACKET;
        let mut best = None;
        for _ in 0..HALVINGS {
            let middle = (low * high).sqrt();
            let trial = try_depth(point, &self.world, &self.formula, middle);
            if trial.holds {
                low = middle;
                best = Some(trial);
            } else {
                high = middle;
            }
        }
        let found = best.is_some();
        let Trial { samples, ages, .. } =
            best.unwrap_or_else(|| try_depth(point, &self.world, &self.formula, low));
        Limit {
            // less than the least that was tried: nothing holds
            messages: if found { (self.formula.messages() * low).round() * self.scale } else { 0.0 },
            formula: self.full,
            attempts_per_message: self.attempts,
            scale: self.scale,
            samples,
            ages,
        }
    }
}

fn scaled_down(count: u32, scale: f64) -> u32 {
    ((f64::from(count) / scale).round() as u32).max(1)
}

fn try_depth(point: &str, world: &World, formula: &Formula, depth: f64) -> Trial {
    let messages = (formula.messages() * depth).round().max(1.0);
    let per_s = messages / formula.interval_s;
    // a backlog must have time to build up, and the count must be large enough to judge
    let window_s = formula.interval_s.max(ATTEMPTS_LEAST / per_s);
    let mut simulation = Simulation::new(world.clone());
    simulation.keep_deferred(1, messages as u64);
    simulation.run_until(Duration::from_secs_f64(window_s));
    let mut samples = vec![simulation.sample(point)];
    let (attempts_before, good_before) = simulation.progress();
    simulation.run_until(Duration::from_secs_f64(2.0 * window_s));
    samples.push(simulation.sample(point));
    let (attempts, good) = simulation.progress();
    let retried = (attempts - attempts_before) as f64 / (per_s * window_s);
    let delivered = (good - good_before) as f64 / (world.arrivals_per_s * window_s);
    let p99_s = samples[1].good_mail_p99_s;
    // under rules without a share for retries only good mail tells
    let on_time = retried >= KEPT || world.limits.rules == Rules::Postfix;
    let holds = on_time && delivered >= KEPT && p99_s.is_some_and(|p99_s| p99_s <= GOOD_MAIL_P99_S);
    Trial { holds, samples, ages: if holds { simulation.ages(point) } else { Vec::new() } }
}
