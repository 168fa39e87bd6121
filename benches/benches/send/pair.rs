//! `mailrig send` into `mailrig sink`, beside smtp-source into smtp-sink.
//!
//! In each block both pairs get the same kind of load, in fresh processes, one right after the other, the first of one
//! block being the second of the next; so what a slow minute of the machine does, it does to both. A pair sends as many
//! messages as take it about a second. Messages a second are by the clock around the sender's whole command, which
//! includes its start and end; processor time is that of a process's whole life, as wait4(2) tells it.

use crate::sender::{self, Sender};
use crate::{GRACE, Stage, kept};
use benches::postfix::Postfix;
use benches::process::Process;
use benches::request::Size;
use measure::statistics::Sorted;
use measure::{Table, spread};
use std::time::{Duration, Instant};
use sys::process::End;

/// For a run, on whatever machine.
const RUN_BOUND: Duration = Duration::from_secs(60);
const SINK: &[&str] = &["sink", "--quiet", "--listen", "127.0.0.1:0"];
const SMALL: u64 = 4096;
const LARGE: u64 = 1024 * 1024;
/// With one session each waits for the other, and a second has so many times fewer messages.
const SLOWER_ALONE: u64 = 4;
/// Runs of one message each, to know what the start of the command takes.
const STARTS: u64 = 5;

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// Reuse and PIPELINING, which smtp-source does not have: beside its reuse.
    Pipelined,
    Reused,
    /// A connection for each message.
    Apart,
}

impl Mode {
    const ALL: [Mode; 3] = [Mode::Pipelined, Mode::Reused, Mode::Apart];

    fn as_str(self) -> &'static str {
        match self {
            Mode::Pipelined => "reuse, PIPELINING",
            Mode::Reused => "reuse",
            Mode::Apart => "connection each",
        }
    }

    fn options(self) -> &'static [&'static str] {
        match self {
            Mode::Pipelined => &[],
            Mode::Reused => &["--pipelining", "off"],
            Mode::Apart => &["--messages-per-connection", "1"],
        }
    }

    /// Messages a second, ours by theirs.
    fn goal(self) -> f64 {
        match self {
            Mode::Pipelined => 3.0,
            Mode::Reused => 2.0,
            Mode::Apart => 1.5,
        }
    }

    /// Small messages of a second on two cores of 2026, with several sessions: ours and theirs.
    fn messages(self) -> (u64, u64) {
        match self {
            Mode::Pipelined => (40_000, 12_000),
            Mode::Reused => (20_000, 12_000),
            Mode::Apart => (10_000, 6_000),
        }
    }
}

/// One load, and what came of it: a run a block.
struct Cell {
    sessions: u64,
    bytes: u64,
    mode: Mode,
    /// Ours and theirs.
    messages: (u64, u64),
    ours: Vec<Run>,
    theirs: Vec<Run>,
}

struct Run {
    messages_per_s: f64,
    sender_cpu_us: f64,
    receiver_cpu_us: f64,
    /// The sender's own word; smtp-source says nothing.
    own_messages_per_s: Option<f64>,
}

impl Cell {
    fn new(sessions: u64, bytes: u64, mode: Mode, divisor: u64) -> Cell {
        let (ours, theirs) = match (bytes, sessions) {
            // smtp-sink takes milliseconds for each
            (LARGE, _) => (1000, 120),
            (_, 1) => (mode.messages().0 / SLOWER_ALONE, mode.messages().1 / SLOWER_ALONE),
            _ => mode.messages(),
        };
        let messages = ((ours / divisor).max(sessions), (theirs / divisor).max(sessions));
        Cell { sessions, bytes, mode, messages, ours: Vec::new(), theirs: Vec::new() }
    }

    fn goal(&self) -> Option<f64> {
        (self.sessions >= 10 && self.bytes == SMALL).then(|| self.mode.goal())
    }
}

