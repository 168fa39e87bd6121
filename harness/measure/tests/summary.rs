//! From a small `runs.csv` to the summary, the table and the comparison, byte for byte; and what is refused.
//!
//! `tests/data/runs.csv` has two subjects at two points in three blocks, one row of them not valid. The golden files
//! are rewritten with `UPDATE_GOLDEN=1 cargo test -p measure --test summary`; look at the difference before it is kept.

use measure::comparison::{Run, of_runs, of_subjects};
use measure::{
    FIGURES, InvalidReason, Manifest, RunRow, SummaryRow, complaints, read_rows, summarize, summary_table,
    write_rows,
};
use std::path::{Path, PathBuf};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn rows() -> Vec<RunRow> {
    read_rows(&data("runs.csv")).unwrap_or_else(|error| panic!("{error}"))
}

fn subjects() -> Vec<String> {
    vec!["process".to_owned(), "event".to_owned()]
}

fn check(name: &str, actual: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(data(name), actual).expect("the golden file can be written");
    }
    let expected = std::fs::read_to_string(data(name)).expect("the golden file is there");
    assert_eq!(actual, expected, "{name}");
}

fn written<T: measure::Record>(rows: &[T]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("rows.csv");
    write_rows(&path, rows).unwrap_or_else(|error| panic!("{error}"));
    std::fs::read_to_string(&path).expect("it was written")
}

#[test]
fn rows_are_written_as_they_were_read() {
    let text = std::fs::read_to_string(data("runs.csv")).expect("the data is there");
    assert_eq!(written(&rows()), text);
    assert_eq!(written::<SummaryRow>(&[]).lines().count(), 1);
}

#[test]
fn the_summary_is_what_it_was() {
    let summary = summarize(&rows(), &subjects());
    assert_eq!(summary.len(), 4 * FIGURES.len());
    check("summary.csv", &written(&summary));
    check("table.txt", &summary_table(&rows(), &subjects()));
}

/// By hand: process 640, 700, 600 and event 800, (790 not valid), 750.
#[test]
fn medians_and_ratios_are_those_of_paper_and_pencil() {
    let summary = summarize(&rows(), &subjects());
    let of = |subject: &str, figure: &str| {
        let found =
            |row: &&SummaryRow| row.subject == subject && row.concurrency == 100 && row.figure == figure;
        summary.iter().find(found).expect("a row").clone()
    };
    let process = of("process", "throughput_msg_per_s");
    assert_eq!((process.median, process.min, process.max), (Some(640.0), Some(600.0), Some(700.0)));
    assert_eq!((process.ratio, process.ratio_min, process.ratio_max), (Some(1.0), Some(1.0), Some(1.0)));
    let event = of("event", "throughput_msg_per_s");
    assert_eq!((event.repeats, event.repeats_valid, event.blocks), (3, 2, Some(2)));
    assert_eq!((event.median, event.ratio), (Some(775.0), Some(1.25)));
    assert_eq!((event.ratio_min, event.ratio_max), (Some(1.25), Some(1.25)));
    assert_eq!((event.ratio_low, event.ratio_high), (None, None), "two blocks allow no interval");
    assert_eq!(of("event", "kernel_agents_peak_bytes").median, None, "what was not measured stays empty");
    let cpu = of("process", "cpu_mta_s_per_1000_messages").median.expect("measured");
    assert!((cpu - (0.816 + 0.4 + 0.01) / 1.6).abs() < 1e-9, "{cpu}");
}

#[test]
fn six_blocks_allow_an_interval() {
    let mut rows = rows();
    for block in [3, 6] {
        let more: Vec<RunRow> =
            self::rows().into_iter().map(|row| RunRow { repeat: row.repeat + block, ..row }).collect();
        rows.extend(more);
    }
    let summary = summarize(&rows, &subjects());
    for row in summary.iter().filter(|row| row.figure == "throughput_msg_per_s" && row.subject == "event") {
        let interval = row.ratio_low.zip(row.ratio_high);
        assert_eq!(interval.is_some(), row.blocks >= Some(6), "{row:?}");
    }
}

