//! Sessions of all kinds: encrypted, with a password, over UNIX sockets, by LMTP and BDAT, from many addresses.

mod server;

use distribution::Distribution;
use load::report::Report;
use load::session::Credentials;
use load::session::endpoint::Endpoint;
use load::session::tls::{self, Mode};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use server::{Server, Tls, accept, messages, options};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// A certificate for `localhost`, as a server has it and as a file.
fn certificate(folder: &tempfile::TempDir, implicit: bool) -> (Tls, PathBuf) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, cert.pem()).expect("a file");
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("a good certificate");
    (Tls { config: Arc::new(config), implicit }, path)
}

/// Offers everything.
fn offer(line: &str) -> String {
    match line.split(' ').next().unwrap_or("") {
        "EHLO" | "LHLO" => {
            "250-test.invalid\r\n250-STARTTLS\r\n250-AUTH LOGIN PLAIN\r\n250-CHUNKING\r\n250 PIPELINING\r\n"
        }
        "STARTTLS" => "220 go\r\n",
        "AUTH" => "235 2.7.0 welcome\r\n",
        _ => return accept(line),
    }
    .to_owned()
}

fn secure(target: SocketAddr, mode: Mode) -> load::Options {
    let mut options = load::Options { connections: 2, plan: messages(20), ..options(target) };
    options.session.tls = tls::Options { mode, resumption: true, ..tls::Options::default() };
    options
}

fn run(options: &load::Options) -> Report {
    load::run(options).expect("a run")
}

fn count(report: &Report, stage: &str) -> u64 {
    report.stages.iter().find(|(name, _)| *name == stage).map_or(0, |(_, latency)| latency.count)
}

#[test]
fn tls_begins_after_starttls_or_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    for mode in [Mode::StartTls, Mode::Implicit] {
        let (tls, authorities) = certificate(&folder, mode == Mode::Implicit);
        let server = Server::start_with(|_, line| offer(line), Some(tls));
        let mut options = secure(server.address, mode);
        options.session.tls.authorities = Some(authorities);
        options.session.tls.name = Some("localhost".to_owned());
        options.message.size = Distribution::Fixed(300_000.0);
        let report = run(&options);
        assert!(report.all_accepted(), "{report:?}");
        let starttls = if mode == Mode::StartTls { 2 } else { 0 };
        assert_eq!((count(&report, "handshake"), count(&report, "starttls")), (2, starttls));
        let seen = server.seen();
        let messages: Vec<&String> = seen.iter().flat_map(|seen| &seen.messages).collect();
        assert!(messages.len() == 20 && messages.iter().all(|message| message.len() == 300_000));
    }
}

#[test]
fn tls_sessions_are_resumed_as_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let (tls, _) = certificate(&folder, true);
    let server = Server::start_with(|_, line| offer(line), Some(tls));
    let mut options =
        load::Options { connections: 1, plan: messages(6), ..secure(server.address, Mode::Implicit) };
    options.session.messages_per_connection = Some(1);
    let report = run(&options);
    assert_eq!((report.accepted, report.connections_opened, report.tls_resumed), (6, 6, 5), "{report:?}");
    options.session.tls.resumption = false;
    assert_eq!(run(&options).tls_resumed, 0);
}

#[test]
fn a_server_without_the_tls_that_was_asked_for_is_told_of_in_one_line_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let (implicit, _) = certificate(&folder, true);
    let (after_command, _) = certificate(&folder, false);
    let plain = Server::start(|_, line| accept(line));
    let refuses = Server::start(|_, line| match line {
        "STARTTLS" => "454 4.7.0 not today\r\n".to_owned(),
        _ => offer(line),
    });
    let encrypted = Server::start_with(|_, line| offer(line), Some(implicit));
    let unknown = Server::start_with(|_, line| offer(line), Some(after_command));
    let nonsense = Server::start(|_, line| match line {
        "STARTTLS" => "220 go\r\nno TLS at all\r\n".to_owned(),
        _ => offer(line),
    });
    for (server, mode, verify, words) in [
        (&plain, Mode::StartTls, false, &["STARTTLS is required and was not offered"][..]),
        (&plain, Mode::Implicit, false, &["greets in plaintext"]),
        (&refuses, Mode::StartTls, false, &["454", "not today"]),
        (&nonsense, Mode::StartTls, false, &["TLS"]),
        (&encrypted, Mode::Implicit, true, &["handshake", "certificate"]),
        (&unknown, Mode::StartTls, true, &["handshake", "certificate"]),
    ] {
        let mut options = load::Options { plan: messages(1000), ..secure(server.address, mode) };
        if verify {
            // Signed by another.
            let other = tempfile::tempdir().expect("a folder");
            options.session.tls.authorities = Some(certificate(&other, true).1);
            options.session.tls.name = Some("localhost".to_owned());
            let report = run(&options);
            check(&report, words);
            continue;
        }
        check(&run(&options), words);
    }

    fn check(report: &Report, words: &[&str]) {
        assert_eq!((report.accepted, report.not_started), (0, 1000), "{report:?}");
        let reason = report.stopped.as_deref().expect("a reason");
        assert!(words.iter().all(|word| reason.contains(word)) && reason.lines().count() == 1, "{reason}");
        assert!(report.errors.len() <= 2, "{:?}", report.errors);
    }
}

