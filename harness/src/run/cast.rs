//! The processes of one trial, started in their places and stopped in good order.

use super::outside::{self, Outside};
use super::results::Sent;
use super::rig::{Rig, Scratch};
use super::settings_text::mta_toml;
use super::trouble::Trouble;
use measure::InvalidReason;
use profile::{Dial, LoadModel, Trial};
use rustix::process::Pid;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use subject::child::{Child, Launcher, Output};
use subject::control::{Control, Status};
use subject::cores::Cores;
use subject::enter::Place;
use subject::groups::{Group, RoleGroups};
use subject::interrupt::Interrupt;
use subject::live::Live;
use subject::role::Role;
use subject::sampling::{Source, Watched};

/// Until a child listens.
pub const START_BOUND: Duration = Duration::from_secs(20);
/// For an answer of the control socket.
pub const ANSWER_BOUND: Duration = Duration::from_secs(10);
/// Between two looks at the queue while nothing suggests that it is empty: an answer costs the queue manager time
/// that is being measured.
pub const STATUS_EVERY: Duration = Duration::from_millis(250);
/// Until the MTA has ended after SIGTERM.
const MTA_GRACE: Duration = Duration::from_secs(10);
/// Until the sink has ended, with its trace of every delivery written.
pub const SINK_GRACE: Duration = Duration::from_secs(30);
/// For either when the operator wants to stop: nobody reads ledger and trace.
pub const HURRIED_GRACE: Duration = Duration::from_millis(500);

pub struct Cast {
    pub mta: Child,
    pub sink: Child,
    pub sink_live: Live,
    pub control: Control,
    pub groups: Option<RoleGroups>,
    pub harness_group: Option<Group>,
    pub starter: Option<Pid>,
    queue: Option<Pid>,
    reception: Option<Pid>,
    /// Without groups: the agents as the last `status` named them.
    agents: Arc<Mutex<Vec<Pid>>>,
    mta_address: SocketAddr,
    launcher: Launcher,
    interrupt: Interrupt,
    load_place: Place,
    pub paths: Paths,
}

/// Files of a trial that are read at its end.
#[derive(Clone)]
pub struct Paths {
    pub ledger: PathBuf,
    pub trace: PathBuf,
    pub sent: PathBuf,
    pub send_log: PathBuf,
}

impl Paths {
    pub fn of(scratch: &Scratch) -> Paths {
        let file = |name: &str| scratch.dir.join(name);
        Paths {
            ledger: file("ledger.json"),
            trace: file("trace"),
            sent: file("sent.json"),
            send_log: file("send.log"),
        }
    }
}

impl Cast {
    /// Sink and MTA, ready, each role in its group.
    pub fn start(
        rig: &Rig,
        trial: &Trial,
        dial: &Dial,
        cores: &Cores,
        scratch: &Scratch,
    ) -> Result<Cast, Trouble> {
        let subject_failed = Trouble::of(InvalidReason::SubjectFailed);
        let groups = rig.groups.as_ref().map(|base| base.trial()).transpose().map_err(&subject_failed)?;
        let place = |role: Role, cores: &[usize]| outside::place(groups.as_ref(), role, cores);
        let paths = Paths::of(scratch);

        let sink_place = place(Role::Sink, &cores.others);
        let Outside { child: sink, live: sink_live, address: sink_address } =
            outside::start_sink(rig, trial, &sink_place, scratch, &paths, cores)?;

        let config = scratch.dir.join("mta.toml");
        let control_path = scratch.sockets.join("control");
        let wrong = |what: String| Trouble::new(InvalidReason::SubjectFailed, what);
        let text =
            mta_toml(trial, dial, sink_address, &scratch.dir.join("spool"), &control_path).map_err(wrong)?;
        std::fs::write(&config, text)
            .map_err(|error| wrong(format!("writing {}: {error}", config.display())))?;
        let log = scratch.dir.join("mta.log");
        let arguments: Vec<OsString> =
            ["mta".into(), "run".into(), "--with-parent".into(), "--config".into(), config.into()].into();
        let mta_place = place(Role::Agents, &cores.subject);
        let mut mta = rig
            .launcher
            .start("MTA", &mta_place, &arguments, Output::Piped, &log)
            .map_err(&subject_failed)?;
        let mta_live = Live::read(mta.stdout().expect("standard output is piped"));
        let mta_address = mta_live.ready(&mut mta, START_BOUND, &rig.interrupt).map_err(&subject_failed)?;
        let mut control = Control::connect(&control_path, &rig.interrupt).map_err(&subject_failed)?;
        let pids = control.status(ANSWER_BOUND).map_err(&subject_failed)?.pids;
        if let Some(groups) = &groups {
            for (role, pid) in [(Role::Queue, pids.queue()), (Role::Reception, pids.reception())] {
                if let (Some(group), Some(pid)) = (groups.of(role), pid) {
                    group.join(pid).map_err(&subject_failed)?;
                }
            }
        }
        let load_place = place(Role::Load, &cores.others);
        Ok(Cast {
            starter: pids.starter.and_then(Pid::from_raw),
            queue: pids.queue(),
            reception: pids.reception(),
            agents: Arc::default(),
            mta,
            sink,
            sink_live,
            control,
            groups,
            harness_group: rig.groups.as_ref().map(|base| base.harness()),
            mta_address,
            launcher: rig.launcher.clone(),
            interrupt: rig.interrupt.clone(),
            load_place,
            paths,
        })
    }

