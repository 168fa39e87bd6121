//! Python's smtplib: what scripts send with, for SMTP and LMTP.

use crate::content::contents;
use crate::installed::python;
use crate::keeping_sink::{KeepingSink, Letter};
use crate::sites::{BAD_CERTIFICATES, LMTP, MECHANISMS, REFUSING, SEVEN_BITS, TLS_MODES, tls, users};

const TO: [&str; 2] = ["a@x.test", "b@x.test"];

/// Each script sees the sink's port first.
fn with(sink: &KeepingSink, script: &str, arguments: &[&str]) -> Option<String> {
    let script = format!("{IMPORTS}{script}");
    let port = sink.port().to_string();
    python(&script, &[&[&*port], arguments].concat())
}

const IMPORTS: &str = "
import smtplib, ssl, sys
from email.message import EmailMessage
PORT = int(sys.argv[1])
FROM, TO = 's@client.test', ['a@x.test', 'b@x.test']
def connect(kind=smtplib.SMTP):
    return kind('127.0.0.1', PORT, 'client.test', timeout=60)
";

#[test]
fn content_arrives_as_it_was_sent() {
    let sink = KeepingSink::start("");
    let contents = [&contents()[..], &[b".\r\n.first\r\n".to_vec()]].concat();
    let files: Vec<String> =
        contents.iter().enumerate().map(|(n, content)| sink.file(&format!("content-{n}"), content)).collect();
    let script = "
with connect() as smtp:
    for path in sys.argv[2:]:
        assert smtp.sendmail(FROM, TO, open(path, 'rb').read(), ['BODY=8BITMIME']) == {}
";
    if with(&sink, script, &files.iter().map(String::as_str).collect::<Vec<_>>()).is_none() {
        return;
    }
    let account = sink.stop();
    let expected: Vec<Letter> =
        contents.iter().map(|content| Letter::new("s@client.test", &TO, content)).collect();
    account.assert_kept(&expected);
    account.assert_all_contents_counted();
    assert_eq!((account.number("connections"), account.number("without_id")), (1, 1));
}

/// Says for each attempt `sent`, or by which code of OpenSSL's the certificate was refused.
const TLS: &str = "
def attempt(mode, port, authority):
    context = ssl.create_default_context(cafile=authority)
    context.verify_flags |= ssl.VERIFY_X509_STRICT # the default from 3.13 on
    try:
        if mode == 'implicit':
            smtp = smtplib.SMTP_SSL('localhost', port, 'client.test', context=context, timeout=60)
        else:
            smtp = smtplib.SMTP('localhost', port, 'client.test', timeout=60)
            smtp.starttls(context=context)
        with smtp:
            smtp.sendmail(FROM, TO, b'Subject: secret\\r\\n')
        return 'sent'
    except ssl.SSLCertVerificationError as error:
        return error.verify_code
for triple in zip(*[iter(sys.argv[2:])] * 3):
    print(attempt(*triple))
";

#[test]
fn tls_is_trusted_with_the_authority_and_refused_where_it_is_bad() {
    let certificates = [&["generated"][..], &BAD_CERTIFICATES].concat();
    let all: Vec<(&str, &str)> = TLS_MODES
        .iter()
        .flat_map(|mode| certificates.iter().map(|certificate| (*mode, *certificate)))
        .collect();
    let sinks: Vec<KeepingSink> =
        all.iter().map(|(mode, certificate)| KeepingSink::start(&tls(mode, certificate))).collect();
    let triples = all.iter().zip(&sinks).flat_map(|((mode, _), sink)| {
        [(*mode).to_owned(), sink.port().to_string(), sink.authority().display().to_string()]
    });
    let triples: Vec<String> = triples.collect();
    let triples: Vec<&str> = triples.iter().map(String::as_str).collect();
    let Some(said) = with(&sinks[0], TLS, &triples) else { return };
    let mut attempts = said.lines();
    for ((mode, certificate), sink) in all.into_iter().zip(sinks) {
        // openssl-verification-options(1): X509_V_ERR_CERT_HAS_EXPIRED, _HOSTNAME_MISMATCH, _DEPTH_ZERO_SELF_SIGNED_CERT
        let expected = match certificate {
            "expired" => "10",
            "wrong-name" => "62",
            "self-signed" => "18",
            _ => "sent",
        };
        assert_eq!(attempts.next(), Some(expected), "{mode} {certificate}");
        let account = sink.stop();
        let sent = u64::from(expected == "sent");
        let handshakes = (account.number("handshakes"), account.number("handshakes_failed"));
        assert_eq!(handshakes, (sent, 1 - sent), "{mode} {certificate}");
        assert_eq!(account.number("messages"), sent, "{mode} {certificate}");
    }
}

#[test]
fn credentials_are_good_or_535() {
    let script = "
with connect() as smtp:
    assert smtp.login('ann', 'secret')[0] == 235
    assert smtp.sendmail(FROM, TO, b'Subject: from ann\\r\\n') == {}
with connect() as smtp:
    try:
        smtp.login('ann', 'Secret')
        raise SystemExit('a wrong password was taken')
    except smtplib.SMTPAuthenticationError as error:
        assert error.smtp_code == 535, error
";
    for mechanism in MECHANISMS {
        let sink = KeepingSink::start(&users(mechanism));
        if with(&sink, script, &[]).is_none() {
            return;
        }
        let account = sink.stop();
        account.assert_kept(&[Letter::new("s@client.test", &TO, b"Subject: from ann\r\n")]);
        assert_eq!((account.replies("auth", 235), account.replies("auth", 535)), (1, 1), "{mechanism}");
        assert_eq!(account.refused(), [(535, 1)]);
    }
}

