//! What a connection that waits after EHLO costs the sink in memory, one process and then several that hold 100 000
//! together, beside Postfix's smtp-sink.
//!
//! `cargo bench --bench held` (a minute). Builds the mailrig executable. smtp-sink (Debian's package postfix) and
//! control groups are used where they are; the latter tell the kernel's part. 100 000 connections need about 20 000
//! open files a process, and 2 GiB of memory for both their ends.
//!
//! A figure is the slope of the memory over the connections held, by least squares, so what a sink needs once is not
//! in it, and beside it the whole divided by the connections, where it is. Memory is that of all processes of the
//! sink: private is what would be freed if they ended (USS), proportional counts shared pages by their share (PSS),
//! and kernel is what the kernel says that it holds for them; the buffers and structures that it charges to nobody, or
//! to the other end, are not in it.

use benches::hold::{self, HOLD, Holders};
use benches::line::Line;
use benches::postfix::Postfix;
use benches::process::Process;
use benches::request::{self, Size};
use benches::rig::{self, Rig};
use measure::Table;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;
use subject::groups::{Base, Group, RoleGroups};
use subject::process::memory;
use subject::role::Role;

/// Private memory of a connection held: as the slope, and as its part of the whole.
const GOAL_BYTES: f64 = 4096.0;
/// Between the last reply and a look at the memory.
const SETTLE: Duration = Duration::from_millis(300);
/// For a sink to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(30);
/// Files of a process beside its connections.
const FILES_RESERVED: u64 = 64;

/// What is held, in how many steps.
struct Plan {
    levels: &'static [u64],
    /// Fewer: a connection costs it a hundred times as much.
    smtp_sink_levels: &'static [u64],
    shards: u64,
    sharded_levels: &'static [u64],
}

const FULL: Plan = Plan {
    levels: &[1000, 2000, 4000, 7000, 10_000],
    smtp_sink_levels: &[1000, 1500, 2000],
    shards: 7,
    sharded_levels: &[12_500, 25_000, 37_500, 50_000, 62_500, 75_000, 87_500, 100_000],
};
const TINY: Plan =
    Plan { levels: &[100, 200], smtp_sink_levels: &[100, 200], shards: 2, sharded_levels: &[100, 200] };

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == HOLD) {
        return hold::main(&arguments[1..]);
    }
    let Some(size) = request::size("held", arguments) else { return ExitCode::SUCCESS };
    match measure(size) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("held: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn measure(size: Size) -> Result<(), String> {
    let plan = if size == Size::Full { FULL } else { TINY };
    let mut rig = Rig::start()?;
    let postfix = Postfix::find();
    let versions = postfix.as_ref().map_or(String::new(), |postfix| format!(", Postfix {}", postfix.version));
    println!("{}{}", rig.describe(&versions)?, size.warning());
    let groups = rig.groups();
    if let Err(reason) = &groups {
        println!("kernel memory is not measured: {reason}");
    }
    let stage = Stage { rig: &rig, groups: groups.as_ref().ok() };
    let measured = stage.all(&plan, postfix.as_ref());
    for problem in groups.map(Base::remove).unwrap_or_default() {
        eprintln!("held: {problem}");
    }
    measured?;
    rig.finish();
    Ok(())
}

struct Stage<'a> {
    rig: &'a Rig,
    groups: Option<&'a Base>,
}

