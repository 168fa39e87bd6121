//! From a connection in plaintext to one over TLS, RFC 3207: the command, and the two ways a handshake ends.
//!
//! The handshake itself is the driver's: bytes of TLS are none of a session's.

use super::Extensions;
use super::options::Tls;
use super::session::{QUIT, Session, State};
use crate::reply::ParsedReply;
use crate::stage::Stage;
use crate::status::{EnhancedStatus, Severity};
use std::time::Instant;

impl Session {
    /// After EHLO: TLS as the options have it, then AUTH.
    pub(super) fn secure(&mut self, now: Instant, out: &mut Vec<u8>) {
        match self.options.tls {
            Tls::Opportunistic | Tls::Required if !self.encrypted && self.extensions.start_tls => {
                out.extend_from_slice(b"STARTTLS\r\n");
                self.state = State::StartTls;
                self.await_until(now, self.options.timeouts.start_tls);
            }
            Tls::Required if !self.encrypted => {
                out.extend_from_slice(QUIT);
                self.unusable(Stage::StartTls, NOT_SUPPORTED, "STARTTLS is required and was not offered");
            }
            Tls::Never | Tls::Opportunistic | Tls::Required => self.authenticate(now, out),
        }
    }

    pub(super) fn take_start_tls(&mut self, reply: ParsedReply<'_>, now: Instant, out: &mut Vec<u8>) {
        match reply.code.severity() {
            // RFC 3207 §4: 220 and no other; a 250 may be one that somebody slipped in
            Severity::Completion if reply.code.get() == 220 => {
                self.state = State::Handshake { announced: false };
                self.await_until(now, self.options.timeouts.start_tls);
            }
            Severity::Completion | Severity::Intermediate => {
                self.break_off("the reply to STARTTLS is neither 220 nor a refusal");
            }
            Severity::Transient | Severity::Permanent => match self.options.tls {
                Tls::Required => self.refused_to_us(Stage::StartTls, reply, out),
                Tls::Opportunistic | Tls::Never => self.authenticate(now, out),
            },
        }
    }

    /// The handshake that [`Event::StartTls`](super::Event::StartTls) asked for is done. Appends EHLO, to be written
    /// over TLS; nothing if the session ended in the meantime, which the next event says.
    pub fn tls_established(&mut self, now: Instant, out: &mut Vec<u8>) {
        if matches!(self.state, State::Handshake { .. }) {
            self.encrypted = true;
            // RFC 3207 §4.2: what was learned in plaintext is forgotten
            self.extensions = Extensions::default();
            self.say_hello(true, now, out);
        }
    }

    /// The handshake failed: the session is over and its transaction deferred, also where TLS is not required. To try
    /// the same host in plaintext is for another connection.
    pub fn tls_failed(&mut self, reason: &str, _now: Instant) {
        if matches!(self.state, State::Handshake { .. }) {
            self.unusable(Stage::Handshake, CRYPTOGRAPHIC_FAILURE, reason);
        }
    }
}

/// RFC 3463 §3.8, X.7.4: security features not supported.
pub(super) const NOT_SUPPORTED: EnhancedStatus = EnhancedStatus::new(4, 7, 4);
/// RFC 3463 §3.8, X.7.5: cryptographic failure.
const CRYPTOGRAPHIC_FAILURE: EnhancedStatus = EnhancedStatus::new(4, 7, 5);
