//! What becomes of recipients without a delivery: no route, too old, late; and the message that tells their sender.

use crate::bounce::{self, Failed, Notice, Original};
use crate::delivering::{enhanced, expired, recipient};
use crate::log::Timing;
use crate::mail::Batch;
use crate::manager::{Manager, epoch_now};
use crate::writer::Job;
use delivery::{EpochMs, QueueId, StageTimes};
use scheduler::{DestinationId, EntryId};
use smtp::Stage;
use smtp::client::{Disposition, RecipientStatus};
use spool::Stored;
use std::io;
use std::time::Duration;

/// Wait before a bounce that could not be written is tried again.
const BOUNCE_RETRY: Duration = Duration::from_secs(60);

/// While so many bounces are being written nothing is begun: they have their content in memory.
pub(crate) const BOUNCES_MAX: usize = 1024;

impl Manager {
    /// Takes in a message that is durable; recipients without a route are bounced at once, unless it is held or too many
    /// bounces are being written.
    pub(crate) fn admit_or_bounce(&mut self, id: QueueId, stored: Stored) {
        if stored.status.held || self.bounces >= BOUNCES_MAX {
            return self.mail.admit(id, stored);
        }
        let unroutable = self.mail.admit_routable(id, stored);
        if !unroutable.is_empty() {
            self.unroutable(id, unroutable);
        }
    }

    /// Recipients for which there is no next hop.
    fn unroutable(&mut self, id: QueueId, recipients: Vec<u16>) {
        self.log_without_attempt(id, &recipients, &unrouted());
        self.give_up_unrouted(id, recipients);
    }

    fn give_up_unrouted(&mut self, id: QueueId, recipients: Vec<u16>) {
        let status = unrouted();
        let failed = recipients.into_iter().map(|index| (index, status.clone())).collect();
        self.give_up(id, failed, "none");
        if self.mail.forget_if_final(id) {
            self.writer.submit(Job::Remove { id });
        }
    }

    /// An entry of recipients without a route, whose time it is.
    pub(crate) fn bounce_unroutable(&mut self, entry: EntryId, id: QueueId, destination: DestinationId) {
        if self.bring_in(entry, id, destination).is_none() {
            return;
        }
        match self.mail.end_entry(epoch_now(), entry) {
            // nothing but the bounce is tried again
            Some(Batch { id, recipients, is_told: true, .. }) => self.give_up_unrouted(id, recipients),
            Some(Batch { id, recipients, .. }) => self.unroutable(id, recipients),
            None => {}
        }
    }

    /// Tells the sender of failed recipients. They are marked only when that bounce is durable.
    pub(crate) fn give_up(&mut self, id: QueueId, failed: Vec<(u16, RecipientStatus)>, remote: &str) {
        let head = self.head_of(id);
        let Some(message) = self.mail.message_mut(id) else { return };
        let indices: Vec<u16> = failed.iter().map(|(index, _)| *index).collect();
        let failed = failures(&message.envelope, failed, remote);
        let original = Original { id, envelope: &message.envelope, head: &head };
        match bounce::bounce(Notice::Failed, &original, &failed, &self.settings.hostname, epoch_now()) {
            Some((envelope, content)) => {
                message.bounces += 1;
                self.bounces += 1;
                self.bounced += indices.len() as u64;
                self.writer.submit(Job::Bounce { original: id, envelope, content, recipients: indices });
            }
            None => {
                // RFC 5321 §6.1: a bounce is never answered by a bounce; the log is all that is told of it
                self.log.event(&format!("queue_id={id} has the null reverse-path: nobody is told"));
                self.mark_bounced(id, &indices);
            }
        }
    }

    /// The bounce could not be written: its recipients are pending again, so nothing is dropped in silence.
    pub(crate) fn bounce_failed(&mut self, id: QueueId, recipients: &[u16], error: &spool::SpoolError) {
        self.log.event(&format!("queue_id={id} bounce could not be written, trying again: {error}"));
        self.bounced -= recipients.len() as u64;
        let Some(message) = self.mail.message_mut(id) else { return };
        // its other batches may wait for the same next hop
        message.is_split = true;
        let (born, due) = (message.envelope.received, epoch_now().plus(BOUNCE_RETRY));
        for entry in self.mail.enqueue(id, recipients, born, 0, due) {
            self.mail.batch_mut(entry).expect("made with its entry").is_told = true;
        }
    }

