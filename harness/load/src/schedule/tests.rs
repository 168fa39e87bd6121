use super::*;
use rate::Piece;

const HOUR: Duration = Duration::from_secs(3600);

fn closed(stop: Stop) -> Plan {
    Plan { model: Model::Closed { think: None }, stop, warm_up: Duration::ZERO, shard: Shard::WHOLE }
}

fn open(course: Course, spacing: Spacing, stop: Stop) -> Plan {
    Plan { model: Model::Open { course, spacing }, ..closed(stop) }
}

fn stages(text: &str) -> Course {
    stages::parse(text).expect(text)
}

fn after(messages: u64) -> Stop {
    Stop { after: Some(messages), at: None }
}

fn at(duration: Duration) -> Stop {
    Stop { after: None, at: Some(duration) }
}

/// Every claim of a server that is always free: at each due time the message starts at once.
fn all(plan: &Plan, start: Instant) -> Vec<Claim> {
    let (mut schedule, mut now, mut claims) = (Schedule::new(plan, start), start, Vec::new());
    loop {
        match schedule.claim(now) {
            Next::Start(claim) => claims.push(claim),
            Next::Wait(until) => now = until,
            Next::End => return claims,
        }
        assert!(claims.len() < 1_000_000);
    }
}

/// Due times in seconds.
fn due(plan: &Plan) -> Vec<f64> {
    let start = Instant::now();
    all(plan, start).iter().map(|claim| (claim.intended - start).as_secs_f64()).collect()
}

/// The greatest distance between the distribution of `values` and `expected`, times the root of their number: 1.63 is
/// passed by one honest sample in a hundred.
fn kolmogorov_smirnov(mut values: Vec<f64>, expected: impl Fn(f64) -> f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let count = values.len() as f64;
    let distance = values.iter().enumerate().fold(0.0f64, |most, (index, &value)| {
        let expected = expected(value);
        most.max(expected - index as f64 / count).max((index + 1) as f64 / count - expected)
    });
    distance * count.sqrt()
}

#[test]
fn the_closed_loop_gives_each_number_once_at_the_time_of_asking() {
    let start = Instant::now();
    let mut schedule = Schedule::new(&closed(after(3)), start);
    for number in 1..=3 {
        let now = start + Duration::from_secs(number);
        assert_eq!(schedule.claim(now), Next::Start(Claim { number, intended: now, measured: true }));
        assert_eq!(schedule.tally(now).offered, number);
    }
    assert_eq!((schedule.claim(start), schedule.tally(start).started), (Next::End, 3));
    let mut timed = Schedule::new(&closed(at(Duration::from_secs(2))), start);
    assert!(matches!(timed.claim(start + Duration::from_millis(1999)), Next::Start(_)));
    assert_eq!(timed.claim(start + Duration::from_secs(2)), Next::End);
    let mut stopped = Schedule::new(&closed(after(3)), start);
    assert!(matches!(stopped.claim(start), Next::Start(_)));
    stopped.stop(start);
    assert_eq!((stopped.claim(start), stopped.tally(start).started), (Next::End, 1));
}

#[test]
fn a_constant_rate_is_kept_to_the_nanosecond_for_hours() {
    let due = due(&open(Course::constant(7.0), Spacing::Even, at(HOUR)));
    assert_eq!(due.len(), 7 * 3600);
    for (index, at) in due.iter().enumerate() {
        assert!((at - index as f64 / 7.0).abs() < 2e-9, "message {index} at {at}");
    }
}

#[test]
fn due_times_do_not_wait_for_the_server() {
    let start = Instant::now();
    let mut schedule = Schedule::new(&open(Course::constant(10.0), Spacing::Even, at(HOUR)), start);
    let Next::Start(first) = schedule.claim(start) else { panic!("the first message is due at the start") };
    assert_eq!(first.intended, start);
    assert_eq!(schedule.claim(start), Next::Wait(start + Duration::from_millis(100)));
    // The server stalls for ten seconds: the messages that came due meanwhile keep their times.
    let late = start + Duration::from_secs(10);
    for number in 1..=100 {
        let Next::Start(claim) = schedule.claim(late) else { panic!("message {number} is due") };
        assert_eq!(claim.intended, start + Duration::from_millis(100 * number));
        assert_eq!(claim.number, number + 1);
    }
    assert!(matches!(schedule.claim(late), Next::Wait(_)));
    assert_eq!(schedule.tally(late), Tally { offered: 101, started: 101, warm_up: 0 });
}

#[test]
fn what_was_due_and_never_started_is_missed() {
    let start = Instant::now();
    let seconds = |seconds| start + Duration::from_secs(seconds);
    let mut schedule =
        Schedule::new(&open(Course::constant(10.0), Spacing::Even, at(Duration::from_secs(5))), start);
    assert!(matches!(schedule.claim(start), Next::Start(_)));
    assert_eq!(schedule.tally(seconds(2)), Tally { offered: 21, started: 1, warm_up: 0 });
    assert!(
        matches!(schedule.claim(start + Duration::from_millis(5900)), Next::Start(_)),
        "late, but due before"
    );
    assert_eq!(schedule.claim(seconds(6)), Next::End, "nothing starts long after the end");
    assert_eq!(schedule.tally(seconds(6)).offered, 50);
    // Stopped early: what would have come due later was never offered.
    let mut schedule = Schedule::new(&open(Course::constant(10.0), Spacing::Even, after(1000)), start);
    schedule.stop(seconds(3));
    assert_eq!((schedule.tally(seconds(9)).offered, schedule.claim(seconds(9))), (31, Next::End));
    let mut few = Schedule::new(&open(Course::constant(10.0), Spacing::Even, after(7)), start);
    assert_eq!(few.tally(seconds(100)).offered, 7);
}

