//! From checked parts to the list of trials: what each subject means at each point, and how much mail it gets.

use crate::descriptors::DescriptorLimit;
use crate::experiment::{
    Dial, Driver, Durability, HoldState, Load, LoadModel, Mta, Queue, Spawn, Store, Subject, Tarpits, Tls,
    Trial,
};
use crate::order::{interleave, mix};
use crate::raw::Count;
use crate::sink::Sink;
use crate::value::Checker;
use behaviour::DelayRule;
use settings::Error;
use std::time::Duration;

pub(crate) struct Plan {
    pub seed: u64,
    pub repeats: u32,
    pub model: LoadModel,
    pub tls: Tls,
    pub size_bytes: Option<u64>,
    pub connections: u32,
    pub sender: String,
    pub recipient: String,
    pub sink: Sink,
    pub subjects: Vec<SubjectPlan>,
    pub points: Vec<Point>,
    pub duration: Option<Duration>,
    pub messages: Option<u64>,
    pub messages_min: u64,
    pub messages_max: Option<u64>,
    pub descriptors_max: u64,
}

pub(crate) struct Point {
    pub concurrency: u32,
    pub size_bytes: u64,
    /// Where the points sweep it.
    pub delay: Option<DelayRule>,
    pub hold: Option<HoldState>,
    pub tarpits: Option<Tarpits>,
}

pub(crate) struct SubjectPlan {
    /// Where it stands in the profile, for messages.
    pub key: String,
    pub name: String,
    pub mta: MtaPlan,
    pub messages_per_connection: u32,
    pub pipelining: bool,
}

pub(crate) enum MtaPlan {
    Mailrig(DialPlan),
    Wire,
}

pub(crate) struct DialPlan {
    pub driver: Driver,
    pub agents_max: Count,
    pub connections_per_agent: Count,
    pub spawn: Spawn,
    pub max_use: u32,
    pub max_idle: Duration,
    pub durability: Durability,
    pub spool: Store,
    pub queue: Queue,
}

