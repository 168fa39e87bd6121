//! What is queued, for whoever wants to look at all of it. Costs a look at every record.

use crate::entry::State;
use crate::machine::Scheduler;
use crate::{Entry, EntryId};

/// Where an entry stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Waits for a later time.
    Deferred,
    /// May be delivered now.
    Due,
    /// With an agent.
    Active,
    /// By the operator.
    Held,
}

impl Scheduler {
    /// Shows every entry that is queued, in no order.
    pub fn each(&self, visit: &mut dyn FnMut(EntryId, Entry, Standing)) {
        for index in 0.. {
            let Some(record) = self.slab.find(index) else { return };
            let standing = match record.state {
                State::Waiting => Standing::Deferred,
                State::Queued | State::Ready => Standing::Due,
                State::Active | State::ActiveHeld => Standing::Active,
                State::Held => Standing::Held,
                State::Free | State::ActiveRemoved => continue,
            };
            let name = EntryId { index, generation: record.generation };
            if let Some(entry) = self.entry(name) {
                visit(name, entry, standing);
            }
        }
    }
}
