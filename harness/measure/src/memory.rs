//! `memory.csv` and `memfit.csv`: what held connections cost, as measured, and as the slope of a line.

use crate::cell::figure;
use crate::file::Record;
use crate::fit::Line;
use crate::row::{RunRow, SCHEMA_VERSION};
use serde::{Deserialize, Serialize};

/// A row of `memory.csv`: one role at one moment of a trial that holds its deliveries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemoryRow {
    pub schema_version: u32,
    pub run_id: String,
    /// The trial's place in the run, as in `runs.csv`.
    pub order: u32,
    pub profile: String,
    pub subject: String,
    pub driver: String,
    pub spawn: String,
    pub agents_max: Option<u32>,
    pub repeat: u32,
    pub state: String,
    /// Deliveries that were held at once, each on a connection of its own.
    pub connections: u32,
    /// `ready`, `held` or `drained`.
    pub moment: String,
    pub role: String,
    pub processes: u64,
    /// Of all processes of the role, each of which was read.
    pub uss_bytes: Option<u64>,
    pub pss_bytes: Option<u64>,
    pub kernel_bytes: Option<u64>,
}

impl MemoryRow {
    /// A role in the trial of `row`, nothing measured yet.
    pub fn new(row: &RunRow, state: &str, moment: &str, role: &str) -> MemoryRow {
        MemoryRow {
            schema_version: SCHEMA_VERSION,
            run_id: row.run_id.clone(),
            order: row.order,
            profile: row.profile.clone(),
            subject: row.subject.clone(),
            driver: row.driver.clone(),
            spawn: row.spawn.clone(),
            agents_max: row.agents_max,
            repeat: row.repeat,
            state: state.to_owned(),
            connections: row.concurrency,
            moment: moment.to_owned(),
            role: role.to_owned(),
            processes: 0,
            uss_bytes: None,
            pss_bytes: None,
            kernel_bytes: None,
        }
    }
}

impl Record for MemoryRow {
    fn empty() -> MemoryRow {
        MemoryRow::new(&RunRow::new(""), "", "", "")
    }
}

/// A row of `memfit.csv`: one kind of memory of one subject in one state, as a line over held connections.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemfitRow {
    pub profile: String,
    pub subject: String,
    pub driver: String,
    pub spawn: String,
    pub state: String,
    /// `uss`, `pss` or `kernel`.
    pub kind: String,
    #[serde(serialize_with = "figure")]
    pub slope_bytes_per_connection: Option<f64>,
    /// 95 % interval of the slope.
    #[serde(serialize_with = "figure")]
    pub slope_ci_low_bytes: Option<f64>,
    #[serde(serialize_with = "figure")]
    pub slope_ci_high_bytes: Option<f64>,
    #[serde(serialize_with = "figure")]
    pub intercept_bytes: Option<f64>,
    #[serde(serialize_with = "figure")]
    pub r2: Option<f64>,
    /// The numbers of held connections that the line goes through, blanks between them.
    pub levels: String,
}

impl Record for MemfitRow {
    fn empty() -> MemfitRow {
        MemfitRow {
            profile: String::new(),
            subject: String::new(),
            driver: String::new(),
            spawn: String::new(),
            state: String::new(),
            kind: String::new(),
            slope_bytes_per_connection: None,
            slope_ci_low_bytes: None,
            slope_ci_high_bytes: None,
            intercept_bytes: None,
            r2: None,
            levels: String::new(),
        }
    }
}

/// The moment at which every delivery of a trial is held.
pub const HELD: &str = "held";

