//! What cargo and the user ask of a bench with its own main, in the words that criterion's benches know too.

/// How much is to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    Full,
    /// Seconds: only whether it works. The figures mean nothing.
    Tiny,
}

impl Size {
    /// What to say beside the figures: nothing or a line, its end before it.
    pub fn warning(self) -> &'static str {
        match self {
            Size::Full => "",
            Size::Tiny => "\na tiny run, to see that it works: the figures mean nothing",
        }
    }
}

/// How much the arguments (without the program's name) ask of the bench `name`; `None` = nothing.
///
/// `cargo bench` says `--bench`; without it (`cargo test --benches`) or with `--test` it is [`Size::Tiny`]. Words that
/// are no options are filters: one of them must be part of the name. `--list` asks for the name only, and gets it.
pub fn size(name: &str, arguments: impl IntoIterator<Item = String>) -> Option<Size> {
    let arguments: Vec<String> = arguments.into_iter().collect();
    let has = |option: &str| arguments.iter().any(|argument| argument == option);
    let mut filters = arguments.iter().filter(|argument| !argument.starts_with('-')).peekable();
    if filters.peek().is_some() && !filters.any(|filter| name.contains(filter.as_str())) {
        return None;
    }
    if has("--list") {
        println!("{name}: benchmark");
        return None;
    }
    Some(if has("--bench") && !has("--test") { Size::Full } else { Size::Tiny })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn understands_what_cargo_says() {
        let asked = |line: &str| size("sink", line.split_whitespace().map(str::to_owned));
        assert_eq!(asked("--bench"), Some(Size::Full));
        assert_eq!(asked("--test --bench"), Some(Size::Tiny));
        assert_eq!(asked(""), Some(Size::Tiny));
        assert_eq!(asked("spool sin --bench"), Some(Size::Full));
        assert_eq!(asked("spool --bench"), None);
        assert_eq!(asked("--list --bench"), None);
    }
}