pub fn measure(stage: &Stage, size: Size) -> Result<(), String> {
    let Some(postfix) = stage.postfix else {
        println!("skipped: smtp-source and smtp-sink are not installed (apt-get install postfix)");
        return Ok(());
    };
    let pairs = Pairs { stage, postfix };
    let (sessions, blocks, divisor): (&[u64], _, _) = match size {
        Size::Full => (&[1, 10, 100, 500], 3, 1),
        Size::Tiny => (&[10], 1, 100),
    };
    println!("{}", pairs.describe());
    println!("{}", pairs.starts()?);
    let loads =
        [SMALL, LARGE].into_iter().flat_map(|bytes| sessions.iter().map(move |&sessions| (sessions, bytes)));
    let mut cells: Vec<Cell> = loads
        .flat_map(|(sessions, bytes)| Mode::ALL.map(|mode| Cell::new(sessions, bytes, mode, divisor)))
        .collect();
    for block in 0..blocks {
        eprintln!("block {} of {blocks}", block + 1);
        for cell in &mut cells {
            if block % 2 == 0 {
                cell.ours.push(pairs.run_ours(cell)?);
                cell.theirs.push(pairs.run_theirs(cell)?);
            } else {
                cell.theirs.push(pairs.run_theirs(cell)?);
                cell.ours.push(pairs.run_ours(cell)?);
            }
        }
    }
    print!("\nblocks: {blocks}; medians over them, and ranges; the ratio is that within a block\n");
    print!("{}", table(&cells));
    Ok(())
}

struct Pairs<'a> {
    stage: &'a Stage<'a>,
    postfix: &'a Postfix,
}

impl Pairs<'_> {
    /// The exact command lines, but for the port, which is another in every run.
    fn describe(&self) -> String {
        const ADDRESS: &str = "127.0.0.1:PORT";
        let (mailrig, postfix) = (self.stage.rig.mailrig.display(), self.postfix);
        let load = words("SESSIONS", "MESSAGES", "BYTES", &["[OPTIONS]"]);
        let source = Postfix::source_arguments(true, ["SESSIONS", "MESSAGES", "BYTES"], ADDRESS);
        let mut lines = vec![
            format!("ours:   {mailrig} {}", sender::words(ADDRESS, &load).join(" ")),
            format!("        {mailrig} {}", SINK.join(" ")),
            format!("theirs: {} {}", postfix.source.display(), source.join(" ")),
            format!("        {} {}", postfix.sink.display(), Postfix::sink_arguments(ADDRESS).join(" ")),
        ];
        for mode in Mode::ALL {
            let ours = if mode.options().is_empty() { "-".to_owned() } else { mode.options().join(" ") };
            let theirs = if mode == Mode::Apart { "without -d" } else { "-d" };
            lines.push(format!("{}: OPTIONS {ours}; smtp-source {theirs}", mode.as_str()));
        }
        lines.join("\n")
    }

    /// How long each sender takes for one message.
    fn starts(&self) -> Result<String, String> {
        let cell = Cell { messages: (1, 1), ..Cell::new(1, SMALL, Mode::Pipelined, 1) };
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..STARTS {
            ours.push(1e3 / self.run_ours(&cell)?.messages_per_s);
            theirs.push(1e3 / self.run_theirs(&cell)?.messages_per_s);
        }
        let [ours, theirs] = [ours, theirs].map(|values| {
            let values = Sorted::new(values).expect("there is a run");
            spread(values.median(), values.min(), values.max())
        });
        Ok(format!("start-up, as the time of a command for one message: ours {ours} ms, theirs {theirs} ms"))
    }

    fn run_ours(&self, cell: &Cell) -> Result<Run, String> {
        let rig = self.stage.rig;
        let (sink, address) = rig.sink(SINK)?;
        let numbers = [cell.sessions, cell.messages.0, cell.bytes].map(|number| number.to_string());
        let load = words(&numbers[0], &numbers[1], &numbers[2], cell.mode.options());
        let sent = Sender::start(rig, address, &load)?.wait(RUN_BOUND)?;
        let sink = sink.terminate(GRACE)?;
        sent.check()?;
        let own = Some(sent.figure("/throughput_msg_per_s")?);
        Ok(Run::new(cell.messages.0, sent.elapsed, [sent.cpu_ns, sink.cpu_ns], own))
    }

    fn run_theirs(&self, cell: &Cell) -> Result<Run, String> {
        let rig = self.stage.rig;
        let (sink, address) = self.postfix.start_sink(rig)?;
        let numbers = [cell.sessions, cell.messages.1, cell.bytes].map(|number| number.to_string());
        let [sessions, messages, bytes] = &numbers;
        let reuse = cell.mode != Mode::Apart;
        let arguments = Postfix::source_arguments(reuse, [sessions, messages, bytes], &address.to_string());
        let began = Instant::now();
        let source = Process::start("smtp-source", rig.command(&self.postfix.source).args(arguments))?;
        let source = source.wait(RUN_BOUND)?;
        let elapsed = began.elapsed();
        let sink = sink.terminate(GRACE)?;
        // it gives up at the first reply that it does not like, so all messages were taken
        if source.end != End::Status(0) {
            return Err(format!("smtp-source ended with {:?}, the sink with {:?}", source.end, sink.end));
        }
        Ok(Run::new(cell.messages.1, elapsed, [source.cpu_ns, sink.cpu_ns], None))
    }
}

