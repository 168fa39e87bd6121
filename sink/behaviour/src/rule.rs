//! One rule of a site: where and when it holds, and what it changes. As people write it on a command line: `dot=1s`,
//! `rcpt=450@10`.

use crate::act::{Act, Pace};
use crate::delay::{Delay, ReadFile};
use crate::refusal;
use crate::when::When;
use smtp::Stage;
use std::fmt;
use std::sync::Arc;

/// Where a rule holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Every stage that ends in a reply of the site's, but QUIT, unless the stage has rules of its own for the same.
    Each,
    Stage(Stage),
}

/// One rule. What it does not change is left to the rules after it.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub scope: Scope,
    pub when: When,
    /// Above 0, at most 100: the share of the occasions, one draw deciding among the rules of a stage. `None`: always.
    pub percent: Option<f64>,
    /// At the body: once this many bytes of it have come. `None`: at each chunk.
    pub after_bytes: Option<u64>,
    pub delay: Option<Delay>,
    pub pace: Option<Pace>,
    pub act: Option<Arc<Act>>,
}

/// `STAGE=DELAY`
#[derive(Debug, Clone, PartialEq)]
pub struct DelayRule {
    pub scope: Scope,
    pub delay: Delay,
}

/// `STAGE=REPLY` or `STAGE=REPLY@PERCENT`: that share of the replies at the stage is this one.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplyRule {
    pub scope: Scope,
    /// As [`refusal::parse`] reads it.
    pub reply: String,
    /// Above 0, at most 100.
    pub percent: f64,
}

impl Scope {
    /// What `each` stands for.
    pub const EACH: [Stage; 10] = [
        Stage::Banner,
        Stage::Ehlo,
        Stage::StartTls,
        Stage::Auth,
        Stage::Mail,
        Stage::Rcpt,
        Stage::Data,
        Stage::Dot,
        Stage::Rset,
        Stage::Noop,
    ];

    /// Reads `each` or the name of a stage.
    ///
    /// # Errors
    /// Names all there are.
    pub fn parse(text: &str) -> Result<Scope, String> {
        match text.trim() {
            "each" => Ok(Scope::Each),
            name => name.parse().map(Scope::Stage).map_err(|error| format!("{error} each")),
        }
    }

    /// Whether the rule is for `stage`, by its own name or as one of each.
    pub fn covers(self, stage: Stage) -> bool {
        match self {
            Scope::Each => Scope::EACH.contains(&stage),
            Scope::Stage(own) => own == stage,
        }
    }

    /// The stage whose words a reply for it has.
    pub fn stage(self) -> Stage {
        match self {
            Scope::Each => Stage::Mail,
            Scope::Stage(stage) => stage,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Each => f.write_str("each"),
            Scope::Stage(stage) => stage.fmt(f),
        }
    }
}

impl Rule {
    /// A rule that changes nothing yet and always holds.
    pub fn new(scope: Scope) -> Rule {
        Rule {
            scope,
            when: When::default(),
            percent: None,
            after_bytes: None,
            delay: None,
            pace: None,
            act: None,
        }
    }
}

impl DelayRule {
    /// Reads `dot=1s`.
    ///
    /// # Errors
    /// What is wrong and what to write instead.
    pub fn parse(text: &str, read: ReadFile<'_>) -> Result<DelayRule, String> {
        let Some((stage, delay)) = text.split_once('=') else {
            return Err(format!("`{text}` is not STAGE=DELAY, such as dot=1s or each=uniform(10ms,30ms)"));
        };
        Ok(DelayRule { scope: Scope::parse(stage)?, delay: Delay::parse(delay, read)? })
    }
}

impl fmt::Display for DelayRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.scope, self.delay)
    }
}

impl From<DelayRule> for Rule {
    fn from(rule: DelayRule) -> Rule {
        Rule { delay: Some(rule.delay), ..Rule::new(rule.scope) }
    }
}