const BEYOND_ASCII: &str = "
message = EmailMessage()
message['From'] = 'J\u{f6}rg <j\u{f6}rg@client.test>'
message['To'] = 'b\u{fc}ro@x.test'
message['Subject'] = 'Gr\u{fc}\u{df}e'
message.set_content('Sch\u{f6}ne Gr\u{fc}\u{df}e\\n', cte='8bit')
with connect() as smtp:
    if 'refused' in sys.argv:
        try:
            smtp.send_message(message)
            raise SystemExit('it was sent')
        except smtplib.SMTPNotSupportedError:
            pass
    else:
        assert smtp.send_message(message) == {}
";

#[test]
fn eight_bits_and_addresses_beyond_ascii_are_sent_where_they_are_offered() {
    let sink = KeepingSink::start("");
    if with(&sink, BEYOND_ASCII, &[]).is_none() {
        return;
    }
    let account = sink.stop();
    let [letter] = &account.letters[..] else { panic!("{}", account.ledger) };
    assert_eq!((&*letter.from, &*letter.to[0]), ("j\u{f6}rg@client.test", "b\u{fc}ro@x.test"));
    let content = std::str::from_utf8(&letter.content).unwrap();
    assert!(content.contains("\r\nSubject: Gr\u{fc}\u{df}e\r\n"), "{content}");
    assert!(content.ends_with("\r\n\r\nSch\u{f6}ne Gr\u{fc}\u{df}e\r\n"), "{content}");

    let sink = KeepingSink::start(SEVEN_BITS);
    with(&sink, BEYOND_ASCII, &["refused"]);
    let account = sink.stop();
    account.assert_kept(&[]);
    assert_eq!((account.number("connections"), account.replies("mail", 250)), (1, 0));
}

/// After a refused DATA, unlike any other refusal, its `sendmail` leaves it to the caller to say RSET.
#[test]
fn refusals_are_told_as_the_site_has_them() {
    let script = "
with connect() as smtp:
    refused = smtp.sendmail(FROM, ['a@x.test', 'nobody@x.test'], b'Subject: for a\\r\\n')
    assert refused == {'nobody@x.test': (550, b'5.1.1 No such user here')}, refused
    try:
        smtp.sendmail(FROM, ['a@x.test', 'later@x.test'], b'Subject: later\\r\\n')
        raise SystemExit('451 was not seen')
    except smtplib.SMTPDataError as error:
        assert (error.smtp_code, error.smtp_error) == (451, b'4.3.0 Not now'), error
        assert smtp.rset()[0] == 250
    try:
        smtp.sendmail('unwanted@client.test', TO, b'Subject: unwanted\\r\\n')
        raise SystemExit('421 was not seen')
    except smtplib.SMTPSenderRefused as error:
        assert error.smtp_code == 421, error
    assert smtp.sock is None
";
    let sink = KeepingSink::start(REFUSING);
    if with(&sink, script, &[]).is_none() {
        return;
    }
    let account = sink.stop();
    account.assert_kept(&[Letter::new("s@client.test", &["a@x.test"], b"Subject: for a\r\n")]);
    assert_eq!(account.refused(), [(421, 1), (451, 1), (550, 1)]);
}

/// `sendmail` reads one reply to the dot, however many recipients there are; its parts can read them all.
#[test]
fn lmtp_answers_for_each_recipient() {
    let script = "
with connect(smtplib.LMTP) as lmtp:
    assert lmtp.sendmail(FROM, ['a@x.test'], b'Subject: one\\r\\n') == {}
    try:
        lmtp.sendmail(FROM, ['full@x.test'], b'Subject: none\\r\\n')
        raise SystemExit('452 was not seen')
    except smtplib.SMTPDataError as error:
        assert error.smtp_code == 452, error
    lmtp.mail(FROM)
    codes = [lmtp.rcpt(to)[0] for to in ['a@x.test', 'full@x.test', 'nobody', 'b@x.test']]
    assert codes[:2] + codes[3:] == [250, 250, 250] and codes[2] >= 500, codes
    assert lmtp.docmd('DATA')[0] == 354
    lmtp.send(b'Subject: three\\r\\n\\r\\n..\\r\\n.\\r\\n')
    assert [lmtp.getreply()[0] for _ in range(3)] == [250, 452, 250]
    assert lmtp.noop()[0] == 250
";
    let sink = KeepingSink::start(LMTP);
    if with(&sink, script, &[]).is_none() {
        return;
    }
    let account = sink.stop();
    // the file is begun before the dot is answered: it names everybody whom RCPT was answered 250
    let three = ["a@x.test", "full@x.test", "b@x.test"];
    account.assert_kept(&[
        Letter::new("s@client.test", &["a@x.test"], b"Subject: one\r\n"),
        Letter::new("s@client.test", &three, b"Subject: three\r\n\r\n.\r\n"),
    ]);
    assert_eq!((account.replies("dot", 250), account.replies("dot", 452)), (3, 2));
}
