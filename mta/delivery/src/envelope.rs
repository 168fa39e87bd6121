//! The envelope of a queued message and the fate of each of its recipients.

use crate::wire::{Decoder, Encoder, WireError};
use smtp::{ForwardPath, ReversePath};
use std::time::Duration;

/// Milliseconds since 1970-01-01 UTC. Spool and scheduler live longer than a boot, so they use the wall clock.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct EpochMs(pub u64);

impl EpochMs {
    /// The moment `by` later; saturates at the end of time.
    pub fn plus(self, by: Duration) -> EpochMs {
        EpochMs(self.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long ago `earlier` was; zero when the clock went backwards.
    pub fn since(self, earlier: EpochMs) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Who sent a message, to whom, and when it was received (RFC 5321 §2.3.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Envelope {
    pub received: EpochMs,
    pub reverse_path: ReversePath,
    /// In the order of their RCPT commands; a recipient is named by its index from here on.
    pub recipients: Vec<ForwardPath>,
    /// BODY=8BITMIME was declared (RFC 6152).
    pub eight_bit: bool,
}

/// What has become of one recipient, as the spool remembers it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RecipientState {
    Pending,
    Delivered,
    /// Refused or expired, and the bounce is durable (or was not due: null reverse-path).
    Bounced,
}

impl Envelope {
    pub fn encode(&self, out: &mut Encoder) {
        out.u64(self.received.0);
        encode_reverse_path(&self.reverse_path, out);
        out.u8(u8::from(self.eight_bit));
        out.u32(u32::try_from(self.recipients.len()).expect("recipients are bounded by the server's limit"));
        for recipient in &self.recipients {
            encode_forward_path(recipient, out);
        }
    }

    pub fn decode(input: &mut Decoder<'_>) -> Result<Envelope, WireError> {
        let received = EpochMs(input.u64()?);
        let reverse_path = decode_reverse_path(input)?;
        let eight_bit = input.bool()?;
        let count = input.u32()? as usize;
        let mut recipients = Vec::with_capacity(count.min(1000));
        for _ in 0..count {
            recipients.push(decode_forward_path(input)?);
        }
        Ok(Envelope { received, reverse_path, recipients, eight_bit })
    }
}

pub(crate) fn encode_reverse_path(path: &ReversePath, out: &mut Encoder) {
    out.str(path.as_str());
}

pub(crate) fn decode_reverse_path(input: &mut Decoder<'_>) -> Result<ReversePath, WireError> {
    ReversePath::parse(input.str()?).map_err(|_| WireError::Invalid("reverse-path"))
}

pub(crate) fn encode_forward_path(path: &ForwardPath, out: &mut Encoder) {
    out.str(path.as_str());
}

pub(crate) fn decode_forward_path(input: &mut Decoder<'_>) -> Result<ForwardPath, WireError> {
    ForwardPath::parse(input.str()?).map_err(|_| WireError::Invalid("forward-path"))
}
