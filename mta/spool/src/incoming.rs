//! A message that is being received: in memory up to 64 KiB, beyond that in a file without a final name.
//!
//! Receiving never buffers without bound, and whatever is dropped before its commit leaves nothing behind.

use crate::error::SpoolError;
use crate::files::Draft;
use crate::message::{self, Header};
use crate::{INLINE_CONTENT_BYTES, Status};
use delivery::{Envelope, QueueId};

/// A message between `begin` and `commit`.
#[derive(Debug)]
pub struct Incoming {
    header: Header,
    /// What is not yet in the file: all of it (header first) while there is none.
    buffer: Vec<u8>,
    checksum: crc32fast::Hasher,
    draft: Draft,
}

impl Incoming {
    pub(crate) fn begin(id: QueueId, envelope: &Envelope, draft: Draft) -> Result<Incoming, SpoolError> {
        let (buffer, header) = message::start(id, envelope)?;
        Ok(Incoming { header, buffer, checksum: crc32fast::Hasher::new(), draft })
    }

    /// The id under which it will be kept.
    pub fn id(&self) -> QueueId {
        self.header.id
    }

    /// Bytes of content so far.
    pub fn content_bytes(&self) -> u64 {
        self.header.content_bytes
    }

    /// It will have a file of its own, whatever the store.
    pub fn is_large(&self) -> bool {
        !self.draft.is_empty()
    }

    /// Has it kept as something that was queued elsewhere. To be called before any content is written.
    pub fn set_status(&mut self, status: &Status) {
        assert!(self.header.content_bytes == 0 && status.states.len() == self.header.recipients as usize);
        let bytes = message::encode_status(self.header.id, status);
        let start = message::SCHEDULE_OFFSET as usize;
        self.buffer[start..start + bytes.len()].copy_from_slice(&bytes);
    }

    /// Takes a piece of content. After an error the message can only be dropped.
    pub fn write(&mut self, chunk: &[u8]) -> Result<(), SpoolError> {
        self.checksum.update(chunk);
        self.header.content_bytes += chunk.len() as u64;
        if self.header.content_bytes > INLINE_CONTENT_BYTES as u64
            && self.buffer.len() + chunk.len() > INLINE_CONTENT_BYTES
        {
            self.draft.append(&self.buffer)?;
            self.buffer.clear();
            if chunk.len() > INLINE_CONTENT_BYTES {
                return self.draft.append(chunk);
            }
        }
        self.buffer.extend_from_slice(chunk);
        Ok(())
    }

    /// The whole message as bytes, if it is all in memory and no longer than this; else itself again.
    pub(crate) fn into_image(mut self, longest: usize) -> Result<Vec<u8>, Incoming> {
        if !self.draft.is_empty() || self.buffer.len() > longest {
            return Err(self);
        }
        self.header.content_checksum = self.checksum.finalize();
        let header = self.header.encode();
        self.buffer[..header.len()].copy_from_slice(&header);
        Ok(self.buffer)
    }

    /// Brings everything into the file, header included, and gives the file up to be named.
    pub(crate) fn finish(mut self) -> Result<Draft, SpoolError> {
        self.header.content_checksum = self.checksum.finalize();
        let header = self.header.encode();
        if self.draft.is_empty() {
            self.buffer[..header.len()].copy_from_slice(&header);
            self.draft.append(&self.buffer)?;
        } else {
            self.draft.append(&self.buffer)?;
            self.draft.overwrite_start(&header)?;
        }
        Ok(self.draft)
    }
}
