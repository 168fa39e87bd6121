//! Commands that are refused by the protocol itself, and with which words.

use crate::command::CommandError;
use crate::stage::Stage;

/// Why a command is refused before the driver is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It cannot be understood.
    Malformed(CommandError),
    /// Its line is over the limit.
    LineTooLong,
    /// It is not allowed now.
    Sequence(Stage),
    /// AUTH with a mechanism that is not offered.
    Mechanism,
    /// A response of AUTH that is not base64, or not what its mechanism asks for.
    AuthResponse,
    /// A response of AUTH over the limit.
    ResponseTooLong,
    /// The client gave AUTH up.
    AuthCancelled,
    /// DATA or BDAT without an accepted recipient.
    NoRecipients(Stage),
    /// One recipient over the limit.
    TooManyRecipients,
    /// MAIL with a SIZE= over the limit.
    TooBig,
    /// One senseless command too many: the session closes.
    TooManyErrors(Option<Stage>),
}

impl Refusal {
    /// The whole reply line, its enhanced status at a fixed place.
    pub const fn line(self) -> &'static [u8] {
        match self {
            Refusal::Malformed(error) => match error {
                // RFC 5321 §4.2.4: unknown is 500, known and not done is 502. RFC 3463 §3.6: X.5.1, X.5.2
                CommandError::Unknown => b"500 5.5.2 Command not recognized\r\n",
                CommandError::NotImplemented => b"502 5.5.1 Command not implemented\r\n",
                CommandError::InvalidCharacter(_) => b"500 5.5.2 Syntax error, invalid character\r\n",
                CommandError::Arguments(_) => b"501 5.5.4 Syntax error in arguments\r\n",
                CommandError::ReversePath => b"501 5.1.7 Bad sender address syntax\r\n", // RFC 3463 §3.2
                CommandError::ForwardPath => b"501 5.1.3 Bad recipient address syntax\r\n",
                // RFC 6531 §3.5
                CommandError::NotAscii(_) => b"553 5.6.7 Address beyond ASCII without SMTPUTF8\r\n",
                // RFC 5321 §4.1.1.11
                CommandError::UnknownParameter(_) => b"555 5.5.4 Parameter not recognized\r\n",
                CommandError::Parameter(_) => b"501 5.5.4 Bad value of a parameter\r\n",
            },
            Refusal::LineTooLong => b"500 5.5.2 Line too long\r\n", // RFC 5321 §4.5.3.1.9
            Refusal::Sequence(_) => b"503 5.5.1 Bad sequence of commands\r\n", // RFC 5321 §4.1.4
            // RFC 4954 §4 and §6
            Refusal::Mechanism => b"504 5.5.4 Mechanism not offered\r\n",
            Refusal::AuthResponse => b"501 5.5.2 Response cannot be decoded\r\n",
            Refusal::ResponseTooLong => b"500 5.5.6 Authentication exchange line is too long\r\n",
            Refusal::AuthCancelled => b"501 5.7.0 Authentication cancelled\r\n",
            Refusal::NoRecipients(_) => b"554 5.5.1 No valid recipients\r\n", // RFC 5321 §3.3
            Refusal::TooManyRecipients => b"452 4.5.3 Too many recipients\r\n", // RFC 5321 §4.5.3.1.10
            Refusal::TooBig => b"552 5.3.4 Message too big\r\n",              // RFC 1870 §6.1
            Refusal::TooManyErrors(_) => b"421 4.7.0 Too many errors\r\n",    // RFC 5321 §3.8
        }
    }

    /// The stage of the refused command, where it was understood that far.
    pub const fn stage(self) -> Option<Stage> {
        match self {
            Refusal::Malformed(error) => error.stage(),
            Refusal::LineTooLong => None,
            Refusal::Sequence(stage) | Refusal::NoRecipients(stage) => Some(stage),
            Refusal::Mechanism
            | Refusal::AuthResponse
            | Refusal::ResponseTooLong
            | Refusal::AuthCancelled => Some(Stage::Auth),
            Refusal::TooManyRecipients => Some(Stage::Rcpt),
            Refusal::TooBig => Some(Stage::Mail),
            Refusal::TooManyErrors(stage) => stage,
        }
    }

    /// Whether it tells against the client. RCPT, DATA and BDAT after a refused MAIL do not: who pipelines
    /// sends them in good faith (RFC 2920 §3.1).
    pub const fn is_error(self) -> bool {
        match self {
            Refusal::Malformed(_) | Refusal::LineTooLong => true,
            Refusal::Mechanism
            | Refusal::AuthResponse
            | Refusal::ResponseTooLong
            | Refusal::AuthCancelled => true,
            Refusal::Sequence(stage) => !matches!(stage, Stage::Rcpt | Stage::Data | Stage::Body),
            Refusal::NoRecipients(_) | Refusal::TooManyRecipients | Refusal::TooBig => false,
            Refusal::TooManyErrors(_) => false,
        }
    }
}
