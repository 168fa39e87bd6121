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
