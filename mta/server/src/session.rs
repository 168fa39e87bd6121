//! One SMTP session with a client.

use crate::Settings;
use crate::handover::{Handover, Message};
use crate::header::{HopCounter, received_field};
use delivery::{Envelope, EpochMs, MAX_CHUNK_BYTES};
use smtp::server::{Event, Limits, Options, Session};
use smtp::{ForwardPath, Reply, ReversePath};
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

/// RFC 5321 §4.5.3.2.7: a server waits at least 5 minutes for the next command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(300);

/// A client that takes no replies for so long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

const READ_BYTES: usize = 16 * 1024;

/// A piece goes to the queue manager when it has grown to this; the bytes of one read come on top.
const PIECE_BYTES: usize = MAX_CHUNK_BYTES - READ_BYTES;

/// What all sessions have in common.
pub struct Shared {
    handover: Rc<Handover>,
    hostname: Arc<str>,
    session: Arc<Options>,
}

impl Shared {
    pub fn new(handover: Rc<Handover>, settings: &Settings) -> Shared {
        let limits = Limits { max_message_bytes: Some(settings.max_message_bytes), ..Limits::default() };
        let session = Options { limits, ..Options::new(&*settings.hostname) };
        Shared { handover, hostname: settings.hostname.clone(), session: Arc::new(session) }
    }
}

/// What the session needs before it can go on.
enum Need {
    Input,
    /// `piece` is large enough to be sent.
    Send,
    /// The message has ended.
    Settle {
        refusal: Option<Reply>,
    },
    Close,
}

struct Conversation {
    shared: Rc<Shared>,
    session: Session,
    client: IpAddr,
    out: Vec<u8>,
    hello: String,
    extended: bool,
    reverse_path: ReversePath,
    eight_bit: bool,
    recipients: Vec<ForwardPath>,
    message: Option<Message>,
    hops: HopCounter,
    piece: Vec<u8>,
}

/// Serves one client until it leaves, is too slow, or the MTA stops.
pub async fn serve(stream: TcpStream, client: IpAddr, shared: Rc<Shared>, stopping: watch::Receiver<bool>) {
    let session = Session::new(Arc::clone(&shared.session));
    let conversation = Conversation {
        shared,
        session,
        client,
        out: Vec::new(),
        hello: String::new(),
        extended: false,
        reverse_path: ReversePath::Null,
        eight_bit: false,
        recipients: Vec::new(),
        message: None,
        hops: HopCounter::default(),
        piece: Vec::new(),
    };
    // a client that breaks off is an everyday thing; its unfinished message is forgotten by dropping it
    let _ = conversation.run(&stream, stopping).await;
}

