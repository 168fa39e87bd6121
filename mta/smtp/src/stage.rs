//! The parts of a session by name, as delays, latencies and log lines speak of them.
//!
//! It must not know what happens in a stage.

use std::fmt;
use std::str::FromStr;

/// A part of a session, named for the reply that ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// The TCP connection is being made.
    Connect,
    /// Waiting for the greeting, RFC 5321 §4.2 code 220.
    Banner,
    /// EHLO, or HELO after it.
    Ehlo,
    /// STARTTLS, RFC 3207, until its 220.
    StartTls,
    /// The TLS handshake, RFC 8446 §2.
    Handshake,
    /// AUTH, RFC 4954, until its last reply.
    Auth,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA, until 354.
    Data,
    /// The message itself.
    Body,
    /// From the final dot to its reply.
    Dot,
    /// RSET.
    Rset,
    /// NOOP, and whatever else has no effect (VRFY, HELP, an unknown command).
    Noop,
    /// QUIT.
    Quit,
}

impl Stage {
    /// Every stage, in the order of a session.
    pub const ALL: [Stage; 14] = [
        Stage::Connect,
        Stage::Banner,
        Stage::Ehlo,
        Stage::StartTls,
        Stage::Handshake,
        Stage::Auth,
        Stage::Mail,
        Stage::Rcpt,
        Stage::Data,
        Stage::Body,
        Stage::Dot,
        Stage::Rset,
        Stage::Noop,
        Stage::Quit,
    ];

    /// The name that settings, logs and CSV files use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Stage::Connect => "connect",
            Stage::Banner => "banner",
            Stage::Ehlo => "ehlo",
            Stage::StartTls => "starttls",
            Stage::Handshake => "handshake",
            Stage::Auth => "auth",
            Stage::Mail => "mail",
            Stage::Rcpt => "rcpt",
            Stage::Data => "data",
            Stage::Body => "body",
            Stage::Dot => "dot",
            Stage::Rset => "rset",
            Stage::Noop => "noop",
            Stage::Quit => "quit",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text is not the name of a [`Stage`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownStage(String);

impl fmt::Display for UnknownStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a stage; write one of", self.0.escape_debug())?;
        Stage::ALL.iter().try_for_each(|stage| write!(f, " {stage}"))
    }
}

impl std::error::Error for UnknownStage {}

impl FromStr for Stage {
    type Err = UnknownStage;

    fn from_str(text: &str) -> Result<Stage, UnknownStage> {
        Stage::ALL
            .into_iter()
            .find(|stage| stage.as_str() == text)
            .ok_or_else(|| UnknownStage(text.chars().take(40).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::Stage;

    #[test]
    fn every_stage_is_read_back_from_its_name() {
        for stage in Stage::ALL {
            assert_eq!(stage.to_string().parse(), Ok(stage));
        }
        let error = "mial".parse::<Stage>().unwrap_err().to_string();
        assert!(error.contains("`mial`") && error.contains(" mail "), "{error}");
    }
}
