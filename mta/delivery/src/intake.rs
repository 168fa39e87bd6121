//! How reception hands messages to the queue manager: many at once over one stream socket, in chunks.
//!
//! Each message may have [`CREDIT_BYTES`] unacknowledged; the queue manager grants more as it takes bytes
//! off the socket, so neither side buffers without bound. The answer says durable, or why not.

use crate::wire::{Decoder, Encoder, WireError};
use crate::{Envelope, QueueId};
use smtp::Reply;

/// What reception may send of one message before the queue manager has granted more.
pub const CREDIT_BYTES: u32 = 128 * 1024;

/// Longest chunk in one frame.
pub const MAX_CHUNK_BYTES: usize = 64 * 1024;

/// A frame from reception. `message` names a message being received; reception chooses it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IntakeFrame<'a> {
    Begin {
        message: u64,
        envelope: Envelope,
    },
    Chunk {
        message: u64,
        bytes: &'a [u8],
    },
    /// All of it was sent: make it durable and answer.
    End {
        message: u64,
    },
    /// The client went away or the message was refused: forget it. Not answered.
    Abort {
        message: u64,
    },
}

/// A frame from the queue manager.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IntakeAnswer {
    Credit {
        message: u64,
        bytes: u32,
    },
    Durable {
        message: u64,
        queue_id: QueueId,
    },
    /// There is room for so many bytes of mail now.
    Room {
        bytes: u64,
    },
    /// Not taken; `reply` is what the client is told (4xx or 5xx).
    Refused {
        message: u64,
        reply: Reply,
    },
}

const KIND_BEGIN: u8 = 32;
const KIND_CHUNK: u8 = 33;
const KIND_END: u8 = 34;
const KIND_ABORT: u8 = 35;
const KIND_CREDIT: u8 = 40;
const KIND_DURABLE: u8 = 41;
const KIND_REFUSED: u8 = 42;
const KIND_ROOM: u8 = 43;

impl<'a> IntakeFrame<'a> {
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            IntakeFrame::Begin { message, envelope } => {
                let mut frame = Encoder::frame(out, KIND_BEGIN);
                frame.u64(*message);
                envelope.encode(&mut frame);
            }
            IntakeFrame::Chunk { message, bytes } => {
                let mut frame = Encoder::frame(out, KIND_CHUNK);
                frame.u64(*message);
                frame.bytes(bytes);
            }
            IntakeFrame::End { message } => Encoder::frame(out, KIND_END).u64(*message),
            IntakeFrame::Abort { message } => Encoder::frame(out, KIND_ABORT).u64(*message),
        }
    }

    pub fn decode(kind: u8, payload: &'a [u8]) -> Result<IntakeFrame<'a>, WireError> {
        let mut input = Decoder::new(payload);
        let message = input.u64()?;
        let frame = match kind {
            KIND_BEGIN => IntakeFrame::Begin { message, envelope: Envelope::decode(&mut input)? },
            KIND_CHUNK => IntakeFrame::Chunk { message, bytes: input.bytes()? },
            KIND_END => IntakeFrame::End { message },
            KIND_ABORT => IntakeFrame::Abort { message },
            _ => return Err(WireError::Invalid("kind of frame")),
        };
        input.finish()?;
        Ok(frame)
    }
}

impl IntakeAnswer {
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            IntakeAnswer::Credit { message, bytes } => {
                let mut frame = Encoder::frame(out, KIND_CREDIT);
                frame.u64(*message);
                frame.u32(*bytes);
            }
            IntakeAnswer::Durable { message, queue_id } => {
                let mut frame = Encoder::frame(out, KIND_DURABLE);
                frame.u64(*message);
                frame.u64(queue_id.0);
            }
            IntakeAnswer::Room { bytes } => Encoder::frame(out, KIND_ROOM).u64(*bytes),
            IntakeAnswer::Refused { message, reply } => {
                let mut frame = Encoder::frame(out, KIND_REFUSED);
                frame.u64(*message);
                frame.u16(reply.code.get());
                frame.str(&reply.enhanced.map(|status| status.to_string()).unwrap_or_default());
                frame.str(&reply.text);
            }
        }
    }

    pub fn decode(kind: u8, payload: &[u8]) -> Result<IntakeAnswer, WireError> {
        let mut input = Decoder::new(payload);
        // a message, or bytes
        let message = input.u64()?;
        let answer = match kind {
            KIND_ROOM => IntakeAnswer::Room { bytes: message },
            KIND_CREDIT => IntakeAnswer::Credit { message, bytes: input.u32()? },
            KIND_DURABLE => IntakeAnswer::Durable { message, queue_id: QueueId(input.u64()?) },
            KIND_REFUSED => IntakeAnswer::Refused { message, reply: decode_reply(&mut input)? },
            _ => return Err(WireError::Invalid("kind of frame")),
        };
        input.finish()?;
        Ok(answer)
    }
}

fn decode_reply(input: &mut Decoder<'_>) -> Result<Reply, WireError> {
    let code = smtp::ReplyCode::new(input.u16()?).ok_or(WireError::Invalid("reply code"))?;
    let enhanced = match input.str()? {
        "" => None,
        text => Some(
            smtp::EnhancedStatus::parse(text.as_bytes()).ok_or(WireError::Invalid("enhanced status code"))?,
        ),
    };
    Ok(Reply { code, enhanced, text: input.str()?.to_owned() })
}
