//! What all connections of one sink share on its thread.

use crate::conversation::{Books, Conversation};
use crate::timer::Timer;
use behaviour::Site;
use smtp::server::{Options, Session};
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

/// The common ground of the tasks. Borrowed only between two waits, never across one.
pub struct Shared {
    pub site: Site,
    pub timer: Timer,
    pub books: RefCell<Books>,
    pub buffers: RefCell<Buffers>,
    /// How long a client may neither write nor read.
    pub silence: Duration,
    session: Arc<Options>,
}

/// Used by one connection at a time, for as long as it has bytes in its hands.
pub struct Buffers {
    pub input: Box<[u8]>,
    pub output: Vec<u8>,
}

impl Shared {
    pub fn new(site: Site, timer: Timer, books: Books, silence: Duration) -> Shared {
        Shared {
            site,
            timer,
            books: RefCell::new(books),
            buffers: RefCell::new(Buffers { input: vec![0; INPUT_BYTES].into(), output: Vec::new() }),
            silence,
            session: Arc::new(Options::new(HOST_NAME)),
        }
    }

    /// The conversation of a new connection.
    pub fn converse(&self, number: u64, accepted_ns: u64) -> Conversation {
        let session = Session::new(Arc::clone(&self.session));
        let dialogue = self.site.dialogue(number);
        Conversation::new(number, session, dialogue, accepted_ns, &mut self.books.borrow_mut())
    }
}

/// RFC 6761 §6.2: a name under `test` is nobody's.
pub const HOST_NAME: &str = "sink.test";
/// As much as one read takes: whole messages of the usual size, while it stays in the processor's cache.
const INPUT_BYTES: usize = 64 * 1024;
