//! How much memory a load of mail needs in each architecture, from fitted lines.
//!
//! Little's law: a rate of deliveries, each of which takes so long, holds rate x latency connections at a time.

use crate::memory::MemfitRow;

/// What is to be delivered, and with what.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    pub rate_per_s: f64,
    pub latency_s: f64,
    pub memory_bytes: u64,
    /// Of one agent with many connections, as its limit of open files allows.
    pub connections_per_agent: u64,
}

/// One architecture under a demand.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub subject: String,
    pub driver: String,
    pub spawn: String,
    pub agents: u64,
    /// Slope and intercept of user and kernel memory, in bytes.
    pub user: (f64, f64),
    pub kernel: (f64, f64),
    /// For the demand's connections.
    pub bytes: f64,
    /// That the demand's memory holds.
    pub connections_most: f64,
    /// Outside of the numbers of connections that were measured.
    pub extrapolated: bool,
}

impl Demand {
    /// Connections held at once.
    pub fn connections(&self) -> f64 {
        self.rate_per_s * self.latency_s
    }

    /// What each subject with lines of both kinds in `state` needs.
    pub fn answers(&self, fits: &[MemfitRow], state: &str) -> Vec<Answer> {
        let of = |subject: &str, kind: &str| {
            let fit =
                fits.iter().find(|fit| fit.subject == subject && fit.state == state && fit.kind == kind)?;
            Some((fit.slope_bytes_per_connection?, fit.intercept_bytes?))
        };
        let user_fits = fits.iter().filter(|fit| fit.state == state && fit.kind == "uss");
        let answer = |fit: &MemfitRow| {
            let (user, kernel) = (of(&fit.subject, "uss")?, of(&fit.subject, "kernel")?);
            let connections = self.connections();
            let each = user.0 + kernel.0;
            let fixed = user.1 + kernel.1;
            let levels: Vec<f64> = fit.levels.split(' ').filter_map(|level| level.parse().ok()).collect();
            let most = levels.iter().copied().fold(0.0, f64::max);
            let agents = match fit.driver.as_str() {
                "blocking" => connections.ceil() as u64,
                _ => (connections.ceil() as u64).div_ceil(self.connections_per_agent.max(1)).max(1),
            };
            Some(Answer {
                subject: fit.subject.clone(),
                driver: fit.driver.clone(),
                spawn: fit.spawn.clone(),
                agents,
                user,
                kernel,
                bytes: fixed + each * connections,
                connections_most: ((self.memory_bytes as f64 - fixed) / each).max(0.0),
                extrapolated: connections > most,
            })
        };
        user_fits.filter_map(answer).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(driver: &str, kind: &str, slope: f64, intercept: f64) -> MemfitRow {
        MemfitRow {
            subject: driver.to_owned(),
            driver: driver.to_owned(),
            state: "dot_wait".to_owned(),
            kind: kind.to_owned(),
            slope_bytes_per_connection: Some(slope),
            intercept_bytes: Some(intercept),
            levels: "100 1000".to_owned(),
            ..crate::file::Record::empty()
        }
    }

    #[test]
    fn the_arithmetic_is_littles_law_and_a_line() {
        let fits = [
            fit("blocking", "uss", 60_000.0, 1e6),
            fit("blocking", "kernel", 90_000.0, 2e6),
            fit("event", "uss", 3_000.0, 500_000.0),
            fit("event", "kernel", 4_000.0, 100_000.0),
            fit("threads", "uss", 20_000.0, 0.0),
        ];
        let demand = Demand {
            rate_per_s: 50.0,
            latency_s: 30.0,
            memory_bytes: 303_000_000,
            connections_per_agent: 1000,
        };
        assert_eq!(demand.connections(), 1500.0);
        let answers = demand.answers(&fits, "dot_wait");
        // without both kinds there is no answer
        assert_eq!(answers.iter().map(|one| one.driver.as_str()).collect::<Vec<_>>(), ["blocking", "event"]);
        assert_eq!((answers[0].agents, answers[1].agents), (1500, 2));
        assert_eq!(answers[0].bytes, 3e6 + 1500.0 * 150_000.0);
        assert_eq!(answers[0].connections_most, 2000.0);
        assert!(answers[0].extrapolated, "1500 is more than was measured");
        assert!(demand.answers(&fits, "banner_wait").is_empty());
        let small = Demand { memory_bytes: 1000, rate_per_s: 1.0, ..demand };
        assert_eq!(small.answers(&fits, "dot_wait")[0].connections_most, 0.0);
    }
}
