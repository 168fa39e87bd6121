//! What a server says it can do, RFC 5321 §4.1.1.1.

/// The keywords of a reply to EHLO that this crate can use. All off after HELO.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extensions {
    /// PIPELINING, RFC 2920.
    pub pipelining: bool,
    /// SIZE, RFC 1870: the largest message in bytes; `Some(0)` if there is no limit or it could not be read.
    pub size: Option<u64>,
    /// 8BITMIME, RFC 6152.
    pub eight_bit_mime: bool,
    /// ENHANCEDSTATUSCODES, RFC 2034.
    pub enhanced_status_codes: bool,
}

impl Extensions {
    /// Reads the text of a reply to EHLO: after the first line each one is a keyword and its parameters.
    /// Unknown ones are passed over.
    pub(super) fn parse(text: &str) -> Extensions {
        let mut extensions = Extensions::default();
        for line in text.split('\n').skip(1) {
            let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
            let Some(keyword) = words.next() else { continue };
            // RFC 5321 §2.4: keywords are in any case
            if keyword.eq_ignore_ascii_case("PIPELINING") {
                extensions.pipelining = true;
            } else if keyword.eq_ignore_ascii_case("SIZE") {
                // RFC 1870 §3: no number, or 0, is no limit; so is one that is none
                extensions.size = Some(words.next().and_then(|limit| limit.parse().ok()).unwrap_or(0));
            } else if keyword.eq_ignore_ascii_case("8BITMIME") {
                extensions.eight_bit_mime = true;
            } else if keyword.eq_ignore_ascii_case("ENHANCEDSTATUSCODES") {
                extensions.enhanced_status_codes = true;
            }
        }
        extensions
    }
}
