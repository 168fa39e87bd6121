//! results/README.md documents every column and every word, no more and no less.

use measure::{
    AgeRow, FIGURES, Grouping, InvalidReason, LimitedBy, MemfitRow, MemoryRow, Placement, PointRow, RunRow,
    SampleRow, SimulationRow, SummaryRow, columns,
};
use std::path::Path;

fn readme() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../results/README.md");
    std::fs::read_to_string(path).expect("results/README.md is there")
}

/// The first cells of the tables between a heading and the next.
fn documented(readme: &str, heading: &str) -> Vec<String> {
    let body =
        readme.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no heading {heading}")).1;
    let section = body.split("\n#").next().unwrap_or(body);
    section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .inspect(|(name, meaning)| assert!(meaning.len() > 2, "{name} has no meaning"))
        .map(|(name, _)| name.to_owned())
        .collect()
}

#[test]
fn every_column_stands_in_the_readme_in_its_order() {
    let readme = readme();
    assert_eq!(documented(&readme, "## runs.csv"), columns::<RunRow>());
    assert_eq!(documented(&readme, "## samples.csv"), columns::<SampleRow>());
    assert_eq!(documented(&readme, "## summary.csv"), columns::<SummaryRow>());
    assert_eq!(documented(&readme, "## simulation.csv"), columns::<SimulationRow>());
    assert_eq!(documented(&readme, "## age.csv"), columns::<AgeRow>());
    assert_eq!(documented(&readme, "## points.csv"), columns::<PointRow>());
    assert_eq!(documented(&readme, "## memory.csv"), columns::<MemoryRow>());
    assert_eq!(documented(&readme, "## memfit.csv"), columns::<MemfitRow>());
}

#[test]
fn every_word_stands_in_the_readme() {
    let readme = readme();
    let mut documented_limits = documented(&readme, "### limited_by");
    let mut limits: Vec<&str> = LimitedBy::ALL.iter().map(|word| word.as_str()).collect();
    documented_limits.sort_unstable();
    limits.sort_unstable();
    assert_eq!(documented_limits, limits);
    let reasons: Vec<&str> = InvalidReason::ALL.iter().map(|word| word.as_str()).collect();
    assert_eq!(documented(&readme, "### invalid_reason"), reasons);
    let figures: Vec<&str> = FIGURES.iter().map(|figure| figure.name).collect();
    assert_eq!(documented(&readme, "### figure"), figures);
    let cell = |column: &str| {
        let start = format!("| `{column}` | ");
        readme.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("no column {column}"))
    };
    for word in Placement::ALL {
        assert!(cell("placement").contains(&format!("`{}`", word.as_str())));
    }
    for word in Grouping::ALL {
        assert!(cell("grouping").contains(&format!("`{}`", word.as_str())));
    }
}

/// The columns that were promised first, in the order in which they were; others may stand between them.
const PROMISED: &str = "schema_version, run_id, profile, subject, mta, driver, spawn, agents_max, \
    connections_per_agent, load_model, placement, grouping, durability, tls, messages_per_connection, concurrency, \
    repeat, order, messages_offered, messages_delivered, messages_deferred, messages_bounced, messages_lost, \
    messages_duplicated, elapsed_s, ramp_s, throughput_msg_per_s, delivery_p50_ms, delivery_p90_ms, delivery_p99_ms, \
    delivery_max_ms, in_flight_mean, in_flight_peak, processes_peak, cpu_agents_s, cpu_queue_s, cpu_reception_s, \
    cpu_starter_s, cpu_sink_s, cpu_load_s, pss_agents_peak_bytes, uss_agents_peak_bytes, pss_queue_peak_bytes, \
    kernel_agents_peak_bytes, littles_law_ratio, limited_by, valid, invalid_reason";

#[test]
fn no_promised_column_has_gone() {
    let columns = columns::<RunRow>();
    let mut rest = columns.iter();
    for promised in PROMISED.split(", ") {
        assert!(rest.any(|column| column == promised), "{promised} is missing or out of order");
    }
}
