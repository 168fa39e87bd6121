//! Reads messages again that agents ask for, on a thread of its own: what waited for hours may be on the disk only.

use crate::writer::{Done, Results};
use delivery::QueueId;
use spool::{Content, Spool, SpoolError};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use supervisor::link::AgentNumber;

/// Not started before something is asked for: most drivers never do.
pub struct SpoolReader {
    spool: Arc<dyn Spool>,
    results: Arc<Results>,
    thread: Option<(Sender<Wanted>, JoinHandle<()>)>,
}

struct Wanted {
    agent: AgentNumber,
    request: u64,
    id: QueueId,
}

impl SpoolReader {
    pub fn new(spool: Arc<dyn Spool>, results: Arc<Results>) -> SpoolReader {
        SpoolReader { spool, results, thread: None }
    }

    /// Reads the message of a delivery; [`Done::ReadAgain`] has it, also when it could not be read.
    pub fn read(&mut self, agent: AgentNumber, request: u64, id: QueueId) {
        let wanted = Wanted { agent, request, id };
        if self.thread.is_none() {
            let (spool, results) = (self.spool.clone(), self.results.clone());
            let (sender, receiver) = channel();
            let thread = std::thread::Builder::new().name("spool reader".into());
            match thread.spawn(move || work(&*spool, &receiver, &results)) {
                Ok(thread) => self.thread = Some((sender, thread)),
                // with no thread to be had the loop reads by itself
                Err(_) => return self.results.add(vec![read(&*self.spool, &wanted)]),
            }
        }
        let (sender, _) = self.thread.as_ref().expect("started above");
        sender.send(wanted).expect("the reader lives as long as its sender");
    }

    pub fn finish(self) {
        if let Some((sender, thread)) = self.thread {
            drop(sender);
            let _ = thread.join();
        }
    }
}

fn work(spool: &dyn Spool, wanted: &Receiver<Wanted>, results: &Results) {
    while let Ok(wanted) = wanted.recv() {
        results.add(vec![read(spool, &wanted)]);
    }
}

fn read(spool: &dyn Spool, &Wanted { agent, request, id }: &Wanted) -> Done {
    let content = match spool.content(id) {
        Ok(Content::Inline(bytes)) => Ok(bytes),
        // it was inline when the delivery began, and a message does not change
        Ok(Content::File { .. }) => Err(SpoolError::Missing(id)),
        Err(error) => Err(error),
    };
    Done::ReadAgain { agent, request, content: content.map_err(|error| (id, error)) }
}