impl Conversation {
    async fn run(mut self, stream: &TcpStream, mut stopping: watch::Receiver<bool>) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut input: Vec<u8> = Vec::new();
        let mut taken = 0;
        loop {
            let (count, need) = self.step(&input[taken..]);
            taken += count;
            match need {
                Need::Input => {
                    input.drain(..taken);
                    taken = 0;
                    flush(stream, &mut self.out).await?;
                    if !self.read(stream, &mut input, &mut stopping).await? {
                        return Ok(());
                    }
                }
                Need::Send => self.send_piece().await,
                Need::Settle { refusal } => self.settle(refusal).await,
                Need::Close => return flush(stream, &mut self.out).await,
            }
        }
    }

    /// Waits for bytes. False when the session is over: the client is gone, or idle while the MTA stops.
    async fn read(
        &mut self,
        stream: &TcpStream,
        input: &mut Vec<u8>,
        stopping: &mut watch::Receiver<bool>,
    ) -> io::Result<bool> {
        loop {
            let in_message = self.message.is_some();
            let waited = tokio::select! {
                waited = timeout(COMMAND_TIMEOUT, stream.readable()) => waited,
                _ = stopping.wait_for(|stop| *stop), if !in_message => {
                    self.farewell(421, "service is shutting down");
                    flush(stream, &mut self.out).await?;
                    return Ok(false);
                }
            };
            if waited.is_err() {
                self.farewell(421, "timed out waiting for a command");
                flush(stream, &mut self.out).await?;
                return Ok(false);
            }
            waited.expect("checked above")?;
            let filled = input.len();
            input.resize(filled + READ_BYTES, 0);
            let result = stream.try_read(&mut input[filled..]);
            input.truncate(filled + *result.as_ref().unwrap_or(&0));
            match result {
                Ok(0) => return Ok(false),
                Ok(_) => return Ok(true),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn farewell(&mut self, code: u16, why: &str) {
        let text = format!("{} {why}", self.shared.hostname);
        Reply::new(code, Some((4, 3, 2)), text).write(&mut self.out);
    }

    /// Handles what is in `input` until something has to be waited for.
    fn step(&mut self, input: &[u8]) -> (usize, Need) {
        let mut taken = 0;
        loop {
            if self.session.is_closed() {
                return (taken, Need::Close);
            }
            let (count, event) = self.session.next(&input[taken..]);
            taken += count;
            match event {
                None => return (taken, Need::Input),
                Some(Event::Body(bytes)) => {
                    self.hops.feed(bytes);
                    self.piece.extend_from_slice(bytes);
                    if self.piece.len() >= PIECE_BYTES {
                        return (taken, Need::Send);
                    }
                }
                Some(Event::EndOfData { bare_newline, too_big }) => {
                    let refusal = self.refusal(bare_newline, too_big);
                    return (taken, Need::Settle { refusal });
                }
                Some(event) => {
                    let refusal = self.consider(event);
                    match refusal {
                        Some(reply) => self.session.reply(&reply, &mut self.out),
                        None => self.session.accept(&mut self.out),
                    }
                }
            }
        }
    }

    /// Notes what a command says. A reply = it is refused.
    fn consider(&mut self, event: Event<'_>) -> Option<Reply> {
        match event {
            Event::Hello { name, extended } => {
                (self.hello, self.extended) = (name.to_owned(), extended);
            }
            Event::Mail { reverse_path, eight_bit, size, .. } => {
                if !self.shared.handover.has_room(size) {
                    // RFC 3463 §3.4: 4.3.1 mail system full; RFC 1870 §6.1 has 452 for a size that does not fit now
                    return Some(Reply::new(452, Some((4, 3, 1)), "insufficient system storage"));
                }
                (self.reverse_path, self.eight_bit) = (reverse_path, eight_bit);
                self.recipients.clear();
            }
            Event::Rcpt { forward_path, .. } => {
                // everything is relayed, and whoever is not this machine has no right to that
                if !self.client.to_canonical().is_loopback() {
                    return Some(Reply::new(554, Some((5, 7, 1)), "relay access denied"));
                }
                self.recipients.push(forward_path);
            }
            Event::Data => self.begin_message(),
            _ => {}
        }
        None
    }

    fn begin_message(&mut self) {
        let received = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let envelope = Envelope {
            received: EpochMs(received.as_millis() as u64),
            reverse_path: std::mem::replace(&mut self.reverse_path, ReversePath::Null),
            recipients: std::mem::take(&mut self.recipients),
            eight_bit: self.eight_bit,
        };
        self.message = Some(self.shared.handover.begin(envelope));
        self.hops = HopCounter::default();
        let field = received_field(&self.hello, self.extended, self.client, &self.shared.hostname);
        self.piece.clear();
        self.piece.extend_from_slice(field.as_bytes());
    }

    fn refusal(&self, bare_newline: bool, too_big: bool) -> Option<Reply> {
        if too_big {
            return Some(Reply::new(552, Some((5, 3, 4)), "message is larger than this server takes"));
        }
        if bare_newline {
            // RFC 5321 §2.3.8; a later hop might take a bare newline for the end of the message
            return Some(Reply::new(550, Some((5, 6, 0)), "message has a CR or LF on its own"));
        }
        if self.hops.is_loop() {
            return Some(Reply::new(554, Some((5, 4, 6)), "too many hops, this message is in a loop"));
        }
        None
    }

    async fn send_piece(&mut self) {
        if let Some(message) = &self.message {
            for chunk in self.piece.chunks(MAX_CHUNK_BYTES) {
                message.send(chunk).await;
            }
        }
        self.piece.clear();
    }

    /// Answers the end of data: 250 only for what is durable.
    async fn settle(&mut self, refusal: Option<Reply>) {
        let result = match refusal {
            Some(reply) => {
                self.message = None;
                Err(reply)
            }
            None => {
                self.send_piece().await;
                self.message.take().expect("data was accepted").finish().await
            }
        };
        self.piece = Vec::new();
        let reply = result
            .map_or_else(|reply| reply, |id| Reply::new(250, Some((2, 0, 0)), format!("queued as {id}")));
        self.session.reply(&reply, &mut self.out);
    }
}

async fn flush(stream: &TcpStream, out: &mut Vec<u8>) -> io::Result<()> {
    let mut sent = 0;
    while sent < out.len() {
        match stream.try_write(&out[sent..]) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                timeout(WRITE_TIMEOUT, stream.writable()).await??;
            }
            Err(error) => return Err(error),
        }
    }
    out.clear();
    Ok(())
}
