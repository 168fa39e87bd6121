//! A client that knows nothing of SMTP but lines: it plays dialogues as they are written.
//!
//! Shares no code with the product, so that a mistake cannot cancel itself out.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

pub struct Peer {
    pub stream: BufReader<TcpStream>,
}

impl Peer {
    pub fn connect(address: SocketAddr) -> Peer {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Peer { stream: BufReader::new(stream) }
    }

    /// Connects and says EHLO.
    pub fn greeted(address: SocketAddr) -> Peer {
        let mut peer = Peer::connect(address);
        peer.play("S: 220 \nC: EHLO client.test\nS: 250");
        peer
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// One reply, its lines joined by `\n`, without CR LF; empty at the end of the connection.
    pub fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            let whole = line.is_empty() || line.ends_with("\r\n");
            assert!(whole, "cut or badly ended line {line:?}");
            reply += line.trim_end_matches("\r\n");
            if line.as_bytes().get(3) != Some(&b'-') {
                return reply;
            }
            reply.push('\n');
        }
    }

    pub fn code(&mut self) -> u16 {
        let reply = self.reply();
        reply.get(..3).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no code in {reply:?}"))
    }

    /// Plays a dialogue: `C: ` lines are sent (successive ones in one write, `\r\n` added), `S: ` lines are the
    /// beginnings of the replies to come, `S:` alone is the end of the connection. Returns how long each reply took
    /// since what stands before it.
    pub fn play(&mut self, dialogue: &str) -> Vec<Duration> {
        let mut times = Vec::new();
        let mut commands = String::new();
        let mut since = Instant::now();
        for line in dialogue.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match line.split_at(2) {
                ("C:", command) => {
                    commands += command.strip_prefix(' ').unwrap_or(command);
                    commands += "\r\n";
                }
                ("S:", wanted) => {
                    if !commands.is_empty() {
                        // before it is sent: whoever loses the core in between would measure too little
                        since = Instant::now();
                        self.send(std::mem::take(&mut commands));
                    }
                    let reply = self.reply();
                    let wanted = wanted.trim_start();
                    let fits = if wanted.is_empty() { reply.is_empty() } else { reply.starts_with(wanted) };
                    assert!(fits, "wanted {wanted:?}, got {reply:?}");
                    times.push(since.elapsed());
                    since = Instant::now();
                }
                _ => panic!("neither C: nor S: in {line:?}"),
            }
        }
        self.send(commands);
        times
    }

    /// One transaction with this content, from MAIL to the code of the reply to the dot.
    pub fn mail(&mut self, content: &str) -> u16 {
        self.send("MAIL FROM:<a@client.test>\r\nRCPT TO:<b@sink.test>\r\nDATA\r\n");
        assert_eq!([self.code(), self.code(), self.code()], [250, 250, 354]);
        self.send(format!("{content}\r\n.\r\n"));
        self.code()
    }

    /// Whether the sink has closed: the end comes, or a reset.
    pub fn is_closed(&mut self) -> bool {
        match self.stream.read(&mut [0; 512]) {
            Ok(bytes) => bytes == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

/// Longer than any test has to wait.
const PATIENCE: Duration = Duration::from_secs(20);
