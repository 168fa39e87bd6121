//! Accepting connections, counting sessions, and stopping in order.

use crate::handover::Handover;
use crate::{Settings, session};
use std::cell::Cell;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

/// How long sessions that are in the middle of a message may go on after the order to stop.
const STOP_BOUND: Duration = Duration::from_secs(5);

/// Pause when there are no descriptors left to accept with: sessions that end bring some back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Longest wait for a client to take the 421 of a full house.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs reception until SIGTERM or until the queue manager is gone. Returns the exit status.
pub fn run(listeners: Vec<OwnedFd>, queue: UnixStream, settings: Settings) -> i32 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("mailrig reception: no event loop: {error}");
            return 1;
        }
    };
    match LocalSet::new().block_on(&runtime, serve(listeners, queue, Rc::new(settings))) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("mailrig reception: {error}");
            1
        }
    }
}

async fn serve(listeners: Vec<OwnedFd>, queue: UnixStream, settings: Rc<Settings>) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let (handover, moving) = Handover::new(queue)?;
    let (stop, stopping) = watch::channel(false);
    let sessions = Rc::new(Cell::new(0));
    for listener in listeners {
        let listener = std::net::TcpListener::from(listener);
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let house = House {
            handover: handover.clone(),
            settings: settings.clone(),
            sessions: sessions.clone(),
            stopping: stopping.clone(),
        };
        tokio::task::spawn_local(house.accept(listener));
    }
    tokio::pin!(moving);
    tokio::select! {
        ended = &mut moving => {
            ended?;
            return Err(io::Error::other("the queue manager closed its socket"));
        }
        _ = terminate.recv() => {}
    }
    let _ = stop.send(true);
    let drained = async {
        while sessions.get() > 0 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        _ = moving => {}
        _ = timeout(STOP_BOUND, drained) => {}
    }
    Ok(())
}

/// What every session of the process shares.
struct House {
    handover: Rc<Handover>,
    settings: Rc<Settings>,
    sessions: Rc<Cell<usize>>,
    stopping: watch::Receiver<bool>,
}

/// Counts a session for as long as it lives.
struct Seat(Rc<Cell<usize>>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl House {
    async fn accept(mut self, listener: TcpListener) {
        let limits = Rc::new(session::Shared::new(self.handover.clone(), &self.settings));
        let mut stopped = self.stopping.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stopped.wait_for(|stop| *stop) => return,
            };
            match accepted {
                Ok((stream, client)) if self.sessions.get() < self.settings.max_sessions => {
                    self.sessions.set(self.sessions.get() + 1);
                    let seat = Seat(self.sessions.clone());
                    let session = session::serve(stream, client.ip(), limits.clone(), self.stopping.clone());
                    tokio::task::spawn_local(async move {
                        session.await;
                        drop(seat);
                    });
                }
                Ok((stream, _)) => self.turn_away(stream),
                Err(error) => {
                    // a log that can't be written must not stop the mail
                    let _ = writeln!(
                        io::stderr(),
                        "mailrig reception: accept: {error}; trying again in {ACCEPT_PAUSE:?}"
                    );
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn turn_away(&mut self, mut stream: TcpStream) {
        let text = format!("421 4.3.2 {} too many sessions, try again later\r\n", self.settings.hostname);
        tokio::task::spawn_local(async move {
            let _ = timeout(FAREWELL_TIMEOUT, stream.write_all(text.as_bytes())).await;
        });
    }
}
