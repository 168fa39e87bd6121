//! From the text to an experiment: every value is checked here, and each refusal names its line and what to do.

use crate::experiment::{
    Driver, Durability, Experiment, HELD_MESSAGE_BYTES, HoldState, LoadModel, MtaWord, Placement, Spawn,
    Store, Tls,
};
use crate::plan::{DialPlan, MESSAGES_MIN, MESSAGES_MOST, MtaPlan, Plan, Point, SubjectPlan};
use crate::raw::{RawHold, RawProfile, RawQueue, RawStages, RawSubject, Texts};
use crate::sink::Sink;
use crate::value::Checker;
use behaviour::{Delay, DelayRule, ReplyRule, Rule, Scope, Site};
use settings::Error;
use std::path::Path;
use std::time::Duration;

/// What does not stand in the profile: the command line's wishes and the machine's limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// Instead of the profile's `repeats`.
    pub repeats: Option<u32>,
    /// Names of the subjects to keep; empty keeps all.
    pub only: Vec<String>,
    /// Files that one process may hold (RLIMIT_NOFILE, as the children will have it).
    pub descriptors_max: u64,
}

/// Reads and checks a profile.
///
/// # Errors
/// The first thing that is wrong, as FILE:LINE:COLUMN, with a hint where there is something to do.
pub fn read(path: &Path, context: &Context) -> Result<Experiment, Error> {
    parse(&settings::read_text(path)?, &path.display().to_string(), context)
}

/// As [`read`], for a text that is at hand.
///
/// # Errors
/// As [`read`].
pub fn parse(text: &str, file: &str, context: &Context) -> Result<Experiment, Error> {
    let raw: RawProfile = settings::parse_toml(text, file)?;
    Checker { file, text }.experiment(raw, context)
}

