//! A queue manager on a thread, and a starter that is played: it makes no process, it hands the agents' ends of
//! their sockets to the test.

use delivery::wire::split_frame;
use delivery::{
    AgentFrame, ContentAnswer, DeliveryReport, DeliveryRequest, Envelope, EpochMs, NextHop, StageTimes,
};
use queue::{Channels, DriverWithin, NewAgents, Policy, Reread, Routes, Settings};
use serde_json::Value;
use smtp::client::{Disposition, HopStatus, Outcome, RecipientStatus};
use smtp::{EnhancedStatus, ForwardPath, ReversePath, Stage};
use spool::files::FilesSpool;
use spool::{Durability, Spool};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};
use supervisor::link::{AgentNumber, FromStarter, ToStarter, Usage};
use supervisor::pool::Limits;

/// What is queued where a test does not say more.
pub const MESSAGE: &str = "Subject: hello\r\n\r\n";

/// No single wait is longer.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The agent's end of its socket.
pub struct Agent {
    pub number: AgentNumber,
    pub socket: UnixStream,
    received: Vec<u8>,
}

pub struct Rig {
    folder: tempfile::TempDir,
    link: Arc<UnixStream>,
    agents: Receiver<Agent>,
    pub killed: Arc<Mutex<Vec<AgentNumber>>>,
    queue: Option<JoinHandle<i32>>,
    _reception: UnixStream,
}

fn tell(link: &UnixStream, message: &FromStarter, socket: Option<&UnixStream>) {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    let sent = sys::descriptor::send(link.as_fd(), &bytes, socket.map(AsFd::as_fd)).expect("it listens");
    assert_eq!(sent, bytes.len());
}

