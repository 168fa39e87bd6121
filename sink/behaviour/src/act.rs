//! What a site does on one occasion, beyond the reply that the protocol has for it.

use smtp::{Reply, Stage};
use std::sync::Arc;
use std::time::Duration;

/// What the site does: it waits for `delay`, then does `act`, its words at the pace of `pace`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Step {
    pub delay: Duration,
    /// `None`: all at once.
    pub pace: Option<Pace>,
    /// `None`: the reply that the protocol has for it.
    pub act: Option<Arc<Act>>,
}

/// How a reply is dripped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// At least 1.
    pub bytes: usize,
    pub every: Duration,
}

/// Something else than the protocol's own reply.
#[derive(Debug, Clone, PartialEq)]
pub struct Act {
    pub say: Say,
    /// Whether the sink goes on as after a positive reply; `None`: as the reply's code says. At the dot this is whether
    /// the message counts as accepted, whatever the client was told.
    pub accepts: Option<bool>,
    /// Only this many bytes of what would be said (of the server's part, in a TLS handshake).
    pub cut: Option<usize>,
    /// Said after the reply, though nothing asked for it.
    pub also: Option<Also>,
    pub then: Then,
}

/// What is said.
#[derive(Debug, Clone, PartialEq)]
pub enum Say {
    /// The reply that the protocol has for it.
    Usual,
    Reply(Reply),
    /// Bytes that need not be a reply.
    Raw(Arc<[u8]>),
    Nothing,
    /// These bytes again and again, as long as the client takes them.
    Endless {
        bytes: Arc<[u8]>,
        every: Duration,
    },
}

/// Bytes beyond the reply.
#[derive(Debug, Clone, PartialEq)]
pub struct Also {
    pub bytes: Arc<[u8]>,
    /// How long after the reply.
    pub after: Duration,
}

/// What becomes of the connection afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Then {
    /// The dialogue goes on.
    #[default]
    GoOn,
    /// An orderly end: FIN.
    Close,
    /// RST.
    Reset,
    /// No more is said (FIN), but what comes is read until the client closes.
    HalfClose,
    /// Nothing is said any more; what comes is read.
    Silence,
    /// Nothing is said and nothing is read: the client's window fills up.
    Stall,
}

impl Act {
    /// A refusal or another reply of the site's own.
    pub fn reply(reply: Reply) -> Act {
        Act { say: Say::Reply(reply), accepts: None, cut: None, also: None, then: Then::GoOn }
    }

    /// Whether the dialogue goes on as after a positive reply at `stage`.
    pub fn is_positive(&self, stage: Stage) -> bool {
        let good = if stage == Stage::Data { 3 } else { 2 };
        self.accepts.unwrap_or_else(|| match &self.say {
            Say::Usual => true,
            Say::Reply(reply) => reply.code.get() / 100 == good,
            Say::Raw(bytes) => bytes.first() == Some(&(b'0' + good as u8)),
            Say::Nothing | Say::Endless { .. } => false,
        })
    }
}

impl Then {
    /// The name in site files and in counts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Then::GoOn => "go_on",
            Then::Close => "close",
            Then::Reset => "reset",
            Then::HalfClose => "half_close",
            Then::Silence => "silence",
            Then::Stall => "stall",
        }
    }

    /// Every way to end a connection, and to go on.
    pub const ALL: [Then; 6] =
        [Then::GoOn, Then::Close, Then::Reset, Then::HalfClose, Then::Silence, Then::Stall];
}
