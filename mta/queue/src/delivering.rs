//! Handing out deliveries and taking in how they ended.

use crate::agents::InFlight;
use crate::giving_up::BOUNCES_MAX;
use crate::log::Timing;
use crate::mail::{Batch, NO_ROUTE};
use crate::manager::{Manager, epoch_now};
use crate::writer::Job;
use delivery::{AgentFrame, DeliveryReport, DeliveryRequest, NextHop, QueueId, RecipientState};
use scheduler::{DestinationId, Disposition as Verdict, EntryId, Next, Outcome, Report};
use smtp::client::{Disposition, HopStatus, RecipientStatus};
use smtp::{EnhancedStatus, ForwardPath, Stage};
use std::time::Instant;
use supervisor::link::AgentNumber;
use supervisor::pool::AfterUse;

/// A delivery that was with so many agents when they died is deferred: it may be what kills them.
const AGENTS_LOST_MAX: u8 = 2;

/// One turn of the loop decides so often: what takes no slot of an agent, such as a bounce, would have no other end.
const DECISIONS_MAX: usize = 256;

impl Manager {
    /// Hands out deliveries while there are agents for them, and asks for agents while there are deliveries.
    pub(crate) fn dispatch(&mut self) {
        (self.waits_for_due, self.has_more) = (false, false);
        if self.paused || self.stopping.is_some() {
            return;
        }
        for _ in 0..DECISIONS_MAX {
            // a bounce that is written wakes the loop
            if self.bounces >= BOUNCES_MAX {
                return;
            }
            let slot = self.agents.pool.has_slot();
            if slot && let Some(entry) = self.waiting.pop_front() {
                self.hand_out(entry);
                continue;
            }
            let room = self.waiting.len() < self.agents.pool.slots_starting();
            if !slot && !room && !self.agents.pool.wants_agent(self.waiting.len() + 1, Instant::now()) {
                return;
            }
            match self.mail.scheduler.poll(epoch_now()) {
                Next::Deliver(entry, id, destination) if self.is_unrouted(destination) => {
                    self.bounce_unroutable(entry, id, destination);
                }
                Next::Deliver(entry, ..) if slot => self.hand_out(entry),
                Next::Deliver(entry, ..) => {
                    self.waiting.push_back(entry);
                    self.start_agents();
                }
                Next::Suspended { entry, destination, due, attempts, .. } => {
                    self.suspend(entry, destination, due, attempts);
                }
                Next::Expired(entry, id, destination) => self.give_up_waiting(entry, id, destination),
                Next::Sleep(_) | Next::Blocked | Next::Empty => {
                    self.waits_for_due = true;
                    return;
                }
            }
        }
        self.has_more = true;
    }

    fn is_unrouted(&self, destination: DestinationId) -> bool {
        self.mail.scheduler.next_hop(destination) == NO_ROUTE
    }

    /// Gives an entry to the agent that the pool names. The caller has seen that there is one.
    fn hand_out(&mut self, entry: EntryId) {
        let Some(queued) = self.mail.scheduler.entry(entry) else { return };
        let Some(id) = self.bring_in(entry, queued.id, queued.destination) else { return };
        let (content, file) = match self.load_content(id) {
            Ok(loaded) => loaded,
            Err(error) => return self.unreadable(entry, id, &error),
        };
        let number = self.agents.pool.take(Instant::now()).expect("has_slot said so");
        let request_id = self.agents.next_request();
        let batch = self.mail.batch(entry).expect("looked up above");
        let envelope = &self.mail.message(id).expect("a batch has its message").envelope;
        let destination = self.mail.scheduler.entry(entry).expect("an active entry is queued").destination;
        let request = DeliveryRequest {
            id: request_id,
            queue_id: id,
            next_hop: NextHop::parse(self.mail.scheduler.next_hop(destination))
                .expect("made from a next hop"),
            reverse_path: envelope.reverse_path.clone(),
            recipients: batch.recipients.iter().map(|index| recipient(envelope, *index)).collect(),
            eight_bit: envelope.eight_bit,
            content,
        };
        let mut bytes =
            Vec::with_capacity(256 + if file.is_some() { 0 } else { request.size_bytes() as usize });
        request.encode(&mut bytes);
        let (may_ask, handed, handed_ns) = (file.is_none(), epoch_now(), sys::clock::monotonic_ns());
        let delivery = InFlight { entry, may_ask, agent: number, handed, handed_ns };
        if let Err(error) = self.agents.send(request_id, delivery, bytes, file, &self.poller) {
            self.agent_closed(number, &format!("could not be given a delivery: {error}"));
        }
    }

