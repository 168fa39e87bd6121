//! What the loop has to say to the queue manager, and who waits for an answer.

use crate::parcel::{Message, Shelf};
use delivery::{AgentFrame, ContentAnswer};
use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

/// Bounded by the deliveries under way: each has one report to make, and asks for its message once at most.
#[derive(Default)]
pub struct Outbox {
    waiting: RefCell<Frames>,
    filled: Notify,
    /// Deliveries that asked for their message, by the id of their request.
    asked: RefCell<HashMap<u64, oneshot::Sender<Option<Message>>>>,
}

/// Those that are not on the socket yet.
#[derive(Default)]
pub struct Frames {
    pub bytes: Vec<u8>,
    /// How many of them are reports.
    pub reports: usize,
}

impl Outbox {
    pub fn say(&self, frame: &AgentFrame) {
        let mut waiting = self.waiting.borrow_mut();
        frame.encode(&mut waiting.bytes);
        waiting.reports += usize::from(matches!(frame, AgentFrame::Report(_)));
        self.filled.notify_one();
    }

    /// Takes all of them, when there are any.
    pub async fn take(&self) -> Frames {
        loop {
            let frames = self.waiting.take();
            if !frames.bytes.is_empty() {
                return frames;
            }
            self.filled.notified().await;
        }
    }

    /// Asks for the message of a delivery and waits for it. The error is for the delivery's status.
    pub async fn ask(&self, id: u64, patience: Duration) -> Result<Message, &'static str> {
        let (answer, answered) = oneshot::channel();
        self.asked.borrow_mut().insert(id, answer);
        self.say(&AgentFrame::AskContent { id });
        let answer = timeout(patience, answered).await;
        self.asked.borrow_mut().remove(&id);
        match answer {
            Ok(Ok(Some(message))) => Ok(message),
            Ok(Ok(None)) => Err("the message cannot be read from the spool any more"),
            Ok(Err(_)) | Err(_) => Err("the queue manager did not give the message in time"),
        }
    }

    /// The queue manager's answer to [`Outbox::ask`]; who asked may have given up since.
    pub fn answer(&self, answer: &ContentAnswer<'_>, shelf: &mut Shelf) {
        if let Some(asked) = self.asked.borrow_mut().remove(&answer.id) {
            let _ = asked.send(answer.content.map(|bytes| shelf.put(bytes)));
        }
    }
}