type Kind = (&'static str, fn(&MemoryRow) -> Option<u64>);
const KINDS: [Kind; 3] =
    [("uss", |row| row.uss_bytes), ("pss", |row| row.pss_bytes), ("kernel", |row| row.kernel_bytes)];

/// Lines through what delivery had at [`HELD`]: agents and starter together, or the queue manager where the connections
/// are its own. Subjects and states in the order in which they come; no row for what was not measured.
pub fn memfit(rows: &[MemoryRow]) -> Vec<MemfitRow> {
    let held: Vec<&MemoryRow> = rows.iter().filter(|row| row.moment == HELD).collect();
    let mut groups: Vec<(&str, &str)> = Vec::new();
    for row in &held {
        let group = (row.subject.as_str(), row.state.as_str());
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    let mut fits = Vec::new();
    for (subject, state) in groups {
        let own: Vec<&MemoryRow> =
            held.iter().copied().filter(|row| row.subject == subject && row.state == state).collect();
        for (kind, of) in KINDS {
            let points = points(&own, of);
            let Some(line) = Line::fit(&points) else { continue };
            let mut levels: Vec<u32> = points.iter().map(|point| point.0 as u32).collect();
            levels.sort_unstable();
            levels.dedup();
            let first = own[0];
            fits.push(MemfitRow {
                profile: first.profile.clone(),
                subject: subject.to_owned(),
                driver: first.driver.clone(),
                spawn: first.spawn.clone(),
                state: state.to_owned(),
                kind: kind.to_owned(),
                slope_bytes_per_connection: Some(line.slope),
                slope_ci_low_bytes: line.slope_interval.map(|interval| interval.0),
                slope_ci_high_bytes: line.slope_interval.map(|interval| interval.1),
                intercept_bytes: Some(line.intercept),
                r2: Some(line.r2),
                levels: levels.iter().map(u32::to_string).collect::<Vec<_>>().join(" "),
            });
        }
    }
    fits
}

/// Held connections and bytes, a point a trial; a trial in which a part could not be read is none.
fn points(rows: &[&MemoryRow], of: fn(&MemoryRow) -> Option<u64>) -> Vec<(f64, f64)> {
    let mut orders: Vec<u32> = rows.iter().map(|row| row.order).collect();
    orders.dedup();
    let point = |order: u32| {
        let trial = || rows.iter().filter(move |row| row.order == order);
        let roles: &[&str] =
            if trial().any(|row| row.agents_max == Some(0)) { &["queue"] } else { &["agents", "starter"] };
        let mut parts = trial().filter(|row| roles.contains(&row.role.as_str())).peekable();
        let connections = f64::from(parts.peek()?.connections);
        // the starter is in the agents' group, so the kernel's part of both is in the agents' row
        let bytes: Vec<u64> = parts.filter_map(|row| of(row)).collect();
        (!bytes.is_empty()).then(|| (connections, bytes.iter().sum::<u64>() as f64))
    };
    orders.into_iter().filter_map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(order: u32, connections: u32, role: &str, bytes: (u64, Option<u64>)) -> MemoryRow {
        let mut run = RunRow::new("r");
        (run.order, run.concurrency, run.subject, run.agents_max) = (order, connections, "s".into(), Some(9));
        let mut row = MemoryRow::new(&run, "dot_wait", HELD, role);
        (row.uss_bytes, row.kernel_bytes) = (Some(bytes.0), bytes.1);
        row
    }

    #[test]
    fn agents_and_starter_are_one_line_and_others_none() {
        let mut rows = Vec::new();
        for (order, connections) in [(1, 100), (2, 1000), (3, 5000)] {
            let held = u64::from(connections);
            rows.push(row(order, connections, "agents", (4096 * held, Some(90_000 * held + 7000))));
            rows.push(row(order, connections, "starter", (65_536, None)));
            rows.push(row(order, connections, "queue", (1 << 30, Some(1 << 20))));
            let mut ready = row(order, connections, "agents", (1, Some(1)));
            ready.moment = "ready".to_owned();
            rows.push(ready);
        }
        let fits = memfit(&rows);
        assert_eq!(fits.iter().map(|fit| fit.kind.as_str()).collect::<Vec<_>>(), ["uss", "kernel"]);
        let figures = |fit: &MemfitRow| {
            (fit.slope_bytes_per_connection.unwrap().round(), fit.intercept_bytes.unwrap().round())
        };
        assert_eq!(figures(&fits[0]), (4096.0, 65_536.0));
        assert_eq!(figures(&fits[1]), (90_000.0, 7000.0));
        assert!(fits.iter().all(|fit| fit.levels == "100 1000 5000" && fit.r2 > Some(0.999_999)));
        for row in &mut rows {
            row.agents_max = Some(0);
        }
        assert_eq!(
            figures(&memfit(&rows)[0]),
            (0.0, f64::from(1 << 30)),
            "then the connections are the queue's"
        );
    }
}
