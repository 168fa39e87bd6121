//! What a server says it can do, RFC 5321 §4.1.1.1.

use std::num::NonZeroU32;
use std::str::FromStr;

/// The keywords of a reply to EHLO that this crate can use. All off after HELO.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extensions {
    /// PIPELINING, RFC 2920.
    pub pipelining: bool,
    /// SIZE, RFC 1870: the largest message in bytes; `Some(0)` if there is no limit or it could not be read.
    pub size: Option<u64>,
    /// 8BITMIME, RFC 6152.
    pub eight_bit_mime: bool,
    /// ENHANCEDSTATUSCODES, RFC 2034.
    pub enhanced_status_codes: bool,
    /// STARTTLS, RFC 3207.
    pub start_tls: bool,
    /// AUTH with PLAIN, RFC 4616.
    pub auth_plain: bool,
    /// AUTH with LOGIN.
    pub auth_login: bool,
    /// CHUNKING, RFC 3030.
    pub chunking: bool,
    /// SMTPUTF8, RFC 6531.
    pub smtp_utf8: bool,
    /// DSN, RFC 3461.
    pub dsn: bool,
    /// REQUIRETLS, RFC 8689.
    pub require_tls: bool,
    /// LIMITS, RFC 9422: recipients in one transaction. A limit of 0 would be no server at all, and is none.
    pub recipients_max: Option<NonZeroU32>,
}

impl Extensions {
    /// Reads the text of a reply to EHLO: after the first line each one is a keyword and its parameters.
    /// Unknown ones are passed over.
    pub(super) fn parse(text: &str) -> Extensions {
        let mut extensions = Extensions::default();
        text.as_bytes().split(|&byte| byte == b'\n').skip(1).for_each(|line| extensions.add(line));
        extensions
    }

    fn add(&mut self, line: &[u8]) {
        let mut words = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
        let Some(keyword) = words.next() else { return };
        // RFC 5321 §2.4: keywords are in any case
        let is = |name: &str| keyword.eq_ignore_ascii_case(name.as_bytes());
        if is("PIPELINING") {
            self.pipelining = true;
        } else if is("SIZE") {
            // RFC 1870 §3: no number, or 0, is no limit; so is one that is none
            self.size = Some(words.next().and_then(number).unwrap_or(0));
        } else if is("8BITMIME") {
            self.eight_bit_mime = true;
        } else if is("ENHANCEDSTATUSCODES") {
            self.enhanced_status_codes = true;
        } else if is("STARTTLS") {
            self.start_tls = true;
        } else if is("AUTH") {
            words.for_each(|mechanism| self.add_mechanism(mechanism));
        } else if let Some(first) = after("AUTH=", keyword) {
            // as drafts before RFC 2554 had it, and old servers still say it
            [first].into_iter().chain(words).for_each(|mechanism| self.add_mechanism(mechanism));
        } else if is("CHUNKING") {
            self.chunking = true;
        } else if is("SMTPUTF8") {
            self.smtp_utf8 = true;
        } else if is("DSN") {
            self.dsn = true;
        } else if is("REQUIRETLS") {
            self.require_tls = true;
        } else if is("LIMITS") {
            self.recipients_max = words.find_map(recipients_max);
        }
    }

    fn add_mechanism(&mut self, name: &[u8]) {
        self.auth_plain |= name.eq_ignore_ascii_case(b"PLAIN");
        self.auth_login |= name.eq_ignore_ascii_case(b"LOGIN");
    }
}

/// RFC 9422: `RCPTMAX=` and a number.
fn recipients_max(word: &[u8]) -> Option<NonZeroU32> {
    after("RCPTMAX=", word).and_then(number)
}

/// What follows `start`, which may be in any case.
fn after<'a>(start: &str, word: &'a [u8]) -> Option<&'a [u8]> {
    let (head, tail) = word.split_at_checked(start.len())?;
    head.eq_ignore_ascii_case(start.as_bytes()).then_some(tail)
}

fn number<N: FromStr>(word: &[u8]) -> Option<N> {
    str::from_utf8(word).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &str) -> Extensions {
        Extensions::parse(&format!("mx.test greets you\n{lines}"))
    }

    #[test]
    fn each_keyword_is_understood_in_any_case() {
        let all = "pipelining\nSize 1000\n8bitmime\nEnhancedStatusCodes\nSTARTTLS\nauth CRAM-MD5 plain\tLOGIN\n\
                   CHUNKING\nSMTPUTF8\nDSN\nREQUIRETLS\nlimits MAILMAX=5 rcptmax=20 RCPTDOMAINMAX=1";
        let expected = Extensions {
            pipelining: true,
            size: Some(1000),
            eight_bit_mime: true,
            enhanced_status_codes: true,
            start_tls: true,
            auth_plain: true,
            auth_login: true,
            chunking: true,
            smtp_utf8: true,
            dsn: true,
            require_tls: true,
            recipients_max: NonZeroU32::new(20),
        };
        assert_eq!(of(all), expected);
        assert_eq!(of("AUTH=LOGIN\nAUTH PLAIN"), of("auth=PLAIN LOGIN"));
    }

    #[test]
    fn what_is_no_offer_is_none() {
        let none = Extensions::default();
        for lines in ["", "XSTARTTLS\nAUTH\nAUTH=\nAUTHPLAIN\nPLAIN\nLIMITS\nX=AUTH PLAIN", "\u{feff}DSN"] {
            assert_eq!(of(lines), none, "{lines:?}");
        }
        assert_eq!(Extensions::parse("STARTTLS PIPELINING"), none, "the first line is the server's name");
        for limit in ["0", "-1", "4294967296", "", "x", "1.5", "٣"] {
            assert_eq!(of(&format!("LIMITS RCPTMAX={limit}")), none, "{limit:?}");
        }
        for limit in ["", " -1", " 18446744073709551616", " x"] {
            assert_eq!(of(&format!("SIZE{limit}")), Extensions { size: Some(0), ..none }, "{limit:?}");
        }
    }
}
