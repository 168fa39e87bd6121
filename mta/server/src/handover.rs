//! The socket to the queue manager, shared by all sessions: chunks out under credit, answers in.

use delivery::wire::split_frame;
use delivery::{CREDIT_BYTES, Envelope, IntakeAnswer, IntakeFrame, QueueId};
use smtp::Reply;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::time::timeout;

/// A queue manager that is silent for so long has failed; clients wait 10 minutes (RFC 5321 §4.5.3.2.6).
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);

/// One message on its way, as both the session and the reader of answers see it.
struct Waiting {
    credit: Cell<u32>,
    answer: RefCell<Option<Result<QueueId, Reply>>>,
    changed: Notify,
}

pub struct Handover {
    next_message: Cell<u64>,
    waiting: RefCell<HashMap<u64, Rc<Waiting>>>,
    out: RefCell<Vec<u8>>,
    written: Notify,
    /// Bytes of mail that the queue manager has room for.
    room: Cell<u64>,
}

/// A message being handed over. Dropping it before [`Message::finish`] has it forgotten by the queue manager.
pub struct Message {
    number: u64,
    handover: Rc<Handover>,
    waiting: Rc<Waiting>,
    finished: bool,
}

fn unavailable() -> Reply {
    Reply::new(451, Some((4, 3, 0)), "queue manager is not available, try again later")
}

impl Handover {
    /// Gives the shared end and the future that moves its bytes; that one ends when the queue manager does.
    pub fn new(socket: StdUnixStream) -> io::Result<(Rc<Handover>, impl Future<Output = io::Result<()>>)> {
        socket.set_nonblocking(true)?;
        let (reader, writer) = UnixStream::from_std(socket)?.into_split();
        let handover = Rc::new(Handover {
            next_message: Cell::new(1),
            waiting: RefCell::default(),
            out: RefCell::default(),
            written: Notify::new(),
            room: Cell::new(u64::MAX),
        });
        let shared = handover.clone();
        let moving = async move {
            let result = tokio::select! {
                result = shared.clone().read_answers(reader) => result,
                result = shared.write_frames(writer) => result,
            };
            for (_, waiting) in shared.waiting.borrow_mut().drain() {
                waiting.settle(Err(unavailable()));
            }
            result
        };
        Ok((handover, moving))
    }

    /// Whether a message of this size can be taken; what is not declared is taken for small.
    pub fn has_room(&self, declared_bytes: Option<u64>) -> bool {
        self.room.get() > declared_bytes.unwrap_or(0)
    }

    pub fn begin(self: &Rc<Self>, envelope: Envelope) -> Message {
        let number = self.next_message.replace(self.next_message.get() + 1);
        let waiting = Rc::new(Waiting {
            credit: Cell::new(CREDIT_BYTES),
            answer: RefCell::default(),
            changed: Notify::new(),
        });
        self.waiting.borrow_mut().insert(number, waiting.clone());
        self.send(&IntakeFrame::Begin { message: number, envelope });
        Message { number, handover: self.clone(), waiting, finished: false }
    }

    fn send(&self, frame: &IntakeFrame<'_>) {
        frame.encode(&mut self.out.borrow_mut());
        self.written.notify_one();
    }

    async fn write_frames(&self, mut writer: OwnedWriteHalf) -> io::Result<()> {
        loop {
            let bytes = std::mem::take(&mut *self.out.borrow_mut());
            if bytes.is_empty() {
                self.written.notified().await;
                continue;
            }
            writer.write_all(&bytes).await?;
        }
    }

    async fn read_answers(self: Rc<Self>, mut reader: OwnedReadHalf) -> io::Result<()> {
        let mut received = Vec::new();
        loop {
            if reader.read_buf(&mut received).await? == 0 {
                return Ok(());
            }
            let mut taken = 0;
            while let Some((kind, payload, length)) =
                split_frame(&received[taken..]).map_err(io::Error::other)?
            {
                self.answer(IntakeAnswer::decode(kind, payload).map_err(io::Error::other)?);
                taken += length;
            }
            received.drain(..taken);
        }
    }

    fn answer(&self, answer: IntakeAnswer) {
        match answer {
            IntakeAnswer::Credit { message, bytes } => {
                if let Some(waiting) = self.waiting.borrow().get(&message) {
                    waiting.credit.set(waiting.credit.get().saturating_add(bytes));
                    waiting.changed.notify_one();
                }
            }
            IntakeAnswer::Room { bytes } => self.room.set(bytes),
            IntakeAnswer::Durable { message, queue_id } => self.settle(message, Ok(queue_id)),
            IntakeAnswer::Refused { message, reply } => self.settle(message, Err(reply)),
        }
    }

    fn settle(&self, message: u64, result: Result<QueueId, Reply>) {
        if let Some(waiting) = self.waiting.borrow_mut().remove(&message) {
            waiting.settle(result);
        }
    }
}

impl Waiting {
    fn settle(&self, result: Result<QueueId, Reply>) {
        *self.answer.borrow_mut() = Some(result);
        self.changed.notify_one();
    }
}

impl Message {
    /// Sends a piece, once there is credit for it. A message that was refused meanwhile swallows the rest.
    pub async fn send(&self, bytes: &[u8]) {
        let need = bytes.len() as u32;
        while self.waiting.answer.borrow().is_none() && self.waiting.credit.get() < need {
            if timeout(ANSWER_TIMEOUT, self.waiting.changed.notified()).await.is_err() {
                return self.waiting.settle(Err(unavailable()));
            }
        }
        if self.waiting.answer.borrow().is_none() {
            self.waiting.credit.set(self.waiting.credit.get() - need);
            self.handover.send(&IntakeFrame::Chunk { message: self.number, bytes });
        }
    }

    /// Says that this was all of it, and waits until it is durable or refused.
    pub async fn finish(mut self) -> Result<QueueId, Reply> {
        self.handover.send(&IntakeFrame::End { message: self.number });
        self.finished = true;
        loop {
            if let Some(answer) = self.waiting.answer.borrow_mut().take() {
                return answer;
            }
            if timeout(ANSWER_TIMEOUT, self.waiting.changed.notified()).await.is_err() {
                return Err(unavailable());
            }
        }
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        self.handover.waiting.borrow_mut().remove(&self.number);
        if !self.finished {
            self.handover.send(&IntakeFrame::Abort { message: self.number });
        }
    }
}
