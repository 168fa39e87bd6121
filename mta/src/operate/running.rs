//! The queue of an MTA that runs: one JSON object a line, both ways.

use super::{Act, Filter, Row, Step, Tally, in_pieces};
use queue::view;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// A queue manager that reads a large message from a slow disk takes its time.
const PATIENCE: Duration = Duration::from_secs(60);
/// Looks at what the MTA is about to end.
const WAIT: Duration = Duration::from_millis(20);
/// Content in one command: a control character is six of its line's 64 KiB.
const PIECE_BYTES: usize = 8 * 1024;

pub struct Running {
    socket: BufReader<UnixStream>,
}

impl Running {
    pub(super) fn new(socket: UnixStream) -> Result<Running, String> {
        let bounded = socket.set_read_timeout(Some(PATIENCE));
        bounded.and_then(|()| socket.set_write_timeout(Some(PATIENCE))).map_err(failed)?;
        Ok(Running { socket: BufReader::new(socket) })
    }

    fn ask(&mut self, command: &Value) -> Result<Value, String> {
        self.socket.get_mut().write_all(format!("{command}\n").as_bytes()).map_err(failed)?;
        let mut line = String::new();
        if self.socket.read_line(&mut line).map_err(failed)? == 0 {
            return Err("the MTA closed its control socket".to_owned());
        }
        let mut answer: Value = serde_json::from_str(&line).map_err(|error| failed(error.into()))?;
        match answer["error"].take() {
            Value::String(error) => Err(error),
            _ => Ok(answer),
        }
    }

    pub(super) fn list(
        &mut self,
        filter: &Filter,
        each: &mut dyn FnMut(Row) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut after = Value::Null;
        loop {
            let mut page = self.ask(&json!({"command": "list", "after": after, "filter": filter}))?;
            rows(page["messages"].take())?.into_iter().try_for_each(&mut *each)?;
            after = page["next"].take();
            if after.is_null() {
                return Ok(());
            }
        }
    }

    pub(super) fn show(&mut self, id: &str) -> Result<Row, String> {
        let mut answer = self.ask(&json!({"command": "show", "id": id}))?;
        serde_json::from_value(answer["message"].take()).map_err(|error| failed(error.into()))
    }

    pub(super) fn content(&mut self, id: &str, out: &mut dyn Write) -> Result<(), String> {
        let mut offset = 0;
        loop {
            let piece = self.ask(&json!({"command": "read", "id": id, "offset": offset}))?;
            let text = piece["content"].as_str().ok_or("the MTA answered without content")?;
            let bytes = view::bytes_of(text).ok_or("the MTA answered with content that is none")?;
            out.write_all(&bytes).map_err(|error| format!("writing: {error}"))?;
            offset += bytes.len() as u64;
            if bytes.is_empty() || Some(offset) >= piece["size_bytes"].as_u64() {
                return Ok(());
            }
        }
    }

    pub(super) fn act(&mut self, act: Act, ids: &[String]) -> Result<Tally, String> {
        let command = match act {
            Act::Hold => "hold",
            Act::Release => "release",
            Act::Requeue => "requeue",
            Act::Delete => "delete",
        };
        let answer = self.ask(&json!({"command": command, "ids": ids}))?;
        serde_json::from_value(answer).map_err(|error| failed(error.into()))
    }

    pub(super) fn flush(&mut self) -> Result<(), String> {
        self.ask(&json!({"command": "flush"})).map(drop)
    }

    pub(super) fn reload(&mut self) -> Result<(), String> {
        self.ask(&json!({"command": "reload"})).map(drop)
    }

    pub(super) fn import(
        &mut self,
        row: &Row,
        content: &mut dyn Read,
        step: &mut dyn FnMut(Step<'_>) -> Result<(), String>,
    ) -> Result<String, String> {
        let begun = self.ask(&json!({"command": "import", "piece": {"begin": row}}))?;
        step(Step::Begun(begun["id"].as_str().ok_or("the MTA answered without an id")?))?;
        in_pieces(content, row.size_bytes, PIECE_BYTES, |piece| {
            let text = view::text_of(piece);
            self.ask(&json!({"command": "import", "piece": {"data": text}})).map(drop)
        })?;
        let answer = self.ask(&json!({"command": "import", "piece": "end"}))?;
        step(Step::Kept)?;
        self.ask(&json!({"command": "import", "piece": "confirm"}))?;
        Ok(answer["id"].as_str().unwrap_or_default().to_owned())
    }

    pub(super) fn end_import(&mut self, id: &str) -> Result<(), String> {
        self.ask(&json!({"command": "import", "piece": {"release": id}})).map(drop)
    }

    pub(super) fn was_imported(&mut self, id: &str) -> Result<bool, String> {
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = self.ask(&json!({"command": "import", "piece": {"known": id}}))?;
            if let Some(known) = answer["known"].as_bool() {
                return Ok(known);
            }
            if Instant::now() > end {
                return Err(format!("{id} is being imported by another; let that end first"));
            }
            std::thread::sleep(WAIT);
        }
    }
}

fn rows(messages: Value) -> Result<Vec<Row>, String> {
    serde_json::from_value(messages).map_err(|error| failed(error.into()))
}

fn failed(error: std::io::Error) -> String {
    format!("control socket: {error}")
}
