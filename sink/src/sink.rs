//! A sink from its configuration to its account.

use crate::accept::accept;
use crate::clock;
use crate::conversation::Books;
use crate::error::Error;
use crate::ledger::{Ledger, Totals};
use crate::limits;
use crate::listener;
use crate::records::Records;
use crate::shared::Shared;
use crate::timer::Timer;
use crate::trace::Trace;
use crate::watch;
use behaviour::Site;
use std::cell::Cell;
use std::future::{Future, pending};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::runtime::{Builder, LocalOptions};
use tokio::select;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_local;
use tokio::time::sleep;

/// What a sink is told once.
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: Vec<SocketAddr>,
    pub site: Site,
    /// JSON, written at the end.
    pub ledger: Option<PathBuf>,
    /// The ledger lists every id.
    pub ids: bool,
    /// Folder for `deliveries.csv` and `in_flight.csv`, written at the end.
    pub trace: Option<PathBuf>,
    /// Write a line of JSON ten times a second.
    pub live: bool,
    /// Connections open at once; `None`: as many as there may be files.
    pub connections_max: Option<usize>,
    /// End after this long.
    pub duration: Option<Duration>,
    /// How long a client may neither write nor read before it is dropped.
    pub silence: Duration,
}

/// RFC 5321 §4.5.3.2.7: a server should wait at least 5 minutes for the next command.
pub const SILENCE: Duration = Duration::from_secs(300);

/// A sink that listens but does not serve yet.
pub struct Sink {
    config: Config,
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    connections_max: usize,
    records: Records,
}

impl Sink {
    /// Takes all that the sink needs: limits, files, ports.
    ///
    /// # Errors
    /// Whatever would make the run useless, before it begins.
    pub fn open(config: Config) -> Result<Sink, Error> {
        if config.listen.is_empty() {
            return Err(Error::NoAddress);
        }
        let possible = limits::connections_possible(config.listen.len());
        let connections_max = config.connections_max.unwrap_or(possible);
        if connections_max > possible {
            return Err(Error::TooManyConnections { wanted: connections_max, possible });
        }
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        for &address in &config.listen {
            let opened =
                listener::listen_on(address).and_then(|listener| Ok((listener.local_addr()?, listener)));
            let (bound, listener) = opened.map_err(|source| Error::Listen { address, source })?;
            listeners.push(listener);
            addresses.push(bound);
        }
        let records = Records::create(config.ledger.as_deref(), config.trace.as_deref())?;
        Ok(Sink { config, listeners, addresses, connections_max, records })
    }

    /// Where it listens, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves until `stop` or the configured duration is over, then writes the files and returns the account.
    ///
    /// Writes `ready ADDR:PORT` for each listener to `out`, and the live lines if they are wanted. `stop` is made
    /// inside the runtime before that, so that a signal sent by whoever saw `ready` is not missed.
    ///
    /// # Errors
    /// No runtime, or `stop` cannot be waited for; at the end [`Error::File`].
    pub fn run<S: Future<Output = ()>>(
        self,
        stop: impl FnOnce() -> io::Result<S>,
        out: impl Write + Send + 'static,
    ) -> Result<Totals, Error> {
        let trace = self.records.traced().then(Trace::default);
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
            .map_err(|source| Error::System { doing: "start the event loop", source })?;
        let books = Books { ledger: Ledger::default(), trace };
        let serving = Serving {
            config: self.config,
            listeners: self.listeners,
            addresses: self.addresses,
            connections_max: self.connections_max,
        };
        let ids = serving.config.ids;
        let shared = runtime.block_on(serving.serve(books, stop, out))?;
        // Ends every connection in the books.
        drop(runtime);
        let books = &mut *shared.books.borrow_mut();
        let totals = books.ledger.totals(ids, clock::cpu_s());
        self.records.write(&totals, books)?;
        Ok(totals)
    }
}

/// A sink's part inside the runtime.
struct Serving {
    config: Config,
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    connections_max: usize,
}

impl Serving {
    async fn serve<S: Future<Output = ()>>(
        self,
        books: Books,
        stop: impl FnOnce() -> io::Result<S>,
        mut out: impl Write + Send + 'static,
    ) -> Result<Rc<Shared>, Error> {
        let system = |doing| move |source| Error::System { doing, source };
        let stop = stop().map_err(system("wait for signals"))?;
        let timer = Timer::new().map_err(system("make a timer"))?;
        let traced = books.trace.is_some();
        let shared = Rc::new(Shared::new(self.config.site, timer, books, self.config.silence));
        let number = Rc::new(Cell::new(0));
        for listener in self.listeners {
            let listener = tokio::net::TcpListener::from_std(listener).map_err(system("watch a listener"))?;
            spawn_local(accept(listener, self.connections_max, Rc::clone(&number), Rc::clone(&shared)));
        }
        if traced {
            spawn_local(watch::sample(Rc::clone(&shared)));
        }
        // In one write, so that a reader never sees half of it.
        let ready: String = self.addresses.iter().map(|address| format!("ready {address}\n")).collect();
        out.write_all(ready.as_bytes())
            .and_then(|()| out.flush())
            .map_err(system("say where the sink listens"))?;
        if self.config.live {
            let lines = watch::line_writer(out).map_err(system("start a thread for the live lines"))?;
            spawn_local(watch::report(Rc::clone(&shared), lines));
        }
        let over = async {
            match self.config.duration {
                Some(duration) => sleep(duration).await,
                None => pending().await,
            }
        };
        select! {
            () = stop => {}
            () = over => {}
            end = shared.timer.run() => end.map_err(system("wait for the timer"))?,
        }
        if traced {
            watch::sample_once(&shared);
        }
        Ok(shared)
    }
}

/// Ends on SIGTERM or SIGINT; for [`Sink::run`].
///
/// # Errors
/// The signals cannot be caught.
pub fn until_signal() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
