//! The least that a sink can do: an epoll loop that reads, looks at the first letter and answers. It checks nothing, counts
//! nothing and keeps nothing, so what it takes for a message is what the kernel takes: no sink can be under it by much.
//!
//! It is the bench's own executable again, with `--floor`; it says `ready ADDR:PORT` and ends with its standard input.

use crate::process::Process;
use crate::rig::{Rig, START_BOUND};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{ExitCode, Stdio};

/// As the first argument it makes a bench a floor.
pub const FLOOR: &str = "--floor";

/// Starts one, ready, and gives its address.
pub fn start(rig: &Rig) -> Result<(Process, SocketAddr), String> {
    let exe = std::env::current_exe().map_err(|error| format!("finding the own executable: {error}"))?;
    let mut command = rig.command(&exe);
    let command = command.arg(FLOOR).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut floor = Process::start("floor", command)?;
    let line = floor.line(START_BOUND)?;
    let address = line.strip_prefix("ready ").and_then(|address| address.parse().ok());
    Ok((floor, address.ok_or_else(|| format!("the floor said {line:?}, not where it is ready"))?))
}

/// Serves until its standard input ends, or it is killed.
pub fn serve() -> ExitCode {
    match answer() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("floor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn answer() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    rustix::net::listen(&listener, BACKLOG)?;
    rustix::net::sockopt::set_tcp_nodelay(&listener, true)?;
    listener.set_nonblocking(true)?;
    println!("ready {}", listener.local_addr()?);
    io::stdout().flush()?;

    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    epoll::add(&epoll, io::stdin(), EventData::new_u64(INPUT), EventFlags::IN)?;
    let mut sessions: HashMap<u64, Session> = HashMap::new();
    let mut events = Vec::with_capacity(256);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        events.clear();
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            match event.data.u64() {
                INPUT => return Ok(()),
                LISTENER => {
                    while let Ok((stream, _)) = listener.accept() {
                        let number = stream.as_raw_fd() as u64;
                        epoll::add(&epoll, &stream, EventData::new_u64(number), EventFlags::IN)?;
                        say(&stream, b"220 floor ESMTP\r\n", false);
                        sessions.insert(number, Session { stream, in_content: false });
                    }
                }
                number => {
                    if sessions.get_mut(&number).is_some_and(|session| session.is_over(&mut buffer)) {
                        sessions.remove(&number);
                    }
                }
            }
        }
    }
}

struct Session {
    stream: TcpStream,
    in_content: bool,
}

impl Session {
    /// Hears one command, or a part of a message, and answers.
    fn is_over(&mut self, buffer: &mut [u8]) -> bool {
        let heard = match recv(&self.stream, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((0, _)) | Err(_) => return true,
            Ok((bytes, _)) => &buffer[..bytes],
        };
        match heard[0] {
            _ if self.in_content => {
                if heard.ends_with(b"\r\n.\r\n") {
                    self.in_content = false;
                    say(&self.stream, b"250 2.0.0 Ok\r\n", false);
                }
            }
            b'D' => {
                self.in_content = true;
                say(&self.stream, b"354 Go on\r\n", false);
            }
            b'Q' => {
                say(&self.stream, b"221 2.0.0 Bye\r\n", true);
                return true;
            }
            _ => say(&self.stream, b"250 2.1.0 Ok\r\n", false),
        }
        false
    }
}

/// Words that a socket has no room for are of a client that does not read; its session will stall and its bench fail.
fn say(stream: &TcpStream, words: &[u8], last: bool) {
    let more = if last { SendFlags::MORE } else { SendFlags::empty() };
    let _ = send(stream, words, SendFlags::DONTWAIT | SendFlags::NOSIGNAL | more);
}

const LISTENER: u64 = u64::MAX;
const INPUT: u64 = u64::MAX - 1;
const BACKLOG: i32 = 65_535;
