//! Faults of servers by name: what `fault = "..."` in a site file stands for.

use crate::act::{Act, Also, Say, Then};
use crate::octets;
use smtp::Stage;
use std::time::Duration;

/// The act that a fault's name stands for at `stage`.
///
/// # Errors
/// A name that is none of [`NAMES`], or one that makes no sense at the stage.
pub fn act(name: &str, stage: Stage) -> Result<Act, String> {
    let raw = |text: &str| Say::Raw(bytes(&text.replace("250", usual_code(stage))));
    let said = |text: &str| Act { say: raw(text), accepts: None, cut: None, also: None, then: Then::GoOn };
    let handshake = ["alert", "cut_handshake"].contains(&name);
    if handshake != (stage == Stage::Handshake) {
        return Err(match handshake {
            true => format!("`{name}` is a fault of the handshake; write at = \"handshake\""),
            false => {
                format!("`{name}` is a fault of replies; at the handshake there are alert and cut_handshake")
            }
        });
    }
    Ok(match name {
        "truncated" => Act { then: Then::Close, ..said(&usual_code(stage)[..2]) },
        "malformed" => said("fine with me\\r\\n"),
        "no_code" => said("\\r\\n"),
        "four_digits" => said("2500 Ok\\r\\n"),
        "code_999" => said("999 Ok\\r\\n"),
        "code_100" => said("100 Ok\\r\\n"),
        "mixed_codes" => said("250-yes\\r\\n550 no\\r\\n"),
        "wrong_class" if stage == Stage::Data => {
            Act { say: Say::Raw(bytes("250 2.0.0 Ok\\r\\n")), ..said("") }
        }
        "wrong_class" => Act { say: Say::Raw(bytes("354 go ahead\\r\\n")), ..said("") },
        "nul" => said("250 2.0.0 O\\0k\\r\\n"),
        "eight_bit" => said("250 2.0.0 \\xd6k\\xff\\r\\n"),
        "escape" => said("250 2.0.0 \\x1b[2J\\x1b]0;owned\\x07\\r\\n"),
        "bare_lf" => said("250 2.0.0 Ok\\n"),
        "bare_cr" => said("250 2.0.0 Ok\\r"),
        "long_line" => said("250 2.0.0 \\(x*1048576)\\r\\n"),
        "many_lines" => said("\\(250-2.0.0 and\\r\\n*100000)250 2.0.0 Ok\\r\\n"),
        "endless" => Act {
            say: Say::Endless {
                bytes: bytes(&format!("{}-more to come\\r\\n", usual_code(stage))),
                every: Duration::ZERO,
            },
            ..said("")
        },
        "early" => {
            let also = Also { bytes: bytes(next_reply(stage)), after: Duration::ZERO };
            Act { say: Say::Usual, also: Some(also), ..said("") }
        }
        "lost_reply" => Act { say: Say::Nothing, accepts: Some(true), then: Then::Reset, ..said("") },
        // RFC 8446 §6: alert, fatal (2), handshake_failure (40)
        "alert" => {
            Act { say: Say::Raw(bytes("\\x15\\x03\\x03\\0\\x02\\x02\\x28")), then: Then::Close, ..said("") }
        }
        "cut_handshake" => Act { say: Say::Usual, cut: Some(100), then: Then::Close, ..said("") },
        _ => {
            let hint = settings::nearest(name, NAMES).map(|near| format!("did you mean `{near}`?"));
            let hint = hint.unwrap_or_else(|| format!("write one of {}", NAMES.join(" ")));
            return Err(format!("`{name}` is not a fault; {hint}"));
        }
    })
}

/// The code of the reply that the protocol has for a stage.
fn usual_code(stage: Stage) -> &'static str {
    match stage {
        Stage::Banner | Stage::StartTls => "220",
        Stage::Data => "354",
        Stage::Quit => "221",
        Stage::Auth => "235",
        _ => "250",
    }
}

/// What comes after the reply of a stage, were the client faster.
fn next_reply(stage: Stage) -> &'static str {
    match stage {
        Stage::Rcpt => "354 End data with <CR><LF>.<CR><LF>\\r\\n",
        Stage::StartTls => "250 2.0.0 injected before the handshake\\r\\n",
        _ => "250 2.0.0 Ok\\r\\n",
    }
}

fn bytes(text: &str) -> std::sync::Arc<[u8]> {
    octets::parse(text).expect("the escapes above are well-formed").into()
}

/// What [`act`] knows.
pub const NAMES: [&str; 20] = [
    "truncated",
    "malformed",
    "no_code",
    "four_digits",
    "code_999",
    "code_100",
    "mixed_codes",
    "wrong_class",
    "nul",
    "eight_bit",
    "escape",
    "bare_lf",
    "bare_cr",
    "long_line",
    "many_lines",
    "endless",
    "early",
    "lost_reply",
    "alert",
    "cut_handshake",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_an_act_where_it_makes_sense() {
        for name in NAMES {
            let stages = Stage::ALL.into_iter().filter(|&stage| act(name, stage).is_ok()).count();
            assert!(stages == 1 || stages == Stage::ALL.len() - 1, "{name}: {stages}");
        }
        assert!(act("trucated", Stage::Mail).unwrap_err().contains("`truncated`"));
        assert!(act("alert", Stage::Mail).unwrap_err().contains("handshake"));
    }

    #[test]
    fn the_code_is_the_one_that_the_client_waits_for() {
        let said = |name, stage| match act(name, stage).unwrap().say {
            Say::Raw(bytes) => bytes.to_vec(),
            other => panic!("{other:?}"),
        };
        assert_eq!(said("bare_lf", Stage::Banner), b"220 2.0.0 Ok\n");
        assert_eq!(said("mixed_codes", Stage::Data), b"354-yes\r\n550 no\r\n");
        assert_eq!(said("wrong_class", Stage::Data), b"250 2.0.0 Ok\r\n");
        assert_eq!(said("four_digits", Stage::Quit), b"2210 Ok\r\n");
        assert_eq!(said("truncated", Stage::Data), b"35");
        assert_eq!(said("long_line", Stage::Dot).len(), 10 + (1 << 20) + 2);
    }
}
