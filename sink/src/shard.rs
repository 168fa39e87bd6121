//! One shard of a sink as its parent wants it: what the parent writes down, and what the shard reads.
//!
//! A shard is a whole sink in a process of its own that shares addresses, ledger and trace with others like it. It
//! must not know how it was started.

use crate::error::Error;
use crate::records::Records;
use crate::tls::Identities;
use rustix::process::getppid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What a shard is told by its parent; all else is in the configuration that both have.
#[derive(Debug, Serialize, Deserialize)]
pub struct Shard {
    /// From 1.
    pub(crate) number: u32,
    pub(crate) shards: u32,
    /// Where to listen, in the order of the configuration; what was port 0 there is known.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) connections_max: usize,
    parent: u32,
    /// Where it was read: the parent's folder.
    #[serde(skip)]
    folder: PathBuf,
}

impl Shard {
    pub(crate) fn new(number: u32, shards: u32, addresses: Vec<SocketAddr>, connections_max: usize) -> Shard {
        let (parent, folder) = (std::process::id(), PathBuf::new());
        Shard { number, shards, addresses, connections_max, parent, folder }
    }

    /// Reads what the parent wrote for a shard to the file `path`.
    ///
    /// # Errors
    /// There is no such file, or it is not the parent's.
    pub fn read(path: &Path) -> Result<Shard, Error> {
        let shard: Shard = read(path)?;
        Ok(Shard { folder: path.parent().unwrap_or(Path::new(".")).to_owned(), ..shard })
    }

    /// Whether the parent has ended. A process that dies with its parent has to ask, once it has said so to the kernel:
    /// it may have been too late.
    pub fn is_orphan(&self) -> bool {
        getppid().is_none_or(|pid| pid.as_raw_nonzero().get().cast_unsigned() != self.parent)
    }

    /// Writes it into `folder` for [`Shard::read`], and returns where.
    pub(crate) fn write(&self, folder: &Path) -> Result<PathBuf, Error> {
        let path = folder.join(format!("shard-{}.json", self.number));
        write(&path, self)?;
        Ok(path)
    }

    pub(crate) fn records(&self, trace: Option<&Path>) -> Result<Records, Error> {
        let trace = trace.map(|trace| trace_folder(trace, self.number));
        Records::of_shard(&account_file(&self.folder, self.number), trace.as_deref())
    }

    pub(crate) fn identities(&self) -> Result<Identities, Error> {
        read(&self.folder.join(IDENTITIES))
    }
}

/// Writes what all shards show in handshakes into `folder`. Only we can read it: there are keys in it.
pub fn write_identities(folder: &Path, identities: &Identities) -> Result<(), Error> {
    write(&folder.join(IDENTITIES), identities)
}

/// Where a shard writes its account at the end.
pub fn account_file(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("account-{number}"))
}

/// Where a shard writes its trace, below that of the sink.
pub fn trace_folder(trace: &Path, number: u32) -> PathBuf {
    trace.join(format!("shard-{number}"))
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text = fs::read(path);
    text.and_then(|text| serde_json::from_slice(&text).map_err(io::Error::from))
        .map_err(|source| Error::System { doing: "read what a shard is to do", source })
}

fn write(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let written = File::options().write(true).create_new(true).mode(0o600).open(path);
    written
        .and_then(|mut file| io::Write::write_all(&mut file, &serde_json::to_vec(value)?))
        .map_err(|source| Error::File { path: path.to_owned(), source })
}

const IDENTITIES: &str = "identities.json";
