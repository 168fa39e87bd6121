//! What is known of the transaction under way. It must not know the session.

use crate::stuff::{DotUnstuffer, Newlines};

/// From MAIL to the end of data. The default is that of no transaction, so that one assignment forgets it
/// all.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    /// Addresses may be beyond ASCII.
    pub smtp_utf8: bool,
    /// Accepted ones.
    pub recipients: u32,
    /// Those of them that have their reply to the end of data.
    pub replied: u32,
    body_bytes: u64,
    /// More content came than the limit allows.
    pub too_big: bool,
    pub form: Form,
    pub unstuffer: DotUnstuffer,
    /// Of all chunks.
    pub newlines: Newlines,
}

/// How the message comes. RFC 3030 §2: not in both forms in one transaction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Form {
    #[default]
    Unknown,
    /// DATA was said and answered.
    Dots,
    /// BDAT was said.
    Chunks,
}

impl Transaction {
    /// Counts `content` and returns the part of it that is within the limit. RFC 1870 §5: the size counts
    /// line ends, and neither the doubled dots nor the final one.
    pub fn count<'a>(&mut self, content: &'a [u8], max_bytes: Option<u64>) -> &'a [u8] {
        let before = self.body_bytes;
        self.body_bytes = before.saturating_add(content.len() as u64);
        match max_bytes {
            Some(limit) if self.body_bytes > limit => {
                self.too_big = true;
                let room = limit.saturating_sub(before);
                &content[..usize::try_from(room).map_or(content.len(), |room| room.min(content.len()))]
            }
            _ => content,
        }
    }
}
