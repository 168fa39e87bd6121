//! What a site is, as opposed to what it does: its name, what EHLO lists, its limits, its TLS.

use smtp::Protocol;
use smtp::Reply;
use smtp::server::{Extensions, Options};
use std::fmt;
use std::sync::Arc;

/// Shared by all connections of a site.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Host name, protocol, extensions and limits.
    pub smtp: Arc<Options>,
    /// EHLO is understood; without it the site is one of RFC 821, which knows HELO only.
    pub ehlo: bool,
    /// Who may AUTH, by user and password; empty: everybody.
    pub users: Vec<(String, String)>,
    pub tls: Option<Tls>,
    /// Receive buffer of each connection's socket (SO_RCVBUF), in bytes; `None`: the kernel's.
    pub window_bytes: Option<usize>,
    /// Most bytes that are read at once; with a delay at the body this is a rate.
    pub chunk_bytes: Option<usize>,
    /// For clients that talk before the greeting: this reply, and the end.
    pub trap: Option<Arc<Reply>>,
}

/// A site's TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    pub mode: TlsMode,
    pub versions: TlsVersions,
    pub certificate: Certificate,
    /// Session tickets for resumption.
    pub tickets: bool,
    /// Say close_notify before closing, as RFC 8446 §6.1 asks.
    pub close_notify: bool,
}

/// How TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsMode {
    /// RFC 3207.
    #[default]
    StartTls,
    /// RFC 8314 §3: from the first byte.
    Implicit,
}

/// Versions that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsVersions {
    #[default]
    Both,
    Only12,
    Only13,
}

/// What the client is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certificate {
    /// Made at the start for the host name, and signed by an authority made with it.
    Generated,
    /// As `Generated`, but its time was over before it began.
    Expired,
    /// As `Generated`, for another name.
    WrongName,
    /// For the right name, signed by nobody but itself.
    SelfSigned,
    /// One's own.
    Own { chain: Pem, key: Pem },
}

/// The text of a PEM file.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    /// Its name, as the site's author wrote it.
    pub file: String,
    pub text: String,
}

/// Without the text, which may be a secret.
impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pem").field(&self.file).finish()
    }
}

impl Default for Offer {
    /// What needs no value of its own is offered.
    fn default() -> Offer {
        let mut smtp = Options::new(HOST_NAME);
        smtp.limits.max_line = MAX_LINE;
        smtp.extensions = Extensions {
            smtp_utf8: true,
            chunking: true,
            dsn: true,
            require_tls: true,
            ..Extensions::default()
        };
        Offer {
            smtp: Arc::new(smtp),
            ehlo: true,
            users: Vec::new(),
            tls: None,
            window_bytes: None,
            chunk_bytes: None,
            trap: None,
        }
    }
}

impl Offer {
    /// Whether the handshake comes before the greeting.
    pub fn has_implicit_tls(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.mode == TlsMode::Implicit)
    }

    /// Whether each recipient gets a reply of its own at the end of the content (RFC 2033 §4.2).
    pub fn is_lmtp(&self) -> bool {
        self.smtp.protocol == Protocol::Lmtp
    }

    /// Whether these credentials are good here.
    pub fn admits(&self, user: &str, password: &str) -> bool {
        self.users.is_empty() || self.users.iter().any(|(name, secret)| name == user && secret == password)
    }
}

impl Default for Tls {
    fn default() -> Tls {
        Tls {
            mode: TlsMode::StartTls,
            versions: TlsVersions::Both,
            certificate: Certificate::Generated,
            tickets: true,
            close_notify: true,
        }
    }
}

/// RFC 6761 §6.2: a name under `test` is nobody's.
pub const HOST_NAME: &str = "sink.test";
/// RFC 5321 §4.5.3.1.4 and what all extensions add to it: SIZE 26, BODY 14, AUTH 500, SMTPUTF8 10, DSN 600, REQUIRETLS 11.
const MAX_LINE: usize = 2048;
