//! The two replies that introduce us: the greeting, and what we can do.

use super::auth::Mechanisms;
use super::session::Session;
use crate::Protocol;
use std::io::Write;

impl Session {
    /// RFC 5321 §4.2, §4.3.1: the host name comes first.
    pub(super) fn write_greeting(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"220 ");
        out.extend_from_slice(self.options.name.as_bytes());
        out.extend_from_slice(match self.options.protocol {
            Protocol::Smtp => b" ESMTP\r\n",
            Protocol::Lmtp => b" LMTP\r\n", // as in the example of RFC 2033
        });
    }

    /// RFC 5321 §4.1.1.1.
    pub(super) fn write_hello(&self, extended: bool, out: &mut Vec<u8>) {
        let mut lines = Lines { last: out.len(), out };
        lines.push(self.options.name.as_bytes());
        if extended {
            self.write_keywords(&mut lines);
        }
        lines.finish();
    }

    fn write_keywords(&self, lines: &mut Lines<'_>) {
        let offered = &self.options.extensions;
        if offered.pipelining {
            lines.push(b"PIPELINING");
        }
        if offered.size {
            lines.push(b"SIZE");
            if let Some(limit) = self.options.limits.max_message_bytes {
                lines.extend(" ", limit);
            }
        }
        if offered.eight_bit_mime {
            lines.push(b"8BITMIME");
        }
        if offered.smtp_utf8 {
            lines.push(b"SMTPUTF8");
        }
        if offered.enhanced_status_codes {
            lines.push(b"ENHANCEDSTATUSCODES");
        }
        if offered.dsn {
            lines.push(b"DSN");
        }
        // RFC 8689 §2: promised only under TLS
        if offered.require_tls && self.is_tls {
            lines.push(b"REQUIRETLS");
        }
        // RFC 3207 §4.2: not listed under TLS
        if offered.start_tls && !self.is_tls {
            lines.push(b"STARTTLS");
        }
        if offered.chunking {
            lines.push(b"CHUNKING");
        }
        self.write_auth(lines);
        self.write_limits(lines);
        self.options.extra_keywords.iter().for_each(|line| lines.push(line.as_bytes()));
    }

    /// RFC 4954 §3.
    fn write_auth(&self, lines: &mut Lines<'_>) {
        match self.options.extensions.auth {
            Mechanisms { plain: true, login: true } => lines.push(b"AUTH PLAIN LOGIN"),
            Mechanisms { plain: true, login: false } => lines.push(b"AUTH PLAIN"),
            Mechanisms { plain: false, login: true } => lines.push(b"AUTH LOGIN"),
            Mechanisms { plain: false, login: false } => {}
        }
    }

    /// RFC 9422 §3.
    fn write_limits(&self, lines: &mut Lines<'_>) {
        let Some(limits) = &self.options.extensions.limits else { return };
        let of_each = [
            (" RCPTMAX=", limits.recipients_max),
            (" MAILMAX=", limits.transactions_max),
            (" RCPTDOMAINMAX=", limits.domains_max),
        ];
        lines.push(b"LIMITS");
        for (name, limit) in of_each {
            if let Some(limit) = limit {
                lines.extend(name, limit.get().into());
            }
        }
    }
}

/// The lines of one reply, the last of which is known when the next one does not come.
struct Lines<'a> {
    out: &'a mut Vec<u8>,
    /// Where the last line begins.
    last: usize,
}

impl Lines<'_> {
    fn push(&mut self, line: &[u8]) {
        self.last = self.out.len();
        self.out.extend_from_slice(b"250-");
        self.out.extend_from_slice(line);
        self.out.extend_from_slice(b"\r\n");
    }

    /// Appends to the last line.
    fn extend(&mut self, text: &str, number: u64) {
        self.out.truncate(self.out.len() - 2);
        write!(self.out, "{text}{number}\r\n").expect("a Vec takes what it is given");
    }

    fn finish(self) {
        self.out[self.last + 3] = b' ';
    }
}
