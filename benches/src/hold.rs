//! Many connections that wait after EHLO: processes that open them and hold them until they are ended.
//!
//! A holder is the bench's own executable again, with `--hold ADDR:PORT COUNT SOURCE`: several, because a process may
//! have only so many files, each with an address of its own, because an address has only so many ports. When it has
//! opened all, it says `held N refused N`; to each line that it reads it answers `open N`; it ends when its standard
//! input does, so it does not outlive its parent.

use crate::process::Process;
use crate::rig::Rig;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SocketFlags, SocketType, bind, connect, recv, socket_with, sockopt,
};
use rustix::process::Pid;
use std::io::{self, BufRead, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

/// As the first argument it makes a bench a holder.
pub const HOLD: &str = "--hold";
/// Until a holder has opened all.
const OPEN_BOUND: Duration = Duration::from_secs(120);
/// Until it has looked at all.
const LOOK_BOUND: Duration = Duration::from_secs(30);
/// Addresses of this host that nobody else connects from: 127.0.1.1 is the first holder's.
const SOURCES: [u8; 3] = [127, 0, 1];
/// Where Linux takes ports for connections from, unless told otherwise: no server listens there.
const PORT_FIRST: u16 = 32_768;
const PORTS: u16 = 28_232;
/// So many connections of a holder are being opened at once.
const THREADS: u16 = 4;
/// For each reply.
const REPLY_BOUND: Duration = Duration::from_secs(30);
/// RFC 5321 §4.5.3.1.5: a reply line has at most 512 bytes; a reply to EHLO has several.
const REPLY_BYTES_MAX: usize = 4096;

/// All holders of one sink.
pub struct Holders {
    exe: PathBuf,
    processes: Vec<Process>,
}

/// What came of opening some.
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    pub held: u64,
    pub refused: u64,
    pub took: Duration,
}

impl Holders {
    pub fn new() -> Result<Holders, String> {
        let exe = std::env::current_exe().map_err(|error| format!("finding the own executable: {error}"))?;
        Ok(Holders { exe, processes: Vec::new() })
    }

    pub fn pids(&self) -> Vec<Pid> {
        self.processes.iter().map(Process::pid).collect()
    }

