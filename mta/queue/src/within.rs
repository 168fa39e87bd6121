//! Delivery inside the queue manager's own process: a driver on a thread of its own.
//!
//! It is an agent like the others, with the same socket and the same frames, so that the loop never waits for it and
//! nothing else in here knows the difference. What it does not share with them is the end: what kills it takes the
//! queue manager along.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

/// A driver: it delivers what comes over the socket until that is closed, and gives an exit status.
pub struct DriverWithin {
    driver: Arc<dyn Fn(UnixStream) -> i32 + Send + Sync>,
    threads: Vec<JoinHandle<i32>>,
}

impl DriverWithin {
    pub fn new(driver: impl Fn(UnixStream) -> i32 + Send + Sync + 'static) -> DriverWithin {
        DriverWithin { driver: Arc::new(driver), threads: Vec::new() }
    }

    /// What is started from now on is the other driver.
    pub(crate) fn become_like(&mut self, other: DriverWithin) {
        self.driver = other.driver;
    }

    /// Starts it; gives the queue manager's end of its socket.
    pub(crate) fn start(&mut self) -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        let driver = self.driver.clone();
        // that it ended is seen by the socket, as with any agent
        let thread = Builder::new().name("delivery".to_owned()).spawn(move || driver(theirs))?;
        self.threads.retain(|thread| !thread.is_finished());
        self.threads.push(thread);
        Ok(ours)
    }

    /// Waits until it has ended its connections in order; its socket is closed already.
    pub(crate) fn finish(&mut self) {
        for thread in self.threads.drain(..) {
            // one that panicked has said so
            let _ = thread.join();
        }
    }
}
