//! What it costs to wait in processes instead of in a loop, when nothing else is done: the bound for the ratio of the
//! blocking driver to the event driver.
//!
//! `cargo bench --bench bare` (two minutes). Builds the mailrig executable, whose sink answers at once. Client and sink
//! have a core each, and the sink does not sleep while it is busy, as in the trials. Beside each message some processor
//! time is spent, 0 or as much as a queue manager takes.

use benches::bare::{self, BARE, Task, Way};
use benches::process::Process;
use benches::request::{self, Size};
use benches::rig::Rig;
use measure::statistics::Sorted;
use measure::{Table, spread};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use sys::process::End;

const MESSAGES: u64 = 20_000;
/// For a run, on whatever machine.
const RUN_BOUND: Duration = Duration::from_secs(60);
/// For the sink to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == BARE) {
        return bare::run(&words[1..]);
    }
    let Some(size) = request::size("bare", words) else { return ExitCode::SUCCESS };
    match compare(size) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("bare: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// One load, and what came of it in each block.
struct Cell {
    connections: u64,
    work_us: u64,
    processes: Vec<Run>,
    event_loop: Vec<Run>,
}

struct Run {
    messages_per_s: f64,
    /// The work beside it left out.
    cpu_us_per_message: f64,
}

fn compare(size: Size) -> Result<(), String> {
    let rig = Rig::start()?;
    println!("{}{}", rig.describe("")?, size.warning());
    let (connections, blocks, messages): (&[u64], _, _) = match size {
        Size::Full => (&[20, 100, 500], 5, MESSAGES),
        Size::Tiny => (&[20], 1, 200),
    };
    let mut cells: Vec<Cell> = [0, 20]
        .into_iter()
        .flat_map(|work_us| {
            connections.iter().map(move |&connections| {
                let (processes, event_loop) = (Vec::new(), Vec::new());
                Cell { connections, work_us, processes, event_loop }
            })
        })
        .collect();
    for block in 0..blocks {
        eprintln!("block {} of {blocks}", block + 1);
        for cell in &mut cells {
            let ways = [Way::Processes, Way::Loop];
            for way in if block % 2 == 0 { ways } else { [Way::Loop, Way::Processes] } {
                let done = run(&rig, way, cell.connections, messages, cell.work_us)?;
                match way {
                    Way::Processes => cell.processes.push(done),
                    Way::Loop => cell.event_loop.push(done),
                }
            }
        }
    }
    rig.finish();
    print!("{}", table(&cells));
    Ok(())
}

fn run(rig: &Rig, way: Way, connections: u64, messages: u64, work_us: u64) -> Result<Run, String> {
    let (sink, to) = rig.sink(&["sink", "--quiet", "--listen", "127.0.0.1:0", "--busy-poll", "200us"])?;
    pin(sink.pid(), 0)?;
    let exe = std::env::current_exe().map_err(|error| format!("finding the own executable: {error}"))?;
    let task = Task { way, to, connections, messages, work_us };
    let began = Instant::now();
    let client = Process::start("the bare client", rig.command(&exe).args(task.arguments()))?;
    pin(client.pid(), 1)?;
    let client = client.wait(RUN_BOUND)?;
    let elapsed = began.elapsed();
    sink.terminate(GRACE)?;
    if client.end != End::Status(0) {
        return Err(format!("the bare client ended with {:?}", client.end));
    }
    Ok(Run {
        messages_per_s: messages as f64 / elapsed.as_secs_f64(),
        cpu_us_per_message: client.cpu_ns as f64 / 1e3 / messages as f64 - work_us as f64,
    })
}

/// On a machine with one core, everything shares it.
fn pin(pid: Pid, core: usize) -> Result<(), String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut set = CpuSet::new();
    set.set(core.min(cores - 1));
    sched_setaffinity(Some(pid), &set).map_err(|error| format!("placing a process on a core: {error}"))
}

fn table(cells: &[Cell]) -> String {
    let mut table =
        Table::new(&["connections", "work beside, us", "figure", "processes", "loop", "loop / processes"]);
    for cell in cells {
        table.rule();
        let rate = figures(cell, |run| run.messages_per_s);
        let cpu = figures(cell, |run| run.cpu_us_per_message);
        let of = [cell.connections.to_string(), cell.work_us.to_string(), "messages/s".to_owned()];
        table.row(of.into_iter().chain(rate));
        table.row(["", "", "CPU us/message"].map(str::to_owned).into_iter().chain(cpu));
    }
    format!(
        "\nblocks: {}; medians over them, and ranges; the ratio is that within a block; CPU without the work beside\n{}",
        cells[0].processes.len(),
        table.render()
    )
}

fn figures(cell: &Cell, of: fn(&Run) -> f64) -> [String; 3] {
    let all = |runs: &[Run]| runs.iter().map(of).collect::<Vec<f64>>();
    let (processes, event_loop) = (all(&cell.processes), all(&cell.event_loop));
    let ratios = event_loop.iter().zip(&processes).map(|(one, other)| one / other).collect();
    [processes, event_loop, ratios].map(|values| {
        let sorted = Sorted::new(values).expect("each block has a run of each way");
        spread(sorted.median(), sorted.min(), sorted.max())
    })
}
