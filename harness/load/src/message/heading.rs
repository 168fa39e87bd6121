//! A message's header section: its id, and what else a message must have.

use super::ID_FIELD;
use std::io::Write;

/// The header section of one message, without the empty line after it.
pub struct Heading<'a> {
    pub run: &'a str,
    pub number: u64,
    pub intended_ns: u64,
    /// The fields From and To; none where the content brings all fields but the id.
    pub addresses: Option<&'a str>,
    /// With characters beyond ASCII, RFC 6532.
    pub utf8: bool,
}

impl Heading<'_> {
    /// How many bytes [`Heading::write`] appends, whatever the date.
    pub fn bytes(&self) -> u64 {
        let id = ID_FIELD.len() + ": //\r\n".len() + self.run.len();
        let Some(addresses) = self.addresses else {
            return (id + digits(self.number) + digits(self.intended_ns)) as u64;
        };
        let message_id = "Message-ID: <.@mailrig.invalid>\r\n".len() + self.run.len();
        let rest = "Date: \r\nSubject:  \r\n".len() + self.subject().len() + DATE_MAX + DIGITS_MAX;
        (id + message_id + addresses.len() + rest) as u64
    }

    /// Appends the fields. With addresses their length does not depend on number, time or date: those grow by a digit now
    /// and then, and a filler in the Subject takes up the difference.
    pub fn write(&self, date: &str, out: &mut Vec<u8>) {
        const FIELDS: &str = "a Vec accepts every write";
        let Heading { run, number, intended_ns, .. } = self;
        write!(out, "{ID_FIELD}: {run}/{number}/{intended_ns}\r\n").expect(FIELDS);
        let Some(addresses) = self.addresses else { return };
        write!(out, "Message-ID: <{number}.{run}@mailrig.invalid>\r\n").expect(FIELDS);
        out.extend_from_slice(addresses.as_bytes());
        write!(out, "Date: {date}\r\nSubject: {} ", self.subject()).expect(FIELDS);
        let taken = 2 * digits(*number) + digits(*intended_ns) + date.len();
        out.resize(out.len() + DIGITS_MAX + DATE_MAX - taken, b'-');
        out.extend_from_slice(b"\r\n");
    }

    fn subject(&self) -> &'static str {
        if self.utf8 { "Größe" } else { "load" }
    }
}

fn digits(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

const DATE_MAX: usize = 40;
/// Digits of a number (twice) and of a time, 64 bits each.
const DIGITS_MAX: usize = 3 * 20;
