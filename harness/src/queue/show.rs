//! Messages as lines and as pages.

use super::line;
use ::mta::operate::{Filter, Queue, Row, Standing};
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

pub fn list(queue: &mut Queue, filter: &Filter, json: bool, out: &mut dyn Write) -> Result<(), String> {
    if !json {
        line(out, "ID             STATUS   AGE_S      SIZE TRIES FROM -> TO")?;
    }
    queue.list(filter, &mut |row| {
        if json {
            return line(out, &object(&row));
        }
        let age_s = now_ms().saturating_sub(row.received_ms) / 1000;
        let (status, from) = (word(row.status), &row.from);
        let first = row.to.first().map_or("", |to| &to.address);
        let more = match row.recipients {
            0 | 1 => String::new(),
            all => format!(" and {} more", all - 1),
        };
        let (id, size, tries) = (&row.id, row.size_bytes, row.attempts);
        line(
            out,
            &format!("{id:<14} {status:<8} {age_s:>5} {size:>9} {tries:>5} <{from}> -> <{first}>{more}"),
        )
    })
}

pub fn one(row: &Row, json: bool, out: &mut dyn Write) -> Result<(), String> {
    if json {
        return line(out, &object(row));
    }
    let time = |ms: u64| {
        let at = jiff::Timestamp::from_millisecond(i64::try_from(ms).unwrap_or(i64::MAX));
        at.map_or_else(|_| ms.to_string(), |at| at.to_string())
    };
    line(out, &format!("{} {}", row.id, word(row.status)))?;
    line(out, &format!("  from <{}>, {} bytes", row.from, row.size_bytes))?;
    let (received, due) = (time(row.received_ms), time(row.due_ms));
    line(out, &format!("  received {received}, tried {} times, due {due}", row.attempts))?;
    for to in &row.to {
        line(out, &format!("  to <{}> {}", to.address, format!("{:?}", to.state).to_lowercase()))?;
    }
    Ok(())
}

fn object(row: &Row) -> String {
    serde_json::to_string(row).expect("a row is JSON")
}

fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Active => "active",
        Standing::Due => "due",
        Standing::Deferred => "deferred",
        Standing::Held => "held",
    }
}

pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