impl Checker<'_> {
    /// The trials in the order in which they run, and what the reader should know about them.
    pub fn plan(&self, plan: &Plan) -> Result<(Vec<Trial>, Vec<String>), Error> {
        let count = plan.subjects.len() as u64 * plan.points.len() as u64 * u64::from(plan.repeats);
        if count > TRIALS_MAX {
            let message = format!("the profile asks for {count} trials, more than {TRIALS_MAX}");
            return Err(self
                .error("points", message)
                .with_hint("take values out of [points] or lower repeats"));
        }
        let mut notes = Vec::new();
        let mut resolved = Vec::new();
        for point in &plan.points {
            let subjects = plan.subjects.iter().map(|subject| self.resolve(subject, point, plan, &mut notes));
            let subjects = subjects.collect::<Result<Vec<Subject>, Error>>()?;
            let mut sink = plan.sink.clone();
            sink.delays.extend(point.delay.clone());
            let messages = self.messages(plan, point, &sink, &subjects)?;
            resolved.push((subjects, sink, messages));
        }
        let places = interleave(plan.subjects.len(), plan.points.len(), plan.repeats, plan.seed);
        let trials = (1..).zip(places).map(|(order, place)| {
            let point = &plan.points[place.point];
            let (subjects, sink, messages) = &resolved[place.point];
            Trial {
                order,
                repeat: place.repeat + 1,
                concurrency: point.concurrency,
                seed: mix(mix(plan.seed ^ u64::from(place.repeat)) ^ place.point as u64),
                subject: subjects[place.subject].clone(),
                load: Load {
                    model: plan.model,
                    messages: *messages,
                    size_bytes: point.size_bytes,
                    connections: plan.connections,
                    sender: plan.sender.clone(),
                    recipient: plan.recipient.clone(),
                },
                sink: sink.clone(),
                hold: point.hold,
                tarpits: point.tarpits,
                tls: plan.tls,
            }
        });
        Ok((trials.collect(), notes))
    }

    fn resolve(
        &self,
        subject: &SubjectPlan,
        point: &Point,
        plan: &Plan,
        notes: &mut Vec<String>,
    ) -> Result<Subject, Error> {
        let limit = DescriptorLimit { files: plan.descriptors_max };
        if u64::from(point.concurrency) > limit.sockets() {
            let message =
                format!("a concurrency of {} is more connections than the sink can hold", point.concurrency);
            return Err(self.error("points.concurrency", message).with_hint(limit.hint()));
        }
        let mta = match &subject.mta {
            MtaPlan::Wire => Mta::Wire,
            MtaPlan::Mailrig(dial) => {
                let (agents_max, connections_per_agent) =
                    self.dial(subject, dial, point.concurrency, &limit, notes)?;
                Mta::Mailrig(Dial {
                    driver: dial.driver,
                    agents_max,
                    connections_per_agent,
                    spawn: dial.spawn,
                    max_use: dial.max_use,
                    max_idle: dial.max_idle,
                    durability: dial.durability,
                    spool: dial.spool,
                    queue: dial.queue.clone(),
                })
            }
        };
        Ok(Subject {
            name: subject.name.clone(),
            mta,
            messages_per_connection: subject.messages_per_connection,
            pipelining: subject.pipelining,
        })
    }

    /// As many messages as take about the wished time if nothing but the sink's delays and the concurrency limits them.
    fn messages(&self, plan: &Plan, point: &Point, sink: &Sink, subjects: &[Subject]) -> Result<u64, Error> {
        let least = plan.messages_min.max(u64::from(point.concurrency) * ROUNDS_MIN);
        let messages = match (plan.messages, plan.duration) {
            // one on each connection, as long as it takes
            (None, None) if point.hold.is_some() => u64::from(point.concurrency),
            (Some(_), Some(_)) => {
                let message = "`messages` and `duration` both say how much mail a trial has";
                return Err(self.error("points.messages", message).with_hint("leave one of them out"));
            }
            (Some(0), None) => {
                return Err(self.error("points.messages", "a trial of 0 messages measures nothing"));
            }
            (Some(messages), None) if messages < u64::from(point.concurrency) => {
                let message =
                    format!("{messages} messages cannot fill a concurrency of {}", point.concurrency);
                return Err(self
                    .error("points.messages", message)
                    .with_hint(format!("write {least} or more")));
            }
            (Some(messages), None) => self.number("points.messages", Some(messages), 0, 1..=MESSAGES_MOST)?,
            (None, duration) => {
                let duration = duration.unwrap_or(DURATION);
                let most =
                    self.number("points.messages_max", plan.messages_max, MESSAGES_MAX, 1..=MESSAGES_MOST)?;
                if most < least {
                    let message = format!(
                        "`messages_max` = {most} is too few for a concurrency of {}",
                        point.concurrency
                    );
                    return Err(self
                        .error("points.messages_max", message)
                        .with_hint(format!("write {least} or more")));
                }
                // The slowest way of using a connection decides, so that every subject gets the same mail.
                let carried =
                    subjects.iter().map(|subject| subject.messages_per_connection).min().unwrap_or(1);
                let delivery_s = sink.mean_delivery_time(carried).as_secs_f64();
                if delivery_s == 0.0 {
                    if plan.messages_max.is_some() {
                        // among points with a delay, this one shows what the subject can do without any
                        return Ok(MESSAGES_AT_ONCE.clamp(least, most));
                    }
                    let hint = "write points.messages = N, or give the sink a delay";
                    let message = "without a delay in the sink no number of messages follows from `duration`";
                    return Err(self.error("points.duration", message).with_hint(hint));
                }
                let expected = f64::from(point.concurrency) / delivery_s * duration.as_secs_f64();
                (expected.ceil() as u64).clamp(least, most)
            }
        };
        let size_key = if plan.size_bytes.is_some() { "load.size" } else { "points.size" };
        if point.size_bytes < SIZE_MIN {
            let message =
                format!("{} have no room for a header section", settings::size::format(point.size_bytes));
            return Err(self
                .error(size_key, message)
                .with_hint(format!("write {} or more", settings::size::format(SIZE_MIN))));
        }
        let bytes = messages.saturating_mul(point.size_bytes.max(1));
        if point.size_bytes > SIZE_MAX || bytes > QUEUE_MAX {
            let size = settings::size::format(point.size_bytes);
            let message = format!(
                "{messages} messages of {size} are more than a trial may hold (a message {}, all {})",
                settings::size::format(SIZE_MAX),
                settings::size::format(QUEUE_MAX)
            );
            return Err(self.error(size_key, message).with_hint("take a smaller size or fewer messages"));
        }
        Ok(messages)
    }
}

/// How long a trial takes where the profile does not say.
const DURATION: Duration = Duration::from_secs(2);
pub(crate) const MESSAGES_MIN: u64 = 50;
/// Of a sink that answers at once, where `messages_max` says that a number may be chosen: seconds of work.
const MESSAGES_AT_ONCE: u64 = 10_000;
/// Deliveries on each connection, so that the middle of a trial is steady.
const ROUNDS_MIN: u64 = 4;
/// A derived number of messages ends here unless the profile says otherwise.
const MESSAGES_MAX: u64 = 20_000;
pub(crate) const MESSAGES_MOST: u64 = 10_000_000;
/// Room for the load generator's header section, whatever the addresses.
const SIZE_MIN: u64 = 1024;
const SIZE_MAX: u64 = 64 << 20;
const QUEUE_MAX: u64 = 16 << 30;
const TRIALS_MAX: u64 = 10_000;
