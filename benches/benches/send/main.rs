//! `mailrig send`: beside Postfix's smtp-source, and against what it promises.
//!
//! `cargo bench --bench send` (five minutes); a word after `--` selects parts: `cargo bench --bench send -- stall`.
//! `pair`, and half of `memory`, need smtp-source and smtp-sink, which are in Debian's package postfix; Postfix itself
//! need not be configured or run. Builds the mailrig executable. Load and sink share the cores.
//!
//! | part | for |
//! |---|---|
//! | [`pair`] | our sender into our sink, beside smtp-source into smtp-sink: messages a second, and what one costs |
//! | [`memory`] | what a session in flight costs the sender in memory |
//! | [`rate`] | whether a rate that is asked for is kept |
//! | [`stall`] | whether a sink that stops for a while is seen in the latency, as arithmetic says |
//! | [`sender`] | `mailrig send` as a child |

mod memory;
mod pair;
mod rate;
mod sender;
mod stall;

use benches::postfix::Postfix;
use benches::request::{self, Size};
use benches::rig::Rig;
use std::process::ExitCode;
use std::time::Duration;

/// For a sink to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

const PARTS: [(&str, fn(&Stage, Size) -> Result<(), String>); 4] = [
    ("send/pair", pair::measure),
    ("send/memory", memory::measure),
    ("send/rate", rate::measure),
    ("send/stall", stall::measure),
];

/// What the parts run on.
struct Stage<'a> {
    rig: &'a Rig,
    postfix: Option<&'a Postfix>,
}

fn main() -> ExitCode {
    for (name, measure) in PARTS {
        let Some(size) = request::size(name, std::env::args().skip(1)) else { continue };
        println!("{name}");
        if let Err(problem) = on_a_stage(measure, size) {
            eprintln!("{name}: {problem}");
            return ExitCode::FAILURE;
        }
        println!();
    }
    ExitCode::SUCCESS
}

/// Each part has a header of its own, since it may be all that is asked for.
fn on_a_stage(measure: fn(&Stage, Size) -> Result<(), String>, size: Size) -> Result<(), String> {
    let rig = Rig::start()?;
    let postfix = Postfix::find();
    let versions = postfix.as_ref().map_or(String::new(), |postfix| format!(", Postfix {}", postfix.version));
    println!("{}{}", rig.describe(&versions)?, size.warning());
    let measured = measure(&Stage { rig: &rig, postfix: postfix.as_ref() }, size);
    rig.end_all()?;
    rig.finish();
    measured
}

/// What to say of a goal beside the figure.
fn kept(is_kept: bool) -> &'static str {
    if is_kept { "kept" } else { "missed" }
}
