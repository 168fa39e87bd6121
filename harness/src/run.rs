//! `mailrig run`: profiles go in, folders of CSVs come out.
//!
//! Here is the order of things: read all profiles before anything starts, run their trials one after the other,
//! keep each row as soon as it is there, and leave nothing behind however it ends.

pub mod agent_memory;
mod cast;
mod folder;
mod hold;
mod machine;
mod needs;
mod outside;
mod plan;
mod progress;
mod results;
mod rig;
mod settings_text;
mod tarpits;
mod trial;
mod trouble;
mod window;
mod wire;

use folder::Folder;
use measure::{Manifest, complaints, summary_table};
use profile::{Context, Experiment};
use progress::Progress;
use rig::Rig;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use subject::interrupt::Interrupt;

/// Under which unnamed results go; ignored by git.
const LOCAL_RESULTS: &str = "results/local";
/// As a shell reports a program that Ctrl-C has ended.
const INTERRUPTED: u8 = 130;
/// Of the limit of open files where there is none.
const DESCRIPTORS_UNLIMITED: u64 = 1 << 20;

#[derive(clap::Args)]
pub struct Args {
    /// Profiles, such as profiles/quick.toml; each gets a folder of its own
    #[arg(required = true, value_name = "PROFILE")]
    profiles: Vec<PathBuf>,
    /// Folder for the results [default: results/local/<profile>-<UTC time>]; with several profiles one in it for each
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Blocks, instead of the profile's repeats; each block holds every subject at every point once
    #[arg(long, value_name = "N")]
    repeat: Option<u32>,
    /// Run this subject only; may be given several times
    #[arg(long, value_name = "SUBJECT")]
    only: Vec<String>,
    /// Print the plan and start nothing
    #[arg(long)]
    dry_run: bool,
    /// No progress and no table, errors only
    #[arg(long)]
    quiet: bool,
}

/// Exit status: 0 measured; 1 mail was lost or duplicated, or a point has no valid repeat, or the results could not
/// be written; 2 usage or profile error; 130 interrupted.
pub fn main(args: Args) -> ExitCode {
    match run(&args) {
        Ok(status) => status,
        Err(Refusal { message, hint }) => {
            eprintln!("mailrig: {message}");
            if let Some(hint) = hint {
                eprintln!("hint: {hint}");
            }
            ExitCode::from(2)
        }
    }
}

/// Why nothing was started.
struct Refusal {
    message: String,
    hint: Option<String>,
}

impl Refusal {
    fn new(message: String) -> Refusal {
        Refusal { message, hint: None }
    }
}

/// One profile, ready to run.
struct Planned {
    experiment: Experiment,
    run_id: String,
    folder: PathBuf,
}

