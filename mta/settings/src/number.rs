//! A decimal number with a unit behind it, kept exact: no floating point between the file and the value.

/// Splits `1.5ms` into its value in units of 10^-9 and its unit. Blanks between the two are allowed.
///
/// `None` when the text does not begin with a plain decimal number, has more than nine digits after the point or
/// does not fit.
pub(crate) fn split(text: &str) -> Option<(u128, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.len() > 9 || fraction.contains('.') {
        return None;
    }
    let whole: u128 = whole.parse::<u64>().ok()?.into();
    let scale = 10u128.pow(9 - fraction.len() as u32);
    let fraction: u128 = fraction.parse::<u64>().ok()?.into();
    Some((whole * NANO + fraction * scale, unit.trim_start()))
}

/// Writes `value / one` as a decimal number without trailing zeros; `one` is a power of ten.
pub(crate) fn decimal(value: u128, one: u128) -> String {
    let (whole, rest) = (value / one, value % one);
    if rest == 0 {
        return whole.to_string();
    }
    let width = one.ilog10() as usize;
    format!("{whole}.{}", format!("{rest:0width$}").trim_end_matches('0'))
}

/// How many of `split`'s units make one.
pub(crate) const NANO: u128 = 1_000_000_000;
