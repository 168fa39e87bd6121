//! A straight line through points by least squares, with the interval of its slope.

/// `y = intercept + slope * x`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    pub slope: f64,
    pub intercept: f64,
    /// Share of the variation that the line explains; 1 where there is none.
    pub r2: f64,
    /// 95 % interval of the slope (Student's t), from three points on.
    pub slope_interval: Option<(f64, f64)>,
}

impl Line {
    /// `None` where no line is determined: fewer than two different `x`.
    pub fn fit(points: &[(f64, f64)]) -> Option<Line> {
        let count = points.len() as f64;
        let mean = |part: fn(&(f64, f64)) -> f64| points.iter().map(part).sum::<f64>() / count;
        let (x_mean, y_mean) = (mean(|point| point.0), mean(|point| point.1));
        let sum = |term: &dyn Fn(f64, f64) -> f64| -> f64 {
            points.iter().map(|(x, y)| term(x - x_mean, y - y_mean)).sum()
        };
        let x_spread = sum(&|x, _| x * x);
        if points.is_empty() || x_spread == 0.0 {
            return None;
        }
        let slope = sum(&|x, y| x * y) / x_spread;
        let left = sum(&|x, y| (y - slope * x).powi(2));
        let y_spread = sum(&|_, y| y * y);
        let r2 = if y_spread == 0.0 { 1.0 } else { 1.0 - left / y_spread };
        let slope_interval = (points.len() > 2).then(|| {
            let freedom = points.len() - 2;
            let margin = t_quantile(freedom) * (left / freedom as f64 / x_spread).sqrt();
            (slope - margin, slope + margin)
        });
        Some(Line { slope, intercept: y_mean - slope * x_mean, r2, slope_interval })
    }

    pub fn at(&self, x: f64) -> f64 {
        self.intercept + self.slope * x
    }
}

/// The 97.5 % quantile of Student's t.
fn t_quantile(freedom: usize) -> f64 {
    const TABLE: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
        2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048,
        2.045, 2.042,
    ];
    // beyond the table its last value is a little too large, which makes the interval honest
    TABLE[freedom.clamp(1, TABLE.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(value: f64, expected: f64, relative: f64) {
        assert!((value - expected).abs() <= relative * expected.abs(), "{value}, not {expected}");
    }

    /// NIST's Statistical Reference Datasets, linear regression, Norris: 36 points with certified values.
    #[test]
    fn fits_the_certified_dataset() {
        let points = [
            (0.2, 0.1),
            (337.4, 338.8),
            (118.2, 118.1),
            (884.6, 888.0),
            (10.1, 9.2),
            (226.5, 228.1),
            (666.3, 668.5),
            (996.3, 998.5),
            (448.6, 449.1),
            (777.0, 778.9),
            (558.2, 559.2),
            (0.4, 0.3),
            (0.6, 0.1),
            (775.5, 778.1),
            (666.9, 668.8),
            (338.0, 339.3),
            (447.5, 448.9),
            (11.6, 10.8),
            (556.0, 557.7),
            (228.1, 228.3),
            (995.8, 998.0),
            (887.6, 888.8),
            (120.2, 119.6),
            (0.3, 0.3),
            (0.3, 0.6),
            (556.8, 557.6),
            (339.1, 339.3),
            (887.2, 888.0),
            (999.0, 998.5),
            (779.0, 778.9),
            (11.1, 10.2),
            (118.3, 117.6),
            (229.2, 228.9),
            (669.1, 668.4),
            (448.9, 449.2),
            (0.5, 0.2),
        ];
        let line = Line::fit(&points).expect("a line");
        close(line.slope, 1.002_116_818_020_45, 1e-9);
        close(line.intercept, -0.262_323_073_774_029, 1e-7);
        close(line.r2, 0.999_993_745_883_712, 1e-9);
        let (low, high) = line.slope_interval.expect("an interval");
        // the certified standard deviation of the slope, by the t of 30 degrees (34 would give 2.032)
        close(high - line.slope, 2.042 * 0.429_796_848_199_937e-3, 1e-6);
        close(line.slope - low, high - line.slope, 1e-9);
    }

    #[test]
    fn what_determines_no_line_gives_none() {
        assert_eq!(Line::fit(&[]), None);
        assert_eq!(Line::fit(&[(100.0, 1.0), (100.0, 2.0)]), None);
        let two = Line::fit(&[(100.0, 1000.0), (300.0, 1400.0)]).expect("a line");
        assert_eq!((two.slope, two.intercept, two.r2, two.slope_interval), (2.0, 800.0, 1.0, None));
        assert_eq!(two.at(1000.0), 2800.0);
    }
}
