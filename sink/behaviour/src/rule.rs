//! One line of a site's behaviour as people write it: `dot=1s`, `rcpt=450@10`.

use crate::delay::Delay;
use smtp::Stage;
use std::str::FromStr;

/// Where a rule holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Every stage that ends in a reply of the site's, but QUIT, unless the stage has rules of its own.
    Each,
    Stage(Stage),
}

/// `STAGE=DELAY`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DelayRule {
    pub scope: Scope,
    pub delay: Delay,
}

/// `STAGE=CODE` or `STAGE=CODE@PERCENT`: that share of the replies at the stage is this refusal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReplyRule {
    pub scope: Scope,
    /// 400 to 599.
    pub code: u16,
    /// Above 0, at most 100.
    pub percent: f64,
}

impl Scope {
    /// What `each` stands for.
    pub const EACH: [Stage; 8] = [
        Stage::Banner,
        Stage::Ehlo,
        Stage::Mail,
        Stage::Rcpt,
        Stage::Data,
        Stage::Dot,
        Stage::Rset,
        Stage::Noop,
    ];

    fn parse(text: &str) -> Result<Scope, String> {
        match text.trim() {
            "each" => Ok(Scope::Each),
            name => match name.parse() {
                Ok(Stage::Body) => Err("`body` has no reply of its own; write data or dot".to_owned()),
                Ok(stage) => Ok(Scope::Stage(stage)),
                Err(error) => Err(format!("{error} each")),
            },
        }
    }
}

impl FromStr for DelayRule {
    type Err = String;

    fn from_str(text: &str) -> Result<DelayRule, String> {
        let Some((stage, delay)) = text.split_once('=') else {
            return Err(format!("`{text}` is not STAGE=DELAY, such as dot=1s or each=uniform(10ms,30ms)"));
        };
        Ok(DelayRule { scope: Scope::parse(stage)?, delay: delay.parse()? })
    }
}

impl FromStr for ReplyRule {
    type Err = String;

    fn from_str(text: &str) -> Result<ReplyRule, String> {
        let Some((stage, reply)) = text.split_once('=') else {
            return Err(format!("`{text}` is not STAGE=CODE or STAGE=CODE@PERCENT, such as rcpt=450@10"));
        };
        let scope = Scope::parse(stage)?;
        if scope == Scope::Stage(Stage::Connect) {
            return Err("`connect` has no reply of its own; write banner".to_owned());
        }
        let (code_text, percent_text) = reply.split_once('@').unwrap_or((reply, "100"));
        let code = match code_text.trim().parse() {
            Ok(code @ 400..=599) => code,
            _ => return Err(format!("`{code_text}` is not a refusal; write a code from 400 to 599")),
        };
        let percent = match percent_text.trim().trim_end_matches('%').parse() {
            Ok(percent) if percent > 0.0 && percent <= 100.0 => percent,
            _ => return Err(format!("`{percent_text}` is not a percentage above 0 and up to 100")),
        };
        Ok(ReplyRule { scope, code, percent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_as_written() {
        let rule: ReplyRule = "rcpt=450@10".parse().unwrap();
        assert_eq!(rule, ReplyRule { scope: Scope::Stage(Stage::Rcpt), code: 450, percent: 10.0 });
        assert_eq!("dot=554".parse::<ReplyRule>().unwrap().percent, 100.0);
        assert_eq!("each=421@0.5%".parse::<ReplyRule>().unwrap().scope, Scope::Each);
        let rule: DelayRule = "connect=5ms".parse().unwrap();
        assert_eq!(rule.scope, Scope::Stage(Stage::Connect));
    }

    #[test]
    fn a_bad_rule_is_refused_with_a_way_out() {
        for (text, part) in [
            ("rcpt", "STAGE=CODE"),
            ("rcpt=250", "400 to 599"),
            ("rcpt=4500", "400 to 599"),
            ("rcpt=450@0", "percentage"),
            ("rcpt=450@NaN", "percentage"),
            ("rcpt=450@101", "percentage"),
            ("connect=554", "write banner"),
            ("body=554", "write data or dot"),
            ("rcp=450", "rcpt"),
        ] {
            let error = text.parse::<ReplyRule>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!("dot".parse::<DelayRule>().unwrap_err().contains("STAGE=DELAY"));
        assert!("all=1s".parse::<DelayRule>().unwrap_err().contains("each"));
    }
}