impl Stage<'_> {
    fn all(&self, plan: &Plan, postfix: Option<&Postfix>) -> Result<(), String> {
        let rig = self.rig;
        let arguments = ["sink", "--listen", "127.0.0.1:0"];
        println!("\none process: {} {}", rig.mailrig.display(), arguments.join(" "));
        self.hold(rig.sink(&arguments)?, plan.levels)?.print(Some(GOAL_BYTES));

        match postfix {
            None => println!("\nskipped: smtp-sink is not installed (apt-get install postfix)"),
            Some(postfix) => {
                let arguments = Postfix::sink_arguments("127.0.0.1:PORT").join(" ");
                println!("\nsmtp-sink: {} {arguments}", postfix.sink.display());
                self.hold(postfix.start_sink(rig)?, plan.smtp_sink_levels)?.print(None);
            }
        }

        if !rig.sink_has("--shards")? {
            println!("\nskipped: several processes: this mailrig sink has no --shards");
            return Ok(());
        }
        let most = plan.sharded_levels.last().copied().unwrap_or(0);
        // the kernel spreads connections by a hash, so a shard gets a few per cent more than its part
        let files = (most / plan.shards) * 11 / 10 + FILES_RESERVED;
        if let Some(limit) = rig.files_max.filter(|&limit| limit < files) {
            println!(
                "\nskipped: {most} connections need {files} open files a process, the limit is {limit} (ulimit -Hn)"
            );
            return Ok(());
        }
        let (shards, address) = (plan.shards.to_string(), rig::free_address()?.to_string());
        let arguments = ["sink", "--shards", &shards, "--listen", &address];
        println!("\nseveral processes: {} {}", rig.mailrig.display(), arguments.join(" "));
        self.hold(rig.sink(&arguments)?, plan.sharded_levels)?.print(Some(GOAL_BYTES));
        Ok(())
    }

    /// Opens connections to a sink up to each level in turn and looks at its memory there, then ends all.
    fn hold(&self, (sink, address): (Process, SocketAddr), levels: &[u64]) -> Result<Held, String> {
        let groups = self.groups.map(Base::trial).transpose().map_err(|error| error.to_string())?;
        let group = groups.as_ref().and_then(|groups: &RoleGroups| groups.of(Role::Sink));
        if let Some(group) = group {
            let joined = self.rig.processes().into_iter().try_for_each(|pid| group.join(pid));
            joined.map_err(|error| error.to_string())?;
        }
        let mut holders = Holders::new()?;
        let mut held = Held::default();
        for level in levels {
            let opened = holders.open(self.rig, address, level - held.asked)?;
            held.asked = *level;
            held.refused += opened.refused;
            held.opening += opened.took;
            std::thread::sleep(SETTLE);
            let connections = held.asked - held.refused;
            held.looks.push(self.look(connections, &holders, group)?);
        }
        held.open_at_last = holders.open_now()?;
        holders.end()?;
        sink.terminate(GRACE)?;
        self.rig.end_all()?;
        Ok(held)
    }

    fn look(&self, connections: u64, holders: &Holders, group: Option<&Group>) -> Result<Look, String> {
        let holders = holders.pids();
        let mut look = Look { connections, ..Look::default() };
        for pid in self.rig.processes().into_iter().filter(|pid| !holders.contains(pid)) {
            let memory = memory(pid).ok_or("a process of the sink has ended, or can't be looked at")?;
            look.processes += 1;
            look.private_bytes += memory.uss_bytes;
            look.proportional_bytes += memory.pss_bytes;
        }
        look.kernel_bytes = group.and_then(Group::kernel_bytes);
        Ok(look)
    }
}

/// A sink's memory with so many connections held.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    connections: u64,
    processes: u64,
    private_bytes: u64,
    proportional_bytes: u64,
    kernel_bytes: Option<u64>,
}

#[derive(Debug, Default)]
struct Held {
    asked: u64,
    refused: u64,
    /// Spent on opening, without the looks between.
    opening: Duration,
    /// After the last look: those that the sink still has.
    open_at_last: u64,
    looks: Vec<Look>,
}

impl Held {
    fn print(&self, goal_bytes: Option<f64>) {
        let mut table = Table::new(&["held", "processes", "private KiB", "proportional KiB", "kernel KiB"]);
        for look in &self.looks {
            let kib = |bytes: u64| (bytes / 1024).to_string();
            table.row([
                look.connections.to_string(),
                look.processes.to_string(),
                kib(look.private_bytes),
                kib(look.proportional_bytes),
                look.kernel_bytes.map_or(String::new(), kib),
            ]);
        }
        print!("{}", table.render());
        println!(
            "held at the peak: {}, refused: {}, opened in {:.1} s",
            self.open_at_last,
            self.refused,
            self.opening.as_secs_f64()
        );
        let mut table = Table::new(&["bytes a connection", "slope", "r2", "whole / held", "goal for both"]);
        for (name, part, goal_bytes) in [
            ("private", (|look| Some(look.private_bytes)) as fn(&Look) -> Option<u64>, goal_bytes),
            ("proportional", |look| Some(look.proportional_bytes), None),
            ("kernel", |look| look.kernel_bytes, None),
        ] {
            let point = |look: &Look| Some((look.connections as f64, part(look)? as f64));
            let points: Vec<(f64, f64)> = self.looks.iter().filter_map(point).collect();
            let (Some(line), Some((connections, bytes))) = (Line::through(&points), points.last()) else {
                continue;
            };
            let whole = bytes / connections;
            table.row([
                name.to_owned(),
                format!("{:.0}", line.slope),
                format!("{:.4}", line.r2),
                format!("{whole:.0}"),
                goal_bytes.map_or(String::new(), |goal| {
                    let kept = if line.slope.max(whole) <= goal { "kept" } else { "missed" };
                    format!("at most {goal}: {kept}")
                }),
            ]);
        }
        print!("{}", table.render());
    }
}
