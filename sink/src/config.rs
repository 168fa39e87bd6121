//! What a sink is told, and what follows from it before it opens anything.

use crate::error::Error;
use crate::limits;
use crate::shard::Shard;
use crate::store::Keep;
use behaviour::Sites;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

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
    /// Connections open at once; `None`: as many as there may be files. Shards have equal parts of them; as the kernel
    /// spreads connections evenly but not exactly, one shard may refuse while another has room.
    pub connections_max: Option<usize>,
    /// End after this long. Of shards their parent sees to it.
    pub duration: Option<Duration>,
    /// How long a client may neither write nor read before it is dropped.
    pub silence: Duration,
    /// Look for more for so long before sleeping, on a core that nobody else needs.
    pub busy_poll: Option<Duration>,
    /// Where to write the certificate of the authority that signed the sites' certificates.
    pub authority: Option<PathBuf>,
    /// Be this shard: its parent's word goes before what is said here, and ledger, trace, certificates and end are the
    /// parent's.
    pub shard: Option<Shard>,
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
            busy_poll: None,
            authority: None,
            shard: None,
        }
    }

    /// How many connections each of `shards` processes holds.
    ///
    /// # Errors
    /// More are wanted than can be, or so few that there is none for every shard.
    pub(crate) fn connections_each(&self, shards: u32) -> Result<Vec<usize>, Error> {
        let count = shards as usize;
        let possible = limits::connections_possible(self.listen.len());
        let Some(wanted) = self.connections_max else { return Ok(vec![possible; count]) };
        if wanted < count && count > 1 {
            return Err(Error::FewerConnectionsThanShards { wanted, shards });
        }
        let each: Vec<usize> =
            (0..count).map(|place| wanted / count + usize::from(place < wanted % count)).collect();
        match each[0] <= possible {
            true => Ok(each),
            false => Err(Error::TooManyConnections { wanted, possible: possible * count }),
        }
    }

    /// Takes note of where the sink listens: port 0 has become another one.
    ///
    /// # Errors
    /// An address without a site.
    pub(crate) fn bound(&mut self, addresses: &[SocketAddr]) -> Result<(), Error> {
        for (asked, bound) in self.listen.iter().zip(addresses) {
            self.sites.bound(*asked, *bound);
        }
        match addresses.iter().find(|address| !self.sites.is_at(**address)) {
            None => Ok(()),
            Some(address) => Err(Error::NoSite { address: *address }),
        }
    }
}

/// RFC 5321 §4.5.3.2.7: a server should wait at least 5 minutes for the next command.
pub const SILENCE: Duration = Duration::from_secs(300);
