//! From checked parts to the list of trials: what each subject means at each point, and how much mail it gets.

use crate::experiment::{Driver, Durability, Load, LoadModel, Mta, Queue, Spawn, Subject, Tls, Trial};
use crate::order::{interleave, mix};
use crate::raw::Count;
use crate::sink::Sink;
use crate::value::Checker;
use behaviour::{Delay, DelayRule, Scope};
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
    pub messages_max: Option<u64>,
    pub descriptors_max: u64,
}

pub(crate) struct Point {
    pub concurrency: u32,
    pub size_bytes: u64,
    /// Of each reply, where the points sweep it.
    pub delay: Option<Delay>,
}

pub(crate) struct SubjectPlan {
    /// Where it stands in the profile, for messages.
    pub key: String,
    pub name: String,
    pub mta: Mta,
    pub driver: Driver,
    pub agents_max: Count,
    pub connections_per_agent: Count,
    pub spawn: Spawn,
    pub max_use: u32,
    pub max_idle: Duration,
    pub durability: Durability,
    pub messages_per_connection: u32,
    pub pipelining: bool,
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
            sink.delays.extend(point.delay.clone().map(|delay| DelayRule { scope: Scope::Each, delay }));
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
        let (agents_max, connections_per_agent) =
            self.dial(subject, point.concurrency, plan.descriptors_max, notes)?;
        Ok(Subject {
            name: subject.name.clone(),
            mta: subject.mta,
            driver: subject.driver,
            agents_max,
            connections_per_agent,
            spawn: subject.spawn,
            max_use: subject.max_use,
            max_idle: subject.max_idle,
            durability: subject.durability,
            messages_per_connection: subject.messages_per_connection,
            pipelining: subject.pipelining,
            queue: subject.queue.clone(),
        })
    }

    /// Agents and connections of each, for one concurrency, as the descriptor limit allows.
    fn dial(
        &self,
        subject: &SubjectPlan,
        concurrency: u32,
        descriptors_max: u64,
        notes: &mut Vec<String>,
    ) -> Result<(u32, u32), Error> {
        let name = &subject.name;
        let agents_key = format!("{}.agents_max", subject.key);
        let connections_key = format!("{}.connections_per_agent", subject.key);
        let one_process = descriptors_max.saturating_sub(DESCRIPTORS_KEPT);
        let limit_hint = format!(
            "a process may hold {descriptors_max} files here; raise the limit (ulimit -n) or lower the value"
        );
        if u64::from(concurrency) > one_process {
            let message =
                format!("a concurrency of {concurrency} is more connections than the sink can hold");
            return Err(self.error("points.concurrency", message).with_hint(limit_hint));
        }
        let mut agents = match subject.agents_max {
            Count::Concurrency => concurrency,
            Count::Number(0) => {
                let message = format!(
                    "`agents_max` of `{name}` is 0: delivery inside the queue manager is not there yet"
                );
                return Err(self
                    .error(&agents_key, message)
                    .with_hint("write 1 or more, or \"concurrency\""));
            }
            Count::Number(agents) => agents,
        };
        let mut connections = match subject.connections_per_agent {
            Count::Concurrency if subject.agents_max == Count::Concurrency => {
                let message = format!("`{name}` has concurrency agents of concurrency connections each");
                return Err(self.error(&connections_key, message).with_hint("make one of the two a number"));
            }
            Count::Concurrency => concurrency,
            Count::Number(0) => {
                let message = format!("`connections_per_agent` of `{name}` is 0: nothing could be delivered");
                return Err(self
                    .error(&connections_key, message)
                    .with_hint("write 1 or more, or \"concurrency\""));
            }
            Count::Number(connections) => connections,
        };
        match subject.driver {
            Driver::Blocking if subject.connections_per_agent != Count::Number(1) => {
                let message =
                    format!("`{name}` has the driver blocking, which holds one connection an agent");
                return Err(self
                    .error(&connections_key, message)
                    .with_hint("write connections_per_agent = 1, or driver = \"event\""));
            }
            Driver::Blocking => {}
            Driver::Event => {
                // A socket a connection, and at worst a file for each while large bodies are sent.
                let most = u32::try_from(one_process / 2).unwrap_or(u32::MAX).max(1);
                if connections > most && subject.connections_per_agent == Count::Concurrency {
                    let needed = concurrency.div_ceil(most).max(agents);
                    if needed > agents {
                        notes.push(format!(
                            "`{name}` has {needed} agents instead of {agents} at concurrency {concurrency}: \
                             an agent holds at most {most} connections with {descriptors_max} files"
                        ));
                    }
                    agents = needed;
                    connections = concurrency.div_ceil(agents);
                } else if connections > most {
                    let message = format!(
                        "`{name}` has {connections} connections an agent, more than the {most} that fit"
                    );
                    return Err(self.error(&connections_key, message).with_hint(limit_hint));
                }
            }
        }
        if u64::from(agents) > one_process {
            let message =
                format!("`{name}` has {agents} agents, more than the queue manager can hold a socket to");
            return Err(self.error(&agents_key, message).with_hint(limit_hint));
        }
        let held = u64::from(agents) * u64::from(connections);
        if held < u64::from(concurrency) {
            let message = format!(
                "`{name}` holds {held} connections at most ({agents} agents x {connections}), so a \
                 concurrency of {concurrency} is never reached"
            );
            let key = if subject.agents_max == Count::Concurrency { &connections_key } else { &agents_key };
            return Err(self
                .error(key, message)
                .with_hint("write \"concurrency\" for one of the two, or take the point out"));
        }
        Ok((agents, connections))
    }

    /// As many messages as take about the wished time if nothing but the sink's delays and the concurrency limits them.
    fn messages(&self, plan: &Plan, point: &Point, sink: &Sink, subjects: &[Subject]) -> Result<u64, Error> {
        let least = MESSAGES_MIN.max(u64::from(point.concurrency) * ROUNDS_MIN);
        let messages = match (plan.messages, plan.duration) {
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

/// Kept free in every process for listeners, logs, the spool and the control socket.
const DESCRIPTORS_KEPT: u64 = 100;
/// How long a trial takes where the profile does not say.
const DURATION: Duration = Duration::from_secs(2);
const MESSAGES_MIN: u64 = 50;
/// Deliveries on each connection, so that the middle of a trial is steady.
const ROUNDS_MIN: u64 = 4;
/// A derived number of messages ends here unless the profile says otherwise.
const MESSAGES_MAX: u64 = 20_000;
const MESSAGES_MOST: u64 = 10_000_000;
/// Room for the load generator's header section, whatever the addresses.
const SIZE_MIN: u64 = 1024;
const SIZE_MAX: u64 = 64 << 20;
const QUEUE_MAX: u64 = 16 << 30;
const TRIALS_MAX: u64 = 10_000;
