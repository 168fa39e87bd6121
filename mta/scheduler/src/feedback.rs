//! By how much one delivery moves a destination's window, as in Postfix's SCHEDULER_README.

use std::fmt;

/// What is added after a success or taken away after a failure of the host, N being the window.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Feedback {
    /// x
    Fixed(f64),
    /// x/N
    Inverse(f64),
    /// x/√N
    InverseRoot(f64),
}

impl Feedback {
    /// For a window of `size`; 0 to 1.
    pub(crate) fn at(self, size: u32) -> f64 {
        let size = f64::from(size.max(1));
        let step = match self {
            Feedback::Fixed(x) => x,
            Feedback::Inverse(x) => x / size,
            Feedback::InverseRoot(x) => x / size.sqrt(),
        };
        step.clamp(0.0, 1.0)
    }

    /// From the form that Postfix has in main.cf: `1`, `0.5/N`, `1/sqrt(N)`.
    pub fn parse(text: &str) -> Option<Feedback> {
        let (x, form) = match text.split_once('/') {
            Some((x, form)) => (x.trim(), form.trim()),
            None => (text.trim(), ""),
        };
        let x: f64 = x.parse().ok().filter(|x| (0.0..=1.0).contains(x))?;
        match form {
            "" => Some(Feedback::Fixed(x)),
            "N" | "concurrency" => Some(Feedback::Inverse(x)),
            "sqrt(N)" | "sqrt_concurrency" => Some(Feedback::InverseRoot(x)),
            _ => None,
        }
    }
}

impl fmt::Display for Feedback {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Feedback::Fixed(x) => write!(f, "{x}"),
            Feedback::Inverse(x) => write!(f, "{x}/N"),
            Feedback::InverseRoot(x) => write!(f, "{x}/sqrt(N)"),
        }
    }
}
