//! Messages in a file: for each a JSON object on a line, then as many bytes of content as it says, then a line end.

use super::line;
use super::progress::{Known, Progress};
use ::mta::operate::{Filter, Queue, Row, Step};
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;

/// A message with the most recipients has a longer line than any other.
const LINE_BYTES_MAX: u64 = 32 << 20;

pub fn export(queue: &mut Queue, filter: &Filter, file: &Path) -> Result<(), String> {
    let failed = |error: io::Error| format!("{}: {error}", file.display());
    let mut out: Box<dyn Write> = match file.to_str() {
        Some("-") => Box::new(io::stdout().lock()),
        _ => Box::new(BufWriter::new(File::create_new(file).map_err(failed)?)),
    };
    let mut ids = Vec::new();
    queue.list(filter, &mut |row| {
        ids.push(row.id);
        Ok(())
    })?;
    let mut content = Vec::new();
    for id in ids {
        // delivered meanwhile: there is nothing to be carried elsewhere
        let Ok(row) = queue.show(&id) else { continue };
        content.clear();
        if queue.content(&id, &mut content).is_err() {
            continue;
        }
        let row = Row { size_bytes: content.len() as u64, ..row };
        serde_json::to_writer(&mut out, &row).map_err(|error| failed(error.into()))?;
        out.write_all(b"\n").and_then(|()| out.write_all(&content)).map_err(failed)?;
        out.write_all(b"\n").map_err(failed)?;
    }
    out.flush().map_err(failed)
}

/// Takes in each message of a file once, however often it is asked to and wherever it was stopped. Of standard input
/// nothing is remembered. `spool` says where they go.
pub fn import(queue: &mut Queue, file: &Path, spool: &Path, out: &mut dyn Write) -> Result<(), String> {
    let failed = |error: io::Error| format!("{}: {error}", file.display());
    let (mut input, mut progress): (Box<dyn BufRead>, _) = match file.to_str() {
        Some("-") => (Box::new(BufReader::new(io::stdin())), None),
        _ => {
            let input = Box::new(BufReader::new(File::open(file).map_err(failed)?));
            (input, Some(Progress::open(file, spool)?))
        }
    };
    for number in 1.. {
        let mut text = String::new();
        if (&mut input).take(LINE_BYTES_MAX).read_line(&mut text).map_err(failed)? == 0 {
            break;
        }
        let what = |error: &dyn std::fmt::Display| format!("{}: message {number}: {error}", file.display());
        let row: Row = serde_json::from_str(&text).map_err(|error| what(&error))?;
        let known = progress.as_ref().map_or(Ok(Known::Nothing), |progress| progress.known(number, &text))?;
        let was_taken = match &known {
            Known::Nothing => false,
            Known::Begun(id) => queue.was_imported(id).map_err(|error| what(&error))?,
            Known::LastTaken(_) | Known::Taken => true,
        };
        if was_taken {
            if let (Known::Begun(_), Some(progress)) = (&known, &mut progress) {
                progress.take(number)?;
            }
            if let Known::Begun(id) | Known::LastTaken(id) = &known {
                queue.end_import(id, &row).map_err(|error| what(&error))?;
                line(out, &format!("{} {id}", row.id))?;
            }
            io::copy(&mut (&mut input).take(row.size_bytes), &mut io::sink()).map_err(failed)?;
        } else {
            let mut note = |step: Step<'_>| match (&mut progress, step) {
                (None, _) => Ok(()),
                (Some(progress), Step::Begun(id)) => progress.begin(number, &text, id),
                (Some(progress), Step::Kept) => progress.take(number),
            };
            let id = queue.import(&row, &mut input, &mut note).map_err(|error| what(&error))?;
            line(out, &format!("{} {id}", row.id))?;
        }
        let mut end = [0];
        input.read_exact(&mut end).map_err(failed)?;
        if end != *b"\n" {
            return Err(what(&"its content does not end where it should"));
        }
    }
    let Some(mut progress) = progress else { return Ok(()) };
    if progress.is_done {
        eprintln!("mailrig: queue: all of {0} was taken in before, as {0}.imported says", file.display());
    }
    progress.finish()
}
