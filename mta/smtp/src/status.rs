//! Reply codes (RFC 5321 §4.2) and enhanced status codes (RFC 3463) as types that hold no impossible value.
//!
//! It must not know replies, sessions or recipients.

use std::fmt;
use std::str::FromStr;

/// A three-digit reply code, 200 to 599.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReplyCode(u16);

impl ReplyCode {
    /// The code, or `None` outside 200..=599.
    ///
    /// RFC 5321 §4.2.1: 1xx is not used by SMTP. Second digits above 5 have no meaning there, but the first
    /// digit alone decides (RFC 5321 §4.3.2), so they are let through.
    pub const fn new(code: u16) -> Option<ReplyCode> {
        if code >= 200 && code <= 599 { Some(ReplyCode(code)) } else { None }
    }

    /// The number, 200 to 599.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// What the first digit says.
    pub const fn severity(self) -> Severity {
        match self.0 / 100 {
            2 => Severity::Completion,
            3 => Severity::Intermediate,
            4 => Severity::Transient,
            _ => Severity::Permanent,
        }
    }

    /// The three ASCII digits, as on the wire.
    pub const fn digits(self) -> [u8; 3] {
        [b'0' + (self.0 / 100) as u8, b'0' + (self.0 / 10 % 10) as u8, b'0' + (self.0 % 10) as u8]
    }

    /// 421: the server closes the connection, whatever was asked (RFC 5321 §3.8, §4.2.1).
    pub const fn is_shutdown(self) -> bool {
        self.0 == 421
    }
}

impl fmt::Display for ReplyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for ReplyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The first digit of a reply code in words, RFC 5321 §4.2.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// 2xx: done.
    Completion,
    /// 3xx: go on.
    Intermediate,
    /// 4xx: not now; try again later.
    Transient,
    /// 5xx: never, in this form.
    Permanent,
}

/// `class.subject.detail`, RFC 3463 §2: the class is 2, 4 or 5, the others 0 to 999.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnhancedStatus {
    class: u8,
    subject: u16,
    detail: u16,
}

impl EnhancedStatus {
    /// # Panics
    /// On a class other than 2, 4, 5 or a subject or detail above 999: a mistake of ours, not of a peer.
    pub const fn new(class: u8, subject: u16, detail: u16) -> EnhancedStatus {
        match EnhancedStatus::of(class, subject, detail) {
            Some(status) => status,
            None => panic!("an enhanced status code has class 2, 4 or 5, and at most three digits after it"),
        }
    }

    /// The status with these numbers, or `None` where there is none.
    pub const fn of(class: u8, subject: u16, detail: u16) -> Option<EnhancedStatus> {
        if matches!(class, 2 | 4 | 5) && subject <= 999 && detail <= 999 {
            Some(EnhancedStatus { class, subject, detail })
        } else {
            None
        }
    }

    /// The enhanced status of a reply that has none: `class.0.0`, class from the code.
    ///
    /// A 3xx code has no class of its own and counts as success here.
    pub const fn from_code(code: ReplyCode) -> EnhancedStatus {
        let class = match code.severity() {
            Severity::Completion | Severity::Intermediate => 2,
            Severity::Transient => 4,
            Severity::Permanent => 5,
        };
        EnhancedStatus { class, subject: 0, detail: 0 }
    }

    /// 2, 4 or 5.
    pub const fn class(self) -> u8 {
        self.class
    }

    /// 0 to 999.
    pub const fn subject(self) -> u16 {
        self.subject
    }

    /// 0 to 999.
    pub const fn detail(self) -> u16 {
        self.detail
    }

    /// Parses `4.7.1` and nothing around it.
    ///
    /// RFC 3463 §2: one to three digits each. Leading zeros are ours to refuse: RFC 3463 §2 says that they
    /// must not be sent.
    pub fn parse(text: &[u8]) -> Option<EnhancedStatus> {
        let (&class, rest) = text.split_first()?;
        if !matches!(class, b'2' | b'4' | b'5') {
            return None;
        }
        let rest = rest.strip_prefix(b".")?;
        let dot = rest.iter().take(4).position(|&byte| byte == b'.')?;
        Some(EnhancedStatus {
            class: class - b'0',
            subject: number(&rest[..dot])?,
            detail: number(&rest[dot + 1..])?,
        })
    }
}

/// One to three digits without a leading zero.
fn number(digits: &[u8]) -> Option<u16> {
    if digits.is_empty() || digits.len() > 3 || (digits.len() > 1 && digits[0] == b'0') {
        return None;
    }
    digits.iter().try_fold(0u16, |sum, &digit| {
        if digit.is_ascii_digit() { Some(sum * 10 + u16::from(digit - b'0')) } else { None }
    })
}

/// The text is not an enhanced status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotEnhancedStatus;

impl fmt::Display for NotEnhancedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an enhanced status code; write it as in 4.7.1")
    }
}

impl std::error::Error for NotEnhancedStatus {}

impl FromStr for EnhancedStatus {
    type Err = NotEnhancedStatus;

    fn from_str(text: &str) -> Result<EnhancedStatus, NotEnhancedStatus> {
        EnhancedStatus::parse(text.as_bytes()).ok_or(NotEnhancedStatus)
    }
}

impl fmt::Display for EnhancedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

impl fmt::Debug for EnhancedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_codes_end_at_200_and_599() {
        assert_eq!(ReplyCode::new(199), None);
        assert_eq!(ReplyCode::new(600), None);
        assert_eq!(ReplyCode::new(200).unwrap().digits(), *b"200");
        assert_eq!(ReplyCode::new(599).unwrap().severity(), Severity::Permanent);
        assert_eq!(ReplyCode::new(354).unwrap().severity(), Severity::Intermediate);
    }

    #[test]
    fn enhanced_status_is_read_back_and_nothing_else_is() {
        for text in ["2.0.0", "4.7.1", "5.999.999", "5.10.20"] {
            assert_eq!(text.parse::<EnhancedStatus>().unwrap().to_string(), text);
        }
        for text in [
            "", "2", "2.", "2.0", "2.0.", "3.0.0", "1.0.0", "2.0.0 ", "2.01.0", "2.1000.0", "2.0.1000",
            "2..0", "22.0.0", "2.0.0.0", "2.a.0", "2.-1.0",
        ] {
            assert!(text.parse::<EnhancedStatus>().is_err(), "{text:?}");
        }
    }
}
