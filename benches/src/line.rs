//! The straight line that fits points best.

/// By least squares of the vertical distances.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    pub slope: f64,
    /// Share of the variance that the line explains; 1 = every point is on it.
    pub r2: f64,
}

impl Line {
    /// `None` when the points are not two different places along x.
    pub fn through(points: &[(f64, f64)]) -> Option<Line> {
        let count = points.len() as f64;
        let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
        let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
        let sum =
            |of: fn(f64, f64) -> f64| points.iter().map(|(x, y)| of(x - mean_x, y - mean_y)).sum::<f64>();
        let (xx, xy, yy) = (sum(|x, _| x * x), sum(|x, y| x * y), sum(|_, y| y * y));
        if points.is_empty() || xx == 0.0 {
            return None;
        }
        // level points are all on the line
        let r2 = if yy == 0.0 { 1.0 } else { xy * xy / (xx * yy) };
        Some(Line { slope: xy / xx, r2 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fits_what_is_straight_and_says_how_crooked_the_rest_is() {
        assert_eq!(Line::through(&[(1.0, 5.0), (2.0, 7.0), (4.0, 11.0)]), Some(Line { slope: 2.0, r2: 1.0 }));
        assert_eq!(Line::through(&[(1.0, 3.0), (9.0, 3.0)]), Some(Line { slope: 0.0, r2: 1.0 }));
        // by hand: xx = 2, xy = 1, yy = 2
        assert_eq!(Line::through(&[(1.0, 0.0), (2.0, 2.0), (3.0, 1.0)]), Some(Line { slope: 0.5, r2: 0.25 }));
        assert_eq!(Line::through(&[(1.0, 0.0), (1.0, 2.0)]), None);
        assert_eq!(Line::through(&[]), None);
    }
}
