//! What is queued: the scheduler's entries, and of the messages that are in the works also their envelopes.
//!
//! A message that waits for a later time has nothing here but its entries; its envelope is read from the spool when
//! it is due. So ten million deferred messages fit in memory. At most [`IN_CORE_MAX`] new ones are kept until their
//! first attempt, as in Postfix's active queue.

use crate::routes::Routes;
use delivery::{Envelope, EpochMs, MAX_RECIPIENTS_PER_REQUEST, NextHop, QueueId, RecipientState};
use scheduler::{DestinationId, Entry, EntryId, Outcome, Report, Scheduler, SenderId};
use smtp::ForwardPath;
use smtp::client::HopStatus;
use spool::{Status, Stored};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Postfix: qmgr_message_active_limit.
const IN_CORE_MAX: usize = 20_000;

/// The destination of recipients without a route, while their bounce waits; no next hop is written so.
pub const NO_ROUTE: &str = "";

pub struct QueuedMessage {
    pub envelope: Envelope,
    /// As the spool has it, or soon will.
    pub status: Status,
    /// Bounces that are being made; the message stays until they are durable.
    pub bounces: usize,
    /// Its batches that are in core.
    pub batches: usize,
    /// Some next hop has, or had, several of its batches: the envelope does not tell which recipients are in which.
    pub is_split: bool,
}

/// Recipients of one message that travel together.
pub struct Batch {
    pub id: QueueId,
    /// Indices into the envelope's recipients.
    pub recipients: Vec<u16>,
    /// Agents that died with it in a row.
    pub agents_lost: u8,
    /// The log has their outcome; what is tried again is their bounce.
    pub is_told: bool,
}

impl Batch {
    fn new(id: QueueId, recipients: Vec<u16>) -> Batch {
        Batch { id, recipients, agents_lost: 0, is_told: false }
    }

    /// The batch as it is now; what happens to it meanwhile does not show.
    pub fn copy(&self) -> Batch {
        Batch { recipients: self.recipients.clone(), ..*self }
    }
}

pub struct Mail {
    pub scheduler: Scheduler,
    routes: Routes,
    messages: HashMap<QueueId, QueuedMessage>,
    batches: HashMap<EntryId, Batch>,
}

impl Mail {
    pub fn new(scheduler: Scheduler, routes: Routes) -> Mail {
        Mail { scheduler, routes, messages: HashMap::new(), batches: HashMap::new() }
    }

    /// Queues a durable message; recipients without a route wait for their bounce as the others do for their delivery.
    pub fn admit(&mut self, id: QueueId, stored: Stored) {
        let pending = pending(&stored.status);
        self.admit_only(id, stored, &pending, true);
    }

    /// As [`Mail::admit`], but returns the recipients for which there is no route: the caller bounces them.
    pub fn admit_routable(&mut self, id: QueueId, stored: Stored) -> Vec<u16> {
        let to = |index: &u16| &stored.envelope.recipients[usize::from(*index)];
        let (pending, unroutable): (Vec<u16>, _) =
            pending(&stored.status).into_iter().partition(|index| self.routes.next_hop(to(index)).is_some());
        self.admit_only(id, stored, &pending, unroutable.is_empty());
        unroutable
    }

    /// `are_all`: nobody else waits for the message here.
    fn admit_only(&mut self, id: QueueId, stored: Stored, recipients: &[u16], are_all: bool) {
        let Stored { envelope, status, .. } = stored;
        let (born, attempts, due, held) = (envelope.received, status.attempts, status.due, status.held);
        let waits = due > envelope.received || self.messages.len() >= IN_CORE_MAX;
        let message = QueuedMessage { envelope, status, bounces: 0, batches: 0, is_split: false };
        self.messages.insert(id, message);
        for entry in self.enqueue(id, recipients, born, attempts, due) {
            if held {
                self.scheduler.hold(entry);
            }
            // what comes from the spool is there as it is here
            if (waits || held) && are_all {
                self.forget_batch(entry);
            }
        }
    }

    /// Makes entries for some recipients of a message that is in core.
    pub fn enqueue(
        &mut self,
        id: QueueId,
        recipients: &[u16],
        born: EpochMs,
        attempts: u16,
        due: EpochMs,
    ) -> Vec<EntryId> {
        let mut made = Vec::new();
        let Some(message) = self.messages.get_mut(&id) else { return made };
        let sender = SenderId::of(message.envelope.reverse_path.as_str().as_bytes());
        let mut by_hop: BTreeMap<&str, Vec<u16>> = BTreeMap::new();
        for index in recipients {
            let hop = hop_of(&self.routes, &message.envelope.recipients[usize::from(*index)]);
            by_hop.entry(hop).or_default().push(*index);
        }
        for (hop, recipients) in by_hop {
            let destination = self.scheduler.destination(hop);
            let together = match hop {
                // one bounce tells of them all
                NO_ROUTE => recipients.len(),
                _ => usize::from(self.scheduler.recipients(destination)).min(MAX_RECIPIENTS_PER_REQUEST),
            };
            message.is_split |= recipients.len() > together;
            for batch in recipients.chunks(together) {
                let entry = self.scheduler.enqueue(Entry { id, destination, sender, born, due, attempts });
                self.batches.insert(entry, Batch::new(id, batch.to_vec()));
                message.batches += 1;
                made.push(entry);
            }
        }
        made
    }

