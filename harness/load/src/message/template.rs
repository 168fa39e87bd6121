//! Messages of one exact size that differ only in their header section.
//!
//! The body is made once and shared by every connection; the header section is written again for each message, and its
//! length is kept constant by a filler in the Subject, so that the size a user asks for is met to the byte.
//! Knows nothing of SMTP: dots are stuffed by the client session.

use super::ID_FIELD;
use smtp::{ForwardPath, ReversePath};
use std::io::Write;

/// The fixed part of a run's messages.
pub struct Template {
    run: String,
    before_subject: String,
    body: Vec<u8>,
    size_bytes: u64,
}

impl Template {
    /// Messages of `size_bytes` as they are sent (header section, empty line and body; before dot-stuffing).
    ///
    /// Fails when the header section alone is longer than that.
    pub fn new(
        run: &str,
        from: &ReversePath,
        to: &[ForwardPath],
        size_bytes: u64,
    ) -> Result<Template, String> {
        let mut before_subject = format!("From: <{from}>\r\nTo: ");
        for (index, path) in to.iter().enumerate() {
            let separator = if index == 0 { "" } else { ",\r\n " };
            before_subject.push_str(&format!("{separator}<{path}>"));
        }
        before_subject.push_str("\r\n");
        let mut template = Template { run: run.to_owned(), before_subject, body: Vec::new(), size_bytes };
        let mut header = Vec::new();
        template.write_header(0, 0, DATE_EXAMPLE, &mut header);
        // A body of one byte could not end in CR LF.
        let shortest = header.len() as u64 + LINE_END.len() as u64;
        if size_bytes < shortest {
            return Err(format!(
                "a message of {size_bytes} bytes has no room for its header section ({shortest} bytes)"
            ));
        }
        let body_bytes =
            usize::try_from(size_bytes - header.len() as u64).map_err(|error| error.to_string())?;
        template.body = body(body_bytes);
        Ok(template)
    }

    /// The name that all ids of this run begin with.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Size of each message as it is sent, before dot-stuffing.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The body that all messages share; it ends in CR LF.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Appends the header section of message `number` and the empty line after it: always the same number of bytes.
    ///
    /// `intended_ns` is the CLOCK_MONOTONIC time at which the message was meant to start; `date` an RFC 5322 date-time.
    pub fn write_header(&self, number: u64, intended_ns: u64, date: &str, out: &mut Vec<u8>) {
        const FIELDS: &str = "a Vec accepts every write";
        let start = out.len();
        write!(
            out,
            "{ID_FIELD}: {}/{number}/{intended_ns}\r\nMessage-ID: <{number}.{}@mailrig.invalid>\r\n",
            self.run, self.run
        )
        .expect(FIELDS);
        let digits = out.len() - start - 2 * self.run.len() - FIXED_BYTES;
        out.extend_from_slice(self.before_subject.as_bytes());
        write!(out, "Date: {date}\r\nSubject: load ").expect(FIELDS);
        // Numbers and times grow by a digit now and then, and so may the date: the filler takes up the difference.
        out.resize(out.len() + DIGITS_MAX + DATE_MAX - digits - date.len(), b'-');
        out.extend_from_slice(b"\r\n\r\n");
    }
}

/// `length` bytes of text (at least two) in lines of at most 78 characters, each ended by CR LF, none with a leading dot.
fn body(length: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(length);
    while body.len() < length {
        let left = length - body.len();
        let line = match left {
            0..=LINE_MAX => left,
            // What is left after this line must be long enough for a line end.
            _ if left == LINE_MAX + 1 => LINE_MAX - 1,
            _ => LINE_MAX,
        };
        let text = TEXT.iter().cycle().skip(body.len() % TEXT.len()).take(line - LINE_END.len());
        body.extend(text);
        body.extend_from_slice(LINE_END);
    }
    body
}

const LINE_END: &[u8] = b"\r\n";
/// RFC 5322 §2.1.1: 78 characters, and CR LF.
const LINE_MAX: usize = 78 + LINE_END.len();
const TEXT: &[u8] = b"Bytes that weigh what real mail weighs and say nothing at all, sent for timing only; ";
const DATE_EXAMPLE: &str = "Thu, 01 Jan 1970 00:00:00 +0000";
const DATE_MAX: usize = 40;
/// Digits of a number (twice) and of a time, 64 bits each.
const DIGITS_MAX: usize = 3 * 20;
const FIXED_BYTES: usize = "X-Mailrig-Id: //\r\nMessage-ID: <.@mailrig.invalid>\r\n".len();

#[cfg(test)]
mod tests {
    use super::*;

    fn template(size_bytes: u64) -> Result<Template, String> {
        let to = ["a@one.test", "b@two.test"].map(|text| ForwardPath::parse(text).expect("a path"));
        Template::new("r1", &ReversePath::parse("sender@load.test").expect("a path"), &to, size_bytes)
    }

    #[test]
    fn every_message_has_the_size_asked_for_whatever_its_number() {
        let smallest = (1..).find(|&size| template(size).is_ok()).expect("some size is enough");
        for size in (smallest..smallest + 400).chain([4096, 65_536, 1 << 20]) {
            let template = template(size).expect("large enough");
            for (number, time, date) in [
                (0, 0, DATE_EXAMPLE),
                (u64::MAX, u64::MAX, "Thu, 1 Jan 1970 00:00:00 -0000"),
                (99, 12_345, DATE_EXAMPLE),
            ] {
                let mut message = Vec::new();
                template.write_header(number, time, date, &mut message);
                message.extend_from_slice(template.body());
                assert_eq!(message.len() as u64, size);
                let text = String::from_utf8(message).expect("ASCII");
                assert!(text.starts_with(&format!("X-Mailrig-Id: r1/{number}/{time}\r\n")));
                let lines: Vec<&str> =
                    text.strip_suffix("\r\n").expect("ends a line").split("\r\n").collect();
                for line in &lines {
                    assert!(!line.contains(['\r', '\n']) && !line.starts_with('.'), "{line:?} in {size}");
                }
                let header_end = lines.iter().position(|line| line.is_empty()).expect("an empty line");
                assert!(lines[header_end..].iter().all(|line| line.len() <= 78));
            }
        }
    }
}
