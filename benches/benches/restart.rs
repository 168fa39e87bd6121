//! A start with a million deferred messages in the spool: how long until new mail is accepted and due mail delivered,
//! and what a message that waits takes in memory.
//!
//! `cargo bench --bench restart` (a minute, 5 GB of disk). `RESTART_MESSAGES=10000000 RESTART_BYTES=100` has ten times
//! as many that are smaller; `RESTART_STORE=files` keeps them in a file each; `RESTART_COLD=1` has the system forget its
//! cache before the start, which only root can. The time is the clock's around `mailrig mta run`; memory is what is
//! private to the queue manager (USS), beside that of one without mail.

use benches::process::Process;
use benches::request::{self, Size};
use benches::rig::{Rig, START_BOUND};
use delivery::{Envelope, EpochMs};
use rustix::process::Pid;
use serde_json::Value;
use smtp::{ForwardPath, ReversePath};
use spool::files::FilesSpool;
use spool::segments::SegmentSpool;
use spool::{Change, Durability, Spool, Status};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use subject::process::memory;

const START_GOAL: Duration = Duration::from_secs(10);
const RUN_BOUND: Duration = Duration::from_secs(300);
/// Until upkeep is done with what the start left to it.
const SETTLES: Duration = Duration::from_secs(2);
/// Committed at once.
const GROUP: usize = 2000;
/// Of all messages; they are due at once.
const DUE: u64 = 100;
const DESTINATIONS: u64 = 1000;
/// The others are due in the next hour.
const SPREAD_MS: u64 = 3_600_000;

fn main() -> ExitCode {
    let Some(size) = request::size("restart", std::env::args().skip(1)) else { return ExitCode::SUCCESS };
    match measure(size) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("restart: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn number(name: &str, otherwise: u64) -> Result<u64, String> {
    match std::env::var(name) {
        Ok(text) => text.parse().map_err(|_| format!("{name} is `{text}`, not a number")),
        Err(_) => Ok(otherwise),
    }
}

fn measure(size: Size) -> Result<(), String> {
    let messages = number("RESTART_MESSAGES", if size == Size::Full { 1_000_000 } else { 5000 })?;
    let bytes = number("RESTART_BYTES", 4096)?;
    let store = std::env::var("RESTART_STORE").unwrap_or_else(|_| "segments".to_owned());
    let rig = Rig::start()?;
    println!("{}{}", rig.describe("")?, size.warning());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("restart-{}", std::process::id()));
    let outcome = run(&rig, &folder, &store, messages, bytes as usize);
    std::fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    outcome?;
    rig.finish();
    Ok(())
}

