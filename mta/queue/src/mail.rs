//! What is queued: the envelopes, the fate of their recipients, and the scheduler's entries for them.

use crate::routes::Routes;
use delivery::{Envelope, EpochMs, MAX_RECIPIENTS_PER_REQUEST, NextHop, QueueId, RecipientState};
use scheduler::{Entry, EntryId, Scheduler, SenderId};
use std::collections::{BTreeMap, HashMap};

pub struct QueuedMessage {
    pub envelope: Envelope,
    pub states: Vec<RecipientState>,
    /// Bounces that are being made; the file stays until they are durable.
    pub bounces: usize,
}

/// Recipients of one message that travel together.
pub struct Batch {
    pub id: QueueId,
    /// Indices into the envelope's recipients.
    pub recipients: Vec<u16>,
    /// Agents that died with it in a row.
    pub agents_lost: u8,
}

impl Batch {
    /// The batch as it is now; what happens to it meanwhile does not show.
    pub fn copy(&self) -> Batch {
        Batch { id: self.id, recipients: self.recipients.clone(), agents_lost: self.agents_lost }
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

    /// Queues a durable message. Returns the recipients for which there is no route: the caller bounces them.
    pub fn admit(
        &mut self,
        id: QueueId,
        envelope: Envelope,
        states: Vec<RecipientState>,
        attempts: u16,
        due: EpochMs,
    ) -> Vec<u16> {
        let pending = (0..states.len()).filter(|index| states[*index] == RecipientState::Pending);
        let pending: Vec<u16> = pending.map(|index| index as u16).collect();
        let born = envelope.received;
        self.messages.insert(id, QueuedMessage { envelope, states, bounces: 0 });
        self.enqueue(id, &pending, born, attempts, due)
    }

    /// Makes entries for some recipients of a queued message; returns those that have no route.
    pub fn enqueue(
        &mut self,
        id: QueueId,
        recipients: &[u16],
        born: EpochMs,
        attempts: u16,
        due: EpochMs,
    ) -> Vec<u16> {
        let Some(message) = self.messages.get(&id) else { return Vec::new() };
        let sender = SenderId::of(message.envelope.reverse_path.as_str().as_bytes());
        let mut by_hop: BTreeMap<&NextHop, Vec<u16>> = BTreeMap::new();
        let mut unroutable = Vec::new();
        for index in recipients {
            match self.routes.next_hop(&message.envelope.recipients[usize::from(*index)]) {
                Some(hop) => by_hop.entry(hop).or_default().push(*index),
                None => unroutable.push(*index),
            }
        }
        for (hop, recipients) in by_hop {
            let destination = self.scheduler.destination(hop.as_str());
            let together =
                usize::from(self.scheduler.recipients(destination)).min(MAX_RECIPIENTS_PER_REQUEST);
            for batch in recipients.chunks(together) {
                let entry = self.scheduler.enqueue(Entry { id, destination, sender, born, due, attempts });
                self.batches.insert(entry, Batch { id, recipients: batch.to_vec(), agents_lost: 0 });
            }
        }
        unroutable
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

    pub fn remove_batch(&mut self, entry: EntryId) -> Option<Batch> {
        self.batches.remove(&entry)
    }

    /// Forgets the message if every recipient is final and no bounce is under way; true = remove its file.
    pub fn forget_if_final(&mut self, id: QueueId) -> bool {
        let is_final = self.messages.get(&id).is_some_and(|message| {
            message.bounces == 0 && message.states.iter().all(|state| *state != RecipientState::Pending)
        });
        if is_final {
            self.messages.remove(&id);
        }
        is_final
    }
}