impl Checker<'_> {
    fn experiment(&self, raw: RawProfile, context: &Context) -> Result<Experiment, Error> {
        self.name("name", &raw.name)?;
        let repeats = match context.repeats {
            Some(repeats) => repeats,
            None => self.number("repeats", raw.repeats, 3, 1..=REPEATS_MAX)?,
        };
        if repeats == 0 || repeats > REPEATS_MAX {
            return Err(Error::whole(
                self.file,
                format!("--repeat {repeats} is not from 1 to {REPEATS_MAX}"),
            ));
        }
        let load_model =
            self.word("load.model", raw.load.model.as_deref(), "preload", LoadModel::ALL, |w| w.as_str())?;
        let placement =
            self.word("placement", raw.placement.as_deref(), "pinned", Placement::ALL, |w| w.as_str())?;
        let tls = self.word("tls", raw.tls.as_deref(), "none", Tls::ALL, |w| w.as_str())?;
        let sink = Sink {
            delays: self.delays(raw.sink.delay.as_ref())?,
            replies: self.replies(raw.sink.reply.as_ref())?,
        };
        let plan = Plan {
            seed: raw.seed.unwrap_or(1),
            repeats,
            model: load_model,
            tls,
            size_bytes: raw.load.size,
            connections: self.number("load.connections", raw.load.connections, 20, 1..=10_000)?,
            sender: self.address("load.sender", raw.load.sender.as_deref(), "sender@load.test")?,
            recipient: self.address(
                "load.recipient",
                raw.load.recipient.as_deref(),
                "recipient@sink.test",
            )?,
            sink,
            subjects: self.subjects(&raw, context)?,
            points: self.points(&raw)?,
            duration: raw.points.duration,
            messages: raw.points.messages,
            messages_min: self.number(
                "points.messages_min",
                raw.points.messages_min,
                MESSAGES_MIN,
                1..=MESSAGES_MOST,
            )?,
            messages_max: raw.points.messages_max,
            descriptors_max: context.descriptors_max,
        };
        let drain_timeout = raw.drain_timeout.unwrap_or(DRAIN_TIMEOUT);
        if drain_timeout < Duration::from_secs(1) {
            return Err(self
                .error("drain_timeout", "`drain_timeout` leaves no time to deliver")
                .with_hint("write 1s or more"));
        }
        let (trials, notes) = self.plan(&plan)?;
        Ok(Experiment {
            name: raw.name,
            purpose: raw.purpose,
            file: self.file.to_owned(),
            text: self.text.to_owned(),
            seed: plan.seed,
            repeats,
            placement,
            drain_timeout,
            subjects: plan.subjects.iter().map(|subject| subject.name.clone()).collect(),
            trials,
            notes,
        })
    }

    fn subjects(&self, raw: &RawProfile, context: &Context) -> Result<Vec<SubjectPlan>, Error> {
        let names: Vec<&str> = raw.subject.iter().map(|subject| subject.name.as_str()).collect();
        if names.is_empty() {
            return Err(self
                .error("subject", "there is no subject, so nothing would be measured")
                .with_hint("add a [[subject]] with a name, a driver, agents_max and connections_per_agent"));
        }
        if let Some(wanted) = context.only.iter().find(|wanted| !names.contains(&wanted.as_str())) {
            let hint = match settings::nearest(wanted, names.iter().copied()) {
                Some(right) => format!("did you mean `{right}`?"),
                None => format!("the subjects are {}", names.join(", ")),
            };
            return Err(self.error("subject", format!("no subject is called `{wanted}`")).with_hint(hint));
        }
        let mut subjects = Vec::new();
        for (at, subject) in raw.subject.iter().enumerate() {
            if names[..at].contains(&subject.name.as_str()) {
                let message = format!("a subject called `{}` stands above already", subject.name);
                let hint = "give each subject a name of its own; two equal subjects show the noise floor";
                return Err(self.error(&format!("subject.{at}.name"), message).with_hint(hint));
            }
            let checked = self.subject(&format!("subject.{at}"), subject, raw)?;
            if context.only.is_empty() || context.only.contains(&subject.name) {
                subjects.push(checked);
            }
        }
        Ok(subjects)
    }

    fn subject(&self, at: &str, raw: &RawSubject, profile: &RawProfile) -> Result<SubjectPlan, Error> {
        let key = |name: &str| format!("{at}.{name}");
        self.name(&key("name"), &raw.name)?;
        let mta = match self.word(&key("mta"), raw.mta.as_deref(), "mailrig", MtaWord::ALL, |w| w.as_str())? {
            MtaWord::Mailrig => MtaPlan::Mailrig(self.dial_plan(at, raw)?),
            MtaWord::Wire => self.wire_has_no_dial(at, raw).map(|()| MtaPlan::Wire)?,
        };
        Ok(SubjectPlan {
            key: at.to_owned(),
            name: raw.name.clone(),
            mta,
            messages_per_connection: self.number(
                "load.messages_per_connection",
                profile.load.messages_per_connection,
                1,
                1..=1_000_000,
            )?,
            pipelining: profile.load.pipelining.unwrap_or(true),
        })
    }

    fn dial_plan(&self, at: &str, raw: &RawSubject) -> Result<DialPlan, Error> {
        let key = |name: &str| format!("{at}.{name}");
        let missing = |name: &str| self.error(at, format!("missing key `{name}` in [[subject]]"));
        let driver = raw.driver.as_deref().ok_or_else(|| missing("driver"))?;
        let driver = self.word(&key("driver"), Some(driver), "", Driver::ALL, |w| w.as_str())?;
        let max_use = match driver {
            Driver::Blocking => 1000,
            Driver::Threads | Driver::Event => 0,
        };
        let max_idle = raw.max_idle.unwrap_or(MAX_IDLE);
        if max_idle.is_zero() {
            let error = self.error(&key("max_idle"), "`max_idle` is zero: every agent would end at once");
            return Err(error.with_hint("write 1s or more; 100s is the default"));
        }
        Ok(DialPlan {
            driver,
            agents_max: raw.agents_max.ok_or_else(|| missing("agents_max"))?,
            connections_per_agent: raw
                .connections_per_agent
                .ok_or_else(|| missing("connections_per_agent"))?,
            spawn: self.word(&key("spawn"), raw.spawn.as_deref(), "zygote", Spawn::ALL, |w| w.as_str())?,
            max_use: self.number(&key("max_use"), raw.max_use, max_use, 0..=u32::MAX)?,
            max_idle,
            durability: self.word(
                &key("durability"),
                raw.durability.as_deref(),
                "full",
                Durability::ALL,
                |w| w.as_str(),
            )?,
            spool: self.word(&key("spool"), raw.spool.as_deref(), "segments", Store::ALL, |w| w.as_str())?,
            queue: self.queue(&key("queue"), raw.queue.as_ref().unwrap_or(&RawQueue::default()))?,
        })
    }

    fn wire_has_no_dial(&self, at: &str, raw: &RawSubject) -> Result<(), Error> {
        let keys = [
            ("driver", raw.driver.is_some()),
            ("agents_max", raw.agents_max.is_some()),
            ("connections_per_agent", raw.connections_per_agent.is_some()),
            ("spawn", raw.spawn.is_some()),
            ("max_use", raw.max_use.is_some()),
            ("max_idle", raw.max_idle.is_some()),
            ("durability", raw.durability.is_some()),
            ("spool", raw.spool.is_some()),
            ("queue", raw.queue.is_some()),
        ];
        match keys.into_iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((name, _)) => {
                let message = format!("`{name}` says nothing about the wire: there is no MTA on it");
                Err(self.error(&format!("{at}.{name}"), message).with_hint("take it out"))
            }
        }
    }

    fn points(&self, raw: &RawProfile) -> Result<Vec<Point>, Error> {
        let points = &raw.points;
        self.concurrency("points.concurrency", &points.concurrency)?;
        let sizes: Option<Vec<u64>> =
            points.size.as_ref().map(|sizes| sizes.iter().map(|size| size.0).collect());
        if let Some(sizes) = &sizes {
            self.sweep("points.size", sizes)?;
            self.not_twice(raw.load.size.is_some(), "points.size", "load.size")?;
        }
        let delays = points.delay.as_ref().map(|delays| {
            let parsed =
                delays.iter().enumerate().map(|(at, text)| self.delay(&format!("points.delay.{at}"), text));
            parsed.collect::<Result<Vec<DelayRule>, Error>>()
        });
        let delays = delays.transpose()?;
        if let Some(delays) = &delays {
            self.sweep("points.delay", delays)?;
            self.not_twice(
                raw.sink.delay.as_ref().is_some_and(|delay| delay.each.is_some()),
                "points.delay",
                "sink.delay.each",
            )?;
        }
        let size = raw.load.size.unwrap_or(SIZE);
        if let Some(holds) = &points.hold {
            return self.held_points(raw, holds, size);
        }
        if raw.tarpits.is_some() || points.tarpit_percent.is_some() {
            return self.tarpit_points(raw, size);
        }
        let mut expanded = Vec::new();
        for delay in delays.map_or(vec![None], |delays| delays.into_iter().map(Some).collect()) {
            for size_bytes in sizes.clone().unwrap_or(vec![size]) {
                for concurrency in &points.concurrency {
                    expanded.push(Point {
                        concurrency: *concurrency,
                        size_bytes,
                        delay: delay.clone(),
                        hold: None,
                        tarpits: None,
                    });
                }
            }
        }
        Ok(expanded)
    }

    fn concurrency(&self, key: &str, values: &[u32]) -> Result<(), Error> {
        for (at, concurrency) in values.iter().enumerate() {
            let key = format!("{key}.{at}");
            if *concurrency == 0 {
                return Err(self
                    .error(&key, "a concurrency of 0 delivers nothing")
                    .with_hint("write 1 or more"));
            }
            if *concurrency > CONCURRENCY_MAX {
                return Err(
                    self.error(&key, format!("a concurrency of {concurrency} is above {CONCURRENCY_MAX}"))
                );
            }
        }
        self.sweep(key, values)
    }

    /// Points at which every delivery is held in a state until its memory has been read.
    fn held_points(&self, raw: &RawProfile, holds: &[RawHold], size: u64) -> Result<Vec<Point>, Error> {
        let points = &raw.points;
        let paced = [
            ("points.delay", points.delay.is_some()),
            ("points.size", points.size.is_some()),
            ("points.duration", points.duration.is_some()),
            ("points.messages", points.messages.is_some()),
            ("points.messages_max", points.messages_max.is_some()),
            ("sink.delay", raw.sink.delay.is_some()),
            ("sink.reply", raw.sink.reply.is_some()),
        ];
        if let Some((key, _)) = paced.into_iter().find(|(_, given)| *given) {
            let message =
                format!("`{key}` beside `points.hold`: a sink that holds every delivery has no pace");
            return Err(self.error(key, message).with_hint("leave one of the two out"));
        }
        if raw.load.model.as_deref().is_some_and(|model| model != LoadModel::Preload.as_str()) {
            let message =
                "`points.hold` needs the load model preload: nothing comes in while deliveries are held";
            return Err(self.error("load.model", message));
        }
        let mut expanded: Vec<Point> = Vec::new();
        for (at, hold) in holds.iter().enumerate() {
            let key = format!("points.hold.{at}");
            let state =
                self.word(&format!("{key}.state"), Some(&hold.state), "", HoldState::ALL, |w| w.as_str())?;
            if expanded.iter().any(|point| point.hold == Some(state)) {
                return Err(self.error(&format!("{key}.state"), "this state is there twice"));
            }
            if let Some(values) = &hold.concurrency {
                self.concurrency(&format!("{key}.concurrency"), values)?;
            }
            let size_bytes = if state == HoldState::MidData { HELD_MESSAGE_BYTES } else { size };
            for concurrency in hold.concurrency.as_ref().unwrap_or(&points.concurrency) {
                expanded.push(Point {
                    concurrency: *concurrency,
                    size_bytes,
                    delay: None,
                    hold: Some(state),
                    tarpits: None,
                });
            }
        }
        if expanded.is_empty() {
            return Err(self.error("points.hold", "`hold` has no state, so nothing is held"));
        }
        Ok(expanded)
    }

    fn delays(&self, raw: Option<&RawStages<String>>) -> Result<Vec<DelayRule>, Error> {
        let rule = |(stage, text): (&str, &String)| {
            let parsed = DelayRule::parse(&format!("{stage}={text}"), &no_files);
            parsed.map_err(|message| self.error(&format!("sink.delay.{stage}"), message))
        };
        raw.into_iter().flat_map(RawStages::given).map(rule).collect()
    }

    /// `20ms` before each reply, or `dot=20ms` before that of a stage.
    fn delay(&self, key: &str, text: &str) -> Result<DelayRule, Error> {
        let parsed = match text.split_once('=') {
            Some((stage, _)) if !stage.contains('(') => DelayRule::parse(text, &no_files),
            _ => Delay::parse(text, &no_files).map(|delay| DelayRule { scope: Scope::Each, delay }),
        };
        parsed.map_err(|message| self.error(key, message))
    }

    fn replies(&self, raw: Option<&RawStages<Texts>>) -> Result<Vec<ReplyRule>, Error> {
        let mut replies = Vec::new();
        for (stage, Texts(texts)) in raw.into_iter().flat_map(RawStages::given) {
            let key = format!("sink.reply.{stage}");
            let parsed = texts.iter().map(|text| {
                ReplyRule::parse(&format!("{stage}={text}")).map_err(|message| self.error(&key, message))
            });
            let parsed = parsed.collect::<Result<Vec<ReplyRule>, Error>>()?;
            // The sink would say so too, when the first trial has begun.
            let rules: Vec<Rule> = parsed.iter().cloned().map(Rule::from).collect();
            Site::new("sink", &rules).map_err(|error| self.error(&key, error.message))?;
            replies.extend(parsed);
        }
        Ok(replies)
    }
}

/// A trial must be the same wherever its profile is run.
fn no_files(_: &str) -> Result<String, String> {
    Err("a profile takes no latencies from files".to_owned())
}

const SIZE: u64 = 4096;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(120);
const MAX_IDLE: Duration = Duration::from_secs(100);
const REPEATS_MAX: u32 = 1_000;
const CONCURRENCY_MAX: u32 = 1_000_000;