    /// One more holder, with `count` connections.
    pub fn open(&mut self, rig: &Rig, to: SocketAddr, count: u64) -> Result<Opened, String> {
        let number = u8::try_from(self.processes.len() + 1).map_err(|_| "too many holders".to_owned())?;
        let [a, b, c] = SOURCES;
        let source = Ipv4Addr::new(a, b, c, number);
        let began = Instant::now();
        let mut command = rig.command(&self.exe);
        command.args([HOLD, &to.to_string(), &count.to_string(), &source.to_string()]);
        let mut holder = Process::start("a holder", command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let line = holder.line(OPEN_BOUND)?;
        let took = began.elapsed();
        self.processes.push(holder);
        let words: Vec<&str> = line.split(' ').collect();
        let opened = match words[..] {
            ["held", held, "refused", refused] => held.parse().ok().zip(refused.parse().ok()),
            _ => None,
        };
        let (held, refused) = opened.ok_or_else(|| format!("a holder said {line:?}"))?;
        Ok(Opened { held, refused, took })
    }

    /// How many connections the sink has neither closed nor written to since they were opened.
    pub fn open_now(&mut self) -> Result<u64, String> {
        let mut open = 0;
        for holder in &mut self.processes {
            holder.say("look")?;
            let line = holder.line(LOOK_BOUND)?;
            let count = line.strip_prefix("open ").and_then(|count| count.parse::<u64>().ok());
            open += count.ok_or_else(|| format!("a holder said {line:?}"))?;
        }
        Ok(open)
    }

    /// Ends all connections.
    pub fn end(self) -> Result<(), String> {
        self.processes.into_iter().try_for_each(|holder| holder.kill().map(drop))
    }
}

/// The holder's whole life; `arguments` are those after [`HOLD`].
pub fn main(arguments: &[String]) -> ExitCode {
    match hold(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("holder: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn hold(arguments: &[String]) -> Result<(), String> {
    let [to, count, source] = arguments else { return Err("wanted ADDR:PORT COUNT SOURCE".to_owned()) };
    let to: SocketAddr = to.parse().map_err(|error| format!("{to}: {error}"))?;
    let count: u16 = count.parse().map_err(|error| format!("{count}: {error}"))?;
    let source: Ipv4Addr = source.parse().map_err(|error| format!("{source}: {error}"))?;
    let (held, problems) = open_all(to, count, source);
    if let Some(problem) = problems.first() {
        eprintln!("holder: {} connections from {source} are not held, the first: {problem}", problems.len());
    }
    println!("held {} refused {}", held.len(), problems.len());
    for _ in io::stdin().lock().lines().map_while(Result::ok) {
        println!("open {}", held.iter().filter(|stream| is_idle(stream)).count());
    }
    Ok(())
}

/// The connections that were greeted, and why the others were not.
fn open_all(to: SocketAddr, count: u16, source: Ipv4Addr) -> (Vec<TcpStream>, Vec<String>) {
    let some = |thread: u16| {
        move || {
            let mut ports = (0..PORTS).skip(thread.into()).step_by(THREADS.into());
            let share = count / THREADS + u16::from(thread < count % THREADS);
            (0..share).map(|_| open(to, source, &mut ports)).collect::<Vec<_>>()
        }
    };
    let all = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(some(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("does not panic")).collect::<Vec<_>>()
    });
    let mut held = Vec::with_capacity(count.into());
    let mut problems = Vec::new();
    for one in all {
        match one {
            Ok(stream) => held.push(stream),
            Err(problem) => problems.push(problem),
        }
    }
    (held, problems)
}

/// Connects from the next port that is free, and goes as far as EHLO.
fn open(
    to: SocketAddr,
    source: Ipv4Addr,
    ports: &mut impl Iterator<Item = u16>,
) -> Result<TcpStream, String> {
    let mut stream = loop {
        let port = PORT_FIRST + ports.next().ok_or_else(|| format!("{source} has no port left"))?;
        match connect_from(SocketAddrV4::new(source, port), to) {
            Err(Errno::ADDRINUSE | Errno::ADDRNOTAVAIL) => {}
            Err(error) => return Err(format!("connecting: {error}")),
            Ok(stream) => break stream,
        }
    };
    stream.set_read_timeout(Some(REPLY_BOUND)).map_err(|error| error.to_string())?;
    reply(&mut stream)?;
    stream.write_all(b"EHLO client.test\r\n").map_err(|error| format!("saying EHLO: {error}"))?;
    reply(&mut stream)?;
    Ok(stream)
}

fn connect_from(source: SocketAddrV4, to: SocketAddr) -> Result<TcpStream, Errno> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // else a port that an earlier holder had could not be bound for a minute
    sockopt::set_socket_reuseaddr(&socket, true)?;
    // ends with a reset, so that nothing of so many connections waits in the kernel for a minute
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    bind(&socket, &source)?;
    connect(&socket, &to)?;
    Ok(TcpStream::from(socket))
}

/// Reads one reply, which must be positive.
fn reply(stream: &mut TcpStream) -> Result<(), String> {
    let mut bytes = [0; REPLY_BYTES_MAX];
    let mut length = 0;
    loop {
        let read = stream.read(&mut bytes[length..]).map_err(|error| format!("reading a reply: {error}"))?;
        length += read;
        let text = String::from_utf8_lossy(&bytes[..length]);
        // RFC 5321 §4.2.1: the last line has a blank after the code
        let last =
            text.lines().last().filter(|line| text.ends_with('\n') && line.as_bytes().get(3) != Some(&b'-'));
        match last {
            Some(line) if line.starts_with('2') => return Ok(()),
            Some(line) => return Err(line.to_owned()),
            None if read == 0 => return Err("no whole reply before the end".to_owned()),
            None => {}
        }
    }
}

fn is_idle(stream: &TcpStream) -> bool {
    let looked = recv(stream, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
    looked.is_err_and(|error| error == Errno::AGAIN)
}
