//! The words of a refusal: which enhanced status and text go with a code at a stage.

use smtp::{Reply, Stage};

/// The reply for a 4xx or 5xx `code` at `stage`, with the enhanced status that fits best.
///
/// # Panics
/// If the code is outside 400..=599: [`crate::ReplyRule`] lets no other through.
pub fn reply(stage: Stage, code: u16) -> Reply {
    assert!((400..=599).contains(&code), "a refusal is 4xx or 5xx");
    let class = (code / 100) as u8;
    let (subject, detail, text) = words(stage, code);
    // RFC 2034 §4: neither the greeting nor the reply to EHLO carries an enhanced status
    let enhanced = match stage {
        Stage::Connect | Stage::Banner | Stage::Ehlo => None,
        _ => Some((class, subject, detail)),
    };
    Reply::new(code, enhanced, text)
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
