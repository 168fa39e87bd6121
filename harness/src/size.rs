//! `mailrig size`: from a rate of mail and how long the world takes for a delivery to agents and memory, by the slopes
//! that were measured on this machine.

use crate::doctor::word;
use measure::sizing::{Answer, Demand};
use measure::{MemfitRow, Table};
use profile::HoldState;
use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Where `mailrig run` puts results, and those of the profile that measures slopes.
const RESULTS: &str = "results/local";
const PROFILE: &str = "thousands-of-agents";
const MEBIBYTE: f64 = 1_048_576.0;

#[derive(clap::Args)]
pub struct Args {
    /// Deliveries, such as 50/s, 3000/min or 180000/h
    #[arg(long, value_name = "N/s", value_parser = parse_rate)]
    rate: f64,
    /// How long a delivery takes, from the connection to the last reply
    #[arg(long, value_name = "DURATION", value_parser = settings::duration::parse)]
    latency: Duration,
    /// What there is for delivery
    #[arg(long, value_name = "SIZE", value_parser = settings::size::parse)]
    memory: u64,
    /// Folder with memfit.csv [default: the newest run of thousands-of-agents in results/local]
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// What a delivery mostly waits for: banner_wait or dot_wait
    #[arg(long, value_name = "STATE", default_value = "dot_wait", value_parser = parse_state)]
    state: HoldState,
}

pub fn main(args: &Args) -> ExitCode {
    match answer(args) {
        Ok(text) => {
            // a reader that has seen enough is no failure
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err((problem, hint)) => {
            eprintln!("mailrig: {problem}\nhint: {hint}");
            ExitCode::from(2)
        }
    }
}

type Refusal = (String, String);

fn answer(args: &Args) -> Result<String, Refusal> {
    let measure_first = || format!("measure first: mailrig run profiles/{PROFILE}.toml");
    let folder = match &args.from {
        Some(folder) => folder.clone(),
        None => newest(Path::new(RESULTS))
            .ok_or_else(|| (format!("no run of {PROFILE} in {RESULTS}"), measure_first()))?,
    };
    let file = folder.join("memfit.csv");
    let fits: Vec<MemfitRow> =
        measure::read_rows(&file).map_err(|error| (error.to_string(), measure_first()))?;
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let demand = Demand {
        rate_per_s: args.rate,
        latency_s: args.latency.as_secs_f64(),
        memory_bytes: args.memory,
        // a socket each, and at worst a file for each while large bodies are sent
        connections_per_agent: files.unwrap_or(u64::MAX).saturating_sub(100) / 2,
    };
    let answers = demand.answers(&fits, args.state.as_str());
    if answers.is_empty() {
        let problem =
            format!("{} has no slopes of user and kernel memory in {}", file.display(), args.state.as_str());
        return Err((
            problem,
            "kernel memory needs a memory control group; or give another --state".to_owned(),
        ));
    }
    Ok(text(&demand, &answers, args, &file))
}

fn text(demand: &Demand, answers: &[Answer], args: &Args, file: &Path) -> String {
    let string = "a String accepts every write";
    let mut text = String::new();
    let connections = demand.connections();
    writeln!(
        text,
        "{}/s x {} s = {connections:.0} connections at a time, in {} ({})\n",
        demand.rate_per_s,
        demand.latency_s,
        args.state.as_str(),
        file.display()
    )
    .expect(string);
    let mut table = Table::new(&[
        "subject",
        "driver",
        "spawn",
        "agents",
        "memory MiB",
        "fits",
        "connections in it",
        "then at most/s",
    ]);
    for one in answers {
        table.row([
            one.subject.clone(),
            one.driver.clone(),
            one.spawn.clone(),
            one.agents.to_string(),
            format!("{:.0}", one.bytes / MEBIBYTE),
            if one.bytes <= demand.memory_bytes as f64 { "yes" } else { "no" }.to_owned(),
            format!("{:.0}", one.connections_most),
            format!("{:.0}", one.connections_most / demand.latency_s),
        ]);
    }
    text.push_str(&table.render());
    text.push('\n');
    for one in answers {
        let Answer { subject, user, kernel, bytes, .. } = one;
        writeln!(
            text,
            "{subject}: {connections:.0} x ({:.0} user + {:.0} kernel) B + {:.0} + {:.0} B = {:.1} MiB",
            user.0,
            kernel.0,
            user.1,
            kernel.1,
            bytes / MEBIBYTE
        )
        .expect(string);
        if one.extrapolated {
            writeln!(text, "  beyond what was measured: the line is only assumed to go on").expect(string);
        }
    }
    text.push_str("\nAgents and starter; not the queue manager, the spool's pages in the cache, or a message larger than 4 KiB.\n");
    text
}

/// The newest folder of the profile's runs: their names end in the time.
fn newest(results: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(results).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let runs = entries.filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        name.starts_with(PROFILE) && path.join("memfit.csv").exists()
    });
    runs.max()
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let units = [("/s", 1.0), ("/min", 60.0), ("/h", 3600.0)];
    let rate = units.into_iter().find_map(|(unit, seconds)| {
        let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(number / seconds)
    });
    rate.filter(|rate| rate.is_finite() && *rate > 0.0)
        .ok_or_else(|| "write 50/s, 3000/min or 180000/h".to_owned())
}

fn parse_state(text: &str) -> Result<HoldState, String> {
    word(text, HoldState::ALL, |state| state.as_str())
}

#[cfg(test)]
mod tests {
    use super::parse_rate;

    #[test]
    fn rates_have_units() {
        assert_eq!(
            (parse_rate("50/s"), parse_rate("3000/min"), parse_rate("180000/h")),
            (Ok(50.0), Ok(50.0), Ok(50.0))
        );
        for wrong in ["50", "0/s", "-1/s", "fast/s", "inf/s", "1/day"] {
            assert!(parse_rate(wrong).is_err(), "{wrong}");
        }
    }
}
