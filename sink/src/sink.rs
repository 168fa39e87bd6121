//! A sink from its configuration to its account.

use crate::accept::{Numbers, accept};
use crate::books::Books;
use crate::clock;
use crate::error::Error;
use crate::ledger::Ledger;
use crate::limits;
use crate::listener;
use crate::records::Records;
use crate::shared::Shared;
use crate::store::{Keep, Store};
use crate::timer::Timer;
use crate::tls::{self, Servers};
use crate::totals::Totals;
use crate::watch::{self, Show};
use behaviour::Sites;
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
    pub sites: Sites,
    /// What becomes of the mail.
    pub keep: Keep,
    /// JSON, written at the end.
    pub ledger: Option<PathBuf>,
    /// The ledger lists every id.
    pub ids: bool,
    /// Folder for `deliveries.csv` and `in_flight.csv`.
    pub trace: Option<PathBuf>,
    /// Write deliveries while the sink runs, not at the end.
    pub spill: bool,
    /// Connections open at once; `None`: as many as there may be files.
    pub connections_max: Option<usize>,
    /// End after this long.
    pub duration: Option<Duration>,
    /// How long a client may neither write nor read before it is dropped.
    pub silence: Duration,
    /// Where to write the certificate of the authority that signed the sites' certificates.
    pub authority: Option<PathBuf>,
}

impl Config {
    /// Listens on `listen`, keeps nothing, writes nothing, never ends.
    pub fn new(listen: Vec<SocketAddr>, sites: Sites) -> Config {
        Config {
            listen,
            sites,
            keep: Keep::Discard,
            ledger: None,
            ids: false,
            trace: None,
            spill: false,
            connections_max: None,
            duration: None,
            silence: SILENCE,
            authority: None,
        }
    }
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
    tls: Servers,
    store: Store,
}

impl Sink {
    /// Takes all that the sink needs: limits, files, ports.
    ///
    /// # Errors
    /// Whatever would make the run useless, before it begins.
    pub fn open(mut config: Config) -> Result<Sink, Error> {
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
            let window_bytes = config.sites.window_bytes_at(address);
            let opened = listener::listen_on(address, window_bytes)
                .and_then(|listener| Ok((listener.local_addr()?, listener)));
            let (bound, listener) = opened.map_err(|source| Error::Listen { address, source })?;
            listeners.push(listener);
            addresses.push(bound);
        }
        // Port 0 has become another one.
        for (asked, bound) in config.listen.iter().zip(&addresses) {
            if !config.sites.is_at(*asked) && !config.sites.is_at(*bound) {
                return Err(Error::NoSite { address: *bound });
            }
        }
        let records = Records::create(config.ledger.as_deref(), config.trace.as_deref())?;
        let tls = tls::servers(&config.sites, config.authority.as_deref())?;
        let store = Store::open(&config.keep)
            .map_err(|source| Error::System { doing: "make the folders for mail", source })?;
        if let Store::Files(_) = store {
            config.sites.keep_words();
        }
        Ok(Sink { config, listeners, addresses, connections_max, records, tls, store })
    }

    /// Where it listens, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// How many connections it holds at once.
    pub fn connections_max(&self) -> usize {
        self.connections_max
    }

    /// Serves until `stop` or the configured duration is over, then writes the files and returns the account.
    ///
    /// Writes `ready ADDR:PORT` for each listener to `out`, and shows where it stands ten times a second, if that is
    /// wanted. `stop` is made inside the runtime before that, so that a signal sent by whoever saw `ready` is not
    /// missed.
    ///
    /// # Errors
    /// No runtime, or `stop` cannot be waited for; at the end [`Error::File`].
    pub fn run<S: Future<Output = ()>>(
        mut self,
        stop: impl FnOnce() -> io::Result<S>,
        out: impl Write,
        show: Option<Show>,
    ) -> Result<Totals, Error> {
        let trace = self
            .records
            .trace(self.config.spill)
            .map_err(|source| Error::System { doing: "start a thread for the trace", source })?;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
            .map_err(|source| Error::System { doing: "start the event loop", source })?;
        let books = Books { ledger: Ledger::default(), trace, store: self.store };
        let serving = Serving {
            config: self.config,
            listeners: self.listeners,
            addresses: self.addresses,
            connections_max: self.connections_max,
            tls: self.tls,
        };
        let ids = serving.config.ids;
        let shared = runtime.block_on(serving.serve(books, stop, out, show))?;
        // Ends every connection in the books.
        drop(runtime);
        let books = &mut *shared.books.borrow_mut();
        let totals = books.ledger.totals(ids, clock::cpu_s());
        let Totals { messages, duplicates, connections, .. } = totals;
        tracing::info!(connections, messages, duplicates, "over");
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
    tls: Servers,
}

impl Serving {
    async fn serve<S: Future<Output = ()>>(
        self,
        books: Books,
        stop: impl FnOnce() -> io::Result<S>,
        mut out: impl Write,
        show: Option<Show>,
    ) -> Result<Rc<Shared>, Error> {
        let system = |doing| move |source| Error::System { doing, source };
        let stop = stop().map_err(system("wait for signals"))?;
        let timer = Timer::new().map_err(system("make a timer"))?;
        let traced = books.trace.is_some();
        let Config { sites, silence, .. } = self.config;
        let shared = Rc::new(Shared::new(sites, self.tls, timer, books, silence));
        let numbers = Rc::new(Numbers::of_shard(0, 1));
        for (listener, address) in self.listeners.into_iter().zip(&self.addresses) {
            let listener = tokio::net::TcpListener::from_std(listener).map_err(system("watch a listener"))?;
            let (numbers, shared) = (Rc::clone(&numbers), Rc::clone(&shared));
            spawn_local(accept(listener, *address, self.connections_max, numbers, shared));
        }
        if traced {
            spawn_local(watch::sample(Rc::clone(&shared)));
        }
        // In one write, so that a reader never sees half of it.
        let ready: String = self.addresses.iter().map(|address| format!("ready {address}\n")).collect();
        out.write_all(ready.as_bytes())
            .and_then(|()| out.flush())
            .map_err(system("say where the sink listens"))?;
        if let Some(show) = show {
            let states = watch::start_showing(show).map_err(system("start a thread for the live lines"))?;
            spawn_local(watch::report(Rc::clone(&shared), states));
        }
        let over = async {
            match self.config.duration {
                Some(duration) => sleep(duration).await,
                None => pending().await,
            }
        };
        tracing::info!(addresses = ?self.addresses, connections_max = self.connections_max, "listening");
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