impl ReplyRule {
    /// Reads `rcpt=450@10` or `rcpt=450 4.2.2 Mailbox full@10`.
    ///
    /// # Errors
    /// What is wrong and what to write instead.
    pub fn parse(text: &str) -> Result<ReplyRule, String> {
        let Some((stage, reply)) = text.split_once('=') else {
            return Err(format!("`{text}` is not STAGE=REPLY or STAGE=REPLY@PERCENT, such as rcpt=450@10"));
        };
        let scope = Scope::parse(stage)?;
        let (reply, percent) = share(reply)?;
        can_reply(scope)?;
        refusal::parse(scope.stage(), reply)?;
        Ok(ReplyRule { scope, reply: reply.to_owned(), percent })
    }
}

impl fmt::Display for ReplyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.scope, self.reply)?;
        if self.percent < 100.0 { write!(f, "@{}", self.percent) } else { Ok(()) }
    }
}

impl From<ReplyRule> for Rule {
    fn from(rule: ReplyRule) -> Rule {
        let reply = refusal::parse(rule.scope.stage(), &rule.reply).expect("read before by ReplyRule::parse");
        let percent = Some(rule.percent).filter(|&percent| percent < 100.0);
        Rule { percent, act: Some(Arc::new(Act::reply(reply))), ..Rule::new(rule.scope) }
    }
}

/// Whether there is a reply at all to be replaced.
///
/// # Errors
/// At the connection itself and the handshake there is none.
pub fn can_reply(scope: Scope) -> Result<(), String> {
    match scope {
        Scope::Stage(Stage::Connect) => Err("`connect` has no reply of its own; write banner".to_owned()),
        Scope::Stage(Stage::Handshake) => {
            Err("`handshake` has no reply of its own; write starttls".to_owned())
        }
        Scope::Stage(_) | Scope::Each => Ok(()),
    }
}

/// `REPLY@PERCENT`: the part after the last `@`, if it is a number; 100 without one.
fn share(text: &str) -> Result<(&str, f64), String> {
    let Some((reply, percent)) = text.rsplit_once('@') else { return Ok((text.trim(), 100.0)) };
    Ok((reply.trim(), self::percent(percent)?))
}

/// Above 0 and up to 100; a `%` may follow.
///
/// # Errors
/// Anything else.
pub fn percent(text: &str) -> Result<f64, String> {
    match text.trim().trim_end_matches('%').trim_end().parse() {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent),
        _ => Err(format!("`{text}` is not a percentage above 0 and up to 100")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_files(name: &str) -> Result<String, String> {
        Err(format!("{name}: no files here"))
    }

    #[test]
    fn rules_are_written_as_they_are_read() {
        for text in ["rcpt=450@10", "dot=554", "each=421@0.5", "mail=550 5.7.1 Go away@20"] {
            assert_eq!(ReplyRule::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(ReplyRule::parse("each=421@0.5%").unwrap().percent, 0.5);
        for text in ["connect=5ms", "each=uniform(10ms,30ms)", "body=1s", "handshake=2s"] {
            assert_eq!(DelayRule::parse(text, &no_files).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_bad_rule_is_refused_with_a_way_out() {
        for (text, part) in [
            ("rcpt", "STAGE=REPLY"),
            ("rcpt=100", "200 to 599"),
            ("rcpt=4500", "200 to 599"),
            ("rcpt=450@0", "percentage"),
            ("rcpt=450@NaN", "percentage"),
            ("rcpt=450@101", "percentage"),
            ("connect=554", "write banner"),
            ("handshake=554", "write starttls"),
            ("rcp=450", "rcpt"),
        ] {
            let error = ReplyRule::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(DelayRule::parse("dot", &no_files).unwrap_err().contains("STAGE=DELAY"));
        assert!(DelayRule::parse("all=1s", &no_files).unwrap_err().contains("each"));
        assert!(DelayRule::parse("dot=file(x)", &no_files).unwrap_err().contains("x: no files here"));
    }
}
