//! Postfix's load generator and sink: smtp-source(1) and smtp-sink(1), which need no configuration and no running Postfix.

use crate::process::Process;
use crate::rig::{self, Rig, START_BOUND};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Connections that smtp-sink is told to take at once; with its default of 256 it would leave the others waiting.
pub const SINK_CONNECTIONS_MAX: u32 = 2000;
/// Folders that a user's PATH may lack.
const SYSTEM_FOLDERS: &[&str] = &["/usr/sbin", "/usr/local/sbin"];
/// As long as the kernel allows, as `mailrig sink` asks for, too.
const BACKLOG: &str = "65535";

pub struct Postfix {
    pub source: PathBuf,
    pub sink: PathBuf,
    /// Empty when it can't be told.
    pub version: String,
}

impl Postfix {
    /// `None` when one of the programs is not installed.
    pub fn find() -> Option<Postfix> {
        let version = |postconf| rig::output(Command::new(postconf).args(["-d", "-h", "mail_version"])).ok();
        Some(Postfix {
            source: find("smtp-source")?,
            sink: find("smtp-sink")?,
            version: find("postconf").and_then(version).unwrap_or_default().trim().to_owned(),
        })
    }

    /// One of its daemons, which are not on anybody's PATH.
    pub fn daemon(name: &str) -> Option<PathBuf> {
        let folders = ["/usr/lib/postfix/sbin", "/usr/libexec/postfix", "/usr/local/libexec/postfix"];
        folders.iter().map(|folder| Path::new(folder).join(name)).find(|file| file.is_file())
    }

    /// smtp-source's arguments: all messages of a session over one connection (`reuse`), or a connection each.
    pub fn source_arguments(
        reuse: bool,
        [sessions, messages, bytes]: [&str; 3],
        address: &str,
    ) -> Vec<String> {
        let reuse: &[&str] = if reuse { &["-d"] } else { &[] };
        let load = ["-s", sessions, "-m", messages, "-l", bytes];
        let names = ["-M", "client.test", "-f", "sender@client.test", "-t", "recipient@sink.test"];
        let words = reuse.iter().copied().chain(load).chain(names).chain([address]);
        words.map(str::to_owned).collect()
    }

    /// The sink's arguments; root it won't be.
    pub fn sink_arguments(address: &str) -> Vec<String> {
        let user: &[&str] = if rustix::process::geteuid().is_root() { &["-u", "nobody"] } else { &[] };
        let connections = SINK_CONNECTIONS_MAX.to_string();
        let words = user.iter().copied().chain(["-m", &connections, address, BACKLOG]);
        words.map(str::to_owned).collect()
    }

    /// The sink, ready, and its address.
    pub fn start_sink(&self, rig: &Rig) -> Result<(Process, SocketAddr), String> {
        let address = rig::free_address()?;
        let mut command = rig.command(&self.sink);
        let command = command.args(Postfix::sink_arguments(&address.to_string()));
        let sink = Process::start("smtp-sink", command)?;
        let end = Instant::now() + START_BOUND;
        // it does not say when it is ready
        while TcpStream::connect(address).is_err() {
            if sink.has_ended()? || Instant::now() > end {
                return Err(format!("smtp-sink does not listen on {address}"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok((sink, address))
    }
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(SYSTEM_FOLDERS.iter().map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|file| Path::is_file(file))
}
