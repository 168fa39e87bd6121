//! Mail that is on stable storage before its 250: how fast it comes in, and how fast it goes through, with each store
//! and with a Postfix of our own on the same file system.
//!
//! `cargo bench --bench relay` (about four minutes). Builds the mailrig executable. Postfix (Debian's package postfix)
//! runs where it is installed and this is root; its configuration is printed. Everything shares all cores; each MTA,
//! the sink and the load generator has a CPU control group of equal weight where there are any, and processor time is
//! the group's. `RELAY_FOLDER=DIR` puts the spools elsewhere.
//!
//! In each block all subjects get the same load in fresh processes, the first of one block being the last of the next.
//! Ratios are those within a block to the better of the two Postfixes in it.

use benches::instance::{Instance, Kind, Work, grouped};
use benches::postfix::Postfix;
use benches::process::Process;
use benches::request::{self, Size};
use benches::rig::{Rig, START_BOUND};
use measure::statistics::Sorted;
use measure::{Table, spread};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};
use subject::groups::{Base, Group, RoleGroups};
use subject::role::Role;

/// For a run, on whatever machine.
const RUN_BOUND: Duration = Duration::from_secs(120);
/// Between two live lines of the sink there are 100 ms.
const LINE_BOUND: Duration = Duration::from_secs(20);
const BYTES: &str = "4096";
const CONCURRENCY: u32 = 50;
/// Connections that bring in the mail that is relayed.
const RELAY_SESSIONS: u64 = 10;

const GOAL_RATE: f64 = 10.0;
const GOAL_CPU: f64 = 0.1;

struct Plan {
    blocks: usize,
    sessions: &'static [u64],
    /// Messages for ours and for Postfix; with one session a fourth.
    accepted: (u64, u64),
    relayed: (u64, u64),
}

const FULL: Plan =
    Plan { blocks: 3, sessions: &[1, 10, 100, 500], accepted: (8000, 3000), relayed: (20_000, 3000) };
const TINY: Plan = Plan { blocks: 1, sessions: &[10], accepted: (200, 100), relayed: (200, 100) };

fn main() -> ExitCode {
    let Some(size) = request::size("relay", std::env::args().skip(1)) else { return ExitCode::SUCCESS };
    match measure(size) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("relay: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn measure(size: Size) -> Result<(), String> {
    let plan = if size == Size::Full { FULL } else { TINY };
    let mut rig = Rig::start()?;
    let postfix = Postfix::find().filter(|_| Postfix::daemon("master").is_some());
    let versions = postfix.as_ref().map_or(String::new(), |postfix| format!(", Postfix {}", postfix.version));
    println!("{}{}", rig.describe(&versions)?, size.warning());
    let mut kinds = vec![Kind::Segments, Kind::Files];
    if postfix.is_some() && rustix::process::geteuid().is_root() {
        kinds.extend([Kind::Postfix { cache: true }, Kind::Postfix { cache: false }]);
    } else {
        println!("skipped: Postfix needs to be installed (apt-get install postfix), and root");
    }
    let base = rig.groups();
    if let Err(reason) = &base {
        println!("no control groups, so no processor time and no equal shares: {reason}");
    }
    let folder = match std::env::var_os("RELAY_FOLDER") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_TARGET_TMPDIR")).to_owned(),
    };
    let groups = base.as_ref().ok().map(Base::trial).transpose().map_err(|error| error.to_string())?;
    let stage = Stage { rig: &rig, folder, groups: groups.as_ref() };
    let measured = stage.all(&plan, &kinds);
    drop(groups);
    for problem in base.map(Base::remove).unwrap_or_default() {
        eprintln!("relay: {problem}");
    }
    measured?;
    rig.finish();
    Ok(())
}

/// One subject's runs of one load: a run a block.
struct Cell {
    kind: Kind,
    runs: Vec<Run>,
}

struct Run {
    messages_per_s: f64,
    /// Of the MTA.
    cpu_us: Option<f64>,
}

struct Stage<'a> {
    rig: &'a Rig,
    folder: PathBuf,
    groups: Option<&'a RoleGroups>,
}

