//! A table for the terminal: plain text, columns aligned, numbers to the right.

/// Rows under a header. A rule is drawn wherever [`Table::rule`] was called between rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    rules: Vec<usize>,
}

impl Table {
    pub fn new(header: &[&str]) -> Table {
        Table {
            header: header.iter().map(|name| (*name).to_owned()).collect(),
            rows: Vec::new(),
            rules: Vec::new(),
        }
    }

    /// Adds a row; cells that are missing stay empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        let mut cells: Vec<String> = cells.into_iter().map(Into::into).collect();
        cells.resize(self.header.len(), String::new());
        self.rows.push(cells);
    }

    /// Draws a rule before the next row.
    pub fn rule(&mut self) {
        if !self.rows.is_empty() && self.rules.last() != Some(&self.rows.len()) {
            self.rules.push(self.rows.len());
        }
    }

    /// The text, each line ended; a column without any cell is left out.
    pub fn render(&self) -> String {
        let used: Vec<usize> =
            (0..self.header.len()).filter(|at| self.rows.iter().any(|row| !row[*at].is_empty())).collect();
        let cells =
            |at: usize| self.rows.iter().map(move |row| row[at].as_str()).filter(|cell| !cell.is_empty());
        let width =
            |at: usize| cells(at).chain([self.header[at].as_str()]).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = used.iter().map(|at| width(*at).unwrap_or(0)).collect();
        let numeric: Vec<bool> = used
            .iter()
            .map(|at| cells(*at).all(|cell| cell.starts_with(|c: char| c.is_ascii_digit())))
            .collect();
        let mut text = String::new();
        let mut line = |row: &[String]| {
            let mut out = String::new();
            for ((at, width), right) in used.iter().zip(&widths).zip(&numeric) {
                let cell = &row[*at];
                let blank = " ".repeat(width - cell.chars().count());
                let (before, after) = if *right { (blank.as_str(), "") } else { ("", blank.as_str()) };
                out.extend([before, cell, after, "  "]);
            }
            text.push_str(out.trim_end());
            text.push('\n');
        };
        let dashes: Vec<String> = (0..self.header.len())
            .map(|at| {
                used.iter().position(|used| *used == at).map_or(String::new(), |at| "-".repeat(widths[at]))
            })
            .collect();
        line(&self.header);
        line(&dashes);
        for (at, row) in self.rows.iter().enumerate() {
            if self.rules.contains(&at) {
                line(&dashes);
            }
            line(row);
        }
        text
    }
}

/// Three significant digits, as a table for people needs no more; empty for nothing.
pub(crate) fn short(value: Option<f64>) -> String {
    match value {
        None => String::new(),
        Some(0.0) => "0".to_owned(),
        Some(value) => {
            let digits = (2 - value.abs().log10().floor() as i64).clamp(0, 6) as usize;
            let text = format!("{value:.digits$}");
            if text.contains('.') {
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            } else {
                text
            }
        }
    }
}

/// `0.98..1.02`, or the one value where both ends read the same.
pub(crate) fn range(min: f64, max: f64) -> String {
    let (min, max) = (short(Some(min)), short(Some(max)));
    if min == max { min } else { format!("{min}..{max}") }
}

/// `833 (830..835)`, or the one value where all three read the same.
pub fn spread(median: f64, min: f64, max: f64) -> String {
    let (median, range) = (short(Some(median)), range(min, max));
    if median == range { median } else { format!("{median} ({range})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_and_leaves_empty_columns_out() {
        let mut table = Table::new(&["point", "nothing", "msg/s"]);
        table.row(["a", "", "9"]);
        table.rule();
        table.row(["long", "", "1234"]);
        assert_eq!(table.render(), "point  msg/s\n-----  -----\na          9\n-----  -----\nlong    1234\n");
    }

    #[test]
    fn three_digits_are_enough() {
        for (value, text) in [(4166.7, "4167"), (0.012345, "0.0123"), (1.0, "1"), (99.96, "100"), (0.0, "0")]
        {
            assert_eq!(short(Some(value)), text);
        }
        assert_eq!(range(1.0, 1.001), "1");
        assert_eq!(range(0.5, 2.0), "0.5..2");
    }
}
