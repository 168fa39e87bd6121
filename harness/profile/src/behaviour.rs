//! How the remote site behaves: delays and replies by stage of the dialogue, in the words of `mailrig sink`.

use crate::experiment::words;
use std::fmt;
use std::time::Duration;

/// The sink's behaviour in one trial.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sink {
    pub delays: Vec<(Stage, Delay)>,
    pub replies: Vec<(Stage, Reply)>,
}

words! {
    /// Where in the dialogue.
    Stage {
        /// Every reply but that to QUIT, where the stage has nothing of its own.
        Each = "each",
        /// Before the connection is accepted.
        Connect = "connect",
        Banner = "banner",
        Ehlo = "ehlo",
        Mail = "mail",
        Rcpt = "rcpt",
        Data = "data",
        Dot = "dot",
        Rset = "rset",
        Noop = "noop",
        Quit = "quit",
    }
}

/// How long a reply takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delay {
    Constant(Duration),
    Uniform(Duration, Duration),
    Exponential(Duration),
}

/// A reply other than the sink's own, given to a part of the commands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reply {
    pub code: u16,
    /// Of the commands of the stage, 0 (exclusive) to 100.
    pub percent: f64,
}

impl Sink {
    /// The options that make `mailrig sink` behave so.
    pub fn arguments(&self) -> Vec<String> {
        let delays =
            self.delays.iter().map(|(stage, delay)| ("--delay", format!("{}={delay}", stage.as_str())));
        let replies =
            self.replies.iter().map(|(stage, reply)| ("--reply", format!("{}={reply}", stage.as_str())));
        delays.chain(replies).flat_map(|(option, value)| [option.to_owned(), value]).collect()
    }

    /// For the column `sink_delay`: `each=20ms`, several with a blank between them; empty for none.
    pub fn delay_words(&self) -> String {
        words_of(self.delays.iter().map(|(stage, delay)| format!("{}={delay}", stage.as_str())))
    }

    /// For the column `sink_reply`: `rcpt=450@10`, several with a blank between them; empty for none.
    pub fn reply_words(&self) -> String {
        words_of(self.replies.iter().map(|(stage, reply)| format!("{}={reply}", stage.as_str())))
    }

    /// Mean time that the sink's replies take from one message on a connection that carries `messages` of them.
    pub fn mean_delivery_time(&self, messages: u32) -> Duration {
        let of_connection: Duration =
            [Stage::Connect, Stage::Banner, Stage::Ehlo].into_iter().map(|stage| self.mean(stage)).sum();
        let of_message: Duration = [Stage::Mail, Stage::Rcpt, Stage::Data, Stage::Dot]
            .into_iter()
            .map(|stage| self.mean(stage))
            .sum();
        of_connection / messages.max(1) + of_message
    }

    fn mean(&self, stage: Stage) -> Duration {
        let of = |wanted| self.delays.iter().find(|(at, _)| *at == wanted).map(|(_, delay)| delay.mean());
        let each = if stage == Stage::Connect { None } else { of(Stage::Each) };
        of(stage).or(each).unwrap_or(Duration::ZERO)
    }
}

fn words_of(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(" ")
}

impl Delay {
    /// Parses `20ms`, `uniform(10ms,30ms)` or `exponential(20ms)`.
    ///
    /// # Errors
    /// What is wrong and what to write instead.
    pub fn parse(text: &str) -> Result<Delay, String> {
        let delay = Delay::parse_any(text)?;
        match delay {
            Delay::Constant(longest) | Delay::Uniform(_, longest) | Delay::Exponential(longest)
                if longest > LONGEST =>
            {
                let limit = settings::duration::format(LONGEST);
                Err(format!("`{text}` is longer than {limit}, and no client waits so long for a reply"))
            }
            _ => Ok(delay),
        }
    }

    fn parse_any(text: &str) -> Result<Delay, String> {
        let call = text.trim().strip_suffix(')').and_then(|text| text.split_once('('));
        let Some((name, inner)) = call else { return settings::duration::parse(text).map(Delay::Constant) };
        match (name.trim(), inner.split_once(',')) {
            ("uniform", Some((low, high))) => {
                let (low, high) = (settings::duration::parse(low)?, settings::duration::parse(high)?);
                if low > high {
                    return Err(format!("`{text}` begins above its end; write the shorter duration first"));
                }
                Ok(Delay::Uniform(low, high))
            }
            ("exponential", None) => settings::duration::parse(inner).map(Delay::Exponential),
            _ => Err(format!("`{text}` is not a delay; write 20ms, uniform(10ms,30ms) or exponential(20ms)")),
        }
    }

    pub fn mean(self) -> Duration {
        match self {
            Delay::Constant(delay) | Delay::Exponential(delay) => delay,
            Delay::Uniform(low, high) => (low + high) / 2,
        }
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        use settings::duration::format;
        match self {
            Delay::Constant(delay) => f.write_str(&format(*delay)),
            Delay::Uniform(low, high) => write!(f, "uniform({},{})", format(*low), format(*high)),
            Delay::Exponential(mean) => write!(f, "exponential({})", format(*mean)),
        }
    }
}

impl Reply {
    /// Parses `450` or `450@10` (for ten per cent of the commands; a `%` may follow).
    ///
    /// # Errors
    /// What is wrong and what to write instead.
    pub fn parse(text: &str) -> Result<Reply, String> {
        let (code, percent) = text.split_once('@').unwrap_or((text, "100"));
        let percent_text = percent.trim().trim_end_matches('%');
        let code = code.trim().parse().ok().filter(|code| (400..=599).contains(code));
        let percent = percent_text.parse().ok().filter(|percent| *percent > 0.0 && *percent <= 100.0);
        match (code, percent) {
            (Some(code), Some(percent)) => Ok(Reply { code, percent }),
            (None, _) => {
                Err(format!("`{text}` has no code from 400 to 599; write 450, or 450@10 for ten per cent"))
            }
            (_, None) => {
                Err(format!("`{text}` has no share above 0 and up to 100; write 450@10 for ten per cent"))
            }
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.percent == 100.0 {
            write!(f, "{}", self.code)
        } else {
            write!(f, "{}@{}", self.code, self.percent)
        }
    }
}

/// What the sink takes at most.
const LONGEST: Duration = Duration::from_secs(6 * 3600);