type Change = fn(&mut RunRow);

#[test]
fn a_row_is_judged_by_its_own_cells() {
    let good = rows()[0].clone();
    assert!(good.valid);
    let cases: [(Change, Option<InvalidReason>); 8] = [
        (|_| {}, None),
        (|row| row.messages_delivered = Some(159), Some(InvalidReason::MailLost)),
        (|row| row.messages_bounced = Some(1), Some(InvalidReason::Unbalanced)),
        (|row| row.messages_duplicated = Some(1), Some(InvalidReason::MailDuplicated)),
        (|row| row.messages_deferred = None, Some(InvalidReason::NotMeasured)),
        (|row| row.littles_law_ratio = None, Some(InvalidReason::NotMeasured)),
        (|row| row.littles_law_ratio = Some(1.11), Some(InvalidReason::LittlesLaw)),
        (|row| row.littles_law_ratio = Some(f64::NAN), Some(InvalidReason::LittlesLaw)),
    ];
    for (change, reason) in cases {
        let mut row = good.clone();
        change(&mut row);
        row.judge(None);
        assert_eq!((row.valid, row.invalid_reason), (reason.is_none(), reason));
    }
    let mut row = good.clone();
    row.judge(Some(InvalidReason::DrainTimeout));
    assert_eq!((row.valid, row.invalid_reason), (false, Some(InvalidReason::DrainTimeout)));
    let mut new = RunRow::new("x");
    new.judge(None);
    assert_eq!((new.valid, new.invalid_reason), (false, Some(InvalidReason::NotMeasured)));
}

#[test]
fn complaints_name_lost_mail_and_points_without_a_valid_repeat() {
    let mut rows = rows();
    assert_eq!(complaints(&rows), Vec::<String>::new());
    rows[0].messages_lost = Some(3);
    for row in rows.iter_mut().filter(|row| row.subject == "event" && row.concurrency == 100) {
        row.valid = false;
        row.invalid_reason = Some(InvalidReason::DrainTimeout);
    }
    let complaints = complaints(&rows);
    assert_eq!(complaints.len(), 2, "{complaints:?}");
    assert!(complaints[0].ends_with("repeat 1: 3 messages were lost"), "{}", complaints[0]);
    assert_eq!(
        complaints[1],
        "`event` at concurrency 100, 4096 B, each=20ms: no valid repeat (drain_timeout)"
    );
}

fn run(name: &str, change: impl Fn(&mut RunRow)) -> Run {
    let mut rows = rows();
    rows.iter_mut().for_each(change);
    Run { name: name.to_owned(), rows, subjects: subjects() }
}

#[test]
fn comparisons_are_what_they_were() {
    let a = run("a", |_| {});
    check("subjects.txt", &of_subjects(&a).expect("one run"));
    let b = run("b", |row| {
        row.run_id = "later".to_owned();
        row.throughput_msg_per_s = row.throughput_msg_per_s.map(|rate| rate * 1.1);
        if row.subject == "process" {
            row.spawn = "exec".to_owned();
        } else if row.concurrency == 10 {
            row.subject = "loop".to_owned();
        }
    });
    check("runs.txt", &of_runs(&a, &b).expect("two runs"));
}

#[test]
fn what_must_not_be_mixed_is_not() {
    let a = run("a", |_| {});
    let cases: [(Change, &str); 5] = [
        (
            |row| row.load_model = "concurrent".to_owned(),
            "a and b differ in load_model (preload and concurrent)",
        ),
        (|row| row.durability = "none".to_owned(), "a and b differ in durability (full and none)"),
        (|row| row.store = "files".to_owned(), "a and b differ in store (segments and files)"),
        (
            |row| row.grouping = Some(measure::Grouping::Session),
            "a and b differ in grouping (cgroup and session)",
        ),
        (|row| row.sink_delay = "each=5ms".to_owned(), "a and b have no subject at the same point"),
    ];
    for (change, message) in cases {
        let refusal = of_runs(&a, &run("b", change)).expect_err(message);
        assert_eq!(refusal.message, message);
    }
    let mixed = run("m", |row| {
        if row.repeat == 2 {
            row.load_model = "concurrent".to_owned();
        }
    });
    let refusal = of_subjects(&mixed).expect_err("two load models");
    assert_eq!(refusal.message, "m: its rows differ in load_model (concurrent, preload)");
    let refusal = run("a", |_| {}).set_base("evnet").expect_err("no such subject");
    assert_eq!(refusal.message, "a: no subject is called `evnet`");
}

