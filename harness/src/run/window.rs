//! Processor time by role between the release and the end of the drain.

use super::cast::Cast;
use measure::{CpuShare, LimitedBy, Placement, RunRow, limited_by};
use profile::LoadModel;
use rustix::process::Pid;
use subject::control::Status;
use subject::groups::{Group, RoleGroups};
use subject::machine::Busy;
use subject::process;
use subject::role::Role;
use subject::sampling::monotonic_ns;

/// Of a core: above this others disturb the trial.
const FOREIGN_MAX: f64 = 0.15;
/// Of a core: above this a hypervisor disturbs the trial.
const STOLEN_MAX: f64 = 0.05;

/// Processor seconds of each role up to a moment. `None` = can't be seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading {
    /// CLOCK_MONOTONIC; of a difference, its length.
    at_ns: u64,
    agents_s: Option<f64>,
    starter_s: Option<f64>,
    queue_s: Option<f64>,
    reception_s: Option<f64>,
    sink_s: Option<f64>,
    load_s: Option<f64>,
    harness_s: Option<f64>,
    machine: Option<Busy>,
    /// There is no MTA whose processor time could be told.
    wire: bool,
}

/// Whose processor time is read where there is no MTA.
pub struct Roles<'a> {
    pub groups: Option<&'a RoleGroups>,
    pub harness: Option<&'a Group>,
    pub sink: Pid,
    /// The load generator's own figure, used where there are no groups.
    pub load_s: Option<f64>,
}

impl Reading {
    /// Of a trial on the wire, where the load generator stands in the subject's place.
    pub fn on_the_wire(roles: &Roles) -> Reading {
        let (at_ns, machine) = (monotonic_ns(), Busy::now());
        let nobody = Some(0.0);
        let of = |role: Role| roles.groups.and_then(|groups| groups.of(role)).and_then(Group::cpu_s);
        let own = rustix::process::getpid();
        let grouped = roles.groups.is_some();
        Reading {
            at_ns,
            agents_s: nobody,
            starter_s: nobody,
            queue_s: nobody,
            reception_s: nobody,
            sink_s: if grouped { of(Role::Sink) } else { process::cpu_s(roles.sink) },
            load_s: if grouped { of(Role::Load) } else { roles.load_s },
            harness_s: if grouped { roles.harness.and_then(Group::cpu_s) } else { process::cpu_s(own) },
            machine,
            wire: true,
        }
    }

    /// `sent_cpu_s` is the load generator's own figure, used where there are no groups.
    pub fn take(cast: &Cast, status: &Status, model: LoadModel, sent_cpu_s: Option<f64>) -> Reading {
        let (at_ns, machine) = (monotonic_ns(), Busy::now());
        let told = status.cpu_s;
        let own = rustix::process::getpid();
        let Some(groups) = &cast.groups else {
            let load_s = if model == LoadModel::Preload { Some(0.0) } else { sent_cpu_s };
            return Reading {
                at_ns,
                agents_s: told.agents,
                starter_s: told.starter,
                queue_s: told.queue,
                reception_s: told.reception,
                sink_s: process::cpu_s(cast.sink.pid()),
                load_s,
                harness_s: process::cpu_s(own),
                machine,
                wire: false,
            };
        };
        let of = |role: Role| groups.of(role).and_then(Group::cpu_s);
        Reading {
            at_ns,
            // the starter is in the agents' group, so that each agent is in it from birth
            agents_s: of(Role::Agents)
                .zip(told.starter)
                .map(|(group_s, starter_s)| (group_s - starter_s).max(0.0)),
            starter_s: told.starter,
            queue_s: of(Role::Queue),
            reception_s: of(Role::Reception),
            sink_s: of(Role::Sink),
            load_s: of(Role::Load),
            harness_s: cast.harness_group.as_ref().and_then(Group::cpu_s),
            machine,
            wire: false,
        }
    }

    /// What was used since `earlier`.
    pub fn since(&self, earlier: &Reading) -> Reading {
        let used =
            |now: Option<f64>, then: Option<f64>| now.zip(then).map(|(now, then)| (now - then).max(0.0));
        Reading {
            at_ns: self.at_ns.saturating_sub(earlier.at_ns),
            agents_s: used(self.agents_s, earlier.agents_s),
            starter_s: used(self.starter_s, earlier.starter_s),
            queue_s: used(self.queue_s, earlier.queue_s),
            reception_s: used(self.reception_s, earlier.reception_s),
            sink_s: used(self.sink_s, earlier.sink_s),
            load_s: used(self.load_s, earlier.load_s),
            harness_s: used(self.harness_s, earlier.harness_s),
            machine: self.machine.zip(earlier.machine).map(|(now, then)| now.since(then)),
            wire: self.wire,
        }
    }

    /// That the sink looked for more is no work for a message.
    pub fn leave_out_busy_poll(&mut self, busy_poll_s: f64) {
        self.sink_s = self.sink_s.map(|sink_s| (sink_s - busy_poll_s).max(0.0));
    }

    /// Fills the row's `cpu_` columns.
    pub fn fill(&self, row: &mut RunRow) {
        if !self.wire {
            row.cpu_agents_s = self.agents_s;
            row.cpu_starter_s = self.starter_s;
            row.cpu_queue_s = self.queue_s;
            row.cpu_reception_s = self.reception_s;
        }
        row.cpu_sink_s = self.sink_s;
        row.cpu_load_s = self.load_s;
        row.cpu_harness_s = self.harness_s;
    }

    /// What held the throughput down in a row whose `elapsed_s` is known.
    pub fn limited_by(&self, row: &RunRow, placement: Placement, cores: usize) -> Option<LimitedBy> {
        let (subject_s, load_s) = match self.wire {
            true => (self.load_s, Some(0.0)),
            false => (row.cpu_mta_s(), self.load_s),
        };
        let share = CpuShare { subject_s, sink_s: self.sink_s, load_s, harness_s: self.harness_s };
        Some(limited_by(row.elapsed_s?, &share, placement, u32::try_from(cores).unwrap_or(u32::MAX)))
    }

    /// Whether others had processor time within a difference, in words.
    pub fn disturbance(&self) -> Option<String> {
        let machine = self.machine?;
        let elapsed_s = self.at_ns as f64 / 1e9;
        let stolen = machine.stolen_s / elapsed_s;
        if stolen > STOLEN_MAX {
            return Some(format!("the hypervisor took {:.0} % of a core away", stolen * 100.0));
        }
        let roles = [
            self.agents_s,
            self.starter_s,
            self.queue_s,
            self.reception_s,
            self.sink_s,
            self.load_s,
            self.harness_s,
        ];
        let ours_s: f64 = roles.into_iter().sum::<Option<f64>>()?;
        let foreign = (machine.busy_s - ours_s) / elapsed_s;
        (foreign > FOREIGN_MAX).then(|| format!("other programs used {:.0} % of a core", foreign * 100.0))
    }
}
