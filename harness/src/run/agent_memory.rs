//! The private pages of agents by mapping, with deliveries that they really hold: the parts of a trial without its row.

use super::cast::{ANSWER_BOUND, Cast};
use super::hold::{SETTLE, bring_together, release};
use super::listen_for_signals;
use super::rig::Rig;
use super::trouble::Trouble;
use measure::Table;
use profile::{Context, Dial, Driver, HoldState, Spawn, Trial};
use rustix::process::Pid;
use std::time::Duration;
use subject::cores::Cores;
use subject::mappings;

/// What is looked at.
pub struct Look {
    pub drivers: Vec<Driver>,
    pub state: HoldState,
}

/// Deliveries of each agent but a blocking one; and agents of the blocking driver.
const HELD: u32 = 100;
/// Blocking agents whose pages are read; the others are as they are.
const READ_MAX: usize = 20;
/// Until agents are ready, and until all deliveries are held.
const BOUND: Duration = Duration::from_secs(60);
const SPAWNS: [Spawn; 2] = [Spawn::Zygote, Spawn::Exec];
const KIB: f64 = 1024.0;

/// The mean agent's mappings: names with KiB.
type Pages = Vec<(String, f64)>;

/// The table of all drivers in both ways to start an agent, in KiB.
pub fn look(what: &Look) -> Result<String, String> {
    let interrupt = listen_for_signals()?;
    let limit = subject::machine::raise_open_file_limit();
    limit.map_err(|error| format!("raising the limit of open files: {error}"))?;
    let mut rig = Rig::start(interrupt)?;
    let mut columns: Vec<(String, Pages)> = Vec::new();
    let mut problem = None;
    'all: for driver in &what.drivers {
        for (at, spawn) in SPAWNS.into_iter().enumerate() {
            let trial = trial(*driver, spawn, what.state)?;
            match pages(&mut rig, &trial, (columns.len() + at) as u32) {
                Ok(pages) => columns.push((format!("{} {}", driver.as_str(), spawn.as_str()), pages)),
                Err(trouble) => {
                    problem = Some(format!("{} {}: {trouble}", driver.as_str(), spawn.as_str()));
                    break 'all;
                }
            }
        }
    }
    let left = rig.finish();
    match problem.or_else(|| left.into_iter().next()) {
        Some(problem) => Err(problem),
        None => Ok(format!(
            "KiB of pages that one agent has for itself, in {}, by mapping (/proc/PID/smaps). A blocking agent holds one\n\
             delivery, the others {HELD}; messages of {} each.\n\n{}",
            what.state.as_str(),
            if what.state == HoldState::MidData { "8 MiB" } else { "4 KiB" },
            table(&columns)
        )),
    }
}

/// A trial of a profile that nobody has to write.
fn trial(driver: Driver, spawn: Spawn, state: HoldState) -> Result<Trial, String> {
    let (agents, connections) = if driver == Driver::Blocking { (HELD, 1) } else { (1, HELD) };
    let text = format!(
        "name = \"doctor\"\nplacement = \"shared\"\n[load]\nmodel = \"preload\"\n[[subject]]\nname = \"agents\"\n\
         driver = \"{}\"\nspawn = \"{}\"\nagents_max = {agents}\nconnections_per_agent = {connections}\nmax_use = 0\n\
         durability = \"none\"\n[points]\nconcurrency = [{HELD}]\nhold = [{{ state = \"{}\" }}]\n",
        driver.as_str(),
        spawn.as_str(),
        state.as_str()
    );
    let context = Context { repeats: Some(1), only: Vec::new(), descriptors_max: 2 * u64::from(HELD) + 200 };
    let experiment =
        profile::parse(&text, "doctor", &context).map_err(|error| format!("its own profile: {error}"))?;
    experiment.trials.into_iter().next().ok_or_else(|| "its own profile has no trial".to_owned())
}

fn pages(rig: &mut Rig, trial: &Trial, order: u32) -> Result<Pages, String> {
    let scratch = rig.scratch(&std::env::temp_dir(), order)?;
    let dial: &Dial = trial.subject.mta.dial().expect("the profile names no other MTA");
    let started = Cast::start(rig, trial, dial, &Cores::shared(&rig.allowed), &scratch);
    let read = started.and_then(|mut cast| {
        let read = held_pages(rig, trial, &mut cast);
        let problems = cast.stop();
        read.and_then(|read| match problems.into_iter().next() {
            Some(problem) => Err(Trouble::new(measure::InvalidReason::SubjectFailed, problem)),
            None => Ok(read),
        })
    });
    let problems = rig.tidy(&scratch);
    let read = read.map_err(|trouble| trouble.what)?;
    problems.into_iter().next().map_or(Ok(read), Err)
}

fn held_pages(rig: &Rig, trial: &Trial, cast: &mut Cast) -> Result<Pages, Trouble> {
    let failed = Trouble::of(measure::InvalidReason::SubjectFailed);
    let load = cast.start_load(trial, "doctor")?;
    cast.finish_load(load, BOUND)?;
    cast.control.ramp(BOUND).map_err(&failed)?;
    cast.control.resume(ANSWER_BOUND).map_err(&failed)?;
    bring_together(cast, u64::from(trial.concurrency), BOUND, &rig.interrupt, |_| {})?;
    rig.interrupt.sleep(SETTLE).map_err(&failed)?;
    let pids = cast.status()?.pids.agents;
    let agents: Vec<_> =
        pids.iter().take(READ_MAX).filter_map(|pid| mappings::read(Pid::from_raw(*pid)?)).collect();
    release(cast)?;
    let mut pages: Pages = Vec::new();
    for mapping in agents.iter().flatten() {
        let kib = mapping.private_bytes as f64 / KIB / agents.len() as f64;
        match pages.iter_mut().find(|(name, _)| *name == mapping.name) {
            Some((_, sum)) => *sum += kib,
            None => pages.push((mapping.name.clone(), kib)),
        }
    }
    Ok(pages)
}

/// A row a mapping, a column a kind of agent.
fn table(columns: &[(String, Pages)]) -> String {
    let mut header = vec!["mapping"];
    header.extend(columns.iter().map(|(name, _)| name.as_str()));
    let mut table = Table::new(&header);
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in columns.iter().flat_map(|(_, pages)| pages) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let cell = |kib: f64| if kib > 0.0 { format!("{kib:.1}") } else { String::new() };
    for wanted in names {
        let of = |pages: &Pages| pages.iter().find(|(name, _)| name == wanted).map_or(0.0, |(_, kib)| *kib);
        let cells = columns.iter().map(|(_, pages)| cell(of(pages)));
        table.row([wanted.to_owned()].into_iter().chain(cells));
    }
    table.rule();
    let sums = columns.iter().map(|(_, pages)| cell(pages.iter().map(|(_, kib)| kib).sum()));
    table.row(["all".to_owned()].into_iter().chain(sums));
    table.render()
}
