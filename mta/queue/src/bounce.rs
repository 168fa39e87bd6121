//! The message that tells a sender what could not be delivered (RFC 3464 in RFC 6522's multipart/report).

use delivery::{Envelope, EpochMs, QueueId};
use smtp::client::RecipientStatus;
use smtp::{ForwardPath, ReversePath};
use std::fmt::Write;

/// At most so much of the original's header is returned.
pub const RETURNED_HEADER_BYTES: usize = 32 * 1024;

/// RFC 5322 §2.1.1 allows 998 characters in a line; field names and folding come on top of the text.
const DIAGNOSTIC_CHARS: usize = 800;

/// A recipient that is given up.
pub struct Failed {
    pub recipient: ForwardPath,
    /// The host that said so.
    pub remote: String,
    pub status: RecipientStatus,
}

/// What the sender is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    /// No further attempt will be made.
    Failed,
    /// It is late, and tried until then.
    Delayed { until: EpochMs },
}

/// What the bounce is about.
pub struct Original<'a> {
    pub id: QueueId,
    pub envelope: &'a Envelope,
    /// The beginning of the message.
    pub head: &'a [u8],
}

/// Makes the bounce: its envelope (null reverse-path, RFC 5321 §4.5.5) and content. `None` when the original has
/// the null reverse-path itself, and so nobody who may be told.
pub fn bounce(
    notice: Notice,
    original: &Original<'_>,
    failed: &[Failed],
    hostname: &str,
    now: EpochMs,
) -> Option<(Envelope, Vec<u8>)> {
    let ReversePath::Mailbox(sender) = &original.envelope.reverse_path else { return None };
    let header = returned_header(original.head);
    let eight_bit = !header.is_ascii();
    let date = date(now);
    let id = original.id;
    let boundary = format!("{id}.{}/{hostname}", now.0);
    let (subject, action, explanation) = match notice {
        Notice::Failed => (
            "Undelivered mail",
            "failed",
            "Your message could not be delivered to the recipients below.\r\nNo further attempt will be made.",
        ),
        Notice::Delayed { .. } => (
            "Delayed mail",
            "delayed",
            "Your message could not be delivered yet to the recipients below.\r\n\
             It is still tried: you need not send it again.",
        ),
    };
    let mut text = format!(
        "From: Mail Delivery System <MAILER-DAEMON@{hostname}>\r\n\
         To: {}\r\n\
         Subject: {subject}\r\n\
         Date: {date}\r\n\
         Message-ID: <{id}.{}@{hostname}>\r\n\
         Auto-Submitted: auto-replied\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"{boundary}\"\r\n\r\n\
         --{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n\
         {explanation}\r\n\r\n",
        sender.as_str(),
        now.0,
    );
    for failure in failed {
        let _ = write!(text, "<{}>: {}\r\n", failure.recipient.as_str(), diagnostic(&failure.status));
    }
    let _ = write!(
        text,
        "\r\n--{boundary}\r\nContent-Type: message/delivery-status\r\n\r\n\
         Reporting-MTA: dns; {hostname}\r\nX-Queue-Id: {id}\r\nArrival-Date: {}\r\n",
        self::date(original.envelope.received),
    );
    for failure in failed {
        let _ = write!(
            text,
            "\r\nFinal-Recipient: rfc822; {}\r\nAction: {action}\r\nStatus: {}\r\n",
            failure.recipient.as_str(),
            failure.status.enhanced,
        );
        if failure.status.code.is_some() {
            let _ = write!(
                text,
                "Remote-MTA: dns; {}\r\nDiagnostic-Code: smtp; {}\r\n",
                failure.remote,
                diagnostic(&failure.status)
            );
        }
        let _ = write!(text, "Last-Attempt-Date: {date}\r\n");
        if let Notice::Delayed { until } = notice {
            // RFC 3464 §2.3.9
            let _ = write!(text, "Will-Retry-Until: {}\r\n", self::date(until));
        }
    }
    let encoding = if eight_bit { "8bit" } else { "7bit" };
    let _ = write!(
        text,
        "\r\n--{boundary}\r\nContent-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    );
    let mut content = text.into_bytes();
    content.extend_from_slice(header);
    content.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    let envelope = Envelope {
        received: now,
        reverse_path: ReversePath::Null,
        recipients: vec![ForwardPath::Mailbox(sender.clone())],
        eight_bit,
    };
    Some((envelope, content))
}

/// Up to the empty line that ends the header, or as much of it as there is, in whole lines.
fn returned_header(head: &[u8]) -> &[u8] {
    let end = head.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 2);
    let end = end.or_else(|| head.windows(2).rposition(|two| two == b"\r\n").map(|at| at + 2));
    &head[..end.unwrap_or(0)]
}

