//! lettre: the client that most Rust applications send with. It blocks here; it knows neither LMTP nor BDAT.

use crate::content::{contents, without_last_line_end};
use crate::keeping_sink::{KeepingSink, Letter};
use crate::sites::{BAD_CERTIFICATES, HOST_NAME, MECHANISMS, REFUSING, SEVEN_BITS, TLS_MODES, tls, users};
use crate::support::PATIENCE;
use lettre::address::Envelope;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, CertificateStore, SmtpConnection, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::{Error, SmtpTransportBuilder};
use lettre::{Message, SmtpTransport, Transport};

fn builder(sink: &KeepingSink) -> SmtpTransportBuilder {
    let builder = SmtpTransport::builder_dangerous("127.0.0.1").port(sink.port());
    builder.hello_name(hello()).timeout(Some(PATIENCE))
}

fn hello() -> ClientId {
    ClientId::Domain("client.test".to_owned())
}

fn with_tls(sink: &KeepingSink, mode: &str) -> SmtpTransport {
    let authority = Certificate::from_pem(&std::fs::read(sink.authority()).unwrap()).unwrap();
    let parameters = TlsParameters::builder(HOST_NAME.to_owned());
    let parameters = parameters.certificate_store(CertificateStore::None).add_root_certificate(authority);
    let parameters = parameters.build().unwrap();
    let tls = if mode == "implicit" { Tls::Wrapper(parameters) } else { Tls::Required(parameters) };
    builder(sink).tls(tls).build()
}

fn envelope(from: &str, to: &[&str]) -> Envelope {
    let to = to.iter().map(|address| address.parse().unwrap()).collect();
    Envelope::new(Some(from.parse().unwrap()), to).unwrap()
}

/// The code of a refusal; `None` where the client did not even ask.
fn code(error: &Error) -> Option<u16> {
    error.status().map(u16::from)
}

const TO: [&str; 2] = ["a@x.test", "b@x.test"];

#[test]
fn content_arrives_as_it_was_sent() {
    let sink = KeepingSink::start("");
    let dot_first = b".\r\n.first\r\n".to_vec();
    let contents = [&contents()[..], &[dot_first]].concat();
    let address = ("127.0.0.1", sink.port());
    let mut session = SmtpConnection::connect(address, Some(PATIENCE), &hello(), None, None).unwrap();
    for content in &contents {
        session.send(&envelope("s@client.test", &TO), without_last_line_end(content)).unwrap();
    }
    session.quit().unwrap();
    let account = sink.stop();
    let expected: Vec<Letter> =
        contents.iter().map(|content| Letter::new("s@client.test", &TO, content)).collect();
    account.assert_kept(&expected);
    account.assert_all_contents_counted();
    assert_eq!((account.number("connections"), account.number("without_id")), (1, 1));
}

/// It puts an empty line at the end, as every message that it builds is made of whole lines.
#[test]
fn what_an_application_builds_arrives_as_it_was_built() {
    let sink = KeepingSink::start("");
    let message = Message::builder()
        .from("J\u{f6}rg <s@client.test>".parse().unwrap())
        .to("A <a@x.test>".parse().unwrap())
        .bcc("b@x.test".parse().unwrap())
        .subject("Gr\u{fc}\u{df}e")
        .header(ContentType::TEXT_PLAIN)
        .body(".\r\n..\r\nSch\u{f6}ne Gr\u{fc}\u{df}e\r\n".to_owned())
        .unwrap();
    builder(&sink).build().send(&message).unwrap();
    let content = [&message.formatted()[..], b"\r\n"].concat();
    sink.stop().assert_kept(&[Letter::new("s@client.test", &TO, &content)]);
}

