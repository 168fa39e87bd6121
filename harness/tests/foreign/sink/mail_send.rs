//! mail-send: a client for tokio, sequential, that knows BDAT.

use crate::content::{contents, without_last_line_end};
use crate::keeping_sink::{KeepingSink, Letter};
use crate::sites::{
    BAD_CERTIFICATES, HOST_NAME, LMTP, MECHANISMS, REFUSING, SEVEN_BITS, TLS_MODES, tls, users,
};
use crate::support::PATIENCE;
use mail_send::smtp::message::{Address, Message, Parameters};
use mail_send::{Credentials, Error, SmtpClientBuilder};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use std::sync::Arc;

type Builder = SmtpClientBuilder<&'static str>;

/// Everything that a client needs to know of a sink.
fn builder(sink: &KeepingSink) -> Builder {
    let mut roots = RootCertStore::empty();
    if let Ok(authority) = CertificateDer::from_pem_file(sink.authority()) {
        roots.add(authority).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let builder = Builder::new_with_tls_connector(HOST_NAME, sink.port(), Arc::new(config).into());
    let mut builder = builder.helo_host("client.test").timeout(PATIENCE);
    builder.addr = sink.address().to_owned();
    builder
}

fn run<T>(conversation: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime
        .block_on(async { tokio::time::timeout(PATIENCE, conversation).await.expect("it takes no minute") })
}

fn message<'a>(from: &'a str, to: &[&'a str], content: &'a [u8]) -> Message<'a> {
    Message::new(from, to.iter().copied(), content)
}

