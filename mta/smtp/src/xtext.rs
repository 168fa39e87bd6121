//! xtext: how a parameter of MAIL or RCPT holds what a parameter cannot hold, RFC 3461 §4.

/// The bytes that `text` stands for, one by one; `None` where it is not xtext.
pub(crate) fn decode(text: &str) -> impl Iterator<Item = Option<u8>> {
    let mut bytes = text.bytes();
    std::iter::from_fn(move || {
        Some(match bytes.next()? {
            b'+' => hex(bytes.next()).zip(hex(bytes.next())).map(|(high, low)| high << 4 | low),
            b'=' => None,
            byte @ b'!'..=b'~' => Some(byte),
            _ => None,
        })
    })
}

/// Whether `text` is xtext of nothing but printable ASCII: RFC 3461 §4.2 and §4.4 ask for that, and what ends up in a
/// header or a log must hold neither a line end nor a NUL.
pub(crate) fn is_valid(text: &str) -> bool {
    decode(text).all(|byte| matches!(byte, Some(b' '..=b'~')))
}

/// Upper case only: RFC 3461 §4 hexchar.
fn hex(digit: Option<u8>) -> Option<u8> {
    match digit? {
        digit @ b'0'..=b'9' => Some(digit - b'0'),
        digit @ b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_printable_ascii_is_let_through() {
        for (text, bytes) in
            [("", ""), ("a+2Bb+3Dc", "a+b=c"), ("+20+7E", " ~"), ("<>", "<>"), ("a;\\", "a;\\")]
        {
            assert!(is_valid(text), "{text:?}");
            assert_eq!(
                decode(text).collect::<Option<Vec<u8>>>().as_deref(),
                Some(bytes.as_bytes()),
                "{text:?}"
            );
        }
        for text in ["+", "+2", "+2b", "+G0", "a=b", "a b", "\0", "\u{e4}", "+00", "+0D+0A", "+7F", "+C3+A4"]
        {
            assert!(!is_valid(text), "{text:?}");
        }
    }
}