#[test]
fn tls_is_trusted_with_the_authority_and_refused_where_it_is_bad() {
    let envelope = envelope("s@client.test", &TO);
    for mode in TLS_MODES {
        let sink = KeepingSink::start(&tls(mode, "generated"));
        with_tls(&sink, mode).send_raw(&envelope, b"Subject: secret").unwrap();
        let account = sink.stop();
        account.assert_kept(&[Letter::new("s@client.test", &TO, b"Subject: secret\r\n")]);
        assert_eq!((account.number("handshakes"), account.number("handshakes_failed")), (1, 0), "{mode}");
        for (certificate, reason) in
            BAD_CERTIFICATES.into_iter().zip(["ExpiredContext", "NotValidForNameContext", "UnknownIssuer"])
        {
            let sink = KeepingSink::start(&tls(mode, certificate));
            let error = with_tls(&sink, mode).send_raw(&envelope, b"Subject: secret").unwrap_err();
            assert!(format!("{error:?}").contains(reason), "{mode} {certificate}: {error:?}");
            let account = sink.stop();
            assert_eq!((account.number("handshakes"), account.number("handshakes_failed")), (0, 1), "{mode}");
            account.assert_kept(&[]);
        }
    }
}

#[test]
fn credentials_are_good_or_535() {
    for (mechanism, other) in MECHANISMS.into_iter().zip([Mechanism::Login, Mechanism::Plain]) {
        let sink = KeepingSink::start(&users(mechanism));
        let send = |password: &str, mechanisms: Vec<Mechanism>| {
            let credentials = Credentials::new("ann".to_owned(), password.to_owned());
            let transport = builder(&sink).credentials(credentials).authentication(mechanisms).build();
            transport.send_raw(&envelope("s@client.test", &TO), b"Subject: from ann")
        };
        let both = vec![Mechanism::Plain, Mechanism::Login];
        send("secret", both.clone()).unwrap();
        assert_eq!(code(&send("Secret", both).unwrap_err()), Some(535), "{mechanism}");
        assert!(send("secret", vec![other]).unwrap_err().is_client(), "{other} is not offered");
        let account = sink.stop();
        account.assert_kept(&[Letter::new("s@client.test", &TO, b"Subject: from ann\r\n")]);
        assert_eq!((account.replies("auth", 235), account.replies("auth", 535)), (1, 1), "{mechanism}");
        assert_eq!(account.refused(), [(535, 1)]);
    }
}

#[test]
fn eight_bits_and_addresses_beyond_ascii_are_sent_where_they_are_offered() {
    let (from, to) = ("j\u{f6}rg@client.test", ["b\u{fc}ro@b\u{fc}cher.test"]);
    let content = b"Subject: Gr\xc3\xbc\xc3\x9fe";
    let sink = KeepingSink::start("");
    builder(&sink).build().send_raw(&envelope(from, &to), content).unwrap();
    let kept = [&content[..], b"\r\n"].concat();
    sink.stop().assert_kept(&[Letter::new(from, &to, &kept)]);

    let sink = KeepingSink::start(SEVEN_BITS);
    for envelope in [envelope(from, &to), envelope("s@client.test", &TO)] {
        assert!(builder(&sink).build().send_raw(&envelope, content).unwrap_err().is_client());
    }
    let account = sink.stop();
    account.assert_kept(&[]);
    assert_eq!((account.number("connections"), account.replies("mail", 250)), (2, 0));
}

/// It gives a message up, and the connection with it, at the first recipient that is refused.
#[test]
fn refusals_are_told_as_the_site_has_them() {
    let sink = KeepingSink::start(REFUSING);
    for (from, to, code, transient) in [
        ("s@client.test", ["a@x.test", "nobody@x.test"], 550, false),
        ("s@client.test", ["a@x.test", "later@x.test"], 451, true),
        ("unwanted@client.test", TO, 421, true),
    ] {
        let error = builder(&sink).build().send_raw(&envelope(from, &to), b"Subject: refused").unwrap_err();
        assert_eq!((self::code(&error), error.is_transient()), (Some(code), transient), "{error:?}");
    }
    let account = sink.stop();
    account.assert_kept(&[]);
    assert_eq!(account.refused(), [(421, 1), (451, 1), (550, 1)]);
}
