//! Little's law holds for an honest trace and fails for every way in which a trace can lie.

use measure::littles_law::{LittlesLaw, holds};
use measure::{Delivery, InFlightSample, Trace};

const MS: u64 = 1_000_000;
const INTERVAL: u64 = 10 * MS;

/// `concurrency` connections one after the other, each delivery of 60 to 180 ms, until `count` deliveries are begun;
/// a counter that goes up and down beside them, read every 10 ms. `leak`: every so manieth end is not counted.
fn trace(concurrency: u64, count: u64, leak: Option<u64>) -> Trace {
    let mut random = 1u64;
    let mut free: Vec<u64> = (0..concurrency).map(|connection| connection * MS / 8).collect();
    let mut deliveries = Vec::new();
    let mut events = Vec::new();
    for number in 0..count {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let connection = (0..free.len()).min_by_key(|at| free[*at]).expect("a connection");
        let start_ns = free[connection] + MS / 5;
        let end_ns = start_ns + 60 * MS + (random >> 33) % (120 * MS);
        free[connection] = end_ns;
        events.push((start_ns, 1));
        if leak.is_none_or(|every| number % every != 0) {
            events.push((end_ns, -1));
        }
        deliveries.push(Delivery {
            id: format!("t/{number}/0"),
            connection: number,
            start_ns,
            end_ns,
            code: Some(250),
        });
    }
    events.sort_unstable();
    let last = events[events.len() - 1].0;
    let (mut counter, mut at) = (0i64, 0);
    let in_flight = (0..last / INTERVAL + 2).map(|tick| {
        let at_ns = tick * INTERVAL;
        while at < events.len() && events[at].0 <= at_ns {
            counter += events[at].1;
            at += 1;
        }
        InFlightSample { at_ns, in_flight: counter as u64 }
    });
    Trace { in_flight: in_flight.collect(), deliveries }
}

fn ratio(trace: &Trace) -> f64 {
    LittlesLaw::of(&trace.deliveries, &trace.in_flight, INTERVAL).expect("enough for a window").ratio()
}

#[test]
fn holds_for_an_honest_trace() {
    for (concurrency, count) in [(1, 60), (5, 80), (10, 167), (100, 1_667), (500, 8_334)] {
        let trace = trace(concurrency, count, None);
        let ratio = ratio(&trace);
        assert!((ratio - 1.0).abs() < 0.03, "{concurrency}: {ratio}");
        let figures = trace.figures(INTERVAL);
        assert!(figures.in_flight_mean.is_some_and(|mean| mean <= concurrency as f64 + 0.5));
        assert!(figures.delivery_p50_ms.is_some_and(|p50| (100.0..140.0).contains(&p50)), "{figures:?}");
        assert!(figures.delivery_max_ms.is_some_and(|max| max <= 180.0));
    }
}

#[test]
fn a_few_samples_less_do_no_harm() {
    let mut trace = trace(100, 1_667, None);
    let mut number = 0;
    trace.in_flight.retain(|_| {
        number += 1;
        number % 3 == 0
    });
    assert!(holds(ratio(&trace)));
}

/// Drops the samples of some parts of the window, each given by its begin and end.
fn look_away(trace: &mut Trace, parts: &[(f64, f64)]) {
    let law = LittlesLaw::of(&trace.deliveries, &trace.in_flight, INTERVAL).expect("enough");
    let at = |part: f64| law.start_ns + ((law.end_ns - law.start_ns) as f64 * part) as u64;
    trace
        .in_flight
        .retain(|sample| !parts.iter().any(|(from, to)| (at(*from)..at(*to)).contains(&sample.at_ns)));
}

#[test]
fn short_gaps_in_which_nobody_looked_say_nothing_and_hide_no_lie() {
    let parts = [(0.0, 0.25), (0.45, 0.6), (0.8, 0.99)];
    let mut honest = trace(100, 5_000, None);
    look_away(&mut honest, &parts[1..2]);
    let of_the_rest = ratio(&honest);
    assert!((of_the_rest - 1.0).abs() < 0.03, "{of_the_rest}");
    let mut lying = trace(100, 5_000, Some(100));
    assert!(!holds(ratio(&lying)));
    look_away(&mut lying, &parts[1..2]);
    assert!(!holds(ratio(&lying)));
    look_away(&mut honest, &parts);
    assert!(!holds(ratio(&honest)), "too much was not looked at");
}

#[test]
fn fails_when_a_stretch_of_samples_is_dropped() {
    let mut trace = trace(100, 1_667, None);
    let law = LittlesLaw::of(&trace.deliveries, &trace.in_flight, INTERVAL).expect("enough");
    let (start, third) = (law.start_ns, (law.end_ns - law.start_ns) / 3);
    trace.in_flight.retain(|sample| sample.at_ns < start + third || sample.at_ns > start + 2 * third);
    let ratio = ratio(&trace);
    assert!(!holds(ratio) && ratio < 0.9, "{ratio}");
}

#[test]
fn fails_when_the_counter_leaks() {
    let ratio = ratio(&trace(10, 500, Some(25)));
    assert!(!holds(ratio) && ratio > 1.1, "{ratio}");
}

#[test]
fn fails_when_the_timer_hangs_or_the_times_are_wrong() {
    let mut hung = trace(50, 1_000, None);
    hung.in_flight.truncate(30);
    assert!(!holds(ratio(&hung)));
    let mut short = trace(50, 1_000, None);
    for delivery in &mut short.deliveries {
        delivery.start_ns += (delivery.end_ns - delivery.start_ns) / 4;
    }
    assert!(!holds(ratio(&short)));
    let mut missing = trace(50, 1_000, None);
    missing.deliveries.retain(|delivery| delivery.connection % 5 != 0);
    assert!(!holds(ratio(&missing)));
}

#[test]
fn says_nothing_where_there_is_no_steady_window() {
    let few = trace(5, 19, None);
    assert_eq!(LittlesLaw::of(&few.deliveries, &few.in_flight, INTERVAL), None);
    let brief = trace(500, 100, None);
    assert_eq!(LittlesLaw::of(&brief.deliveries[..40], &brief.in_flight, 20 * INTERVAL), None);
    assert_eq!(LittlesLaw::of(&[], &[], INTERVAL), None);
    assert_eq!(LittlesLaw::of(&few.deliveries, &[], 0), None);
}

#[test]
fn nobody_looking_is_not_the_same_as_nothing_there() {
    let mut blind = trace(10, 200, None);
    blind.in_flight.clear();
    assert!(!holds(ratio(&blind)));
}