impl Run {
    fn new(messages: u64, elapsed: Duration, cpu_ns: [u64; 2], own_messages_per_s: Option<f64>) -> Run {
        let messages = messages as f64;
        let [sender_cpu_us, receiver_cpu_us] = cpu_ns.map(|ns| ns as f64 / 1e3 / messages);
        let messages_per_s = messages / elapsed.as_secs_f64();
        Run { messages_per_s, sender_cpu_us, receiver_cpu_us, own_messages_per_s }
    }

    /// How much more its own throughput is than that by the clock around it, in per cent.
    fn excess_percent(&self) -> Option<f64> {
        Some((self.own_messages_per_s? / self.messages_per_s - 1.0) * 100.0)
    }
}

/// Options of `mailrig send`.
fn words<'a>(sessions: &'a str, messages: &'a str, bytes: &'a str, options: &[&'a str]) -> Vec<&'a str> {
    let load = ["--connections", sessions, "--messages", messages, "--size", bytes];
    load.into_iter().chain(options.iter().copied()).collect()
}

fn table(cells: &[Cell]) -> String {
    let mut table = Table::new(&[
        "sessions",
        "bytes",
        "mode",
        "messages",
        "figure",
        "ours",
        "theirs",
        "ratio",
        "goal for the ratio",
    ]);
    for cell in cells {
        table.rule();
        let load = [cell.sessions, cell.bytes].map(|number| number.to_string());
        let messages = format!("{}, {}", cell.messages.0, cell.messages.1);
        let (rate, ratio) = figure(cell, |run| run.messages_per_s);
        let goal = cell.goal().map(|goal| format!("at least {goal}: {}", kept(ratio >= goal)));
        let words = [cell.mode.as_str().to_owned(), messages, "messages/s".to_owned()];
        table.row(load.into_iter().chain(words).chain(rate).chain([goal.unwrap_or_default()]));
        let mut row = |name: &str, figures: [String; 3]| {
            table.row(
                ["", "", "", "", name].map(str::to_owned).into_iter().chain(figures).chain([String::new()]),
            );
        };
        row("sender CPU us/message", figure(cell, |run| run.sender_cpu_us).0);
        row("receiver CPU us/message", figure(cell, |run| run.receiver_cpu_us).0);
        let excess = Sorted::new(cell.ours.iter().filter_map(Run::excess_percent)).expect("ours says it");
        let excess = spread(excess.median(), excess.min(), excess.max());
        row("its own word over the clock, %", [excess, String::new(), String::new()]);
    }
    table.render()
}

/// Ours, theirs and the ratio in words, and the median ratio.
fn figure(cell: &Cell, of: fn(&Run) -> f64) -> ([String; 3], f64) {
    let of_all = |runs: &[Run]| runs.iter().map(of).collect::<Vec<f64>>();
    let (ours, theirs) = (of_all(&cell.ours), of_all(&cell.theirs));
    let ratios = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect();
    let [ours, theirs, ratios] =
        [ours, theirs, ratios].map(|values| Sorted::new(values).expect("each block has a run of each pair"));
    let median = ratios.median();
    ([ours, theirs, ratios].map(|values| spread(values.median(), values.min(), values.max())), median)
}
