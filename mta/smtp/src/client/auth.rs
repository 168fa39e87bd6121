//! AUTH, RFC 4954: by which mechanism, and what each side says.
//!
//! PLAIN (RFC 4616) and LOGIN, which show the password to the server: it is TLS that hides it from others.

use super::session::{QUIT, Session, State};
use super::tls::NOT_SUPPORTED;
use crate::base64;
use crate::reply::ParsedReply;
use crate::stage::Stage;
use crate::status::{ReplyCode, Severity};
use std::fmt;
use std::time::Instant;

/// Who we are to the server. Neither may hold a NUL, which is how PLAIN parts them.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub user: String,
    pub password: String,
}

/// Without the password: options are printed, logs are kept.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// What the next 334 asks for. Each is answered once, so that an exchange has an end whatever the server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The message of PLAIN.
    Plain,
    User,
    Password,
    /// All is said.
    Nothing,
}

impl Session {
    /// After EHLO and TLS: AUTH as the options have it, then on to mail.
    pub(super) fn authenticate(&mut self, now: Instant, out: &mut Vec<u8>) {
        let Some(credentials) = &self.options.auth else { return self.become_idle(now, out) };
        let next = if !self.encrypted && !self.options.auth_without_tls {
            return self.cannot_authenticate("AUTH is required and there is no TLS to hide it", out);
        } else if self.extensions.auth_plain && credentials.fit_a_command() {
            out.extend_from_slice(b"AUTH PLAIN ");
            credentials.write(Answer::Plain, out);
            Answer::Nothing
        } else if self.extensions.auth_plain {
            out.extend_from_slice(b"AUTH PLAIN\r\n");
            Answer::Plain
        } else if self.extensions.auth_login {
            out.extend_from_slice(b"AUTH LOGIN\r\n");
            Answer::User
        } else {
            return self.cannot_authenticate("AUTH is required and neither PLAIN nor LOGIN was offered", out);
        };
        self.state = State::Auth { next };
        self.await_until(now, self.options.timeouts.auth);
    }

    fn cannot_authenticate(&mut self, reason: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(QUIT);
        self.unusable(Stage::Auth, NOT_SUPPORTED, reason);
    }

    /// 3xx: the server asks for more. Buys no time.
    pub(super) fn answer(&mut self, asked: Answer, code: ReplyCode, out: &mut Vec<u8>) {
        let next = match asked {
            _ if code.get() != 334 => return self.break_off("3xx other than 334 as a reply to AUTH"),
            Answer::Plain | Answer::Password => Answer::Nothing,
            Answer::User => Answer::Password,
            Answer::Nothing => return self.break_off("334 to AUTH when all was said"),
        };
        if let Some(credentials) = &self.options.auth {
            credentials.write(asked, out);
        }
        self.state = State::Auth { next };
    }

    pub(super) fn take_auth(&mut self, reply: ParsedReply<'_>, now: Instant, out: &mut Vec<u8>) {
        match reply.code.severity() {
            Severity::Completion => self.become_idle(now, out),
            Severity::Intermediate => unreachable!("the exchange goes on after 3xx"),
            Severity::Transient | Severity::Permanent => self.refused_to_us(Stage::Auth, reply, out),
        }
    }
}

impl Credentials {
    /// RFC 4954 §4: a first answer that would make the command too long waits for 334.
    fn fit_a_command(&self) -> bool {
        let message = self.user.len() + self.password.len() + 2;
        "AUTH PLAIN \r\n".len() + message.div_ceil(3) * 4 <= COMMAND_BYTES_MAX
    }

    /// Appends an answer as a line of its own.
    fn write(&self, answer: Answer, out: &mut Vec<u8>) {
        match answer {
            // RFC 4616 §2: nobody else to act for, then who, then the proof
            Answer::Plain => base64::encode(format!("\0{}\0{}", self.user, self.password).as_bytes(), out),
            Answer::User => base64::encode(self.user.as_bytes(), out),
            Answer::Password => base64::encode(self.password.as_bytes(), out),
            Answer::Nothing => {}
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// RFC 5321 §4.5.3.1.4, with the CR LF.
const COMMAND_BYTES_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::Credentials;

    #[test]
    fn a_password_is_not_printed() {
        let credentials = Credentials { user: "somebody".to_owned(), password: "secret".to_owned() };
        let text = format!("{credentials:?} {credentials:#?}");
        assert!(text.contains("somebody") && !text.contains("secret"), "{text}");
    }
}
