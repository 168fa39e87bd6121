//! Trials in which mail goes to many destinations of which some drip: what becomes of the good mail meanwhile.
//!
//! One sink listens on an address for each destination. Good mail and mail for the tarpits come from a load generator
//! each, both at an even rate, so that either is known by its ids. When all has come in, delivery goes on for a moment and
//! is paused; what is in flight ends, and what is queued for tarpits stays queued.

use super::cast::{ANSWER_BOUND, Cast};
use super::trial::Performance;
use super::trouble::Trouble;
use measure::statistics::Sorted;
use measure::{InvalidReason, RunRow, Trace};
use profile::{Load, Tarpits, Trial};
use std::ffi::OsString;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};
use subject::control::Status;

/// What comes in last has so long to be delivered.
const SETTLE: Duration = Duration::from_secs(3);
/// Until what is in flight at the pause has ended.
const END_BOUND: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Of the run's name in the ids of mail for tarpits.
const TARPIT_MARK: &str = ".tarpit";

/// When good mail was counted, on CLOCK_MONOTONIC.
pub struct Stretch {
    first_ns: u64,
    paused_ns: u64,
}

/// Domain and next hop of each destination.
pub fn transports(tarpits: &Tarpits, port: u16) -> Vec<(String, String)> {
    let good = 1..=tarpits.destinations - tarpits.dripping;
    let good = good.map(|n| (format!("\"g{n}.well.test\""), format!("127.0.1.{n}:{port}")));
    let dripping =
        (1..=tarpits.dripping).map(|n| (format!("\"t{n}.tarpit.test\""), format!("127.0.2.{n}:{port}")));
    good.chain(dripping).collect()
}

/// For the column `sink_delay`, behind what all destinations do.
pub fn delay_words(tarpits: &Tarpits, others: &str) -> String {
    let Tarpits { destinations, dripping, every, .. } = tarpits;
    let every = settings::duration::format(*every);
    format!("{others} tarpits={dripping}/{destinations} drip={every}").trim().to_owned()
}

/// The options that make the sink all these destinations; `site` is for its site file.
pub fn sink_arguments(trial: &Trial, tarpits: &Tarpits, site: &Path) -> std::io::Result<Vec<OsString>> {
    let mut text = "[[site]]\nname = \"well\"\n".to_owned();
    for rule in &trial.sink.delays {
        let rule = rule.to_string();
        let (stage, delay) = rule.split_once('=').unwrap_or((&rule, "0"));
        text.push_str(&format!("delay.{stage} = \"{delay}\"\n"));
    }
    let every = settings::duration::format(tarpits.every);
    text.push_str(&format!(
        "[[site]]\nname = \"tarpit\"\nrecipients = [\"*.tarpit.test\"]\n\
         [[site.rule]]\nat = [\"rcpt\", \"data\", \"dot\"]\npace = {{ bytes = 1, every = \"{every}\" }}\n"
    ));
    std::fs::write(site, text)?;
    // the same port on all addresses, free on the first
    let port = TcpListener::bind("127.0.1.1:0")?.local_addr()?.port();
    let range = |third: u8, count: u32| format!("127.0.{third}.1-127.0.{third}.{count}:{port}");
    let mut arguments: Vec<OsString> = vec!["--site".into(), site.into()];
    arguments.extend(["--listen".into(), range(1, tarpits.destinations - tarpits.dripping).into()]);
    if tarpits.dripping > 0 {
        arguments.extend(["--listen".into(), range(2, tarpits.dripping).into()]);
    }
    Ok(arguments)
}

/// Messages for good destinations among all.
fn good_messages(tarpits: &Tarpits, messages: u64) -> u64 {
    messages * u64::from(tarpits.destinations - tarpits.dripping) / u64::from(tarpits.destinations)
}

/// `trial` with the mail of one kind of destinations, and the options that give it its rate.
fn part(trial: &Trial, messages: u64, all: u64, per_s: f64, recipient: String) -> (Trial, Vec<OsString>) {
    let load = Load { messages, recipient, ..trial.load.clone() };
    let rate = format!("{:.3}/s", per_s * messages as f64 / all as f64);
    (Trial { load, ..trial.clone() }, vec!["--rate".into(), rate.into()])
}

