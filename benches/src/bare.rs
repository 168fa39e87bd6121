//! The least that delivery can do, in the two ways to wait: a process a connection that blocks, and one loop with epoll.
//!
//! Both hold the same fixed dialogue with a site that takes everything: a connection for each message, PIPELINING, the
//! reply to QUIT not waited for. There is no queue, no parser and no report, so what is left is what the kernel takes
//! for the connections and for the changes from process to process.
//!
//! It is the bench's own executable again, with `--bare WAY ADDR:PORT CONNECTIONS MESSAGES WORK_US`.

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with,
};
use rustix::time::{ClockId, clock_gettime};
use std::io::{self, Error};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use sys::process::{Exit, Fork, fork_single_threaded, reap};

/// As the first argument it makes a bench a bare client.
pub const BARE: &str = "--bare";

/// How it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Processes,
    Loop,
}

impl Way {
    pub fn word(self) -> &'static str {
        match self {
            Way::Processes => "processes",
            Way::Loop => "loop",
        }
    }
}

/// What it is to do.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    pub way: Way,
    pub to: SocketAddr,
    pub connections: u64,
    /// All connections together; each has the same number.
    pub messages: u64,
    /// Processor time spent beside each message: stands for whatever else has to be done for it on this core.
    pub work_us: u64,
}

impl Task {
    pub fn arguments(&self) -> [String; 6] {
        let Task { way, to, connections, messages, work_us } = self;
        [BARE.to_owned(), way.word().to_owned(), to.to_string()]
            .into_iter()
            .chain([connections, messages, work_us].map(u64::to_string))
            .collect::<Vec<_>>()
            .try_into()
            .expect("six of them")
    }

    fn parse(words: &[String]) -> Option<Task> {
        let [way, to, connections, messages, work_us] = words else { return None };
        let way = [Way::Processes, Way::Loop].into_iter().find(|one| one.word() == way)?;
        let (to, connections) = (to.parse().ok()?, connections.parse().ok()?);
        Some(Task { way, to, connections, messages: messages.parse().ok()?, work_us: work_us.parse().ok()? })
    }

    fn run(&self) -> io::Result<()> {
        match self.way {
            Way::Processes => self.in_processes(),
            Way::Loop => self.in_a_loop(),
        }
    }

    fn in_processes(&self) -> io::Result<()> {
        for _ in 0..self.connections {
            if let Fork::Child = fork_single_threaded()? {
                let each = self.messages / self.connections;
                let done = (0..each).try_for_each(|_| self.deliver_one());
                std::process::exit(i32::from(done.is_err()));
            }
        }
        let failed = |exit: &Exit| exit.end != sys::process::End::Status(0);
        for _ in 0..self.connections {
            let exit = loop {
                match reap()? {
                    Some(exit) => break exit,
                    None => std::thread::sleep(std::time::Duration::from_millis(5)),
                }
            };
            if failed(&exit) {
                return Err(Error::other("a process could not deliver"));
            }
        }
        Ok(())
    }

    fn deliver_one(&self) -> io::Result<()> {
        let socket = open(self.to, SocketFlags::CLOEXEC)?;
        let mut dialogue = Dialogue::new();
        let mut buffer = [0; 4096];
        loop {
            let (count, _) = recv(&socket, &mut buffer, RecvFlags::empty())?;
            if dialogue.hear(&socket, &buffer[..count])? {
                work(self.work_us);
                return Ok(());
            }
        }
    }

    fn in_a_loop(&self) -> io::Result<()> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut sessions = Vec::new();
        let open = |number: u64| -> io::Result<(OwnedFd, Dialogue)> {
            let socket = open(self.to, SocketFlags::CLOEXEC)?;
            epoll::add(&epoll, &socket, EventData::new_u64(number), EventFlags::IN)?;
            Ok((socket, Dialogue::new()))
        };
        for number in 0..self.connections {
            sessions.push(Some(open(number)?));
        }
        let (mut to_open, mut to_end) = (self.messages - self.connections, self.messages);
        let mut events = Vec::with_capacity(256);
        let mut buffer = [0; 4096];
        while to_end > 0 {
            events.clear();
            epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None)?;
            for event in &events {
                let number = event.data.u64();
                let place = &mut sessions[number as usize];
                let Some((socket, dialogue)) = place else { continue };
                let (count, _) = recv(&*socket, &mut buffer, RecvFlags::DONTWAIT)?;
                if dialogue.hear(&*socket, &buffer[..count])? {
                    work(self.work_us);
                    to_end -= 1;
                    *place = None;
                    if to_open > 0 {
                        to_open -= 1;
                        *place = Some(open(number)?);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Does what the command line says, after [`BARE`].
pub fn run(words: &[String]) -> ExitCode {
    let done = Task::parse(words).ok_or_else(|| Error::other("bad arguments")).and_then(|task| task.run());
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn open(to: SocketAddr, flags: SocketFlags) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    // on the loopback it is established when this returns
    connect(&socket, &to)?;
    Ok(socket)
}

/// Where in its fixed dialogue a connection is.
struct Dialogue {
    step: usize,
    /// The last bytes of the reply so far.
    end: Vec<u8>,
}

/// What ends the reply that is waited for, and what is said then.
const STEPS: [(&[u8], &[u8]); 4] = [
    (b"220 ", b"EHLO bare.mailrig.test\r\n"),
    (b"250 ", b"MAIL FROM:<sender@load.test>\r\nRCPT TO:<recipient@sink.test>\r\nDATA\r\n"),
    (b"354 ", CONTENT),
    (b"250 ", b"QUIT\r\n"),
];

/// 4 KiB.
const CONTENT: &[u8] = &{
    let mut content = [b'x'; 4096];
    let mut end = 71;
    while end + 6 < content.len() {
        content[end - 1] = b'\r';
        content[end] = b'\n';
        end += 72;
    }
    let last = content.len() - 5;
    let dot = *b"\r\n.\r\n";
    let mut place = 0;
    while place < dot.len() {
        content[last + place] = dot[place];
        place += 1;
    }
    content
};

impl Dialogue {
    fn new() -> Dialogue {
        Dialogue { step: 0, end: Vec::new() }
    }

    /// Takes in what the site said and says what comes next; true when all has been said.
    fn hear(&mut self, socket: &OwnedFd, bytes: &[u8]) -> io::Result<bool> {
        if bytes.is_empty() {
            return Err(Error::other("the site closed the connection"));
        }
        let (awaited, said) = STEPS[self.step];
        self.end.extend_from_slice(bytes);
        let complete = self.end.ends_with(b"\r\n");
        let last_line = self.end.split(|&byte| byte == b'\n').rev().nth(1).unwrap_or_default();
        if !complete || !last_line.starts_with(awaited) {
            return Ok(false);
        }
        self.end.clear();
        self.step += 1;
        let over = self.step == STEPS.len();
        // the last words leave in one segment with the end of the connection
        let flags = if over { SendFlags::NOSIGNAL | SendFlags::MORE } else { SendFlags::NOSIGNAL };
        if send(socket, said, flags)? < said.len() {
            return Err(Error::other("the socket takes less than a message"));
        }
        Ok(over)
    }
}

/// Uses so much processor time.
fn work(us: u64) {
    let used_ns = || {
        let used = clock_gettime(ClockId::ThreadCPUTime);
        used.tv_sec as u64 * 1_000_000_000 + used.tv_nsec as u64
    };
    let end = used_ns() + us * 1000;
    while us > 0 && used_ns() < end {}
}
