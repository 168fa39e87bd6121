//! What a session in flight costs the sender in memory, beside smtp-source.
//!
//! Each sender has one message for each of its sessions, and the sink (ours, for both) waits before it answers the dot.
//! While it does, all sessions are in flight, and the private memory of the sender (what would be freed if it ended,
//! USS) is looked at: its slope over the sessions, by least squares, so that what a sender needs once is not in it.

use crate::sender::{self, Sender};
use crate::{GRACE, Stage, kept};
use benches::line::Line;
use benches::postfix::Postfix;
use benches::process::Process;
use benches::request::Size;
use measure::Table;
use rustix::process::Pid;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use subject::process::memory;
use sys::process::End;

const BYTES: &str = "4096";
/// Of the slope.
const GOAL_BYTES: f64 = 8192.0;
/// Beyond what the sink waits.
const SLACK: Duration = Duration::from_secs(30);

struct Plan {
    levels: &'static [u64],
    /// Fewer: a session costs it thirty times as much.
    smtp_source_levels: &'static [u64],
    /// As `--delay` says it, and as it is.
    delay: (&'static str, Duration),
}

const FULL: Plan = Plan {
    levels: &[100, 500, 1000, 2000],
    smtp_source_levels: &[100, 200, 300, 400],
    delay: ("dot=3s", Duration::from_secs(3)),
};
const TINY: Plan =
    Plan { levels: &[50, 100], smtp_source_levels: &[50, 100], delay: ("dot=1s", Duration::from_secs(1)) };

pub fn measure(stage: &Stage, size: Size) -> Result<(), String> {
    let plan = if size == Size::Full { FULL } else { TINY };
    let (rig, address) = (stage.rig, "127.0.0.1:PORT");
    println!("sink: {} {}", rig.mailrig.display(), sink_words(&plan).join(" "));

    let words = sender::words(address, &load("N")).join(" ");
    println!("\nmailrig send: {} {words}", rig.mailrig.display());
    print(&hold(stage, &plan, plan.levels, run_ours)?, Some(GOAL_BYTES));

    let Some(postfix) = stage.postfix else {
        println!("\nskipped: smtp-source is not installed (apt-get install postfix)");
        return Ok(());
    };
    let words = Postfix::source_arguments(false, ["N", "N", BYTES], address).join(" ");
    println!("\nsmtp-source: {} {words}", postfix.source.display());
    let run = |stage: &Stage, plan: &Plan, to, sessions| run_theirs(stage, postfix, plan, to, sessions);
    print(&hold(stage, &plan, plan.smtp_source_levels, run)?, None);
    Ok(())
}

fn sink_words(plan: &Plan) -> [&'static str; 6] {
    ["sink", "--quiet", "--listen", "127.0.0.1:0", "--delay", plan.delay.0]
}

fn load(sessions: &str) -> [&str; 6] {
    ["--connections", sessions, "--messages", sessions, "--size", BYTES]
}

/// The sessions in flight and the private bytes of the sender then.
type Look = (u64, u64);

fn hold(
    stage: &Stage,
    plan: &Plan,
    levels: &[u64],
    run: impl Fn(&Stage, &Plan, SocketAddr, u64) -> Result<u64, String>,
) -> Result<Vec<Look>, String> {
    let look = |&sessions: &u64| {
        let (sink, address) = stage.rig.sink(&sink_words(plan))?;
        let bytes = run(stage, plan, address, sessions)?;
        sink.terminate(GRACE)?;
        Ok((sessions, bytes))
    };
    levels.iter().map(look).collect()
}

fn run_ours(stage: &Stage, plan: &Plan, to: SocketAddr, sessions: u64) -> Result<u64, String> {
    let sessions = sessions.to_string();
    let sender = Sender::start(stage.rig, to, &load(&sessions))?;
    let look = Timed::look(sender.pid(), plan)?;
    let sent = sender.wait(plan.delay.1 + SLACK)?;
    sent.check()?;
    look.bytes_if_all_waited(plan)
}

fn run_theirs(
    stage: &Stage,
    postfix: &Postfix,
    plan: &Plan,
    to: SocketAddr,
    sessions: u64,
) -> Result<u64, String> {
    let sessions = sessions.to_string();
    let arguments = Postfix::source_arguments(false, [&sessions, &sessions, BYTES], &to.to_string());
    let source = Process::start("smtp-source", stage.rig.command(&postfix.source).args(arguments))?;
    let look = Timed::look(source.pid(), plan)?;
    let exit = source.wait(plan.delay.1 + SLACK)?;
    if exit.end != End::Status(0) {
        return Err(format!("smtp-source ended with {:?}", exit.end));
    }
    look.bytes_if_all_waited(plan)
}

/// A look at a sender that was just started.
struct Timed {
    at: Instant,
    bytes: u64,
}

impl Timed {
    /// Most of the sink's delay later, but before it can have answered any.
    fn look(pid: Pid, plan: &Plan) -> Result<Timed, String> {
        std::thread::sleep(plan.delay.1 * 3 / 4);
        let memory = memory(pid).ok_or("the sender has ended, or can't be looked at")?;
        Ok(Timed { at: Instant::now(), bytes: memory.uss_bytes })
    }

    /// To be asked right after the sender's end: when all dots are answered within the delay after the look, all had been
    /// sent before it.
    fn bytes_if_all_waited(self, plan: &Plan) -> Result<u64, String> {
        if self.at.elapsed() > plan.delay.1 {
            return Err("not all sessions were in flight yet when the sender was looked at".to_owned());
        }
        Ok(self.bytes)
    }
}

fn print(looks: &[Look], goal_bytes: Option<f64>) {
    let mut table = Table::new(&["in flight", "private KiB"]);
    for (sessions, bytes) in looks {
        table.row([sessions.to_string(), (bytes / 1024).to_string()]);
    }
    print!("{}", table.render());
    let points: Vec<(f64, f64)> =
        looks.iter().map(|&(sessions, bytes)| (sessions as f64, bytes as f64)).collect();
    let line = Line::through(&points).expect("there are two levels");
    let goal =
        goal_bytes.map_or(String::new(), |goal| format!("; under {goal}: {}", kept(line.slope < goal)));
    println!("bytes a session in flight: {:.0} (r2 {:.4}){goal}", line.slope, line.r2);
}
