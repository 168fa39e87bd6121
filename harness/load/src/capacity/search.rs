//! The search as a machine: it asks for rates and is told whether they held.
//!
//! ```text
//! double until a rate breaks -> bisect to 5 % -> confirm three times (else 5 % lower, and again)
//! ```
//!
//! A rate that breaks is tried once more before it is believed, so that one bad moment of the machine does not decide.
//! Pure: it knows neither servers nor clocks.

/// Where to search, in messages a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The first rate that is tried.
    pub first: f64,
    /// No rate beyond it is tried.
    pub ceiling: f64,
}

/// What a rate is tried for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    Double,
    Halve,
    Bisect,
    Confirm,
}

/// Whether a rate held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Holds,
    /// The server did not keep up.
    Breaks,
    /// The generator did not, so nothing is known of the server.
    Lagged,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Next {
    Try { rate: f64, purpose: Purpose },
    Done(Found),
}

/// The end of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// The highest rate that held three times more; none if not even the lowest did.
    pub rate: Option<f64>,
    pub limit: Limit,
}

/// What kept the rate from being higher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    Server,
    Generator,
    /// The rate that must not be passed.
    Ceiling,
}

/// A search under way.
#[derive(Debug)]
pub struct Search {
    range: Range,
    next: Next,
    /// The highest rate that held.
    low: Option<f64>,
    /// The lowest rate that broke, and what broke it.
    high: Option<(f64, Limit)>,
    /// The rate under trial broke once.
    doubted: bool,
    confirmed: u32,
    lowered: u32,
}

impl Search {
    pub fn new(range: Range) -> Search {
        let rate = range.first.min(range.ceiling);
        let next = Next::Try { rate, purpose: Purpose::Double };
        Search { range, next, low: None, high: None, doubted: false, confirmed: 0, lowered: 0 }
    }

    /// What is to be done.
    pub fn next(&self) -> Next {
        self.next
    }

    /// How the rate went that was to be tried.
    pub fn tell(&mut self, verdict: Verdict) {
        let Next::Try { rate, purpose } = self.next else { return };
        if verdict == Verdict::Holds {
            self.doubted = false;
            return self.next = self.held(rate, purpose);
        }
        if !self.doubted {
            self.doubted = true;
            return;
        }
        self.doubted = false;
        let limit = if verdict == Verdict::Lagged { Limit::Generator } else { Limit::Server };
        self.next = self.broke(rate, purpose, limit);
    }

    fn held(&mut self, rate: f64, purpose: Purpose) -> Next {
        match purpose {
            Purpose::Confirm => {
                self.confirmed += 1;
                match self.confirmed {
                    CONFIRMATIONS => {
                        let limit = self.high.map_or(Limit::Ceiling, |(_, limit)| limit);
                        Next::Done(Found { rate: Some(rate), limit })
                    }
                    _ => Next::Try { rate, purpose },
                }
            }
            Purpose::Double if rate >= self.range.ceiling => {
                self.low = Some(rate);
                Next::Try { rate, purpose: Purpose::Confirm }
            }
            Purpose::Double => {
                self.low = Some(rate);
                Next::Try { rate: (rate * 2.0).min(self.range.ceiling), purpose }
            }
            Purpose::Halve | Purpose::Bisect => {
                self.low = Some(rate);
                self.narrow()
            }
        }
    }

    fn broke(&mut self, rate: f64, purpose: Purpose, limit: Limit) -> Next {
        self.high = Some((rate, limit));
        match (purpose, self.low) {
            (Purpose::Confirm, _) => {
                self.confirmed = 0;
                self.lowered += 1;
                let rate = rate / PRECISION;
                match self.lowered {
                    LOWERED_MAX => Next::Done(Found { rate: None, limit }),
                    _ => Next::Try { rate, purpose },
                }
            }
            (_, None) if rate / 2.0 < RATE_MIN => Next::Done(Found { rate: None, limit }),
            (_, None) => Next::Try { rate: rate / 2.0, purpose: Purpose::Halve },
            (_, Some(_)) => self.narrow(),
        }
    }

    /// Between a rate that held and one that broke.
    fn narrow(&self) -> Next {
        match (self.low, self.high) {
            (Some(low), Some((high, _))) if high / low > PRECISION => {
                // The middle by ratio: precision is one, too.
                Next::Try { rate: (low * high).sqrt(), purpose: Purpose::Bisect }
            }
            (Some(low), _) => Next::Try { rate: low, purpose: Purpose::Confirm },
            (None, _) => unreachable!("a search narrows once a rate has held"),
        }
    }
}

