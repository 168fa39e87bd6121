//! Reverse-path, forward-path and mailbox: the addresses of an envelope.
//!
//! Parsed once at the edge into types that hold only what may be sent again. Addresses beyond ASCII (RFC
//! 6531) are refused unless they are asked for by name: `parse_utf8`. It must not know what an address is
//! for, nor look a domain up.

mod grammar;

use grammar::Charset;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// `local-part@domain`, RFC 5321 §4.1.2, kept exactly as written. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mailbox {
    text: Arc<str>,
    /// Bytes of the local part; the `@` comes right after.
    local_bytes: u8,
}

impl Mailbox {
    /// Parses `local-part@domain` without angle brackets.
    ///
    /// # Errors
    /// [`PathError`] on anything that RFC 5321 §4.1.2 does not allow or that §4.5.3.1 says is too long.
    pub fn parse(text: &str) -> Result<Mailbox, PathError> {
        Mailbox::parse_in(Charset::Ascii, text)
    }

    /// As [`Mailbox::parse`], with characters beyond ASCII in local part and domain (RFC 6531 §3.3). A domain
    /// is kept as written too, and not held against IDNA.
    ///
    /// # Errors
    /// As [`Mailbox::parse`]; the lengths are in bytes.
    pub fn parse_utf8(text: &str) -> Result<Mailbox, PathError> {
        Mailbox::parse_in(Charset::Utf8, text)
    }

    fn parse_in(charset: Charset, text: &str) -> Result<Mailbox, PathError> {
        let local_bytes = grammar::mailbox(text, charset)?;
        Ok(Mailbox { text: Arc::from(text), local_bytes })
    }

    /// The local part as written, with its quotes if it had any. Case matters (RFC 5321 §2.4).
    pub fn local(&self) -> &str {
        &self.text[..usize::from(self.local_bytes)]
    }

    /// The domain or address literal as written. Case does not matter (RFC 5321 §2.4).
    pub fn domain(&self) -> &str {
        &self.text[usize::from(self.local_bytes) + 1..]
    }

    /// The whole address, `local-part@domain`.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Where a bounce goes: the argument of MAIL.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReversePath {
    /// `<>`: a bounce, never to be bounced again (RFC 5321 §4.5.5).
    Null,
    /// `<local-part@domain>`.
    Mailbox(Mailbox),
}

impl ReversePath {
    /// Parses what stands between the angle brackets: empty is the null reverse-path.
    ///
    /// # Errors
    /// As [`Mailbox::parse`].
    pub fn parse(text: &str) -> Result<ReversePath, PathError> {
        ReversePath::parse_in(Charset::Ascii, text)
    }

    /// As [`ReversePath::parse`], with characters beyond ASCII.
    ///
    /// # Errors
    /// As [`Mailbox::parse_utf8`].
    pub fn parse_utf8(text: &str) -> Result<ReversePath, PathError> {
        ReversePath::parse_in(Charset::Utf8, text)
    }

    fn parse_in(charset: Charset, text: &str) -> Result<ReversePath, PathError> {
        if text.is_empty() {
            return Ok(ReversePath::Null);
        }
        let text = grammar::without_source_route(text, charset)?;
        Mailbox::parse_in(charset, text).map(ReversePath::Mailbox)
    }

    /// The address, empty for the null reverse-path.
    pub fn as_str(&self) -> &str {
        match self {
            ReversePath::Null => "",
            ReversePath::Mailbox(mailbox) => mailbox.as_str(),
        }
    }
}

/// A recipient: the argument of RCPT.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ForwardPath {
    /// `<postmaster>` without a domain, in any case: RFC 5321 §4.1.1.3, §4.5.1.
    Postmaster,
    /// `<local-part@domain>`.
    Mailbox(Mailbox),
}

impl ForwardPath {
    /// Parses what stands between the angle brackets.
    ///
    /// # Errors
    /// As [`Mailbox::parse`].
    pub fn parse(text: &str) -> Result<ForwardPath, PathError> {
        ForwardPath::parse_in(Charset::Ascii, text)
    }

