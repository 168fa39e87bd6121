//! The drivers of many connections by themselves, over the socket that the queue manager would have.

use delivery::wire::split_frame;
use delivery::{
    AgentFrame, AgentOptions, Content, ContentAnswer, DeliveryReport, DeliveryRequest, NextHop, QueueId,
};
use smtp::client::{Disposition, HopStatus};
use smtp::{ForwardPath, ReversePath};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

type Driver = fn(UnixStream, &AgentOptions) -> i32;

const DRIVERS: [(&str, Driver); 2] = [("threads", agent::threads::run), ("event", event::run)];

const PATIENCE: Duration = Duration::from_secs(20);

fn options(connections: usize, messages_per_connection: u32) -> AgentOptions {
    AgentOptions {
        session: Arc::new(smtp::client::Options::new("client.test")),
        connect_timeout: PATIENCE,
        connections,
        messages_per_connection,
        session_idle: PATIENCE,
        memory_max_bytes: None,
    }
}

/// A site that accepts everything, at once or when it is told to.
struct Site {
    next_hop: NextHop,
    open: Arc<AtomicUsize>,
    quits: Arc<AtomicUsize>,
    /// Lines of the last message.
    heard: Arc<Mutex<Vec<String>>>,
}

impl Site {
    fn start(talks: &Arc<AtomicBool>) -> Site {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let next_hop = NextHop::parse(&listener.local_addr().unwrap().to_string()).unwrap();
        let (open, quits) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let heard = Arc::new(Mutex::default());
        let site = Site { next_hop, open: open.clone(), quits: quits.clone(), heard: heard.clone() };
        let talks = talks.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (talks, open, quits, heard) = (talks.clone(), open.clone(), quits.clone(), heard.clone());
                open.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    while !talks.load(Ordering::SeqCst) {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    if serve(stream, &heard).is_some() {
                        quits.fetch_add(1, Ordering::SeqCst);
                    }
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        site
    }
}

/// `Some` when the client said QUIT.
fn serve(stream: TcpStream, heard: &Mutex<Vec<String>>) -> Option<()> {
    let (mut output, mut body) = (stream.try_clone().ok()?, false);
    output.write_all(b"220 site.test\r\n").ok()?;
    for line in BufReader::new(stream).lines() {
        let line = line.ok()?;
        let reply: &[u8] = match line.as_str() {
            "." => b"250 kept\r\n",
            _ if body => b"",
            "DATA" => b"354 go\r\n",
            "QUIT" => return Some(()),
            _ => b"250 fine\r\n",
        };
        match line.as_str() {
            "DATA" if !body => heard.lock().unwrap().clear(),
            "." => {}
            _ if body => heard.lock().unwrap().push(line.clone()),
            _ => {}
        }
        body = (body || line == "DATA") && line != ".";
        output.write_all(reply).ok()?;
    }
    None
}

/// An agent and the queue manager's end of its socket.
struct Agent {
    socket: UnixStream,
    received: Vec<u8>,
    running: JoinHandle<i32>,
}

impl Agent {
    fn start(driver: Driver, options: AgentOptions) -> Agent {
        let (socket, theirs) = UnixStream::pair().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let running = std::thread::spawn(move || driver(theirs, &options));
        let mut agent = Agent { socket, received: Vec::new(), running };
        assert_eq!(agent.next(), AgentFrame::Ready);
        agent
    }

    fn ask(&mut self, id: u64, next_hop: &NextHop) {
        let request = DeliveryRequest {
            id,
            queue_id: QueueId(id),
            next_hop: next_hop.clone(),
            reverse_path: ReversePath::parse("s@client.test").unwrap(),
            recipients: vec![ForwardPath::parse("r@site.test").unwrap()],
            eight_bit: false,
            content: Content::Inline(b"Subject: x\r\n\r\n".repeat(300)),
        };
        let mut bytes = Vec::new();
        request.encode(&mut bytes);
        self.socket.write_all(&bytes).unwrap();
    }

    fn next(&mut self) -> AgentFrame {
        loop {
            if let Some((kind, payload, length)) = split_frame(&self.received).unwrap() {
                let frame = AgentFrame::decode(kind, payload).unwrap();
                self.received.drain(..length);
                return frame;
            }
            let mut piece = [0; 4096];
            let count = self.socket.read(&mut piece).unwrap();
            assert!(count > 0, "the agent has left");
            self.received.extend_from_slice(&piece[..count]);
        }
    }

    fn report(&mut self) -> DeliveryReport {
        match self.next() {
            AgentFrame::Report(report) => report,
            other => panic!("{other:?}"),
        }
    }

    fn answer(&mut self, id: u64, content: Option<&[u8]>) {
        let mut bytes = Vec::new();
        ContentAnswer { id, content }.encode(&mut bytes);
        self.socket.write_all(&bytes).unwrap();
    }

