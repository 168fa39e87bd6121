//! What reception adds to a message, and what it looks for in its header.

use std::net::IpAddr;

/// More Received fields than this are a mail loop (RFC 5321 §6.3 wants a limit of at least 100).
pub const MAX_HOPS: u32 = 100;

/// The Received field of a message that came in now (RFC 5321 §4.4).
pub fn received_field(hello: &str, extended: bool, client: IpAddr, hostname: &str) -> String {
    let protocol = if extended { "ESMTP" } else { "SMTP" };
    // the client chose this word: only what a host name or address literal has goes into our header
    let hello: String =
        hello.chars().filter(|c| c.is_ascii_alphanumeric() || ".-_[]:".contains(*c)).take(255).collect();
    let hello = if hello.is_empty() { "unknown".to_owned() } else { hello };
    format!(
        "Received: from {hello} ({})\r\n\tby {hostname} with {protocol};\r\n\t{}\r\n",
        address_literal(client),
        date(jiff::Timestamp::now())
    )
}

/// RFC 5321 §4.1.3.
fn address_literal(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("[{address}]"),
        IpAddr::V6(address) => format!("[IPv6:{address}]"),
    }
}

fn date(now: jiff::Timestamp) -> String {
    jiff::fmt::rfc2822::to_string(&now.to_zoned_datetime(jiff::tz::TimeZone::UTC))
        .expect("this year has a date of RFC 5322")
}

/// Counts the Received fields of a message as it comes in, in pieces of any size.
#[derive(Debug, Default)]
pub struct HopCounter {
    hops: u32,
    /// The first bytes of the present line, lower case; no longer than the name looked for.
    line: Vec<u8>,
    body: bool,
}

const FIELD: &[u8] = b"received:";

impl HopCounter {
    pub fn feed(&mut self, mut piece: &[u8]) {
        while !self.body && !piece.is_empty() {
            let end = piece.iter().position(|byte| *byte == b'\n');
            let line = &piece[..end.unwrap_or(piece.len())];
            let room = (FIELD.len() - self.line.len()).min(line.len());
            self.line.extend(line[..room].iter().map(u8::to_ascii_lowercase));
            let Some(end) = end else { return };
            self.hops += u32::from(self.line == FIELD);
            // an empty line ends the header (RFC 5322 §2.1)
            self.body = matches!(self.line.as_slice(), b"" | b"\r");
            self.line.clear();
            piece = &piece[end + 1..];
        }
    }

    pub fn is_loop(&self) -> bool {
        self.hops > MAX_HOPS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_received_fields_of_the_header_alone_however_it_is_cut() {
        let field = b"ReCeived: from a\r\n\tby b\r\nReceived-SPF: none\r\n".repeat(MAX_HOPS as usize);
        for (extra, is_loop) in [(&b""[..], false), (b"received: x\r\n", true)] {
            let message = [&field[..], extra, b"\r\nReceived: in the body\r\n"].concat();
            for size in [1, 7, message.len()] {
                let mut counter = HopCounter::default();
                message.chunks(size).for_each(|piece| counter.feed(piece));
                assert_eq!(counter.is_loop(), is_loop, "pieces of {size}");
            }
        }
    }

    #[test]
    fn lets_no_client_write_into_our_header() {
        let field = received_field("a\r\nX-Evil: 1", true, "127.0.0.1".parse().unwrap(), "mx.test");
        assert!(
            field.starts_with("Received: from aX-Evil:1 ([127.0.0.1])\r\n\tby mx.test with ESMTP;\r\n\t")
        );
        assert!(field.ends_with(" +0000\r\n"), "{field}");
        assert_eq!(field.matches("\r\n").count(), 3);
    }
}
