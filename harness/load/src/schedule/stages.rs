//! Rates as people write them: `500/s`, and whole courses of them.
//!
//! ```text
//! stages = stage { "," stage }
//! stage  = "ramp" [RATE ".."] RATE TIME     from a rate (else: from where the last stage ended) to another
//!        | "hold" [RATE] TIME               stay, at a rate (else: at that of the last stage)
//!        | "step" RATE TIME                 jump to a rate and stay there
//!        | "spike" RATE TIME                jump to a rate for a while, and back to that of before
//! RATE   = number "/s" | number "/m" | number "/h"
//! ```

use super::rate::{Course, Piece};
use std::time::Duration;

/// Reads a rate: messages a second, minute or hour; gives messages a second.
///
/// # Errors
/// What is wrong and what to write instead.
pub fn parse_rate(text: &str) -> Result<f64, String> {
    let text = text.trim();
    let Some((number, unit)) = text.split_once('/') else {
        return Err(format!(
            "`{text}` is not a rate; write messages a second, minute or hour, such as 500/s"
        ));
    };
    let seconds = match unit {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("`{unit}` is not a unit of rate; write /s, /m or /h")),
    };
    let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match number.parse::<f64>() {
        Ok(number) if plain && number / seconds <= RATE_MAX => Ok(number / seconds),
        Ok(_) if plain => Err(format!("`{text}` is more than {RATE_MAX}/s")),
        _ => Err(format!("`{text}` is not a rate; write messages a second, such as 500/s")),
    }
}

/// Reads stages.
///
/// # Errors
/// The first stage that is wrong, and how it is written.
pub fn parse(text: &str) -> Result<Course, String> {
    let mut pieces: Vec<Piece> = Vec::new();
    // Where the last stage left the rate, and where the next one finds it.
    let mut rate = 0.0;
    for stage in text.split(',').map(str::trim) {
        let (piece, after) =
            parse_stage(stage, rate).map_err(|problem| format!("stage `{stage}`: {problem}"))?;
        rate = after;
        pieces.push(piece);
    }
    if pieces.len() > STAGES_MAX {
        return Err(format!("{} stages are more than {STAGES_MAX}", pieces.len()));
    }
    if pieces.iter().all(|piece| piece.from == 0.0 && piece.to == 0.0) {
        return Err("the rate is 0 all the time; give one, such as `hold 500/s 10s`".to_owned());
    }
    Ok(Course::new(pieces))
}

/// One stage, and the rate that it leaves.
fn parse_stage(stage: &str, before: f64) -> Result<(Piece, f64), String> {
    let words: Vec<&str> = stage.split_whitespace().collect();
    let level = |rate: f64, time: &str| length(time).map(|length| Piece { from: rate, to: rate, length });
    match words[..] {
        ["ramp", rates, time] => {
            let (from, to) = match rates.split_once("..") {
                Some((from, to)) => (parse_rate(from)?, parse_rate(to)?),
                None => (before, parse_rate(rates)?),
            };
            Ok((Piece { from, to, length: length(time)? }, to))
        }
        ["hold", time] => Ok((level(before, time)?, before)),
        ["hold" | "step", rate, time] => {
            let rate = parse_rate(rate)?;
            Ok((level(rate, time)?, rate))
        }
        ["spike", rate, time] => Ok((level(parse_rate(rate)?, time)?, before)),
        [kind @ ("ramp" | "hold" | "step" | "spike"), ..] => Err(format!(
            "a {kind} is written `{}`",
            if kind == "ramp" { RAMP } else { LEVEL }.replace("KIND", kind)
        )),
        _ => Err("begin with ramp, hold, step or spike".to_owned()),
    }
}

fn length(text: &str) -> Result<Duration, String> {
    match settings::duration::parse(text)? {
        Duration::ZERO => Err("a stage takes some time".to_owned()),
        length => Ok(length),
    }
}

const RAMP: &str = "ramp 0/s..500/s 10s";
const LEVEL: &str = "KIND 500/s 10s";
/// Beyond what one machine sends; sums of rates and times stay exact.
const RATE_MAX: f64 = 1e6;
const STAGES_MAX: usize = 1000;
