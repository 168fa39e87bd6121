//! `mailrig compare`: two runs, or one run's subjects, side by side with their ratios.

use measure::comparison::{Refusal, Run, of_runs, of_subjects};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Args {
    /// A run's folder, or its runs.csv
    #[arg(value_name = "A")]
    first: PathBuf,
    /// Another run, to be compared with the first; without it the first run's subjects are compared
    #[arg(value_name = "B")]
    second: Option<PathBuf>,
    /// The subject that ratios within a run refer to (default: the profile's first)
    #[arg(long, value_name = "SUBJECT", conflicts_with = "second")]
    base: Option<String>,
}

pub fn main(args: Args) -> ExitCode {
    match compare(&args) {
        Ok(table) => {
            // A reader that has seen enough (`| head`) is no failure.
            let _ = std::io::stdout().write_all(table.as_bytes());
            ExitCode::SUCCESS
        }
        Err(refusal) => {
            eprintln!("mailrig: {}", refusal.message);
            if !refusal.hint.is_empty() {
                eprintln!("hint: {}", refusal.hint);
            }
            ExitCode::from(2)
        }
    }
}

fn compare(args: &Args) -> Result<String, Refusal> {
    let mut first = read(&args.first)?;
    match &args.second {
        Some(second) => of_runs(&first, &read(second)?),
        None => {
            args.base.iter().try_for_each(|base| first.set_base(base))?;
            of_subjects(&first)
        }
    }
}

fn read(path: &Path) -> Result<Run, Refusal> {
    Run::read(path).map_err(|error| {
        let hint = "give a folder that `mailrig run` wrote, or the runs.csv in it";
        Refusal { message: error.to_string(), hint: hint.to_owned() }
    })
}
