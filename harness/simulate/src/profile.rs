//! A simulation's profile: from TOML to the worlds of its points. Every refusal names its line and what to do.

use crate::world::{Answer, Site, World};
use behaviour::Delay;
use scheduler::{Limits, Rules, Schedule};
use serde::Deserialize;
use settings::Error;
use std::time::Duration;

/// A checked profile.
#[derive(Debug, Clone)]
pub struct Profile {
    pub name: String,
    pub purpose: String,
    /// Virtual time of a point, where its limit is not searched.
    pub duration: Duration,
    pub sample_every: Duration,
    /// Each point's limit is searched, and the profile says nothing of arrivals.
    pub search_limit: bool,
    pub points: Vec<Point>,
}

#[derive(Debug, Clone)]
pub struct Point {
    pub name: String,
    pub world: World,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProfile {
    name: String,
    #[serde(default)]
    purpose: String,
    #[serde(default = "one")]
    seed: u64,
    #[serde(default, deserialize_with = "settings::duration::deserialize_option")]
    duration: Option<Duration>,
    #[serde(default, deserialize_with = "settings::duration::deserialize_option")]
    sample_every: Option<Duration>,
    #[serde(default)]
    arrivals: Option<RawArrivals>,
    site: Vec<RawSite>,
    #[serde(default)]
    agents: RawAgents,
    #[serde(default)]
    queue: RawQueue,
    points: RawPoints,
    #[serde(default)]
    search: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawArrivals {
    per_hour: f64,
    senders: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSite {
    name: String,
    destinations: Option<u32>,
    share: Option<f64>,
    latency: Option<String>,
    answer: String,
    #[serde(default, deserialize_with = "settings::duration::deserialize_option")]
    until: Option<Duration>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawAgents {
    #[serde(deserialize_with = "settings::duration::deserialize_option")]
    start: Option<Duration>,
    max_use: Option<u32>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawQueue {
    destination_concurrency: Option<u32>,
    initial_destination_concurrency: Option<u32>,
    #[serde(deserialize_with = "settings::duration::deserialize_option")]
    minimal_backoff: Option<Duration>,
    #[serde(deserialize_with = "settings::duration::deserialize_option")]
    maximal_backoff: Option<Duration>,
    #[serde(deserialize_with = "settings::duration::deserialize_option")]
    queue_run_delay: Option<Duration>,
    #[serde(deserialize_with = "settings::duration::deserialize_option")]
    lifetime: Option<Duration>,
    #[serde(deserialize_with = "settings::duration::deserialize_option")]
    slow_after: Option<Duration>,
    slow_share: Option<f64>,
    unproven_share: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPoints {
    #[serde(default)]
    scheduler: Vec<String>,
    #[serde(default)]
    schedule: Vec<String>,
    concurrency: Vec<u32>,
    #[serde(default)]
    failure_latency: Vec<String>,
    #[serde(default)]
    retry_share: Vec<f64>,
}

fn one() -> u64 {
    1
}

/// Messages a second that a simulation is asked for at most: a mistyped number must not run for days.
const ARRIVALS_PER_HOUR_MAX: f64 = 1e9;
const SLOTS_MAX: u32 = 1_000_000;
/// Of all sites together: the scheduler remembers so many without mail, and a little more.
const DESTINATIONS_MAX: u32 = 4000;
const SITES_MAX: usize = 1000;

/// Reads and checks a profile's text; `file` is what errors call it.
///
/// # Errors
/// The first thing that is wrong, with its line.
pub fn parse(text: &str, file: &str) -> Result<Profile, Error> {
    let raw: RawProfile = settings::parse_toml(text, file)?;
    check(raw).map_err(|(key, why)| Error::at(file, text, &key, why))
}

type Wrong = (String, String);

fn wrong<T>(key: &str, why: impl Into<String>) -> Result<T, Wrong> {
    Err((key.to_owned(), why.into()))
}

fn check(raw: RawProfile) -> Result<Profile, Wrong> {
    let letters = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if raw.name.is_empty() || !raw.name.chars().all(letters) {
        return wrong("name", "`name` has letters, digits, `-`, `_` and `.`");
    }
    let search_limit = match raw.search.as_deref() {
        None => false,
        Some("limit") => true,
        Some(other) => {
            return wrong("search", format!("`search` is \"{other}\": only \"limit\" can be searched"));
        }
    };
    let mut sites = Vec::new();
    for (at, site) in raw.site.iter().enumerate() {
        sites.push(check_site(&format!("site.{at}"), site)?);
    }
    if sites.is_empty() || sites.len() > SITES_MAX {
        return wrong(
            "site",
            format!("there are 1 to {SITES_MAX} [[site]]; the first is where good mail goes"),
        );
    }
    if sites.iter().map(|site| site.destinations).sum::<u32>() > DESTINATIONS_MAX {
        return wrong("site", format!("all sites together have {DESTINATIONS_MAX} destinations at most"));
    }
    let (per_hour, senders) = match (&raw.arrivals, search_limit) {
        (Some(arrivals), false) => (arrivals.per_hour, arrivals.senders.unwrap_or(1000)),
        (None, true) if sites.len() == 2 => (0.0, 1000),
        (None, true) => {
            return wrong("site", "a limit is searched with two sites: good mail's, and one that fails");
        }
        (Some(_), true) => {
            return wrong(
                "arrivals",
                "what arrives follows from the slots when the limit is searched: take it out",
            );
        }
        (None, false) => return wrong("name", "no mail arrives: write [arrivals] with per_hour"),
    };
    if !(0.0..=ARRIVALS_PER_HOUR_MAX).contains(&per_hour) {
        return wrong("arrivals.per_hour", format!("`per_hour` is 0 to {ARRIVALS_PER_HOUR_MAX:e}"));
    }
    if !search_limit && sites.iter().all(|site| site.share <= 0.0) {
        return wrong("site", "no site has a share of the mail: write share = 1");
    }
    let mut points = Vec::new();
    for shape in shapes(&raw.points)? {
        let world = world(&raw, &sites, &shape, per_hour, senders)?;
        points.push(Point { name: shape.name(&raw.points), world });
    }
    let duration = raw.duration.unwrap_or(Duration::from_secs(5 * 86_400));
    let sample_every = raw.sample_every.unwrap_or(Duration::from_secs(3600));
    if duration.is_zero() || sample_every.is_zero() {
        return wrong("duration", "`duration` and `sample_every` are more than 0");
    }
    Ok(Profile { name: raw.name, purpose: raw.purpose, duration, sample_every, search_limit, points })
}

fn check_site(at: &str, raw: &RawSite) -> Result<Site, Wrong> {
    let key = |name: &str| format!("{at}.{name}");
    let answer = match (raw.answer.as_str(), raw.until) {
        ("delivered", None) => Answer::Delivered,
        ("deferred", None) => Answer::Deferred,
        ("unreachable", None) => Answer::Unreachable,
        ("greylisted", Some(until)) => Answer::Greylisted(until),
        ("down", Some(until)) => Answer::Down(until),
        ("greylisted" | "down", None) => return wrong(&key("answer"), "until when: write until = \"10m\""),
        ("delivered" | "deferred" | "unreachable", Some(_)) => {
            return wrong(&key("until"), "`until` is for answer = \"greylisted\" and \"down\"");
        }
        (other, _) => {
            let right = "delivered, deferred, unreachable, greylisted or down";
            return wrong(&key("answer"), format!("`answer` is \"{other}\": one of {right}"));
        }
    };
    let no_files = |_: &str| Err("a profile takes no latencies from files".to_owned());
    let latency = raw.latency.as_deref().unwrap_or("1s");
    let latency = Delay::parse(latency, &no_files).map_err(|why| (key("latency"), why))?;
    let share = raw.share.unwrap_or(0.0);
    let destinations = raw.destinations.unwrap_or(1);
    if !(0.0..=1e9).contains(&share) {
        return wrong(&key("share"), "`share` is the weight of its mail, 0 or more");
    }
    if !(1..=DESTINATIONS_MAX).contains(&destinations) {
        return wrong(&key("destinations"), format!("`destinations` is 1 to {DESTINATIONS_MAX}"));
    }
    Ok(Site { name: raw.name.clone(), destinations, share, latency, answer })
}

/// What a point is, as far as it differs from others.
struct Shape {
    rules: Rules,
    schedule: Option<Schedule>,
    concurrency: u32,
    failure_latency: Option<(String, Delay)>,
    retry_share: Option<f64>,
}

impl Shape {
    fn name(&self, points: &RawPoints) -> String {
        let mut parts = Vec::new();
        if points.scheduler.len() > 1 {
            parts.push(format!("{}-rules", self.rules.as_str()));
        }
        parts.extend(self.schedule.map(|schedule| schedule.as_str().to_owned()));
        parts.push(format!("C{}", self.concurrency));
        parts.extend(self.failure_latency.as_ref().map(|(text, _)| format!("L{text}")));
        if points.retry_share.len() > 1 {
            parts.extend(self.retry_share.map(|share| format!("u{share}")));
        }
        parts.join("-")
    }
}

fn shapes(points: &RawPoints) -> Result<Vec<Shape>, Wrong> {
    fn or_none<T>(all: Vec<T>) -> Vec<Option<T>> {
        if all.is_empty() { vec![None] } else { all.into_iter().map(Some).collect() }
    }
    let mut rules = Vec::new();
    for word in &points.scheduler {
        let read = Rules::from_word(word);
        rules.push(read.ok_or_else(|| {
            ("points.scheduler".to_owned(), format!("`{word}` is no scheduler: mailrig or postfix"))
        })?);
    }
    if rules.is_empty() {
        rules.push(Rules::Mailrig);
    }
    let mut schedules = Vec::new();
    for word in &points.schedule {
        let right = Schedule::ALL.map(Schedule::as_str).join(", ");
        let read = Schedule::from_word(word);
        schedules.push(read.ok_or_else(|| {
            ("points.schedule".to_owned(), format!("`{word}` is no schedule: one of {right}"))
        })?);
    }
    let mut latencies = Vec::new();
    for text in &points.failure_latency {
        let read = Delay::parse(text, &|_: &str| Err("not from files".to_owned()));
        let delay = read.map_err(|why| ("points.failure_latency".to_owned(), why))?;
        if delay.mean().is_zero() {
            return wrong(
                "points.failure_latency",
                "a failure that takes no time needs no slot: write 1ms or more",
            );
        }
        latencies.push((text.clone(), delay));
    }
    if let Some(share) = points.retry_share.iter().find(|share| !(**share > 0.0 && **share < 1.0)) {
        return wrong("points.retry_share", format!("a retry share of {share}: more than 0 and less than 1"));
    }
    if points.concurrency.is_empty()
        || points.concurrency.iter().any(|slots| !(1..=SLOTS_MAX).contains(slots))
    {
        return wrong("points.concurrency", format!("`concurrency` has numbers from 1 to {SLOTS_MAX}"));
    }
    let mut shapes = Vec::new();
    for rules in rules {
        for schedule in or_none(schedules.clone()) {
            for retry_share in or_none(points.retry_share.clone()) {
                for concurrency in points.concurrency.iter().copied() {
                    for failure_latency in or_none(latencies.clone()) {
                        shapes.push(Shape { rules, schedule, concurrency, failure_latency, retry_share });
                    }
                }
            }
        }
    }
    Ok(shapes)
}

fn world(
    raw: &RawProfile,
    sites: &[Site],
    shape: &Shape,
    per_hour: f64,
    senders: u32,
) -> Result<World, Wrong> {
    let base = match shape.rules {
        Rules::Mailrig => Limits::default(),
        Rules::Postfix => Limits::postfix(),
    };
    let schedule = shape.schedule.unwrap_or(base.schedule);
    let usual = schedule.defaults();
    let queue = &raw.queue;
    let limits = Limits {
        schedule,
        destination_concurrency: queue.destination_concurrency.unwrap_or(base.destination_concurrency),
        initial_destination_concurrency: queue
            .initial_destination_concurrency
            .unwrap_or(base.initial_destination_concurrency),
        minimal_backoff: queue.minimal_backoff.unwrap_or(usual.minimal_backoff),
        maximal_backoff: queue.maximal_backoff.unwrap_or(usual.maximal_backoff),
        queue_run_delay: queue.queue_run_delay.unwrap_or(base.queue_run_delay),
        lifetime: queue.lifetime.unwrap_or(usual.lifetime),
        slots: shape.concurrency,
        retry_share: shape.retry_share.unwrap_or(base.retry_share),
        slow_after: queue.slow_after.unwrap_or(base.slow_after),
        slow_share: queue.slow_share.unwrap_or(base.slow_share),
        unproven_share: queue.unproven_share.unwrap_or(base.unproven_share),
        seed: raw.seed,
        ..base
    };
    if limits.minimal_backoff.is_zero() || limits.minimal_backoff > limits.maximal_backoff {
        return wrong(
            "queue.minimal_backoff",
            "`minimal_backoff` is more than 0 and at most `maximal_backoff`",
        );
    }
    if limits.queue_run_delay.is_zero() || limits.lifetime.is_zero() || limits.slow_after.is_zero() {
        return wrong("queue", "`queue_run_delay`, `lifetime` and `slow_after` are more than 0");
    }
    for (key, share) in [("slow_share", limits.slow_share), ("unproven_share", limits.unproven_share)] {
        if !(share > 0.0 && share <= 1.0) {
            return wrong(&format!("queue.{key}"), format!("`{key}` is {share}: more than 0 and at most 1"));
        }
    }
    if limits.destination_concurrency == 0 {
        return wrong("queue.destination_concurrency", "a destination concurrency of 0 delivers nothing");
    }
    let mut world = World::new(limits);
    world.sites = sites.to_vec();
    if let Some((_, latency)) = &shape.failure_latency {
        let fails = |site: &&mut Site| site.answer != Answer::Delivered;
        world.sites.iter_mut().filter(fails).for_each(|site| site.latency = latency.clone());
    }
    world.arrivals_per_s = per_hour / 3600.0;
    world.senders = senders;
    world.agent_start = raw.agents.start.unwrap_or(Duration::ZERO);
    world.agent_max_use = raw.agents.max_use.unwrap_or(0);
    world.seed = raw.seed;
    Ok(world)
}
