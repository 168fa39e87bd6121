//! What a scheduler is told when it is made.

use crate::feedback::Feedback;
use crate::schedule::Schedule;
use std::time::Duration;

/// Whose rules decide what is delivered next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rules {
    /// Shares of the slots for retries and slow destinations; dead destinations are probed by one delivery.
    Mailrig,
    /// As qmgr(8): one queue for all in the order of age, an active queue of at most `active_limit`; when a destination
    /// dies all that waits for it is deferred one by one; after its rest it starts with the initial concurrency.
    Postfix,
}

impl Rules {
    pub fn as_str(self) -> &'static str {
        match self {
            Rules::Mailrig => "mailrig",
            Rules::Postfix => "postfix",
        }
    }

    pub fn from_word(word: &str) -> Option<Rules> {
        [Rules::Mailrig, Rules::Postfix].into_iter().find(|rules| rules.as_str() == word)
    }
}

#[derive(Clone, Debug)]
pub struct Limits {
    pub rules: Rules,
    /// Deliveries at a time to one destination; at least 1 is used.
    pub destination_concurrency: u32,
    /// Where a destination's window starts; 1 to `destination_concurrency` is used.
    pub initial_destination_concurrency: u32,
    pub positive_feedback: Feedback,
    pub negative_feedback: Feedback,
    /// A destination is dead after so many windows' worth of failures without a success; more than 0.
    pub failed_cohort_limit: f64,
    /// Recipients of one transaction.
    pub destination_recipients: u16,
    pub schedule: Schedule,
    /// Shortest wait before a retry, and how long a dead destination is left alone at first.
    pub minimal_backoff: Duration,
    pub maximal_backoff: Duration,
    /// Schedule `Postfix`: how often it looks for what is due.
    pub queue_run_delay: Duration,
    /// A message that is this old is given up when its delivery fails once more.
    pub lifetime: Duration,
    /// The sender is told once when a message is this old.
    pub delay_warning: Option<Duration>,
    /// Deliveries that all agents together can have; what shares are of. `u32::MAX`: not known, no shares are kept.
    pub slots: u32,
    /// Share of the slots for retries, unless their destination was well last.
    pub retry_share: f64,
    /// A destination whose deliveries take longer than this is slow.
    pub slow_after: Duration,
    /// Share of the slots for new mail to slow destinations together.
    pub slow_share: f64,
    /// Share of the slots for new mail to slow destinations and those that have not answered yet, together.
    pub unproven_share: f64,
    /// Rules `Postfix`: messages in the active queue.
    pub active_limit: u64,
    /// Of the retries' jitter: the same seed and the same calls make the same decisions.
    pub seed: u64,
}

impl Default for Limits {
    /// Postfix's own numbers where it has them. Feedback 1/N, since a site that refuses what is beyond its limit then
    /// refuses a sixth of the mail and not half of it.
    fn default() -> Limits {
        Limits {
            rules: Rules::Mailrig,
            destination_concurrency: 20,
            initial_destination_concurrency: 5,
            positive_feedback: Feedback::Inverse(1.0),
            negative_feedback: Feedback::Inverse(1.0),
            failed_cohort_limit: 3.0,
            destination_recipients: 50,
            schedule: Schedule::Mailrig,
            minimal_backoff: Duration::from_secs(300),
            maximal_backoff: Duration::from_secs(4000),
            queue_run_delay: Duration::from_secs(300),
            lifetime: Duration::from_secs(5 * 24 * 3600),
            delay_warning: None,
            slots: u32::MAX,
            retry_share: 0.5,
            slow_after: Duration::from_secs(10),
            slow_share: 0.1,
            unproven_share: 0.25,
            active_limit: 20_000,
            seed: 0,
        }
    }
}

impl Limits {
    /// Everything as qmgr(8) has it.
    pub fn postfix() -> Limits {
        Limits {
            rules: Rules::Postfix,
            positive_feedback: Feedback::Fixed(1.0),
            negative_feedback: Feedback::Fixed(1.0),
            failed_cohort_limit: 1.0,
            schedule: Schedule::Postfix,
            ..Limits::default()
        }
    }

    pub(crate) fn slow_after_ms(&self) -> u64 {
        u64::try_from(self.slow_after.as_millis()).unwrap_or(u64::MAX)
    }

    /// So many slots for a share of all.
    pub(crate) fn slots_of(&self, share: f64) -> u32 {
        if self.slots == u32::MAX {
            return u32::MAX;
        }
        ((f64::from(self.slots) * share) as u32).max(1)
    }
}

/// Limits for some next hops, in the place of those for all.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Rule {
    /// Next hops, or `*` and how they end: `*.example.net:25`.
    pub next_hops: Vec<String>,
    pub concurrency: Option<u32>,
    pub recipients: Option<u16>,
    /// More than 0.
    pub messages_per_second: Option<f64>,
    /// More than 0.
    pub connections_per_second: Option<f64>,
    /// The rates are for all these next hops together, and not for each.
    pub together: bool,
}

impl Rule {
    /// An empty name is no next hop's: its entries are delivered nowhere, so no rate is for them.
    pub(crate) fn matches(&self, next_hop: &str) -> bool {
        let is_meant = |pattern: &String| match pattern.strip_prefix('*') {
            Some(end) => next_hop.ends_with(end),
            None => pattern == next_hop,
        };
        !next_hop.is_empty() && self.next_hops.iter().any(is_meant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_for_all_next_hops_is_not_for_what_has_none() {
        let rule = Rule { next_hops: vec!["*".to_owned(), "*.x.test:25".to_owned()], ..Rule::default() };
        assert!(rule.matches("mx.x.test:25") && rule.matches("y.test:25"));
        assert!(!rule.matches(""));
    }
}
