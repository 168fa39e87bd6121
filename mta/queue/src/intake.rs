//! Messages that are being received: from their first chunk to the answer that they are durable.

use crate::poller::Poller;
use crate::stream::Stream;
use crate::writer::Job;
use delivery::{Envelope, IntakeAnswer, IntakeFrame, QueueId};
use smtp::Reply;
use spool::{Incoming, Spool, SpoolError};
use std::collections::HashMap;
use std::io::{self, Write};

/// Credit goes back in steps of this size, not for every chunk.
const CREDIT_STEP_BYTES: u32 = 32 * 1024;

struct Receiving {
    incoming: Incoming,
    envelope: Envelope,
    size_bytes: u64,
    /// Taken in since the last credit was sent.
    owed: u32,
}

pub struct Intake {
    stream: Stream,
    receiving: HashMap<u64, Receiving>,
    /// With the writer.
    committing: usize,
}

impl Intake {
    pub fn new(stream: Stream) -> Intake {
        Intake { stream, receiving: HashMap::new(), committing: 0 }
    }

    /// Messages that are not durable yet.
    pub fn count(&self) -> usize {
        self.receiving.len() + self.committing
    }

    /// Takes in what reception sent. False when reception has closed the socket.
    /// Nothing begins while there is no `room` (bytes).
    pub fn read(
        &mut self,
        spool: &dyn Spool,
        room: u64,
        poller: &Poller,
        jobs: &mut Vec<Job>,
    ) -> io::Result<bool> {
        let open = self.stream.fill()?;
        let mut answers = Vec::new();
        while let Some((kind, payload)) = self.stream.next_frame().map_err(io::Error::other)? {
            let frame = IntakeFrame::decode(kind, payload).map_err(io::Error::other)?;
            if let IntakeFrame::Begin { message, .. } = frame
                && room == 0
            {
                // reception knows soon; until then its messages are refused one by one
                refused(message, &SpoolError::LowWater).encode(&mut answers);
                continue;
            }
            handle(frame, &mut self.receiving, &mut self.committing, spool, &mut answers, jobs);
        }
        self.send(answers, poller)?;
        if !open {
            self.receiving.clear();
        }
        Ok(open)
    }

    /// Tells reception how many bytes of mail there is room for.
    pub fn tell_room(&mut self, room: u64, poller: &Poller) -> io::Result<()> {
        let mut answers = Vec::new();
        IntakeAnswer::Room { bytes: room }.encode(&mut answers);
        self.send(answers, poller)
    }

    pub fn flush(&mut self, poller: &Poller) -> io::Result<()> {
        self.stream.flush(poller)
    }

    /// The writer is done with a message: tells reception.
    pub fn committed(&mut self, message: u64, result: &Result<QueueId, SpoolError>, answers: &mut Vec<u8>) {
        self.committing -= 1;
        match result {
            Ok(queue_id) => IntakeAnswer::Durable { message, queue_id: *queue_id }.encode(answers),
            Err(error) => refused(message, error).encode(answers),
        }
    }

    pub fn send(&mut self, answers: Vec<u8>, poller: &Poller) -> io::Result<()> {
        if answers.is_empty() { Ok(()) } else { self.stream.send(answers, None, poller) }
    }
}

fn handle(
    frame: IntakeFrame<'_>,
    receiving: &mut HashMap<u64, Receiving>,
    committing: &mut usize,
    spool: &dyn Spool,
    answers: &mut Vec<u8>,
    jobs: &mut Vec<Job>,
) {
    match frame {
        IntakeFrame::Begin { message, envelope } => match spool.begin(envelope.clone()) {
            Ok(incoming) => {
                receiving.insert(message, Receiving { incoming, envelope, size_bytes: 0, owed: 0 });
            }
            Err(error) => refused(message, &error).encode(answers),
        },
        IntakeFrame::Chunk { message, bytes } => {
            // one that was refused goes on until reception has heard of it
            let Some(one) = receiving.get_mut(&message) else { return };
            if let Err(error) = one.incoming.write(bytes) {
                refused(message, &error).encode(answers);
                receiving.remove(&message);
                return;
            }
            one.size_bytes += bytes.len() as u64;
            one.owed += bytes.len() as u32;
            if one.owed >= CREDIT_STEP_BYTES {
                IntakeAnswer::Credit { message, bytes: one.owed }.encode(answers);
                one.owed = 0;
            }
        }
        IntakeFrame::End { message } => {
            if let Some(Receiving { incoming, envelope, size_bytes, .. }) = receiving.remove(&message) {
                *committing += 1;
                jobs.push(Job::Commit { message, incoming, envelope, size_bytes });
            }
        }
        IntakeFrame::Abort { message } => drop(receiving.remove(&message)),
    }
}

/// RFC 3463 §3.4: 4.3.1 mail system full; otherwise 4.3.0.
fn refused(message: u64, error: &SpoolError) -> IntakeAnswer {
    // a log on the same full disk must not end the process
    let _ = writeln!(io::stderr(), "mailrig queue: a message was not taken: {error}");
    let reply = match error {
        SpoolError::Full { .. } | SpoolError::LowWater => {
            Reply::new(452, Some((4, 3, 1)), "insufficient system storage")
        }
        _ => Reply::new(451, Some((4, 3, 0)), "queue file could not be written, try again later"),
    };
    IntakeAnswer::Refused { message, reply }
}
