//! A server of the tests' own: threads, lines and literal replies, with no code shared with what is tested.
#![allow(dead_code, reason = "each test file is a program of its own and uses a part")]

use distribution::Distribution;
use load::message::{Content, filler::Text};
use load::schedule::{Model, Plan, Shard, Stop};
use load::session::endpoint::Endpoint;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A closed loop of one message on one connection.
pub fn options(target: SocketAddr) -> load::Options {
    load::Options {
        target: Endpoint::Tcp(target),
        own_host: None,
        rate_max: load::options::RATE_MAX,
        plan: messages(1),
        connections: 1,
        session: load::session::Options {
            timeout: Some(Duration::from_secs(10)),
            ..load::session::Options::default()
        },
        message: load::message::Options {
            run: "run-1".to_owned(),
            size: Distribution::Fixed(1000.0),
            content: Content::Filler(Text::Ascii),
            recipients: None,
            from: "from@one.test".to_owned(),
            to: vec!["to@two.test".to_owned()],
        },
        start_ns: None,
        seed: 1,
        lag_max: Duration::from_secs(10),
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
    /// Where it came from.
    pub from: Option<SocketAddr>,
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

/// A connection in plaintext or over TLS.
pub trait Line: Read + Write + Send {}
impl<T: Read + Write + Send> Line for T {}

/// How a server encrypts.
#[derive(Clone)]
pub struct Tls {
    pub config: Arc<rustls::ServerConfig>,
    /// From the first byte, or after STARTTLS.
    pub implicit: bool,
}

impl Server {
    pub fn start(script: impl Script) -> Server {
        Server::start_with(script, None)
    }

    pub fn start_with(script: impl Script, tls: Option<Tls>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (script, all) = (Arc::new(script), seen.clone());
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let stream = stream.expect("a connection");
                stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
                stream.set_nodelay(true).expect("a socket");
                let from = stream.peer_addr().ok();
                let (script, all, tls) = (script.clone(), all.clone(), tls.clone());
                all.lock().unwrap().push(Seen { from, ..Seen::default() });
                thread::spawn(move || serve(number, Box::new(stream), &*script, tls, &all));
            }
        });
        Server { address, seen }
    }

    /// The same at a UNIX socket.
    pub fn start_unix(path: &Path, script: impl Script) -> Server {
        let listener = UnixListener::bind(path).expect("a free path");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (script, all) = (Arc::new(script), seen.clone());
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let stream = stream.expect("a connection");
                stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
                let (script, all) = (script.clone(), all.clone());
                all.lock().unwrap().push(Seen::default());
                thread::spawn(move || serve(number, Box::new(stream), &*script, None, &all));
            }
        });
        Server { address: "127.0.0.1:0".parse().expect("an address"), seen }
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

fn serve(number: usize, line: Box<dyn Line>, script: &impl Script, tls: Option<Tls>, all: &Mutex<Vec<Seen>>) {
    let line = match &tls {
        Some(tls) if tls.implicit => encrypted(tls, line),
        _ => line,
    };
    let mut line = BufReader::with_capacity(1 << 16, line);
    let answer = |line: &mut BufReader<Box<dyn Line>>, command: &str| {
        let reply = script(number, command);
        let _ = line.get_mut().write_all(reply.as_bytes());
        let _ = line.get_mut().flush();
        reply
    };
    if answer(&mut line, "").is_empty() {
        return;
    }
    while let Some(command) = read_line(&mut line) {
        {
            let seen = &mut all.lock().unwrap()[number];
            if command.starts_with("MAIL") {
                seen.grouped.push(line.buffer().starts_with(b"RCPT"));
            }
            seen.commands.push(command.clone());
        }
        // The chunk comes with its command, whatever the answer.
        if let Some(bytes) = command.strip_prefix("BDAT ").and_then(|rest| rest.strip_suffix(" LAST")) {
            let mut chunk = vec![0; bytes.parse().expect("a size")];
            line.read_exact(&mut chunk).expect("the whole chunk");
            all.lock().unwrap()[number].messages.push(String::from_utf8(chunk).expect("UTF-8"));
        }
        let reply = answer(&mut line, &command);
        if reply.is_empty() || command == "QUIT" {
            return;
        }
        if command == "STARTTLS" && reply.starts_with("220") {
            assert!(line.buffer().is_empty(), "plaintext after STARTTLS");
            line =
                BufReader::with_capacity(1 << 16, encrypted(tls.as_ref().expect("TLS"), line.into_inner()));
        }
        if command == "DATA" && reply.starts_with("354") {
            let Some(message) = read_message(&mut line) else { return };
            all.lock().unwrap()[number].messages.push(message);
            if answer(&mut line, ".").is_empty() {
                return;
            }
        }
    }
}

fn encrypted(tls: &Tls, line: Box<dyn Line>) -> Box<dyn Line> {
    let connection = rustls::ServerConnection::new(tls.config.clone()).expect("a good configuration");
    Box::new(rustls::StreamOwned::new(connection, line))
}

/// The next line without its line end; none at the end of the connection.
fn read_line(line: &mut impl BufRead) -> Option<String> {
    let mut bytes = Vec::new();
    line.read_until(b'\n', &mut bytes).ok().filter(|&length| length > 0)?;
    let text = String::from_utf8(bytes).expect("UTF-8");
    Some(text.strip_suffix("\r\n").expect("every line ends in CR LF").to_owned())
}

fn read_message(line: &mut impl BufRead) -> Option<String> {
    let mut message = String::new();
    loop {
        match read_line(line)?.as_str() {
            "." => return Some(message),
            text => message.push_str(text.strip_prefix('.').unwrap_or(text)),
        }
        message.push_str("\r\n");
    }
}
