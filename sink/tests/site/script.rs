//! Dialogue files, `tests/dialogues/*.dialogue`: a site, what clients and site say to each other, what the ledger has.
//!
//! ```text
//! # comment
//! keep files                     what becomes of the mail: hash, files or maildir; discarded without this line
//! --- site                       the site file, up to the next line of ---
//! connection                     a client connects; also `connection 20 times`, `connection to 127.0.0.2`,
//!                                and `connection byte by byte`: each byte in a write of its own
//! C: line    C~ raw              it says this (CR LF is added to `C:`); lines in a row go out together
//! S: text                        the next line begins so; a code alone is a whole reply of however many lines;
//!                                `S: 250 or 450` is either
//! S~ raw                         exactly these bytes come
//! S:                             the connection ends in an orderly way (through TLS: with close_notify)
//! cut                            it ends, through TLS without close_notify
//! reset                          it ends with RST
//! 50ms S: text                   ... and not before 50 ms have passed since the line before, and not much later; also
//!                                with the others
//! silence 60ms                   nothing comes for so long
//! pause 30ms                     the client waits
//! leave                          it closes, whatever else has come; abort: with RST
//! stuck 64KiB                    the client writes on and on, and can't get rid of more than this
//! tls ok | ok 1.3 resumed | only 1.2: alert ProtocolVersion | certificate Expired | cut | reset | stalled 60ms
//!                                the handshake, and how it ends
//! ledger                         after the last connection: numbers of the ledger by name, such as `messages 2` or
//!                                `duplicates 1..3`; `rcpt 450 1` for outcomes; `row 1 tls 1.3` for cells of
//!                                deliveries.csv; `kept 1-1 raw` for what was kept of a message, or `kept 1-1 nothing`
//! ```
//! Raw bytes have the escapes of site files.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

pub struct Script {
    pub keep: Option<String>,
    /// Text of the site file.
    pub site: String,
    pub connections: Vec<Connection>,
    /// Line numbers and words.
    pub ledger: Vec<(usize, String)>,
}

#[derive(Default)]
pub struct Connection {
    pub times: u32,
    pub to: Option<IpAddr>,
    pub byte_by_byte: bool,
    pub steps: Vec<(usize, Step)>,
}

pub enum Step {
    Say(Vec<u8>),
    /// What comes, and not before.
    Hear(Duration, Heard),
    Silence(Duration),
    Pause(Duration),
    Leave,
    Abort,
    /// Bytes.
    Stuck(u64),
}

pub enum Heard {
    /// One of these beginnings.
    Line(Vec<String>),
    Bytes(Vec<u8>),
    End,
    Cut,
    Reset,
    Tls {
        only: Option<String>,
        outcome: String,
        patience: Option<Duration>,
    },
}

impl Script {
    pub fn read(path: &Path) -> Result<Script, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let mut script =
            Script { keep: None, site: String::new(), connections: Vec::new(), ledger: Vec::new() };
        let (mut in_site, mut in_ledger) = (false, false);
        for (number, line) in text.lines().enumerate().map(|(place, line)| (place + 1, line)) {
            let wrong = |message: String| format!("line {number}: {message}");
            if line.starts_with("---") {
                in_site = line == "--- site";
            } else if in_site {
                script.site += line;
                script.site.push('\n');
            } else if line.starts_with('#') || line.trim().is_empty() {
                continue;
            } else if line == "ledger" {
                in_ledger = true;
            } else if in_ledger {
                script.ledger.push((number, line.to_owned()));
            } else if let Some(keep) = line.strip_prefix("keep ") {
                script.keep = Some(keep.to_owned());
            } else if let Some(rest) = line.strip_prefix("connection") {
                script.connections.push(connection(rest).map_err(wrong)?);
            } else {
                let connection = script.connections.last_mut();
                let connection = connection.ok_or_else(|| wrong("no `connection` above it".to_owned()))?;
                connection.steps.push((number, step(line).map_err(wrong)?));
            }
        }
        match script.connections.is_empty() {
            true => Err("nobody connects in it".to_owned()),
            false => Ok(script),
        }
    }
}

fn connection(rest: &str) -> Result<Connection, String> {
    let mut connection = Connection { times: 1, ..Connection::default() };
    match rest.split_whitespace().collect::<Vec<_>>().as_slice() {
        [] => {}
        ["byte", "by", "byte"] => connection.byte_by_byte = true,
        [times, "times"] => connection.times = times.parse().map_err(|_| format!("`{times}` times?"))?,
        ["to", address] => connection.to = Some(address.parse().map_err(|_| format!("`{address}`?"))?),
        other => return Err(format!("`connection {}` is not known", other.join(" "))),
    }
    Ok(connection)
}

fn step(line: &str) -> Result<Step, String> {
    let line = line.trim_start();
    let timed = line.split_once(' ').and_then(|(first, rest)| Some((duration(first).ok()?, rest)));
    let (least, line) = timed.unwrap_or((Duration::ZERO, line));
    let hear = |heard| Ok(Step::Hear(least, heard));
    let step = if least.is_zero() { untimed(line)? } else { None };
    if let Some(step) = step {
        return Ok(step);
    }
    if let Some(raw) = line.strip_prefix("S~") {
        return hear(Heard::Bytes(octets(text(raw))?));
    } else if line.trim_end() == "S:" {
        return hear(Heard::End);
    } else if let Some(words) = line.strip_prefix("S:") {
        return hear(Heard::Line(text(words).split(" or ").map(str::to_owned).collect()));
    }
    match line.split_once(' ').unwrap_or((line, "")) {
        ("cut", "") => hear(Heard::Cut),
        ("reset", "") => hear(Heard::Reset),
        ("tls", words) => {
            let (only, outcome) = match words.strip_prefix("only ").and_then(|rest| rest.split_once(": ")) {
                Some((version, outcome)) => (Some(version.to_owned()), outcome),
                None => (None, words),
            };
            let patience = outcome.strip_prefix("stalled ").map(duration).transpose()?;
            let outcome = if patience.is_some() { "stalled" } else { outcome };
            hear(Heard::Tls { only, outcome: outcome.to_owned(), patience })
        }
        _ => Err(format!("`{line}` is no step")),
    }
}

/// A step that nothing has to come for.
fn untimed(line: &str) -> Result<Option<Step>, String> {
    if let Some(words) = line.strip_prefix("C:") {
        return Ok(Some(Step::Say([text(words).as_bytes(), b"\r\n"].concat())));
    } else if let Some(raw) = line.strip_prefix("C~") {
        return Ok(Some(Step::Say(octets(text(raw))?)));
    }
    Ok(Some(match line.split_once(' ').unwrap_or((line, "")) {
        ("silence", time) => Step::Silence(duration(time)?),
        ("pause", time) => Step::Pause(duration(time)?),
        ("stuck", size) => Step::Stuck(settings::size::parse(size)?),
        ("leave", "") => Step::Leave,
        ("abort", "") => Step::Abort,
        _ => return Ok(None),
    }))
}

/// What stands behind `C:` and its like, without the blank that sets it off.
fn text(words: &str) -> &str {
    words.strip_prefix(' ').unwrap_or(words)
}

fn duration(text: &str) -> Result<Duration, String> {
    settings::duration::parse(text)
}

pub fn octets(text: &str) -> Result<Vec<u8>, String> {
    behaviour::octets::parse(text)
}
