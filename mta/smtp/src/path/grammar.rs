//! The grammar of RFC 5321 §4.1.2 and its limits, on bytes. It must not know types or allocate.
//!
//! With SMTPUTF8 (RFC 6531 §3.3) bytes beyond ASCII are let through wherever letters are; that they are
//! characters, and none of them a control, is checked once for the whole.

use super::PathError;
use core::net::{Ipv4Addr, Ipv6Addr};

/// Which characters an address may have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Charset {
    Ascii,
    /// RFC 6531: any character but the controls.
    Utf8,
}

/// Checks `local-part@domain` and returns the length of the local part in bytes.
pub fn mailbox(text: &str, charset: Charset) -> Result<u8, PathError> {
    if text.len() > MAILBOX_BYTES_MAX {
        return Err(PathError::PathTooLong);
    }
    if !text.is_ascii() {
        match charset {
            Charset::Ascii => return Err(PathError::NotAscii),
            // C0 and DEL have no place in the grammar; this is for C1
            Charset::Utf8 if text.chars().any(char::is_control) => return Err(PathError::Control),
            Charset::Utf8 => {}
        }
    }
    let text = text.as_bytes();
    let local_bytes = if text.first() == Some(&b'"') { quoted_string(text)? } else { dot_string(text)? };
    if text.get(local_bytes) != Some(&b'@') {
        return Err(PathError::NoDomain);
    }
    let Some(length) = u8::try_from(local_bytes).ok().filter(|&bytes| bytes <= LOCAL_PART_BYTES_MAX) else {
        return Err(PathError::LocalPartTooLong);
    };
    domain(&text[local_bytes + 1..])?;
    Ok(length)
}

/// The path after a source route, which is accepted and ignored: RFC 5321 §4.1.1.3, appendix C.
pub fn without_source_route(text: &str, charset: Charset) -> Result<&str, PathError> {
    if !text.starts_with('@') {
        return Ok(text);
    }
    let (route, rest) = text.split_once(':').ok_or(PathError::SourceRoute)?;
    if charset == Charset::Ascii && !route.is_ascii() {
        return Err(PathError::SourceRoute);
    }
    for hop in route.split(',') {
        let name = hop.strip_prefix('@').ok_or(PathError::SourceRoute)?;
        domain(name.as_bytes()).map_err(|_| PathError::SourceRoute)?;
    }
    Ok(rest)
}

/// RFC 5321 §4.1.2 Dot-string: atoms joined by dots. Returns its length: up to the first `@`.
fn dot_string(text: &[u8]) -> Result<usize, PathError> {
    let end = text.iter().position(|&byte| byte == b'@').ok_or(PathError::NoDomain)?;
    let good = text[..end]
        .split(|&byte| byte == b'.')
        .all(|atom| !atom.is_empty() && atom.iter().all(|&byte| is_atext(byte)));
    if good { Ok(end) } else { Err(PathError::LocalPart) }
}

/// RFC 5321 §4.1.2 Quoted-string, quotes included; RFC 6531 §3.3 adds to what it may hold, not to what may be
/// escaped. Returns its length.
fn quoted_string(text: &[u8]) -> Result<usize, PathError> {
    let mut at = 1;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => return Ok(at + 1),
            // quoted-pairSMTP: a backslash and any graphic or space
            b'\\' if matches!(text.get(at + 1), Some(32..=126)) => at += 2,
            b'\\' => return Err(PathError::LocalPart),
            32..=126 | 128.. => at += 1,
            _ => return Err(PathError::LocalPart),
        }
    }
    Err(PathError::LocalPart)
}

/// RFC 5322 §3.2.3 atext, RFC 6531 §3.3.
fn is_atext(byte: u8) -> bool {
    ATEXT[usize::from(byte)]
}

/// RFC 5321 §4.1.2 Domain, or §4.1.3 address-literal.
fn domain(text: &[u8]) -> Result<(), PathError> {
    if text.len() > DOMAIN_BYTES_MAX {
        return Err(PathError::DomainTooLong);
    }
    let good = match text.strip_prefix(b"[") {
        Some(rest) => rest.strip_suffix(b"]").is_some_and(address_literal),
        None => text.split(|&byte| byte == b'.').all(label),
    };
    if good { Ok(()) } else { Err(PathError::Domain) }
}

/// RFC 5321 §4.1.2 sub-domain; its 63 bytes are RFC 1035 §2.3.4. A U-label (RFC 5890 §2.3.2.1) is looked at
/// loosely: without the tables of IDNA, and as long as it may be if each character took one byte of its
/// A-label.
fn label(text: &[u8]) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || !byte.is_ascii();
    let ends_well = |byte: Option<&u8>| byte.is_some_and(|&byte| is_letter(byte));
    text.iter().filter(|&&byte| !is_continuation(byte)).count() <= LABEL_BYTES_MAX
        && ends_well(text.first())
        && ends_well(text.last())
        && text.iter().all(|&byte| is_letter(byte) || byte == b'-')
}

/// RFC 3629 §3: a byte of a character that is not its first.
fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// RFC 5321 §4.1.3, between the brackets.
fn address_literal(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let Some((tag, rest)) = text.split_once(':') else {
        // Leading zeros, which the grammar of Snum would allow, are refused: some read them as octal.
        return text.parse::<Ipv4Addr>().is_ok();
    };
    if tag.eq_ignore_ascii_case("IPv6") {
        return rest.parse::<Ipv6Addr>().is_ok();
    }
    // General-address-literal: Standardized-tag is an Ldh-str, dcontent has no brackets and no backslash.
    let is_dcontent = |byte| matches!(byte, 33..=90 | 94..=126);
    tag.is_ascii() && label(tag.as_bytes()) && !rest.is_empty() && rest.bytes().all(is_dcontent)
}

/// RFC 5321 §4.5.3.1.1.
const LOCAL_PART_BYTES_MAX: u8 = 64;
/// RFC 5321 §4.5.3.1.2.
const DOMAIN_BYTES_MAX: usize = 255;
/// RFC 5321 §4.5.3.1.3: a path has 256 bytes, its angle brackets among them.
const MAILBOX_BYTES_MAX: usize = 254;
const LABEL_BYTES_MAX: usize = 63;

/// A table, because each byte of each local part asks.
const ATEXT: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = byte >= 128 || (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let specials = b"!#$%&'*+-/=?^_`{|}~";
    let mut at = 0;
    while at < specials.len() {
        table[specials[at] as usize] = true;
        at += 1;
    }
    table
};
