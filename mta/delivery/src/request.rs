//! What the queue manager asks of a delivery agent, and the messages that it gives once more.

use crate::QueueId;
use crate::envelope::{decode_forward_path, decode_reverse_path, encode_forward_path, encode_reverse_path};
use crate::wire::{Decoder, Encoder, HEADER_BYTES, WireError, split_frame};
use smtp::client::Transaction;
use smtp::stuff::END_BYTES;
use smtp::{ForwardPath, ReversePath};
use std::fmt;

/// A message of up to this size travels inside the request; a larger one as a descriptor of its own file.
pub const INLINE_CONTENT_BYTES: usize = 64 * 1024;

/// More recipients of one message at one next hop become several requests (RFC 5321 §4.5.3.1.8 has servers take 100).
pub const MAX_RECIPIENTS_PER_REQUEST: usize = 100;

/// Where a message goes next: host (name or address; IPv6 in brackets) and port.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct NextHop(String);

impl NextHop {
    /// Checks `host:port`; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<NextHop, String> {
        let wrong = |why: &str| {
            Err(format!("`{text}` is not a next hop: {why}; write host:port, for example \"127.0.0.1:25\""))
        };
        let Some((host, port)) = text.rsplit_once(':') else { return wrong("no port") };
        if host.is_empty() || text.len() > 300 {
            return wrong("no host, or longer than 300 bytes");
        }
        if host.contains(':') != (host.starts_with('[') && host.ends_with(']')) {
            return wrong("an IPv6 address stands in brackets");
        }
        if !host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b)) {
            return wrong("a character that no host name has");
        }
        match port.parse::<u16>() {
            Ok(1..) => Ok(NextHop(text.to_owned())),
            _ => wrong("a port is a number from 1 to 65535"),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The message of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// The whole message, CRLF line ends, not dot-stuffed.
    Inline(Vec<u8>),
    /// A descriptor comes beside the frame (SCM_RIGHTS); the message is `length` bytes from `offset` of its file.
    Descriptor { offset: u64, length: u64 },
}

/// One delivery: one message to the recipients that share a next hop.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeliveryRequest {
    /// Chosen by the queue manager, repeated in the report; no two in flight on a socket are alike.
    pub id: u64,
    pub queue_id: QueueId,
    pub next_hop: NextHop,
    pub reverse_path: ReversePath,
    pub recipients: Vec<ForwardPath>,
    pub eight_bit: bool,
    pub content: Content,
}

const KIND_REQUEST: u8 = 1;
const KIND_CONTENT: u8 = 3;
const CONTENT_INLINE: u8 = 0;
const CONTENT_DESCRIPTOR: u8 = 1;

impl DeliveryRequest {
    pub fn size_bytes(&self) -> u64 {
        match &self.content {
            Content::Inline(bytes) => bytes.len() as u64,
            Content::Descriptor { length, .. } => *length,
        }
    }

    /// What the SMTP session is told to do.
    pub fn transaction(&self) -> Transaction {
        self.transaction_of(self.reverse_path.clone(), self.recipients.clone())
    }

    /// As [`DeliveryRequest::transaction`]; the transaction has the addresses from here on, and the request no more.
    pub fn take_transaction(&mut self) -> Transaction {
        let reverse_path = std::mem::replace(&mut self.reverse_path, ReversePath::Null);
        let recipients = std::mem::take(&mut self.recipients);
        self.transaction_of(reverse_path, recipients)
    }

    fn transaction_of(&self, reverse_path: ReversePath, recipients: Vec<ForwardPath>) -> Transaction {
        Transaction {
            reverse_path,
            recipients,
            size_bytes: Some(self.size_bytes()),
            eight_bit: self.eight_bit,
            smtp_utf8: false,
        }
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut frame = Encoder::frame(out, KIND_REQUEST);
        frame.u64(self.id);
        frame.u64(self.queue_id.0);
        frame.str(self.next_hop.as_str());
        encode_reverse_path(&self.reverse_path, &mut frame);
        frame.u8(u8::from(self.eight_bit));
        frame.u16(u16::try_from(self.recipients.len()).expect("bounded by MAX_RECIPIENTS_PER_REQUEST"));
        for recipient in &self.recipients {
            encode_forward_path(recipient, &mut frame);
        }
        match &self.content {
            Content::Inline(bytes) => {
                frame.u8(CONTENT_INLINE);
                frame.bytes(bytes);
            }
            Content::Descriptor { offset, length } => {
                frame.u8(CONTENT_DESCRIPTOR);
                frame.u64(*offset);
                frame.u64(*length);
            }
        }
    }