/// The code of a reply that was not what the client wanted.
fn refusal<T>(outcome: Result<T, Error>) -> u16 {
    match outcome {
        Err(Error::UnexpectedReply(reply) | Error::AuthenticationFailed(reply)) => reply.code(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was not refused"),
    }
}

const TO: [&str; 2] = ["a@x.test", "b@x.test"];

#[test]
fn content_arrives_as_it_was_sent() {
    let sink = KeepingSink::start("");
    run(async {
        let mut client = builder(&sink).connect_plain().await.unwrap();
        for content in &contents() {
            let message = message("s@client.test", &TO, without_last_line_end(content));
            assert_eq!(client.send(message).await.unwrap().code(), 250);
        }
        client.quit().await.unwrap();
    });
    let account = sink.stop();
    account.assert_kept(&contents().map(|content| Letter::new("s@client.test", &TO, &content)));
    account.assert_all_contents_counted();
    assert_eq!((account.number("connections"), account.replies("quit", 221)), (1, 1));
}

#[test]
fn chunks_arrive_as_they_were_sent() {
    let sink = KeepingSink::start("");
    let cut = b"Subject: neither dot nor line end\r\n\r\n.";
    let contents = [&contents()[..], &[cut.to_vec()]].concat();
    run(async {
        let mut client = builder(&sink).connect_plain().await.unwrap();
        for content in &contents {
            client.mail_from("s@client.test", &Parameters::new()).await.unwrap();
            for to in TO {
                client.rcpt_to(to, &Parameters::new()).await.unwrap();
            }
            assert_eq!(client.bdat(content).await.unwrap().code(), 250);
        }
        client.quit().await.unwrap();
    });
    let account = sink.stop();
    let expected: Vec<Letter> =
        contents.iter().map(|content| Letter::new("s@client.test", &TO, content)).collect();
    account.assert_kept(&expected);
    account.assert_all_contents_counted();
    assert_eq!(account.replies("data", 354), 0);
}

/// It doubles a dot after any LF or CR, but not the first byte. What the wire then says is what is kept.
#[test]
fn what_it_stuffs_wrongly_is_kept_as_rfc_5321_reads_it() {
    let sink = KeepingSink::start("");
    run(async {
        let mut client = builder(&sink).connect_plain().await.unwrap();
        for content in [&b".first\r\n.second"[..], b"bare\n.newline"] {
            client.send(message("s@client.test", &TO, content)).await.unwrap();
        }
        client.quit().await.unwrap();
    });
    let account = sink.stop();
    let kept = [&b"first\r\n.second\r\n"[..], b"bare\n..newline\r\n"];
    account.assert_kept(&kept.map(|content| Letter::new("s@client.test", &TO, content)));
    assert_eq!((account.number("without_id"), account.number("bare_newlines")), (2, 1));
}

#[test]
fn tls_is_trusted_with_the_authority_and_refused_where_it_is_bad() {
    for mode in TLS_MODES {
        let sink = KeepingSink::start(&tls(mode, "generated"));
        let builder = builder(&sink).implicit_tls(mode == "implicit");
        run(async {
            let mut client = builder.connect().await.unwrap();
            client.send(message("s@client.test", &TO, b"Subject: secret")).await.unwrap();
            client.quit().await.unwrap();
        });
        let account = sink.stop();
        account.assert_kept(&[Letter::new("s@client.test", &TO, b"Subject: secret\r\n")]);
        assert_eq!((account.number("handshakes"), account.number("handshakes_failed")), (1, 0), "{mode}");
        for certificate in BAD_CERTIFICATES {
            refuses(mode, certificate);
        }
    }
}

fn refuses(mode: &str, certificate: &str) {
    let sink = KeepingSink::start(&tls(mode, certificate));
    let builder = builder(&sink).implicit_tls(mode == "implicit");
    let error = run(builder.connect()).err().expect("the certificate is bad");
    let Error::Tls(error) = error else { panic!("{mode} {certificate}: {error}") };
    let rustls::Error::InvalidCertificate(reason) = *error else { panic!("{mode} {certificate}: {error}") };
    let found = match reason {
        CertificateError::ExpiredContext { .. } => "expired",
        CertificateError::NotValidForNameContext { expected, .. } => {
            assert_eq!(expected, ServerName::try_from(HOST_NAME).unwrap());
            "wrong-name"
        }
        CertificateError::UnknownIssuer => "self-signed",
        other => panic!("{mode} {certificate}: {other}"),
    };
    assert_eq!(found, certificate, "{mode}");
    let account = sink.stop();
    assert_eq!((account.number("handshakes"), account.number("handshakes_failed")), (0, 1), "{mode}");
    account.assert_kept(&[]);
}

#[test]
fn credentials_are_good_or_535() {
    for mechanism in MECHANISMS {
        let sink = KeepingSink::start(&users(mechanism));
        run(async {
            let good = builder(&sink).credentials(Credentials::new("ann", "secret"));
            good.connect_plain().await.unwrap().quit().await.unwrap();
            let bad = builder(&sink).credentials(Credentials::new("ann", "Secret"));
            assert_eq!(refusal(bad.connect_plain().await), 535, "{mechanism}");
        });
        let account = sink.stop();
        assert_eq!((account.replies("auth", 235), account.replies("auth", 535)), (1, 1), "{mechanism}");
        assert_eq!(account.refused(), [(535, 1)]);
    }
}

#[test]
fn addresses_beyond_ascii_need_smtputf8_said_and_offered() {
    let mut utf8 = Parameters::new();
    utf8.add("SMTPUTF8");
    let sink = KeepingSink::start("");
    run(async {
        let mut client = builder(&sink).connect_plain().await.unwrap();
        let mut message = message("", &["b\u{fc}ro@b\u{fc}cher.test"], b"Subject: Gr\xc3\xbc\xc3\x9fe");
        message.mail_from = Address::new("j\u{f6}rg@client.test", utf8.clone());
        client.send(message.clone()).await.unwrap();
        message.mail_from.parameters = Parameters::new();
        assert_eq!(refusal(client.send(message).await), 553);
        client.quit().await.unwrap();
    });
    let account = sink.stop();
    let kept = b"Subject: Gr\xc3\xbc\xc3\x9fe\r\n";
    account.assert_kept(&[Letter::new("j\u{f6}rg@client.test", &["b\u{fc}ro@b\u{fc}cher.test"], kept)]);

    let sink = KeepingSink::start(SEVEN_BITS);
    run(async {
        let mut client = builder(&sink).connect_plain().await.unwrap();
        assert_eq!(refusal(client.mail_from("s@client.test", &utf8).await), 555);
        assert_eq!(refusal(client.mail_from("j\u{f6}rg@client.test", &utf8).await), 500);
        client.quit().await.unwrap();
    });
    assert_eq!(sink.stop().refused(), [(500, 1), (555, 1)]);
}

/// It gives a message up at the first recipient that is refused, and leaves it to the caller to say RSET.
#[test]
fn refusals_are_told_as_the_site_has_them() {
    let sink = KeepingSink::start(REFUSING);
    run(async {
        let mut client = builder(&sink).connect_plain().await.unwrap();
        let content = b"Subject: refused\r\n";
        for (to, code) in [(["a@x.test", "nobody@x.test"], 550), (["a@x.test", "later@x.test"], 451)] {
            assert_eq!(refusal(client.send(message("s@client.test", &to, content)).await), code);
            client.rset().await.unwrap();
        }
        assert_eq!(refusal(client.send(message("unwanted@client.test", &TO, content)).await), 421);
        assert!(client.noop().await.is_err(), "421 is the last word");
    });
    let account = sink.stop();
    account.assert_kept(&[]);
    assert_eq!(account.refused(), [(421, 1), (451, 1), (550, 1)]);
}

/// It reads one reply to the dot, however many recipients there are: so there is one.
#[test]
fn lmtp_answers_for_a_single_recipient() {
    let sink = KeepingSink::start(LMTP);
    run(async {
        let mut client = builder(&sink).lmtp(true).connect_plain().await.unwrap();
        client.send(message("s@client.test", &["a@x.test"], b"Subject: local")).await.unwrap();
        let outcome = client.send(message("s@client.test", &["full@x.test"], b"Subject: local")).await;
        assert_eq!(refusal(outcome), 452);
        client.quit().await.unwrap();
    });
    let account = sink.stop();
    account.assert_kept(&[Letter::new("s@client.test", &["a@x.test"], b"Subject: local\r\n")]);
    assert_eq!((account.replies("dot", 250), account.replies("dot", 452)), (1, 1));
}
