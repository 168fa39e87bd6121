//! New agents a second, through starter and queue manager: each is used once, so for each there is a start, a request
//! handed over, a delivery to a sink on the same machine, a report and an end. All on whatever cores there are, shared.
//!
//! `cargo bench --bench agents`; a line for each way to start them. Also how long it takes to have thousands ready at once.

use benches::process::Process;
use benches::rig::Rig;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};
use subject::control::Control;
use subject::interrupt::Interrupt;
use subject::sampling::monotonic_ns;

const START_BOUND: Duration = Duration::from_secs(20);
const DRAIN_BOUND: Duration = Duration::from_secs(120);
const GRACE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(5);
const SPAWNS: [&str; 2] = ["zygote", "exec"];
/// Agents at a time, each with its one delivery.
const AT_A_TIME: usize = 50;

fn main() -> ExitCode {
    let testing = std::env::args().any(|argument| argument == "--test");
    let (used, ready) = if testing { (50, 20) } else { (10_000, 9_900) };
    match bench(used, ready) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("agents: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn bench(used: usize, ready: usize) -> Result<(), String> {
    let rig = Rig::start()?;
    println!("{}", rig.describe("")?);
    let measured = SPAWNS.into_iter().try_for_each(|spawn| {
        let rate = new_agents_a_second(&rig, spawn, used)?;
        println!(
            "{spawn}: {rate:.0} new agents a second, {used} of one delivery each, {AT_A_TIME} at a time"
        );
        let ramp_s = ramp(&rig, spawn, ready)?;
        println!("{spawn}: {ready} agents ready after {ramp_s:.2} s ({:.0} a second)", ready as f64 / ramp_s);
        Ok(())
    });
    let ended = rig.end_all();
    rig.finish();
    measured.and(ended)
}

/// A sink and an MTA that holds its mail.
struct Pair {
    sink: Process,
    mta: Process,
    control: Control,
    _folder: Folder,
}

/// Removed when dropped.
struct Folder(std::path::PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Pair {
    fn start(
        rig: &Rig,
        spawn: &str,
        agents_max: usize,
        max_use: usize,
        messages: usize,
    ) -> Result<Pair, String> {
        let (sink, address) = rig.sink(&["sink", "--listen", "127.0.0.1:0", "--quiet"])?;
        let folder =
            std::env::temp_dir().join(format!("mailrig-agents-{}-{}", std::process::id(), monotonic_ns()));
        std::fs::create_dir(&folder).map_err(|error| format!("making {}: {error}", folder.display()))?;
        let folder = Folder(folder);
        let file = |name: &str| folder.0.join(name);
        let text = format!(
            "listen = [\"127.0.0.1:0\"]\nhostname = \"bench.test\"\nspool = \"{}\"\ncontrol = \"{}\"\nlog = \"{}\"\n\
             relayhost = \"{address}\"\ndurability = \"none\"\npaused = true\n\n[delivery]\nspawn = \"{spawn}\"\n\
             agents_max = {agents_max}\nmax_use = {max_use}\n\n[queue]\ndestination_concurrency = {agents_max}\n\
             initial_destination_concurrency = {agents_max}\n",
            file("spool").display(),
            file("control").display(),
            file("log").display(),
        );
        let config = file("mta.toml");
        std::fs::write(&config, text).map_err(|error| format!("writing {}: {error}", config.display()))?;
        let mut command = rig.command(&rig.mailrig);
        command.args(["mta", "run", "--config"]).arg(&config).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut mta = Process::start("mailrig mta", &mut command)?;
        let line = mta.line(START_BOUND)?;
        let address = line.strip_prefix("ready ").ok_or_else(|| format!("the MTA said {line:?}"))?.to_owned();
        send(rig, &address, messages)?;
        let control = Control::connect(Path::new(&file("control")), &Interrupt::default());
        let control = control.map_err(|error| error.to_string())?;
        Ok(Pair { sink, mta, control, _folder: folder })
    }

    fn end(self) -> Result<(), String> {
        self.mta.terminate(GRACE)?;
        self.sink.terminate(GRACE).map(drop)
    }
}

fn send(rig: &Rig, address: &str, messages: usize) -> Result<(), String> {
    let mut command = rig.command(&rig.mailrig);
    command.args(["send", address, "--connections", "50", "--quiet", "--messages", &messages.to_string()]);
    let exit = Process::start("mailrig send", &mut command)?.wait(DRAIN_BOUND)?;
    if exit.end == sys::process::End::Status(0) {
        Ok(())
    } else {
        Err(format!("mailrig send: {:?}", exit.end))
    }
}

fn new_agents_a_second(rig: &Rig, spawn: &str, count: usize) -> Result<f64, String> {
    let mut pair = Pair::start(rig, spawn, AT_A_TIME, 1, count)?;
    let released_ns = pair.control.resume(START_BOUND).map_err(|error| error.to_string())?;
    let end = Instant::now() + DRAIN_BOUND;
    let spawned = loop {
        let status = pair.control.status(START_BOUND).map_err(|error| error.to_string())?;
        if status.delivered >= count as u64 {
            break status.agents.spawned;
        }
        if Instant::now() >= end {
            return Err(format!(
                "{} of {count} delivered after {} s",
                status.delivered,
                DRAIN_BOUND.as_secs()
            ));
        }
        std::thread::sleep(LOOK_EVERY);
    };
    let elapsed_s = (monotonic_ns() - released_ns) as f64 / 1e9;
    pair.end()?;
    if spawned < count as u64 {
        return Err(format!("{spawned} agents made {count} deliveries, though each was to make one"));
    }
    Ok(count as f64 / elapsed_s)
}

/// Seconds until so many agents are ready, each for a message that waits.
fn ramp(rig: &Rig, spawn: &str, count: usize) -> Result<f64, String> {
    let mut pair = Pair::start(rig, spawn, count, 0, count)?;
    let ramp = pair.control.ramp(DRAIN_BOUND).map_err(|error| error.to_string())?;
    pair.end()?;
    if ramp.agents < count as u64 {
        return Err(format!("{} of {count} agents are ready", ramp.agents));
    }
    Ok(ramp.ramp_s)
}
