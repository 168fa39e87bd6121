//! What a server session is told once: its name, its bounds, and what it offers. It must not know a session.

use super::auth::Mechanisms;
use crate::Protocol;
use std::num::NonZeroU32;

/// Settings of a session, shared by all that are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Our host name, which greeting and reply to EHLO begin with.
    pub name: String,
    /// SMTP or LMTP.
    pub protocol: Protocol,
    /// The bounds.
    pub limits: Limits,
    /// What EHLO lists and what is understood.
    pub extensions: Extensions,
    /// Further lines of the reply to EHLO, without code and CR LF. They are sent as they are, and change
    /// nothing else: true or not is for who writes them.
    pub extra_keywords: Vec<String>,
}

impl Options {
    /// SMTP with the default limits and extensions.
    pub fn new(name: impl Into<String>) -> Options {
        Options {
            name: name.into(),
            protocol: Protocol::default(),
            limits: Limits::default(),
            extensions: Extensions::default(),
            extra_keywords: Vec::new(),
        }
    }
}

/// Bounds of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a command line with its CR LF. The default is enough for what is offered by default; AUTH
    /// asks for 500 more (RFC 4954 §3), DSN for 600 (RFC 3461 §4).
    pub max_line: usize,
    /// Accepted recipients of one transaction.
    pub max_recipients: u32,
    /// Bytes of a message, `None` for no limit.
    pub max_message_bytes: Option<u64>,
    /// Malformed or senseless commands in one session that are answered one by one; the next one closes it.
    pub max_errors: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_line: DEFAULT_MAX_LINE,
            max_recipients: DEFAULT_MAX_RECIPIENTS,
            max_message_bytes: None,
            max_errors: DEFAULT_MAX_ERRORS,
        }
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
    /// STARTTLS, RFC 3207: listed while there is no TLS.
    pub start_tls: bool,
    /// CHUNKING, RFC 3030.
    pub chunking: bool,
    /// SMTPUTF8, RFC 6531: §3.1 asks for 8BITMIME with it.
    pub smtp_utf8: bool,
    /// DSN, RFC 3461.
    pub dsn: bool,
    /// REQUIRETLS, RFC 8689: listed and understood while there is TLS.
    pub require_tls: bool,
    /// AUTH, RFC 4954.
    pub auth: Mechanisms,
    /// LIMITS, RFC 9422.
    pub limits: Option<AdvertisedLimits>,
}

/// What LIMITS tells a client, RFC 9422 §4; at least one of them should be there. They are announced and
/// nothing else: to hold a client to them is for [`Limits`] and the driver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AdvertisedLimits {
    /// RCPTMAX: recipients of a transaction.
    pub recipients_max: Option<NonZeroU32>,
    /// MAILMAX: transactions of a session.
    pub transactions_max: Option<NonZeroU32>,
    /// RCPTDOMAINMAX: different domains of the recipients of a transaction.
    pub domains_max: Option<NonZeroU32>,
}

impl Extensions {
    /// Nothing at all, as a server of RFC 821.
    pub const NONE: Extensions = Extensions {
        pipelining: false,
        size: false,
        eight_bit_mime: false,
        enhanced_status_codes: false,
        start_tls: false,
        chunking: false,
        smtp_utf8: false,
        dsn: false,
        require_tls: false,
        auth: Mechanisms { plain: false, login: false },
        limits: None,
    };
}

impl Default for Extensions {
    fn default() -> Extensions {
        Extensions {
            pipelining: true,
            size: true,
            eight_bit_mime: true,
            enhanced_status_codes: true,
            ..Extensions::NONE
        }
    }
}

/// RFC 5321 §4.5.3.1.4 asks for 512, RFC 1870 §3 for 26 more, and BODY= takes 14 more.
const DEFAULT_MAX_LINE: usize = 1024;
/// RFC 5321 §4.5.3.1.8 asks for 100.
const DEFAULT_MAX_RECIPIENTS: u32 = 1000;
const DEFAULT_MAX_ERRORS: u32 = 20;
