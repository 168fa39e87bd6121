//! What every connection of an agent has in common, whichever driver runs it, and how it reaches an agent that
//! was executed and so shares no memory with its starter.

use crate::report::PROTOCOL_VERSION;
use crate::wire::{Decoder, Encoder, WireError};
use smtp::Protocol;
use smtp::client::{Credentials, Options, Timeouts, Tls};
use std::sync::Arc;
use std::time::Duration;

/// Set when the agent starts; the same for all its deliveries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AgentOptions {
    pub session: Arc<Options>,
    pub connect_timeout: Duration,
    /// Connections at a time, those that wait for another message included: what the agent's descriptors allow.
    pub connections: usize,
    /// Transactions on one connection; 0 = no limit.
    pub messages_per_connection: u32,
    /// How long an open connection waits for the next message to the same next hop (Postfix: 2 s).
    pub session_idle: Duration,
    /// Private writable memory that the process may have, in bytes.
    pub memory_max_bytes: Option<u64>,
}

const KIND_OPTIONS: u8 = 2;

const PROTOCOLS: [Protocol; 2] = [Protocol::Smtp, Protocol::Lmtp];
const TLS: [Tls; 3] = [Tls::Never, Tls::Opportunistic, Tls::Required];

impl AgentOptions {
    /// Whether a connection that carried so many transactions may carry another.
    pub fn allows_another(&self, transactions: u32) -> bool {
        self.messages_per_connection == 0 || transactions < self.messages_per_connection
    }

    /// A copy that shares nothing, for a forked agent: counting references where its parent has them would make the
    /// parent's page one of its own.
    pub fn unshared(&self) -> AgentOptions {
        AgentOptions {
            session: Arc::new(Options::clone(&self.session)),
            connect_timeout: self.connect_timeout,
            connections: self.connections,
            messages_per_connection: self.messages_per_connection,
            session_idle: self.session_idle,
            memory_max_bytes: self.memory_max_bytes,
        }
    }

    /// The frame that is the first on the socket of an executed agent.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut frame = Encoder::frame(out, KIND_OPTIONS);
        frame.u16(PROTOCOL_VERSION);
        frame.u64(nanoseconds(self.connect_timeout));
        frame.u32(u32::try_from(self.connections).unwrap_or(u32::MAX));
        frame.u32(self.messages_per_connection);
        frame.u64(nanoseconds(self.session_idle));
        frame.u64(self.memory_max_bytes.unwrap_or(u64::MAX));
        // every field by name: a new one does not compile until it travels too
        let Options { hello, protocol, pipelining, chunking, tls, auth, auth_without_tls, timeouts } =
            &*self.session;
        frame.str(hello);
        frame.u8(index_in(&PROTOCOLS, protocol));
        frame.u8(index_in(&TLS, tls));
        for flag in [*pipelining, *chunking, *auth_without_tls, auth.is_some()] {
            frame.u8(u8::from(flag));
        }
        if let Some(Credentials { user, password }) = auth {
            frame.str(user);
            frame.str(password);
        }
        for timeout in timeouts_in_order(&mut timeouts.clone()) {
            frame.u64(nanoseconds(*timeout));
        }
    }

    /// Decodes the payload of a frame of the given kind.
    pub fn decode(kind: u8, payload: &[u8]) -> Result<AgentOptions, WireError> {
        if kind != KIND_OPTIONS {
            return Err(WireError::Invalid("kind of frame"));
        }
        let mut input = Decoder::new(payload);
        if input.u16()? != PROTOCOL_VERSION {
            return Err(WireError::Invalid("protocol version"));
        }
        let connect_timeout = Duration::from_nanos(input.u64()?);
        let connections = input.u32()? as usize;
        let messages_per_connection = input.u32()?;
        let session_idle = Duration::from_nanos(input.u64()?);
        let memory_max_bytes = Some(input.u64()?).filter(|bytes| *bytes != u64::MAX);
        let mut session = Options::new(input.str()?);
        session.protocol = *value_at(&PROTOCOLS, input.u8()?, "protocol")?;
        session.tls = *value_at(&TLS, input.u8()?, "use of TLS")?;
        session.pipelining = input.bool()?;
        session.chunking = input.bool()?;
        session.auth_without_tls = input.bool()?;
        if input.bool()? {
            let (user, password) = (input.str()?.to_owned(), input.str()?.to_owned());
            session.auth = Some(Credentials { user, password });
        }
        for timeout in timeouts_in_order(&mut session.timeouts) {
            *timeout = Duration::from_nanos(input.u64()?);
        }
        input.finish()?;
        let session = Arc::new(session);
        Ok(AgentOptions {
            session,
            connect_timeout,
            connections,
            messages_per_connection,
            session_idle,
            memory_max_bytes,
        })
    }
}

fn timeouts_in_order(timeouts: &mut Timeouts) -> [&mut Duration; 11] {
    let Timeouts {
        greeting,
        hello,
        start_tls,
        auth,
        mail,
        rcpt,
        data_init,
        data_block,
        data_end,
        rset,
        quit,
    } = timeouts;
    [greeting, hello, start_tls, auth, mail, rcpt, data_init, data_block, data_end, rset, quit]
}

/// 584 years at most, which is as good as for ever.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn index_in<T: PartialEq>(all: &[T], value: &T) -> u8 {
    all.iter().position(|one| one == value).expect("the table has every value") as u8
}

fn value_at<'a, T>(all: &'a [T], index: u8, what: &'static str) -> Result<&'a T, WireError> {
    all.get(usize::from(index)).ok_or(WireError::Invalid(what))
}
