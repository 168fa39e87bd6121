//! The options that say when messages start, and how many.

use distribution::Distribution;
use load::schedule::rate::{Course, Spacing};
use load::schedule::{Model, Plan, Shard, Stop, stages};
use std::time::Duration;

#[derive(clap::Args)]
#[command(next_help_heading = "When messages start")]
#[group(skip)]
pub struct Args {
    /// Messages in all [default: 1 in a closed loop without --duration]
    #[arg(long, value_name = "M", value_parser = clap::value_parser!(u64).range(1..))]
    messages: Option<u64>,
    /// Start no more messages after this long
    #[arg(long, value_name = "TIME", value_parser = super::parse_time)]
    duration: Option<Duration>,
    /// Keep messages meant to start within this first time out of the statistics
    #[arg(long, value_name = "TIME", value_parser = settings::duration::parse, default_value = "0")]
    warmup: Duration,
    /// Open loop: start so many messages a second (or /m, /h), whether or not the server keeps up
    #[arg(long, value_name = "N/s", value_parser = stages::parse_rate)]
    rate: Option<f64>,
    /// Open loop with a course: stages separated by commas.
    ///
    /// "ramp A/s..B/s TIME" (or "ramp B/s TIME" from where the last stage ended), "hold TIME" or "hold A/s TIME",
    /// "step A/s TIME" (jump and stay), "spike A/s TIME" (jump, and back to the rate of before). For example
    /// "ramp 0/s..500/s 10s, hold 30s, step 800/s 5s, spike 2000/s 1s, hold 5s".
    #[arg(long, value_name = "STAGES", conflicts_with = "rate", value_parser = stages::parse)]
    stages: Option<Course>,
    /// How starts lie in the open loop: evenly, or as independent senders make them
    #[arg(long, value_name = "even|poisson", value_enum, default_value_t = Arrivals::Even)]
    arrivals: Arrivals,
    /// Closed loop: pause of a connection after each message, such as 100ms, uniform(50ms,150ms) or exponential(100ms)
    #[arg(long, value_name = "TIME", conflicts_with_all = ["rate", "stages"], value_parser = parse_think)]
    think: Option<Distribution>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Arrivals {
    Even,
    Poisson,
}

impl Args {
    pub fn spacing(&self, seed: u64) -> Spacing {
        match self.arrivals {
            Arrivals::Even => Spacing::Even,
            Arrivals::Poisson => Spacing::Poisson { seed },
        }
    }

    pub fn plan(&self, seed: u64) -> Plan {
        let spacing = self.spacing(seed);
        let course = self.stages.clone().or_else(|| self.rate.map(Course::constant));
        let open_end = self.rate.is_none() && self.stages.is_none() && self.duration.is_none();
        Plan {
            model: match course {
                Some(course) => Model::Open { course, spacing },
                None => Model::Closed { think: self.think.clone() },
            },
            stop: Stop { after: self.messages.or(open_end.then_some(1)), at: self.duration },
            warm_up: self.warmup,
            shard: Shard::WHOLE,
        }
    }
}

/// In nanoseconds.
fn parse_think(text: &str) -> Result<Distribution, distribution::Error> {
    Distribution::parse(text, |time| settings::duration::parse(time).map(|time| time.as_nanos() as f64))
}
