//! What a client session is told once: its name, what it may do and must have, how long to wait for whom.

use super::Credentials;
use crate::Protocol;
use std::time::Duration;

/// Settings of a session, shared by all that are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Our host name, the argument of EHLO, HELO and LHLO.
    pub hello: String,
    /// What the server speaks.
    pub protocol: Protocol,
    /// Use PIPELINING (RFC 2920) where it is offered.
    pub pipelining: bool,
    /// Send messages by BDAT (RFC 3030) where CHUNKING is offered and the transaction's size is known.
    pub chunking: bool,
    /// When to say STARTTLS; without effect on a session of [`Session::over_tls`](super::Session::over_tls).
    pub tls: Tls,
    /// With whom to say AUTH (RFC 4954); a session that cannot ends, and its transaction is deferred.
    pub auth: Option<Credentials>,
    /// Say AUTH in plaintext too, which shows the password to everybody on the way.
    pub auth_without_tls: bool,
    /// How long to wait for each reply.
    pub timeouts: Timeouts,
}

impl Options {
    /// SMTP, pipelining where offered, neither BDAT nor TLS nor AUTH, the timeouts of RFC 5321.
    pub fn new(hello: impl Into<String>) -> Options {
        Options {
            hello: hello.into(),
            protocol: Protocol::Smtp,
            pipelining: true,
            chunking: false,
            tls: Tls::Never,
            auth: None,
            auth_without_tls: false,
            timeouts: Timeouts::default(),
        }
    }
}

/// Whether a session that begins in plaintext says STARTTLS, RFC 3207.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Tls {
    /// Not even where it is offered.
    #[default]
    Never,
    /// Where it is offered. A server that offers it and then refuses (454, any 4xx or 5xx) gets the mail in plaintext
    /// on the same connection, which RFC 3207 §4 leaves to the client: whoever could forge the refusal could have
    /// removed the offer. A handshake that fails ends the session.
    Opportunistic,
    /// Always: a session without it ends, and its transaction is deferred.
    Required,
}

/// How long to wait for the whole reply to each command; never restarted by single bytes or lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// The greeting, from the connection's start.
    pub greeting: Duration,
    /// EHLO, HELO, LHLO.
    pub hello: Duration,
    /// STARTTLS, and then the handshake.
    pub start_tls: Duration,
    /// AUTH, the whole exchange.
    pub auth: Duration,
    /// MAIL.
    pub mail: Duration,
    /// RCPT, each.
    pub rcpt: Duration,
    /// DATA, until 354.
    pub data_init: Duration,
    /// Between two moments when body bytes could be written.
    pub data_block: Duration,
    /// The final dot; with LMTP each of its replies.
    pub data_end: Duration,
    /// RSET.
    pub rset: Duration,
    /// QUIT.
    pub quit: Duration,
}

impl Timeouts {
    /// The same for everything.
    pub fn all(timeout: Duration) -> Timeouts {
        Timeouts {
            greeting: timeout,
            hello: timeout,
            start_tls: timeout,
            auth: timeout,
            mail: timeout,
            rcpt: timeout,
            data_init: timeout,
            data_block: timeout,
            data_end: timeout,
            rset: timeout,
            quit: timeout,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        Timeouts {
            greeting: minutes(5),          // RFC 5321 §4.5.3.2.1
            hello: minutes(5),             // not in RFC 5321 §4.5.3.2; as MAIL
            start_tls: minutes(5),         // not in RFC 5321 §4.5.3.2; as MAIL
            auth: minutes(5),              // not in RFC 5321 §4.5.3.2; as MAIL
            mail: minutes(5),              // RFC 5321 §4.5.3.2.2
            rcpt: minutes(5),              // RFC 5321 §4.5.3.2.3
            data_init: minutes(2),         // RFC 5321 §4.5.3.2.4
            data_block: minutes(3),        // RFC 5321 §4.5.3.2.5
            data_end: minutes(10), // RFC 5321 §4.5.3.2.6: long, because giving up early duplicates mail
            rset: minutes(5),      // not in RFC 5321 §4.5.3.2; as MAIL
            quit: Duration::from_secs(30), // not in RFC 5321 §4.5.3.2; no mail hangs on it
        }
    }
}
