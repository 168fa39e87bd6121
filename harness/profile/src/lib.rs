//! What to measure: a profile's text becomes a checked [`Experiment`], every trial of it decided in advance.
//!
//! Nothing is started here and no process is known; whoever runs the trials takes them as they stand. All that can
//! be wrong with a profile is found here, with file, line and what to write instead.

mod check;
mod descriptors;
mod dial;
mod experiment;
mod order;
mod plan;
mod queue;
mod raw;
mod sink;
mod value;

pub use check::{Context, parse, read};
pub use experiment::{
    Dial, Driver, Durability, Experiment, HELD_MESSAGE_BYTES, HoldState, Load, LoadModel, Mta, Placement,
    Queue, SchedulerWord, Spawn, Store, Subject, Tarpits, Tls, Trial,
};
pub use sink::Sink;