#[test]
fn a_bad_authority_is_refused_before_anything_is_sent() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("none.pem");
    std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nnot base64!\n-----END CERTIFICATE-----\n")
        .expect("a file");
    for path in [path, "/nonexistent.pem".into()] {
        let mut options = secure("127.0.0.1:9".parse().expect("an address"), Mode::Implicit);
        options.session.tls.authorities = Some(path);
        let error = load::run(&options).expect_err("an error").to_string();
        assert!(error.starts_with("--tls-verify: /"), "{error}");
    }
}

#[test]
fn passwords_are_said_by_what_the_server_offers() {
    let credentials = Credentials { user: "alice".to_owned(), password: "secret".to_owned() };
    let plain = Server::start(|_, line| offer(line));
    let login = Server::start(|_, line| match line {
        "AUTH LOGIN" => "334 VXNlcm5hbWU6\r\n".to_owned(),
        "YWxpY2U=" => "334 UGFzc3dvcmQ6\r\n".to_owned(),
        "c2VjcmV0" => "235 2.7.0 welcome\r\n".to_owned(),
        _ => offer(line).replace("AUTH LOGIN PLAIN", "AUTH LOGIN"),
    });
    for (server, said) in [(&plain, "AUTH PLAIN AGFsaWNlAHNlY3JldA=="), (&login, "c2VjcmV0")] {
        let mut options = load::Options { plan: messages(3), ..options(server.address) };
        options.session.auth = Some(credentials.clone());
        let report = run(&options);
        assert!(report.all_accepted(), "{report:?}");
        assert_eq!(count(&report, "auth"), 1);
        assert!(server.seen()[0].commands.contains(&said.to_owned()), "{:?}", server.seen()[0].commands);
    }
    let refuses = Server::start(|_, line| match line.starts_with("AUTH") {
        true => "535 5.7.8 wrong\r\n".to_owned(),
        false => offer(line),
    });
    let mut options = load::Options { plan: messages(3), ..options(refuses.address) };
    options.session.auth = Some(credentials);
    let report = run(&options);
    assert_eq!(report.not_started, 3);
    let reason = report.stopped.as_deref().expect("a reason");
    assert!(reason.contains("535") && !reason.contains("secret"), "{reason}");
}

#[test]
fn lmtp_over_a_unix_socket_gives_each_recipient_a_reply() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lmtp");
    let server = Server::start_unix(&path, |_, line| match line {
        "." => "250 2.1.5 for the first\r\n550 5.2.2 the second is full\r\n".to_owned(),
        _ => offer(line),
    });
    let mut load = options("127.0.0.1:9".parse().expect("an address"));
    load.target = Endpoint::Unix(path);
    load.plan = messages(5);
    load.session.protocol = load::session::Protocol::Lmtp;
    load.message.to = vec!["a@x.test".to_owned(), "b@x.test".to_owned()];
    let report = run(&load);
    assert_eq!((report.accepted, report.recipients_failed), (5, 5), "{report:?}");
    assert!(server.seen()[0].commands[0].starts_with("LHLO "));
}

#[test]
fn chunks_carry_the_same_messages() {
    let server = Server::start(|_, line| offer(line));
    let mut options = load::Options { connections: 2, plan: messages(10), ..options(server.address) };
    options.session.chunking = true;
    options.message.size = Distribution::Fixed(200_000.0);
    let report = run(&options);
    assert!(report.all_accepted(), "{report:?}");
    let seen = server.seen();
    assert!(seen.iter().flat_map(|seen| &seen.commands).all(|command| command != "DATA"));
    let messages: Vec<&String> = seen.iter().flat_map(|seen| &seen.messages).collect();
    assert!(messages.len() == 10 && messages.iter().all(|message| message.len() == 200_000));
}

#[test]
fn connections_come_from_the_addresses_that_were_given() {
    let server = Server::start(|_, line| accept(line));
    let mut options = load::Options { connections: 3, plan: messages(12), ..options(server.address) };
    options.session.messages_per_connection = Some(1);
    options.session.sources = Some("127.0.0.20-127.0.0.23".parse().expect("a row"));
    let began = Instant::now();
    assert!(run(&options).all_accepted());
    assert!(began.elapsed().as_secs() < 5);
    let seen = server.seen();
    let from: BTreeSet<String> =
        seen.iter().map(|seen| seen.from.expect("an address").ip().to_string()).collect();
    assert_eq!(
        from.into_iter().collect::<Vec<_>>(),
        ["127.0.0.20", "127.0.0.21", "127.0.0.22", "127.0.0.23"]
    );
}
