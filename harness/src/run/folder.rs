//! The folder of a run: rows are on disk as soon as their trial has ended, so that an aborted run keeps them.

use super::trial::{IN_FLIGHT_INTERVAL, Measured};
use measure::{Manifest, MemoryRow, RowWriter, RunRow, SampleRow, Sampling, memfit, summarize, write_rows};
use std::path::{Path, PathBuf};
use subject::sampling::{BUDGET_RATIO, Cost, INTERVAL, READS_MAX};

pub struct Folder {
    path: PathBuf,
    runs: RowWriter<RunRow>,
    samples: RowWriter<SampleRow>,
    /// There is a file of them only in runs that hold deliveries.
    memory: Vec<MemoryRow>,
    pub rows: Vec<RunRow>,
    pub manifest: Manifest,
    /// About the run as a whole; the manifest has those of single trials too.
    pub warnings: Vec<String>,
    cost: Cost,
}

impl Folder {
    /// Makes the folder and its files, with the manifest as far as it is known.
    ///
    /// # Errors
    /// It can't be made, or holds the records of another run.
    pub fn create(path: &Path, manifest: Manifest) -> Result<Folder, String> {
        std::fs::create_dir_all(path)
            .map_err(|error| format!("making the folder {}: {error}", path.display()))?;
        let runs = RowWriter::create(&path.join("runs.csv")).map_err(|error| error.to_string())?;
        let samples = RowWriter::create(&path.join("samples.csv")).map_err(|error| error.to_string())?;
        let folder = Folder {
            path: path.to_owned(),
            runs,
            samples,
            memory: Vec::new(),
            rows: Vec::new(),
            manifest,
            warnings: Vec::new(),
            cost: Cost::default(),
        };
        folder.write_manifest()?;
        Ok(folder)
    }

    /// Adds a trial.
    ///
    /// # Errors
    /// The disk is full or the like.
    pub fn add(&mut self, measured: Measured) -> Result<(), String> {
        let write = |folder: &mut Folder| {
            folder.runs.write(&measured.row)?;
            folder.runs.flush()?;
            measured.samples.iter().try_for_each(|sample| folder.samples.write(sample))?;
            folder.samples.flush()
        };
        write(self).map_err(|error: measure::Error| error.to_string())?;
        if measured.row.valid {
            self.memory.extend(measured.memory);
        }
        let order = measured.row.order;
        let words = measured.trouble.into_iter().chain(measured.warnings);
        self.manifest.warnings.extend(words.map(|words| format!("trial {order}: {words}")));
        self.rows.push(measured.row);
        let cost = measured.cost;
        self.cost.cpu_s += cost.cpu_s;
        self.cost.elapsed_s += cost.elapsed_s;
        self.cost.looks += cost.looks;
        self.cost.interval_ms_max = self.cost.interval_ms_max.max(cost.interval_ms_max);
        self.cost.processes_were_sampled |= cost.processes_were_sampled;
        Ok(())
    }

    /// Writes summary and manifest over what was measured.
    ///
    /// # Errors
    /// The disk is full or the like.
    pub fn finish(&mut self, complete: bool) -> Result<(), String> {
        if !self.memory.is_empty() {
            let written = write_rows(&self.path.join("memory.csv"), &self.memory);
            let written =
                written.and_then(|()| write_rows(&self.path.join("memfit.csv"), &memfit(&self.memory)));
            written.map_err(|error| error.to_string())?;
        }
        let summary = summarize(&self.rows, &self.manifest.subjects);
        write_rows(&self.path.join("summary.csv"), &summary).map_err(|error| error.to_string())?;
        self.manifest.ended_utc = Some(jiff::Timestamp::now().to_string());
        self.manifest.complete = complete;
        self.manifest.sampling = self.sampling();
        if self.cost.processes_were_sampled {
            self.warnings.push(format!(
                "memory of a role with many processes is that of a rotating part of them (up to {READS_MAX} are read \
                 at a time, fewer where that would take more than {} % of a core), scaled up to their number",
                BUDGET_RATIO * 100.0
            ));
        }
        if self.cost.interval_ms_max > INTERVAL.as_secs_f64() * 1.5e3 {
            let words =
                format!("sampling was slowed down to {:.0} ms to keep it cheap", self.cost.interval_ms_max);
            self.warnings.push(words);
        }
        self.explain_empty_columns();
        self.manifest.warnings.splice(0..0, self.warnings.iter().cloned());
        self.write_manifest()
    }

    fn sampling(&self) -> Sampling {
        let per = |total: f64, parts: f64| (parts > 0.0).then(|| measure::cell::round(total / parts));
        Sampling {
            interval_s: INTERVAL.as_secs_f64(),
            in_flight_interval_s: IN_FLIGHT_INTERVAL.as_secs_f64(),
            sample_mean_s: per(self.cost.cpu_s, self.cost.looks as f64),
            cpu_share: per(self.cost.cpu_s, self.cost.elapsed_s),
            processes_read_max: Some(READS_MAX as u64),
        }
    }

    /// Names the reason for every column that no trial could fill.
    fn explain_empty_columns(&mut self) {
        type Empty = fn(&RunRow) -> bool;
        let columns: [(&str, Empty, &str); 7] = [
            (
                "ramp_s",
                |row| row.ramp_s.is_none(),
                "agents are started on their own only with the load model preload",
            ),
            ("kernel_agents_peak_bytes", |row| row.kernel_agents_peak_bytes.is_none(), NEEDS_GROUPS),
            ("cpu_agents_s", |row| row.cpu_agents_s.is_none(), NEEDS_GROUPS),
            ("cpu_queue_s", |row| row.cpu_queue_s.is_none(), NEEDS_GROUPS),
            ("cpu_reception_s", |row| row.cpu_reception_s.is_none(), NEEDS_GROUPS),
            ("cpu_starter_s", |row| row.cpu_starter_s.is_none(), "the MTA did not tell"),
            (
                "pss_agents_peak_bytes",
                |row| row.pss_agents_peak_bytes.is_none(),
                "/proc/PID/smaps_rollup could not be read",
            ),
        ];
        let measured: Vec<&RunRow> = self.rows.iter().filter(|row| row.elapsed_s.is_some()).collect();
        for (column, empty, reason) in columns {
            if !measured.is_empty() && measured.iter().all(|row| empty(row)) {
                let grouping = &self.manifest.grouping;
                let reason =
                    if reason == NEEDS_GROUPS { format!("{reason}: {grouping}") } else { reason.to_owned() };
                self.manifest.not_measured.insert(column.to_owned(), reason);
            }
        }
    }

    fn write_manifest(&self) -> Result<(), String> {
        self.manifest.write(&self.path.join("manifest.json")).map_err(|error| error.to_string())
    }
}

const NEEDS_GROUPS: &str = "needs a control group with this controller";
