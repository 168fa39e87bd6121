//! The queue under virtual time: days of mail in seconds, on the MTA's own scheduler.
//!
//! A [`World`] says what mail arrives, how the sites answer it, and what the queue manager is told; a [`Simulation`]
//! moves it through the scheduler, which cannot tell that no time passes. [`limit`] searches how deep the deferred queue
//! of a world can be. Pure: no file, clock or thread, and all chance from one seed.

mod formula;
pub mod limit;
mod profile;
mod simulation;
mod world;

pub use formula::{Formula, attempts_per_message};
pub use profile::{Point, Profile, parse};
pub use simulation::Simulation;
pub use world::{Answer, Site, World};