#[test]
fn stages_ramp_hold_step_and_spike() {
    let course =
        stages("ramp 0/s..500/s 10s, hold 30s, step 800/s 5s, spike 2000/s 1s, hold 1s, ramp 0/s 2s");
    assert_eq!((course.length(), course.highest()), (Duration::from_secs(49), 2000.0));
    let due = due(&open(course, Spacing::Even, Stop::default()));
    let within = |from: f64, to: f64| due.iter().filter(|&&at| (from..to).contains(&at)).count() as i64;
    for (from, to, expected) in [
        (0.0, 5.0, 625),
        (5.0, 10.0, 1875),
        (10.0, 40.0, 15_000),
        (40.0, 45.0, 4000),
        (45.0, 46.0, 2000),
        (46.0, 47.0, 800),
        (47.0, 49.0, 800),
    ] {
        assert!((within(from, to) - expected).abs() <= 1, "{from} to {to}: {}", within(from, to));
    }
    assert!(due.is_sorted() && due.iter().all(|&at| at < 49.0));
    let per_minute = stages("hold 30/m 1m");
    assert_eq!(per_minute.pieces(), [Piece { from: 0.5, to: 0.5, length: Duration::from_secs(60) }]);
}

#[test]
fn stages_that_can_not_be_are_refused_with_the_way_to_write_them() {
    for (text, part) in [
        ("", "begin with ramp"),
        ("rest 5s", "begin with ramp"),
        ("ramp 5/s", "ramp 0/s..500/s 10s"),
        ("hold", "hold 500/s 10s"),
        ("hold 5s 5/s", "`5s` is not a rate"),
        ("step 5/s 10", "10ms"),
        ("step 5/s 0s", "takes some time"),
        ("step 5/d 10s", "`d` is not a unit of rate"),
        ("step -5/s 10s", "not a rate"),
        ("step 1e9/s 10s", "not a rate"),
        ("step inf/s 10s", "not a rate"),
        ("step 9999999/s 10s", "more than"),
        ("hold 10s", "0 all the time"),
        ("hold 5/s 1s, hold", "stage `hold`"),
    ] {
        let error = stages::parse(text).expect_err(text);
        assert!(error.contains(part), "{text}: {error}");
    }
    assert_eq!(stages::parse_rate("7200/h"), Ok(2.0));
}

#[test]
fn poisson_gaps_are_exponential_and_follow_their_seed() {
    let plan = |seed| open(Course::constant(200.0), Spacing::Poisson { seed }, after(10_000));
    let times = due(&plan(1));
    assert_eq!(times, due(&plan(1)));
    assert_ne!(times, due(&plan(2)));
    let gaps: Vec<f64> =
        std::iter::once(times[0]).chain(times.windows(2).map(|pair| pair[1] - pair[0])).collect();
    let distance = kolmogorov_smirnov(gaps.clone(), |gap| 1.0 - (-200.0 * gap).exp());
    assert!(distance < 1.63, "{distance}");
    // The test can tell: a mean that is a twentieth off, and even spacing, are found out.
    assert!(kolmogorov_smirnov(gaps, |gap| 1.0 - (-210.0 * gap).exp()) > 1.63);
}

#[test]
fn poisson_follows_a_changing_rate() {
    // Of a ramp from nothing the k-th part of all messages lies within the root of k of its time.
    let course = stages("ramp 0/s..1000/s 20s");
    let due = due(&open(course, Spacing::Poisson { seed: 3 }, Stop::default()));
    assert!((9_700..10_300).contains(&due.len()), "{}", due.len());
    let distance = kolmogorov_smirnov(due, |at| (at / 20.0).powi(2));
    assert!(distance < 1.63, "{distance}");
}

#[test]
fn shards_together_send_exactly_the_whole() {
    let course = stages("ramp 0/s..300/s 3s, hold 2s");
    for (spacing, stop) in [(Spacing::Even, Stop::default()), (Spacing::Poisson { seed: 9 }, after(601))] {
        let (start, plan) = (Instant::now(), open(course.clone(), spacing, stop));
        let mut parts: Vec<Claim> = (0..3)
            .flat_map(|index| all(&Plan { shard: Shard { index, of: 3 }, ..plan.clone() }, start))
            .collect();
        parts.sort_by_key(|claim| claim.number);
        assert_eq!(parts, all(&plan, start));
    }
    let counts = |messages| {
        (0..4)
            .map(|index| {
                let plan = Plan { shard: Shard { index, of: 4 }, ..closed(after(messages)) };
                let schedule = Schedule::new(&plan, Instant::now());
                schedule.messages_of_shard().expect("a number")
            })
            .collect::<Vec<_>>()
    };
    assert_eq!((counts(10), counts(2)), (vec![3, 3, 2, 2], vec![1, 1, 0, 0]));
}

#[test]
fn the_warm_up_is_marked_by_intended_time() {
    let plan = Plan {
        warm_up: Duration::from_secs(1),
        ..open(Course::constant(10.0), Spacing::Even, at(Duration::from_secs(3)))
    };
    let start = Instant::now();
    let measured: Vec<bool> = all(&plan, start).iter().map(|claim| claim.measured).collect();
    assert_eq!(measured, [[false; 10], [true; 10], [true; 10]].concat());
    let mut schedule = Schedule::new(&plan, start);
    let soon = start + Duration::from_millis(1500);
    for _ in 0..12 {
        assert!(matches!(schedule.claim(soon), Next::Start(_)));
    }
    assert_eq!(schedule.tally(soon), Tally { offered: 6, started: 2, warm_up: 10 });
}
