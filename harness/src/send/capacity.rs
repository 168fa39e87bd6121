//! `--find-capacity`: the highest rate that holds.

use super::{Failure, measure, output, pace};
use load::capacity::search::Range;
use load::capacity::{Climb, Step, find};
use load::report::condition::{Condition, parse_all};
use load::schedule::stages::parse_rate;
use load::watch::Watch;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

#[derive(clap::Args)]
#[command(next_help_heading = "The highest rate that holds")]
#[group(skip)]
pub struct Args {
    /// Search the highest rate at which all of this is true, such as "p99 < 200ms, errors < 0.1%", and no message is missed
    #[arg(long, value_name = "CONDITIONS", value_parser = parse_wanted)]
    #[arg(conflicts_with_all = ["rate", "stages", "think", "messages", "duration", "warmup", "fail_if"])]
    #[arg(conflicts_with_all = ["csv", "hdr", "latency_plot"])]
    find_capacity: Option<Wanted>,
    /// The first rate that is tried; the highest is --max-rate
    #[arg(long, value_name = "N/s", default_value = "100/s", value_parser = parse_rate, requires = "find_capacity")]
    capacity_from: f64,
    /// How long each rate is held, after a fifth of it to get there
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = super::parse_time)]
    #[arg(requires = "find_capacity")]
    capacity_hold: Duration,
    /// How long the server is left alone between two rates
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = settings::duration::parse)]
    #[arg(requires = "find_capacity")]
    capacity_settle: Duration,
}

/// What must be true of a rate.
#[derive(Clone)]
struct Wanted(Vec<Condition>);

impl Args {
    pub fn is_asked(&self) -> bool {
        self.find_capacity.is_some()
    }

    /// How the capacity is searched, if it is.
    pub fn climb(&self, pace: &pace::Args, options: &load::Options) -> Option<Climb> {
        let wanted = self.find_capacity.as_ref()?;
        Some(Climb {
            range: Range { first: self.capacity_from, ceiling: options.rate_max },
            ramp: self.capacity_hold / 5,
            hold: self.capacity_hold,
            settle: self.capacity_settle,
            spacing: pace.spacing(options.seed),
            wanted: wanted.0.clone(),
            lag_max: options.lag_max,
        })
    }
}

/// Searches and prints the curve. Exit status 1 if no rate held.
pub fn run(
    climb: &Climb,
    mut options: load::Options,
    shards: u32,
    output: &output::Args,
) -> Result<ExitCode, Failure> {
    let mut files = output.open().map_err(Failure::usage)?;
    let run = options.message.run.clone();
    let mut shown = false;
    let curve = find(
        climb,
        |plan, number| {
            options.plan = plan.clone();
            // Each rate is a load of its own: its messages must not be taken for those of another.
            options.message.run = format!("{run}.{number}");
            measure(&options, shards, &mut Watch::default())
        },
        |step| {
            if !output.is_quiet() {
                show(step, &mut shown);
            }
        },
    )?;
    files.table(&curve.table());
    files.json(&curve).map_err(Failure::results)?;
    Ok(match curve.capacity_msg_per_s {
        Some(_) => ExitCode::SUCCESS,
        None => ExitCode::from(1),
    })
}

/// A line for each rate as it goes.
fn show(step: &Step, shown: &mut bool) {
    let head = if std::mem::replace(shown, true) { String::new() } else { Step::head() };
    // Nobody reading is no reason to stop.
    let _ = writeln!(io::stderr(), "{head}{}", step.line());
}

fn parse_wanted(text: &str) -> Result<Wanted, String> {
    parse_all(text).map(Wanted)
}
