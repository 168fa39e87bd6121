//! The agent as a program: how a forked child becomes one, and what it does then.
//!
//! An executed agent shares nothing with its starter but the executable. Its socket is the descriptor
//! [`SOCKET`]; its driver is its argument, so that it shows in a list of processes; its options are the first
//! frame on the socket. It reads no configuration file.

use crate::c_library;
use crate::config::Driver;
use delivery::AgentOptions;
use delivery::wire::{HEADER_BYTES, MAX_FRAME_BYTES, split_frame};
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The first argument of an agent.
const AGENT: &str = "agent";

/// The descriptor of its socket.
const SOCKET: RawFd = 3;

/// This executable, also when another file has taken its place meanwhile: both speak one protocol.
const EXECUTABLE: &str = "/proc/self/exe";

/// What a list of processes shows.
const NAME: &str = "mailrig";

/// As a shell says of a program that can't be executed.
const CANNOT_EXECUTE: i32 = 126;

/// Replaces this freshly forked child by an agent. Returns only when that fails, with an exit status.
pub fn become_agent(socket: UnixStream, driver: Driver) -> i32 {
    let error = match sys::descriptor::hand_down(socket.into(), SOCKET) {
        Ok(()) => {
            let mut command = Command::new(EXECUTABLE);
            command
                .arg0(NAME)
                .args([AGENT, driver.as_str()])
                .env_clear()
                .envs(c_library::environment())
                .exec()
        }
        Err(error) => error,
    };
    eprintln!("mailrig agent: executing {EXECUTABLE}: {error}");
    CANNOT_EXECUTE
}

/// Runs the agent that the arguments of this process ask for, to its end, and gives its exit status. `None`: they
/// ask for something else. To be called before anything else is done.
pub fn agent_process(mut arguments: impl Iterator<Item = OsString>) -> Option<i32> {
    if arguments.nth(1)? != AGENT {
        return None;
    }
    let driver = arguments.next().and_then(|word| Driver::from_word(word.to_str()?))?;
    let _ = rustix::thread::set_name(c"mailrig");
    let begun = sys::descriptor::inherited(SOCKET).map(UnixStream::from).and_then(|mut socket| {
        let options = read_options(&mut socket)?;
        Ok((socket, options))
    });
    Some(match begun {
        Ok((socket, options)) => deliver(socket, driver, &options),
        Err(error) => {
            eprintln!("mailrig agent: this is started by `mailrig mta run` alone: {error}");
            2
        }
    })
}

/// What an agent does, however it came to be.
pub fn deliver(socket: UnixStream, driver: Driver, options: &AgentOptions) -> i32 {
    sys::memory::keep_little();
    if let Some(bytes) = options.memory_max_bytes {
        let limit = rustix::process::Rlimit { current: Some(bytes), maximum: Some(bytes) };
        if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Data, limit) {
            eprintln!("mailrig agent: limiting the memory to {bytes} bytes: {error}");
            return 1;
        }
    }
    match driver {
        Driver::Blocking => agent::blocking::run(socket, options),
        Driver::Threads => agent::threads::run(socket, options),
        Driver::Event => event::run(socket, options),
    }
}

/// Takes exactly one frame off the socket; what follows is the driver's.
fn read_options(socket: &mut UnixStream) -> io::Result<AgentOptions> {
    let mut frame = vec![0; HEADER_BYTES];
    socket.read_exact(&mut frame)?;
    let length = u32::from_le_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
    // the length counts the kind, which has been read
    frame.resize(HEADER_BYTES - 1 + length.clamp(1, MAX_FRAME_BYTES), 0);
    socket.read_exact(&mut frame[HEADER_BYTES..])?;
    match split_frame(&frame).map_err(io::Error::other)? {
        Some((kind, payload, _)) => AgentOptions::decode(kind, payload).map_err(io::Error::other),
        None => Err(io::Error::other("options longer than a frame may be")),
    }
}
