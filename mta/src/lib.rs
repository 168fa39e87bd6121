//! The MTA as a whole: its configuration, and the wiring of its processes.
//!
//! Everything it does lives in the crates below this folder; see ARCHITECTURE.md.

mod agent_kind;
mod c_library;
mod config;
mod executed;
pub mod operate;
mod reload;
mod run;

pub use c_library::restart_without_rseq;
pub use config::{Config, Driver};
pub use executed::agent_process;
pub use run::run;