impl Stage<'_> {
    fn all(&self, plan: &Plan, kinds: &[Kind]) -> Result<(), String> {
        println!("spools below {}; messages of {BYTES} bytes, one recipient", self.folder.display());
        let to = SocketAddr::from(([127, 0, 0, 1], 2500));
        for kind in kinds {
            let configuration =
                Instance::configuration(*kind, Work::Relay { to, concurrency: CONCURRENCY }, RELAY_SESSIONS);
            println!("\n{} (relay):\n{configuration}", kind.as_str());
        }
        let mut table =
            Table::new(&["load", "subject", "messages/s", "ratio", "CPU us/message", "CPU ratio", "goal"]);
        for sessions in plan.sessions {
            let divisor = if *sessions == 1 { 4 } else { 1 };
            let cells = self.blocks(plan, kinds, |stage, kind| {
                let messages = of(kind, plan.accepted) / divisor;
                stage.accept(kind, *sessions, messages.max(*sessions))
            })?;
            rows(&mut table, &format!("accept, {sessions} sessions"), &cells, false);
        }
        let cells = self.blocks(plan, kinds, |stage, kind| stage.relay(kind, of(kind, plan.relayed)))?;
        rows(&mut table, &format!("relay, {RELAY_SESSIONS} sessions in, {CONCURRENCY} out"), &cells, true);
        println!("blocks: {}; medians over them, and ranges; ratios are those within a block", plan.blocks);
        print!("{}", table.render());
        Ok(())
    }

    fn blocks(
        &self,
        plan: &Plan,
        kinds: &[Kind],
        run: impl Fn(&Stage<'_>, Kind) -> Result<Run, String>,
    ) -> Result<Vec<Cell>, String> {
        let mut cells: Vec<Cell> = kinds.iter().map(|kind| Cell { kind: *kind, runs: Vec::new() }).collect();
        for block in 0..plan.blocks {
            let mut order: Vec<usize> = (0..cells.len()).collect();
            if block % 2 == 1 {
                order.reverse();
            }
            for at in order {
                let one = run(self, cells[at].kind)?;
                eprintln!("{}: {:.0} messages/s", cells[at].kind.as_str(), one.messages_per_s);
                cells[at].runs.push(one);
            }
        }
        Ok(cells)
    }

    fn group(&self, role: Role) -> Option<&Group> {
        self.groups?.of(role)
    }

    fn instance(&self, kind: Kind, work: Work, sessions: u64) -> Result<Instance, String> {
        let folder = self.folder.join(format!("relay-{}", std::process::id()));
        Instance::start(self.rig, kind, work, &folder, sessions, self.group(Role::Queue))
    }

    /// The load generator, until it is done; its report.
    fn send(&self, to: SocketAddr, sessions: u64, messages: u64) -> Result<Value, String> {
        let numbers = [sessions, messages].map(|number| number.to_string());
        let mut command = grouped(self.rig, &self.rig.mailrig, self.group(Role::Load));
        command.args(["send", &to.to_string(), "--connections", &numbers[0], "--messages", &numbers[1]]);
        command.args(["--size", BYTES, "--quiet", "--json", "-"]).stdout(Stdio::piped());
        let mut process = Process::start("mailrig send", &mut command)?;
        let text = process.rest(RUN_BOUND)?;
        process.wait(START_BOUND)?;
        let report: Value =
            serde_json::from_str(&text).map_err(|error| format!("mailrig send said no report: {error}"))?;
        match report["accepted"].as_u64() {
            Some(accepted) if accepted == messages => Ok(report),
            accepted => Err(format!("{accepted:?} of {messages} messages were accepted: {report}")),
        }
    }

    /// Mail comes in and stays.
    fn accept(&self, kind: Kind, sessions: u64, messages: u64) -> Result<Run, String> {
        let instance = self.instance(kind, Work::Accept, sessions)?;
        let before_s = self.group(Role::Queue).and_then(Group::cpu_s);
        let report = self.send(instance.address, sessions, messages)?;
        let rate = report["throughput_msg_per_s"].as_f64().ok_or("mailrig send said no throughput")?;
        Ok(Run { messages_per_s: rate, cpu_us: self.cpu_us(before_s, messages) })
    }

    /// Mail comes in while it goes out, to a sink that answers at once. The clock runs from the first message to the
    /// sink's last acceptance.
    fn relay(&self, kind: Kind, messages: u64) -> Result<Run, String> {
        let mut command = grouped(self.rig, &self.rig.mailrig, self.group(Role::Sink));
        command.args(["sink", "--json", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
        let mut sink = Process::start("mailrig sink", &mut command)?;
        let to = ready(&mut sink)?;
        let work = Work::Relay { to, concurrency: CONCURRENCY };
        let instance = self.instance(kind, work, RELAY_SESSIONS)?;
        let before_s = self.group(Role::Queue).and_then(Group::cpu_s);
        let began_ns = subject::sampling::monotonic_ns();
        self.send(instance.address, RELAY_SESSIONS, messages)?;
        let end = Instant::now() + RUN_BOUND;
        let last_ns = loop {
            let line = sink.line(LINE_BOUND)?;
            let live: Value = serde_json::from_str(&line).map_err(|error| format!("the sink: {error}"))?;
            if live["accepted"].as_u64() >= Some(messages) {
                break live["last_accepted_ns"].as_u64().ok_or("the sink did not say when its last came")?;
            }
            if Instant::now() > end {
                return Err(format!("{} did not relay {messages} messages: {live}", kind.as_str()));
            }
        };
        let cpu_us = self.cpu_us(before_s, messages);
        drop(instance);
        sink.terminate(START_BOUND)?;
        let elapsed_s = last_ns.saturating_sub(began_ns) as f64 / 1e9;
        Ok(Run { messages_per_s: messages as f64 / elapsed_s, cpu_us })
    }

    fn cpu_us(&self, before_s: Option<f64>, messages: u64) -> Option<f64> {
        let after_s = self.group(Role::Queue)?.cpu_s()?;
        Some((after_s - before_s?) * 1e6 / messages as f64)
    }
}

fn ready(sink: &mut Process) -> Result<SocketAddr, String> {
    let line = sink.line(START_BOUND)?;
    let address = line.strip_prefix("ready ").and_then(|address| address.parse().ok());
    address.ok_or_else(|| format!("mailrig sink said {line:?}, not where it is ready"))
}

fn of(kind: Kind, (ours, theirs): (u64, u64)) -> u64 {
    match kind {
        Kind::Segments | Kind::Files => ours,
        Kind::Postfix { .. } => theirs,
    }
}

fn rows(table: &mut Table, load: &str, cells: &[Cell], has_goal: bool) {
    let is_peer = |cell: &&Cell| matches!(cell.kind, Kind::Postfix { .. });
    let blocks = cells.first().map_or(0, |cell| cell.runs.len());
    // the better of the two in each block, by each figure
    let best = |block: usize, of: fn(&Run) -> Option<f64>, better: fn(f64, f64) -> f64| {
        cells.iter().filter(is_peer).filter_map(|cell| of(&cell.runs[block])).reduce(better)
    };
    let rate = |run: &Run| Some(run.messages_per_s);
    table.rule();
    for cell in cells {
        let ratios = |of: fn(&Run) -> Option<f64>, better: fn(f64, f64) -> f64| {
            (0..blocks)
                .filter_map(|block| Some(of(&cell.runs[block])? / best(block, of, better)?))
                .collect::<Vec<_>>()
        };
        let (rate_ratios, cpu_ratios) = (ratios(rate, f64::max), ratios(|run| run.cpu_us, f64::min));
        let goal = match (median(&rate_ratios), median(&cpu_ratios)) {
            (Some(rate), Some(cpu)) if has_goal && cell.kind == Kind::Segments => {
                let kept = if rate >= GOAL_RATE && cpu <= GOAL_CPU { "kept" } else { "missed" };
                format!("{GOAL_RATE} times the rate, {GOAL_CPU} of the CPU: {kept}")
            }
            _ => String::new(),
        };
        table.row([
            load.to_owned(),
            cell.kind.as_str().to_owned(),
            words(cell.runs.iter().filter_map(rate)),
            words(rate_ratios),
            words(cell.runs.iter().filter_map(|run| run.cpu_us)),
            words(cpu_ratios),
            goal,
        ]);
    }
}

fn median(values: &[f64]) -> Option<f64> {
    Some(Sorted::new(values.iter().copied())?.median())
}

fn words(values: impl IntoIterator<Item = f64>) -> String {
    Sorted::new(values).map_or_else(String::new, |values| spread(values.median(), values.min(), values.max()))
}
