//! Room for as many sockets as there are connections: raises the soft limit of this process where the hard one allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Makes room for `connections` sockets. Fails with the limit when the hard limit does not allow it.
pub fn allow(connections: u64) -> Result<(), u64> {
    let wanted = connections + OTHERS;
    let limits = getrlimit(Resource::Nofile);
    let Some(current) = limits.current.filter(|&current| current < wanted) else { return Ok(()) };
    let maximum = limits.maximum.unwrap_or(wanted);
    if maximum < wanted || setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limits }).is_err() {
        return Err(maximum.max(current));
    }
    Ok(())
}

/// Descriptors beside the connections: standard streams, the runtime's, the signals'.
const OTHERS: u64 = 64;
