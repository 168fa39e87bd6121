//! Bringing what the spool keeps of a message in for its delivery: its envelope, its content, and that once more.

use crate::manager::{Manager, epoch_now};
use crate::writer::Job;
use delivery::{Content, ContentAnswer, QueueId};
use scheduler::{DestinationId, Disposition as Verdict, EntryId, Outcome, Report};
use smtp::client::HopStatus;
use spool::SpoolError;
use std::os::fd::OwnedFd;
use supervisor::link::AgentNumber;

impl Manager {
    /// Sees to it that an entry (one message for one destination) has its envelope here, though the scheduler may have
    /// dropped it meanwhile. `None`: nothing can be done with it now.
    pub(crate) fn bring_in(
        &mut self,
        entry: EntryId,
        id: QueueId,
        destination: DestinationId,
    ) -> Option<QueueId> {
        if let Some(batch) = self.mail.batch(entry) {
            return Some(batch.id);
        }
        let stored = match self.mail.message(id) {
            Some(_) => None,
            None => match self.spool.load(id) {
                Ok(stored) => Some(stored),
                Err(error) => {
                    self.unreadable(entry, id, &error);
                    return None;
                }
            },
        };
        if self.mail.unpark(entry, id, destination, stored).is_none() {
            // everybody is served already
            self.drop_entry(entry, id);
            return None;
        }
        Some(id)
    }

    fn drop_entry(&mut self, entry: EntryId, id: QueueId) {
        self.mail.end_entry(epoch_now(), entry);
        if self.mail.forget_if_final(id) {
            self.writer.submit(Job::Remove { id });
        }
    }

    pub(crate) fn load_content(&self, id: QueueId) -> Result<(Content, Option<OwnedFd>), spool::SpoolError> {
        Ok(match self.spool.content(id)? {
            spool::Content::Inline(bytes) => (Content::Inline(bytes), None),
            spool::Content::File { file, offset, length } => {
                (Content::Descriptor { offset, length }, Some(file.into()))
            }
        })
    }

    /// A queue file that can't be read now is tried again later; it stays where it is.
    pub(crate) fn unreadable(&mut self, entry: EntryId, id: QueueId, error: &spool::SpoolError) {
        if let SpoolError::Corrupt { .. } | SpoolError::Missing(_) = error {
            self.alarms += 1;
            self.log.event(&format!("ALARM: queue_id={id} is not delivered: {error}"));
            self.mail.end_entry(epoch_now(), entry);
            // other entries of it may be with agents
            if self.mail.message(id).is_none_or(|message| message.batches == 0) {
                self.mail.forget(id);
            }
            return;
        }
        self.log.event(&format!("queue_id={id} cannot be read, trying again later: {error}"));
        let report = Report { outcome: Outcome::Retry, hop: HopStatus::Up };
        if self.mail.scheduler.report(epoch_now(), entry, report) == Verdict::Expired {
            self.log.event(&format!("queue_id={id} is left in the spool unread until the next start"));
            self.mail.remove_batch(entry);
        }
    }

    /// Has messages read that an agent asked for again, as fast as it takes them.
    pub(crate) fn read_again(&mut self, number: AgentNumber) {
        while let Some((request, entry)) = self.agents.next_asked(number) {
            match self.mail.batch(entry).map(|batch| batch.id) {
                Some(id) => self.reader.read(number, request, id),
                None => self.answer_ask(number, request, None),
            }
        }
    }

    /// Gives an agent a message that it asked for; it is told when that can't be read.
    pub(crate) fn give_again(
        &mut self,
        number: AgentNumber,
        request: u64,
        content: Result<Vec<u8>, (QueueId, SpoolError)>,
    ) {
        if let Err((id, error)) = &content
            && self.agents.has(number, request)
        {
            self.alarms += u64::from(matches!(error, SpoolError::Corrupt { .. }));
            self.log.event(&format!("ALARM: queue_id={id} cannot be read again for its delivery: {error}"));
        }
        self.answer_ask(number, request, content.as_deref().ok());
        self.read_again(number);
    }

    /// `None`: it can't be read any more.
    fn answer_ask(&mut self, number: AgentNumber, request: u64, content: Option<&[u8]>) {
        let Some(stream) = self.agents.was_read(number, request) else { return };
        let mut bytes = Vec::with_capacity(32 + content.map_or(0, <[u8]>::len));
        ContentAnswer { id: request, content }.encode(&mut bytes);
        if let Err(error) = stream.send(bytes, None, &self.poller) {
            self.agent_closed(number, &format!("could not be given a message: {error}"));
        }
    }
}
