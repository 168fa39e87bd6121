//! A server of the tests' own: threads, lines and literal replies, with no code shared with what is tested.

use load::progress::Display;
use load::schedule::{Model, Plan, Shard, Stop};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A closed loop of one message on one connection.
#[allow(dead_code, reason = "each test file is a program of its own and uses a part")]
pub fn options(target: SocketAddr) -> load::Options {
    load::Options {
        target,
        plan: messages(1),
        connections: 1,
        session: load::session::Options {
            timeout: Some(Duration::from_secs(10)),
            ..load::session::Options::default()
        },
        message: load::message::Options {
            run: "run-1".to_owned(),
            size_bytes: 1000,
            from: "from@one.test".to_owned(),
            to: vec!["to@two.test".to_owned()],
        },
        seed: 1,
        lag_max: Duration::from_secs(10),
        progress: Display::Nothing,
    }
}

/// A closed loop of so many messages.
pub fn messages(messages: u64) -> Plan {
    Plan {
        model: Model::Closed { think: None },
        stop: Stop { after: Some(messages), at: None },
        warm_up: Duration::ZERO,
        shard: Shard::WHOLE,
    }
}

/// What happened on one connection.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Command lines in the order they came, without line ends.
    pub commands: Vec<String>,
    /// Messages as they were sent, with dots removed and without the end of data.
    pub messages: Vec<String>,
    /// For each MAIL: whether the RCPT had come with it.
    pub grouped: Vec<bool>,
}

/// Replies to the greeting (an empty line), a command, or the end of data (`.`) on the connection of this number (from
/// 0). An empty reply closes the connection.
pub trait Script: Fn(usize, &str) -> String + Send + Sync + 'static {}
impl<F: Fn(usize, &str) -> String + Send + Sync + 'static> Script for F {}

/// A server at a free port of 127.0.0.1; it lasts as long as the test.
pub struct Server {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    pub fn start(script: impl Script) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (script, all) = (Arc::new(script), seen.clone());
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let (script, all) = (script.clone(), all.clone());
                all.lock().unwrap().push(Seen::default());
                thread::spawn(move || serve(number, stream.expect("a connection"), &*script, &all));
            }
        });
        Server { address, seen }
    }

    /// Everything that has come so far, by connection.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

/// What a server says that takes everything and offers PIPELINING.
pub fn accept(line: &str) -> String {
    match line.split(' ').next().unwrap_or("") {
        "" => "220 test.invalid\r\n",
        "EHLO" => "250-test.invalid\r\n250-SIZE 10000000\r\n250 PIPELINING\r\n",
        "DATA" => "354 go on\r\n",
        "QUIT" => "221 bye\r\n",
        _ => "250 fine\r\n",
    }
    .to_owned()
}

fn serve(number: usize, stream: TcpStream, script: &impl Script, all: &Mutex<Vec<Seen>>) {
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
    stream.set_nodelay(true).expect("a socket");
    let mut writer = stream.try_clone().expect("a descriptor");
    let mut reader = BufReader::with_capacity(1 << 16, stream);
    let mut answer = |line: &str| {
        let reply = script(number, line);
        let _ = writer.write_all(reply.as_bytes());
        reply
    };
    if answer("").is_empty() {
        return;
    }
    let mut line = String::new();
    while let Some(length) = read_line(&mut reader, &mut line) {
        let command = line[..length].to_owned();
        {
            let seen = &mut all.lock().unwrap()[number];
            if command.starts_with("MAIL") {
                seen.grouped.push(reader.buffer().starts_with(b"RCPT"));
            }
            seen.commands.push(command.clone());
        }
        let reply = answer(&command);
        if reply.is_empty() || command == "QUIT" {
            return;
        }
        if command == "DATA" && reply.starts_with("354") {
            let Some(message) = read_message(&mut reader) else { return };
            all.lock().unwrap()[number].messages.push(message);
            if answer(".").is_empty() {
                return;
            }
        }
    }
}

/// The length of the next line without its line end; none at the end of the connection.
fn read_line(reader: &mut impl BufRead, line: &mut String) -> Option<usize> {
    line.clear();
    reader.read_line(line).ok().filter(|&length| length > 0)?;
    Some(line.strip_suffix("\r\n").expect("every line ends in CR LF").len())
}

fn read_message(reader: &mut impl BufRead) -> Option<String> {
    let (mut message, mut line) = (String::new(), String::new());
    loop {
        let length = read_line(reader, &mut line)?;
        match &line[..length] {
            "." => return Some(message),
            text => message.push_str(text.strip_prefix('.').unwrap_or(text)),
        }
        message.push_str("\r\n");
    }
}
