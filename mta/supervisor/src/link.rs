//! What queue manager and starter say to each other over their socket.

use delivery::wire::{Decoder, Encoder, WireError};
use std::time::Duration;

/// Names one agent from its request to its end; chosen by the queue manager, never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct AgentNumber(pub u64);

/// From the queue manager.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ToStarter {
    /// The spool is recovered and the control socket answers.
    Ready,
    /// Make an agent; answered by `Started` or `NotStarted`.
    Start(AgentNumber),
    /// End an agent that does not answer (SIGKILL); its end is told as any other. One that has ended: nothing.
    Kill(AgentNumber),
    /// Asked with a number that the answer repeats.
    Usage { question: u64 },
    /// The configuration was read again: agents that are asked for after this are as `agents` describes (for
    /// `starter::Agents::change`).
    Change { stop_bound: Duration, agents: Vec<u8> },
}

/// From the starter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FromStarter {
    /// The queue manager's end of the agent's socket comes beside this frame.
    Started {
        agent: AgentNumber,
        pid: u32,
    },
    NotStarted {
        agent: AgentNumber,
        errno: i32,
    },
    /// Reaped. `signal` is 0 for an ordinary exit, of which `status` is the status.
    Ended {
        agent: AgentNumber,
        status: i32,
        signal: i32,
    },
    Usage {
        question: u64,
        usage: Usage,
    },
    /// Replace every agent once it has finished what it has.
    Reload,
    /// Hand out nothing more, finish what is in flight (bounded), and exit.
    Stop,
}

/// Processor time by role in nanoseconds, and who is who.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    pub starter_ns: u64,
    pub queue_ns: u64,
    pub reception_ns: u64,
    /// Of the agents that have ended (exact, from wait4) and of those that live.
    pub agents_ns: u64,
    pub starter_pid: u32,
    pub reception_pid: u32,
}

const KIND_READY: u8 = 64;
const KIND_START: u8 = 65;
const KIND_ASK_USAGE: u8 = 66;
const KIND_KILL: u8 = 67;
const KIND_CHANGE: u8 = 68;
const KIND_STARTED: u8 = 72;
const KIND_NOT_STARTED: u8 = 73;
const KIND_ENDED: u8 = 74;
const KIND_USAGE: u8 = 75;
const KIND_STOP: u8 = 76;
const KIND_RELOAD: u8 = 77;

impl ToStarter {
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            ToStarter::Ready => drop(Encoder::frame(out, KIND_READY)),
            ToStarter::Start(agent) => Encoder::frame(out, KIND_START).u64(agent.0),
            ToStarter::Kill(agent) => Encoder::frame(out, KIND_KILL).u64(agent.0),
            ToStarter::Usage { question } => Encoder::frame(out, KIND_ASK_USAGE).u64(*question),
            ToStarter::Change { stop_bound, agents } => {
                let mut frame = Encoder::frame(out, KIND_CHANGE);
                frame.u64(u64::try_from(stop_bound.as_nanos()).unwrap_or(u64::MAX));
                frame.bytes(agents);
            }
        }
    }

    pub fn decode(kind: u8, payload: &[u8]) -> Result<ToStarter, WireError> {
        let mut input = Decoder::new(payload);
        let message = match kind {
            KIND_READY => ToStarter::Ready,
            KIND_START => ToStarter::Start(AgentNumber(input.u64()?)),
            KIND_KILL => ToStarter::Kill(AgentNumber(input.u64()?)),
            KIND_ASK_USAGE => ToStarter::Usage { question: input.u64()? },
            KIND_CHANGE => {
                let stop_bound = Duration::from_nanos(input.u64()?);
                ToStarter::Change { stop_bound, agents: input.bytes()?.to_vec() }
            }
            _ => return Err(WireError::Invalid("kind of frame")),
        };
        input.finish()?;
        Ok(message)
    }
}