    /// As [`ForwardPath::parse`], with characters beyond ASCII.
    ///
    /// # Errors
    /// As [`Mailbox::parse_utf8`].
    pub fn parse_utf8(text: &str) -> Result<ForwardPath, PathError> {
        ForwardPath::parse_in(Charset::Utf8, text)
    }

    fn parse_in(charset: Charset, text: &str) -> Result<ForwardPath, PathError> {
        if text.eq_ignore_ascii_case(POSTMASTER) {
            return Ok(ForwardPath::Postmaster);
        }
        let text = grammar::without_source_route(text, charset)?;
        Mailbox::parse_in(charset, text).map(ForwardPath::Mailbox)
    }

    /// The address, `postmaster` for the one without a domain.
    pub fn as_str(&self) -> &str {
        match self {
            ForwardPath::Postmaster => POSTMASTER,
            ForwardPath::Mailbox(mailbox) => mailbox.as_str(),
        }
    }

    /// The domain, `None` for the bare postmaster.
    pub fn domain(&self) -> Option<&str> {
        match self {
            ForwardPath::Postmaster => None,
            ForwardPath::Mailbox(mailbox) => Some(mailbox.domain()),
        }
    }
}

/// Why a text is not a mailbox or path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathError {
    /// No `@`, or nothing at all.
    NoDomain,
    /// Local part empty, or with a character that needs quotes.
    LocalPart,
    /// Local part over 64 bytes.
    LocalPartTooLong,
    /// Not a domain name nor an address literal.
    Domain,
    /// Domain over 255 bytes.
    DomainTooLong,
    /// Path over 256 bytes with its angle brackets.
    PathTooLong,
    /// A byte outside ASCII.
    NotAscii,
    /// A control character outside ASCII.
    Control,
    /// A source route (`@a,@b:`) that is not one.
    SourceRoute,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PathError::NoDomain => "address without @domain",
            PathError::LocalPart => "bad local part of the address",
            PathError::LocalPartTooLong => "local part of the address over 64 bytes",
            PathError::Domain => "bad domain in the address",
            PathError::DomainTooLong => "domain of the address over 255 bytes",
            PathError::PathTooLong => "address over 254 bytes",
            PathError::NotAscii => "address with a character outside ASCII",
            PathError::Control => "address with a control character",
            PathError::SourceRoute => "bad source route before the address",
        })
    }
}

impl std::error::Error for PathError {}

macro_rules! text_form {
    ($type:ty) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "<{}>", self.as_str())
            }
        }
        impl FromStr for $type {
            type Err = PathError;
            fn from_str(text: &str) -> Result<Self, PathError> {
                <$type>::parse(text)
            }
        }
    };
}

text_form!(Mailbox);
text_form!(ReversePath);
text_form!(ForwardPath);