    /// The load generator, at work on all the trial's mail.
    pub fn start_load(&self, trial: &Trial, run: &str) -> Result<Child, Trouble> {
        self.start_load_of(trial, run, &self.paths, Vec::new())
    }

    /// The same with other files than the trial's own, and more options.
    pub fn start_load_of(
        &self,
        trial: &Trial,
        run: &str,
        paths: &Paths,
        more: Vec<OsString>,
    ) -> Result<Child, Trouble> {
        let connections = trial.load.connections;
        let mut arguments = outside::load_arguments(trial, self.mta_address, connections, run, paths);
        arguments.extend(more);
        let log = &paths.send_log;
        let started =
            self.launcher.start("load generator", &self.load_place, &arguments, Output::Discarded, log);
        started.map_err(Trouble::of(InvalidReason::LoadFailed))
    }

    /// Waits until the load generator has ended; every message must have been accepted.
    pub fn finish_load(&mut self, load: Child, bound: Duration) -> Result<Sent, Trouble> {
        let paths = self.paths.clone();
        self.finish_load_of(load, &paths, bound)
    }

    /// The same of one that has other files.
    pub fn finish_load_of(
        &mut self,
        mut load: Child,
        paths: &Paths,
        bound: Duration,
    ) -> Result<Sent, Trouble> {
        let load_failed = Trouble::of(InvalidReason::LoadFailed);
        let mut asked = Instant::now();
        let ended = self.interrupt.wait_until(bound, || {
            self.mta.check_alive()?;
            if self.groups.is_none() && asked.elapsed() >= STATUS_EVERY {
                note_agents(&self.agents, &self.control.status(ANSWER_BOUND)?);
                asked = Instant::now();
            }
            load.exit()
        });
        let status = match ended {
            Ok(status) => {
                status.ok_or_else(|| load_failed(load.late("all mail to be accepted".to_owned(), bound)))?
            }
            Err(error @ subject::Error::Ended { .. }) => {
                return Err(Trouble::of(InvalidReason::SubjectFailed)(error));
            }
            Err(error) => return Err(load_failed(error)),
        };
        outside::read_sent(&mut load, status, paths)
    }

    pub fn status(&mut self) -> Result<Status, Trouble> {
        let status = self.control.status(ANSWER_BOUND).map_err(|error| {
            let mut trouble = Trouble::of(InvalidReason::SubjectFailed)(error);
            trouble.what.push_str(&format!("; the MTA's last lines:\n{}", self.mta.last_lines()));
            trouble
        })?;
        note_agents(&self.agents, &status);
        Ok(status)
    }

    /// Every role for the sampler. The agents' processor time is that of their group, the starter included.
    pub fn watched(&self, model: LoadModel) -> Vec<Watched> {
        let grouped = |role: Role, group: &Group, except: Vec<Pid>| Watched {
            role: role.as_str(),
            processes: Source::Group { group: group.clone(), except },
            group: Some(group.clone()),
            live: None,
        };
        let single = |role: &'static str, pid: Option<Pid>| {
            pid.map(|pid| Watched { role, processes: Source::one(pid), group: None, live: None })
        };
        let mut watched = Vec::new();
        if let (Some(groups), Some(harness)) = (&self.groups, &self.harness_group) {
            let of = |role: Role, except: Vec<Pid>| groups.of(role).map(|group| grouped(role, group, except));
            watched.extend(of(Role::Agents, self.starter.into_iter().collect()));
            watched.extend(single(STARTER, self.starter));
            watched.extend(
                [Role::Queue, Role::Reception, Role::Sink]
                    .into_iter()
                    .filter_map(|role| of(role, Vec::new())),
            );
            // with the queue loaded beforehand the load generator has ended
            watched.extend(of(Role::Load, Vec::new()).filter(|_| model == LoadModel::Concurrent));
            watched.push(grouped(Role::Harness, harness, Vec::new()));
        } else {
            let agents = Source::List(Arc::clone(&self.agents));
            watched.push(Watched { role: Role::Agents.as_str(), processes: agents, group: None, live: None });
            watched.extend(single(STARTER, self.starter));
            watched.extend(single(Role::Queue.as_str(), self.queue));
            watched.extend(single(Role::Reception.as_str(), self.reception));
            watched.extend(single(Role::Sink.as_str(), Some(self.sink.pid())));
            watched.extend(single(Role::Harness.as_str(), Some(rustix::process::getpid())));
        }
        for role in watched.iter_mut().filter(|watched| watched.role == Role::Sink.as_str()) {
            role.live = Some(self.sink_live.clone());
        }
        watched
    }

    /// Stops the MTA, then the sink, which writes its ledger and trace. A line for each that had to be killed, and
    /// for processes that were left in the groups.
    pub fn stop(mut self) -> Vec<String> {
        let hurried = self.interrupt.is_set();
        let grace = |calm: Duration| if hurried { HURRIED_GRACE } else { calm };
        let mut problems = Vec::new();
        for (child, grace) in [(&mut self.mta, grace(MTA_GRACE)), (&mut self.sink, grace(SINK_GRACE))] {
            problems.extend(outside::stop(child, grace, hurried));
        }
        problems.extend(outside::remove_groups(self.groups.as_ref(), hurried));
        problems
    }
}

/// The role of the process that forks the agents, where it has a row of its own.
pub const STARTER: &str = "starter";

fn note_agents(agents: &Mutex<Vec<Pid>>, status: &Status) {
    let pids = status.pids.agents.iter().filter_map(|pid| Pid::from_raw(*pid)).collect();
    *agents.lock().unwrap_or_else(PoisonError::into_inner) = pids;
}
