//! What a sink can hold and what bounds it, said before somebody finds out in a run.

use sink::{ENOUGH_BACKLOG, backlog_max, files_max};

/// Says how many connections `shards` processes hold, what to change for more unless the user `capped` them, and what
/// else of the system is in the way.
pub fn tell(shards: u32, connections_max: usize, capped: bool) {
    for line in lines(shards, connections_max, capped, files_max(), backlog_max()) {
        eprintln!("{line}");
    }
}

fn lines(
    shards: u32,
    connections_max: usize,
    capped: bool,
    files_max: Option<u64>,
    backlog_max: Option<u32>,
) -> Vec<String> {
    let mut lines = Vec::new();
    lines.push(match shards {
        1 => format!("mailrig: holds up to {connections_max} connections; more get 421"),
        _ => format!("mailrig: {shards} shards hold up to {connections_max} connections; more get 421"),
    });
    let each = connections_max as u64 / u64::from(shards);
    if let Some(more) = more(connections_max as u64).filter(|_| !capped && each > 0) {
        let enough = (more + more / 20).div_ceil(each);
        lines.push(format!(
            "hint: for {more} --shards {enough}, or a higher limit of open files (ulimit -Hn)"
        ));
    }
    if let Some(files_max) = files_max.filter(|&files_max| files_max < connections_max as u64) {
        lines.push(format!("mailrig: all processes of the system together can have {files_max} files open"));
        lines.push(format!("hint: sysctl fs.file-max={}", connections_max as u64 * 2));
    }
    // Each shard has a backlog of its own.
    let backlog_max = backlog_max.map(|most| u64::from(most) * u64::from(shards));
    if let Some(backlog) = backlog_max.filter(|&most| most < ENOUGH_BACKLOG.into()) {
        lines.push(format!("mailrig: at most {backlog} connections can wait to be accepted"));
        lines.push(format!("hint: sysctl net.core.somaxconn={ENOUGH_BACKLOG}"));
    }
    lines
}

/// The next power of ten: what somebody may want next.
fn more(connections: u64) -> Option<u64> {
    std::iter::successors(Some(1000u64), |power| power.checked_mul(10))
        .take_while(|&power| power <= MOST)
        .find(|&power| power > connections)
}

/// More than a machine has memory for.
const MOST: u64 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::lines;

    #[test]
    fn what_is_in_the_way_is_said_with_what_to_do() {
        let plenty = (Some(1 << 40), Some(4096));
        let said = |shards, most, capped, (files, backlog)| lines(shards, most, capped, files, backlog);
        assert_eq!(
            said(1, 19_935, false, plenty),
            [
                "mailrig: holds up to 19935 connections; more get 421",
                "hint: for 100000 --shards 6, or a higher limit of open files (ulimit -Hn)"
            ]
        );
        assert_eq!(
            said(8, 159_480, false, plenty),
            [
                "mailrig: 8 shards hold up to 159480 connections; more get 421",
                "hint: for 1000000 --shards 53, or a higher limit of open files (ulimit -Hn)"
            ]
        );
        assert_eq!(said(3, 30, true, plenty).len(), 1);
        assert_eq!(said(1, usize::MAX, false, (None, None)).len(), 1);
        assert_eq!(
            said(2, 40_000, true, (Some(30_000), Some(128)))[1..],
            [
                "mailrig: all processes of the system together can have 30000 files open",
                "hint: sysctl fs.file-max=80000",
                "mailrig: at most 256 connections can wait to be accepted",
                "hint: sysctl net.core.somaxconn=4096"
            ]
        );
    }
}
