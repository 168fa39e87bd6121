//! Bytes as site files write them, for what is no reply at all: `250 2.0.0 Ok\n`, `250 \(x*1048576)\r\n`, `\xff\0`.

/// Reads `\r \n \t \0 \\ \xNN` as bytes and `\(a*600)` as `a` 600 times (what is repeated may have escapes of its own,
/// but no further repetition); all other characters as they are, in UTF-8.
///
/// # Errors
/// An escape that is none of these, or more than [`MAX_OCTETS`] bytes in all.
pub fn parse(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = &rest[at + 1..];
        rest = match escape.strip_prefix('(') {
            Some(inside) => {
                let Some((repeated, after)) = inside.split_once(')') else {
                    return Err(format!("`\\({inside}` has no closing parenthesis"));
                };
                repeat(repeated, &mut bytes)?;
                after
            }
            None => one(escape, &mut bytes)?,
        };
    }
    bytes.extend_from_slice(rest.as_bytes());
    match bytes.len() {
        0..=MAX_OCTETS => Ok(bytes),
        _ => Err(too_many()),
    }
}

/// One escape after its backslash; returns what follows it.
fn one<'a>(escape: &'a str, bytes: &mut Vec<u8>) -> Result<&'a str, String> {
    let mut characters = escape.chars();
    let byte = match characters.next() {
        Some('r') => b'\r',
        Some('n') => b'\n',
        Some('t') => b'\t',
        Some('0') => 0,
        Some('\\') => b'\\',
        Some('x') => {
            let digits =
                escape.get(1..3).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
            let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            characters = escape.get(3..).unwrap_or_default().chars();
            byte.ok_or_else(|| "`\\x` needs two hexadecimal digits, such as \\x7f".to_owned())?
        }
        other => {
            let other = other.map(String::from).unwrap_or_default();
            return Err(format!(
                "`\\{other}` is not an escape; write \\r \\n \\t \\0 \\\\ \\xNN or \\(a*600)"
            ));
        }
    };
    bytes.push(byte);
    Ok(characters.as_str())
}

/// `a*600`
fn repeat(text: &str, bytes: &mut Vec<u8>) -> Result<(), String> {
    let parts = text.rsplit_once('*').and_then(|(what, times)| Some((what, times.parse::<usize>().ok()?)));
    let Some((what, times)) = parts else {
        return Err(format!("`\\({text})` is not a repetition; write \\(a*600)"));
    };
    if what.contains("\\(") {
        return Err(format!("`\\({text})`: a repetition may not have another one inside"));
    }
    let what = parse(what)?;
    match what.len().checked_mul(times) {
        Some(length) if bytes.len() + length <= MAX_OCTETS => bytes.extend(what.repeat(times)),
        _ => return Err(too_many()),
    }
    Ok(())
}

fn too_many() -> String {
    format!(
        "more than {} at once; say it again and again with `endless`",
        settings::size::format(MAX_OCTETS as u64)
    )
}

/// Enough for every client's limit of a line or reply to be passed many times.
pub const MAX_OCTETS: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_become_bytes() {
        for (text, bytes) in [
            ("250 Ok\\r\\n", &b"250 Ok\r\n"[..]),
            ("\\x00\\xfF\\0\\t\\\\", b"\x00\xff\0\t\\"),
            ("a\\(bc*3)d", b"abcbcbcd"),
            ("\\(\\r\\n*2)", b"\r\n\r\n"),
            ("\\(a**2)", b"a*a*"),
            ("\u{e4}", b"\xc3\xa4"),
            ("\\(a*0)", b""),
            ("", b""),
        ] {
            assert_eq!(parse(text).unwrap(), bytes, "{text}");
        }
    }

    #[test]
    fn what_is_no_escape_is_refused() {
        for (text, part) in [
            ("\\", "not an escape"),
            ("\\q", "`\\q` is not an escape"),
            ("\\x4", "hexadecimal"),
            ("\\x+4", "hexadecimal"),
            ("\\x\u{e4}", "hexadecimal"),
            ("\\(a*2", "closing parenthesis"),
            ("\\(a)", "not a repetition"),
            ("\\(\\(a*2*2)", "another one inside"),
            ("\\(a*4194305)", "more than 4MiB"),
            ("\\(a*18446744073709551615)", "more than 4MiB"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
