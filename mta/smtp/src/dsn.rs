//! What a sender asks to be told of its mail: the parameters of DSN, RFC 3461 §4.
//!
//! Parsed once at the edge into types that hold only what may be sent again. It must not know commands, nor
//! how a notification is made.

use crate::xtext;
use std::fmt;

/// RET of MAIL, RFC 3461 §4.3: what of the message a notification of failure brings back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Return {
    /// All of it.
    Full,
    /// Its header.
    Headers,
}

impl Return {
    /// Parses the value, which is in any case.
    pub fn parse(value: &str) -> Option<Return> {
        [Return::Full, Return::Headers].into_iter().find(|ret| ret.as_str().eq_ignore_ascii_case(value))
    }

    /// The value as it is sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Return::Full => "FULL",
            Return::Headers => "HDRS",
        }
    }
}

/// NOTIFY of RCPT, RFC 3461 §4.1: when to send a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notify {
    /// Whatever happens.
    Never,
    /// If one of these happens; at least one of them is true.
    On {
        /// The message was delivered.
        success: bool,
        /// It was not and will not be.
        failure: bool,
        /// It was not yet.
        delay: bool,
    },
}

impl Notify {
    /// Parses `NEVER`, or a list of the others, in any case.
    pub fn parse(value: &str) -> Option<Notify> {
        if value.eq_ignore_ascii_case("NEVER") {
            return Some(Notify::Never);
        }
        let (mut success, mut failure, mut delay) = (false, false, false);
        for word in value.split(',') {
            if word.eq_ignore_ascii_case("SUCCESS") {
                success = true;
            } else if word.eq_ignore_ascii_case("FAILURE") {
                failure = true;
            } else if word.eq_ignore_ascii_case("DELAY") {
                delay = true;
            } else {
                return None;
            }
        }
        Some(Notify::On { success, failure, delay })
    }
}

/// The value as it is sent.
impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let &Notify::On { success, failure, delay } = self else { return f.write_str("NEVER") };
        let words = [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")];
        for (index, (_, word)) in words.iter().filter(|(is_asked, _)| *is_asked).enumerate() {
            write!(f, "{}{word}", if index > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

/// ENVID of MAIL, RFC 3461 §4.4: what the sender calls the transaction. Kept as sent, in xtext.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvelopeId(Box<str>);

impl EnvelopeId {
    /// Parses the value: at most 100 bytes of xtext that stand for printable ASCII.
    pub fn parse(value: &str) -> Option<EnvelopeId> {
        let good = (1..=ENVELOPE_ID_BYTES_MAX).contains(&value.len()) && xtext::is_printable(value);
        good.then(|| EnvelopeId(value.into()))
    }

    /// The value as it was sent, and may be sent again.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it stands for: printable ASCII.
    pub fn decoded(&self) -> String {
        xtext::decoded(&self.0)
    }
}

/// ORCPT of RCPT, RFC 3461 §4.2: the address that the sender wrote to. Kept as sent, in xtext.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginalRecipient {
    /// `type;address`
    text: Box<str>,
}

impl OriginalRecipient {
    /// Parses the value, `type;address`: at most 500 bytes. The address is xtext that stands for printable
    /// ASCII; one of the type `utf-8` may have characters beyond ASCII as they are (RFC 6533 §3).
    pub fn parse(value: &str) -> Option<OriginalRecipient> {
        let (address_type, address) = value.split_once(';')?;
        // RFC 3461 §4.2: a type that is registered; none has other characters
        let is_type = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let good_address = if address_type.eq_ignore_ascii_case(UTF8_TYPE) {
            xtext::is_printable_utf8(address)
        } else {
            xtext::is_printable(address)
        };
        let good = value.len() <= ORIGINAL_RECIPIENT_BYTES_MAX
            && !address_type.is_empty()
            && address_type.bytes().all(is_type)
            && !address.is_empty()
            && good_address;
        good.then(|| OriginalRecipient { text: value.into() })
    }

    /// The value as it was sent, and may be sent again: beyond ASCII only with SMTPUTF8.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// `rfc822`, mostly.
    pub fn address_type(&self) -> &str {
        self.text.split_once(';').map_or("", |(address_type, _)| address_type)
    }

    /// The address that was meant: printable, and need not be one of SMTP.
    pub fn address(&self) -> String {
        self.text.split_once(';').map_or_else(String::new, |(_, address)| xtext::decoded(address))
    }
}

/// RFC 3461 §4.4.
const ENVELOPE_ID_BYTES_MAX: usize = 100;
/// RFC 3461 §4.2.
const ORIGINAL_RECIPIENT_BYTES_MAX: usize = 500;
/// RFC 6533 §3.
const UTF8_TYPE: &str = "utf-8";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_can_be_asked_for_again() {
        for value in ["NEVER", "SUCCESS", "FAILURE,DELAY", "SUCCESS,FAILURE,DELAY"] {
            assert_eq!(Notify::parse(value).unwrap().to_string(), value);
            assert_eq!(Notify::parse(&value.to_lowercase()), Notify::parse(value));
        }
        assert_eq!(Notify::parse("delay,Failure").unwrap().to_string(), "FAILURE,DELAY");
        for value in ["", ",", "NEVER,DELAY", "SUCCESS,", "SUCCESS DELAY", "ALWAYS"] {
            assert_eq!(Notify::parse(value), None, "{value:?}");
        }
        assert_eq!(Return::parse("hdrs"), Some(Return::Headers));
        assert_eq!(Return::parse("Full").unwrap().as_str(), "FULL");
        assert_eq!(Return::parse("BODY"), None);
    }

    #[test]
    fn an_envelope_id_is_printable_and_bounded() {
        let id = EnvelopeId::parse("a+2Bb+20c").unwrap();
        assert_eq!((id.as_str(), id.decoded().as_str()), ("a+2Bb+20c", "a+b c"));
        assert!(EnvelopeId::parse(&"x".repeat(100)).is_some());
        let long = "x".repeat(101);
        for value in ["", "a=b", "+00", "+0A", "a+0D+0Ab", "+7F", "+2b", "+C3+A4", "\u{e4}", long.as_str()] {
            assert_eq!(EnvelopeId::parse(value), None, "{value:?}");
        }
    }

    #[test]
    fn an_original_recipient_has_a_type_and_a_printable_address() {
        let recipient = OriginalRecipient::parse("rfc822;a+2Bb@c;d").unwrap();
        assert_eq!((recipient.address_type(), recipient.address().as_str()), ("rfc822", "a+b@c;d"));
        assert_eq!(recipient.as_str(), "rfc822;a+2Bb@c;d");
        assert_eq!(OriginalRecipient::parse("UTF-8;\u{e4}+20@b").unwrap().address(), "\u{e4} @b");
        let with_bytes = |bytes: usize| format!("x;{}", "x".repeat(bytes - 2));
        assert!(OriginalRecipient::parse(&with_bytes(500)).is_some());
        for value in [
            "",
            "a@b",
            ";a@b",
            "rfc822;",
            "rfc 822;a",
            "rfc822;a b",
            "rfc822;+00",
            "rfc822;a+0D+0Ab",
            "rfc822;\u{e4}@b",
            "utf-8;+00",
            "utf-8;\u{85}",
            "utf-8;+\u{e4}",
            "utf-8;a=b",
            "r\u{e4};a@b",
            with_bytes(501).as_str(),
        ] {
            assert_eq!(OriginalRecipient::parse(value), None, "{value:?}");
        }
    }
}