fn run(args: &Args) -> Result<ExitCode, Refusal> {
    let limit = subject::machine::raise_open_file_limit();
    let limit = limit.map_err(|error| Refusal::new(format!("raising the limit of open files: {error}")))?;
    let descriptors_max = limit.unwrap_or(DESCRIPTORS_UNLIMITED);
    let planned = plan_all(args, descriptors_max)?;
    if args.dry_run {
        for one in &planned {
            tell(&format!("{}\n", plan::text(&one.experiment, &one.folder)));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let interrupt = listen_for_signals().map_err(Refusal::new)?;
    let mut rig = Rig::start(interrupt.clone()).map_err(Refusal::new)?;
    let mut bad = false;
    for one in &planned {
        match measure_one(args, &mut rig, one, descriptors_max) {
            Ok(good) => bad |= !good,
            Err(problem) => {
                eprintln!("mailrig: {problem}");
                bad = true;
            }
        }
        if interrupt.is_set() {
            break;
        }
    }
    for problem in rig.finish() {
        eprintln!("mailrig: {problem}");
    }
    if interrupt.flag().load(Ordering::Relaxed) {
        return Ok(ExitCode::from(INTERRUPTED));
    }
    Ok(ExitCode::from(u8::from(bad)))
}

/// The operator's wish to stop.
fn listen_for_signals() -> Result<Interrupt, String> {
    let interrupt = Interrupt::default();
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // a second one ends the harness on the spot and leaves the cleaning to the guard
        let second =
            signal_hook::flag::register_conditional_shutdown(signal, INTERRUPTED.into(), interrupt.flag());
        let first = second.and_then(|_| signal_hook::flag::register(signal, interrupt.flag()));
        first.map_err(|error| format!("listening for signal {signal}: {error}"))?;
    }
    Ok(interrupt)
}

/// Reads and checks every profile before anything starts.
fn plan_all(args: &Args, descriptors_max: u64) -> Result<Vec<Planned>, Refusal> {
    let context = Context { repeats: args.repeat, only: args.only.clone(), descriptors_max };
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let mut planned: Vec<Planned> = Vec::new();
    for path in &args.profiles {
        let experiment = profile::read(path, &context)
            .map_err(|error| Refusal { message: error.to_string(), hint: error.hint().map(str::to_owned) })?;
        let run_id = format!("{}-{now}", experiment.name);
        let folder = match &args.out {
            Some(out) if args.profiles.len() > 1 => out.join(&experiment.name),
            Some(out) => out.clone(),
            None => Path::new(LOCAL_RESULTS).join(&run_id),
        };
        if planned.iter().any(|other| other.folder == folder) {
            let message =
                format!("{}: another of the profiles is named `{}` too", path.display(), experiment.name);
            return Err(Refusal { message, hint: Some("give each profile a name of its own".to_owned()) });
        }
        if folder.join("runs.csv").exists() {
            let message = format!("{} holds the results of another run", folder.display());
            return Err(Refusal { message, hint: Some("name another folder with --out".to_owned()) });
        }
        needs::check(&experiment)
            .map_err(|refused| Refusal { message: refused.message, hint: Some(refused.hint) })?;
        planned.push(Planned { experiment, run_id, folder });
    }
    Ok(planned)
}

/// Runs all trials of one profile and tells what came out. Whether the run is good: nothing lost or duplicated, and a
/// valid repeat everywhere.
fn measure_one(args: &Args, rig: &mut Rig, one: &Planned, descriptors_max: u64) -> Result<bool, String> {
    let experiment = &one.experiment;
    let (cores, placement) = rig.place(experiment.placement)?;
    let mut folder = Folder::create(&one.folder, manifest(rig, one))?;
    folder.manifest.machine = machine::describe(rig.allowed.len(), descriptors_max, &one.folder);
    if placement.as_str() != experiment.placement.as_str() {
        folder.warnings.push("placement is shared, as there is one core only".to_owned());
    }
    folder.warnings.extend(experiment.notes.iter().cloned());
    if cfg!(debug_assertions) {
        folder.warnings.push("a debug build was measured; use cargo run --release".to_owned());
    }
    let progress = Progress::new(experiment.trials.len(), args.quiet);
    progress.say(&format!(
        "{}: {} trials, {}, {}",
        experiment.name,
        experiment.trials.len(),
        placement.as_str(),
        rig.grouping_words
    ));
    let conditions =
        trial::Conditions { experiment, run_id: &one.run_id, folder: &one.folder, cores: &cores, placement };
    let mut problem = None;
    for trial in &experiment.trials {
        progress.begins(trial);
        let measured = match trial::run(rig, &conditions, trial, &progress) {
            Ok(measured) => measured,
            Err(error) => {
                problem = Some(error);
                break;
            }
        };
        if let Some(trouble) = &measured.trouble {
            progress.complain(&format!("trial {}: {trouble}", trial.order));
        }
        for warning in &measured.warnings {
            progress.say(&format!("warning: trial {}: {warning}", trial.order));
        }
        progress.ends(trial, &measured.row);
        problem = folder.add(measured).err();
        if problem.is_some() || rig.interrupt.is_set() {
            break;
        }
    }
    progress.finish();
    let complete = folder.rows.len() == experiment.trials.len() && !rig.interrupt.is_set();
    let finished = folder.finish(complete);
    if let Some(problem) = problem.or(finished.err()) {
        return Err(problem);
    }
    // an interrupted run is not a bad one
    let complaints = if rig.interrupt.is_set() { Vec::new() } else { complaints(&folder.rows) };
    if !args.quiet {
        tell(&format!("\n{}", summary_table(&folder.rows, &experiment.subjects)));
        for warning in &folder.warnings {
            eprintln!("warning: {warning}");
        }
        tell(&format!("\nresults in {}\n", one.folder.display()));
    }
    for complaint in &complaints {
        eprintln!("mailrig: {complaint}");
    }
    Ok(complaints.is_empty())
}

/// To standard output. A reader that went away takes nothing from the results.
fn tell(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn manifest(rig: &Rig, one: &Planned) -> Manifest {
    let experiment = &one.experiment;
    let mut manifest = Manifest::new(&one.run_id);
    manifest.started_utc = jiff::Timestamp::now().to_string();
    manifest.command = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    manifest.profile = experiment.name.clone();
    manifest.profile_file = experiment.file.clone();
    manifest.profile_text = experiment.text.clone();
    manifest.seed = experiment.seed;
    manifest.repeats = experiment.repeats;
    manifest.subjects = experiment.subjects.clone();
    manifest.versions.insert("mailrig".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    manifest.grouping = rig.grouping_words.clone();
    manifest
}
