//! Servers that others wrote take what the load generator sends.

use crate::installed::{python_with_aiosmtpd, smtp_sink};
use crate::support::{Process, eventually, mailrig};
use serde_json::Value;
use std::net::TcpListener;
use std::process::{Command, Stdio};

fn send(address: &str, arguments: &[&str]) -> (Option<i32>, Value) {
    let output =
        mailrig().args(["send", address, "--quiet", "--json", "-"]).args(arguments).output().unwrap();
    let report = serde_json::from_slice(&output.stdout);
    (output.status.code(), report.unwrap_or_else(|_| panic!("{output:?}")))
}

fn check(address: &str, arguments: &[&str]) {
    let (status, report) = send(address, arguments);
    assert_eq!((status, &report["accepted"]), (Some(0), &report["messages"]), "{arguments:?}: {report}");
}

/// A port that was free a moment ago, for servers that can't be told to take any.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn start(command: &mut Command) -> Process {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    Process { child }
}

#[test]
fn postfixs_smtp_sink_is_loaded_by_smtp_and_lmtp() {
    let Some(program) = smtp_sink() else { return };
    let folder = tempfile::tempdir().unwrap();
    for lmtp in [false, true] {
        let path = folder.path().join(if lmtp { "lmtp" } else { "smtp" });
        let address = format!("unix:{}", path.display());
        let mut command = Command::new(program);
        // As root it wants to know whom to become.
        if rustix::process::geteuid().is_root() {
            command.args(["-u", "nobody"]);
        }
        if lmtp {
            command.arg("-L");
        }
        let _sink = start(command.arg(&address).arg("100"));
        eventually("smtp-sink listens", || path.exists());
        let protocol: &[&str] = if lmtp { &["--lmtp"] } else { &[] };
        let many = ["--messages", "300", "--connections", "5", "--to", "a@x.test", "--to", "b@x.test"];
        check(&address, &[protocol, &many[..]].concat());
        check(
            &address,
            &[protocol, &["--pipelining", "off", "--messages-per-connection", "7"], &many[..]].concat(),
        );
        let open = ["--rate", "300/s", "--duration", "300ms", "--max-lag", "10s", "--arrivals", "poisson"];
        check(&address, &[protocol, &open[..]].concat());
    }
}

/// Takes what it is told to take, and refuses `nobody`.
const AIOSMTPD: &str = r#"
import asyncio, sys
from aiosmtpd.controller import Controller
class Keeper:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith('nobody'):
            return '550 5.1.1 no such user'
        envelope.rcpt_tos.append(address)
        return '250 ok'
    async def handle_DATA(self, server, session, envelope):
        return '250 kept'
controller = Controller(Keeper(), hostname='127.0.0.1', port=int(sys.argv[1]), enable_SMTPUTF8=True, decode_data=False)
controller.start()
print('ready', flush=True)
sys.stdin.read()
"#;

#[test]
fn pythons_aiosmtpd_is_loaded_with_all_it_can() {
    let Some(python) = python_with_aiosmtpd() else { return };
    let port = free_port();
    let mut command = Command::new(python);
    let child =
        command.args(["-c", AIOSMTPD, &port.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut server = Process { child: child.spawn().unwrap() };
    let mut line = String::new();
    let stdout = server.child.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
    assert_eq!(line, "ready\n");
    let address = format!("127.0.0.1:{port}");
    check(&address, &["--messages", "200", "--connections", "5"]);
    check(&address, &["--messages", "20", "--text", "utf8", "--to", "jürgen@x.test"]);
    check(
        &address,
        &[
            "--messages",
            "20",
            "--mime",
            "--size",
            "uniform(2KiB,30KiB)",
            "--recipients",
            "3",
            "--to",
            "u{9}@x.test",
        ],
    );
    let (status, report) = send(
        &address,
        &["--messages", "10", "--to", "a@x.test", "--to", "nobody@x.test", "--fail-if", "errors > 0"],
    );
    assert_eq!(
        (status, &report["accepted"], &report["recipients_failed"]),
        (Some(0), &10.into(), &10.into()),
        "{report}"
    );
}
