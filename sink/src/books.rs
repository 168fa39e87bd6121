//! What every connection of a sink writes into: its accounts, and the mail itself where that is wanted.

use crate::ledger::Ledger;
use crate::store::Store;
use crate::trace::Trace;

/// The accounts of the sink.
#[derive(Default)]
pub struct Books {
    pub ledger: Ledger,
    /// `None` if nobody asked for one.
    pub trace: Option<Trace>,
    pub store: Store,
}

impl Books {
    /// Whether the times of each delivery's stages are wanted.
    pub fn is_traced(&self) -> bool {
        self.trace.is_some()
    }
}
