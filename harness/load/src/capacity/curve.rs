//! What the rates gave, as a table for people.

use super::search::{Limit, Purpose, Verdict};
use super::{Curve, Step};
use crate::report::condition::Judgement;

impl Curve {
    /// The rates from the lowest to the highest, and what was found.
    pub fn table(&self) -> String {
        let mut steps: Vec<&Step> = self.steps.iter().collect();
        steps.sort_by(|one, other| one.rate_msg_per_s.total_cmp(&other.rate_msg_per_s));
        let lines: String = steps.into_iter().map(|step| step.line() + "\n").collect();
        format!("{}{lines}\n{}\n", Step::head(), self.conclusion())
    }

    fn conclusion(&self) -> String {
        match (self.capacity_msg_per_s, self.limited_by) {
            (_, None) => "interrupted: no capacity was found".to_owned(),
            (None, Some(Limit::Generator)) => "no rate held: the generator itself was late".to_owned(),
            (None, Some(_)) => "no rate held".to_owned(),
            (Some(rate), Some(Limit::Server)) => format!("capacity: {rate:.1} msg/s, held three times"),
            (Some(rate), Some(Limit::Ceiling)) => {
                format!("capacity: {rate:.1} msg/s or more, the highest rate that was allowed")
            }
            (Some(rate), Some(Limit::Generator)) => format!(
                "capacity: {rate:.1} msg/s or more: beyond it the generator, not the server, was late; more shards may help"
            ),
        }
    }
}

impl Step {
    /// Names above [`Step::line`]s, ended.
    pub fn head() -> String {
        format!(
            "{:>10} {:>10} {:>9} {:>9} {:>9} {:>8} {:>8}  verdict\n",
            "msg/s", "accepted", "p50 ms", "p99 ms", "max ms", "errors", "missed"
        )
    }

    /// One line, not ended.
    pub fn line(&self) -> String {
        let ms = |us: Option<f64>| us.map_or("-".to_owned(), |us| format!("{:.3}", us / 1000.0));
        let errors = self.offered.saturating_sub(self.accepted + self.missed);
        format!(
            "{:>10.1} {:>10} {:>9} {:>9} {:>9} {:>8} {:>8}  {}",
            self.rate_msg_per_s,
            self.accepted,
            ms(self.message.p50_us),
            ms(self.message.p99_us),
            ms(self.message.max_us),
            errors,
            self.missed,
            self.words()
        )
    }

    fn words(&self) -> String {
        let why: Vec<String> =
            self.conditions.iter().filter(|it| it.is_true != Some(true)).map(Judgement::to_string).collect();
        let why = match (&self.stopped, why.is_empty()) {
            (Some(reason), _) => format!(": {reason}"),
            (None, true) if self.missed > 0 => ": messages were missed".to_owned(),
            (None, true) => String::new(),
            (None, false) => format!(": not {}", why.join(", not ")),
        };
        let confirmed = if self.purpose == Purpose::Confirm { ", to confirm" } else { "" };
        match self.verdict {
            Verdict::Holds => format!("held{confirmed}"),
            Verdict::Breaks => format!("broke{confirmed}{why}"),
            Verdict::Lagged => format!("broke{confirmed}, the generator was late itself{why}"),
        }
    }
}
