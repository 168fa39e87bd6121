//! The options that say where results go, and the files they name.

use load::progress::{Display, Progress};
use load::record::{Output, Outputs, Recorder};
use load::report::{Report, plot};
use load::schedule::Plan;
use load::statistics::summary::Summary;
use load::watch::Watch;
use serde::Serialize;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
#[command(next_help_heading = "Where results go")]
#[group(skip)]
pub struct Args {
    /// Write the results as JSON to this file (-: standard output, instead of the table)
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// Write a time series as CSV, a row for each second
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write the histograms of each second as HdrHistogram's interval log
    #[arg(long, value_name = "FILE")]
    hdr: Option<PathBuf>,
    /// Draw latency by percentile
    #[arg(long, value_name = "FILE.svg")]
    latency_plot: Option<PathBuf>,
    /// No progress and no table
    #[arg(long)]
    quiet: bool,
}

/// Files that are open: it would be a pity to learn after an hour that results have nowhere to go.
pub struct Files {
    json: Option<(PathBuf, Box<dyn Write>)>,
    plot: Option<(PathBuf, File)>,
    pub rows: Option<Output>,
    pub hdr: Option<Output>,
    table: bool,
}

impl Args {
    /// Opens all files.
    ///
    /// # Errors
    /// The one that can't be opened, and why.
    pub fn open(&self) -> Result<Files, String> {
        let output =
            |path: &PathBuf| create(path).map(|file| Output { name: path.clone(), writer: Box::new(file) });
        let on_stdout = self.json.as_deref() == Some(Path::new("-"));
        Ok(Files {
            json: match &self.json {
                None => None,
                Some(_) if on_stdout => Some(("standard output".into(), Box::new(io::stdout()))),
                Some(path) => Some((path.clone(), Box::new(create(path)?))),
            },
            plot: self
                .latency_plot
                .as_ref()
                .map(|path| Ok::<_, String>((path.clone(), create(path)?)))
                .transpose()?,
            rows: self.csv.as_ref().map(output).transpose()?,
            hdr: self.hdr.as_ref().map(output).transpose()?,
            table: !self.quiet && !on_stdout,
        })
    }

    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// How a run of this plan is shown while it lasts.
    pub fn progress(&self, plan: &Plan) -> Option<Progress> {
        match (self.quiet, io::stderr().is_terminal()) {
            (true, _) => None,
            (false, true) => Some(Progress::new(Display::Bar, plan)),
            (false, false) => Some(Progress::new(Display::Lines, plan)),
        }
    }
}

impl Files {
    /// Who is told while the run lasts.
    pub fn watch(&mut self, progress: Option<Progress>) -> Watch {
        let outputs = Outputs { rows: self.rows.take(), hdr: self.hdr.take(), lines: None };
        Watch { progress, recorder: Recorder::start(outputs) }
    }

    /// Writes what is known at the end.
    ///
    /// # Errors
    /// The file that could not be written, and why.
    pub fn finish(mut self, summary: &Summary, report: &Report) -> Result<(), String> {
        self.table(&report.table());
        if let Some((path, mut file)) = self.plot.take() {
            let title = format!("{} messages accepted, {} loop", report.accepted, report.model);
            let svg = plot::svg(&summary.figures.histograms, &title);
            file.write_all(svg.as_bytes()).map_err(|error| fail(&path, &error))?;
        }
        self.json(report)
    }

    /// Prints a table, if one is wanted.
    pub fn table(&self, table: &str) {
        if self.table {
            super::print(table);
        }
    }

    /// Writes results as JSON, if they are wanted so.
    ///
    /// # Errors
    /// The file that could not be written, and why.
    pub fn json(&mut self, results: &impl Serialize) -> Result<(), String> {
        let Some((path, file)) = &mut self.json else { return Ok(()) };
        let mut text = serde_json::to_vec_pretty(results).map_err(|error| error.to_string())?;
        text.push(b'\n');
        file.write_all(&text).map_err(|error| fail(path, &error))
    }
}

fn fail(path: &Path, error: &io::Error) -> String {
    format!("writing {}: {error}", path.display())
}

fn create(path: &Path) -> Result<File, String> {
    File::create(path).map_err(|error| format!("creating {}: {error}", path.display()))
}
