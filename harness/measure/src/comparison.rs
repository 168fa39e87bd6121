//! Two runs, or one run's subjects, side by side; refused where a ratio would mix what must not be mixed.

use crate::figure::{Ratio, named, values};
use crate::file::{Error, read_rows};
use crate::manifest::Manifest;
use crate::row::{Point, RunRow, SCHEMA_VERSION};
use crate::summary::{Grid, ratio_words};
use crate::table::{Table, spread};
use crate::word::{Grouping, Placement};
use std::collections::BTreeSet;
use std::path::Path;

/// A run as it was published.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// As it was given on the command line.
    pub name: String,
    pub rows: Vec<RunRow>,
    /// In the profile's order where the manifest tells it, else as they come.
    pub subjects: Vec<String>,
}

/// Why two things are not put side by side, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub message: String,
    pub hint: String,
}

impl Run {
    /// Reads a run's folder, or a `runs.csv` with the `manifest.json` beside it if there is one.
    ///
    /// # Errors
    /// A file that cannot be read, has no rows or is newer than this program, with file and line.
    pub fn read(path: &Path) -> Result<Run, Error> {
        let file = if path.is_dir() { path.join("runs.csv") } else { path.to_owned() };
        let rows: Vec<RunRow> = read_rows(&file)?;
        if rows.is_empty() {
            return Err(Error::new(&file, None, "has no rows"));
        }
        if let Some(at) = rows.iter().position(|row| row.schema_version > SCHEMA_VERSION) {
            let newer = rows[at].schema_version;
            let message =
                format!("schema_version {newer} is newer than this program knows ({SCHEMA_VERSION})");
            return Err(Error::new(&file, Some(at as u64 + 2), message));
        }
        let manifest = file.with_file_name("manifest.json");
        let known = if manifest.exists() { Manifest::read(&manifest)?.subjects } else { Vec::new() };
        let subjects = Grid::new(&rows, &known).subjects;
        Ok(Run { name: path.display().to_string(), rows, subjects })
    }

    /// Makes another subject the one that ratios refer to.
    ///
    /// # Errors
    /// The run has no such subject.
    pub fn set_base(&mut self, base: &str) -> Result<(), Refusal> {
        match self.subjects.iter().position(|subject| subject == base) {
            Some(at) => {
                let subject = self.subjects.remove(at);
                self.subjects.insert(0, subject);
                Ok(())
            }
            None => Err(Refusal {
                message: format!("{}: no subject is called `{base}`", self.name),
                hint: format!("the subjects are {}", self.subjects.join(", ")),
            }),
        }
    }
}

/// One run's subjects side by side, ratios to the first, ranges over the blocks.
///
/// # Errors
/// The rows are of more than one run or load model, or were placed differently.
pub fn of_subjects(run: &Run) -> Result<String, Refusal> {
    let rows: Vec<&RunRow> = run.rows.iter().collect();
    let mixed: Vec<String> = WITHIN_RUN
        .iter()
        .map(|column| (column, column.values(&rows)))
        .filter(|(_, values)| values.len() > 1)
        .map(|(column, values)| format!("{} ({})", column.name, joined(&values)))
        .collect();
    if !mixed.is_empty() {
        return Err(Refusal {
            message: format!("{}: its rows differ in {}", run.name, mixed.join(", ")),
            hint: "only rows of one run, under one load model, can be put in a ratio; split the file"
                .to_owned(),
        });
    }
    let grid = Grid::new(&run.rows, &run.subjects);
    let (base, others) = grid.subjects.split_first().expect("a run that was read has rows");
    let ratio_heads: Vec<String> = others.iter().map(|other| format!("{other} / {base}")).collect();
    let mut header = vec!["point", "figure", base.as_str()];
    for (other, head) in others.iter().zip(&ratio_heads) {
        header.extend([other.as_str(), head.as_str()]);
    }
    let mut table = Table::new(&header);
    for point in &grid.points {
        table.rule();
        let base_rows = grid.rows(base, point);
        for name in SHOWN {
            let figure = named(name);
            let mut cells =
                vec![first_of(SHOWN, name, point), (*name).to_owned(), values_of(&base_rows, name)];
            for other in others {
                let own = grid.rows(other, point);
                let ratio = Ratio::within_run(&own, &base_rows, figure);
                cells.extend([values_of(&own, name), ratio.as_ref().map_or(String::new(), ratio_words)]);
            }
            table.row(cells);
        }
    }
    let notes = [
        unequal(&grid, &DURABILITY, "do not promise the same durability"),
        unequal(&grid, &STORE, "do not keep their queues in the same store"),
    ];
    Ok(table.render() + &notes.concat())
}

