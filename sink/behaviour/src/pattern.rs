//! Patterns of addresses and names as site files write them: `*@slow.test`, `full-??@*`.

use std::fmt;

/// `*` stands for any characters, `?` for one, all others for themselves whatever their case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Box<[u8]>);

impl Pattern {
    /// # Errors
    /// An empty pattern, which nothing would fit, or one longer than [`MAX_PATTERN_BYTES`].
    pub fn parse(text: &str) -> Result<Pattern, String> {
        if text.is_empty() || text.len() > MAX_PATTERN_BYTES {
            return Err(format!("`{text}` is not a pattern of 1 to {MAX_PATTERN_BYTES} bytes"));
        }
        Ok(Pattern(text.to_ascii_lowercase().into_bytes().into()))
    }

    /// Whether the whole of `text` fits. Takes at most the product of both lengths, whatever the pattern.
    pub fn fits(&self, text: &str) -> bool {
        let (pattern, text) = (&*self.0, text.as_bytes());
        let (mut at, mut place) = (0, 0);
        // Where to go on when the characters after a star did not fit: with one more of them in the star.
        let mut star: Option<(usize, usize)> = None;
        while place < text.len() {
            match pattern.get(at) {
                Some(b'*') => {
                    star = Some((at + 1, place));
                    at += 1;
                }
                Some(&wanted) if wanted == b'?' || wanted == text[place].to_ascii_lowercase() => {
                    at += 1;
                    place += 1;
                }
                _ => match &mut star {
                    Some((after, taken)) => {
                        *taken += 1;
                        (at, place) = (*after, *taken);
                    }
                    None => return false,
                },
            }
        }
        pattern[at..].iter().all(|&byte| byte == b'*')
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// RFC 5321 §4.5.3.1.3: no path is longer.
pub const MAX_PATTERN_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_the_whole_text() {
        for (pattern, text, fits) in [
            ("*@slow.test", "b@slow.test", true),
            ("*@slow.test", "b@slow.test.example", false),
            ("*@SLOW.test", "B@Slow.Test", true),
            ("*@*.slow.test", "b@mx.slow.test", true),
            ("*@*.slow.test", "b@slow.test", false),
            ("full-??@*", "full-07@x", true),
            ("full-??@*", "full-7@x", false),
            ("*", "", true),
            ("?", "", false),
            ("a*b*c", "aXbXbYc", true),
            ("a*b*c", "aXbXb", false),
            ("**a", "ba", true),
            ("exact", "exact", true),
            ("exact", "exactly", false),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().fits(text), fits, "{pattern} {text}");
        }
        assert!(Pattern::parse("").is_err());
        assert!(Pattern::parse(&"*".repeat(MAX_PATTERN_BYTES + 1)).is_err());
    }

    #[test]
    fn no_pattern_takes_for_ever() {
        let pattern = Pattern::parse(&"*a".repeat(120)).unwrap();
        assert!(!pattern.fits(&"a".repeat(100)));
        assert!(pattern.fits(&format!("{}a", "ab".repeat(119))));
    }
}
