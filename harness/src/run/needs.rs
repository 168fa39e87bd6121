//! What the largest trials of an experiment need of the machine, so that one that can't hold them says so before anything
//! is started.

use profile::{Driver, Experiment, HELD_MESSAGE_BYTES, HoldState, Spawn, Trial};
use subject::limits::{Limits, Needs, TooLow};

/// Harness, guard, sink, load generator, and the MTA's own, with the threads of each.
const PROCESSES_BESIDE: u64 = 40;
/// The load generator's connections, and what waits in TIME_WAIT of it.
const PORTS_BESIDE: u64 = 1000;
/// Of all that is not an agent or a connection.
const MEMORY_BESIDE: u64 = 200 << 20;

// user and kernel memory together, rounded up from what was measured (results/*/thousands-of-agents/memfit.csv)
const BYTES_OF_ZYGOTE: u64 = 200 << 10;
const BYTES_OF_EXECUTED: u64 = 400 << 10;
const BYTES_OF_THREAD: u64 = 64 << 10;
const BYTES_OF_TASK: u64 = 16 << 10;
/// What the sink and the queue manager have of a connection.
const BYTES_BESIDE: u64 = 24 << 10;

/// Checks every trial against the machine as it is now.
pub fn check(experiment: &Experiment) -> Result<(), TooLow> {
    let limits = Limits::read();
    for trial in &experiment.trials {
        limits.check(&of(trial)).map_err(|refused| TooLow {
            message: format!(
                "{}: `{}` at concurrency {}: {}",
                experiment.file, trial.subject.name, trial.concurrency, refused.message
            ),
            hint: refused.hint,
        })?;
    }
    Ok(())
}

fn of(trial: &Trial) -> Needs {
    let connections = u64::from(trial.concurrency);
    let (mut processes, mut threads, mut threads_of_one, mut bytes) = (0, 0, 0, BYTES_BESIDE);
    if let Some(dial) = trial.subject.mta.dial() {
        processes = u64::from(dial.agents_max);
        threads = processes;
        bytes += match (dial.driver, dial.spawn) {
            (Driver::Blocking, Spawn::Exec) => BYTES_OF_EXECUTED,
            (Driver::Blocking, _) => BYTES_OF_ZYGOTE,
            (Driver::Threads, _) => BYTES_OF_THREAD,
            (Driver::Event, _) => BYTES_OF_TASK,
        };
        if dial.driver == Driver::Threads {
            threads += connections;
            threads_of_one = connections.min(u64::from(dial.connections_per_agent));
        }
    }
    if trial.hold == Some(HoldState::MidData) {
        // in the sockets' buffers, most of it on the sender's side
        bytes += HELD_MESSAGE_BYTES / 2;
    }
    Needs {
        processes: processes + PROCESSES_BESIDE,
        threads: threads + PROCESSES_BESIDE,
        threads_of_one,
        ports: connections + PORTS_BESIDE,
        memory_bytes: MEMORY_BESIDE + connections * bytes,
    }
}