/// Two runs side by side, `b` by `a`, wherever both have the same subject at the same point.
///
/// # Errors
/// Nothing matches, or what matches was measured under different conditions; says which columns differ.
pub fn of_runs(a: &Run, b: &Run) -> Result<String, Refusal> {
    let (grid_a, grid_b) = (Grid::new(&a.rows, &a.subjects), Grid::new(&b.rows, &b.subjects));
    let mut cells = Vec::new();
    for point in &grid_a.points {
        for subject in &grid_a.subjects {
            let (own_a, own_b) = (grid_a.rows(subject, point), grid_b.rows(subject, point));
            if !own_a.is_empty() && !own_b.is_empty() {
                cells.push((point, subject, own_a, own_b));
            }
        }
    }
    if cells.is_empty() {
        return Err(Refusal {
            message: format!("{} and {} have no subject at the same point", a.name, b.name),
            hint: format!("{} has {}; {} has {}", a.name, extent(&grid_a), b.name, extent(&grid_b)),
        });
    }
    let differing: BTreeSet<String> = cells
        .iter()
        .flat_map(|(_, _, own_a, own_b)| {
            let store = STORE.is_said(own_a, own_b).then_some(&STORE);
            BETWEEN_RUNS.iter().chain(store).filter_map(|column| column.difference(own_a, own_b))
        })
        .collect();
    if !differing.is_empty() {
        let columns: Vec<String> = differing.into_iter().collect();
        return Err(Refusal {
            message: format!("{} and {} differ in {}", a.name, b.name, columns.join(", ")),
            hint: "a ratio needs both measured alike; run one of them again under the other's conditions"
                .to_owned(),
        });
    }
    let mut table = Table::new(&["point", "subject", "figure", "A", "B", "B / A"]);
    for (point, subject, own_a, own_b) in &cells {
        table.rule();
        for name in SHOWN {
            let ratio = Ratio::between_runs(own_b, own_a, named(name));
            table.row([
                first_of(SHOWN, name, point),
                first_of(SHOWN, name, subject),
                (*name).to_owned(),
                values_of(own_a, name),
                values_of(own_b, name),
                ratio.as_ref().map_or(String::new(), ratio_words),
            ]);
        }
    }
    let mut text = format!("A = {}\nB = {}\n\n{}", a.name, b.name, table.render());
    let left_out = left_out(&grid_a, &grid_b);
    text.push_str(
        "\nRanges are the extremes of one run against those of the other; the two share no block.\n",
    );
    if !left_out.is_empty() {
        text.push_str(&format!("Only in one of the two: {}.\n", left_out.join("; ")));
    }
    let untold = |(_, _, own_a, own_b): &(_, _, Vec<&RunRow>, Vec<&RunRow>)| {
        !STORE.is_said(own_a, own_b) && STORE.difference(own_a, own_b).is_some()
    };
    if cells.iter().any(untold) {
        text.push_str("One of the two does not say in which store its queue was (column `store`).\n");
    }
    let built: BTreeSet<String> = cells
        .iter()
        .flat_map(|(_, subject, own_a, own_b)| {
            SUBJECT
                .iter()
                .filter_map(move |column| Some(format!("{subject}: {}", column.difference(own_a, own_b)?)))
        })
        .collect();
    for difference in built {
        text.push_str(&format!("Not the same subject in both: {difference}.\n"));
    }
    Ok(text)
}

/// A column that says how something was measured.
struct Condition {
    name: &'static str,
    of: fn(&RunRow) -> String,
}

impl Condition {
    fn values(&self, rows: &[&RunRow]) -> BTreeSet<String> {
        rows.iter().map(|row| (self.of)(row)).collect()
    }

    /// Both runs say it in every row.
    fn is_said(&self, a: &[&RunRow], b: &[&RunRow]) -> bool {
        a.iter().chain(b).all(|row| !(self.of)(row).is_empty())
    }

