//! The first word of a command line.

use super::Grammar;
use crate::stage::Stage;

#[derive(Clone, Copy)]
pub(super) enum Verb {
    Ehlo,
    Helo,
    Lhlo,
    StartTls,
    Auth,
    Mail,
    Rcpt,
    Data,
    Bdat,
    Rset,
    Noop,
    Vrfy,
    Help,
    Quit,
    NotImplemented,
}

impl Verb {
    /// The verb that `line` begins with, and how many bytes it has. RFC 5321 §2.4: verbs are in any case.
    pub fn parse(line: &[u8], grammar: Grammar) -> Option<(Verb, usize)> {
        let bytes = line.iter().position(|&byte| byte == b' ').unwrap_or(line.len());
        let mut upper = [0; VERB_BYTES_MAX];
        let upper = upper.get_mut(..bytes)?;
        upper.copy_from_slice(&line[..bytes]);
        upper.make_ascii_uppercase();
        let offered = |verb, offered| if offered { verb } else { Verb::NotImplemented };
        let verb = match &*upper {
            // RFC 2033 §4.1: neither is known in LMTP
            b"EHLO" if !grammar.lmtp => Verb::Ehlo,
            b"HELO" if !grammar.lmtp => Verb::Helo,
            b"LHLO" if grammar.lmtp => Verb::Lhlo,
            b"MAIL" => Verb::Mail,
            b"RCPT" => Verb::Rcpt,
            b"DATA" => Verb::Data,
            b"RSET" => Verb::Rset,
            b"NOOP" => Verb::Noop,
            b"VRFY" => Verb::Vrfy,
            b"HELP" => Verb::Help,
            b"QUIT" => Verb::Quit,
            b"STARTTLS" => offered(Verb::StartTls, grammar.start_tls),
            b"AUTH" => offered(Verb::Auth, grammar.auth),
            b"BDAT" => offered(Verb::Bdat, grammar.chunking),
            // RFC 5321 §4.1.1.7 and appendix F; RFC 5321 §4.2.4: known and not done is 502
            b"EXPN" | b"SEND" | b"SOML" | b"SAML" | b"TURN" => Verb::NotImplemented,
            _ => return None,
        };
        Some((verb, bytes))
    }

    /// Whether its argument is one.
    pub fn has_address(self) -> bool {
        matches!(self, Verb::Mail | Verb::Rcpt | Verb::Vrfy)
    }

    pub fn stage(self) -> Option<Stage> {
        match self {
            Verb::Ehlo | Verb::Helo | Verb::Lhlo => Some(Stage::Ehlo),
            Verb::StartTls => Some(Stage::StartTls),
            Verb::Auth => Some(Stage::Auth),
            Verb::Mail => Some(Stage::Mail),
            Verb::Rcpt => Some(Stage::Rcpt),
            Verb::Data => Some(Stage::Data),
            Verb::Bdat => Some(Stage::Body),
            Verb::Rset => Some(Stage::Rset),
            Verb::Noop | Verb::Vrfy | Verb::Help => Some(Stage::Noop),
            Verb::Quit => Some(Stage::Quit),
            Verb::NotImplemented => None,
        }
    }
}

/// `STARTTLS`
const VERB_BYTES_MAX: usize = 8;
