//! A sink that is stopped (SIGSTOP) for a tenth of a run at a constant rate.
//!
//! The messages meant to start while it stands still wait for the rest of its stop: a tenth of all, from nothing to the
//! whole stop, evenly. So by arithmetic the p95 of the latency is half the stop and the p99 nine tenths of it; a client
//! that waits for the server would show neither.

use crate::sender::{self, Sender, Sent};
use crate::{GRACE, Stage};
use benches::request::Size;
use measure::statistics::Sorted;
use measure::{Table, spread};
use std::time::Duration;

const RATE: &str = "500/s";
/// In a stop each has one message on its way: half a per cent of all, so that the p99 of `service` is not of them.
const CONNECTIONS: &str = "50";
/// Beyond the duration asked for.
const SLACK: Duration = Duration::from_secs(30);
const SINK: &[&str] = &["sink", "--quiet", "--listen", "127.0.0.1:0"];

/// How long the parts of a run take.
struct Course {
    before: Duration,
    stop: Duration,
    /// As `--duration` says it; ten times the stop.
    whole: &'static str,
}

const FULL: Course = Course { before: Duration::from_secs(9), stop: Duration::from_secs(2), whole: "20s" };
const TINY: Course = Course { before: Duration::from_secs(1), stop: Duration::from_millis(200), whole: "2s" };

pub fn measure(stage: &Stage, size: Size) -> Result<(), String> {
    let (course, blocks) = if size == Size::Full { (FULL, 3) } else { (TINY, 1) };
    let mailrig = stage.rig.mailrig.display();
    println!("sink: {mailrig} {}", SINK.join(" "));
    println!("load: {mailrig} {}", sender::words("127.0.0.1:PORT", &load(&course)).join(" "));
    println!("stop: {} ms, after {} ms", course.stop.as_millis(), course.before.as_millis());
    let mut runs = Vec::new();
    for block in 0..blocks {
        eprintln!("block {} of {blocks}", block + 1);
        runs.push(run(stage, &course)?);
    }
    print!("\nblocks: {blocks}; medians over them, and ranges\n{}", table(&runs, &course)?);
    println!("invalid runs: {}", runs.iter().filter(|run| !run.is_valid()).count());
    Ok(())
}

fn load(course: &Course) -> [&'static str; 6] {
    ["--rate", RATE, "--duration", course.whole, "--connections", CONNECTIONS]
}

fn run(stage: &Stage, course: &Course) -> Result<Sent, String> {
    let (sink, address) = stage.rig.sink(SINK)?;
    let sender = Sender::start(stage.rig, address, &load(course))?;
    std::thread::sleep(course.before);
    sink.pause();
    std::thread::sleep(course.stop);
    sink.resume();
    let sent = sender.wait(course.stop * 10 + SLACK)?;
    sink.terminate(GRACE)?;
    Ok(sent)
}

fn table(runs: &[Sent], course: &Course) -> Result<String, String> {
    let mut table = Table::new(&["figure", "s", "by arithmetic"]);
    let stop_s = course.stop.as_secs_f64();
    for (name, place, arithmetic_s) in [
        ("message p95", "/stages/message/p95_us", Some(stop_s / 2.0)),
        ("message p99", "/stages/message/p99_us", Some(stop_s * 0.9)),
        ("service p99", "/stages/service/p99_us", None),
    ] {
        let values = runs.iter().map(|run| Ok(run.figure(place)? / 1e6));
        let values = values.collect::<Result<Vec<f64>, String>>()?;
        let values = Sorted::new(values).expect("each block has a run");
        table.row([
            name.to_owned(),
            spread(values.median(), values.min(), values.max()),
            arithmetic_s.map_or(String::new(), |arithmetic_s| format!("{arithmetic_s:.2}")),
        ]);
    }
    Ok(table.render())
}
