//! The state machine of a server session.

use crate::path::{ForwardPath, ReversePath};
use crate::reply::Reply;
use crate::stage::Stage;
use std::sync::Arc;

/// Bounds of a session, shared by all that are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a command line with its CR LF.
    pub max_line: usize,
    /// Accepted recipients of one transaction.
    pub max_recipients: u32,
    /// Bytes of a message, `None` for no limit.
    pub max_message_bytes: Option<u64>,
    /// Commands that make no sense before the session is closed with 421.
    pub max_errors: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { max_line: 1024, max_recipients: 1000, max_message_bytes: None, max_errors: 20 }
    }
}

/// What EHLO lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extensions {
    /// PIPELINING, RFC 2920.
    pub pipelining: bool,
    /// SIZE, RFC 1870.
    pub size: bool,
    /// 8BITMIME, RFC 6152.
    pub eight_bit_mime: bool,
    /// ENHANCEDSTATUSCODES, RFC 2034: also decides whether replies carry them.
    pub enhanced_status_codes: bool,
}

impl Default for Extensions {
    fn default() -> Extensions {
        Extensions { pipelining: true, size: true, eight_bit_mime: true, enhanced_status_codes: true }
    }
}

/// What the client did. Everything but [`Event::Body`] must be answered before the next call of
/// [`Session::next`].
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The connection is there: the greeting is due.
    Connect,
    /// EHLO (`extended`) or HELO.
    Hello { name: &'a str, extended: bool },
    /// MAIL with its parameters.
    Mail { reverse_path: ReversePath, size: Option<u64>, eight_bit: bool },
    /// RCPT.
    Rcpt { forward_path: ForwardPath },
    /// DATA.
    Data,
    /// RSET.
    Rset,
    /// NOOP.
    Noop,
    /// VRFY.
    Vrfy,
    /// HELP.
    Help,
    /// QUIT.
    Quit,
    /// A command that is unknown, malformed, too long, out of sequence or over a limit: `accept` sends the
    /// refusal that fits.
    Invalid { stage: Option<Stage> },
    /// A piece of the message, dots removed, otherwise as received.
    Body(&'a [u8]),
    /// The message ended. `bare_newline`: it has a CR or LF on its own. `too_big`: over the limit, and cut there.
    EndOfData { bare_newline: bool, too_big: bool },
}

/// One connection from a client, seen from the taking side.
#[derive(Debug)]
pub struct Session {
    name: Arc<str>,
    limits: Arc<Limits>,
    extensions: Extensions,
}

impl Session {
    /// A connection that was just accepted; `name` is our host name.
    pub fn new(name: Arc<str>, limits: Arc<Limits>, extensions: Extensions) -> Session {
        Session { name, limits, extensions }
    }

    /// Takes bytes from the client; returns how many are done with (also when there is no event) and what
    /// happened. `None` asks for more input.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> (usize, Option<Event<'a>>) {
        todo!("{input:?} {:?} {:?} {:?}", self.name, self.limits, self.extensions)
    }

    /// Answers the pending event with its default reply, and does what it says.
    pub fn accept(&mut self, out: &mut Vec<u8>) {
        todo!("{out:?}")
    }

    /// Answers the pending event with `reply`; the event takes effect only if that is positive (2xx, for DATA
    /// 3xx). A 421 closes the session, and so does any answer to QUIT.
    pub fn reply(&mut self, reply: &Reply, out: &mut Vec<u8>) {
        todo!("{reply:?} {out:?}")
    }

    /// The stage of the pending event.
    pub fn stage(&self) -> Stage {
        todo!()
    }

    /// Nothing more will happen: flush and drop the connection.
    pub fn is_closed(&self) -> bool {
        todo!()
    }
}
