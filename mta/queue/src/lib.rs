//! The queue manager: the only process that writes the spool, and the one that decides every delivery.
//!
//! One loop over epoll; what has to wait for a disk is done by the threads of [`writer`] and [`reader`]. It forks nothing,
//! speaks no SMTP (a driver inside its process is a thread of its own), and waits for no single agent, client or sync.

mod agents;
mod bounce;
mod control;
mod delivering;
mod done;
mod endings;
mod giving_up;
mod import;
mod intake;
mod loading;
mod log;
mod mail;
mod manager;
mod moderation;
mod operate;
mod operator;
mod policy;
mod poller;
mod reader;
mod routes;
mod space;
mod starter;
mod stream;
mod upkeep;
pub mod view;
mod within;
mod writer;

pub use manager::{Channels, Settings, run};
pub use policy::{NewAgents, Policy, Reader, Reread};
pub use routes::Routes;
pub use within::DriverWithin;
