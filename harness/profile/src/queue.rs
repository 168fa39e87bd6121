//! How the queue is run: `[subject.queue]`, and the destinations of which some drip, `[tarpits]`.

use crate::experiment::{LoadModel, Queue, SchedulerWord, Tarpits};
use crate::plan::Point;
use crate::raw::{RawProfile, RawQueue};
use crate::value::Checker;
use settings::Error;
use std::time::Duration;

/// What fits in one octet of the sink's addresses.
const DESTINATIONS_MAX: u32 = 250;
/// What `mailrig send` takes for a rate that is meant.
const MESSAGES_PER_S_MAX: f64 = 20_000.0;

impl Checker<'_> {
    pub(crate) fn queue(&self, at: &str, raw: &RawQueue) -> Result<Queue, Error> {
        let queue = Queue {
            minimal_backoff: raw.minimal_backoff.unwrap_or(Duration::from_secs(300)),
            maximal_backoff: raw.maximal_backoff.unwrap_or(Duration::from_secs(4000)),
            lifetime: raw.lifetime.unwrap_or(Duration::from_secs(5 * 86_400)),
            scheduler: self.scheduler(at, raw.scheduler.as_deref())?,
            destination_concurrency: raw.destination_concurrency,
            initial_destination_concurrency: raw.initial_destination_concurrency,
            slow_after: raw.slow_after,
            retry_share: raw.retry_share,
            slow_share: raw.slow_share,
            unproven_share: raw.unproven_share,
        };
        for (key, share) in [
            ("retry_share", queue.retry_share),
            ("slow_share", queue.slow_share),
            ("unproven_share", queue.unproven_share),
        ] {
            if let Some(share) = share.filter(|share| !(*share > 0.0 && *share <= 1.0)) {
                let message = format!("`{key}` is {share}, and no share of all deliveries at a time");
                let error = self.error(&format!("{at}.{key}"), message);
                return Err(error.with_hint("write more than 0 and at most 1"));
            }
        }
        for (key, concurrency) in [
            ("destination_concurrency", queue.destination_concurrency),
            ("initial_destination_concurrency", queue.initial_destination_concurrency),
        ] {
            if concurrency == Some(0) {
                let error = self.error(&format!("{at}.{key}"), format!("a `{key}` of 0 delivers nothing"));
                return Err(error.with_hint("write 1 or more"));
            }
        }
        if queue.slow_after.is_some_and(|after| after.is_zero()) {
            let error = self.error(&format!("{at}.slow_after"), "`slow_after` is zero: all would be slow");
            return Err(error.with_hint("write 1s or more; 10s is the default"));
        }
        if queue.minimal_backoff.is_zero() {
            let error = self.error(
                &format!("{at}.minimal_backoff"),
                "`minimal_backoff` is zero: a deferral would be retried at once, without end",
            );
            return Err(error.with_hint("write 1s or more; 300s is the default"));
        }
        if queue.minimal_backoff > queue.maximal_backoff {
            let message = format!(
                "`minimal_backoff` ({}) is longer than `maximal_backoff` ({})",
                settings::duration::format(queue.minimal_backoff),
                settings::duration::format(queue.maximal_backoff)
            );
            let given = if raw.minimal_backoff.is_some() { "minimal_backoff" } else { "maximal_backoff" };
            return Err(self.error(&format!("{at}.{given}"), message));
        }
        Ok(queue)
    }

    fn scheduler(&self, at: &str, word: Option<&str>) -> Result<Option<SchedulerWord>, Error> {
        let Some(word) = word else { return Ok(None) };
        self.word(&format!("{at}.scheduler"), Some(word), "", SchedulerWord::ALL, |w| w.as_str()).map(Some)
    }

    /// Points of a profile with `[tarpits]`.
    pub(crate) fn tarpit_points(&self, raw: &RawProfile, size_bytes: u64) -> Result<Vec<Point>, Error> {
        let points = &raw.points;
        let (Some(tarpits), Some(percents)) = (&raw.tarpits, &points.tarpit_percent) else {
            let message = "`[tarpits]` says what drips, and `points.tarpit_percent` how many: one is missing";
            return Err(self.error("points", message));
        };
        if raw.load.model.as_deref() != Some(LoadModel::Concurrent.as_str()) {
            let error =
                self.error("tarpits", "`[tarpits]` needs the load model concurrent: mail comes in at a rate");
            return Err(error.with_hint("write load.model = \"concurrent\""));
        }
        if points.size.is_some()
            || points.delay.is_some()
            || points.messages.is_none()
            || raw.sink.reply.is_some()
        {
            let message = "with `[tarpits]` a profile has points.messages, and neither points.size, points.delay nor sink.reply";
            return Err(self.error("tarpits", message));
        }
        if raw.subject.iter().any(|subject| subject.mta.as_deref() == Some("wire")) {
            return Err(self.error("tarpits", "the wire has no destinations: take that subject out"));
        }
        let destinations =
            self.number("tarpits.destinations", Some(tarpits.destinations), 0, 2..=DESTINATIONS_MAX)?;
        let per_s = tarpits.messages_per_second;
        if !(1.0..=MESSAGES_PER_S_MAX).contains(&per_s) {
            let message = format!("`messages_per_second` is {per_s}: 1 to {MESSAGES_PER_S_MAX} can be sent");
            return Err(self.error("tarpits.messages_per_second", message));
        }
        let warm_up = tarpits.warm_up.unwrap_or_default();
        let lasts = Duration::from_secs_f64(points.messages.unwrap_or(0) as f64 / per_s);
        if warm_up >= lasts || tarpits.every.is_zero() {
            let message = "`every` is more than 0, and `warm_up` less than all the mail takes to come in";
            return Err(self.error("tarpits", message));
        }
        let mut expanded = Vec::new();
        for (at, percent) in percents.iter().enumerate() {
            if *percent > 90 {
                let message = format!("{percent} % of the destinations leave too few for good mail");
                return Err(self.error(&format!("points.tarpit_percent.{at}"), message));
            }
            let dripping = (destinations * percent).div_ceil(100);
            let tarpits =
                Tarpits { destinations, dripping, every: tarpits.every, messages_per_s: per_s, warm_up };
            for concurrency in &points.concurrency {
                let (concurrency, hold, delay) = (*concurrency, None, None);
                expanded.push(Point { concurrency, size_bytes, delay, hold, tarpits: Some(tarpits) });
            }
        }
        Ok(expanded)
    }
}