/// A file from before the column `store` is read, and a comparison with it says that it lacks it.
#[test]
fn an_older_file_is_read_and_what_it_does_not_say_is_said() {
    let text = std::fs::read_to_string(data("runs.csv")).expect("the data is there");
    let older: String = {
        let columns: Vec<&str> = text.lines().next().expect("a header").split(',').collect();
        let at = columns.iter().position(|column| *column == "store").expect("has the column");
        let without = |line: &str| -> String {
            let cells = line.split(',').enumerate().filter(|(column, _)| *column != at);
            cells.map(|(_, cell)| cell).collect::<Vec<_>>().join(",") + "\n"
        };
        text.lines().map(without).collect()
    };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("runs.csv");
    std::fs::write(&path, older).expect("written");
    let older = Run::read(&path).expect("is read");
    assert!(older.rows.iter().all(|row| row.store.is_empty()));
    let untold = "does not say in which store its queue was";
    let newer = run("newer", |_| {});
    for (a, b, is_said) in [(&older, &newer, true), (&newer, &older, true), (&older, &older, false)] {
        assert_eq!(of_runs(a, b).expect("is compared").contains(untold), is_said);
    }
    let mixed = run("mixed", |row| {
        if row.subject == "event" {
            row.store = "files".to_owned();
        }
    });
    let said = of_subjects(&mixed).expect("one run");
    assert!(
        said.contains("do not keep their queues in the same store: process segments, event files."),
        "{said}"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_its_line() {
    let good = std::fs::read_to_string(data("runs.csv")).expect("the data is there");
    let folder = tempfile::tempdir().expect("a folder");
    let cases: [(String, &str); 6] = [
        (good.replacen("20ms,,10,1,1,", "20ms,,ten,1,1,", 1), "x.csv:2: column `concurrency`: invalid digit"),
        (good.replacen("none,true,", "none,perhaps,", 1), "x.csv:2: column `valid`: "),
        (good.replacen("1,quick", "9,quick", 1), "x.csv:2: schema_version 9 is newer"),
        (good.replacen("valid,", "sound,", 1), "x.csv:1: has no column `valid`"),
        (good.lines().take(1).collect(), "x.csv: has no rows"),
        (good.clone() + "1,quick\n", "x.csv:14: 2 cells, where the header has 60 columns"),
    ];
    for (text, expected) in cases {
        assert_ne!(text, good);
        let path = folder.path().join("x.csv");
        std::fs::write(&path, text).expect("written");
        let error = Run::read(&path).expect_err(expected).to_string();
        let expected = folder.path().join(expected).display().to_string();
        assert!(error.starts_with(&expected), "got {error}\nexpected {expected}");
    }
    let error = Run::read(&folder.path().join("absent")).expect_err("absent").to_string();
    assert!(error.contains("absent: No such file"), "{error}");
}

#[test]
fn the_manifest_says_which_subject_is_first() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::copy(data("runs.csv"), folder.path().join("runs.csv")).expect("copied");
    let mut manifest = Manifest::new("quick-20261123T120000Z");
    manifest.subjects = vec!["process".to_owned(), "event".to_owned()];
    manifest.write(&folder.path().join("manifest.json")).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(Manifest::read(&folder.path().join("manifest.json")), Ok(manifest));
    let run = Run::read(folder.path()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(run.subjects, subjects());
    assert_eq!(run.rows[0].subject, "event", "the first row is not what decides");
    std::fs::write(folder.path().join("manifest.json"), "{\n\"schema_version\": x}").expect("written");
    let error = Run::read(folder.path()).expect_err("no manifest").to_string();
    assert!(error.contains("manifest.json:2: not a manifest"), "{error}");
}