const POSTMASTER: &str = "postmaster";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_kept_as_written() {
        for text in [
            "a@b",
            "o'neil+tag@Sub.Example.COM",
            "\"a b@c\\\"\"@example.com",
            "\"\"@example.com",
            "a@1.2-3.x",
            "a@[127.0.0.1]",
            "a@[IPv6:2001:db8::1]",
            "a@[x-tag:anything!]",
        ] {
            let mailbox = Mailbox::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(mailbox.to_string(), text);
            assert_eq!(format!("{}@{}", mailbox.local(), mailbox.domain()), text);
        }
        assert_eq!(ForwardPath::parse("PostMaster"), Ok(ForwardPath::Postmaster));
        assert_eq!(ForwardPath::parse("@a.x,@b:c@d").unwrap().as_str(), "c@d");
        assert_eq!(ReversePath::parse(""), Ok(ReversePath::Null));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        use PathError::*;
        for (text, error) in [
            ("", NoDomain),
            ("a", NoDomain),
            ("@b", LocalPart),
            (".a@b", LocalPart),
            ("a..b@c", LocalPart),
            ("a b@c", LocalPart),
            ("a>@c", LocalPart),
            ("\"a@c", LocalPart),
            ("\"a\r\n\"@c", LocalPart),
            ("\"a\"b@c", NoDomain),
            ("a@", Domain),
            ("a@b@c", Domain),
            ("a@-b", Domain),
            ("a@b-", Domain),
            ("a@b..c", Domain),
            ("a@b.", Domain),
            ("a@under_score", Domain),
            ("a@[1.2.3]", Domain),
            ("a@[1.2.3.04]", Domain),
            ("a@[IPv6:::g]", Domain),
            ("a@[tag:]", Domain),
            ("a@[127.0.0.1", Domain),
            ("\u{e4}@b", NotAscii),
        ] {
            assert_eq!(Mailbox::parse(text), Err(error), "{text:?}");
        }
        assert_eq!(ForwardPath::parse("@a,b:c@d"), Err(SourceRoute));
        assert_eq!(ForwardPath::parse("@a"), Err(SourceRoute));
        assert_eq!(ForwardPath::parse(""), Err(NoDomain));
    }

    #[test]
    fn characters_beyond_ascii_are_kept_where_they_are_asked_for() {
        for text in [
            "\u{e4}@b",
            "a@\u{e4}",
            "\u{7528}\u{6237}@\u{4f8b}\u{5b50}.\u{5e7f}\u{544a}",
            "\"\u{e4} \u{1f4e7}\"@b-\u{e4}",
        ] {
            let mailbox = Mailbox::parse_utf8(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(mailbox.as_str(), text);
            assert_eq!(format!("{}@{}", mailbox.local(), mailbox.domain()), text);
            assert_eq!(Mailbox::parse(text), Err(PathError::NotAscii), "{text}");
        }
        assert_eq!(ForwardPath::parse_utf8("@\u{e4}:a@b").unwrap().as_str(), "a@b");
        assert_eq!(ForwardPath::parse("@\u{e4}:a@b"), Err(PathError::SourceRoute));
        for (text, error) in [
            ("\u{85}\u{e4}@b", PathError::Control),
            ("a@\u{9f}", PathError::Control),
            ("\u{e4}\n@b", PathError::Control),
            ("\u{e4}\u{7f}@b", PathError::Control),
            ("\u{e4} @b", PathError::LocalPart),
            ("\"\\\u{e4}\"@b", PathError::LocalPart),
            ("a@-\u{e4}", PathError::Domain),
            ("a@\u{e4}..b", PathError::Domain),
            ("a@[\u{e4}:x]", PathError::Domain),
            ("a@[x:\u{e4}]", PathError::Domain),
        ] {
            assert_eq!(Mailbox::parse_utf8(text), Err(error), "{text:?}");
        }
        // 64 bytes of a local part are 64 bytes; 63 of a label are its characters
        assert!(Mailbox::parse_utf8(&format!("{}@b", "\u{e4}".repeat(32))).is_ok());
        assert_eq!(
            Mailbox::parse_utf8(&format!("{}@b", "\u{e4}".repeat(33))),
            Err(PathError::LocalPartTooLong)
        );
        assert!(Mailbox::parse_utf8(&format!("a@{}", "\u{e4}".repeat(63))).is_ok());
        assert_eq!(Mailbox::parse_utf8(&format!("a@{}", "\u{e4}".repeat(64))), Err(PathError::Domain));
    }

    #[test]
    fn each_length_is_good_at_its_limit_and_not_beyond() {
        let address = |local: usize, labels: &[usize]| {
            let labels: Vec<String> = labels.iter().map(|&bytes| "d".repeat(bytes)).collect();
            Mailbox::parse(&format!("{}@{}", "a".repeat(local), labels.join("."))).map(|_| ())
        };
        assert_eq!(address(64, &[1]), Ok(()));
        assert_eq!(address(65, &[1]), Err(PathError::LocalPartTooLong));
        assert_eq!(address(1, &[63]), Ok(()));
        assert_eq!(address(1, &[64]), Err(PathError::Domain));
        // 254 bytes without the angle brackets: the path is the tighter limit for a domain in an address.
        assert_eq!(address(1, &[63, 63, 63, 60]), Ok(()));
        assert_eq!(address(1, &[63, 63, 63, 61]), Err(PathError::PathTooLong));
        let route = |labels: [usize; 5]| {
            let labels = labels.map(|bytes| "d".repeat(bytes));
            ForwardPath::parse(&format!("@{}:a@b", labels.join("."))).is_ok()
        };
        assert!(route([63, 63, 63, 61, 1]) && !route([63, 63, 63, 62, 1]));
    }
}
