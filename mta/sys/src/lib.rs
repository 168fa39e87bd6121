//! System calls for a program made of processes: fork and reap, signals as events, descriptors that travel,
//! processor clocks of other processes, the share of a core, where code lies, giving up root.
//!
//! This is the only crate where `unsafe` is allowed, and each block says why it is sound. It knows nothing of
//! mail. Safe wrappers that rustix has are used from there, not wrapped again.

pub mod clock;
pub mod code;
pub mod descriptor;
pub mod memory;
pub mod privilege;
pub mod process;
pub mod schedule;
pub mod signal;
