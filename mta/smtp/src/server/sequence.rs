//! Which command is allowed when, RFC 5321 §4.1.4.

use super::Event;
use super::refusal::Refusal;
use super::session::{Pending, Session, State};
use super::transaction::Form;
use crate::Protocol;
use crate::command::{BodyType, Command, CommandError, Grammar, MailParameters, RcptParameters};
use crate::dsn::OriginalRecipient;
use crate::path::{ForwardPath, ReversePath};
use crate::stage::Stage;

impl Session {
    /// What a client may say, in whatever order.
    pub(super) fn grammar(&self) -> Grammar {
        let offered = &self.options.extensions;
        Grammar {
            lmtp: self.options.protocol == Protocol::Lmtp,
            start_tls: offered.start_tls,
            auth: offered.auth.any(),
            chunking: offered.chunking,
            size: offered.size,
            eight_bit_mime: offered.eight_bit_mime,
            smtp_utf8: offered.smtp_utf8,
            dsn: offered.dsn,
            require_tls: offered.require_tls && self.is_tls,
        }
    }

    /// Makes `command` the pending event if it is allowed now.
    pub(super) fn command<'a>(&mut self, command: Command<'a>) -> Result<Event<'a>, Refusal> {
        let greeted = matches!(self.state, State::Ready | State::Transaction);
        let (pending, event) = match command {
            Command::Quit => (Pending::Quit, Event::Quit),
            _ if self.state == State::Refused => return Err(Refusal::Sequence(Stage::Noop)),
            Command::Ehlo(name) | Command::Lhlo(name) => {
                (Pending::Hello { extended: true }, Event::Hello { name, extended: true })
            }
            Command::Helo(name) => {
                (Pending::Hello { extended: false }, Event::Hello { name, extended: false })
            }
            Command::StartTls => {
                // RFC 3207 §4.2: once; and nothing may be under way that it would have to forget
                if self.is_tls || !self.extended || self.state != State::Ready {
                    return Err(Refusal::Sequence(Stage::StartTls));
                }
                (Pending::StartTls, Event::StartTls)
            }
            Command::Auth { mechanism, initial } => {
                // RFC 4954 §4: once, and not during a transaction
                if self.is_authenticated || !self.extended || self.state != State::Ready {
                    return Err(Refusal::Sequence(Stage::Auth));
                }
                self.begin_auth(mechanism, initial)?
            }
            Command::Mail { .. } if self.state != State::Ready => return Err(Refusal::Sequence(Stage::Mail)),
            Command::Mail { reverse_path, parameters } => self.mail(reverse_path, parameters)?,
            // RFC 3030 §2: recipients come before the first chunk
            Command::Rcpt { .. }
                if self.state != State::Transaction || self.transaction.form == Form::Chunks =>
            {
                return Err(Refusal::Sequence(Stage::Rcpt));
            }
            Command::Rcpt { .. } if self.transaction.recipients >= self.options.limits.max_recipients => {
                return Err(Refusal::TooManyRecipients);
            }
            Command::Rcpt { forward_path, parameters } => self.rcpt(forward_path, parameters)?,
            Command::Data if self.state != State::Transaction || self.transaction.form == Form::Chunks => {
                return Err(Refusal::Sequence(Stage::Data));
            }
            Command::Data if self.transaction.recipients == 0 => {
                return Err(self.no_recipients(Stage::Data));
            }
            Command::Data => (Pending::Data, Event::Data),
            Command::Bdat { .. } => unreachable!("its bytes are seen to with it"),
            // RFC 5321 §4.1.1.5, §4.1.4: these are allowed before EHLO
            Command::Rset => (Pending::Rset, Event::Rset),
            Command::Noop => (Pending::Noop, Event::Noop),
            Command::Vrfy => (Pending::Vrfy, Event::Vrfy),
            Command::Help => (Pending::Help, Event::Help),
        };
        debug_assert!(greeted || !matches!(pending, Pending::Mail { .. } | Pending::Rcpt | Pending::Data));
        self.pending = Some(pending);
        Ok(event)
    }

    /// Neither DATA nor BDAT is for nobody.
    pub(super) fn no_recipients(&self, stage: Stage) -> Refusal {
        match self.options.protocol {
            Protocol::Smtp => Refusal::NoRecipients(stage), // RFC 5321 §3.3
            Protocol::Lmtp => Refusal::Sequence(stage),     // RFC 2033 §4.2, §4.3: 503
        }
    }

    fn mail(
        &self,
        reverse_path: ReversePath,
        parameters: MailParameters,
    ) -> Result<(Pending, Event<'static>), Refusal> {
        let MailParameters { size, body, smtp_utf8, require_tls, ret, envelope_id } = parameters;
        if let (Some(size), Some(limit)) = (size, self.options.limits.max_message_bytes)
            && size > limit
        {
            return Err(Refusal::TooBig); // RFC 1870 §6.1
        }
        let eight_bit = body == Some(BodyType::EightBitMime);
        let event = Event::Mail { reverse_path, size, eight_bit, smtp_utf8, require_tls, ret, envelope_id };
        Ok((Pending::Mail { smtp_utf8 }, event))
    }

    fn rcpt(
        &self,
        forward_path: ForwardPath,
        parameters: RcptParameters,
    ) -> Result<(Pending, Event<'static>), Refusal> {
        let RcptParameters { notify, original_recipient } = parameters;
        let original = original_recipient.as_ref().map_or("", OriginalRecipient::as_str);
        let is_ascii = forward_path.as_str().is_ascii() && original.is_ascii();
        if !is_ascii && !self.transaction.smtp_utf8 {
            return Err(Refusal::Malformed(CommandError::NotAscii(Stage::Rcpt)));
        }
        Ok((Pending::Rcpt, Event::Rcpt { forward_path, notify, original_recipient }))
    }
}
