//! What a delivery agent says: that it is ready, how each delivery ended, and that it needs a message again.

use crate::advance::{Step, advance};
use crate::wire::{Decoder, Encoder, WireError};
use crate::{AgentOptions, DeliveryRequest};
use smtp::client::{Disposition, HopStatus, Outcome, RecipientStatus, Session};
use smtp::{EnhancedStatus, ReplyCode, Stage};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

/// Both sides of the agent protocol say this number; a difference ends the conversation.
pub(crate) const PROTOCOL_VERSION: u16 = 3;

/// Longest text of one recipient's status that is believed, in bytes.
const MAX_STATUS_TEXT_BYTES: usize = 1024;

/// Absolute times on CLOCK_MONOTONIC in nanoseconds; 0 = that stage was not reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StageTimes {
    /// The agent had the whole request.
    pub started_ns: u64,
    /// The session was ready for MAIL (an open session that is reused: at once).
    pub ready_ns: u64,
    /// The last reply was in, or the delivery given up.
    pub done_ns: u64,
}

impl StageTimes {
    /// The session was there before this delivery.
    pub fn was_reused(&self) -> bool {
        self.ready_ns != 0 && self.ready_ns == self.started_ns
    }
}

/// The end of one delivery.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeliveryReport {
    pub id: u64,
    /// One status per recipient of the request, in its order, and what they say of the host.
    pub outcome: Outcome,
    /// Who answered, if somebody did.
    pub remote: Option<SocketAddr>,
    pub times: StageTimes,
}

/// A frame from an agent to the queue manager.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AgentFrame {
    /// Said once, first: the agent is set up and may be given deliveries.
    Ready,
    Report(DeliveryReport),
    /// The message of this delivery, please: it came inline and was given back while the delivery waited. Asked once a
    /// delivery at most; answered by a [`ContentAnswer`](crate::ContentAnswer).
    AskContent {
        id: u64,
    },
}

const KIND_READY: u8 = 16;
const KIND_REPORT: u8 = 17;
const KIND_ASK_CONTENT: u8 = 18;

impl AgentFrame {
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            AgentFrame::Ready => Encoder::frame(out, KIND_READY).u16(PROTOCOL_VERSION),
            AgentFrame::Report(report) => report.encode(&mut Encoder::frame(out, KIND_REPORT)),
            AgentFrame::AskContent { id } => Encoder::frame(out, KIND_ASK_CONTENT).u64(*id),
        }
    }

    pub fn decode(kind: u8, payload: &[u8]) -> Result<AgentFrame, WireError> {
        let mut input = Decoder::new(payload);
        let frame = match kind {
            KIND_READY if input.u16()? == PROTOCOL_VERSION => AgentFrame::Ready,
            KIND_READY => return Err(WireError::Invalid("protocol version")),
            KIND_REPORT => AgentFrame::Report(DeliveryReport::decode(&mut input)?),
            KIND_ASK_CONTENT => AgentFrame::AskContent { id: input.u64()? },
            _ => return Err(WireError::Invalid("kind of frame")),
        };
        input.finish()?;
        Ok(frame)
    }
}

impl DeliveryReport {
    /// For a delivery that found no connection because of `error`: every recipient is deferred, and the host is to
    /// blame.
    pub fn unconnected(
        request: &DeliveryRequest,
        options: &AgentOptions,
        error: &io::Error,
        now: Instant,
        times: StageTimes,
    ) -> DeliveryReport {
        let outcome = match error.kind() {
            // it was there already, and some ways to connect see its end before others
            io::ErrorKind::ConnectionReset => lost_at_once(request, options, error, now),
            _ => {
                let reason = format!("connect to {}: {error}", request.next_hop);
                smtp::client::connect_failed(&request.transaction(), &reason)
            }
        };
        DeliveryReport { id: request.id, outcome, remote: None, times }
    }

    fn encode(&self, frame: &mut Encoder<'_>) {
        frame.u64(self.id);
        encode_remote(self.remote, frame);
        frame.u64(self.times.started_ns);
        frame.u64(self.times.ready_ns);
        frame.u64(self.times.done_ns);
        frame.u8(match self.outcome.hop {
            HopStatus::Up => 0,
            HopStatus::Throttle => 1,
        });
        frame.u16(u16::try_from(self.outcome.recipients.len()).expect("as many as the request had"));
        for status in &self.outcome.recipients {
            encode_status(status, frame);
        }
    }

