//! From the greeting to the first moment when mail may be sent: RFC 5321 §3.1, §3.2.

use super::Extensions;
use super::session::{QUIT, Session, State};
use crate::Protocol;
use crate::reply::ParsedReply;
use crate::stage::Stage;
use crate::status::Severity;
use std::time::Instant;

impl Session {
    pub(super) fn take_greeting(&mut self, reply: ParsedReply<'_>, now: Instant, out: &mut Vec<u8>) {
        match reply.code.severity() {
            Severity::Completion => self.say_hello(true, now, out),
            Severity::Intermediate => self.break_off("3xx as the greeting"),
            // RFC 5321 §3.1: a server that refuses waits for QUIT
            Severity::Transient | Severity::Permanent => {
                out.extend_from_slice(QUIT);
                self.refused(Stage::Banner, reply);
            }
        }
    }

    pub(super) fn take_hello(
        &mut self,
        extended: bool,
        reply: ParsedReply<'_>,
        now: Instant,
        out: &mut Vec<u8>,
    ) {
        match reply.code.severity() {
            Severity::Completion => {
                self.extensions =
                    if extended { Extensions::parse(&reply.text) } else { Extensions::default() };
                self.secure(now, out);
            }
            Severity::Intermediate => self.break_off("3xx as the reply to EHLO"),
            // RFC 5321 §3.2: a server that does not know EHLO gets HELO; LMTP has nothing of the kind
            Severity::Permanent if extended && self.options.protocol == Protocol::Smtp => {
                self.say_hello(false, now, out)
            }
            Severity::Transient | Severity::Permanent => {
                out.extend_from_slice(QUIT);
                self.refused(Stage::Ehlo, reply);
            }
        }
    }

    /// Everything that comes before mail is done.
    pub(super) fn become_idle(&mut self, now: Instant, out: &mut Vec<u8>) {
        self.state = State::Idle;
        self.deadline = None;
        self.start_envelope(now, out);
    }

    pub(super) fn say_hello(&mut self, extended: bool, now: Instant, out: &mut Vec<u8>) {
        out.extend_from_slice(match self.options.protocol {
            Protocol::Smtp if extended => b"EHLO ",
            Protocol::Smtp => b"HELO ",
            Protocol::Lmtp => b"LHLO ", // RFC 2033 §4.1
        });
        out.extend(self.options.hello.bytes().filter(u8::is_ascii_graphic));
        out.extend_from_slice(b"\r\n");
        self.state = State::Hello { extended };
        self.await_until(now, self.options.timeouts.hello);
    }
}
