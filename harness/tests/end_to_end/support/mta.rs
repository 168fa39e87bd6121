//! The MTA in a folder of its own: configuration, processes, spool and log.

use super::Driver;
use super::client::Client;
use super::control::{Control, Status};
use super::log::{self, Outcome};
use super::patience::eventually;
use super::process::{Process, mailrig};
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

pub const HOSTNAME: &str = "mx.mailrig.test";

/// A configuration file in the making: lines for the top and for each table.
#[derive(Clone)]
pub struct Config {
    top: String,
    delivery: String,
    queue: String,
}

impl Config {
    pub fn new(driver: Driver) -> Config {
        let delivery = format!("driver = \"{}\"\n", driver.as_str());
        Config { top: format!("hostname = \"{HOSTNAME}\"\n"), delivery, queue: String::new() }
    }

    pub fn relayhost(self, address: SocketAddr) -> Config {
        self.top(&format!("relayhost = \"{address}\""))
    }

    /// Domain to next hop.
    pub fn transport(self, table: &[(&str, SocketAddr)]) -> Config {
        let entries: Vec<String> =
            table.iter().map(|(domain, address)| format!("\"{domain}\" = \"{address}\"")).collect();
        self.top(&format!("transport = {{ {} }}", entries.join(", ")))
    }

    pub fn top(mut self, line: &str) -> Config {
        let _ = writeln!(self.top, "{line}");
        self
    }

    pub fn delivery(mut self, line: &str) -> Config {
        let _ = writeln!(self.delivery, "{line}");
        self
    }

    pub fn queue(mut self, line: &str) -> Config {
        let _ = writeln!(self.queue, "{line}");
        self
    }

    /// So many deliveries at a time, in the way of the driver.
    pub fn concurrency(self, driver: Driver, count: usize) -> Config {
        let config = match driver {
            Driver::Blocking => self.delivery(&format!("agents_max = {count}")),
            Driver::Event => {
                self.delivery("agents_max = 1").delivery(&format!("connections_per_agent = {count}"))
            }
        };
        config
            .queue(&format!("destination_concurrency = {count}"))
            .queue(&format!("initial_destination_concurrency = {count}"))
    }

    /// Retries that a test can wait for.
    pub fn impatient(self) -> Config {
        self.queue("minimal_backoff = \"100ms\"").queue("maximal_backoff = \"300ms\"")
    }

    fn text(&self, folder: &Path) -> String {
        let folder = folder.display();
        format!(
            "listen = [\"127.0.0.1:0\"]\nspool = \"{folder}/spool\"\ncontrol = \"{folder}/control\"\n\
             log = \"{folder}/log\"\n{}[delivery]\n{}[queue]\n{}",
            self.top, self.delivery, self.queue
        )
    }
}

pub struct Mta {
    pub address: SocketAddr,
    pub process: Process,
    folder: TempDir,
}

impl Mta {
    pub fn start(config: &Config) -> Mta {
        Mta::start_in(tempfile::tempdir().expect("a temporary folder"), config)
    }

    /// On the spool that is in the folder.
    pub fn start_in(folder: TempDir, config: &Config) -> Mta {
        Mta::start_as(folder, config, |file| {
            let mut command = mailrig(["mta", "run", "--config"]);
            command.arg(file);
            command
        })
    }

    /// By a command line that in the end becomes the MTA with this configuration file.
    pub fn start_as(folder: TempDir, config: &Config, command: impl FnOnce(&Path) -> Command) -> Mta {
        let file = folder.path().join("mta.toml");
        std::fs::write(&file, config.text(folder.path())).expect("the folder is writable");
        let process = Process::start(command(&file), &folder.path().join("stderr"));
        Mta { address: process.ready(), process, folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address).expect("the MTA answers")
    }

    pub fn control(&self) -> Control {
        Control::connect(&self.path("control"))
    }

    pub fn status(&self) -> Status {
        self.control().status()
    }

    /// Waits until every message is delivered or bounced, and every bounce too.
    pub fn drain(&self) {
        let mut control = self.control();
        eventually("the queue is empty", || control.status().queued() == 0);
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).expect("the log")
    }

    /// The outcome lines so far.
    pub fn outcomes(&self) -> Vec<Outcome> {
        self.log().lines().filter_map(log::outcome).collect()
    }

    #[track_caller]
    pub fn wait_for_log(&self, words: &str) {
        eventually(&format!("`{words}` in the log"), || self.log().contains(words));
    }

    /// Files of queued messages.
    pub fn queue_files(&self) -> Vec<PathBuf> {
        files_below(&self.path("spool").join("queue"))
    }

    /// Stops it in order; checks that it ended well and that nothing is left but the spool.
    #[track_caller]
    pub fn stop(mut self) -> TempDir {
        let status = self.process.stop();
        assert_eq!(status.code(), Some(0), "{}{}", self.process.errors(), self.log());
        assert!(!self.path("control").exists(), "the control socket is left");
        self.folder
    }

    /// Kills every process of it at once.
    pub fn kill(self) -> TempDir {
        self.process.mark.kill_all();
        self.process.mark.wait_gone();
        self.folder
    }
}

pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found
}
