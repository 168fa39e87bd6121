//! `mailrig sink` beside Postfix's smtp-sink: how many messages a second each takes from the same smtp-source, and
//! what a message costs it in processor time.
//!
//! `cargo bench --bench sink` (about four minutes). Needs smtp-source and smtp-sink, which are in Debian's package postfix;
//! Postfix itself need not be configured or run. Builds the mailrig executable.
//!
//! Beside both stands the floor, which does nothing but answer: where it is over half of smtp-sink's CPU, no sink can be
//! under that goal.
//!
//! In each block all get the same load, each in a fresh process, one right after the other, the first of one
//! block being the last of the next; so what a slow minute of the machine does, it does to all. Load and sink share
//! the cores. The processor time is that of the whole life of the sink's process, as wait4(2) tells it.

use benches::floor;
use benches::postfix::Postfix;
use benches::process::Process;
use benches::request::{self, Size};
use benches::rig::Rig;
use measure::statistics::Sorted;
use measure::{Table, spread};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use sys::process::End;

const MESSAGE_BYTES: &str = "4096";
/// CPU a message, ours by smtp-sink's.
const GOAL_RATIO: f64 = 0.5;
/// A second or two on two cores of 2026; without reuse a message costs thrice as much.
const MESSAGES_REUSED: u64 = 30_000;
const MESSAGES_APART: u64 = 10_000;
/// For a run, on whatever machine.
const RUN_BOUND: Duration = Duration::from_secs(60);
/// For a sink to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|argument| argument == floor::FLOOR) {
        return floor::serve();
    }
    let Some(size) = request::size("sink", std::env::args().skip(1)) else { return ExitCode::SUCCESS };
    let Some(postfix) = Postfix::find() else {
        println!("skipped: smtp-source and smtp-sink are not installed (apt-get install postfix)");
        return ExitCode::SUCCESS;
    };
    match compare(&postfix, size) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("sink: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn compare(postfix: &Postfix, size: Size) -> Result<(), String> {
    let rig = Rig::start()?;
    let stage = Stage { rig: &rig, postfix };
    println!("{}{}", stage.describe()?, size.warning());
    let (sessions, blocks, divisor): (&[u64], _, _) = match size {
        Size::Full => (&[10, 100, 500], 4, 1),
        Size::Tiny => (&[10], 1, 100),
    };
    let cells = sessions.iter().flat_map(|&sessions| {
        [(true, MESSAGES_REUSED), (false, MESSAGES_APART)]
            .map(|(reuse, messages)| Cell::new(Load { sessions, reuse, messages: messages / divisor }))
    });
    let mut cells: Vec<Cell> = cells.collect();
    for block in 0..blocks {
        eprintln!("block {} of {blocks}", block + 1);
        for cell in &mut cells {
            if block % 2 == 0 {
                cell.ours.push(stage.run_ours(&cell.load)?);
                cell.floor.push(stage.run_floor(&cell.load)?);
                cell.theirs.push(stage.run_theirs(&cell.load)?);
            } else {
                cell.theirs.push(stage.run_theirs(&cell.load)?);
                cell.floor.push(stage.run_floor(&cell.load)?);
                cell.ours.push(stage.run_ours(&cell.load)?);
            }
        }
    }
    rig.finish();
    print!("{}", table(&cells));
    Ok(())
}

struct Load {
    sessions: u64,
    /// All messages of a session over one connection, or a connection each.
    reuse: bool,
    messages: u64,
}

/// One load, and what came of it: a run a block.
struct Cell {
    load: Load,
    ours: Vec<Run>,
    floor: Vec<Run>,
    theirs: Vec<Run>,
}

impl Cell {
    fn new(load: Load) -> Cell {
        Cell { load, ours: Vec::new(), floor: Vec::new(), theirs: Vec::new() }
    }
}

struct Run {
    messages_per_s: f64,
    cpu_us_per_message: f64,
}

struct Stage<'a> {
    rig: &'a Rig,
    postfix: &'a Postfix,
}

