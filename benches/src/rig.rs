//! What a bench of whole programs stands on: the mailrig executable, and a guard that ends every child, and theirs,
//! when the bench dies without having done so.

use crate::process::Process;
use rustix::process::Pid;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use subject::groups::{Base, Plan};
use subject::guard::Guard;
use subject::{hierarchy, machine, process};

/// Until a sink listens.
pub const START_BOUND: Duration = Duration::from_secs(20);

/// Looks for processes that are left, 10 ms apart.
const KILL_ROUNDS: u32 = 500;

pub struct Rig {
    pub mailrig: PathBuf,
    /// Files that each child may have open; `None` = no limit.
    pub files_max: Option<u64>,
    mark: String,
    guard: Guard,
}

impl Rig {
    /// Builds mailrig and starts the guard. Children may then hold as many files as the hard limit allows.
    pub fn start() -> Result<Rig, String> {
        let files_max = machine::raise_open_file_limit();
        let files_max = files_max.map_err(|error| format!("raising the limit of open files: {error}"))?;
        let mailrig = build()?;
        let mark = format!("{}-{}", std::process::id(), subject::sampling::monotonic_ns());
        let guard = Guard::start(&mailrig, &["guard"], &mark).map_err(|error| error.to_string())?;
        Ok(Rig { mailrig, files_max, mark, guard })
    }

    /// A child to be started, with nothing to read and nobody to listen to what it says.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env(process::MARK, &self.mark).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// All that lives of what [`Rig::command`] started, and what that started itself.
    pub fn processes(&self) -> Vec<Pid> {
        process::marked(&self.mark)
    }

    /// Kills what lives of them.
    pub fn end_all(&self) -> Result<(), String> {
        let gone = process::kill_marked(&self.mark, KILL_ROUNDS);
        if gone { Ok(()) } else { Err("processes do not end although killed".to_owned()) }
    }

    /// `mailrig sink` with these arguments, ready, and the address of its first listener.
    pub fn sink(&self, arguments: &[&str]) -> Result<(Process, SocketAddr), String> {
        let mut command = self.command(&self.mailrig);
        let mut sink = Process::start("mailrig sink", command.args(arguments).stdout(Stdio::piped()))?;
        let line = sink.line(START_BOUND)?;
        let address = line.strip_prefix("ready ").and_then(|address| address.parse().ok());
        let address = address.ok_or_else(|| format!("mailrig sink said {line:?}, not where it is ready"))?;
        Ok((sink, address))
    }

    /// Control groups, of which [`Base::remove`] must be called at the end; an error says why there are none.
    pub fn groups(&mut self) -> Result<Base, String> {
        let mounted = hierarchy::mounted().map_err(|error| format!("looking for control groups: {error}"))?;
        let plan = Plan::find(&mounted, &format!("mailrig-{}", std::process::id()))?;
        self.guard.groups(plan.footprint()).map_err(|error| error.to_string())?;
        plan.make(Some(self.guard.pid()))
    }

    /// All children have ended: so does the guard.
    pub fn finish(self) {
        self.guard.goodbye();
    }

    /// Machine and versions, without which no figure means anything: a line each.
    pub fn describe(&self, others: &str) -> Result<String, String> {
        let cpu = machine::cpu_model().unwrap_or_else(|| "unknown processor".to_owned());
        let cores =
            std::thread::available_parallelism().map_err(|error| format!("counting cores: {error}"))?;
        let version = output(Command::new(&self.mailrig).arg("--version"))?;
        Ok(format!(
            "machine: {cpu}, {cores} cores, {}\nversions: {}{others}\nmailrig executable: {}",
            machine::kernel(),
            version.trim(),
            self.mailrig.display()
        ))
    }

    /// Whether `mailrig sink` has this option.
    pub fn sink_has(&self, option: &str) -> Result<bool, String> {
        Ok(output(Command::new(&self.mailrig).args(["sink", "--help"]))?.contains(option))
    }
}

/// Builds the executable as it is released, whatever this bench was built for, and gives its path.
///
/// Cargo tells a program of the executables of its own package only, and builds those of another for nobody.
fn build() -> Result<PathBuf, String> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let messages = output(
        Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--release", "--package", "mailrig", "--bin", "mailrig"])
            .args(["--message-format=json-render-diagnostics", "--manifest-path", manifest])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit()),
    )?;
    let mut executables = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == "mailrig").then(|| message["executable"].as_str().map(PathBuf::from))?
    });
    executables.next().ok_or_else(|| "cargo did not say where it put the mailrig executable".to_owned())
}

/// What a program that ends by itself prints.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("starting {name}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{name}: {}", output.status))
    }
}

/// An address of this host where nobody listens, for programs that can't take a free port themselves.
pub fn free_address() -> Result<SocketAddr, String> {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    address.map_err(|error| format!("finding a free port: {error}"))
}