    /// Takes in what an agent sent; a confused agent is dropped with what it had.
    pub(crate) fn read_agent(&mut self, number: AgentNumber) {
        let Some(stream) = self.agents.stream(number) else { return };
        if let Err(error) = stream.flush(&self.poller) {
            return self.agent_closed(number, &format!("does not read: {error}"));
        }
        let open = match stream.fill() {
            Ok(open) => open,
            Err(error) => return self.agent_closed(number, &format!("socket: {error}")),
        };
        while let Some(stream) = self.agents.stream(number) {
            let frame = match stream.next_frame() {
                Ok(None) => break,
                Ok(Some((kind, payload))) => AgentFrame::decode(kind, payload),
                Err(error) => Err(error),
            };
            match frame {
                Ok(AgentFrame::Ready) if self.take_ready(number) => {}
                Ok(AgentFrame::Report(report)) if self.take_report(number, &report) => {}
                Ok(AgentFrame::AskContent { id }) if self.agents.asks(number, id) => {}
                Ok(_) => return self.agent_confused(number, "answered what it was not asked"),
                Err(error) => return self.agent_confused(number, &format!("sent nonsense: {error}")),
            }
        }
        if !open {
            return self.agent_closed(number, "closed its socket");
        }
        self.read_again(number);
    }

    /// False when the report does not fit what this agent was given.
    fn take_report(&mut self, number: AgentNumber, report: &DeliveryReport) -> bool {
        let Some(delivery) = self.agents.reported(number, report.id) else { return false };
        let Some(batch) = self.mail.batch(delivery.entry) else { return false };
        if batch.recipients.len() != report.outcome.recipients.len() {
            self.put_back(&delivery);
            return false;
        }
        self.reports += 1;
        let now = Instant::now();
        if self.agents.pool.release(number, now) == AfterUse::Retire {
            self.agents.retire(number, now);
        }
        self.finish(&delivery, report);
        true
    }

    pub(crate) fn put_back(&mut self, delivery: &InFlight) {
        let Some(batch) = self.mail.batch_mut(delivery.entry) else { return };
        batch.agents_lost += 1;
        if batch.agents_lost < AGENTS_LOST_MAX {
            return self.mail.scheduler.put_back(epoch_now(), delivery.entry);
        }
        batch.agents_lost = 0;
        let count = batch.recipients.len();
        let status = RecipientStatus {
            disposition: Disposition::Deferred,
            code: None,
            enhanced: enhanced(b"4.3.0"),
            text: "delivery agents died with this message".to_owned(),
            stage: Stage::Connect,
        };
        let outcome = smtp::client::Outcome { recipients: vec![status; count], hop: HopStatus::Up };
        let report = DeliveryReport { id: 0, outcome, remote: None, times: delivery::StageTimes::default() };
        self.finish(delivery, &report);
    }

    /// Who answered, or the next hop when nobody did.
    fn relay(&self, entry: EntryId, report: &DeliveryReport) -> String {
        match report.remote {
            Some(remote) => remote.to_string(),
            None => self
                .mail
                .scheduler
                .entry(entry)
                .map_or("none", |queued| self.mail.scheduler.next_hop(queued.destination))
                .to_owned(),
        }
    }

