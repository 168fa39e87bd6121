//! The table of qshape(1): pending recipients by domain and by the age of their message, in columns that double.

use super::{line, show};
use ::mta::operate::{Filter, Queue, Row};
use std::collections::HashMap;
use std::io::Write;

/// Upper bounds of all columns but the last, in minutes, as in qshape(1).
const BOUNDS_MINUTES: [u64; 9] = [5, 10, 20, 40, 80, 160, 320, 640, 1280];
const COLUMNS: usize = BOUNDS_MINUTES.len() + 1;

/// Domains shown; the rest is in the total.
const DOMAINS: usize = 50;

type Counts = [u64; COLUMNS];

pub fn print(queue: &mut Queue, filter: &Filter, json: bool, out: &mut dyn Write) -> Result<(), String> {
    let mut domains: HashMap<String, Counts> = HashMap::new();
    let mut cut = Vec::new();
    let now_ms = show::now_ms();
    queue.list(filter, &mut |row| {
        if row.to.len() < row.recipients {
            cut.push(row.id);
        } else {
            count(&mut domains, &row, now_ms);
        }
        Ok(())
    })?;
    for id in cut {
        // it may be gone meanwhile
        if let Ok(row) = queue.show(&id) {
            count(&mut domains, &row, now_ms);
        }
    }
    let sum = |counts: &Counts| counts.iter().sum::<u64>();
    let mut rows: Vec<_> = domains.into_iter().collect();
    rows.sort_by(|one, other| sum(&other.1).cmp(&sum(&one.1)).then_with(|| one.0.cmp(&other.0)));
    let mut total = [0; COLUMNS];
    for (_, counts) in &rows {
        total.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
    }
    rows.truncate(DOMAINS);
    rows.insert(0, ("TOTAL".to_owned(), total));
    if json {
        return rows.iter().try_for_each(|(domain, counts)| {
            let row = serde_json::json!({"domain": domain, "recipients": sum(counts), "by_age": counts});
            line(out, &row.to_string())
        });
    }
    let width = rows.iter().map(|(domain, _)| domain.len()).max().unwrap_or(0);
    let heads = BOUNDS_MINUTES.iter().map(|bound| format!("{bound:>7}")).collect::<String>();
    let last = format!("{}+", BOUNDS_MINUTES[BOUNDS_MINUTES.len() - 1]);
    line(out, &format!("{:>width$} {:>7}{heads} {last:>6}", "", "T"))?;
    rows.iter().try_for_each(|(domain, counts)| {
        let cells = counts.iter().map(|count| format!("{count:>7}")).collect::<String>();
        line(out, &format!("{domain:>width$} {:>7}{cells}", sum(counts)))
    })
}

fn count(domains: &mut HashMap<String, Counts>, row: &Row, now_ms: u64) {
    let minutes = now_ms.saturating_sub(row.received_ms) / 60_000;
    let column = BOUNDS_MINUTES.iter().position(|bound| minutes < *bound).unwrap_or(COLUMNS - 1);
    for to in row.to.iter().filter(|to| to.is_pending()) {
        let domain = to.address.rsplit_once('@').map_or("", |(_, domain)| domain);
        domains.entry(domain.to_ascii_lowercase()).or_default()[column] += 1;
    }
}
