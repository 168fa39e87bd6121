//! Medians, ranges, exact percentiles, and the interval that six blocks allow.

/// Sorted values, none of them missing. Percentiles are those of the values themselves, nothing interpolated.
#[derive(Debug, Clone, PartialEq)]
pub struct Sorted(Vec<f64>);

impl Sorted {
    /// `None` for no values; values that are not finite are left out.
    pub fn new(values: impl IntoIterator<Item = f64>) -> Option<Sorted> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_unstable_by(f64::total_cmp);
        (!values.is_empty()).then_some(Sorted(values))
    }

    /// The smallest value that at least `percent` of all do not exceed (nearest rank).
    pub fn percentile(&self, percent: f64) -> f64 {
        let rank = (percent / 100.0 * self.0.len() as f64).ceil() as usize;
        self.0[rank.clamp(1, self.0.len()) - 1]
    }

    /// The middle value, or the mean of the two in the middle.
    pub fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        if self.0.len().is_multiple_of(2) {
            (self.0[middle - 1] + self.0[middle]) / 2.0
        } else {
            self.0[middle]
        }
    }

    pub fn min(&self) -> f64 {
        self.0[0]
    }

    pub fn max(&self) -> f64 {
        self.0[self.0.len() - 1]
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// An interval that holds the true median with at least 95 %, whatever the distribution (the sign test's).
    ///
    /// `None` below six values: with five, even the whole range holds it only with 93.75 %.
    pub fn median_interval(&self) -> Option<(f64, f64)> {
        let count = self.0.len();
        // The k-th smallest to the k-th largest misses the median with 2 P(Binomial(count, 1/2) < k).
        let (mut missed, mut term, mut k) = (0.0, 0.5f64.powi(i32::try_from(count).ok()?), 0);
        while missed + 2.0 * term <= 0.05 && 2 * (k + 1) <= count {
            missed += 2.0 * term;
            term *= (count - k) as f64 / (k + 1) as f64;
            k += 1;
        }
        (k > 0).then(|| (self.0[k - 1], self.0[count - k]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> Sorted {
        Sorted::new(values.iter().copied()).expect("values")
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let sorted = of(&hundred);
        assert_eq!(sorted.percentile(50.0), 50.0);
        assert_eq!(sorted.percentile(99.0), 99.0);
        assert_eq!(sorted.percentile(100.0), 100.0);
        assert_eq!(sorted.percentile(0.0), 1.0);
        assert_eq!(of(&[7.0]).percentile(99.0), 7.0);
        assert_eq!(sorted.median(), 50.5);
        assert_eq!(of(&[3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(Sorted::new([f64::NAN]), None);
    }

    #[test]
    fn an_interval_needs_six_values() {
        assert_eq!(of(&[1.0, 2.0, 3.0, 4.0, 5.0]).median_interval(), None);
        assert_eq!(of(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).median_interval(), Some((1.0, 6.0)));
        // Tables of the sign test: n = 10 gives the 2nd and the 9th, n = 20 the 6th and the 15th.
        let ten: Vec<f64> = (1..=10).map(f64::from).collect();
        assert_eq!(of(&ten).median_interval(), Some((2.0, 9.0)));
        let twenty: Vec<f64> = (1..=20).map(f64::from).collect();
        assert_eq!(of(&twenty).median_interval(), Some((6.0, 15.0)));
    }
}
