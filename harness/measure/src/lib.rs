//! What a run records: the one definition of every CSV column, and the arithmetic between a trace and a table.
//!
//! Reads and writes records and computes on them. It starts nothing, samples nothing and knows no process, so that a
//! published CSV can be judged again anywhere.

pub mod cell;
pub mod comparison;
mod figure;
mod file;
pub mod fit;
mod limit;
pub mod littles_law;
mod manifest;
pub mod memory;
mod row;
mod sample;
mod simulation;
pub mod sizing;
pub mod statistics;
mod summary;
mod table;
mod trace;
mod verdict;
mod word;

pub use figure::{FIGURES, Figure, Ratio};
pub use file::{Error, Record, RowWriter, columns, read_rows, write_rows};
pub use limit::{CpuShare, limited_by};
pub use manifest::{Machine, Manifest, Sampling};
pub use memory::{MemfitRow, MemoryRow, memfit};
pub use row::{Point, RunRow, SCHEMA_VERSION};
pub use sample::SampleRow;
pub use simulation::{AgeRow, PointRow, SimulationRow};
pub use summary::{SummaryRow, summarize, summary_table};
pub use table::{Table, spread};
pub use trace::{Delivery, InFlightSample, Trace, TraceFigures};
pub use verdict::{Account, complaints};
pub use word::{Grouping, InvalidReason, LimitedBy, Placement};
