//! xtext: how a parameter of MAIL or RCPT holds what a parameter cannot hold, RFC 3461 §4. It must not know
//! which.

/// Whether `text` is xtext of nothing but printable ASCII: RFC 3461 §4.2 and §4.4 ask for that, and what ends
/// up in a header or a log must hold neither a line end nor a NUL.
pub(crate) fn is_printable(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let good = match byte {
            b'+' => escaped(bytes.next(), bytes.next()).is_some_and(|byte| matches!(byte, b' '..=b'~')),
            b'=' => false,
            _ => byte.is_ascii_graphic(),
        };
        if !good {
            return false;
        }
    }
    true
}

/// As [`is_printable`], with any characters beyond ASCII but controls in between, as they are (RFC 6533 §3).
pub(crate) fn is_printable_utf8(text: &str) -> bool {
    !text.chars().any(char::is_control) && text.split(|letter: char| !letter.is_ascii()).all(is_printable)
}

/// What `text` stands for, if it is one of the above; what is no xtext stands for itself.
pub(crate) fn decoded(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('+') {
        decoded.push_str(before);
        let mut digits = after.bytes();
        let byte = escaped(digits.next(), digits.next());
        decoded.push(byte.map_or('+', char::from));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    decoded.push_str(rest);
    decoded
}

/// RFC 3461 §4 hexchar, after its `+`.
fn escaped(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    Some(hex(high?)? << 4 | hex(low?)?)
}

/// Upper case only.
fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_printable_ascii_is_let_through() {
        for (text, meaning) in
            [("", ""), ("a+2Bb+3Dc", "a+b=c"), ("+20+7E", " ~"), ("<>", "<>"), ("a;\\", "a;\\")]
        {
            assert!(is_printable(text) && is_printable_utf8(text), "{text:?}");
            assert_eq!(decoded(text), meaning);
        }
        for text in ["+", "+2", "+2b", "+G0", "a=b", "a b", "\0", "+00", "+0D+0A", "+7F", "+C3+A4"] {
            assert!(!is_printable(text) && !is_printable_utf8(text), "{text:?}");
            let _ = decoded(text);
        }
        assert!(!is_printable("\u{e4}") && is_printable_utf8("+20\u{e4}+20"));
        assert!(!is_printable_utf8("\u{85}") && !is_printable_utf8("+\u{e4}"));
    }
}
