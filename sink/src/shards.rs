//! A sink in several processes on the same addresses, with one ledger, one trace and one stream of live lines: for
//! more connections than one process may have files, and more mail than one core takes.
//!
//! The parent serves nobody. It keeps the addresses, starts the shards and adds up what they say and leave; the kernel
//! spreads connections among them by a hash (SO_REUSEPORT). How a process is started that becomes a shard is the
//! caller's: this must not know command lines.

mod crew;
mod folder;

use crate::account::Sum;
use crate::clock;
use crate::config::Config;
use crate::error::{Error, ShardTrouble};
use crate::listener;
use crate::live::Live;
use crate::records::{self, Records};
use crate::shard::{self, Shard};
use crate::sink::HURRY;
use crate::tls::Identities;
use crate::totals::Totals;
use crate::watch::{self, REPORT_EVERY, Show};
use crew::{Crew, Trouble};
use folder::Folder;
use std::fs::File;
use std::future::{Future, pending};
use std::io::{self, BufReader, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{Command, ExitStatus};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;
use tokio::runtime::{Builder, LocalOptions};
use tokio::select;
use tokio::signal::unix::{Signal, signal};
use tokio::time::{MissedTickBehavior, interval, sleep};

/// A sink of several processes that have not been started yet.
pub struct Shards {
    config: Config,
    addresses: Vec<SocketAddr>,
    /// Of each shard.
    connections_max: Vec<usize>,
    records: Records,
    folder: Folder,
    /// What each shard is told, in the folder.
    files: Vec<PathBuf>,
    /// Keeps the ports until the end.
    _reserved: Vec<OwnedFd>,
}

/// How the shards ended.
struct Left {
    /// By place: well, so that its account is whole, or with which trouble.
    ends: Vec<Result<(), ShardTrouble>>,
    /// The one that ended in the run.
    died: Option<(u32, ExitStatus)>,
    /// CPU of the parent until then.
    cpu_s: f64,
}

impl Shards {
    /// Takes all that `shards` shards need in common: limits, files, ports.
    ///
    /// # Errors
    /// Whatever would make the run useless, before it begins.
    pub fn open(mut config: Config, shards: u32) -> Result<Shards, Error> {
        let shards = shards.max(1);
        if config.listen.is_empty() {
            return Err(Error::NoAddress);
        }
        let connections_max = config.connections_each(shards)?;
        let mut reserved = Vec::new();
        let mut addresses = Vec::new();
        for &address in &config.listen {
            let (bound, socket) =
                listener::reserve(address).map_err(|source| Error::Listen { address, source })?;
            reserved.push(socket);
            addresses.push(bound);
        }
        config.bound(&addresses)?;
        let records = Records::create(config.ledger.as_deref(), config.trace.as_deref())?;
        let identities = Identities::make(&config.sites)?;
        identities.publish(config.authority.as_deref())?;
        let folder = Folder::make()?;
        shard::write_identities(folder.path(), &identities)?;
        let files = (1..)
            .zip(&connections_max)
            .map(|(number, &most)| Shard::new(number, shards, addresses.clone(), most).write(folder.path()))
            .collect::<Result<_, _>>()?;
        Ok(Shards { config, addresses, connections_max, records, folder, files, _reserved: reserved })
    }

    /// How many connections all shards together hold at once, if they come to them as they should.
    pub fn connections_max(&self) -> usize {
        self.connections_max.iter().sum()
    }

    /// As [`crate::Sink::run`], with `command` for a process that becomes the shard of a file for [`Shard::read`]: it
    /// has the same configuration, says where it listens and where it stands in JSON on its standard output, ends on
    /// SIGTERM, and dies with its parent.
    ///
    /// # Errors
    /// As [`crate::Sink::run`], and [`Error::Shard`] when a shard fails; what the others have is written first.
    pub fn run<S: Future<Output = ()>>(
        self,
        command: impl FnMut(&Path) -> Command,
        stop: impl FnOnce() -> io::Result<S>,
        out: impl Write,
        show: Option<Show>,
    ) -> Result<Totals, Error> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
            .map_err(|source| Error::System { doing: "start the event loop", source })?;
        let left = runtime.block_on(self.serve(command, stop, out, show))?;
        drop(runtime);
        self.finish(left)
    }

    async fn serve<S: Future<Output = ()>>(
        &self,
        command: impl FnMut(&Path) -> Command,
        stop: impl FnOnce() -> io::Result<S>,
        mut out: impl Write,
        show: Option<Show>,
    ) -> Result<Left, Error> {
        let system = |doing| move |source| Error::System { doing, source };
        let mut stop = pin!(stop().map_err(system("wait for signals"))?);
        let hurry = signal(HURRY).map_err(system("wait for signals"))?;
        let mut crew = Crew::default();
        let started = select! {
            biased;
            () = &mut stop => None,
            started = self.start(&mut crew, command) => Some(started),
        };
        if !matches!(started, Some(Ok(()))) {
            // Nobody was served: nothing is lost with whoever does not end well.
            crew.end(START_GRACE).await;
            self.trace_folders().iter().for_each(|folder| records::remove_trace(folder));
            return match started {
                Some(Err(trouble)) => Err(self.error(trouble)),
                _ => Ok(Left { ends: Vec::new(), died: None, cpu_s: clock::cpu_s() }),
            };
        }
        // They have read what they were told, keys and all.
        self.folder.clear();
        watch::say_ready(&self.addresses, &mut out).map_err(system("say where the sink listens"))?;
        let states = show.map(watch::start_showing).transpose();
        let states = states.map_err(system("start a thread for the live lines"))?;
        tracing::info!(addresses = ?self.addresses, shards = self.shards(), "listening");
        let over = async {
            match self.config.duration {
                Some(duration) => sleep(duration).await,
                None => pending().await,
            }
        };
        let died = select! {
            biased;
            () = stop => None,
            () = over => None,
            (number, status) = watch_over(&mut crew, states, hurry) => {
                eprintln!("mailrig: {}; ending the others", self.error((number, ShardTrouble::Died(status))));
                Some((number, status))
            }
        };
        let cpu_s = clock::cpu_s();
        Ok(Left { ends: crew.end(END_BOUND).await, died, cpu_s })
    }

    /// Starts all shards and waits until they listen.
    async fn start(&self, crew: &mut Crew, mut command: impl FnMut(&Path) -> Command) -> Result<(), Trouble> {
        self.files.iter().try_for_each(|file| crew.start(command(file)))?;
        crew.ready(self.addresses.len(), START_BOUND).await
    }

    /// Adds up what the shards left, and writes it.
    fn finish(self, left: Left) -> Result<Totals, Error> {
        let mut troubles: Vec<Trouble> = Vec::new();
        if let Some((number, status)) = left.died {
            troubles.push((number, ShardTrouble::Died(status)));
        }
        let mut sum = Sum::new(self.shards());
        let mut missing = Vec::new();
        for (number, end) in (1..).zip(left.ends) {
            let account = end.and_then(|()| {
                let account = File::open(shard::account_file(self.folder.path(), number));
                account
                    .and_then(|file| sum.add(BufReader::with_capacity(READ_BYTES, file)))
                    .map_err(ShardTrouble::Account)
            });
            if let Err(trouble) = account {
                missing.push(number);
                if left.died.is_none_or(|(died, _)| died != number) {
                    troubles.push((number, trouble));
                }
            }
        }
        let totals = sum.totals(self.config.ids);
        let totals = Totals { cpu_s: totals.cpu_s + left.cpu_s, shards_missing: missing, ..totals };
        let Totals { messages, duplicates, connections, .. } = totals;
        tracing::info!(connections, messages, duplicates, "over");
        let folders = self.trace_folders();
        let shards = self.shards();
        self.records.write_merged(&totals, &folders)?;
        let mut errors =
            troubles.into_iter().map(|(number, trouble)| Error::Shard { number, shards, trouble });
        let Some(first) = errors.next() else { return Ok(totals) };
        errors.for_each(|error| eprintln!("mailrig: {error}"));
        Err(first)
    }

    fn shards(&self) -> u32 {
        self.connections_max.len() as u32
    }

    /// Where the shards leave their traces, if they are to.
    fn trace_folders(&self) -> Vec<PathBuf> {
        let trace = self.config.trace.iter();
        trace.flat_map(|trace| (1..=self.shards()).map(|number| shard::trace_folder(trace, number))).collect()
    }

    fn error(&self, (number, trouble): Trouble) -> Error {
        Error::Shard { number, shards: self.shards(), trouble }
    }
}

/// Gives where the shards stand to `states` ten times a second, as [`watch::report`] does, until one of them ends.
/// SIGUSR1 is passed on to all.
async fn watch_over(
    crew: &mut Crew,
    mut states: Option<SyncSender<Live>>,
    mut hurry: Signal,
) -> (u32, ExitStatus) {
    let mut ticks = interval(REPORT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        select! {
            end = crew.end_of_one() => return end,
            Some(()) = hurry.recv() => crew.hurry(),
            _ = ticks.tick(), if states.is_some() => {}
        }
        let mut live = crew.live();
        live.cpu_s += clock::cpu_s();
        states = states.filter(|states| !matches!(states.try_send(live), Err(TrySendError::Disconnected(_))));
    }
}

/// Until all shards listen.
const START_BOUND: Duration = Duration::from_secs(15);
/// Until all have ended that were not to be started after all.
const START_GRACE: Duration = Duration::from_secs(2);
/// Until all have written what they have, traces of many millions of deliveries too.
const END_BOUND: Duration = Duration::from_secs(60);
const READ_BYTES: usize = 256 * 1024;
