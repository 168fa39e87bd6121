//! The options that say what is sent, and to whom.

use distribution::Distribution;
use load::message::{Content, Options, filler::Text, random_run_name};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
#[command(next_help_heading = "What is sent, and to whom")]
#[group(skip)]
pub struct Args {
    /// Size of each message as it is sent: 4KiB, uniform(1KiB,8KiB), lognormal(p50=8KiB,p99=200KiB), exponential(8KiB),
    /// pareto(min=1KiB,alpha=1.5) or file(NAME), with a smallest size, a largest size and a weight in each line
    #[arg(long, value_name = "SIZE", default_value = "4KiB", value_parser = parse_size)]
    size: Distribution,
    /// Sender of each message ("" for the null reverse-path); as with --to there may be a choice
    #[arg(long, value_name = "ADDRESSES", default_value = "sender@mailrig.test")]
    from: String,
    /// Recipient of each message; given several times, one from each.
    ///
    /// An address; with {1000} in it numbered from 1 to 1000, all alike; with {50~1.1} numbered by Zipf's law, so that the
    /// k-th comes in proportion to 1/k^1.1; or file(NAME), with an address and, if not 1, its weight in each line. For
    /// example "user{10000}@d{50~1.1}.test".
    #[arg(long, value_name = "ADDRESSES", default_value = "recipient@mailrig.test")]
    to: Vec<String>,
    /// Recipients of a message, drawn from all of --to: 3, uniform(1,5) or geometric(3)
    #[arg(long, value_name = "COUNT", value_parser = parse_count)]
    recipients: Option<Distribution>,
    /// Characters: ascii; 8bit, for 8BITMIME; or utf8 in the header section too, for SMTPUTF8
    #[arg(long, value_name = "ascii|8bit|utf8", value_enum, default_value_t = Characters::Ascii)]
    text: Characters,
    /// Multipart messages with text, HTML and an attachment, of about the size asked for
    #[arg(long, conflicts_with = "text")]
    mime: bool,
    /// Messages of one's own, in turn: a file, a folder of files, or an mbox; each gets an id before its first line
    #[arg(long, value_name = "PATH", conflicts_with_all = ["text", "mime", "size"])]
    mail: Option<PathBuf>,
    /// Name that each message's id begins with [default: random]
    #[arg(long, value_name = "NAME")]
    run: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Characters {
    Ascii,
    #[value(name = "8bit")]
    EightBit,
    Utf8,
}

impl Args {
    pub fn options(self) -> Options {
        let text = match self.text {
            Characters::Ascii => Text::Ascii,
            Characters::EightBit => Text::EightBit,
            Characters::Utf8 => Text::Utf8,
        };
        Options {
            run: self.run.unwrap_or_else(random_run_name),
            size: self.size,
            content: match (self.mail, self.mime) {
                (Some(path), _) => Content::Own(path),
                (None, true) => Content::Mime,
                (None, false) => Content::Filler(text),
            },
            from: self.from,
            to: self.to,
            recipients: self.recipients,
        }
    }
}

/// In bytes.
fn parse_size(text: &str) -> Result<Distribution, String> {
    match text.strip_prefix("file(").and_then(|rest| rest.strip_suffix(')')) {
        Some(path) => read_sizes(Path::new(path)),
        None => Distribution::parse(text, size).map_err(|error| error.to_string()),
    }
}

fn read_sizes(path: &Path) -> Result<Distribution, String> {
    let text = settings::read_text(path).map_err(|error| error.to_string())?;
    let mut bins = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        if line.trim_start().starts_with('#') {
            continue;
        }
        let place = |problem: String| format!("{}:{}: {problem}", path.display(), index + 1);
        let [low, high, weight] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            return Err(place("write a smallest size, a largest size and a weight".to_owned()));
        };
        let weight = weight.parse().map_err(|_| place(format!("`{weight}` is not a weight")))?;
        bins.push((size(low).map_err(place)?, size(high).map_err(place)?, weight));
    }
    Distribution::empirical(&bins).map_err(|problem| format!("{}: {problem}", path.display()))
}

fn size(text: &str) -> Result<f64, String> {
    settings::size::parse(text).map(|bytes| bytes as f64)
}

fn parse_count(text: &str) -> Result<Distribution, distribution::Error> {
    Distribution::parse(text, |text| match text.parse::<f64>() {
        Ok(count) if count >= 1.0 && count.is_finite() => Ok(count),
        _ => Err(format!("`{text}` is not a number from 1 on")),
    })
}
