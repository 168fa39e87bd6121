//! Clients that others wrote deliver to the MTA, and it hands on what they sent.

use crate::content::{contents_up_to, without_received};
use crate::installed::python;
use crate::support::{Mta, PATIENCE, Site};
use mail_send::SmtpClient;
use mail_send::smtp::message::Message;
use std::net::SocketAddr;

pub const DRIVERS: [&str; 2] = ["blocking", "event"];

/// Content of this size does not reach an agent within its request.
pub const LARGE_BYTES: usize = 150_000;

pub fn delivery(driver: &str) -> String {
    format!("[delivery]\ndriver = \"{driver}\"\nagents_max = 4\n")
}

/// What a site of raw text kept, without the dots of the wire and the one field that reception adds.
fn kept(site: &Site) -> Vec<(String, Vec<u8>)> {
    let messages = site.messages.lock().unwrap();
    let plain = messages.iter().map(|(envelope, wire)| {
        let lines = wire.split_inclusive(|byte| *byte == b'\n');
        let plain: Vec<u8> =
            lines.flat_map(|line| line.strip_prefix(b".").unwrap_or(line)).copied().collect();
        (envelope.clone(), without_received(&plain))
    });
    plain.collect()
}

/// Sends each content in one session of mail-send.
fn send_with_mail_send(address: &str, contents: &[Vec<u8>]) {
    let address: SocketAddr = address.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut client = SmtpClient::connect(address, PATIENCE).await.unwrap();
        let greeting = client.read().await.unwrap();
        assert_eq!(greeting.code(), 220);
        client.capabilities("client.test", false).await.unwrap();
        for content in contents {
            let message = Message::new("s@client.test", ["a@x.test", "b@x.test"], content.as_slice());
            assert_eq!(client.send(message).await.unwrap().code(), 250);
        }
        client.quit().await.unwrap();
    });
}

#[test]
fn mail_send_is_understood_by_the_mta() {
    let contents = contents_up_to(LARGE_BYTES);
    for driver in DRIVERS {
        let folder = tempfile::tempdir().unwrap();
        let site = Site::start("250 ok");
        let relay = format!("relayhost = \"{}\"", site.address);
        let mta = Mta::start(folder.path(), &relay, &delivery(driver));
        send_with_mail_send(&mta.address, &contents);
        assert_eq!(mta.wait_drained()["delivered"], 2 * contents.len());
        let kept = kept(&site);
        assert_eq!(kept.len(), contents.len(), "{driver}");
        for content in &contents {
            // it puts an empty line at the end of every message
            let sent = [content, &b"\r\n"[..]].concat();
            assert!(
                kept.iter().any(|(_, got)| *got == sent),
                "{driver}: {}",
                String::from_utf8_lossy(content)
            );
        }
    }
}

/// Everything an ordinary script does: several messages in a session, and refusals that it can tell apart.
const SCRIPT: &str = r#"
import smtplib, sys
host, port = sys.argv[1].rsplit(':', 1)
folder = sys.argv[2]
with smtplib.SMTP(host, int(port), local_hostname='client.test', timeout=60) as smtp:
    assert smtp.noop()[0] == 250 and smtp.ehlo()[0] == 250
    assert smtp.has_extn('size') and smtp.has_extn('pipelining') and smtp.has_extn('8bitmime')
    for n in range(3):
        content = open(f'{folder}/content-{n}', 'rb').read()
        refused = smtp.sendmail('s@client.test', ['a@x.test', 'b@x.test'], content)
        assert refused == {}, refused
    assert smtp.mail('s@client.test', ['body=8bitmime'])[0] == 250
    assert smtp.rcpt('a@x.test')[0] == 250 and smtp.rset()[0] == 250
    assert smtp.vrfy('a@x.test')[0] == 252, smtp.vrfy('a@x.test')
    assert smtp.docmd('FROBNICATE')[0] == 500
    assert smtp.docmd('DATA')[0] == 503
    try:
        smtp.sendmail('s@client.test', ['a@x.test'], b'Subject: large\r\n\r\n' + b'0123456789\r\n' * 100000)
        raise SystemExit('a message that is too large was taken')
    except smtplib.SMTPSenderRefused as refusal:
        assert refusal.smtp_code == 552, refusal
    assert smtp.sendmail('', ['a@x.test'], b'Subject: from nobody\r\n\r\n.\r\n') == {}
"#;

#[test]
fn pythons_smtplib_is_understood_by_the_mta() {
    let folder = tempfile::tempdir().unwrap();
    let contents = contents_up_to(LARGE_BYTES);
    for (number, content) in contents.iter().enumerate() {
        std::fs::write(folder.path().join(format!("content-{number}")), content).unwrap();
    }
    let site = Site::start("250 ok");
    let keys = format!("relayhost = \"{}\"\nmax_message_size = \"1MiB\"", site.address);
    let mta = Mta::start(folder.path(), &keys, &delivery("event"));
    if python(SCRIPT, &[&mta.address, folder.path().to_str().unwrap()]).is_none() {
        return;
    }
    mta.wait_drained();
    let kept = kept(&site);
    assert_eq!(kept.len(), contents.len() + 1);
    for content in &contents {
        assert!(kept.iter().any(|(_, got)| got == content), "{}", String::from_utf8_lossy(content));
    }
    let from_nobody = kept.iter().find(|(_, got)| got == b"Subject: from nobody\r\n\r\n.\r\n");
    assert!(from_nobody.is_some_and(|(envelope, _)| envelope.starts_with("MAIL FROM:<>")));
}
