//! How many connections this process can hold, and files all of them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open files as far as it goes and returns how many of them connections may have, when
/// `listeners` sockets listen.
pub fn connections_possible(listeners: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let files = match raised {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    // No limit at all reads as None.
    let files = files.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
    files.saturating_sub(listeners + FILES_RESERVED)
}

/// How many files all processes together may have open, fs.file-max; `None` if it cannot be read.
pub fn files_max() -> Option<u64> {
    std::fs::read_to_string("/proc/sys/fs/file-max").ok()?.trim().parse().ok()
}

/// The standard three, ledger and trace, the runtime's own, and room to refuse a connection in words.
const FILES_RESERVED: usize = 64;
