//! A trial without an MTA: the load generator speaks to the sink itself, in the subject's place and with the trial's
//! concurrency. What it reaches is the most that any MTA could on this machine with this sink.
//!
//! There is no queue, so nothing is loaded beforehand: the release is the moment of its first message. Its processor
//! time is the load generator's, whatever the load model.

use super::cast::{HURRIED_GRACE, Paths, SINK_GRACE};
use super::outside::{self, Outside};
use super::results::Sent;
use super::rig::Scratch;
use super::trial::{Left, Performance};
use super::trouble::Trouble;
use super::window::{Reading, Roles};
use measure::InvalidReason;
use profile::Subject;
use std::ffi::OsString;
use std::time::Duration;
use subject::child::{Child, Output};
use subject::groups::{Group, RoleGroups};
use subject::role::Role;
use subject::sampling::{Sampler, Source, Watched};

impl Performance<'_> {
    pub(super) fn perform_on_the_wire(&mut self, scratch: &Scratch) -> Result<(), Trouble> {
        let groups = self.rig.groups.as_ref().map(|base| base.trial()).transpose();
        let groups = groups.map_err(Trouble::of(InvalidReason::SubjectFailed))?;
        let paths = Paths::of(scratch);
        let cores = self.conditions.cores;
        let sink_place = outside::place(groups.as_ref(), Role::Sink, &cores.others);
        let mut sink = outside::start_sink(self.rig, self.trial, &sink_place, scratch, &paths, cores)?;
        let sent = self.send(&mut sink, groups.as_ref(), &paths);
        let hurried = self.rig.interrupt.is_set();
        let grace = if hurried { HURRIED_GRACE } else { SINK_GRACE };
        self.seen.warnings.extend(outside::stop(&mut sink.child, grace, hurried));
        self.seen.warnings.extend(outside::remove_groups(groups.as_ref(), hurried));
        if hurried {
            return Err(Trouble::new(InvalidReason::Interrupted, "interrupted"));
        }
        sent.and(self.fill(&paths))
    }

    fn send(
        &mut self,
        sink: &mut Outside,
        groups: Option<&RoleGroups>,
        paths: &Paths,
    ) -> Result<(), Trouble> {
        let load_failed = Trouble::of(InvalidReason::LoadFailed);
        let trial = self.trial;
        self.progress.step(trial, &format!("{} messages on the wire", trial.load.messages));
        let run = format!("{}.{}", self.conditions.run_id, trial.order);
        let mut arguments = outside::load_arguments(trial, sink.address, trial.concurrency, &run, paths);
        arguments.extend(connection_arguments(&trial.subject));
        let before = self.reading(sink, groups, Some(0.0));
        let place = outside::place(groups, Role::Load, &self.conditions.cores.subject);
        let mut load = self
            .rig
            .launcher
            .start("load generator", &place, &arguments, Output::Discarded, &paths.send_log)
            .map_err(&load_failed)?;
        let watched = watched(sink, groups, &load);
        self.seen.watched = watched.len();
        let sampler = Sampler::start(watched);
        let sent = self.finish(sink, &mut load, paths);
        self.seen.samples = sampler.stop();
        let Sent { accepted, cpu_s, first_ns, .. } = sent?;
        self.seen.used = Some(self.reading(sink, groups, Some(cpu_s)).since(&before));
        self.seen.offered = Some(accepted);
        self.seen.released_ns = first_ns;
        // nothing is queued on a wire
        self.seen.left = Some(Left::default());
        Ok(())
    }

    fn finish(&self, sink: &mut Outside, load: &mut Child, paths: &Paths) -> Result<Sent, Trouble> {
        let load_failed = Trouble::of(InvalidReason::LoadFailed);
        let bound: Duration = self.conditions.experiment.drain_timeout;
        let ended = self.rig.interrupt.wait_until(bound, || {
            sink.child.check_alive()?;
            load.exit()
        });
        match ended.map_err(&load_failed)? {
            Some(status) => outside::read_sent(load, status, paths),
            None => Err(load_failed(load.late("all mail to be accepted".to_owned(), bound))),
        }
    }

    fn reading(&self, sink: &Outside, groups: Option<&RoleGroups>, load_s: Option<f64>) -> Reading {
        Reading::on_the_wire(&Roles {
            groups,
            harness: self.rig.groups.as_ref().map(|base| base.harness()).as_ref(),
            sink: sink.child.pid(),
            load_s,
        })
    }
}

/// What a delivery's connection does, asked of the load generator.
fn connection_arguments(subject: &Subject) -> [OsString; 4] {
    let pipelining = if subject.pipelining { "on" } else { "off" };
    [
        "--messages-per-connection".into(),
        subject.messages_per_connection.to_string().into(),
        "--pipelining".into(),
        pipelining.into(),
    ]
}

fn watched(sink: &Outside, groups: Option<&RoleGroups>, load: &Child) -> Vec<Watched> {
    let of = |role: Role, child: &Child| {
        let group: Option<Group> = groups.and_then(|groups| groups.of(role)).cloned();
        let processes = Source::one(child.pid());
        let live = (role == Role::Sink).then(|| sink.live.clone());
        Watched { role: role.as_str(), processes, group, live }
    };
    vec![of(Role::Load, load), of(Role::Sink, &sink.child)]
}
