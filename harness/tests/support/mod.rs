//! Real processes for the end-to-end tests: the built executable in its roles, and clients and sites of raw text
//! that share no SMTP code with it.
#![allow(dead_code, reason = "each test file is a program of its own and uses a part")]

pub mod operator;
pub mod scripted;

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// No single wait in a test is longer.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Every driver, and the event driver inside the queue manager's process.
pub const DRIVERS: [&str; 4] = ["blocking", "threads", "event", "within"];

/// The keys of `[delivery]` that give a driver so many connections.
pub fn dial(driver: &str, connections: usize) -> String {
    match driver {
        "blocking" => format!("driver = \"blocking\"\nagents_max = {connections}\n"),
        "within" => format!("driver = \"event\"\nagents_max = 0\nconnections_per_agent = {connections}\n"),
        many => format!("driver = \"{many}\"\nagents_max = 1\nconnections_per_agent = {connections}\n"),
    }
}

pub fn mailrig() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mailrig"));
    command.stdin(Stdio::null());
    command
}

/// Runs a test for each case, all of them at the same time: they wait more than they work.
pub fn at_once<T: Send>(cases: impl IntoIterator<Item = T>, test: impl Fn(T) + Sync) {
    std::thread::scope(|scope| {
        for case in cases {
            scope.spawn(|| test(case));
        }
    });
}

/// Waits until `what` holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A child that does not outlive its test.
pub struct Process {
    pub child: Child,
}

impl Process {
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn signal(&self, signal: &str) {
        kill(self.pid(), signal);
    }

    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the child ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn kill(pid: i32, signal: &str) {
    let _ =
        Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).stderr(Stdio::null()).status();
}

pub fn alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // a zombie is gone but for its parent's asking, once its threads are: one in a sync still holds the spool's lock
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && (!rest.starts_with('Z') || threads > 1))
}