/// Does what the queue manager asks until that closes its socket.
fn play(link: &UnixStream, made: &Sender<Agent>, killed: &Mutex<Vec<AgentNumber>>) {
    let (mut received, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = (&*link).read(&mut buffer) {
        received.extend_from_slice(&buffer[..count]);
        while let Some((kind, payload, taken)) = split_frame(&received).unwrap() {
            match ToStarter::decode(kind, payload).unwrap() {
                ToStarter::Ready | ToStarter::Change { .. } => {}
                ToStarter::Start(number) => {
                    let (ours, socket) = UnixStream::pair().unwrap();
                    socket.set_read_timeout(Some(PATIENCE)).unwrap();
                    socket.set_write_timeout(Some(PATIENCE)).unwrap();
                    tell(link, &FromStarter::Started { agent: number, pid: 1 }, Some(&ours));
                    let _ = made.send(Agent { number, socket, received: Vec::new() });
                }
                ToStarter::Kill(number) => {
                    killed.lock().unwrap().push(number);
                    tell(link, &FromStarter::Ended { agent: number, status: 0, signal: 9 }, None);
                }
                ToStarter::Usage { question } => {
                    tell(link, &FromStarter::Usage { question, usage: Usage::default() }, None);
                }
            }
            received.drain(..taken);
        }
    }
}

impl Rig {
    /// With so many messages of one recipient queued, and agents of one connection.
    pub fn start(messages: usize, agents_max: usize, watchdog: Duration) -> Rig {
        Rig::start_wide(messages, (agents_max, 1), watchdog)
    }

    /// As `start`, with agents of so many connections.
    pub fn start_wide(messages: usize, dial: (usize, usize), watchdog: Duration) -> Rig {
        Rig::start_in(&vec![MESSAGE.to_owned(); messages], dial, watchdog, false)
    }

    /// With one agent that may have all of these messages at a time.
    pub fn start_with(messages: &[String]) -> Rig {
        Rig::start_in(messages, (1, messages.len()), PATIENCE * 100, false)
    }

    /// As `start`, with one agent that is a driver inside the queue manager's process.
    pub fn start_within(messages: usize, watchdog: Duration) -> Rig {
        Rig::start_in(&vec![MESSAGE.to_owned(); messages], (1, 1), watchdog, true)
    }

    fn start_in(
        messages: &[String],
        (agents_max, connections_per_agent): (usize, usize),
        watchdog: Duration,
        within: bool,
    ) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        fill(folder.path(), messages);
        let (link, starter) = UnixStream::pair().unwrap();
        let (_reception, reception) = UnixStream::pair().unwrap();
        let control = UnixListener::bind(folder.path().join("control")).unwrap().into();
        let (made, agents) = channel();
        let (link, killed) = (Arc::new(link), Arc::new(Mutex::new(Vec::new())));
        let (played, noted) = (link.clone(), killed.clone());
        // the driver's thread hands its socket to the test
        let handed = Mutex::new(made.clone());
        let driver = DriverWithin::new(move |socket: UnixStream| {
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            let agent = Agent { number: AgentNumber(0), socket, received: Vec::new() };
            i32::from(handed.lock().unwrap().send(agent).is_err())
        });
        std::thread::spawn(move || play(&played, &made, &noted));
        let spool = Arc::new(FilesSpool::open(folder.path(), Durability::None).unwrap());
        let policy = Policy {
            space_min_bytes: 0,
            scheduler: scheduler::Limits {
                destination_concurrency: 1000,
                initial_destination_concurrency: 1000,
                ..Default::default()
            },
            rules: Vec::new(),
            pool: Limits {
                agents_max,
                connections_per_agent,
                max_use: 0,
                max_idle: PATIENCE,
                spawn_rate: 0,
                preforked: false,
            },
            watchdog,
            memory_limit: false,
            stop_bound: Duration::ZERO,
        };
        let same = policy.clone();
        let settings = Settings {
            policy,
            within: within.then_some(driver),
            hostname: "mx.test".into(),
            routes: Routes::new([], Some(NextHop::parse("127.0.0.1:25").unwrap())),
            paused: false,
            reread: Box::new(move || {
                Ok(Reread { policy: same.clone(), agents: NewAgents::Described(Vec::new()) })
            }),
        };
        let channels = Channels { starter, reception, control };
        let queue = std::thread::spawn(move || queue::run(settings, spool, channels));
        Rig { folder, link, agents, killed, queue: Some(queue), _reception }
    }

    /// The next agent that was asked for.
    pub fn agent(&self) -> Agent {
        self.agents.recv_timeout(PATIENCE).expect("an agent is asked for")
    }

    pub fn tell(&self, message: &FromStarter) {
        tell(&self.link, message, None);
    }

    pub fn status(&self) -> Value {
        let mut socket = UnixStream::connect(self.folder.path().join("control")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        writeln!(socket, "{{\"command\":\"status\"}}").unwrap();
        let mut line = String::new();
        BufReader::new(socket).read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// Status once `holds`.
    pub fn eventually(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let status = self.status();
            if holds(&status) {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "{what}: {status}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Damages every queued message on the disk.
    pub fn spoil_spool(&self) {
        let mut folders = vec![self.folder.path().to_owned()];
        let mut spoilt = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                } else if let Ok(mut bytes) = std::fs::read(entry.path())
                    && let Some(at) = bytes.windows(MESSAGE.len()).position(|part| part == MESSAGE.as_bytes())
                {
                    bytes[at] ^= 1;
                    std::fs::write(entry.path(), bytes).unwrap();
                    spoilt += 1;
                }
            }
        }
        assert!(spoilt > 0);
    }

    /// An orderly stop.
    pub fn stop(mut self) {
        self.tell(&FromStarter::Stop);
        assert_eq!(self.queue.take().unwrap().join().unwrap(), 0);
    }
}

fn fill(folder: &Path, messages: &[String]) {
    let spool = FilesSpool::open(folder, Durability::None).unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    for (number, message) in messages.iter().enumerate() {
        let envelope = Envelope {
            received: EpochMs(now.as_millis() as u64),
            reverse_path: ReversePath::Null,
            recipients: vec![ForwardPath::parse(&format!("r{number}@sink.test")).unwrap()],
            eight_bit: false,
        };
        let mut incoming = spool.begin(envelope).unwrap();
        incoming.write(message.as_bytes()).unwrap();
        spool.commit(incoming).unwrap();
    }
}

impl Agent {
    pub fn say(&mut self, frame: &AgentFrame) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        self.socket.write_all(&bytes).expect("the queue manager reads");
    }

    /// The next request; `None` when the queue manager has closed the socket.
    pub fn request(&mut self) -> Option<DeliveryRequest> {
        self.next(|kind, payload| DeliveryRequest::decode(kind, payload).unwrap())
    }

    /// The next message that it asked for, with the id of the request.
    pub fn content(&mut self) -> Option<(u64, Option<Vec<u8>>)> {
        self.next(|kind, payload| {
            let answer = ContentAnswer::decode(kind, payload).unwrap().expect("an answer");
            (answer.id, answer.content.map(<[u8]>::to_vec))
        })
    }

    fn next<T>(&mut self, decode: impl FnOnce(u8, &[u8]) -> T) -> Option<T> {
        loop {
            if let Some((kind, payload, taken)) = split_frame(&self.received).unwrap() {
                let decoded = decode(kind, payload);
                self.received.drain(..taken);
                return Some(decoded);
            }
            let mut buffer = [0; 65_536];
            match self.socket.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("the queue manager is silent: {error}"),
            }
        }
    }
}

/// A clean report: delivered.
pub fn delivered(id: u64) -> AgentFrame {
    let status = RecipientStatus {
        disposition: Disposition::Delivered,
        code: None,
        enhanced: EnhancedStatus::parse(b"2.0.0").unwrap(),
        text: "ok".to_owned(),
        stage: Stage::Dot,
    };
    AgentFrame::Report(DeliveryReport {
        id,
        outcome: Outcome { recipients: vec![status], hop: HopStatus::Up },
        remote: Some("127.0.0.1:25".parse().unwrap()),
        times: StageTimes::default(),
    })
}
