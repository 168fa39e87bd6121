//! The exchange of AUTH, RFC 4954 §4, for the mechanisms PLAIN (RFC 4616) and LOGIN
//! (draft-murchison-sasl-login).

use super::Event;
use super::refusal::Refusal;
use super::session::{Line, Pending, Session, State};
use crate::base64;
use std::fmt;

/// How a client proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// draft-murchison-sasl-login-00.
    Login,
}

/// The mechanisms that are offered; AUTH is when there is one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mechanisms {
    /// PLAIN.
    pub plain: bool,
    /// LOGIN.
    pub login: bool,
}

impl Mechanisms {
    /// AUTH is offered.
    pub const fn any(self) -> bool {
        self.plain || self.login
    }

    /// The offered mechanism of that name, which is in any case.
    fn find(self, name: &str) -> Option<Mechanism> {
        if self.plain && name.eq_ignore_ascii_case("PLAIN") {
            Some(Mechanism::Plain)
        } else if self.login && name.eq_ignore_ascii_case("LOGIN") {
            Some(Mechanism::Login)
        } else {
            None
        }
    }
}

/// What a client claims. Nothing in it is checked, but that it holds no control characters.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The mechanism by which it was sent.
    pub mechanism: Mechanism,
    /// Whom to act as, if that is not the user (RFC 4616 §2 authzid): a right of its own, to be refused
    /// unless it is known to be held.
    pub act_as: Option<Box<str>>,
    /// Who it is.
    pub user: Box<str>,
    /// The secret.
    pub password: Box<str>,
}

/// Without the secret.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("mechanism", &self.mechanism)
            .field("act_as", &self.act_as)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Which response is awaited.
#[derive(Debug)]
pub(super) enum Exchange {
    Plain,
    LoginUser,
    LoginPassword {
        user: Box<str>,
    },
    /// One more than the mechanism has: the driver wants it so, and knows what for.
    More,
}

impl Exchange {
    fn new(mechanism: Mechanism) -> Exchange {
        match mechanism {
            Mechanism::Plain => Exchange::Plain,
            Mechanism::Login => Exchange::LoginUser,
        }
    }

    /// The challenge that asks for it, before base64.
    pub fn prompt(&self) -> &'static [u8] {
        match self {
            Exchange::Plain | Exchange::More => b"", // RFC 4954 §4: an empty challenge
            Exchange::LoginUser => b"Username:",
            Exchange::LoginPassword { .. } => b"Password:",
        }
    }
}

impl Session {
    /// AUTH was said, with a response at once or without.
    pub(super) fn begin_auth(
        &mut self,
        mechanism: &str,
        initial: Option<&str>,
    ) -> Result<(Pending, Event<'static>), Refusal> {
        let mechanism = self.options.extensions.auth.find(mechanism).ok_or(Refusal::Mechanism)?;
        let exchange = Exchange::new(mechanism);
        match initial {
            // RFC 4954 §4: a response of no bytes
            Some("=") => self.respond(exchange, b""),
            Some(text) => self.respond(exchange, text.as_bytes()),
            None => {
                self.exchange = Some(Box::new(exchange));
                Ok((Pending::AuthChallenge, Event::AuthChallenge))
            }
        }
    }

    /// After 334.
    pub(super) fn next_response<'a>(&mut self, input: &'a [u8]) -> (usize, Option<Event<'a>>) {
        let (consumed, line) = self.take_line(input, self.options.limits.max_line.max(RESPONSE_LINE_MAX));
        let line = match line {
            Line::More => return (consumed, None),
            Line::TooLong => Err(Refusal::ResponseTooLong),
            Line::Whole(b"*") => Err(Refusal::AuthCancelled),
            Line::Whole(line) => Ok(line),
        };
        self.state = State::Ready;
        let exchange = self.exchange.take().expect("an exchange is under way after 334");
        let result = line.and_then(|line| self.respond(*exchange, line));
        let event = result.map(|(pending, event)| {
            self.pending = Some(pending);
            event
        });
        (consumed, Some(event.unwrap_or_else(|refusal| self.refuse(refusal))))
    }

    /// The driver answered the end of AUTH with a challenge.
    pub(super) fn ask_more(&mut self) {
        self.exchange = Some(Box::new(Exchange::More));
        self.state = State::AwaitingResponse;
    }

    fn respond(&mut self, exchange: Exchange, response: &[u8]) -> Result<(Pending, Event<'static>), Refusal> {
        let response = base64::decode(response).and_then(|bytes| String::from_utf8(bytes).ok());
        let response = response.ok_or(Refusal::AuthResponse)?;
        let credentials = match exchange {
            Exchange::Plain => plain(&response)?,
            Exchange::LoginUser => {
                self.exchange = Some(Box::new(Exchange::LoginPassword { user: field(&response)? }));
                return Ok((Pending::AuthChallenge, Event::AuthChallenge));
            }
            Exchange::More => {
                self.exchange = Some(Box::new(Exchange::More));
                return Ok((Pending::AuthChallenge, Event::AuthChallenge));
            }
            Exchange::LoginPassword { user } => {
                Credentials { mechanism: Mechanism::Login, act_as: None, user, password: field(&response)? }
            }
        };
        Ok((Pending::Auth, Event::Auth(credentials)))
    }
}

/// RFC 4616 §2: `[authzid] NUL authcid NUL passwd`.
fn plain(response: &str) -> Result<Credentials, Refusal> {
    let mut fields = response.split('\0').map(field);
    let mut next = || fields.next().unwrap_or(Err(Refusal::AuthResponse));
    let (act_as, user, password) = (next()?, next()?, next()?);
    if user.is_empty() || password.is_empty() || next().is_ok() {
        return Err(Refusal::AuthResponse);
    }
    let act_as = Some(act_as).filter(|name| !name.is_empty() && *name != user);
    Ok(Credentials { mechanism: Mechanism::Plain, act_as, user, password })
}

/// RFC 4013 §2.3: no control characters.
fn field(text: &str) -> Result<Box<str>, Refusal> {
    if text.chars().any(char::is_control) { Err(Refusal::AuthResponse) } else { Ok(text.into()) }
}

/// RFC 4954 §4: enough for what mechanisms are known to send.
const RESPONSE_LINE_MAX: usize = 12288;
