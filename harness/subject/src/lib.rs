//! What one trial is made of, seen from the operating system: child processes, control groups, cores, samples,
//! the control socket, the sink's live figures, and what must be cleaned when the harness dies.
//!
//! Must not know what a profile or a CSV is, nor anything inside the programs that it starts: a subject is a
//! program, a configuration, lines that it prints, and a control socket.

pub mod census;
pub mod child;
pub mod control;
pub mod cores;
pub mod enter;
pub mod footprint;
pub mod groups;
pub mod guard;
pub mod hierarchy;
pub mod interrupt;
pub mod limits;
pub mod live;
pub mod machine;
pub mod mappings;
pub mod process;
pub mod role;
pub mod sampling;

mod error;

pub use error::Error;