fn diagnostic(status: &RecipientStatus) -> String {
    let text: String = status
        .text
        .chars()
        .map(|c| if c.is_ascii_graphic() { c } else { ' ' })
        .take(DIAGNOSTIC_CHARS)
        .collect();
    match status.code {
        Some(code) => format!("{} {text}", code.get()),
        None => text,
    }
}

fn date(at: EpochMs) -> String {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(at.0).unwrap_or(i64::MAX)).unwrap_or_default();
    jiff::fmt::rfc2822::to_string(&at.to_zoned_datetime(jiff::tz::TimeZone::UTC))
        .unwrap_or_else(|_| "Thu, 1 Jan 1970 00:00:00 +0000".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use smtp::client::Disposition;
    use smtp::{EnhancedStatus, ReplyCode, Stage};

    fn failed(to: &str) -> Failed {
        let status = RecipientStatus {
            disposition: Disposition::Bounced,
            code: ReplyCode::new(550),
            enhanced: EnhancedStatus::parse(b"5.1.1").unwrap(),
            text: "5.1.1 no such user".to_owned(),
            stage: Stage::Rcpt,
        };
        Failed { recipient: ForwardPath::parse(to).unwrap(), remote: "mx.test".to_owned(), status }
    }

    fn envelope(reverse_path: &str) -> Envelope {
        Envelope {
            received: EpochMs(1_700_000_000_000),
            reverse_path: ReversePath::parse(reverse_path).unwrap(),
            recipients: vec![ForwardPath::parse("a@b.test").unwrap()],
            eight_bit: false,
        }
    }

    #[test]
    fn tells_the_sender_which_recipients_failed_and_returns_the_header() {
        let sent = envelope("s@client.test");
        let head = b"X-Mailrig-Id: r/1/2\r\nSubject: hi\r\n\r\nsecret body\r\n";
        let original = Original { id: QueueId(0xABC), envelope: &sent, head };
        let both = [failed("a@b.test"), failed("c@b.test")];
        let (to, content) =
            bounce(Notice::Failed, &original, &both, "mx.test", EpochMs(1_700_000_001_000)).unwrap();
        assert_eq!((to.reverse_path, to.recipients[0].as_str()), (ReversePath::Null, "s@client.test"));
        let text = String::from_utf8(content).unwrap();
        assert_eq!(text.matches("Final-Recipient: rfc822; ").count(), 2);
        assert_eq!(text.matches("Status: 5.1.1\r\n").count(), 2);
        assert!(
            text.contains("X-Mailrig-Id: r/1/2\r\nSubject: hi\r\n\r\n--") && !text.contains("secret body")
        );
        assert_eq!(text.replace("\r\n", "").find(['\r', '\n']), None, "bare line ends");
    }

    #[test]
    fn a_warning_says_that_the_message_is_still_tried_and_until_when() {
        let sent = envelope("s@client.test");
        let original = Original { id: QueueId(0xABC), envelope: &sent, head: b"" };
        let notice = Notice::Delayed { until: EpochMs(1_700_432_000_000) };
        let (_, content) = bounce(notice, &original, &[failed("a@b.test")], "mx.test", EpochMs(0)).unwrap();
        let text = String::from_utf8(content).unwrap();
        assert!(text.contains("Subject: Delayed mail\r\n") && text.contains("Action: delayed\r\n"), "{text}");
        assert!(text.contains("Will-Retry-Until: Sun, 19 Nov 2023 22:13:20 +0000\r\n"), "{text}");
        assert!(!text.contains("failed"));
    }

    #[test]
    fn is_never_sent_to_the_null_reverse_path() {
        let sent = envelope("");
        let original = Original { id: QueueId(1), envelope: &sent, head: b"" };
        assert!(bounce(Notice::Failed, &original, &[failed("a@b.test")], "mx.test", EpochMs(0)).is_none());
    }
}
