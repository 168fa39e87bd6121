//! A sink from its configuration to its account, in one process.

use crate::accept::{Numbers, accept};
use crate::books::Books;
use crate::clock;
use crate::config::Config;
use crate::error::Error;
use crate::ledger::Ledger;
use crate::listener::{self, Sharing};
use crate::records::Records;
use crate::sampler::Sampler;
use crate::shared::Shared;
use crate::store::Store;
use crate::tls::{self, Identities, Servers};
use crate::totals::Totals;
use crate::watch::{self, Show};
use std::future::{Future, pending};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;
use timer::Timer;
use tokio::runtime::{Builder, LocalOptions};
use tokio::select;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_local;
use tokio::time::sleep;

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
        let (connections_max, to_bind, sharing) = match &config.shard {
            Some(shard) => {
                config.duration = None;
                (shard.connections_max, &shard.addresses, Sharing::WithShards)
            }
            None => (config.connections_each(1)?[0], &config.listen, Sharing::Alone),
        };
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        for (&asked, &address) in config.listen.iter().zip(to_bind) {
            let window_bytes = config.sites.window_bytes_at(asked);
            let opened = listener::listen_on(address, sharing, window_bytes)
                .and_then(|listener| Ok((listener.local_addr()?, listener)));
            let (bound, listener) = opened.map_err(|source| Error::Listen { address, source })?;
            listeners.push(listener);
            addresses.push(bound);
        }
        config.bound(&addresses)?;
        let (records, identities) = match &config.shard {
            Some(shard) => (shard.records(config.trace.as_deref())?, shard.identities()?),
            None => {
                let records = Records::create(config.ledger.as_deref(), config.trace.as_deref())?;
                let identities = Identities::make(&config.sites)?;
                identities.publish(config.authority.as_deref())?;
                (records, identities)
            }
        };
        let tls = tls::servers(&config.sites, &identities)?;
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
        let totals = books.ledger.totals(ids, clock::cpu_s(), shared.polling.looking_s());
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
        let mut hurry = signal(HURRY).map_err(system("wait for signals"))?;
        let timer = Timer::new(TICK).map_err(system("make a timer"))?;
        let traced = books.trace.is_some();
        let Config { sites, silence, busy_poll, shard, duration, .. } = self.config;
        let shared = Rc::new(Shared::new(sites, self.tls, timer, books, silence));
        let (shard, shards) = shard.as_ref().map_or((0, 1), |shard| (shard.number - 1, shard.shards));
        let numbers = Rc::new(Numbers::of_shard(shard, shards));
        for (listener, address) in self.listeners.into_iter().zip(&self.addresses) {
            let listener = tokio::net::TcpListener::from_std(listener).map_err(system("watch a listener"))?;
            let (numbers, shared) = (Rc::clone(&numbers), Rc::clone(&shared));
            spawn_local(accept(listener, *address, self.connections_max, numbers, shared));
        }
        let sampler = traced.then(|| Sampler::start(shared.books.borrow().ledger.in_flight())).transpose();
        let sampler = sampler.map_err(system("start a thread for the samples"))?;
        let hurried = Rc::clone(&shared);
        spawn_local(async move {
            if hurry.recv().await.is_some() {
                hurried.hurry();
            }
        });
        if let Some(bound) = busy_poll {
            let shared = Rc::clone(&shared);
            spawn_local(async move { shared.polling.keep_awake(bound).await });
        }
        watch::say_ready(&self.addresses, &mut out).map_err(system("say where the sink listens"))?;
        if let Some(show) = show {
            let states = watch::start_showing(show).map_err(system("start a thread for the live lines"))?;
            spawn_local(watch::report(Rc::clone(&shared), states));
        }
        let over = async {
            match duration {
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
        if let (Some(sampler), Some(trace)) = (sampler, &mut shared.books.borrow_mut().trace) {
            trace.sampled(sampler.finish());
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

/// SIGUSR1 ends all delays, so that whoever wanted connections to be held can let them go.
pub(crate) const HURRY: SignalKind = SignalKind::user_defined1();

/// Delays end on multiples of this: at most ten thousand wake-ups a second, however many connections wait.
const TICK: Duration = Duration::from_micros(100);