impl Performance<'_> {
    /// Lets both kinds of mail come in, and pauses delivery a moment after the last.
    pub(super) fn deliver_among(
        &mut self,
        tarpits: &Tarpits,
        cast: &mut Cast,
        run: &str,
        bound: Duration,
    ) -> Result<(Status, Option<f64>), Trouble> {
        let subject_failed = || Trouble::of(InvalidReason::SubjectFailed);
        let (all, trial) = (self.trial.load.messages, self.trial);
        let good = good_messages(tarpits, all);
        let per_s = tarpits.messages_per_s;
        let good_to = format!("recipient@g{{{}}}.well.test", tarpits.destinations - tarpits.dripping);
        let (good_trial, options) = part(trial, good, all, per_s, good_to);
        let good_paths = cast.paths.clone();
        let good_load = cast.start_load_of(&good_trial, run, &good_paths, options)?;
        let mut other = None;
        if all > good {
            let to = format!("recipient@t{{{}}}.tarpit.test", tarpits.dripping);
            let (other_trial, options) = part(trial, all - good, all, per_s, to);
            let mut paths = cast.paths.clone();
            paths.sent.set_extension("tarpits.json");
            paths.send_log.set_extension("tarpits.log");
            let load = cast.start_load_of(&other_trial, &format!("{run}{TARPIT_MARK}"), &paths, options)?;
            other = Some((load, paths));
        }
        let sent = cast.finish_load_of(good_load, &good_paths, bound)?;
        let (mut offered, mut cpu_s) = (sent.accepted, sent.cpu_s);
        if let Some((load, paths)) = other {
            let sent = cast.finish_load_of(load, &paths, bound)?;
            offered += sent.accepted;
            cpu_s += sent.cpu_s;
        }
        self.seen.offered = Some(offered);
        self.seen.released_ns = sent.first_ns;
        self.rig.interrupt.sleep(SETTLE).map_err(subject_failed())?;
        cast.control.pause(ANSWER_BOUND).map_err(subject_failed())?;
        let paused_ns = subject::sampling::monotonic_ns();
        self.seen.among_tarpits = sent.first_ns.map(|first_ns| Stretch { first_ns, paused_ns });
        let end = Instant::now() + END_BOUND;
        loop {
            let status = cast.status()?;
            if status.active == 0 && status.incoming == 0 {
                return Ok((status, Some(cpu_s)));
            }
            if Instant::now() >= end {
                let what = format!("{} deliveries are in flight a minute after the pause", status.active);
                return Err(Trouble::new(InvalidReason::DrainTimeout, what));
            }
            self.rig.interrupt.sleep(LOOK_EVERY).map_err(subject_failed())?;
        }
    }
}

impl Stretch {
    /// Good mail's cells, and how many deliveries the tarpits held, from the end of the warm-up on.
    pub fn fill(&self, tarpits: &Tarpits, messages: u64, trace: &Trace, row: &mut RunRow) {
        let lasts_s = messages as f64 / tarpits.messages_per_s;
        let counted_s = lasts_s - tarpits.warm_up.as_secs_f64();
        let from_ns = self.first_ns + tarpits.warm_up.as_nanos() as u64;
        let to_ns = self.first_ns + (lasts_s * 1e9) as u64;
        let mut delays_s = Vec::new();
        let mut held_ns = 0;
        for delivery in &trace.deliveries {
            let mut parts = delivery.id.rsplitn(3, '/');
            let (intended, _, run) = (parts.next(), parts.next(), parts.next());
            let Some((intended_ns, run)) = intended.and_then(|ns| ns.parse::<u64>().ok()).zip(run) else {
                continue;
            };
            if run.ends_with(TARPIT_MARK) {
                held_ns += delivery.end_ns.min(to_ns).saturating_sub(delivery.start_ns.max(from_ns));
            } else if delivery.code.is_some_and(|code| code / 100 == 2)
                && (from_ns..to_ns).contains(&intended_ns)
                && delivery.end_ns <= self.paused_ns
            {
                delays_s.push(delivery.end_ns.saturating_sub(intended_ns) as f64 / 1e9);
            }
        }
        let share = good_messages(tarpits, messages) as f64 / messages as f64;
        let came_in = share * tarpits.messages_per_s * counted_s;
        row.good_kept = Some(delays_s.len() as f64 / came_in);
        row.good_throughput_msg_per_s = Some(delays_s.len() as f64 / counted_s);
        let delays = Sorted::new(delays_s);
        row.good_delay_p50_s = delays.as_ref().map(|delays| delays.percentile(50.0));
        row.good_delay_p99_s = delays.as_ref().map(|delays| delays.percentile(99.0));
        row.tarpit_in_flight_mean = Some(held_ns as f64 / 1e9 / counted_s);
    }
}
