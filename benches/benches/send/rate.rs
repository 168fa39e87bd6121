//! Whether a rate that is asked for is kept, with nothing but the sink beside it.
//!
//! Messages started are counted over the whole span of the run when that is longer than asked, so that a generator
//! which comes after its schedule does not look punctual.

use crate::sender::{self, Sender, Sent};
use crate::{GRACE, Stage, kept};
use benches::request::Size;
use measure::statistics::Sorted;
use measure::{Table, spread};
use std::time::Duration;

const RATES: [u32; 4] = [100, 1000, 5000, 10_000];
const CONNECTIONS: &str = "200";
/// Share of the rate asked for, by which the kept one may differ.
const GOAL: f64 = 0.01;
/// Beyond the duration asked for.
const SLACK: Duration = Duration::from_secs(30);

struct Cell {
    rate: u32,
    /// A run a block each: kept by asked, generator lag and start lag in ms.
    shares: Vec<f64>,
    generator_lags_ms: Vec<f64>,
    start_lags_ms: Vec<f64>,
    invalid: usize,
}

pub fn measure(stage: &Stage, size: Size) -> Result<(), String> {
    let (rates, blocks, duration_s): (&[u32], _, _) = match size {
        Size::Full => (&RATES, 3, 4),
        Size::Tiny => (&RATES[..2], 1, 1),
    };
    let duration = format!("{duration_s}s");
    let load = load("RATE/s", &duration);
    println!("sink: {} {}", stage.rig.mailrig.display(), SINK.join(" "));
    println!("load: {} {}", stage.rig.mailrig.display(), sender::words("127.0.0.1:PORT", &load).join(" "));
    let cell = |&rate| Cell {
        rate,
        shares: Vec::new(),
        generator_lags_ms: Vec::new(),
        start_lags_ms: Vec::new(),
        invalid: 0,
    };
    let mut cells: Vec<Cell> = rates.iter().map(cell).collect();
    for block in 0..blocks {
        eprintln!("block {} of {blocks}", block + 1);
        // a drift of the machine does the same to all rates
        cells.reverse();
        for cell in &mut cells {
            let sent = run(stage, cell.rate, &duration, Duration::from_secs(duration_s))?;
            let span_s = sent.figure("/elapsed_s")?.max(duration_s as f64);
            cell.shares.push(sent.figure("/started")? / span_s / f64::from(cell.rate));
            cell.generator_lags_ms.push(sent.figure("/generator_lag/p99_us")? / 1e3);
            cell.start_lags_ms.push(sent.figure("/start_lag/p99_us")? / 1e3);
            cell.invalid += usize::from(!sent.is_valid());
        }
    }
    cells.sort_by_key(|cell| cell.rate);
    print!("\nblocks: {blocks}; medians over them, and ranges\n{}", table(&cells));
    Ok(())
}

const SINK: &[&str] = &["sink", "--quiet", "--listen", "127.0.0.1:0"];

fn load<'a>(rate: &'a str, duration: &'a str) -> [&'a str; 6] {
    ["--rate", rate, "--duration", duration, "--connections", CONNECTIONS]
}

fn run(stage: &Stage, rate: u32, words: &str, duration: Duration) -> Result<Sent, String> {
    let (sink, address) = stage.rig.sink(SINK)?;
    let sender = Sender::start(stage.rig, address, &load(&format!("{rate}/s"), words))?;
    let sent = sender.wait(duration + SLACK)?;
    sink.terminate(GRACE)?;
    Ok(sent)
}

fn table(cells: &[Cell]) -> String {
    let mut table = Table::new(&[
        "asked/s",
        "started/s",
        "off by %",
        "goal: within 1 %",
        "generator lag p99 ms",
        "start lag p99 ms",
        "invalid runs",
    ]);
    let of = |values: &[f64], scale: f64| {
        let values = Sorted::new(values.iter().map(|value| value * scale)).expect("each block has a run");
        (spread(values.median(), values.min(), values.max()), values.median())
    };
    for cell in cells {
        let (started, _) = of(&cell.shares, f64::from(cell.rate));
        let (_, share) = of(&cell.shares, 1.0);
        table.row([
            cell.rate.to_string(),
            started,
            format!("{:+.2}", (share - 1.0) * 100.0),
            kept((share - 1.0).abs() <= GOAL).to_owned(),
            of(&cell.generator_lags_ms, 1.0).0,
            of(&cell.start_lags_ms, 1.0).0,
            cell.invalid.to_string(),
        ]);
    }
    table.render()
}
