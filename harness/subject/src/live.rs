//! What a child says on its standard output while it runs: `ready ADDRESS`, and from a sink its live figures.
//!
//! A thread reads, so that the child never waits for us; the newest figures are there for whoever looks.

use crate::Error;
use crate::child::Child;
use crate::interrupt::Interrupt;
use serde::Deserialize;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::ChildStdout;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A longer line is not one of ours.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// A sink's line, every 100 ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
pub struct Figures {
    /// Deliveries under way.
    pub in_flight: u64,
    /// Messages accepted so far.
    pub accepted: u64,
    /// Connections open.
    pub connections: u64,
    /// Connections that wait out a delay.
    #[serde(default)]
    pub connections_delayed: u64,
    /// When the last message was accepted, CLOCK_MONOTONIC.
    pub last_accepted_ns: Option<u64>,
    /// Processor time used so far.
    pub cpu_s: f64,
}

#[derive(Clone, Debug, Default)]
pub struct Live(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    ready: Vec<SocketAddr>,
    figures: Option<Figures>,
    ended: bool,
}

impl Live {
    /// Reads `stdout` to its end in a thread.
    pub fn read(stdout: ChildStdout) -> Live {
        let live = Live::default();
        let shared = live.clone();
        std::thread::spawn(move || shared.follow(BufReader::new(stdout)));
        live
    }

    fn follow(&self, mut lines: impl BufRead) {
        let mut line = Vec::new();
        loop {
            line.clear();
            match lines.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => break,
                Ok(_) => self.learn(&String::from_utf8_lossy(&line)),
            }
        }
        self.with(|state| state.ended = true);
    }

    fn learn(&self, line: &str) {
        if let Some(address) = line.trim().strip_prefix("ready ").and_then(|address| address.parse().ok()) {
            self.with(|state| state.ready.push(address));
        } else if let Ok(figures) = serde_json::from_str(line) {
            self.with(|state| state.figures = Some(figures));
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The sink's newest figures, if it has given any.
    pub fn figures(&self) -> Option<Figures> {
        self.with(|state| state.figures)
    }

    /// Waits for one `ready ADDRESS` line of `child`, whose output this is.
    pub fn ready(
        &self,
        child: &mut Child,
        bound: Duration,
        interrupt: &Interrupt,
    ) -> Result<SocketAddr, Error> {
        let found = interrupt.wait_until(bound, || {
            let (ready, ended) = self.with(|state| (state.ready.first().copied(), state.ended));
            if ready.is_none() && ended {
                child.check_alive()?;
            }
            Ok(ready)
        })?;
        found.ok_or_else(|| child.late(format!("the {} to be ready", child.name()), bound))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_first_address_and_the_newest_figures_among_other_lines() {
        let live = Live::default();
        let text = "hello\nready 127.0.0.1:2525\n{\"in_flight\":1,\"accepted\":5,\"connections\":1,\"cpu_s\":0.1}\n\
                    {\"in_flight\":3,\"accepted\":9,\"connections\":4,\"connections_delayed\":2,\"last_accepted_ns\":77,\"cpu_s\":0.5,\"more\":[]}\nnoise";
        live.follow(text.as_bytes());
        let newest = Figures {
            in_flight: 3,
            accepted: 9,
            connections: 4,
            connections_delayed: 2,
            last_accepted_ns: Some(77),
            cpu_s: 0.5,
        };
        assert_eq!(live.figures(), Some(newest));
        assert_eq!(live.with(|state| state.ready.clone()), ["127.0.0.1:2525".parse().expect("address")]);
    }
}
