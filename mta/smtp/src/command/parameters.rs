//! The arguments of MAIL and RCPT: a path and its parameters, RFC 5321 §4.1.2.

use super::{BodyType, Command, CommandError, Grammar};
use crate::path::{ForwardPath, ReversePath};
use crate::stage::Stage;
use crate::xtext;

/// RFC 5321 §4.1.1.2.
pub(super) fn mail(argument: &str, grammar: Grammar) -> Result<Command<'_>, CommandError> {
    let argument = strip_keyword(argument, "FROM:").ok_or(CommandError::Arguments(Stage::Mail))?;
    let (path, parameters) = split_path(argument).ok_or(CommandError::ReversePath)?;
    let reverse_path = ReversePath::parse_utf8(path).map_err(|_| CommandError::ReversePath)?;
    let (mut size, mut body, mut authorized, mut utf8) = (None, None, None, None);
    for (keyword, value) in split_parameters(parameters) {
        let is = |name: &str| keyword.eq_ignore_ascii_case(name);
        match value {
            Some(value) if grammar.size && is("SIZE") => once(&mut size, size_value(value), Stage::Mail)?,
            Some(value) if grammar.eight_bit_mime && is("BODY") => {
                once(&mut body, body_value(value), Stage::Mail)?;
            }
            None if grammar.smtp_utf8 && is("SMTPUTF8") => once(&mut utf8, Some(()), Stage::Mail)?,
            // RFC 4954 §5: understood, and not trusted
            Some(value) if grammar.auth && is("AUTH") => {
                once(&mut authorized, xtext::is_valid(value).then_some(()), Stage::Mail)?;
            }
            _ => return Err(CommandError::UnknownParameter(Stage::Mail)),
        }
    }
    let smtp_utf8 = utf8.is_some();
    if !smtp_utf8 && !reverse_path.as_str().is_ascii() {
        return Err(CommandError::NotAscii(Stage::Mail));
    }
    Ok(Command::Mail { reverse_path, size, body, smtp_utf8 })
}

/// RFC 5321 §4.1.1.3. Whether MAIL had SMTPUTF8 is for the session to know.
pub(super) fn rcpt(argument: &str) -> Result<Command<'_>, CommandError> {
    let argument = strip_keyword(argument, "TO:").ok_or(CommandError::Arguments(Stage::Rcpt))?;
    let (path, parameters) = split_path(argument).ok_or(CommandError::ForwardPath)?;
    let forward_path = ForwardPath::parse_utf8(path).map_err(|_| CommandError::ForwardPath)?;
    if split_parameters(parameters).next().is_some() {
        return Err(CommandError::UnknownParameter(Stage::Rcpt));
    }
    Ok(Command::Rcpt { forward_path })
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

/// Fills `slot` with a value that is good and the first of its kind.
fn once<T>(slot: &mut Option<T>, value: Option<T>, stage: Stage) -> Result<(), CommandError> {
    if slot.is_some() || value.is_none() {
        return Err(CommandError::Parameter(stage));
    }
    *slot = value;
    Ok(())
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