impl FromStarter {
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            FromStarter::Started { agent, pid } => {
                let mut frame = Encoder::frame(out, KIND_STARTED);
                frame.u64(agent.0);
                frame.u32(*pid);
            }
            FromStarter::NotStarted { agent, errno } => {
                let mut frame = Encoder::frame(out, KIND_NOT_STARTED);
                frame.u64(agent.0);
                frame.u32(errno.cast_unsigned());
            }
            FromStarter::Ended { agent, status, signal } => {
                let mut frame = Encoder::frame(out, KIND_ENDED);
                frame.u64(agent.0);
                frame.u32(status.cast_unsigned());
                frame.u32(signal.cast_unsigned());
            }
            FromStarter::Usage { question, usage } => {
                let mut frame = Encoder::frame(out, KIND_USAGE);
                frame.u64(*question);
                for ns in [usage.starter_ns, usage.queue_ns, usage.reception_ns, usage.agents_ns] {
                    frame.u64(ns);
                }
                frame.u32(usage.starter_pid);
                frame.u32(usage.reception_pid);
            }
            FromStarter::Reload => drop(Encoder::frame(out, KIND_RELOAD)),
            FromStarter::Stop => drop(Encoder::frame(out, KIND_STOP)),
        }
    }

    pub fn decode(kind: u8, payload: &[u8]) -> Result<FromStarter, WireError> {
        let mut input = Decoder::new(payload);
        let message = match kind {
            KIND_STARTED => FromStarter::Started { agent: AgentNumber(input.u64()?), pid: input.u32()? },
            KIND_NOT_STARTED => FromStarter::NotStarted {
                agent: AgentNumber(input.u64()?),
                errno: input.u32()?.cast_signed(),
            },
            KIND_ENDED => FromStarter::Ended {
                agent: AgentNumber(input.u64()?),
                status: input.u32()?.cast_signed(),
                signal: input.u32()?.cast_signed(),
            },
            KIND_USAGE => FromStarter::Usage {
                question: input.u64()?,
                usage: Usage {
                    starter_ns: input.u64()?,
                    queue_ns: input.u64()?,
                    reception_ns: input.u64()?,
                    agents_ns: input.u64()?,
                    starter_pid: input.u32()?,
                    reception_pid: input.u32()?,
                },
            },
            KIND_RELOAD => FromStarter::Reload,
            KIND_STOP => FromStarter::Stop,
            _ => return Err(WireError::Invalid("kind of frame")),
        };
        input.finish()?;
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use delivery::wire::split_frame;

    #[test]
    fn every_frame_survives_the_wire() {
        let agent = AgentNumber(7);
        let usage = Usage {
            starter_ns: 1,
            queue_ns: 2,
            reception_ns: 3,
            agents_ns: 4,
            starter_pid: 5,
            reception_pid: 6,
        };
        let from = [
            FromStarter::Started { agent, pid: 9 },
            FromStarter::NotStarted { agent, errno: 11 },
            FromStarter::Ended { agent, status: -1, signal: 9 },
            FromStarter::Usage { question: 3, usage },
            FromStarter::Reload,
            FromStarter::Stop,
        ];
        let mut bytes = Vec::new();
        from.iter().for_each(|frame| frame.encode(&mut bytes));
        let mut rest = &bytes[..];
        for expected in from {
            let (kind, payload, taken) = split_frame(rest).unwrap().unwrap();
            assert_eq!(FromStarter::decode(kind, payload), Ok(expected));
            assert!(FromStarter::decode(kind, &[payload, &[0]].concat()).is_err(), "trailing byte passes");
            rest = &rest[taken..];
        }
        let (start, kill) = (ToStarter::Start(agent), ToStarter::Kill(agent));
        let change = ToStarter::Change { stop_bound: Duration::from_millis(1500), agents: vec![1, 2, 3] };
        for expected in [ToStarter::Ready, start, kill, ToStarter::Usage { question: 1 }, change] {
            let mut bytes = Vec::new();
            expected.encode(&mut bytes);
            let (kind, payload, _) = split_frame(&bytes).unwrap().unwrap();
            assert_eq!(ToStarter::decode(kind, payload), Ok(expected));
        }
    }
}