    /// The beginning of a message, for its bounce. Unreadable: the bounce goes without.
    fn head_of(&self, id: QueueId) -> Vec<u8> {
        let head = self.spool.content(id).map_err(io::Error::other).and_then(|content| match content {
            spool::Content::Inline(mut bytes) => {
                bytes.truncate(bounce::RETURNED_HEADER_BYTES);
                Ok(bytes)
            }
            spool::Content::File { file, offset, length } => {
                let mut bytes = vec![0; length.min(bounce::RETURNED_HEADER_BYTES as u64) as usize];
                let count = rustix::io::pread(&file, &mut bytes, offset)?;
                bytes.truncate(count);
                Ok(bytes)
            }
        });
        head.unwrap_or_default()
    }

    /// Tells the sender that the message is late and still tried; once, and never of a bounce.
    pub(crate) fn warn_sender(&mut self, id: QueueId, late: Vec<(u16, RecipientStatus)>, remote: &str) {
        let head = self.head_of(id);
        let lifetime = self.settings.policy.scheduler.lifetime;
        let Some(message) = self.mail.message_mut(id) else { return };
        let late = failures(&message.envelope, late, remote);
        let original = Original { id, envelope: &message.envelope, head: &head };
        let notice = Notice::Delayed { until: message.envelope.received.plus(lifetime) };
        let made = bounce::bounce(notice, &original, &late, &self.settings.hostname, epoch_now());
        if let Some((envelope, content)) = made {
            message.bounces += 1;
            self.bounces += 1;
            self.writer.submit(Job::Bounce { original: id, envelope, content, recipients: Vec::new() });
        }
    }

    /// Postfix's rules: deferred because its destination is dead.
    pub(crate) fn suspend(
        &mut self,
        entry: EntryId,
        destination: DestinationId,
        due: EpochMs,
        attempts: u16,
    ) {
        let Some(queued) = self.mail.scheduler.entry(entry) else { return };
        let Some(id) = self.bring_in(entry, queued.id, destination) else { return };
        let Some(Batch { recipients, .. }) = self.mail.batch(entry).map(Batch::copy) else { return };
        self.log_without_attempt(id, &recipients, &suspended());
        if let Some(message) = self.mail.message_mut(id) {
            (message.status.attempts, message.status.due) = (attempts, due);
        }
        self.note_status(id);
        self.mail.park(entry);
    }

    /// It waited for a dead destination until it was too old; the scheduler has dropped its entry.
    pub(crate) fn give_up_waiting(&mut self, entry: EntryId, id: QueueId, destination: DestinationId) {
        if self.bring_in(entry, id, destination).is_none() {
            return;
        }
        let Some(Batch { id, recipients, .. }) = self.mail.remove_batch(entry) else { return };
        let status = expired(&suspended());
        self.log_without_attempt(id, &recipients, &status);
        self.give_up(id, recipients.into_iter().map(|index| (index, status.clone())).collect(), "none");
        if self.mail.forget_if_final(id) {
            self.writer.submit(Job::Remove { id });
        }
    }

    fn log_without_attempt(&mut self, id: QueueId, recipients: &[u16], status: &RecipientStatus) {
        let Some(message) = self.mail.message(id) else { return };
        let received = message.envelope.received;
        let timing = Timing { received, handed: epoch_now(), handed_ns: 0, times: StageTimes::default() };
        for index in recipients {
            self.log.outcome(id, &recipient(&message.envelope, *index), "none", &timing, status);
        }
    }
}

fn failures(envelope: &delivery::Envelope, of: Vec<(u16, RecipientStatus)>, remote: &str) -> Vec<Failed> {
    let failed =
        |(index, status)| Failed { recipient: recipient(envelope, index), remote: remote.to_owned(), status };
    of.into_iter().map(failed).collect()
}

/// RFC 3463 §3.5: 5.4.4 unable to route
fn unrouted() -> RecipientStatus {
    RecipientStatus {
        disposition: Disposition::Bounced,
        code: None,
        enhanced: enhanced(b"5.4.4"),
        text: "no route to this domain: neither relayhost nor transport table has one".to_owned(),
        stage: Stage::Connect,
    }
}

/// RFC 3463 §3.5: 4.4.1 no answer from host
fn suspended() -> RecipientStatus {
    RecipientStatus {
        disposition: Disposition::Deferred,
        code: None,
        enhanced: enhanced(b"4.4.1"),
        text: "delivery is suspended: the host has failed too often".to_owned(),
        stage: Stage::Connect,
    }
}