    /// Closes its socket; gives the exit status.
    fn stop(self) -> i32 {
        drop(self.socket);
        self.running.join().unwrap()
    }
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn what_comes_faster_than_connections_allow_waits_and_is_delivered() {
    const REQUESTS: u64 = 200;
    for (name, driver) in DRIVERS {
        let talks = Arc::new(AtomicBool::new(false));
        let site = Site::start(&talks);
        let mut agent = Agent::start(driver, options(3, 1));
        // more than the socket holds, so that the sender is held up too
        let writer = agent.socket.try_clone().unwrap();
        let sent = Arc::new(AtomicUsize::new(0));
        let (count, next_hop) = (sent.clone(), site.next_hop.clone());
        let asking = std::thread::spawn(move || {
            let mut asking =
                Agent { socket: writer, received: Vec::new(), running: std::thread::spawn(|| 0) };
            for id in 0..REQUESTS {
                asking.ask(id, &next_hop);
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        eventually("three connections", || site.open.load(Ordering::SeqCst) == 3);
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(site.open.load(Ordering::SeqCst), 3, "{name}: a connection too many");
        assert!(sent.load(Ordering::SeqCst) < REQUESTS as usize, "{name}: it takes in what it cannot do");
        talks.store(true, Ordering::SeqCst);
        let mut ids: Vec<u64> = (0..REQUESTS)
            .map(|_| {
                let report = agent.report();
                assert_eq!(report.outcome.recipients[0].disposition, Disposition::Delivered, "{report:?}");
                report.id
            })
            .collect();
        asking.join().unwrap();
        ids.sort_unstable();
        assert!(ids.into_iter().eq(0..REQUESTS), "{name}");
        assert_eq!(agent.stop(), 0, "{name}");
    }
}

#[test]
fn idle_connections_count_and_end_with_quit() {
    for (name, driver) in DRIVERS {
        let sites: Vec<Site> = (0..6).map(|_| Site::start(&Arc::new(AtomicBool::new(true)))).collect();
        let open = || sites.iter().map(|site| site.open.load(Ordering::SeqCst)).sum::<usize>();
        let mut agent = Agent::start(driver, options(3, 0));
        for (id, site) in (0..).zip(&sites) {
            agent.ask(id, &site.next_hop);
            agent.report();
            eventually("no more connections than it may have", || open() <= 3);
        }
        // the last three are still there, and used again
        for (id, site) in (10..).zip(&sites[3..]) {
            agent.ask(id, &site.next_hop);
            agent.report();
            assert_eq!((site.open.load(Ordering::SeqCst), open()), (1, 3), "{name}");
        }
        assert_eq!(agent.stop(), 0, "{name}");
        eventually("all of them end", || open() == 0);
        let quits: usize = sites.iter().map(|site| site.quits.load(Ordering::SeqCst)).sum();
        assert_eq!(quits, 6, "{name}");
    }
}

/// Lets the site be silent until the message of a delivery is asked for again; gives the delivery's id.
fn wait_for_ask(
    agent: &mut Agent,
    site: &Site,
    talks: &AtomicBool,
    ids: &mut std::ops::RangeFrom<u64>,
) -> u64 {
    for id in ids.take(5) {
        talks.store(false, Ordering::SeqCst);
        agent.ask(id, &site.next_hop);
        // where nothing ran meanwhile, the answer may be seen before the time is
        std::thread::sleep(Duration::from_millis(1300));
        talks.store(true, Ordering::SeqCst);
        match agent.next() {
            AgentFrame::AskContent { id: asked } => {
                assert_eq!(asked, id);
                return id;
            }
            other => assert!(matches!(other, AgentFrame::Report(_)), "{other:?}"),
        }
    }
    panic!("it keeps the messages of deliveries that wait");
}

#[test]
fn the_event_driver_gives_a_message_back_while_it_waits_and_sends_what_it_gets_for_it() {
    let talks = Arc::new(AtomicBool::new(false));
    let site = Site::start(&talks);
    let mut agent = Agent::start(event::run, options(3, 1));
    let mut ids = 1..;
    let id = wait_for_ask(&mut agent, &site, &talks, &mut ids);
    // for a delivery that has given up, or that never was: nobody's
    agent.answer(id + 1, Some(b"another's\r\n"));
    agent.answer(id, Some(b"Subject: again\r\n\r\n.\r\n..\r\nend\r\n"));
    let report = agent.report();
    assert_eq!((report.id, report.outcome.recipients[0].disposition), (id, Disposition::Delivered));
    assert_eq!(*site.heard.lock().unwrap(), ["Subject: again", "", "..", "...", "end"]);
    let id = wait_for_ask(&mut agent, &site, &talks, &mut ids);
    agent.answer(id, None);
    let DeliveryReport { id: reported, outcome, .. } = agent.report();
    let status = &outcome.recipients[0];
    assert_eq!((reported, status.disposition, outcome.hop), (id, Disposition::Deferred, HopStatus::Up));
    assert!(status.enhanced.to_string() == "4.3.0" && status.text.contains("cannot be read"), "{status:?}");
    assert_eq!(agent.stop(), 0);
    assert!(site.heard.lock().unwrap().is_empty(), "nothing of it was sent");
}

#[test]
fn nonsense_from_the_queue_manager_ends_an_agent_at_once() {
    let said: Mutex<Vec<i32>> = Mutex::default();
    for (_, driver) in DRIVERS {
        for nonsense in [&[1, 0, 0, 0, 99][..], &[255; 64][..]] {
            let mut agent = Agent::start(driver, options(2, 1));
            agent.socket.write_all(nonsense).unwrap();
            eventually("it leaves", || agent.running.is_finished());
            said.lock().unwrap_or_else(PoisonError::into_inner).push(agent.stop());
        }
    }
    assert_eq!(said.into_inner().unwrap(), [1; 4]);
}