/// How far apart a rate that holds and one that breaks may be.
const PRECISION: f64 = 1.05;
const CONFIRMATIONS: u32 = 3;
/// From a rate that held once to half of it.
const LOWERED_MAX: u32 = 15;
/// Messages a second below which nothing is searched.
const RATE_MIN: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;

    const RANGE: Range = Range { first: 100.0, ceiling: 20_000.0 };

    /// Searches against a server; gives what was found and the rates that were tried.
    fn search(range: Range, mut server: impl FnMut(f64) -> Verdict) -> (Found, Vec<f64>) {
        let (mut search, mut tried) = (Search::new(range), Vec::new());
        loop {
            match search.next() {
                Next::Done(found) => return (found, tried),
                Next::Try { rate, .. } => {
                    tried.push(rate);
                    assert!(tried.len() < 100, "no end: {tried:?}");
                    search.tell(server(rate));
                }
            }
        }
    }

    fn sharp(capacity: f64) -> impl FnMut(f64) -> Verdict {
        move |rate| if rate <= capacity { Verdict::Holds } else { Verdict::Breaks }
    }

    #[test]
    fn finds_the_capacity_of_a_server_with_a_sharp_edge_to_five_per_cent() {
        for capacity in [0.5, 7.0, 99.0, 100.0, 101.0, 777.0, 3_200.0, 19_999.0] {
            let (found, tried) = search(RANGE, sharp(capacity));
            let rate = found.rate.expect("a rate");
            assert!(rate <= capacity && rate * PRECISION * 1.001 >= capacity, "{rate} for {capacity}");
            assert_eq!(found.limit, Limit::Server);
            assert!(tried.len() <= 40, "{}", tried.len());
            assert_eq!(tried[tried.len() - CONFIRMATIONS as usize..], [rate; CONFIRMATIONS as usize]);
        }
    }

    #[test]
    fn stops_at_the_ceiling_and_below_the_lowest_rate() {
        let (found, tried) = search(RANGE, sharp(1e9));
        assert_eq!(found, Found { rate: Some(20_000.0), limit: Limit::Ceiling });
        assert!(tried.iter().all(|&rate| rate <= 20_000.0));
        let (found, _) = search(RANGE, sharp(0.0));
        assert_eq!(found, Found { rate: None, limit: Limit::Server });
        let (found, tried) = search(Range { first: 500.0, ceiling: 200.0 }, sharp(1e9));
        assert_eq!((found.rate, tried[0]), (Some(200.0), 200.0));
    }

    #[test]
    fn a_generator_that_lags_is_not_taken_for_the_server() {
        let (found, _) = search(RANGE, |rate| if rate <= 3_000.0 { Verdict::Holds } else { Verdict::Lagged });
        assert_eq!(found.limit, Limit::Generator);
        assert!(found.rate > Some(2_800.0));
    }

    #[test]
    fn one_bad_moment_does_not_decide() {
        let mut moments = 0;
        let (found, _) = search(RANGE, |rate| {
            moments += 1;
            // Every third trial meets a bad moment.
            if rate <= 1_000.0 && moments % 3 != 0 { Verdict::Holds } else { Verdict::Breaks }
        });
        assert!(found.rate > Some(900.0), "{found:?}");
    }

    #[test]
    fn a_soft_edge_is_found_within_it_whatever_the_chances() {
        for seed in 0..50 {
            let mut chance = Rng::with_seed(seed);
            // Certain up to 800, impossible from 1200 on, and a matter of luck between.
            let (found, _) = search(RANGE, |rate| {
                let share = ((rate - 800.0) / 400.0).clamp(0.0, 1.0);
                if chance.f64() < share { Verdict::Breaks } else { Verdict::Holds }
            });
            let rate = found.rate.expect("a rate");
            assert!((700.0..1_200.0).contains(&rate), "{rate} by seed {seed}");
        }
    }

    #[test]
    fn a_server_that_tires_ends_the_search() {
        let mut tired = 2_000.0;
        let (found, _) = search(RANGE, |rate| {
            tired *= 0.93;
            if rate <= tired { Verdict::Holds } else { Verdict::Breaks }
        });
        assert_eq!(found.rate, None, "nothing that held once held again");
    }
}
