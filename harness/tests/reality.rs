//! The simulation against the thing itself: the same mail, sites and rules, with back-off in seconds, once under virtual
//! time and once with a real MTA, real load generators and a real sink that fails slowly.

mod support;

use behaviour::Delay;
use measure::SimulationRow;
use scheduler::Limits;
use simulate::{Answer, Simulation, Site, World};
use std::time::{Duration, Instant};
use support::{Mta, Process, Sink, mailrig};

/// In the end retries ask for half of them, which is their share.
const SLOTS: u32 = 20;
const GOOD_PER_S: u32 = 40;
const FAILING_PER_S: u32 = 8;
const GOOD_LATENCY: Duration = Duration::from_millis(100);
const FAILURE_LATENCY: Duration = Duration::from_millis(500);
const RUN: Duration = Duration::from_secs(12);
/// Simulations whose mean stands for the expectation: their arrivals are random, those of the real run are even.
const SEEDS: u64 = 40;

fn limits(seed: u64) -> Limits {
    Limits {
        destination_concurrency: 100,
        initial_destination_concurrency: 100,
        minimal_backoff: Duration::from_secs(1),
        maximal_backoff: Duration::from_secs(4),
        lifetime: Duration::from_secs(600),
        slots: SLOTS,
        seed,
        ..Limits::default()
    }
}

/// Queue depth, attempts that have ended, messages delivered.
type Figures = [f64; 3];

fn figures_of(row: &SimulationRow) -> Figures {
    [row.queue_depth, row.delivered + row.deferred_attempts, row.delivered].map(|count| count as f64)
}

fn simulated(seed: u64) -> Figures {
    let mut world = World::new(limits(seed));
    let site = |name: &str, share: u32, latency: Duration, answer: Answer| Site {
        name: name.to_owned(),
        destinations: 1,
        share: f64::from(share),
        latency: Delay::Fixed(latency),
        answer,
    };
    world.sites = vec![
        site("well", GOOD_PER_S, GOOD_LATENCY, Answer::Delivered),
        site("full", FAILING_PER_S, FAILURE_LATENCY, Answer::Deferred),
    ];
    world.arrivals_per_s = f64::from(GOOD_PER_S + FAILING_PER_S);
    world.senders = 1;
    let mut simulation = Simulation::new(world);
    simulation.run_until(RUN);
    figures_of(&simulation.sample("scaled down"))
}

fn real() -> Figures {
    let folder = tempfile::tempdir().unwrap();
    let well =
        Sink::start(folder.path(), "well", &["--delay", &format!("dot={}ms", GOOD_LATENCY.as_millis())]);
    let delay = format!("rcpt={}ms", FAILURE_LATENCY.as_millis());
    let full = Sink::start(folder.path(), "full", &["--delay", &delay, "--reply", "rcpt=450"]);
    let tables = format!(
        "[transport]\n\"well.test\" = \"{}\"\n\"full.test\" = \"{}\"\n\
         [delivery]\ndriver = \"event\"\nagents_max = 1\nconnections_per_agent = {SLOTS}\n\
         [queue]\ndestination_concurrency = 100\ninitial_destination_concurrency = 100\n\
         minimal_backoff = \"1s\"\nmaximal_backoff = \"4s\"\nlifetime = \"600s\"\n",
        well.address, full.address
    );
    let mta = Mta::start(folder.path(), "durability = \"none\"", &tables);
    // the agent is there before the clock starts
    mta.control("ramp");
    let began = Instant::now();
    let load = |to: &str, per_s: u32| {
        let mut command = mailrig();
        let rate = format!("{per_s}/s");
        command.args([
            "send",
            &mta.address,
            "--quiet",
            "--to",
            to,
            "--rate",
            &rate,
            "--duration",
            "13s",
            "--max-lag",
            "10s",
        ]);
        Process { child: command.stdout(std::process::Stdio::null()).spawn().unwrap() }
    };
    let mut loads = [load("user@well.test", GOOD_PER_S), load("user@full.test", FAILING_PER_S)];
    std::thread::sleep(RUN.saturating_sub(began.elapsed()));
    let status = mta.control("status");
    let log = mta.log();
    let count = |word: &str| log.lines().filter(|line| line.contains(word)).count() as f64;
    let (sent, deferred) = (count(" status=sent "), count(" status=deferred "));
    let queued = ["incoming", "active", "due", "deferred"].map(|key| status[key].as_u64().unwrap_or(0));
    loads.iter_mut().for_each(|load| assert!(load.wait().success(), "a load generator failed"));
    assert_eq!(count(" status=bounced "), 0.0, "{log}");
    [queued.iter().sum::<u64>() as f64, sent + deferred, sent]
}

#[test]
fn a_scaled_down_run_agrees_with_its_simulation_within_a_tenth() {
    let real = real();
    let mut expected = [0.0; 3];
    for seed in 0..SEEDS {
        let one = simulated(seed);
        (0..3).for_each(|at| expected[at] += one[at] / SEEDS as f64);
    }
    println!("after {} s{:>21} {:>10} {:>6}", RUN.as_secs(), "simulated", "real", "ratio");
    for (name, at) in [("queue depth", 0), ("attempts", 1), ("delivered", 2)] {
        println!("{name:<20} {:>10.1} {:>10} {:>6.3}", expected[at], real[at], real[at] / expected[at]);
    }
    for (name, at) in [("queue depth", 0), ("attempts", 1), ("delivered", 2)] {
        let ratio = real[at] / expected[at];
        assert!((0.9..=1.1).contains(&ratio), "{name}: {} real, {} simulated", real[at], expected[at]);
    }
}
