//! Clients and servers that others wrote, over sockets: each side understands what the other says.
//!
//! What a foreign client gets wrong itself is written down where it shows, so that nobody looks for it in ours.

mod content;
mod installed;
mod keeping_sink;
mod load;
mod mailin;
mod reception;
mod sink {
    mod lettre;
    mod mail_send;
    mod smtplib;
    mod swaks;
}
mod sites;
#[path = "../support/mod.rs"]
mod support;
