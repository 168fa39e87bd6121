//! A site that answers line by line as the test says, and a port that is dead until then.

use super::PATIENCE;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

/// A message that was answered with 2xx.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Received {
    pub reverse_path: String,
    pub forward_paths: Vec<String>,
    /// Lines with CRLF, the dots of the wire removed.
    pub text: String,
}

pub struct ScriptedSite {
    pub address: String,
    received: Arc<Mutex<Vec<Received>>>,
}

/// What a site says that takes everything. The greeting is asked for by an empty line, the end of data by `.`.
pub fn accept(line: &str) -> String {
    let reply = match line.split(' ').next().unwrap_or("") {
        "" => "220 site.test ESMTP",
        "EHLO" => "250-site.test\r\n250-PIPELINING\r\n250 ENHANCEDSTATUSCODES",
        "DATA" => "354 go on",
        "QUIT" => "221 2.0.0 bye",
        _ => "250 2.0.0 fine",
    };
    format!("{reply}\r\n")
}

impl ScriptedSite {
    /// `script` gives the reply to each line; an empty one closes the connection.
    pub fn start(script: impl Fn(&str) -> String + Send + Sync + 'static) -> ScriptedSite {
        ScriptedSite::start_at(TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    fn start_at(
        listener: TcpListener,
        script: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> ScriptedSite {
        let address = listener.local_addr().unwrap().to_string();
        let received = Arc::new(Mutex::new(Vec::new()));
        let (script, book) = (Arc::new(script), received.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (script, book) = (script.clone(), book.clone());
                std::thread::spawn(move || drop(serve(stream, &*script, &book)));
            }
        });
        ScriptedSite { address, received }
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

/// A port that refuses connections until a site is opened there; nobody else can take it meanwhile.
pub struct DeadPort {
    socket: OwnedFd,
    pub address: String,
}

impl DeadPort {
    pub fn new() -> DeadPort {
        use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = SocketAddr::try_from(getsockname(&socket).unwrap()).unwrap().to_string();
        DeadPort { socket, address }
    }

    pub fn open(self, script: impl Fn(&str) -> String + Send + Sync + 'static) -> ScriptedSite {
        rustix::net::listen(&self.socket, 64).unwrap();
        ScriptedSite::start_at(TcpListener::from(self.socket), script)
    }
}

fn serve(stream: TcpStream, script: &dyn Fn(&str) -> String, book: &Mutex<Vec<Received>>) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let (mut output, mut input) = (stream.try_clone()?, BufReader::new(stream));
    let mut say = |reply: &str| match reply {
        "" => Err(io::ErrorKind::ConnectionAborted.into()),
        reply => output.write_all(reply.as_bytes()),
    };
    say(&script(""))?;
    let (mut reverse_path, mut forward_paths) = (None, Vec::new());
    while let Some(line) = read_line(&mut input)? {
        let reply = script(&line);
        let path = |line: &str| line.split(['<', '>']).nth(1).unwrap_or("").to_owned();
        if line.starts_with("MAIL FROM:") {
            (reverse_path, forward_paths) = (reply.starts_with('2').then(|| path(&line)), Vec::new());
        } else if line.starts_with("RCPT TO:") && reply.starts_with('2') {
            forward_paths.push(path(&line));
        }
        say(&reply)?;
        if line == "DATA" && reply.starts_with('3') {
            let mut text = String::new();
            loop {
                let Some(line) = read_line(&mut input)? else { return Ok(()) };
                if line == "." {
                    break;
                }
                text.push_str(line.strip_prefix('.').unwrap_or(&line));
                text.push_str("\r\n");
            }
            let reply = script(".");
            // who pipelines ends with a lone dot what has no sender or recipients: that is no message
            if let (true, false, Some(reverse_path)) =
                (reply.starts_with('2'), forward_paths.is_empty(), reverse_path.take())
            {
                let forward_paths = std::mem::take(&mut forward_paths);
                book.lock().unwrap().push(Received { reverse_path, forward_paths, text });
            }
            say(&reply)?;
        }
    }
    Ok(())
}

/// A line without its CRLF; `None` at the end of the connection.
fn read_line(input: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    Ok(line.strip_suffix("\r\n").map(str::to_owned))
}
