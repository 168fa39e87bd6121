//! The MTA's control socket: one JSON object a line, both ways.

use super::patience::BOUND;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

pub struct Control {
    stream: BufReader<UnixStream>,
}

impl Control {
    pub fn connect(path: &Path) -> Control {
        let stream = UnixStream::connect(path).expect("the control socket answers");
        stream.set_read_timeout(Some(BOUND)).expect("a timeout");
        Control { stream: BufReader::new(stream) }
    }

    /// Sends one line as it is.
    pub fn say(&mut self, line: &str) -> Value {
        self.stream.get_mut().write_all(format!("{line}\n").as_bytes()).expect("the socket takes a line");
        let mut answer = String::new();
        self.stream.read_line(&mut answer).expect("an answer");
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
    }

    pub fn command(&mut self, name: &str) -> Value {
        let answer = self.say(&json!({"command": name}).to_string());
        assert_eq!(answer["ok"], true, "{name}: {answer}");
        answer
    }

    pub fn status(&mut self) -> Status {
        Status(self.command("status"))
    }
}

pub struct Status(pub Value);

impl Status {
    pub fn count(&self, key: &str) -> u64 {
        self.0[key].as_u64().unwrap_or_else(|| panic!("no number {key}: {}", self.0))
    }

    pub fn agents(&self, key: &str) -> u64 {
        self.0["agents"][key].as_u64().unwrap_or_else(|| panic!("no number agents.{key}: {}", self.0))
    }

    /// Messages that are not final yet, wherever they are.
    pub fn queued(&self) -> u64 {
        ["incoming", "active", "due", "deferred", "held"].iter().map(|key| self.count(key)).sum()
    }

    pub fn pid(&self, role: &str) -> u32 {
        self.0["pids"][role].as_u64().unwrap_or_else(|| panic!("no pid of {role}: {}", self.0)) as u32
    }

    pub fn agent_pids(&self) -> Vec<u32> {
        let pids = self.0["pids"]["agents"].as_array().expect("a list");
        pids.iter().map(|pid| pid.as_u64().expect("a pid") as u32).collect()
    }
}
