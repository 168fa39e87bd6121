//! The part of the configuration that decides what is delivered next: `[queue]` and `[[rule]]`.

use delivery::MAX_RECIPIENTS_PER_REQUEST;
use scheduler::{Feedback, Limits, Rule, Rules, Schedule};
use serde::Deserialize;
use std::time::Duration;

/// `[queue]` as it is written; what is left out follows from `scheduler` and `schedule`.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawQueue {
    scheduler: Option<String>,
    schedule: Option<String>,
    destination_concurrency: Option<u32>,
    initial_destination_concurrency: Option<u32>,
    positive_feedback: Option<String>,
    negative_feedback: Option<String>,
    failed_cohort_limit: Option<f64>,
    destination_recipients: Option<u16>,
    #[serde(deserialize_with = "settings::duration::deserialize_option")]
    minimal_backoff: Option<Duration>,
    #[serde(deserialize_with = "settings::duration::deserialize_option")]
    maximal_backoff: Option<Duration>,
    #[serde(deserialize_with = "settings::duration::deserialize_option")]
    queue_run_delay: Option<Duration>,
    #[serde(deserialize_with = "settings::duration::deserialize_option")]
    lifetime: Option<Duration>,
    #[serde(deserialize_with = "settings::duration::deserialize_option")]
    delay_warning: Option<Duration>,
    retry_share: Option<f64>,
    #[serde(deserialize_with = "settings::duration::deserialize_option")]
    slow_after: Option<Duration>,
    slow_share: Option<f64>,
    unproven_share: Option<f64>,
    active_limit: Option<u64>,
}

/// One `[[rule]]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRule {
    next_hop: Vec<String>,
    concurrency: Option<u32>,
    recipients: Option<u16>,
    messages_per_second: Option<f64>,
    connections_per_second: Option<f64>,
    #[serde(default)]
    together: bool,
}

