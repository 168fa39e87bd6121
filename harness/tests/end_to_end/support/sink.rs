//! The project's sink as a process, and its ledger.

use super::process::{Process, mailrig};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tempfile::TempDir;

pub struct Sink {
    pub address: SocketAddr,
    process: Process,
    folder: TempDir,
}

/// The ledger as the sink wrote it.
pub struct Ledger {
    pub json: Value,
    /// How often each id was accepted.
    pub ids: BTreeMap<String, u64>,
}

impl Sink {
    /// On a free port, with more options as on the command line.
    pub fn start(options: &[&str]) -> Sink {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = mailrig(["sink", "--listen", "127.0.0.1:0", "--ids", "--ledger"]);
        command.arg(folder.path().join("ledger.json")).args(options);
        let process = Process::start(command, &folder.path().join("stderr"));
        Sink { address: process.ready(), process, folder }
    }

    /// Stops it; checks that it ended well and gives its account.
    pub fn stop(mut self) -> Ledger {
        let status = self.process.stop();
        assert_eq!(status.code(), Some(0), "{}", self.process.errors());
        let text = std::fs::read_to_string(self.folder.path().join("ledger.json")).expect("the ledger");
        let json: Value = serde_json::from_str(&text).expect("JSON");
        let ids = json["ids"].as_object().expect("the ids").iter();
        let ids = ids.map(|(id, count)| (id.clone(), count.as_u64().expect("a count"))).collect();
        Ledger { json, ids }
    }
}

impl Ledger {
    pub fn count(&self, key: &str) -> u64 {
        self.json[key].as_u64().unwrap_or_else(|| panic!("no number {key}: {}", self.json))
    }
}
