//! How a number becomes a cell: six significant digits, and never a number that is none.

use serde::Serializer;

/// Six significant digits: more than any of these figures is worth, and short enough to be read.
pub fn round(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let digits = 5 - value.abs().log10().floor() as i32;
    // Dividing by a power of ten keeps 0.1 at 0.1; multiplying by 0.1 would not.
    if digits >= 0 {
        let scale = 10f64.powi(digits.min(300));
        (value * scale).round() / scale
    } else {
        let scale = 10f64.powi(-digits);
        (value / scale).round() * scale
    }
}

/// For `#[serde(serialize_with = "crate::cell::figure")]`: rounded; empty for what was not measured or is not finite.
pub fn figure<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match value.filter(|value| value.is_finite()) {
        Some(value) => serializer.serialize_f64(round(value)),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::round;

    #[test]
    fn keeps_six_digits_whatever_the_size() {
        for (value, rounded) in [
            (0.0, 0.0),
            (1.0, 1.0),
            (4166.666666, 4166.67),
            (0.000123456789, 0.000123457),
            (123456789.0, 123457000.0),
            (-0.1, -0.1),
            (999999.6, 1000000.0),
        ] {
            assert_eq!(round(value), rounded, "{value}");
        }
    }
}
