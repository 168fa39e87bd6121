//! The words of a site's own replies: as they are written in site files, and which enhanced status and text go with a
//! code alone.

use smtp::{EnhancedStatus, Reply, ReplyCode, Stage};

/// Reads `450`, `450 4.2.1`, `450 4.2.1 Mailbox busy` or `450 Mailbox busy`; `\n` in the text parts lines. What is left
/// out of a 4xx or 5xx is as [`reply`] has it. Where replies carry no enhanced status, one that is written is text.
///
/// # Errors
/// No code from 200 to 599, or an enhanced status of another class than the code's.
pub fn parse(stage: Stage, text: &str) -> Result<Reply, String> {
    let (code_text, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    let code = code_text.parse().ok().filter(|_| code_text.len() == 3).and_then(ReplyCode::new);
    let Some(code) = code else {
        return Err(format!(
            "`{code_text}` is not a reply; write a code from 200 to 599, then the text if you like"
        ));
    };
    let (first, after) = rest.trim_start().split_once(' ').unwrap_or((rest.trim_start(), ""));
    let (enhanced, words) = match EnhancedStatus::parse(first.as_bytes()) {
        Some(enhanced) if u16::from(enhanced.class()) != code.get() / 100 => {
            return Err(format!("`{enhanced}` is not of the class of {code} (RFC 2034 §4)"));
        }
        Some(_) if !carries_status(stage) => (None, rest.trim()),
        Some(enhanced) => (Some(enhanced), after.trim()),
        None => (None, rest.trim()),
    };
    let own = if code.get() >= 400 { reply(stage, code.get()) } else { Reply::new(code.get(), None, "Ok") };
    let enhanced = enhanced.or(if words.is_empty() { own.enhanced } else { None });
    let words = if words.is_empty() { own.text } else { words.to_owned() };
    Ok(Reply { code, enhanced, text: words })
}

/// The reply for a 4xx or 5xx `code` at `stage`, with the enhanced status that fits best.
///
/// # Panics
/// If the code is outside 400..=599: a mistake of ours, as no other is passed on.
pub fn reply(stage: Stage, code: u16) -> Reply {
    assert!((400..=599).contains(&code), "a refusal is 4xx or 5xx");
    let class = (code / 100) as u8;
    let (subject, detail, text) = words(stage, code);
    let enhanced = carries_status(stage).then_some((class, subject, detail));
    Reply::new(code, enhanced, text)
}

/// RFC 2034 §4: neither the greeting nor the reply to EHLO does.
fn carries_status(stage: Stage) -> bool {
    !matches!(stage, Stage::Connect | Stage::Banner | Stage::Ehlo)
}

/// RFC 3463 subject and detail, and a text, for the codes of RFC 5321 §4.2.3.
fn words(stage: Stage, code: u16) -> (u16, u16, &'static str) {
    let at_recipient = stage == Stage::Rcpt;
    match code {
        421 => (3, 2, "Service not available, closing transmission channel"),
        450 if at_recipient => (2, 1, "Mailbox busy, try again later"),
        450 => (7, 1, "Not now, try again later"),
        451 => (3, 0, "Local error in processing"),
        452 if at_recipient => (5, 3, "Too many recipients"),
        452 => (3, 1, "Insufficient system storage"),
        454 => (7, 0, "Temporary authentication failure"),
        500 => (5, 2, "Command not recognized"),
        501 => (5, 4, "Syntax error in parameters"),
        502 | 503 => (5, 1, "Command not allowed"),
        550 if at_recipient => (1, 1, "No such user here"),
        551 => (1, 6, "User not local"),
        552 if at_recipient => (2, 2, "Mailbox full"),
        552 => (3, 4, "Message too big"),
        553 => (1, 3, "Mailbox name not allowed"),
        550 | 554 => (7, 1, "Refused by policy"),
        _ if code < 500 => (0, 0, "Not now, try again later"),
        _ => (0, 0, "Refused"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_read_as_written_and_completed() {
        let read = |text| parse(Stage::Rcpt, text).map(|reply| reply.one_line());
        assert_eq!(read("450").unwrap(), "450 4.2.1 Mailbox busy, try again later");
        assert_eq!(read("450 4.7.1").unwrap(), "450 4.7.1 Mailbox busy, try again later");
        assert_eq!(read(" 450 4.7.1 Greylisted, see FAQ").unwrap(), "450 4.7.1 Greylisted, see FAQ");
        assert_eq!(read("550 go away").unwrap(), "550 go away");
        assert_eq!(read("250 two\nlines").unwrap(), "250 two lines");
        assert_eq!(read("354").unwrap(), "354 Ok");
        let banner = parse(Stage::Banner, "521 5.5.1 Protocol error").unwrap();
        assert_eq!((banner.enhanced, banner.text.as_str()), (None, "5.5.1 Protocol error"));
        for (text, part) in [
            ("", "not a reply"),
            ("45", "not a reply"),
            ("0450", "not a reply"),
            ("199", "not a reply"),
            ("600 x", "not a reply"),
            ("450 5.1.1 no", "not of the class"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_refusal_carries_the_class_of_its_code() {
        for code in 400..=599 {
            for stage in Stage::ALL {
                let reply = reply(stage, code);
                assert_eq!(reply.code.get(), code);
                if let Some(enhanced) = reply.enhanced {
                    assert_eq!(u16::from(enhanced.class()), code / 100);
                }
            }
        }
        assert_eq!(reply(Stage::Rcpt, 550).one_line(), "550 5.1.1 No such user here");
        assert_eq!(reply(Stage::Banner, 554).one_line(), "554 Refused by policy");
    }
}