    fn difference(&self, a: &[&RunRow], b: &[&RunRow]) -> Option<String> {
        let (a, b) = (self.values(a), self.values(b));
        (a != b).then(|| format!("{} ({} and {})", self.name, joined(&a), joined(&b)))
    }
}

fn joined(values: &BTreeSet<String>) -> String {
    let values: Vec<&str> =
        values.iter().map(|value| if value.is_empty() { "nothing" } else { value }).collect();
    values.join(", ")
}

fn number<T: ToString>(value: Option<T>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}

const RUN_ID: Condition = Condition { name: "run_id", of: |row| row.run_id.clone() };
const LOAD_MODEL: Condition = Condition { name: "load_model", of: |row| row.load_model.clone() };
const PLACEMENT: Condition =
    Condition { name: "placement", of: |row| row.placement.map_or("", Placement::as_str).to_owned() };
const GROUPING: Condition =
    Condition { name: "grouping", of: |row| row.grouping.map_or("", Grouping::as_str).to_owned() };
const DURABILITY: Condition = Condition { name: "durability", of: |row| row.durability.clone() };
/// Not in older files.
const STORE: Condition = Condition { name: "store", of: |row| row.store.clone() };
const TLS: Condition = Condition { name: "tls", of: |row| row.tls.clone() };
const CARRIED: Condition =
    Condition { name: "messages_per_connection", of: |row| number(row.messages_per_connection) };

const WITHIN_RUN: &[Condition] = &[RUN_ID, LOAD_MODEL, PLACEMENT, GROUPING, TLS];
const BETWEEN_RUNS: &[Condition] = &[LOAD_MODEL, PLACEMENT, GROUPING, DURABILITY, TLS, CARRIED];
const SUBJECT: &[Condition] = &[
    Condition { name: "mta", of: |row| row.mta.clone() },
    Condition { name: "driver", of: |row| row.driver.clone() },
    Condition { name: "spawn", of: |row| row.spawn.clone() },
    Condition { name: "agents_max", of: |row| number(row.agents_max) },
    Condition { name: "connections_per_agent", of: |row| number(row.connections_per_agent) },
];

/// The figures of a comparison; all of them are in `summary.csv`.
const SHOWN: &[&str] = &[
    "throughput_msg_per_s",
    "delivery_p50_ms",
    "delivery_p99_ms",
    "in_flight_mean",
    "cpu_mta_s_per_1000_messages",
    "pss_agents_peak_bytes",
    "ramp_s",
];

/// What a block of lines has in common stands on its first line only.
fn first_of(names: &[&str], name: &str, text: &impl ToString) -> String {
    if names[0] == name { text.to_string() } else { String::new() }
}

fn values_of(rows: &[&RunRow], name: &str) -> String {
    values(rows, named(name))
        .map_or(String::new(), |values| spread(values.median(), values.min(), values.max()))
}

/// Says of a run whose subjects differ in a column what each has there.
fn unequal(grid: &Grid, column: &Condition, what: &str) -> String {
    let value = |subject: &String| {
        let rows: Vec<&RunRow> = grid.points.iter().flat_map(|point| grid.rows(subject, point)).collect();
        (subject.clone(), column.values(&rows))
    };
    let values: Vec<(String, BTreeSet<String>)> = grid.subjects.iter().map(value).collect();
    if values.iter().all(|(_, one)| *one == values[0].1) {
        return String::new();
    }
    let words: Vec<String> =
        values.iter().map(|(subject, one)| format!("{subject} {}", joined(one))).collect();
    format!("\nThe subjects {what}: {}.\n", words.join(", "))
}

fn extent(grid: &Grid) -> String {
    let points: Vec<String> = grid.points.iter().map(Point::to_string).collect();
    format!("{} at {}", grid.subjects.join(", "), points.join("; "))
}

fn left_out(a: &Grid, b: &Grid) -> Vec<String> {
    let mut only = Vec::new();
    for (own, other) in [(a, b), (b, a)] {
        for subject in &own.subjects {
            for point in &own.points {
                if !own.rows(subject, point).is_empty() && other.rows(subject, point).is_empty() {
                    only.push(format!("{subject} at {point}"));
                }
            }
        }
    }
    only
}
