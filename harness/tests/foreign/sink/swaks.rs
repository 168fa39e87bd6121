//! swaks: what administrators try a server with. It pipelines, speaks LMTP, and leaves its verdict in its status.

use crate::content::{contents, without_last_line_end};
use crate::installed::{has_swaks, has_swaks_with_tls, said};
use crate::keeping_sink::{KeepingSink, Letter};
use crate::sites::{HOST_NAME, LMTP, MECHANISMS, REFUSING, TLS_MODES, tls, users};
use std::process::Command;

const TO: [&str; 2] = ["a@x.test", "b@x.test"];

/// Sends `content`, and gives the status at the end: by its manual, 0 or where it was refused.
fn swaks(sink: &KeepingSink, from: &str, to: &[&str], content: &[u8], arguments: &[&str]) -> i32 {
    let data = format!("@{}", sink.file("data", content));
    let port = sink.port().to_string();
    let output = Command::new("swaks")
        .args(["--server", "127.0.0.1", "--port", &port, "--ehlo", "client.test", "--timeout", "60"])
        .args(["--from", from, "--to", &to.join(","), "--data", &data, "--suppress-data"])
        .args(arguments)
        .output()
        .unwrap();
    print!("{}", said(&output));
    output.status.code().expect("it was not killed")
}

/// It wants an empty line after the header section, and sees to the last line end itself.
const BRIEF: &[u8] = b"Subject: brief\n\nIn brief";
const BRIEF_KEPT: &[u8] = b"Subject: brief\r\n\r\nIn brief\r\n";

const CLOSED_EARLY: i32 = 6;
const REFUSED_AT_MAIL: i32 = 23;
const REFUSED_AT_RCPT: i32 = 24;
const REFUSED_AT_DATA: i32 = 25;
const REFUSED_AT_AUTH: i32 = 28;
const TLS_FAILED: i32 = 29;

#[test]
fn content_arrives_as_it_was_sent_pipelined_or_not() {
    if !has_swaks() {
        return;
    }
    for arguments in [&[][..], &["--pipeline"]] {
        let sink = KeepingSink::start("");
        for content in &contents() {
            let status = swaks(&sink, "s@client.test", &TO, without_last_line_end(content), arguments);
            assert_eq!(status, 0, "{arguments:?}");
        }
        let account = sink.stop();
        account.assert_kept(&contents().map(|content| Letter::new("s@client.test", &TO, &content)));
        account.assert_all_contents_counted();
        assert_eq!((account.number("connections"), account.replies("quit", 221)), (3, 3));
    }
}

/// It does not double a dot at the first byte.
#[test]
fn what_it_does_not_stuff_is_kept_as_rfc_5321_reads_it() {
    if !has_swaks() {
        return;
    }
    let sink = KeepingSink::start("");
    assert_eq!(swaks(&sink, "s@client.test", &TO, b".first: x\r\n\r\n.second", &[]), 0);
    sink.stop().assert_kept(&[Letter::new("s@client.test", &TO, b"first: x\r\n\r\n.second\r\n")]);
}

#[test]
fn tls_is_trusted_with_the_authority_and_refused_where_it_is_bad() {
    if !has_swaks_with_tls() {
        return;
    }
    // whether the name is right is looked at by later versions only
    let certificates = ["generated", "expired", "self-signed"];
    for (mode, option) in TLS_MODES.into_iter().zip(["-tls", "-tlsc"]) {
        for certificate in certificates {
            let sink = KeepingSink::start(&tls(mode, certificate));
            let authority = sink.authority().display().to_string();
            let arguments = [option, "--tls-verify", "--tls-ca-path", &authority, "--server", HOST_NAME];
            let status = swaks(&sink, "s@client.test", &TO, BRIEF, &arguments);
            let account = sink.stop();
            let handshakes = (account.number("handshakes"), account.number("handshakes_failed"));
            if certificate == "generated" {
                assert_eq!((status, handshakes), (0, (1, 0)), "{mode}");
                account.assert_kept(&[Letter::new("s@client.test", &TO, BRIEF_KEPT)]);
            } else {
                assert_eq!((status, handshakes), (TLS_FAILED, (0, 1)), "{mode} {certificate}");
                account.assert_kept(&[]);
            }
        }
    }
}

#[test]
fn credentials_are_good_or_535() {
    if !has_swaks() {
        return;
    }
    for mechanism in MECHANISMS {
        let sink = KeepingSink::start(&users(mechanism));
        for (password, expected) in [("secret", 0), ("Secret", REFUSED_AT_AUTH)] {
            let arguments = ["--auth", mechanism, "--auth-user", "ann", "--auth-password", password];
            let status = swaks(&sink, "s@client.test", &TO, BRIEF, &arguments);
            assert_eq!(status, expected, "{mechanism} {password}");
        }
        let account = sink.stop();
        account.assert_kept(&[Letter::new("s@client.test", &TO, BRIEF_KEPT)]);
        assert_eq!((account.replies("auth", 235), account.replies("auth", 535)), (1, 1), "{mechanism}");
        assert_eq!(account.refused(), [(535, 1)]);
    }
}

/// With some recipients refused it sends to the others. It does not know SMTPUTF8, so an address beyond ASCII is one of
/// those.
#[test]
fn refusals_are_told_as_the_site_has_them() {
    if !has_swaks() {
        return;
    }
    let one_by_one = (REFUSED_AT_MAIL, &[(421, 1), (451, 1), (550, 2), (553, 1)][..]);
    // nobody is left for the DATA that was said already, and the replies to what follows 421 never come
    let pipelined = (CLOSED_EARLY, &[(421, 1), (451, 1), (550, 2), (553, 1), (554, 1)][..]);
    for (arguments, (unwanted, refused)) in [(&[][..], one_by_one), (&["--pipeline"], pipelined)] {
        let sink = KeepingSink::start(REFUSING);
        let status = |from: &str, to: &[&str]| swaks(&sink, from, to, BRIEF, arguments);
        assert_eq!(status("s@client.test", &["nobody@x.test", "a@x.test", "b\u{fc}ro@x.test"]), 0);
        assert_eq!(status("s@client.test", &["nobody@x.test"]), REFUSED_AT_RCPT);
        assert_eq!(status("s@client.test", &["a@x.test", "later@x.test"]), REFUSED_AT_DATA);
        assert_eq!(status("unwanted@client.test", &TO), unwanted);
        let account = sink.stop();
        account.assert_kept(&[Letter::new("s@client.test", &["a@x.test"], BRIEF_KEPT)]);
        assert_eq!(account.refused(), refused, "{arguments:?}");
    }
}

#[test]
fn lmtp_answers_for_each_recipient() {
    if !has_swaks() {
        return;
    }
    let sink = KeepingSink::start(LMTP);
    let to = ["a@x.test", "full@x.test", "b@x.test"];
    for arguments in [&["--protocol", "LMTP"][..], &["--protocol", "LMTP", "--pipeline"]] {
        assert_eq!(swaks(&sink, "s@client.test", &to, b"Subject: three\n\n.\nend", arguments), 0);
    }
    let account = sink.stop();
    // the file is begun before the dot is answered: it names everybody whom RCPT was answered 250
    let letter = || Letter::new("s@client.test", &to, b"Subject: three\r\n\r\n.\r\nend\r\n");
    account.assert_kept(&[letter(), letter()]);
    assert_eq!((account.replies("dot", 250), account.replies("dot", 452)), (4, 2));
}