    /// Books the statuses of one delivery: log, spool, scheduler, bounces.
    fn finish(&mut self, delivery: &InFlight, report: &DeliveryReport) {
        let entry = delivery.entry;
        let Some(Batch { id, recipients, .. }) = self.mail.batch(entry).map(Batch::copy) else { return };
        let timing = Timing {
            received: self.mail.message(id).expect("a batch has its message").envelope.received,
            handed: delivery.handed,
            handed_ns: delivery.handed_ns,
            times: report.times,
        };
        let relay = self.relay(entry, report);
        let (mut delivered, mut deferred, mut failed) = (0, Vec::new(), Vec::new());
        let message = self.mail.message_mut(id).expect("a batch has its message");
        for (index, status) in recipients.iter().zip(&report.outcome.recipients) {
            let to = recipient(&message.envelope, *index);
            self.log.outcome(id, &to, &relay, &timing, status);
            match status.disposition {
                Disposition::Delivered => {
                    message.status.states[usize::from(*index)] = RecipientState::Delivered;
                    delivered += 1;
                }
                Disposition::Deferred => deferred.push((*index, status)),
                Disposition::Bounced => failed.push((*index, status.clone())),
            }
        }
        self.delivered += delivered;
        let hop = blame(&report.outcome);
        if hop == HopStatus::Throttle
            && let Some(queued) = self.mail.scheduler.entry(entry)
        {
            let next_hop = self.mail.scheduler.next_hop(queued.destination);
            self.log.event(&format!(
                "queue_id={id} next_hop={next_hop} the host is to blame: it gets less at a time"
            ));
        }
        if report.times.was_reused() {
            self.mail.scheduler.connection_reused(entry);
        }
        let outcome = if deferred.is_empty() { Outcome::Finished } else { Outcome::Retry };
        let (mut retried, mut warn_of) = (false, Vec::new());
        match self.mail.scheduler.report(epoch_now(), entry, Report { outcome, hop }) {
            Verdict::Retry { due, attempts, warn } => {
                if warn {
                    warn_of = deferred.iter().map(|(index, status)| (*index, (*status).clone())).collect();
                }
                let batch = self.mail.batch_mut(entry).expect("it waits for its next attempt");
                batch.recipients = deferred.iter().map(|(index, _)| *index).collect();
                batch.agents_lost = 0;
                let status = &mut self.mail.message_mut(id).expect("still queued").status;
                (status.attempts, status.due) = (attempts, due);
                retried = true;
            }
            Verdict::Gone => drop(self.mail.remove_batch(entry)),
            Verdict::Expired => {
                self.mail.remove_batch(entry);
                for (index, status) in deferred {
                    let status = expired(status);
                    let to = recipient(&self.mail.message(id).expect("still queued").envelope, index);
                    self.log.outcome(id, &to, &relay, &timing, &status);
                    failed.push((index, status));
                }
            }
        }
        if !failed.is_empty() {
            self.give_up(id, failed, &relay);
        }
        if !warn_of.is_empty() {
            self.warn_sender(id, warn_of, &relay);
        }
        if self.mail.forget_if_final(id) {
            self.writer.submit(Job::Remove { id });
        } else if delivered > 0 || retried {
            self.note_status(id);
        }
        if retried {
            self.mail.park(entry);
        }
    }

    /// Has the spool remember what the message is now.
    pub(crate) fn note_status(&mut self, id: QueueId) {
        if let Some(message) = self.mail.message(id) {
            self.writer.submit(Job::Update { id, status: message.status.clone() });
        }
    }

    /// A bounce is durable, so its recipients are final.
    pub(crate) fn mark_bounced(&mut self, id: QueueId, recipients: &[u16]) {
        let Some(message) = self.mail.message_mut(id) else { return };
        for index in recipients {
            message.status.states[usize::from(*index)] = RecipientState::Bounced;
        }
        if self.mail.forget_if_final(id) {
            self.writer.submit(Job::Remove { id });
        } else {
            self.note_status(id);
        }
    }
}

pub(crate) fn recipient(envelope: &delivery::Envelope, index: u16) -> ForwardPath {
    envelope.recipients[usize::from(index)].clone()
}

pub(crate) fn enhanced(text: &[u8]) -> EnhancedStatus {
    EnhancedStatus::parse(text).expect("a literal status code")
}

/// RFC 3463 §3.5: 5.4.7 delivery time expired, with what the last attempt said.
pub(crate) fn expired(last: &RecipientStatus) -> RecipientStatus {
    RecipientStatus {
        disposition: Disposition::Bounced,
        enhanced: enhanced(b"5.4.7"),
        text: format!("given up after too long a time; the last attempt: {}", last.text),
        ..last.clone()
    }
}

/// What the delivery says of the host. Beyond what the session knows: 452 with 4.3.x is a host without resources
/// (RFC 3463 §3.4, other or undefined mail system status), whichever recipient it was said of.
fn blame(outcome: &smtp::client::Outcome) -> HopStatus {
    let overloaded = |status: &RecipientStatus| {
        status.code.is_some_and(|code| code.get() == 452)
            && status.enhanced.class() == 4
            && status.enhanced.subject() == 3
    };
    if outcome.recipients.iter().any(overloaded) { HopStatus::Throttle } else { outcome.hop }
}
