//! The built executable from outside: mail in over sockets, mail out over sockets, processes, files and signals.

mod agents;
mod crash;
mod life;
mod support;
