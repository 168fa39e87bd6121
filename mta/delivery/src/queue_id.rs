//! The name of a message in the spool.

use std::fmt;
use std::str::FromStr;

/// Names one queued message for as long as the spool lives; written as upper-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct QueueId(pub u64);

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012X}", self.0)
    }
}

/// The text is not a queue id.
#[derive(Debug, PartialEq, Eq)]
pub struct BadQueueId(String);

impl fmt::Display for BadQueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a queue id: 12 to 16 hexadecimal digits in upper case", self.0)
    }
}

impl std::error::Error for BadQueueId {}

impl FromStr for QueueId {
    type Err = BadQueueId;

    fn from_str(text: &str) -> Result<QueueId, BadQueueId> {
        let digits = |b: &u8| b.is_ascii_digit() || (b'A'..=b'F').contains(b);
        if !(12..=16).contains(&text.len()) || !text.as_bytes().iter().all(digits) {
            return Err(BadQueueId(text.chars().take(40).collect()));
        }
        let id = u64::from_str_radix(text, 16).map(QueueId).map_err(|_| BadQueueId(text.to_owned()))?;
        // one spelling per id: a file name must lead to exactly one message
        if id.to_string() == text { Ok(id) } else { Err(BadQueueId(text.to_owned())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_one_spelling() {
        for id in [QueueId(0), QueueId(0xABC), QueueId(u64::MAX)] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for bad in
            ["", "abc", "00000000000a", "00000000000G", "0000000000000", "../../../etc", "+00000000001"]
        {
            assert!(bad.parse::<QueueId>().is_err(), "{bad}");
        }
    }
}
