//! What the operator asks for on the control socket, and what is answered.

use crate::control::{Command, Id};
use crate::intake::Intake;
use crate::manager::{Manager, epoch_now};
use crate::starter::STALLED_AFTER;
use crate::view::Act;
use serde_json::json;
use std::time::Instant;
use supervisor::link::Usage;

impl Manager {
    pub(crate) fn obey(&mut self, client: u64, command: Command) {
        match command {
            Command::Pause => {
                self.paused = true;
                self.control.answer(client, &json!({"ok": true}));
            }
            Command::Resume => {
                self.paused = false;
                let released_ns = sys::clock::monotonic_ns();
                self.control.answer(client, &json!({"ok": true, "released_ns": released_ns}));
            }
            Command::Ramp => {
                self.agents.pool.ramp(self.mail.scheduler.counts(epoch_now()).due as usize);
                self.ramps.push((client, Instant::now()));
            }
            Command::Reload => {
                let answer = match self.reload() {
                    Ok(()) => json!({"ok": true}),
                    Err(error) => json!({"ok": false, "error": error}),
                };
                self.control.answer(client, &answer);
            }
            Command::List { after, filter } => {
                let page = self.list(after.map(|Id(id)| id), &filter);
                self.control.answer(client, &page);
            }
            Command::Show { id } => {
                let message = self.show(id.0);
                self.control.answer(client, &message);
            }
            Command::Read { id, offset } => {
                let piece = self.read_content(id.0, offset);
                self.control.answer(client, &piece);
            }
            Command::Flush => {
                self.mail.scheduler.flush(epoch_now());
                self.log.event("operator: flush");
                self.control.answer(client, &json!({"ok": true}));
            }
            Command::Hold { ids } => self.answer_act(client, Act::Hold, &ids),
            Command::Release { ids } => self.answer_act(client, Act::Release, &ids),
            Command::Requeue { ids } => self.answer_act(client, Act::Requeue, &ids),
            Command::Delete { ids } => self.answer_act(client, Act::Delete, &ids),
            Command::Import { piece } => self.import(client, piece),
            Command::Status => match self.starter.ask(client, &self.poller) {
                Ok(true) => {}
                Ok(false) => self.answer_status(client, None),
                // the loop will see that it is gone
                Err(error) => self.log.event(&format!("starter: {error}")),
            },
        }
    }

    fn answer_act(&mut self, client: u64, act: Act, ids: &[Id]) {
        let ids: Vec<_> = ids.iter().map(|Id(id)| *id).collect();
        let tally = self.act(act, &ids);
        self.control.answer(client, &tally);
    }

    pub(crate) fn answer_ramps(&mut self) {
        if self.ramps.is_empty() {
            return;
        }
        let now = Instant::now();
        let ramped = self.agents.pool.ramped(now);
        let starter = &self.starter;
        let is_over = |began| ramped || starter.stall_deadline(began).is_some_and(|deadline| deadline <= now);
        let over: Vec<_> = self.ramps.extract_if(.., |(_, began)| is_over(*began)).collect();
        if self.ramps.is_empty() {
            self.agents.pool.end_ramp();
        }
        let counts = self.agents.pool.counts();
        let agents = counts.idle + counts.busy;
        for (client, began) in over {
            let mut answer = json!({"ok": ramped, "agents": agents, "ramp_s": began.elapsed().as_secs_f64()});
            if !ramped {
                let bound_s = STALLED_AFTER.as_secs();
                answer["starter"] = "silent".into();
                answer["error"] =
                    format!("the starter has not answered for {bound_s} s; {agents} agents are ready").into();
            }
            self.control.answer(client, &answer);
        }
    }

    /// `usage`: `None` when the starter does not answer; what only it knows is null then.
    pub(crate) fn answer_status(&mut self, client: u64, usage: Option<&Usage>) {
        // whoever sees an empty queue may read the log next: its lines must not come after the answer
        self.log.flush();
        let queued = self.mail.scheduler.counts(epoch_now());
        let agents = self.agents.pool.counts();
        let losses = self.agents.endings.losses;
        let seconds = |ns: u64| ns as f64 / 1e9;
        let cpu_s = |of: fn(&Usage) -> u64| usage.map(|usage| seconds(of(usage)));
        let own_s = || sys::clock::process_cpu_ns(rustix::process::getpid()).ok().map(seconds);
        // who they are does not change
        let pid = |of: fn(&Usage) -> u32| self.starter.known.as_ref().map(of);
        let incoming = self.intake.as_ref().map_or(0, Intake::count) + self.bounces;
        let answer = json!({
            "ok": true,
            "incoming": incoming,
            "active": queued.active,
            "due": queued.due,
            "deferred": queued.deferred,
            "held": queued.held,
            "delivered": self.delivered,
            "bounced": self.bounced,
            "alarms": self.alarms,
            "paused": self.paused,
            "starter": if usage.is_some() { "answers" } else { "silent" },
            "agents": {
                "idle": agents.idle,
                "busy": agents.busy,
                "draining": agents.draining,
                "starting": agents.starting,
                "spawned": agents.spawned,
                "died": losses.died,
                "hung": losses.hung,
                "out_of_memory": losses.out_of_memory,
            },
            "pids": {
                "starter": pid(|usage| usage.starter_pid),
                "queue": std::process::id(),
                "reception": pid(|usage| usage.reception_pid),
                "agents": self.agents.pids().collect::<Vec<u32>>(),
            },
            "cpu_s": {
                "starter": cpu_s(|usage| usage.starter_ns),
                "queue": cpu_s(|usage| usage.queue_ns).or_else(own_s),
                "reception": cpu_s(|usage| usage.reception_ns),
                "agents": cpu_s(|usage| usage.agents_ns),
            },
        });
        self.control.answer(client, &answer);
    }
}
