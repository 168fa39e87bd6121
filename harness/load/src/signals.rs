//! The operator's wish to stop, where no runtime waits for it.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::unregister;
use signal_hook::{SigId, flag};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// SIGINT and SIGTERM, for as long as it lives.
pub struct Signals {
    came: Arc<AtomicBool>,
    ids: Vec<SigId>,
}

impl Signals {
    /// # Errors
    /// A handler could not be set.
    pub fn watch() -> io::Result<Signals> {
        let came = Arc::new(AtomicBool::new(false));
        let ids = [SIGINT, SIGTERM].map(|signal| flag::register(signal, Arc::clone(&came)));
        Ok(Signals { came, ids: ids.into_iter().collect::<io::Result<_>>()? })
    }

    /// Whether one came since the last call.
    pub fn take(&self) -> bool {
        self.came.swap(false, Ordering::Relaxed)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.ids.drain(..) {
            unregister(id);
        }
    }
}