    /// Forgets the envelope of a message that waits, if it can be read again as it is now: a mark that is still on its
    /// way to the spool could not.
    pub fn park(&mut self, entry: EntryId) {
        let Some(id) = self.batches.get(&entry).map(|batch| batch.id) else { return };
        let Some(message) = self.messages.get(&id) else { return };
        let untouched = message.status.states.iter().all(|state| *state == RecipientState::Pending);
        if untouched {
            self.forget_batch(entry);
        }
    }

    fn forget_batch(&mut self, entry: EntryId) {
        let Some(id) = self.batches.get(&entry).map(|batch| batch.id) else { return };
        let Some(message) = self.messages.get(&id) else { return };
        if !message.is_split && message.bounces == 0 {
            self.remove_batch(entry);
            if self.messages[&id].batches == 0 {
                self.messages.remove(&id);
            }
        }
    }

    /// An entry that is to be delivered, and has no batch: `stored` is its message, unless that is in core.
    pub fn unpark(
        &mut self,
        entry: EntryId,
        id: QueueId,
        destination: DestinationId,
        stored: Option<Stored>,
    ) -> Option<()> {
        if let Some(Stored { envelope, mut status, .. }) = stored {
            if let Some(Entry { attempts, due, .. }) = self.scheduler.entry(entry) {
                (status.attempts, status.due) = (attempts, due);
            }
            // it is being delivered, whatever its image says: an import writes held messages, and releases them
            status.held = false;
            let message = QueuedMessage { envelope, status, bounces: 0, batches: 0, is_split: false };
            self.messages.entry(id).or_insert(message);
        }
        let message = self.messages.get_mut(&id)?;
        let next_hop = self.scheduler.next_hop(destination);
        let goes_there =
            |index: &u16| hop_of(&self.routes, &message.envelope.recipients[usize::from(*index)]) == next_hop;
        let mut recipients: Vec<u16> = pending(&message.status).into_iter().filter(goes_there).collect();
        if message.is_split {
            let others = self.batches.values().filter(|batch| batch.id == id);
            let taken: HashSet<u16> = others.flat_map(|batch| batch.recipients.iter().copied()).collect();
            recipients.retain(|index| !taken.contains(index));
        }
        if recipients.is_empty() {
            if message.batches == 0 && message.bounces == 0 && !message.status.is_final() {
                self.messages.remove(&id);
            }
            return None;
        }
        message.batches += 1;
        self.batches.insert(entry, Batch::new(id, recipients));
        Some(())
    }

    pub fn message(&self, id: QueueId) -> Option<&QueuedMessage> {
        self.messages.get(&id)
    }

    pub fn message_mut(&mut self, id: QueueId) -> Option<&mut QueuedMessage> {
        self.messages.get_mut(&id)
    }

    pub fn batch(&self, entry: EntryId) -> Option<&Batch> {
        self.batches.get(&entry)
    }

    pub fn batch_mut(&mut self, entry: EntryId) -> Option<&mut Batch> {
        self.batches.get_mut(&entry)
    }

    /// The scheduler is told that an entry has come to its end, whatever that is; gives what was to be delivered.
    pub fn end_entry(&mut self, now: EpochMs, entry: EntryId) -> Option<Batch> {
        let _ = self.scheduler.report(now, entry, Report { outcome: Outcome::Finished, hop: HopStatus::Up });
        self.remove_batch(entry)
    }

    pub fn remove_batch(&mut self, entry: EntryId) -> Option<Batch> {
        let batch = self.batches.remove(&entry)?;
        if let Some(message) = self.messages.get_mut(&batch.id) {
            message.batches -= 1;
        }
        Some(batch)
    }

    /// Forgets the message, whatever became of it.
    pub fn forget(&mut self, id: QueueId) {
        self.messages.remove(&id);
    }

    /// Forgets the message if every recipient is final and no bounce is under way; true = remove it from the spool.
    pub fn forget_if_final(&mut self, id: QueueId) -> bool {
        let is_final =
            self.messages.get(&id).is_some_and(|message| message.bounces == 0 && message.status.is_final());
        if is_final {
            self.messages.remove(&id);
        }
        is_final
    }
}

fn hop_of<'a>(routes: &'a Routes, recipient: &ForwardPath) -> &'a str {
    routes.next_hop(recipient).map_or(NO_ROUTE, NextHop::as_str)
}

fn pending(status: &Status) -> Vec<u16> {
    let states = status.states.iter().enumerate();
    states.filter(|(_, state)| **state == RecipientState::Pending).map(|(index, _)| index as u16).collect()
}