/// The key that is wrong, and why.
type Wrong = (&'static str, String);

impl RawQueue {
    /// `slots`: deliveries that all agents together can have.
    pub(super) fn check(self, slots: u32, seed: u64) -> Result<Limits, Wrong> {
        let rules = word("scheduler", self.scheduler.as_deref(), Rules::from_word, "mailrig or postfix")?;
        let base = match rules {
            Some(Rules::Postfix) => Limits::postfix(),
            Some(Rules::Mailrig) | None => Limits::default(),
        };
        let schedules = Schedule::ALL.map(Schedule::as_str).join(", ");
        let schedule = word("schedule", self.schedule.as_deref(), Schedule::from_word, &schedules)?;
        let schedule = schedule.unwrap_or(base.schedule);
        let usual = schedule.defaults();
        let limits = Limits {
            schedule,
            destination_concurrency: self.destination_concurrency.unwrap_or(base.destination_concurrency),
            initial_destination_concurrency: self
                .initial_destination_concurrency
                .unwrap_or(base.initial_destination_concurrency),
            positive_feedback: feedback("positive_feedback", self.positive_feedback, base.positive_feedback)?,
            negative_feedback: feedback("negative_feedback", self.negative_feedback, base.negative_feedback)?,
            failed_cohort_limit: self.failed_cohort_limit.unwrap_or(base.failed_cohort_limit),
            destination_recipients: self.destination_recipients.unwrap_or(base.destination_recipients),
            minimal_backoff: self.minimal_backoff.unwrap_or(usual.minimal_backoff),
            maximal_backoff: self.maximal_backoff.unwrap_or(usual.maximal_backoff),
            queue_run_delay: self.queue_run_delay.unwrap_or(base.queue_run_delay),
            lifetime: self.lifetime.unwrap_or(usual.lifetime),
            delay_warning: self.delay_warning,
            slots,
            retry_share: share("retry_share", self.retry_share, base.retry_share)?,
            slow_after: self.slow_after.unwrap_or(base.slow_after),
            slow_share: share("slow_share", self.slow_share, base.slow_share)?,
            unproven_share: share("unproven_share", self.unproven_share, base.unproven_share)?,
            active_limit: self.active_limit.unwrap_or(base.active_limit),
            seed,
            ..base
        };
        let wrong = |key: &'static str, why: &str| Err((key, why.to_owned()));
        if limits.destination_concurrency == 0 || limits.initial_destination_concurrency == 0 {
            return wrong(
                "destination_concurrency",
                "a destination concurrency of 0 delivers nothing: at least 1",
            );
        }
        if limits.minimal_backoff.is_zero() || limits.minimal_backoff > limits.maximal_backoff {
            return wrong(
                "minimal_backoff",
                "`minimal_backoff` is more than 0 and at most `maximal_backoff`",
            );
        }
        if limits.queue_run_delay.is_zero() {
            return wrong(
                "queue_run_delay",
                "`queue_run_delay` is 0: nothing else would be done; write 300s",
            );
        }
        if limits.slow_after.is_zero() {
            return wrong("slow_after", "`slow_after` is 0: every destination would be slow; write 10s");
        }
        if limits.active_limit == 0 {
            return wrong("active_limit", "`active_limit` is 0: nothing would be delivered; write 20000");
        }
        if limits.failed_cohort_limit.is_nan() || limits.failed_cohort_limit <= 0.0 {
            return wrong(
                "failed_cohort_limit",
                "`failed_cohort_limit` is more than 0: 1 is Postfix's, 3 is ours",
            );
        }
        recipients("destination_recipients", limits.destination_recipients)?;
        Ok(limits)
    }
}

impl RawRule {
    pub(super) fn check(self) -> Result<Rule, Wrong> {
        let wrong = |why: String| Err(("rule", why));
        if self.next_hop.is_empty() {
            return wrong(
                "a [[rule]] names no next hop: write next_hop = [\"mx.example.net:25\"], or \"*.net:25\""
                    .into(),
            );
        }
        let shown = self.next_hop.join(", ");
        if let Some(hop) = self.next_hop.iter().find(|hop| !hop.starts_with('*')) {
            delivery::NextHop::parse(hop).map_err(|why| ("rule", why))?;
        }
        if self.concurrency == Some(0) {
            return wrong(format!("a concurrency of 0 for {shown} delivers nothing: at least 1"));
        }
        for rate in [self.messages_per_second, self.connections_per_second].into_iter().flatten() {
            if !rate.is_finite() || rate < LEAST_PER_SECOND {
                return wrong(format!(
                    "a rate of {rate} a second for {shown}: {LEAST_PER_SECOND} or more can be kept"
                ));
            }
        }
        if let Some(count) = self.recipients {
            recipients("rule", count)?;
        }
        Ok(Rule {
            next_hops: self.next_hop,
            concurrency: self.concurrency,
            recipients: self.recipients,
            messages_per_second: self.messages_per_second,
            connections_per_second: self.connections_per_second,
            together: self.together,
        })
    }
}

/// One a day.
const LEAST_PER_SECOND: f64 = 0.000_01;

fn word<T>(
    key: &'static str,
    word: Option<&str>,
    from: fn(&str) -> Option<T>,
    right: &str,
) -> Result<Option<T>, Wrong> {
    let read = |word: &str| from(word).ok_or_else(|| (key, format!("`{key}` is \"{word}\": one of {right}")));
    word.map(read).transpose()
}

fn feedback(key: &'static str, text: Option<String>, usual: Feedback) -> Result<Feedback, Wrong> {
    let Some(text) = text else { return Ok(usual) };
    let why = || format!("`{key}` is \"{text}\": \"1\", \"1/N\" or \"1/sqrt(N)\", with a number from 0 to 1");
    Feedback::parse(&text).ok_or_else(|| (key, why()))
}

fn share(key: &'static str, share: Option<f64>, usual: f64) -> Result<f64, Wrong> {
    let share = share.unwrap_or(usual);
    if share > 0.0 && share <= 1.0 {
        return Ok(share);
    }
    Err((key, format!("`{key}` is {share}: a share of all deliveries at a time, more than 0 and at most 1")))
}

fn recipients(key: &'static str, count: u16) -> Result<(), Wrong> {
    if (1..=MAX_RECIPIENTS_PER_REQUEST).contains(&usize::from(count)) {
        return Ok(());
    }
    Err((key, format!("{count} recipients in a transaction: 1 to {MAX_RECIPIENTS_PER_REQUEST} can be given")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(text: &str) -> Result<Limits, Wrong> {
        settings::parse_toml::<RawQueue>(text, "queue").expect("it is TOML").check(100, 1)
    }

    #[test]
    fn a_named_scheduler_and_schedule_bring_their_own_numbers() {
        let postfix = queue("scheduler = \"postfix\"").unwrap();
        assert_eq!((postfix.rules, postfix.schedule), (Rules::Postfix, Schedule::Postfix));
        assert_eq!((postfix.negative_feedback, postfix.failed_cohort_limit), (Feedback::Fixed(1.0), 1.0));
        let kumo = queue("schedule = \"kumomta\"\nlifetime = \"1d\"").unwrap();
        assert_eq!(kumo.minimal_backoff, Duration::from_secs(1200));
        assert_eq!((kumo.rules, kumo.lifetime), (Rules::Mailrig, Duration::from_secs(86_400)));
        assert_eq!(
            queue("negative_feedback = \"0.5/sqrt(N)\"").unwrap().negative_feedback,
            Feedback::InverseRoot(0.5)
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_its_key() {
        for (text, key) in [
            ("scheduler = \"exim\"", "scheduler"),
            ("schedule = \"qmail\"", "schedule"),
            ("positive_feedback = \"2\"", "positive_feedback"),
            ("retry_share = 0.0", "retry_share"),
            ("slow_share = 1.5", "slow_share"),
            ("minimal_backoff = \"2h\"\nmaximal_backoff = \"1h\"", "minimal_backoff"),
            ("queue_run_delay = \"0s\"", "queue_run_delay"),
            ("failed_cohort_limit = 0.0", "failed_cohort_limit"),
            ("destination_recipients = 101", "destination_recipients"),
        ] {
            assert_eq!(queue(text).unwrap_err().0, key, "{text}");
        }
        let rule = |text: &str| settings::parse_toml::<RawRule>(text, "rule").expect("it is TOML").check();
        assert!(rule("next_hop = [\"*.test:25\"]\nmessages_per_second = 0.5").is_ok());
        assert!(rule("next_hop = []").is_err());
        assert!(rule("next_hop = [\"mx.test:25\"]\nmessages_per_second = 0.0").is_err());
        assert!(rule("next_hop = [\"mx.test:25\"]\nconcurrency = 0").is_err());
    }
}
