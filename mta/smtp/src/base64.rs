//! Base64 as SASL exchanges use it, RFC 4648 §4. It must not know what the bytes are for.

/// Appends `bytes` to `out` in base64, padded.
pub(crate) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let [first, second, third] = [0, 1, 2].map(|at| group.get(at).copied().unwrap_or(0));
        let bits = u32::from_be_bytes([0, first, second, third]);
        let mut digits = [18, 12, 6, 0].map(|shift| ALPHABET[(bits >> shift & DIGIT_MASK) as usize]);
        digits[group.len() + 1..].fill(b'=');
        out.extend_from_slice(&digits);
    }
}

/// What `text` stands for. `None` unless it is exactly what [`encode`] would write: padded, without line ends or
/// spaces, and with no bit set beyond the last byte (RFC 4648 §3.5), so that a secret has one form only.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let (groups, []) = text.as_chunks::<4>() else { return None };
    let mut bytes = Vec::with_capacity(groups.len() * 3);
    for (index, group) in groups.iter().enumerate() {
        let padding = group.iter().rev().take_while(|&&digit| digit == b'=').count();
        if padding > 2 || (padding > 0 && index + 1 < groups.len()) {
            return None;
        }
        let mut bits = 0;
        for &digit in &group[..4 - padding] {
            bits = bits << 6 | value(digit)?;
        }
        let [_, whole @ ..] = (bits << (6 * padding)).to_be_bytes();
        let (data, rest) = whole.split_at(3 - padding);
        if rest.iter().any(|&byte| byte != 0) {
            return None;
        }
        bytes.extend_from_slice(data);
    }
    Some(bytes)
}

fn value(digit: u8) -> Option<u32> {
    let (base, first) = match digit {
        b'A'..=b'Z' => (0, b'A'),
        b'a'..=b'z' => (26, b'a'),
        b'0'..=b'9' => (52, b'0'),
        b'+' => return Some(62),
        b'/' => return Some(63),
        _ => return None,
    };
    Some(base + u32::from(digit - first))
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const DIGIT_MASK: u32 = 0x3f;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        encode(bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_vectors_of_the_rfc_hold() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
            ("\0user\0pass", "AHVzZXIAcGFzcw=="),
        ] {
            assert_eq!(encoded(bytes.as_bytes()), text);
        }
        assert_eq!(encoded(&[0xfb, 0xff, 0xbf]), "+/+/");
    }

    #[test]
    fn what_has_another_form_is_refused() {
        for text in [
            "Z",
            "Zg",
            "Zg=",
            "Zg===",
            "=",
            "====",
            "Z===",
            "Zg==Zg==",
            "Zm9v=",
            "Zm9v====",
            "Z=g=",
            "=Zg=",
            "Zh==",
            "Zm9=",
            "Zm 9",
            " Zm9v",
            "Zm9v\r\n",
            "Zm9-",
            "Zm9_",
            "Zm9\0",
            "Zm9\u{e4}",
        ] {
            assert_eq!(decode(text.as_bytes()), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn bytes_come_back_and_each_has_one_form(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            text in "[A-Za-z0-9+/]{0,10}={0,3}",
        ) {
            prop_assert_eq!(decode(encoded(&bytes).as_bytes()), Some(bytes));
            if let Some(bytes) = decode(text.as_bytes()) {
                prop_assert_eq!(encoded(&bytes), text);
            }
        }
    }
}