impl Stage<'_> {
    /// The conditions: the exact command lines, but for the port, which is another in every run.
    fn describe(&self) -> Result<String, String> {
        let (rig, postfix) = (self.rig, self.postfix);
        let load = ["SESSIONS", "MESSAGES", MESSAGE_BYTES];
        let load = Postfix::source_arguments(true, load, "127.0.0.1:PORT").join(" ");
        let lines = [
            rig.describe(&format!(", Postfix {}", postfix.version))?,
            format!("mailrig:   {} {}", rig.mailrig.display(), SINK_ARGUMENTS.join(" ")),
            format!(
                "smtp-sink: {} {}",
                postfix.sink.display(),
                Postfix::sink_arguments("127.0.0.1:PORT").join(" ")
            ),
            format!("load:      {} {load}", postfix.source.display()),
            "           without -d where each message has a connection of its own".to_owned(),
        ];
        Ok(lines.join("\n"))
    }

    fn run_ours(&self, load: &Load) -> Result<Run, String> {
        let (sink, address) = self.rig.sink(SINK_ARGUMENTS)?;
        self.run(sink, address, load)
    }

    fn run_floor(&self, load: &Load) -> Result<Run, String> {
        let (floor, address) = floor::start(self.rig)?;
        self.run(floor, address, load)
    }

    fn run_theirs(&self, load: &Load) -> Result<Run, String> {
        let (sink, address) = self.postfix.start_sink(self.rig)?;
        self.run(sink, address, load)
    }

    fn run(&self, sink: Process, address: SocketAddr, load: &Load) -> Result<Run, String> {
        let (sessions, messages) = (load.sessions.to_string(), load.messages.to_string());
        let words = [sessions.as_str(), &messages, MESSAGE_BYTES];
        let arguments = Postfix::source_arguments(load.reuse, words, &address.to_string());
        let began = Instant::now();
        let source = Process::start("smtp-source", self.rig.command(&self.postfix.source).args(arguments))?;
        let source = source.wait(RUN_BOUND)?;
        let elapsed = began.elapsed();
        let sink = sink.terminate(GRACE)?;
        // it gives up at the first reply that it does not like, so all messages were taken
        if source.end != End::Status(0) {
            return Err(format!("smtp-source ended with {:?}, the sink with {:?}", source.end, sink.end));
        }
        let messages = load.messages as f64;
        Ok(Run {
            messages_per_s: messages / elapsed.as_secs_f64(),
            cpu_us_per_message: sink.cpu_ns as f64 / 1e3 / messages,
        })
    }
}

const SINK_ARGUMENTS: &[&str] = &["sink", "--quiet", "--listen", "127.0.0.1:0"];

fn table(cells: &[Cell]) -> String {
    let mut table = Table::new(&[
        "sessions",
        "connections",
        "messages",
        "figure",
        "mailrig",
        "smtp-sink",
        "ratio",
        "floor / smtp-sink",
        "goal for the ratio",
    ]);
    for cell in cells {
        table.rule();
        let connections = if cell.load.reuse { "reused" } else { "one a message" };
        let load = [cell.load.sessions.to_string(), connections.to_owned(), cell.load.messages.to_string()];
        let (rate, _) = figures(&cell.ours, &cell.theirs, |run| run.messages_per_s);
        table.row(load.into_iter().chain(["messages/s".to_owned()]).chain(rate));
        let (cpu, ratio) = figures(&cell.ours, &cell.theirs, |run| run.cpu_us_per_message);
        let ([.., floor], least) = figures(&cell.floor, &cell.theirs, |run| run.cpu_us_per_message);
        let kept = match (ratio <= GOAL_RATIO, least <= GOAL_RATIO) {
            (true, _) => "kept",
            (false, true) => "missed",
            (false, false) => "missed, as by the floor",
        };
        let goal = [floor, format!("at most {GOAL_RATIO}: {kept}")];
        table.row(["", "", "", "CPU us/message"].map(str::to_owned).into_iter().chain(cpu).chain(goal));
    }
    format!(
        "\nblocks: {}; medians over them, and ranges; the ratio is that within a block; floor: a loop that only answers\n{}",
        cells[0].ours.len(),
        table.render()
    )
}

/// Of one, of the other and the ratio in words, and the median ratio.
fn figures(ones: &[Run], others: &[Run], of: fn(&Run) -> f64) -> ([String; 3], f64) {
    let of_all = |runs: &[Run]| runs.iter().map(of).collect::<Vec<f64>>();
    let (ones, others) = (of_all(ones), of_all(others));
    let ratios = ones.iter().zip(&others).map(|(one, other)| one / other).collect();
    let [ones, others, ratios] =
        [ones, others, ratios].map(|values| Sorted::new(values).expect("each block has a run of each sink"));
    let median = ratios.median();
    ([ones, others, ratios].map(|values| spread(values.median(), values.min(), values.max())), median)
}
