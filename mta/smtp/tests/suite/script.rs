//! Dialogue files: one line, one step.
//!
//! ```text
//! # comment                 set key=value ..         first, for the session's options
//! C: line    C~ raw         what the client sends (CR LF is added to `C:`)
//! S: line    S~ raw         what the server sends
//! = event                   the next event
//! +30s                      time passes
//! anything else             a step of one of the players: see there
//! ```
//! In text, `\r \n \t \0 \\ \xNN` are bytes and `\(a*600)` is `a` 600 times.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub struct Script {
    pub name: String,
    pub steps: Vec<(usize, Step)>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Client(Vec<u8>),
    Server(Vec<u8>),
    Event(String),
    Wait(Duration),
    Other(String),
}

/// Every file of the corpus whose name begins with `kind`.
pub fn files(kind: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(corpus())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "dialogue"))
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(kind))
        .collect();
    files.sort();
    files
}

pub fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues")
}

impl Script {
    pub fn read(path: &Path) -> Script {
        let text = fs::read_to_string(path).unwrap();
        let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let steps = lines.map(|(number, line)| (number + 1, step(line))).collect();
        Script { name: path.file_name().unwrap().to_str().unwrap().to_owned(), steps }
    }

    /// The value of `key` in the `set` lines.
    pub fn setting(&self, key: &str) -> Option<&str> {
        self.steps.iter().find_map(|(_, step)| match step {
            Step::Other(line) => line.strip_prefix("set ")?.split(' ').find_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                (name == key).then_some(value)
            }),
            _ => None,
        })
    }

    /// The ways to cut what the peer sends, `bytes` in all: whole, in two at every place, and byte by byte. A long
    /// dialogue is cut at every so manieth place only.
    pub fn cuts(&self, bytes: usize) -> impl Iterator<Item = Cut> {
        let stride = bytes * bytes / FED_BYTES_MAX + 1;
        let in_two = (1..bytes).step_by(stride).map(Cut::At);
        [Cut::Whole, Cut::EveryByte].into_iter().chain(in_two)
    }
}

/// How the stream from the peer is cut into pieces.
#[derive(Debug, Clone, Copy)]
pub enum Cut {
    Whole,
    At(usize),
    EveryByte,
}

impl Cut {
    /// The pieces of `block`, which begins at `offset` of the stream.
    pub fn pieces(self, offset: usize, block: &[u8]) -> Vec<&[u8]> {
        match self {
            Cut::EveryByte => block.chunks(1).collect(),
            Cut::At(place) if place > offset && place < offset + block.len() => {
                let (before, after) = block.split_at(place - offset);
                vec![before, after]
            }
            Cut::Whole | Cut::At(_) => vec![block],
        }
    }
}

/// Expected events against those that came, in order; events that `is_optional` names may be left out of a script.
pub fn next_event(
    trace: &[String],
    at: &mut usize,
    expected: &str,
    is_optional: fn(&str) -> bool,
) -> Result<(), String> {
    loop {
        let Some(came) = trace.get(*at) else { return Err(format!("no event, but expected\n  {expected}")) };
        *at += 1;
        if came == expected {
            return Ok(());
        }
        if !is_optional(came) {
            return Err(format!("event\n  {came}\nbut expected\n  {expected}"));
        }
    }
}

pub fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        rest = &after[1..];
        match after.as_bytes()[0] {
            b'r' => bytes.push(b'\r'),
            b'n' => bytes.push(b'\n'),
            b't' => bytes.push(b'\t'),
            b'0' => bytes.push(0),
            b'\\' => bytes.push(b'\\'),
            b'x' => {
                bytes.push(u8::from_str_radix(&rest[..2], 16).unwrap());
                rest = &rest[2..];
            }
            b'(' => {
                let end = closing(rest);
                let (text, count) = rest[..end].rsplit_once('*').unwrap();
                bytes.extend(unescape(text).repeat(count.parse().unwrap()));
                rest = &rest[end + 1..];
            }
            other => panic!("unknown escape {:?} in {text}", char::from(other)),
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// Where the bracket that is open at the start of `text` is closed.
fn closing(text: &str) -> usize {
    let mut depth = 1;
    text.bytes()
        .enumerate()
        .position(|(at, byte)| {
            match byte {
                b'(' if text[..at].ends_with('\\') => depth += 1,
                b')' => depth -= 1,
                _ => {}
            }
            depth == 0
        })
        .expect("\\( has its )")
}

pub fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn step(line: &str) -> Step {
    let (start, rest) = line.split_at(line.len().min(2));
    let text = rest.strip_prefix(' ').unwrap_or(rest);
    let whole_line = || [unescape(text), b"\r\n".to_vec()].concat();
    match start {
        "C:" => Step::Client(whole_line()),
        "S:" => Step::Server(whole_line()),
        "C~" => Step::Client(unescape(text)),
        "S~" => Step::Server(unescape(text)),
        "= " => Step::Event(text.to_owned()),
        _ => match line.strip_prefix('+') {
            Some(time) => Step::Wait(Duration::from_secs(time.strip_suffix('s').unwrap().parse().unwrap())),
            None => Step::Other(line.to_owned()),
        },
    }
}

/// Bytes fed in all cuts of one dialogue: below 2000 bytes it is cut at every place.
const FED_BYTES_MAX: usize = 2000 * 2000;
