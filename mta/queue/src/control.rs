//! The control socket: one JSON object a line, both ways.

use crate::poller::{Poller, Token};
use crate::view::{Filter, Row};
use delivery::{BadQueueId, QueueId};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

/// A command is short; a longer line ends its connection.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// But for the begin of an import, which names every recipient there is. Such a line is known by how it starts.
const MAX_BEGIN_BYTES: usize = 32 << 20;
const BEGIN: &[u8] = br#"{"command":"import","piece":{"begin":"#;

/// Connections at a time; one more is closed at once.
const MAX_CLIENTS: usize = 64;

/// An answer that its reader does not take in this time is not waited for.
const WRITE_TIMEOUT: Duration = Duration::from_millis(100);

#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase", deny_unknown_fields)]
pub enum Command {
    Pause,
    Resume,
    /// Start the agents that the waiting mail will need, and answer when they are ready.
    Ramp,
    /// Read the configuration again, and replace every agent once it has finished what it has.
    Reload,
    Status,
    /// A page of the queued messages that match, behind the id `after`.
    List {
        after: Option<Id>,
        #[serde(default)]
        filter: Filter,
    },
    Show {
        id: Id,
    },
    /// A piece of a message's content.
    Read {
        id: Id,
        offset: u64,
    },
    /// Everything that is deferred is due now.
    Flush,
    Hold {
        ids: Vec<Id>,
    },
    Release {
        ids: Vec<Id>,
    },
    Requeue {
        ids: Vec<Id>,
    },
    Delete {
        ids: Vec<Id>,
    },
    /// Each connection imports one message at a time: what is known of it, its content in pieces, the end.
    Import {
        piece: Piece,
    },
}

/// A queue id as text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Id(pub QueueId);

impl TryFrom<String> for Id {
    type Error = BadQueueId;

    fn try_from(text: String) -> Result<Id, BadQueueId> {
        text.parse().map(Id)
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Piece {
    Begin(Row),
    Data(String),
    /// Is answered when the message is durable. It is held until its client confirms it.
    End,
    /// Releases it. Is answered when that is durable, too.
    Confirm,
    /// The same for a message that was taken in before a stop of its client.
    Release(Id),
    /// Whether a message that was begun is in the queue.
    Known(Id),
}

/// A message that is being imported.
pub struct Imported {
    pub incoming: spool::Incoming,
    pub stored: spool::Stored,
}

/// What the clients have in hand.
#[derive(Default)]
pub struct Imports {
    pub begun: HashMap<u64, Imported>,
    /// By client.
    pub writing: HashMap<u64, QueueId>,
    /// Durable, and held until its client knows that it has been told so.
    pub unconfirmed: HashMap<u64, (QueueId, spool::Stored)>,
    /// Confirmed, and not yet durably released. Without what is stored it is queued already.
    pub releasing: HashMap<u64, (QueueId, Option<spool::Stored>)>,
}

impl Imports {
    pub fn has_in_hand(&self, id: QueueId) -> bool {
        self.writing.values().any(|one| *one == id)
            || self.begun.values().any(|one| one.incoming.id() == id)
            || self.unconfirmed.values().any(|one| one.0 == id)
            || self.releasing.values().any(|one| one.0 == id)
    }

    /// The client waits for the end of what it asked for, or is to confirm it.
    pub fn is_busy(&self, client: u64) -> bool {
        self.writing.contains_key(&client)
            || self.unconfirmed.contains_key(&client)
            || self.releasing.contains_key(&client)
    }
}

struct Client {
    socket: UnixStream,
    received: Vec<u8>,
}

impl Client {
    fn bytes_max(&self) -> usize {
        if self.received.starts_with(BEGIN) { MAX_BEGIN_BYTES } else { MAX_LINE_BYTES }
    }
}

pub struct Control {
    listener: UnixListener,
    clients: HashMap<u64, Client>,
    next_client: u64,
    /// Clients that have gone, and nobody was told yet.
    gone: Vec<u64>,
}

impl Control {
    pub fn new(listener: OwnedFd, poller: &Poller) -> io::Result<Control> {
        let listener = UnixListener::from(listener);
        listener.set_nonblocking(true)?;
        poller.watch(&listener, Token::ControlListener)?;
        Ok(Control { listener, clients: HashMap::new(), next_client: 1, gone: Vec::new() })
    }

    pub fn accept(&mut self, poller: &Poller) {
        while let Ok((socket, _)) = self.listener.accept() {
            if self.clients.len() >= MAX_CLIENTS {
                continue;
            }
            let number = self.next_client;
            self.next_client += 1;
            let watched = socket
                .set_nonblocking(true)
                .and_then(|()| socket.set_write_timeout(Some(WRITE_TIMEOUT)))
                .and_then(|()| poller.watch(&socket, Token::Control(number)));
            if watched.is_ok() {
                self.clients.insert(number, Client { socket, received: Vec::new() });
            }
        }
    }

    /// Reads from a client; returns its commands. Lines that are none are answered here.
    pub fn read(&mut self, number: u64) -> Vec<Command> {
        let Some(client) = self.clients.get_mut(&number) else { return Vec::new() };
        let mut buffer = [0; 4096];
        loop {
            match client.socket.read(&mut buffer) {
                Ok(0) => return self.close(number),
                Ok(count) if client.received.len() + count > client.bytes_max() => return self.close(number),
                Ok(count) => client.received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.close(number),
            }
        }
        let mut commands = Vec::new();
        let mut wrong = Vec::new();
        while let Some(end) = client.received.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = client.received.drain(..=end).collect();
            match serde_json::from_slice::<Command>(&line) {
                Ok(command) => commands.push(command),
                Err(error) => wrong.push(error.to_string()),
            }
        }
        for error in wrong {
            let error = format!("{error}; write one object a line, for example {{\"command\":\"status\"}}");
            self.answer(number, &json!({"ok": false, "error": error}));
        }
        commands
    }

    /// The client is still there.
    pub fn has(&self, number: u64) -> bool {
        self.clients.contains_key(&number)
    }

    /// Those that have gone since this was asked, whatever made them go.
    pub fn take_gone(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.gone)
    }

    fn close(&mut self, number: u64) -> Vec<Command> {
        self.clients.remove(&number);
        self.gone.push(number);
        Vec::new()
    }

    /// Sends one line. A client that is gone or does not read loses its connection.
    pub fn answer(&mut self, number: u64, answer: &Value) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let line = format!("{answer}\n");
        // blocking for the moment of the write only, and bounded: an answer fits the socket's buffer
        let written = client
            .socket
            .set_nonblocking(false)
            .and_then(|()| client.socket.write_all(line.as_bytes()))
            .and_then(|()| client.socket.set_nonblocking(true));
        if written.is_err() {
            self.close(number);
        }
    }
}
