//! The arguments of MAIL and RCPT: a path and its parameters, RFC 5321 §4.1.2.

use super::{Command, CommandError, Grammar};
use crate::dsn::{EnvelopeId, Notify, OriginalRecipient, Return};
use crate::path::{ForwardPath, ReversePath};
use crate::stage::Stage;
use crate::xtext;

/// The parameters of MAIL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MailParameters {
    /// SIZE=, RFC 1870 §3.
    pub size: Option<u64>,
    /// BODY=, RFC 6152 §2.
    pub body: Option<BodyType>,
    /// SMTPUTF8, RFC 6531 §3.4.
    pub smtp_utf8: bool,
    /// REQUIRETLS, RFC 8689 §2.
    pub require_tls: bool,
    /// RET=, RFC 3461 §4.3.
    pub ret: Option<Return>,
    /// ENVID=, RFC 3461 §4.4.
    pub envelope_id: Option<EnvelopeId>,
}

/// The argument of BODY=, RFC 6152 §2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyType {
    /// 7BIT.
    SevenBit,
    /// 8BITMIME.
    EightBitMime,
}

/// The parameters of RCPT.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RcptParameters {
    /// NOTIFY=, RFC 3461 §4.1.
    pub notify: Option<Notify>,
    /// ORCPT=, RFC 3461 §4.2.
    pub original_recipient: Option<OriginalRecipient>,
}

/// RFC 5321 §4.1.1.2.
pub(super) fn mail(argument: &str, grammar: Grammar) -> Result<Command<'_>, CommandError> {
    let argument = strip_keyword(argument, "FROM:").ok_or(CommandError::Arguments(Stage::Mail))?;
    let (path, parameters) = split_path(argument).ok_or(CommandError::ReversePath)?;
    let reverse_path = ReversePath::parse_utf8(path).map_err(|_| CommandError::ReversePath)?;
    let mut mail = MailParameters::default();
    let mut has_auth = false;
    for (keyword, value) in split_parameters(parameters) {
        let is = |name: &str| keyword.eq_ignore_ascii_case(name);
        let good = match value {
            Some(value) if grammar.size && is("SIZE") => once(&mut mail.size, size_value(value)),
            Some(value) if grammar.eight_bit_mime && is("BODY") => once(&mut mail.body, body_value(value)),
            Some(value) if grammar.dsn && is("RET") => once(&mut mail.ret, Return::parse(value)),
            Some(value) if grammar.dsn && is("ENVID") => {
                once(&mut mail.envelope_id, EnvelopeId::parse(value))
            }
            // RFC 4954 §5: understood, and not trusted
            Some(value) if grammar.auth && is("AUTH") => flag(&mut has_auth) && xtext::is_printable(value),
            None if grammar.smtp_utf8 && is("SMTPUTF8") => flag(&mut mail.smtp_utf8),
            None if grammar.require_tls && is("REQUIRETLS") => flag(&mut mail.require_tls),
            _ => return Err(CommandError::UnknownParameter(Stage::Mail)),
        };
        if !good {
            return Err(CommandError::Parameter(Stage::Mail));
        }
    }
    if !mail.smtp_utf8 && !reverse_path.as_str().is_ascii() {
        return Err(CommandError::NotAscii(Stage::Mail));
    }
    Ok(Command::Mail { reverse_path, parameters: mail })
}

/// RFC 5321 §4.1.1.3. Whether MAIL had SMTPUTF8 is for the session to know.
pub(super) fn rcpt(argument: &str, grammar: Grammar) -> Result<Command<'_>, CommandError> {
    let argument = strip_keyword(argument, "TO:").ok_or(CommandError::Arguments(Stage::Rcpt))?;
    let (path, parameters) = split_path(argument).ok_or(CommandError::ForwardPath)?;
    let forward_path = ForwardPath::parse_utf8(path).map_err(|_| CommandError::ForwardPath)?;
    let mut rcpt = RcptParameters::default();
    for (keyword, value) in split_parameters(parameters) {
        let is = |name: &str| keyword.eq_ignore_ascii_case(name);
        let good = match value {
            Some(value) if grammar.dsn && is("NOTIFY") => once(&mut rcpt.notify, Notify::parse(value)),
            Some(value) if grammar.dsn && is("ORCPT") => {
                once(&mut rcpt.original_recipient, OriginalRecipient::parse(value))
            }
            _ => return Err(CommandError::UnknownParameter(Stage::Rcpt)),
        };
        if !good {
            return Err(CommandError::Parameter(Stage::Rcpt));
        }
    }
    Ok(Command::Rcpt { forward_path, parameters: rcpt })
}

/// `KEYWORD=value` or `KEYWORD`, between spaces.
fn split_parameters(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    text.split(' ').filter(|parameter| !parameter.is_empty()).map(|parameter| {
        match parameter.split_once('=') {
            Some((keyword, value)) => (keyword, Some(value)),
            None => (parameter, None),
        }
    })
}

/// Fills `slot` with a value; false unless that is good and the first of its kind.
fn once<T>(slot: &mut Option<T>, value: Option<T>) -> bool {
    let good = slot.is_none() && value.is_some();
    *slot = value;
    good
}

/// As [`once`] for a parameter without a value.
fn flag(slot: &mut bool) -> bool {
    !std::mem::replace(slot, true)
}

/// RFC 1870 §3: one to twenty digits. What does not fit 64 bits is larger than any limit.
fn size_value(value: &str) -> Option<u64> {
    if value.is_empty() || value.len() > SIZE_DIGITS_MAX || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(value.parse().unwrap_or(u64::MAX))
}

/// RFC 6152 §2.
fn body_value(value: &str) -> Option<BodyType> {
    if value.eq_ignore_ascii_case("7BIT") {
        Some(BodyType::SevenBit)
    } else if value.eq_ignore_ascii_case("8BITMIME") {
        Some(BodyType::EightBitMime)
    } else {
        None
    }
}

/// What comes after `keyword`, which is in any case.
fn strip_keyword<'a>(text: &'a str, keyword: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(keyword.len())?;
    start.eq_ignore_ascii_case(keyword).then_some(rest)
}

/// `<path> parameters` into the path without brackets and the parameters.
///
/// RFC 5321 §3.3: no space may stand before the bracket. Tolerated all the same, because it can mean only one
/// thing and is sent by many.
fn split_path(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches(' ').strip_prefix('<')?;
    let (mut quoted, mut escaped) = (false, false);
    let end = text.bytes().position(|byte| {
        let closes = byte == b'>' && !quoted;
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            _ => {}
        }
        closes
    })?;
    let parameters = &text[end + 1..];
    (parameters.is_empty() || parameters.starts_with(' ')).then_some((&text[..end], parameters))
}

const SIZE_DIGITS_MAX: usize = 20;
