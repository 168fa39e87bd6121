//! `mailrig simulate`: days of queue in seconds, on the MTA's own scheduler under virtual time.

use measure::{AgeRow, PointRow, SimulationRow, write_rows};
use simulate::limit::Limit;
use simulate::{Answer, Point, Profile, Simulation};
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

#[derive(clap::Args)]
pub struct Args {
    /// What is simulated
    #[arg(value_name = "PROFILE")]
    profile: PathBuf,
    /// Where simulation.csv, age.csv and points.csv go (default: results/local/NAME)
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// No progress and no table, errors only
    #[arg(long)]
    quiet: bool,
}

/// What a point came to.
struct Simulated {
    samples: Vec<SimulationRow>,
    ages: Vec<AgeRow>,
    row: PointRow,
}

/// Exit status: 0 simulated; 1 the results could not be written; 2 usage or profile error.
pub fn main(args: Args) -> ExitCode {
    let file = args.profile.display().to_string();
    let profile = settings::read_text(&args.profile).and_then(|text| simulate::parse(&text, &file));
    let profile = match profile {
        Ok(profile) => profile,
        Err(error) => {
            eprintln!("mailrig: {error}");
            if let Some(hint) = error.hint() {
                eprintln!("hint: {hint}");
            }
            return ExitCode::from(2);
        }
    };
    let folder = args.out.clone().unwrap_or_else(|| Path::new("results/local").join(&profile.name));
    let simulated = all_points(&profile, args.quiet);
    match write(&folder, &simulated) {
        Ok(()) => {
            if !args.quiet {
                tell(&format!("{}\nresults in {}\n", table(&simulated), folder.display()));
            }
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("mailrig: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// As many points at a time as there are processors; in the profile's order afterwards.
fn all_points(profile: &Profile, quiet: bool) -> Vec<Simulated> {
    let found = Mutex::new(HashMap::new());
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(profile.points.len()) {
            scope.spawn(|| {
                while let Some(point) = profile.points.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let simulated = one_point(profile, point, &found);
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    done.push((point.name.clone(), simulated));
                    if !quiet {
                        eprint!("\r{} of {} points", done.len(), profile.points.len());
                    }
                }
            });
        }
    });
    if !quiet {
        eprintln!();
    }
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    let place = |name: &str| profile.points.iter().position(|point| point.name == name);
    done.sort_by_key(|(name, _)| place(name));
    done.into_iter().map(|(_, simulated)| simulated).collect()
}

/// Limits by what was simulated for them; points of one row of the grid often come to the same when scaled.
type Found = Mutex<HashMap<String, Arc<OnceLock<Limit>>>>;

fn limit_of(point: &Point, found: &Found) -> Limit {
    let scaled = simulate::limit::scale(&point.world);
    let slot = {
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(found.entry(scaled.key()).or_default())
    };
    scaled.take_over(&point.name, slot.get_or_init(|| scaled.search(&point.name)))
}

fn one_point(profile: &Profile, point: &Point, found: &Found) -> Simulated {
    let world = &point.world;
    let failing = world.sites.iter().find(|site| site.answer != Answer::Delivered);
    let mut row = PointRow {
        point: point.name.clone(),
        schedule: world.limits.schedule.as_str().to_owned(),
        concurrency: world.limits.slots,
        failure_latency_s: failing.map(|site| site.latency.mean().as_secs_f64()),
        success_latency_s: Some(world.sites[0].latency.mean().as_secs_f64()),
        retry_share: Some(world.limits.retry_share),
        scale: Some(1.0),
        ..PointRow::default()
    };
    if profile.search_limit {
        let found = limit_of(point, found);
        let at_limit = found.samples.last();
        row.limit_messages = Some(found.messages);
        row.limit_days_of_throughput = Some(found.messages / found.formula.throughput() / 86_400.0);
        row.formula_days = Some(found.formula.days());
        row.attempts_per_message = Some(found.attempts_per_message);
        row.good_mail_p50_s = at_limit.and_then(|sample| sample.good_mail_p50_s);
        row.good_mail_p99_s = at_limit.and_then(|sample| sample.good_mail_p99_s);
        row.scale = Some(found.scale);
        return Simulated { samples: found.samples, ages: found.ages, row };
    }
    let mut simulation = Simulation::new(world.clone());
    let (mut samples, mut at) = (Vec::new(), Duration::ZERO);
    while at < profile.duration {
        at = (at + profile.sample_every).min(profile.duration);
        simulation.run_until(at);
        samples.push(simulation.sample(&point.name));
    }
    if let Some(site) = failing {
        let seed = world.seed;
        row.attempts_per_message =
            Some(simulate::attempts_per_message(&world.limits, site.latency.mean(), seed));
    }
    let whole = |of: fn(&SimulationRow) -> Option<f64>| {
        let mut values: Vec<f64> = samples.iter().filter_map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    // the median sample's
    row.good_mail_p50_s = whole(|sample| sample.good_mail_p50_s);
    row.good_mail_p99_s = whole(|sample| sample.good_mail_p99_s);
    Simulated { ages: simulation.ages(&point.name), samples, row }
}

fn write(folder: &Path, simulated: &[Simulated]) -> Result<(), String> {
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let samples: Vec<SimulationRow> = simulated.iter().flat_map(|one| one.samples.clone()).collect();
    let ages: Vec<AgeRow> = simulated.iter().flat_map(|one| one.ages.clone()).collect();
    let rows: Vec<PointRow> = simulated.iter().map(|one| one.row.clone()).collect();
    let in_words = |error: measure::Error| error.to_string();
    write_rows(&folder.join("simulation.csv"), &samples).map_err(in_words)?;
    write_rows(&folder.join("age.csv"), &ages).map_err(in_words)?;
    write_rows(&folder.join("points.csv"), &rows).map_err(in_words)
}

fn table(simulated: &[Simulated]) -> String {
    let mut text = format!(
        "\n{:<32} {:>14} {:>10} {:>10} {:>10} {:>10}\n",
        "point", "limit messages", "days", "formula", "good p99 s", "scale"
    );
    let cell = |value: Option<f64>| {
        value.map_or(String::new(), |value| format!("{:.4}", measure::cell::round(value)))
    };
    for PointRow {
        point,
        limit_messages,
        limit_days_of_throughput,
        formula_days,
        good_mail_p99_s,
        scale,
        ..
    } in simulated.iter().map(|one| &one.row)
    {
        text.push_str(&format!(
            "{point:<32} {:>14} {:>10} {:>10} {:>10} {:>10}\n",
            limit_messages.map_or(String::new(), |messages| format!("{messages:.0}")),
            cell(*limit_days_of_throughput),
            cell(*formula_days),
            cell(*good_mail_p99_s),
            cell(*scale),
        ));
    }
    text
}

/// To standard output. A reader that went away takes nothing from the results.
fn tell(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