    fn decode(input: &mut Decoder<'_>) -> Result<DeliveryReport, WireError> {
        let id = input.u64()?;
        let remote = decode_remote(input)?;
        let times = StageTimes { started_ns: input.u64()?, ready_ns: input.u64()?, done_ns: input.u64()? };
        let hop = match input.u8()? {
            0 => HopStatus::Up,
            1 => HopStatus::Throttle,
            _ => return Err(WireError::Invalid("hop status")),
        };
        let count = usize::from(input.u16()?);
        if count > crate::MAX_RECIPIENTS_PER_REQUEST {
            return Err(WireError::Invalid("number of recipients"));
        }
        let recipients = (0..count).map(|_| decode_status(input)).collect::<Result<Vec<_>, _>>()?;
        Ok(DeliveryReport { id, outcome: Outcome { recipients, hop }, remote, times })
    }
}

/// As a session tells it whose connection ended before a byte came.
fn lost_at_once(
    request: &DeliveryRequest,
    options: &AgentOptions,
    error: &io::Error,
    now: Instant,
) -> Outcome {
    let mut out = Vec::new();
    let mut session = Session::new(options.session.clone(), now);
    session.begin(request.transaction(), now, &mut out);
    session.closed(now, &error.to_string());
    match advance(&mut session, &[], now, &mut out, || {}).1 {
        Step::Done(outcome) => outcome,
        Step::NeedInput | Step::SendBody | Step::Closed => {
            unreachable!("a transaction ends with its session")
        }
    }
}

/// Nobody, or an address as it is in a packet, and the port. The scope of a link-local address stays behind: it names
/// nobody elsewhere.
fn encode_remote(remote: Option<SocketAddr>, frame: &mut Encoder<'_>) {
    let Some(remote) = remote else { return frame.u8(0) };
    match remote.ip() {
        IpAddr::V4(address) => {
            frame.u8(4);
            frame.u32(address.to_bits());
        }
        IpAddr::V6(address) => {
            frame.u8(6);
            frame.u128(address.to_bits());
        }
    }
    frame.u16(remote.port());
}

fn decode_remote(input: &mut Decoder<'_>) -> Result<Option<SocketAddr>, WireError> {
    let address = match input.u8()? {
        0 => return Ok(None),
        4 => IpAddr::V4(Ipv4Addr::from_bits(input.u32()?)),
        6 => IpAddr::V6(Ipv6Addr::from_bits(input.u128()?)),
        _ => return Err(WireError::Invalid("address")),
    };
    Ok(Some(SocketAddr::new(address, input.u16()?)))
}

fn encode_status(status: &RecipientStatus, frame: &mut Encoder<'_>) {
    frame.u8(match status.disposition {
        Disposition::Delivered => 0,
        Disposition::Deferred => 1,
        Disposition::Bounced => 2,
    });
    frame.u16(status.code.map_or(0, ReplyCode::get));
    frame.u8(status.enhanced.class());
    frame.u16(status.enhanced.subject());
    frame.u16(status.enhanced.detail());
    frame.u8(Stage::ALL.iter().position(|stage| *stage == status.stage).expect("ALL has every stage") as u8);
    frame.str(clip(&status.text));
}

fn decode_status(input: &mut Decoder<'_>) -> Result<RecipientStatus, WireError> {
    let disposition = match input.u8()? {
        0 => Disposition::Delivered,
        1 => Disposition::Deferred,
        2 => Disposition::Bounced,
        _ => return Err(WireError::Invalid("disposition")),
    };
    let code = match input.u16()? {
        0 => None,
        code => Some(ReplyCode::new(code).ok_or(WireError::Invalid("reply code"))?),
    };
    let enhanced = EnhancedStatus::of(input.u8()?, input.u16()?, input.u16()?)
        .ok_or(WireError::Invalid("enhanced status code"))?;
    let stage = *Stage::ALL.get(usize::from(input.u8()?)).ok_or(WireError::Invalid("stage"))?;
    let text = input.str()?;
    if text.len() > MAX_STATUS_TEXT_BYTES || text.chars().any(char::is_control) {
        return Err(WireError::Invalid("status text"));
    }
    Ok(RecipientStatus { disposition, code, enhanced, text: text.to_owned(), stage })
}

fn clip(text: &str) -> &str {
    let mut end = text.len().min(MAX_STATUS_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