fn run(rig: &Rig, folder: &Path, store: &str, messages: u64, bytes: usize) -> Result<(), String> {
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let (mut sink, to) = {
        let mut command = rig.command(&rig.mailrig);
        command.args(["sink", "--json", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
        let mut sink = Process::start("mailrig sink", &mut command)?;
        let line = sink.line(START_BOUND)?;
        let address = line.strip_prefix("ready ").and_then(|address| address.parse::<SocketAddr>().ok());
        (sink, address.ok_or_else(|| format!("mailrig sink said {line:?}"))?)
    };
    let empty = start(rig, folder, "empty", store, to)?.0;
    let base = private_bytes(&folder.join("empty/control"))?;
    drop(empty);

    let filling = Instant::now();
    fill(&folder.join("full/spool"), store, messages, bytes)?;
    println!("{messages} deferred messages of {bytes} bytes in {store}: filled in {:.1} s", secs(filling));
    if std::env::var_os("RESTART_COLD").is_some() {
        rustix::fs::sync();
        let dropped = std::fs::write("/proc/sys/vm/drop_caches", "3");
        dropped.map_err(|error| format!("dropping the system's cache: {error}"))?;
    }
    let began = Instant::now();
    let (mta, address) = start(rig, folder, "full", store, to)?;
    accept_one(address)?;
    let accepted = began.elapsed();
    let end = Instant::now() + RUN_BOUND;
    let delivered = loop {
        let line = sink.line(START_BOUND)?;
        let live: Value = serde_json::from_str(&line).map_err(|error| format!("the sink: {error}"))?;
        if live["accepted"].as_u64() > Some(DUE) {
            break began.elapsed();
        }
        if Instant::now() > end {
            return Err(format!("due mail is not delivered: {live}"));
        }
    };
    std::thread::sleep(SETTLES);
    let private = private_bytes(&folder.join("full/control"))?.saturating_sub(base);
    let word = |took: Duration| if took <= START_GOAL { "kept" } else { "missed" };
    let goal = START_GOAL.as_secs();
    println!("new mail accepted after {:.2} s (goal {goal} s: {})", accepted.as_secs_f64(), word(accepted));
    println!(
        "new and due mail ({} messages) delivered after {:.2} s (goal {goal} s: {})",
        DUE + 1,
        delivered.as_secs_f64(),
        word(delivered)
    );
    println!("memory of a waiting message: {:.1} bytes", private as f64 / messages as f64);
    mta.terminate(START_BOUND)?;
    sink.terminate(START_BOUND)?;
    Ok(())
}

fn secs(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}

/// An MTA in a folder of its own, ready, and its address.
fn start(
    rig: &Rig,
    folder: &Path,
    name: &str,
    store: &str,
    to: SocketAddr,
) -> Result<(Process, SocketAddr), String> {
    let folder = folder.join(name);
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let shown = folder.display();
    let text = format!(
        "listen = [\"127.0.0.1:0\"]\nhostname = \"mx.test\"\nspool = \"{shown}/spool\"\nstore = \"{store}\"\n\
         control = \"{shown}/control\"\nlog = \"{shown}/log\"\nrelayhost = \"{to}\"\n\
         [delivery]\ndriver = \"event\"\nagents_max = 1\n"
    );
    std::fs::write(folder.join("mta.toml"), text).map_err(failed)?;
    let mut command = rig.command(&rig.mailrig);
    command.args(["mta", "run", "--config"]).arg(folder.join("mta.toml")).stdout(Stdio::piped());
    let mut mta = Process::start("mailrig mta", &mut command)?;
    let line = mta.line(RUN_BOUND)?;
    let address = line.strip_prefix("ready ").and_then(|address| address.parse().ok());
    Ok((mta, address.ok_or_else(|| format!("mailrig mta said {line:?}"))?))
}

fn accept_one(address: SocketAddr) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("sending a message: {error}");
    let mut stream = BufReader::new(TcpStream::connect(address).map_err(failed)?);
    stream.get_ref().set_read_timeout(Some(START_BOUND)).map_err(failed)?;
    let lines = ["", "EHLO client.test", "MAIL FROM:<new@a.test>", "RCPT TO:<r@b.test>", "DATA", "new\r\n."];
    for text in lines {
        if !text.is_empty() {
            stream.get_mut().write_all(format!("{text}\r\n").as_bytes()).map_err(failed)?;
        }
        loop {
            let mut reply = String::new();
            stream.read_line(&mut reply).map_err(failed)?;
            if !reply.starts_with(['2', '3']) {
                return Err(format!("`{text}` was answered by {reply:?}"));
            }
            if reply.as_bytes().get(3) == Some(&b' ') {
                break;
            }
        }
    }
    Ok(())
}

fn private_bytes(control: &Path) -> Result<u64, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", control.display());
    let mut socket = BufReader::new(UnixStream::connect(control).map_err(failed)?);
    socket.get_mut().write_all(b"{\"command\":\"status\"}\n").map_err(failed)?;
    let mut line = String::new();
    socket.read_line(&mut line).map_err(failed)?;
    let status: Value = serde_json::from_str(&line).map_err(|error| failed(error.into()))?;
    let pid = status["pids"]["queue"].as_i64().and_then(|pid| Pid::from_raw(pid as i32));
    let memory = pid.and_then(memory).ok_or("the queue manager's memory can't be read")?;
    Ok(memory.uss_bytes)
}

fn fill(path: &Path, store: &str, messages: u64, bytes: usize) -> Result<(), String> {
    let parent = path.parent().expect("it is in a folder");
    std::fs::create_dir_all(parent).map_err(|error| format!("{}: {error}", parent.display()))?;
    let spool: Box<dyn Spool> = match store {
        "files" => Box::new(FilesSpool::open(path, Durability::None).map_err(|error| error.to_string())?),
        _ => Box::new(SegmentSpool::open(path, Durability::None).map_err(|error| error.to_string())?),
    };
    spool.recover(&mut |_, _| {}).map_err(|error| error.to_string())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let content = vec![b'x'; bytes];
    let numbers: Vec<u64> = (0..messages).collect();
    for numbers in numbers.chunks(GROUP) {
        let mut changes = Vec::with_capacity(numbers.len());
        for number in numbers {
            let recipient = format!("r{number}@d{}.test", number % DESTINATIONS);
            let envelope = Envelope {
                received: EpochMs(now - 60_000),
                reverse_path: ReversePath::Mailbox("sender@a.test".parse().expect("a mailbox")),
                recipients: vec![ForwardPath::Mailbox(recipient.parse().expect("a mailbox"))],
                eight_bit: false,
            };
            let mut incoming = spool.begin(envelope).map_err(|error| error.to_string())?;
            incoming.write(&content).map_err(|error| error.to_string())?;
            changes.push(Change::Commit(incoming));
        }
        let mut updates = Vec::with_capacity(numbers.len());
        for (number, result) in numbers.iter().zip(spool.apply(changes)) {
            let id = result.map_err(|error| error.to_string())?;
            let due = if *number < DUE { now } else { now + 60_000 + number * 7919 % SPREAD_MS };
            let states = vec![delivery::RecipientState::Pending];
            let status = Status { states, attempts: 1, due: EpochMs(due), held: false };
            updates.push(Change::Update { id, status });
        }
        for result in spool.apply(updates) {
            result.map_err(|error| error.to_string())?;
        }
        // the MTA's upkeep does so beside everything else
        while spool.tend().map_err(|error| error.to_string())? {}
    }
    Ok(())
}