    /// Decodes the payload of a frame of the given kind.
    pub fn decode(kind: u8, payload: &[u8]) -> Result<DeliveryRequest, WireError> {
        let (mut request, inline) = DeliveryRequest::fields(kind, payload)?;
        if let Some(start) = inline {
            request.content = Content::Inline(payload[start..].to_vec());
        }
        Ok(request)
    }

    /// Decodes a buffer that holds one frame and nothing else, whose memory becomes the message's.
    pub fn from_frame(mut frame: Vec<u8>) -> Result<DeliveryRequest, WireError> {
        let (kind, payload, length) = split_frame(&frame)?.ok_or(WireError::Truncated)?;
        if length < frame.len() {
            return Err(WireError::Trailing);
        }
        let (mut request, inline) = DeliveryRequest::fields(kind, payload)?;
        if let Some(start) = inline {
            frame.drain(..HEADER_BYTES + start);
            // the end of the data finds room behind it
            frame.shrink_to(frame.len() + END_BYTES);
            request.content = Content::Inline(frame);
        }
        Ok(request)
    }

    /// All but the inline message, and where in the payload that begins; it is the last field.
    fn fields(kind: u8, payload: &[u8]) -> Result<(DeliveryRequest, Option<usize>), WireError> {
        if kind != KIND_REQUEST {
            return Err(WireError::Invalid("kind of frame"));
        }
        let mut input = Decoder::new(payload);
        let id = input.u64()?;
        let queue_id = QueueId(input.u64()?);
        let next_hop = NextHop::parse(input.str()?).map_err(|_| WireError::Invalid("next hop"))?;
        let reverse_path = decode_reverse_path(&mut input)?;
        let eight_bit = input.bool()?;
        let count = usize::from(input.u16()?);
        if count == 0 || count > MAX_RECIPIENTS_PER_REQUEST {
            return Err(WireError::Invalid("number of recipients"));
        }
        let recipients =
            (0..count).map(|_| decode_forward_path(&mut input)).collect::<Result<Vec<_>, _>>()?;
        let (content, inline) = match input.u8()? {
            CONTENT_INLINE => (Content::Inline(Vec::new()), Some(payload.len() - input.bytes()?.len())),
            CONTENT_DESCRIPTOR => (Content::Descriptor { offset: input.u64()?, length: input.u64()? }, None),
            _ => return Err(WireError::Invalid("content")),
        };
        input.finish()?;
        let request =
            DeliveryRequest { id, queue_id, next_hop, reverse_path, recipients, eight_bit, content };
        Ok((request, inline))
    }
}

/// The message of a delivery whose agent asked for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ContentAnswer<'a> {
    /// As in the request.
    pub id: u64,
    /// As [`Content::Inline`] had it; `None` when it can't be read any more.
    pub content: Option<&'a [u8]>,
}

impl<'a> ContentAnswer<'a> {
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut frame = Encoder::frame(out, KIND_CONTENT);
        frame.u64(self.id);
        frame.u8(u8::from(self.content.is_some()));
        if let Some(content) = self.content {
            frame.bytes(content);
        }
    }

    /// Decodes the payload of a frame; `None` when it is of another kind.
    pub fn decode(kind: u8, payload: &'a [u8]) -> Result<Option<ContentAnswer<'a>>, WireError> {
        if kind != KIND_CONTENT {
            return Ok(None);
        }
        let mut input = Decoder::new(payload);
        let id = input.u64()?;
        let content = if input.bool()? { Some(input.bytes()?) } else { None };
        input.finish()?;
        Ok(Some(ContentAnswer { id, content }))
    }
}
