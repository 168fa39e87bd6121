//! What all connections of one sink share on its thread.

use crate::books::Books;
use crate::conversation::Conversation;
use crate::polling::Polling;
use crate::tls::{Server, Servers};
use behaviour::Sites;
use smtp::server::Session;
use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use timer::Timer;

/// The common ground of the tasks. Borrowed only between two waits, never across one.
pub struct Shared {
    pub sites: Sites,
    pub timer: Timer,
    pub books: RefCell<Books>,
    pub buffers: RefCell<Buffers>,
    pub polling: Polling,
    /// How long a client may neither write nor read.
    pub silence: Duration,
    tls: Servers,
    /// Delays are over for good.
    hurried: Cell<bool>,
    delayed: Cell<u64>,
}

/// One connection more in a count, until it is dropped.
struct Counted<'a>(&'a Cell<u64>);

impl Counted<'_> {
    fn new(count: &Cell<u64>) -> Counted<'_> {
        count.set(count.get() + 1);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Used by one connection at a time, for as long as it has bytes in its hands.
pub struct Buffers {
    pub input: Box<[u8]>,
    pub output: Vec<u8>,
}

/// What a new connection is given by its site.
pub struct Welcome {
    pub conversation: Conversation,
    pub tls: Option<Arc<Server>>,
    /// TLS comes before the greeting.
    pub implicit_tls: bool,
    /// SO_RCVBUF, where the site has one.
    pub window_bytes: Option<usize>,
}

impl Shared {
    pub fn new(sites: Sites, tls: Servers, timer: Timer, books: Books, silence: Duration) -> Shared {
        let buffers = RefCell::new(Buffers { input: vec![0; INPUT_BYTES].into(), output: Vec::new() });
        Shared {
            sites,
            timer,
            books: RefCell::new(books),
            buffers,
            polling: Polling::default(),
            silence,
            tls,
            hurried: Cell::new(false),
            delayed: Cell::new(0),
        }
    }

    /// The conversation of a new connection, the `number`th. `None` where no site is at `local`.
    pub fn welcome(
        &self,
        number: u64,
        local: SocketAddr,
        client: IpAddr,
        accepted_ns: u64,
    ) -> Option<Welcome> {
        let dialogue = self.sites.dialogue(number, local, client)?;
        let (place, site) = (self.sites.home_place(&dialogue), self.sites.home(&dialogue));
        let session = Session::new(Arc::clone(&site.offer.smtp));
        let conversation =
            Conversation::new(number, session, dialogue, accepted_ns, &mut self.books.borrow_mut());
        Some(Welcome {
            conversation,
            tls: self.tls[place].clone(),
            implicit_tls: site.offer.has_implicit_tls(),
            window_bytes: site.offer.window_bytes,
        })
    }

    /// Waits for a site's delay, and notes by how much its end was missed.
    pub async fn delay(&self, delay: Duration) {
        if !delay.is_zero() && !self.hurried.get() {
            let _counted = Counted::new(&self.delayed);
            let due = Instant::now() + delay;
            self.timer.sleep_until(due).await;
            if !self.hurried.get() {
                self.books.borrow_mut().ledger.delayed(due.elapsed());
            }
        }
    }

    /// Connections that wait out a delay now.
    pub fn delayed(&self) -> u64 {
        self.delayed.get()
    }

    /// Ends all delays that run; from now on there are none.
    pub fn hurry(&self) {
        self.hurried.set(true);
        self.timer.end_all();
    }
}

/// As much as one read takes: whole messages of the usual size, while it stays in the processor's cache.
const INPUT_BYTES: usize = 64 * 1024;
