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

struct Part {
    name: &'static str,
    measure: fn(&Stage, Size) -> Result<(), String>,
}

static PARTS: [Part; 4] = [
    Part { name: "send/pair", measure: pair::measure },
    Part { name: "send/memory", measure: memory::measure },
    Part { name: "send/rate", measure: rate::measure },
    Part { name: "send/stall", measure: stall::measure },
];

/// What the parts run on.
struct Stage<'a> {
    rig: &'a Rig,
    postfix: Option<&'a Postfix>,
}

fn main() -> ExitCode {
    let asked = |part: &'static Part| Some((part, request::size(part.name, std::env::args().skip(1))?));
    let parts: Vec<(&Part, Size)> = PARTS.iter().filter_map(asked).collect();
    match measure(&parts) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("send: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn measure(parts: &[(&Part, Size)]) -> Result<(), String> {
    // cargo and the user ask the same size of all
    let Some((_, size)) = parts.first() else { return Ok(()) };
    let rig = Rig::start()?;
    let postfix = Postfix::find();
    let versions = postfix.as_ref().map_or(String::new(), |postfix| format!(", Postfix {}", postfix.version));
    println!("{}{}", rig.describe(&versions)?, size.warning());
    let stage = Stage { rig: &rig, postfix: postfix.as_ref() };
    for (part, size) in parts {
        println!("\n{}", part.name);
        let measured = (part.measure)(&stage, *size);
        measured.map_err(|problem| format!("{}: {problem}", part.name))?;
    }
    rig.finish();
    Ok(())
}

/// What to say of a goal beside the figure.
fn kept(is_kept: bool) -> &'static str {
    if is_kept { "kept" } else { "missed" }
}
