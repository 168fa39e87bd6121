//! How the remote site behaves in a trial: rules by stage of the dialogue, as `mailrig sink` takes them.

use behaviour::{DelayRule, ReplyRule, Scope};
use smtp::Stage;
use std::fmt::Display;
use std::time::Duration;

/// The sink's behaviour in one trial.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sink {
    pub delays: Vec<DelayRule>,
    pub replies: Vec<ReplyRule>,
}

impl Sink {
    /// The options that make `mailrig sink` behave so.
    pub fn arguments(&self) -> Vec<String> {
        let delays = self.delays.iter().map(|rule| ("--delay", rule.to_string()));
        let replies = self.replies.iter().map(|rule| ("--reply", rule.to_string()));
        delays.chain(replies).flat_map(|(option, value)| [option.to_owned(), value]).collect()
    }

    /// For the column `sink_delay`: `each=20ms`, several with a blank between them; empty for none.
    pub fn delay_words(&self) -> String {
        words(&self.delays)
    }

    /// For the column `sink_reply`: `rcpt=450@10`, several with a blank between them; empty for none.
    pub fn reply_words(&self) -> String {
        words(&self.replies)
    }

    /// Mean time that the sink's replies take from one message on a connection that carries `messages` of them.
    pub fn mean_delivery_time(&self, messages: u32) -> Duration {
        let sum = |stages: &[Stage]| stages.iter().map(|stage| self.mean(*stage)).sum::<Duration>();
        let of_connection = sum(&[Stage::Connect, Stage::Banner, Stage::Ehlo]);
        let of_message = sum(&[Stage::Mail, Stage::Rcpt, Stage::Data, Stage::Dot]);
        of_connection / messages.max(1) + of_message
    }

    fn mean(&self, stage: Stage) -> Duration {
        let of = |wanted| self.delays.iter().find(|rule| rule.scope == wanted).map(|rule| rule.delay.mean());
        let each = if Scope::Each.covers(stage) { of(Scope::Each) } else { None };
        of(Scope::Stage(stage)).or(each).unwrap_or(Duration::ZERO)
    }
}

fn words(rules: &[impl Display]) -> String {
    rules.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