/// Starts a role that says `ready ADDRESS`; gives the address of its first listener.
fn start_ready(mut command: Command) -> (Process, String) {
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut process = Process { child };
    let mut lines = BufReader::new(process.child.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("ready ").unwrap_or_else(|| panic!("said {line:?}, not ready"));
    std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
    (process, address.to_owned())
}

/// `mailrig sink` with a ledger.
pub struct Sink {
    pub process: Process,
    pub address: String,
    ledger: PathBuf,
}

impl Sink {
    pub fn start(folder: &Path, name: &str, arguments: &[&str]) -> Sink {
        Sink::start_at(folder, name, "127.0.0.1:0", arguments)
    }

    pub fn start_at(folder: &Path, name: &str, listen: &str, arguments: &[&str]) -> Sink {
        let ledger = folder.join(format!("{name}.json"));
        let mut command = mailrig();
        command.args(["sink", "--ids", "--listen", listen, "--ledger"]).arg(&ledger).args(arguments);
        let (process, address) = start_ready(command);
        Sink { process, address, ledger }
    }

    pub fn stop(mut self) -> Value {
        assert!(self.process.terminate().success());
        serde_json::from_str(&std::fs::read_to_string(&self.ledger).unwrap()).unwrap()
    }
}

/// `mailrig mta run` on a spool in `folder`, its log in `folder/log`.
pub struct Mta {
    pub process: Process,
    pub address: String,
    pub folder: PathBuf,
}

/// A configuration without what the test adds; `tables` come last, as TOML wants it.
pub fn configuration(folder: &Path, keys: &str, tables: &str) -> String {
    let folder = folder.display();
    let listen = if keys.contains("listen") { "" } else { "listen = [\"127.0.0.1:0\"]" };
    format!(
        "{listen}\nspool = \"{folder}/spool\"\ncontrol = \"{folder}/control\"\nlog = \"{folder}/log\"\n\
         hostname = \"mx.test\"\n{keys}\n{tables}\n"
    )
}

impl Mta {
    pub fn start(folder: &Path, keys: &str, tables: &str) -> Mta {
        Mta::start_by(mailrig(), folder, keys, tables)
    }

    /// By a command that has no arguments yet.
    pub fn start_by(mut command: Command, folder: &Path, keys: &str, tables: &str) -> Mta {
        let config = folder.join("mta.toml");
        std::fs::write(&config, configuration(folder, keys, tables)).unwrap();
        command.args(["mta", "run", "--config"]).arg(config);
        let (process, address) = start_ready(command);
        Mta { process, address, folder: folder.to_owned() }
    }

    pub fn control(&self, command: &str) -> Value {
        let answer = self.ask(command);
        assert_eq!(answer["ok"], true, "{answer}");
        answer
    }

    /// As `control`, whatever the answer is.
    pub fn ask(&self, command: &str) -> Value {
        let mut socket = UnixStream::connect(self.folder.join("control")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        writeln!(socket, "{{\"command\":\"{command}\"}}").unwrap();
        let mut line = String::new();
        BufReader::new(socket).read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    pub fn wait_drained(&self) -> Value {
        let mut status = Value::Null;
        eventually("the queue drains", || {
            status = self.control("status");
            ["incoming", "active", "due", "deferred"].iter().all(|key| status[key] == 0)
        });
        status
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// The pids of queue manager, reception and agents.
    pub fn pids(&self) -> Vec<i32> {
        let pids = &self.control("status")["pids"];
        let number = |value: &Value| value.as_i64().unwrap() as i32;
        let mut all = vec![number(&pids["queue"]), number(&pids["reception"])];
        all.extend(pids["agents"].as_array().unwrap().iter().map(number));
        all
    }

    /// Messages in its queue, whether it runs or not, by what `mailrig queue list` says.
    pub fn queued(&self) -> usize {
        let config = self.folder.join("mta.toml");
        let output = mailrig().args(["queue", "list", "--json", "--config"]).arg(config).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout.iter().filter(|byte| **byte == b'\n').count()
    }

    /// Queue files, wherever in the spool they are.
    pub fn queue_files(&self) -> Vec<PathBuf> {
        queue_files(&self.folder.join("spool"))
    }
}

/// Files named like a queue id below a spool.
pub fn queue_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(queue_files(&path));
        } else if name.len() >= 12 && name.bytes().all(|b| b.is_ascii_hexdigit()) {
            found.push(path);
        }
    }
    found
}

/// A client of raw text.
pub struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(address: &str) -> Client {
        Client::over(TcpStream::connect(address).unwrap())
    }

    pub fn over(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { reader: BufReader::new(stream) }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).unwrap();
    }

    /// The last line of the next reply; empty when the server has gone.
    pub fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            match self.reader.read_line(&mut line) {
                Ok(0) | Err(_) => return String::new(),
                Ok(_) if line.as_bytes().get(3) == Some(&b'-') => {}
                Ok(_) => return line.trim_end().to_owned(),
            }
        }
    }

    pub fn say(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n").as_bytes());
        self.reply()
    }

    /// Greeting and EHLO.
    pub fn hello(&mut self) {
        assert!(self.reply().starts_with("220"));
        assert!(self.say("EHLO client.test").starts_with("250"));
    }

    /// One transaction; `content` is dot-stuffed already and ends in CR LF. Gives the reply to the dot.
    pub fn mail(&mut self, from: &str, to: &[&str], content: &[u8]) -> String {
        let refused = |reply: &str| !reply.starts_with('2') && !reply.starts_with('3');
        let mut reply = self.say(&format!("MAIL FROM:<{from}>"));
        for to in to {
            if refused(&reply) {
                return reply;
            }
            reply = self.say(&format!("RCPT TO:<{to}>"));
        }
        if !refused(&reply) {
            reply = self.say("DATA");
        }
        if refused(&reply) {
            return reply;
        }
        self.send(content);
        self.send(b".\r\n");
        self.reply()
    }
}

/// Each message as it came: envelope lines, then the content as on the wire.
pub type Kept = Mutex<Vec<(String, Vec<u8>)>>;

/// A site of raw text that takes everything and keeps it.
pub struct Site {
    pub address: String,
    pub messages: Arc<Kept>,
}

impl Site {
    /// Answers RCPT with what `rcpt` says.
    pub fn start(rcpt: &'static str) -> Site {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let messages = Arc::new(Kept::default());
        let kept = messages.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = kept.clone();
                std::thread::spawn(move || drop(serve(stream, rcpt, &kept)));
            }
        });
        Site { address, messages }
    }
}

fn serve(stream: TcpStream, rcpt: &str, kept: &Kept) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    writer.write_all(b"220 site.test\r\n")?;
    let mut envelope = String::new();
    loop {
        let mut line = String::new();
        if reader.by_ref().take(4096).read_line(&mut line)? == 0 {
            return Ok(());
        }
        let answer = match line.get(..4).unwrap_or("") {
            "RCPT" => rcpt,
            "DATA" => "354 go",
            "QUIT" => return writer.write_all(b"221 bye\r\n"),
            _ => "250 ok",
        };
        if line.starts_with("MAIL") {
            envelope.clear();
        }
        envelope.push_str(&line);
        writer.write_all(format!("{answer}\r\n").as_bytes())?;
        if line.starts_with("DATA") {
            let mut content = Vec::new();
            while !content.ends_with(b"\r\n.\r\n") {
                if reader.read_until(b'\n', &mut content)? == 0 {
                    return Ok(());
                }
            }
            content.truncate(content.len() - 3);
            kept.lock().unwrap().push((envelope.clone(), content));
            writer.write_all(b"250 2.0.0 kept\r\n")?;
        }
    }
}
